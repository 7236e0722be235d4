"""Taken readings: what the tower took of nodes' readings it keeps, whatever becomes of their disks.

The laws, for each reading of a site, also where its disk was put back or copied:

    T1  What the tower told a node that it has, it has in the end, with the same value. (Where the tower's own
        disk was put back, from then on.) Sums count each of its readings once.
    T2  What was acknowledged to a gateway and is not at the tower was on a disk that is gone, or on a copy
        that was not kept; else it is at the tower.
    T3  Such a reading is never taken for one that was not needed: its instant counts as unknown air, unless
        readings of the zone lie around it as close as silence is bridged anywhere.
    T4  Each block that a manifest of the site's log vouches for is at the tower, with the hash that was
        vouched for, or the tower asks for it, or names it as one that the node does not have any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coldgrid.kernel import log
from coldgrid.kernel.reading import Reads
from coldgrid.network.zones import get_zone
from coldgrid.quality.zone_air import GRACE_LEAST_MIN, ZoneAir
from coldgrid.sync.messages import Blocks, BlocksTaken, Parcels, ParcelsTaken
from coldgrid.sync.wire import decode
from coldgrid.telemetry import archive, arriving, store
from coldgrid.telemetry.blocks import Readings, decode_block
from coldgrid.telemetry.manifests import BlocksManifested, ManifestedBlock
from coldgrid.telemetry.parcel_form import unpack_parcel
from coldgrid.telemetry.sensors import get_sensor, sensors_of_zone
from tests.conftest import T0

if TYPE_CHECKING:
    from tests.simulation.laws import Laws

Parts = list[tuple[str, Readings]]
GRACE_US = round(GRACE_LEAST_MIN * 60e6)
BRIDGED_MIN = GRACE_LEAST_MIN  # what the air's curve is asked to bridge
DAYS = timedelta(days=4)


class Taken:
    """The ledger of what the tower told nodes that it has: by sensor, time and value."""

    def __init__(self, laws: Laws) -> None:
        self.laws = laws
        self.told: dict[str, dict[int, int]] = {}

    def tower_was_put_back(self) -> None:
        """What it took before it may have lost."""
        self.told.clear()

    def answered(self, frame: bytes, answer: bytes) -> None:
        """A node hears the tower's answer to a frame, and deletes what it sent."""
        for name, readings in _acknowledged(frame, answer):
            told = self.told.setdefault(name, {})
            told.update(zip(readings.at_us.tolist(), readings.value_e4.tolist(), strict=True))

    # --- at the end -----------------------------------------------------------------------

    def check(self) -> None:
        """Hold the tower's tables against the ledger."""
        db = self.laws.world.tower.reads()
        for site in self.laws.world.sites:
            for name in site.sensors:
                here = _at(db, site.site_id, name)
                self._kept(db, name, here)
                self._lost_are_named(db, site.site_id, name, here)
            self._vouched(db, site.site_id)

    def _kept(self, db: Reads, name: str, here: dict[int, int]) -> None:
        """T1."""
        told = self.told.get(name, {})
        gone = sorted(at for at in told if at not in here)
        self.laws.demand(
            not gone, f"{name}: the tower lost {len(gone)} readings that it had taken, {gone[:3]}"
        )
        other = sorted(at for at in told if here.get(at, told[at]) != told[at])
        self.laws.demand(not other, f"{name}: the tower has other values than it took, {other[:3]}")
        [sums] = store.rollups(db, [name], T0 - timedelta(days=1), T0 + DAYS)
        self.laws.demand(
            sums.readings == len(here), f"{name}: {len(here)} readings, and sums of {sums.readings}"
        )

    def _lost_are_named(self, db: Reads, site_id: str, name: str, here: dict[int, int]) -> None:
        """T2 and T3."""
        lost = sorted(at for at in self.laws.readings.get(name, {}) if at not in here)
        if not lost:
            return
        may_lack = site_id in self.laws.doubtful
        self.laws.demand(
            may_lack, f"{name}: {len(lost)} acknowledged readings are not at the tower, {lost[:3]}"
        )
        zone = get_zone(db, get_sensor(db, name).zone_id)
        air = ZoneAir(db, zone, T0, T0 + DAYS).air("", BRIDGED_MIN)
        there = [
            np.array(sorted(_at(db, site_id, one.sensor_id)), np.int64)
            for one in sensors_of_zone(db, zone.zone_id)
        ]
        pieces = np.searchsorted(air.at_us, lost, side="right") - 1
        unnamed = [
            at
            for at, piece in zip(lost, pieces.tolist(), strict=True)
            if 0 <= piece < len(air.known) and air.known[piece] and not any(_close(one, at) for one in there)
        ]
        asked = arriving.missing(db, site_id)[1]
        self.laws.demand(
            not unnamed,
            f"{name}: {len(unnamed)} readings are lost and their air counts as known, {unnamed[:3]}; "
            f"{asked} are asked for",
        )

    def _vouched(self, db: Reads, site_id: str) -> None:
        """T4."""
        missing = arriving.missing_blocks(db, site_id)
        wanted = {block.hash for block in missing}
        gone = sorted(block.sensor_id for block in missing if block.lost_at is not None)
        self.laws.demand(
            not gone or site_id in self.laws.doubtful,
            f"{site_id}: given up though no disk lost them, {gone[:3]}",
        )
        for one in _manifested(db, site_id):
            held = {row.hash for row in archive.block_rows(db, one.sensor_id, one.day, one.day)}
            what = f"block {one.block_no} of {one.sensor_id}, day {one.day}"
            self.laws.demand(
                one.hash in held | wanted, f"{what}: it is neither at the tower nor asked for: {one.hash}"
            )


def _acknowledged(frame: bytes, answer: bytes) -> Parts:
    """Return the readings of a frame that its answer says the tower has."""
    told = decode(answer)
    if isinstance(told, ParcelsTaken):
        sent = decode(frame)
        assert isinstance(sent, Parcels)
        taken = [parcel for parcel in sent.parcels if parcel.parcel_no <= told.parcel_no]
        return [part for parcel in taken for part in unpack_parcel(parcel.body)]
    if isinstance(told, BlocksTaken):
        blocks = decode(frame)
        assert isinstance(blocks, Blocks)
        taken_all = told.taken >= len(blocks.blocks)
        return [(one.sensor_id, decode_block(one.body)) for one in blocks.blocks] if taken_all else []
    return []


def _close(times: NDArray[np.int64], at: int) -> bool:
    """Whether a sensor was heard around an instant, close enough for silence to be bridged.

    Before the first and after the last reading it is bridged as long.
    """
    place = int(np.searchsorted(times, at))
    before_us = int(times[place - 1]) if place else None
    after_us = int(times[place]) if place < len(times) else None
    if before_us is None or after_us is None:
        return any(one is not None and abs(at - one) <= GRACE_US for one in (before_us, after_us))
    return after_us - before_us <= GRACE_US


def _at(db: Reads, site_id: str, name: str) -> dict[int, int]:
    first_us = round((T0 - timedelta(days=1)).timestamp() * 1e6)
    last_us = round((T0 + DAYS).timestamp() * 1e6)
    found = store.readings_of(db, site_id, name, first_us, last_us)
    return dict(zip(found.at_us.tolist(), found.value_e4.tolist(), strict=True))


def _manifested(db: Reads, site_id: str) -> Iterator[ManifestedBlock]:
    for entry in log.read_all(db, -1, ["telemetry.blocks_manifested"]):
        event = log.decode_entry(entry)
        if entry.origin == site_id and isinstance(event, BlocksManifested):
            yield from event.blocks
