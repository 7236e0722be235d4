"""History compact: the several files of a site's day as one, which says the same and is proven the same way.

    readings/date=2026-03-01/site=ATL1/0000-0003.parquet    what the files 0 to 3 of that day hold

Invariants
    C1  A compact file holds the rows of the files that its name counts and no others; it names their blocks,
        each with its hash and its manifest, so that it is proven as they are (`history_proof`).
    C2  Only a day whose files are all there from number 0 on is compacted: a number that is still to be
        written is in no compact file's name.
    C3  Who goes by names counts a reading once: a file whose numbers another file counts too is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.export import STORED_UNIT
from coldgrid.telemetry.history import BlockName
from coldgrid.telemetry.history_files import Claims, Opened, VouchedBlock, arrow, claims_of, in_order
from coldgrid.telemetry.history_proof import blocks_in
from coldgrid.telemetry.quantities import Quantity

_NUMBERS = re.compile(r"(\d{4,})(?:-(\d{4,}))?\.parquet")
_QUANTITY = {unit: Quantity(quantity) for quantity, unit in STORED_UNIT.items()}


class CannotCompact(ValueError):
    """The files of a site's day do not fit together; the message says why. They stay as they are."""


class Named(NamedTuple):
    """A file by its name: where it lies, and the first and the last number that it counts."""

    folder: str
    first: int
    last: int

    @property
    def compact(self) -> bool:
        """Whether it stands for several."""
        return self.last > self.first

    def covers(self, other: Named) -> bool:
        """Tell whether it counts all that another one counts."""
        return self.folder == other.folder and self.first <= other.first and other.last <= self.last


class One(msgspec.Struct, frozen=True):
    """Whose readings a file has, and what they measure."""

    sensor_id: str
    quantity: Quantity


def named(name: str) -> Named | None:
    """Read a file's name; None: it is none of ours."""
    folder, _, last = name.rpartition("/")
    found = _NUMBERS.fullmatch(last)
    return Named(folder, int(found[1]), int(found[2] or found[1])) if found else None


def is_compact(name: str) -> bool:
    """Tell whether a file stands for several."""
    found = named(name)
    return found is not None and found.compact


def replacing(name: str, names: Sequence[str]) -> str | None:
    """Return the widest compact file that counts what a file counts; None: the file stands for itself."""
    own = named(name)
    wider = [
        (other.last - other.first, one)
        for one in names
        if own is not None and one != name and (other := named(one)) is not None
        if other.compact and other.covers(own)
    ]
    return max(wider)[1] if wider else None


def counted(names: Sequence[str]) -> list[str]:
    """Leave out the files that others replace (C3)."""
    wide: dict[str, list[str]] = {}
    for name in names:
        if is_compact(name):
            wide.setdefault(name.rpartition("/")[0], []).append(name)
    return [name for name in names if replacing(name, wide.get(name.rpartition("/")[0], ())) is None]


def compact_name(names: Sequence[str]) -> str | None:
    """Return what the one file for some files of a day is called; None where a number is missing (C2)."""
    parts = sorted(found for name in names if (found := named(name)) is not None)
    if len(parts) < 2 or len(parts) != len(names) or parts[0].first != 0:
        return None
    if any(before.last + 1 != after.first for before, after in pairwise(parts)):
        return None
    return f"{parts[0].folder}/{parts[0].first:04}-{parts[-1].last:04}.parquet"


def merged_claims(several: Sequence[Claims]) -> Claims:
    """Return what the one file says of itself.

    Raises:
        CannotCompact: two of them say different things of one block, or are not of one site's day.
    """
    first = several[0]
    blocks: dict[tuple[str, int], VouchedBlock] = {}
    for claims in several:
        if (claims.network, claims.site_id, claims.day) != (first.network, first.site_id, first.day):
            raise CannotCompact("they are not of one site's day")
        for block in claims.blocks:
            if blocks.setdefault((block.sensor_id, block.block_no), block).hash != block.hash:
                raise CannotCompact(
                    f"{block.sensor_id}, block {block.block_no}: two files hold different ones"
                )
    left_out: dict[tuple[str, int], BlockName] = {
        (one.sensor_id, one.block_no): one for claims in several for one in claims.left_out
    }
    return msgspec.structs.replace(
        first,
        file_no=max(claims.file_no for claims in several),
        blocks=[blocks[key] for key in sorted(blocks)],
        left_out=[one for key, one in sorted(left_out.items()) if key not in blocks],
    )


def merged_readings(tables: Sequence[Any]) -> Opened:
    """Return the rows of some files of readings as one file's, by sensor, time and version (C1).

    Raises:
        CannotCompact: see `merged_claims`; or a sensor changed its unit within the day.
    """
    claims = merged_claims([_claims(table) for table in tables])
    blocks: dict[str, dict[int, Readings]] = {}
    units: dict[str, set[str]] = {}
    for table in tables:
        for (sensor_id, number), readings in blocks_in(table).items():
            blocks.setdefault(sensor_id, {})[number] = readings
        for row in (
            table.select(["sensor_id", "unit"]).group_by(["sensor_id", "unit"]).aggregate([]).to_pylist()
        ):
            units.setdefault(row["sensor_id"], set()).add(row["unit"])
    several = sorted(sensor_id for sensor_id, found in units.items() if len(found) > 1)
    if several:
        raise CannotCompact(f"{', '.join(several)} has two units in one day")
    return Opened(
        claims,
        [
            (One(sensor_id, _QUANTITY[min(units[sensor_id])]), *in_order(sorted(parts.items(), key=_number)))
            for sensor_id, parts in sorted(blocks.items())
        ],
    )


def merged_sensors(tables: Sequence[Any]) -> Any:
    """Return the rows of some files of sensors together; of one sensor the highest version counts."""
    pa, _ = arrow()
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])


def _number(part: tuple[int, Readings]) -> int:
    return part[0]


def _claims(table: Any) -> Claims:
    claims = claims_of(table.schema.metadata)
    if claims is None:
        raise CannotCompact("one of them says nothing of blocks")
    return claims
