"""What of the readings may go after a time: the bytes of sealed blocks that a manifest vouches for.

What stays of a block: its row with hash, counts, extremes and sums, so that months still add up; and its
manifest in the log, so that a copy of the bytes from elsewhere (a pack, the history) can still be proven.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.retention import Kind, Spared, Thing, register_kind
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import archive
from coldgrid.telemetry.blocks import DAY_US

READINGS = "readings"
LOOKED_AT = 8  # how many times as many blocks as are wanted are looked at: some are spared


def find(db: Reader, before: datetime, spared: Spared, most: int) -> list[Thing]:
    """Return blocks of whole days before an instant, but for those of sites and times that are spared."""
    day = to_micros(before) // DAY_US
    found: dict[str, Thing] = {}
    kept: set[str] = set()
    for name, size, site_id, last_us in archive.old_bodies(db, day, most * LOOKED_AT):
        at = from_micros(last_us)
        if spared.spares(site_id, at):
            kept.add(name)
        elif len(found) < most:
            found[name] = Thing(name, size, at)
    return [thing for name, thing in found.items() if name not in kept]


def drop(tx: Tx, names: Sequence[str]) -> None:
    """Let the bytes of blocks go."""
    archive.drop_bodies(tx, names)


register_kind(Kind(READINGS, "sealed readings: their bytes; counts, sums and manifests stay", find, drop))
