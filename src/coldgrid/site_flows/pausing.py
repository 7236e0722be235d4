"""Pausing: one open pause for each reason that a zone has, whatever number of alarms stand behind it."""

from __future__ import annotations

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.tx import Tx
from coldgrid.stock.pauses import PauseReason, PauseZone, find_pause, open_pauses


def pause(tx: Tx, site_id: str, zone_id: str, reason: PauseReason, cause_id: str) -> None:
    """Stop new promises from a zone, unless this reason stops them already."""
    if any(one.reason is reason for one in open_pauses(tx, zone_id)):
        return
    pause_id = derive_id("pause", zone_id, reason, cause_id)
    if find_pause(tx, site_id, pause_id) is not None:  # lifted, and late readings raise the same alarm again
        pause_id = derive_id("pause", zone_id, reason, cause_id, tx.cause)
    tx.run(PauseZone(site_id=site_id, zone_id=zone_id, pause_id=pause_id, reason=reason, cause_id=cause_id))
