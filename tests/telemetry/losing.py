"""Sealed readings of a node that are lost: vouched for, not here, and no more on its disk."""

from __future__ import annotations

from coldgrid.kernel.decider import Decider
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import arriving
from coldgrid.telemetry.blocks import DAY_US
from coldgrid.telemetry.losses import TellLosses
from coldgrid.telemetry.manifests import BlocksManifested, ManifestedBlock, Why


def lose(decider: Decider, site_id: str, sensor_id: str, first_us: int, readings: int = 60) -> None:
    """Let a site's sensor have lost as many readings, one a minute from an instant on."""
    last_us = first_us + (readings - 1) * 60_000_000
    name = f"{first_us:064x}"
    block = ManifestedBlock(sensor_id, first_us // DAY_US, 0, name, readings, first_us, last_us)

    def work(tx: Tx) -> None:
        manifest = BlocksManifested(
            site_id=site_id,
            why=Why.HOURLY,
            cause_id="",
            landed_no=0,
            landed_digest="",
            readings=readings,
            first_at=None,
            last_at=None,
            blocks=[block],
        )
        arriving.want_blocks(tx, manifest)
        arriving.give_up(tx, site_id, [name])

    decider.take(site_id, work, "test")
    decider.do(TellLosses(site_id=site_id))
