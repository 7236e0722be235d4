"""Parcels: readings on their way from a node to the tower before their day is sealed.

Invariants
    P1  Every reading that a node takes in while parcels are on is in exactly one, numbered without a gap.
    P2  A parcel is a copy: blocks, which manifests vouch for, take its place. Whatever order they arrive in,
        a reading counts once, and what the tower shows is what the node shows.

A node cuts a parcel from the flushes that are not rolled yet: before each roll, and every so often. It waits
until the tower has it. At the tower a parcel waits until it is rolled into chunks, like flushes do at home.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.landing import Flush, Named, joined
from coldgrid.telemetry.parcel_form import PARCEL_READINGS_MAX, pack_parcel, unpack_parcel
from coldgrid.telemetry.parcel_marks import drop_marks, keep_mark, mark_after, mark_of


class Parcel(msgspec.Struct, frozen=True):
    """A parcel as it is stored."""

    parcel_no: int
    first_us: int
    last_us: int
    readings: int
    body: bytes


# --- Tables -----------------------------------------------------------------------

telemetry_parcel = sa.Table(
    "telemetry_parcel",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("parcel_no", sa.BigInteger, primary_key=True),
    sa.Column("first_us", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("readings", sa.BigInteger, nullable=False),
    # From another host: shown with its site's readings. A node's own are copies of what it shows anyway.
    sa.Column("arrived", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True},
)
telemetry_parcel_head = sa.Table(
    "telemetry_parcel_head",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("parcel_no", sa.BigInteger, nullable=False),
    sa.Column("landed_no", sa.BigInteger, nullable=False),
    info={"service": True},
)

_PUT = Statement(upsert(telemetry_parcel, keys=["site_id", "parcel_no"]))
_DROP = Statement(
    telemetry_parcel.delete().where(
        telemetry_parcel.c.site_id == sa.bindparam("whose"),
        telemetry_parcel.c.parcel_no <= sa.bindparam("upto"),
    )
)
_MOVE = Statement(upsert(telemetry_parcel_head, keys=["site_id"], set_=["parcel_no", "landed_no"]))
_HEADS = Statement(sa.select(telemetry_parcel_head))
_HEAD_OF = Statement(
    sa.select(telemetry_parcel_head.c.parcel_no, telemetry_parcel_head.c.landed_no).where(
        telemetry_parcel_head.c.site_id == sa.bindparam("site_id")
    )
)
_OF_SITE = telemetry_parcel.c.site_id == sa.bindparam("site_id")
_AFTER = Statement(
    sa.select(*(telemetry_parcel.c[name] for name in Parcel.__struct_fields__))
    .where(_OF_SITE, telemetry_parcel.c.parcel_no > sa.bindparam("after"))
    .order_by(telemetry_parcel.c.parcel_no)
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=Parcel,
)
_BETWEEN = Statement(
    sa.select(telemetry_parcel.c.body)
    .where(
        _OF_SITE,
        telemetry_parcel.c.arrived.is_(sa.true()),
        telemetry_parcel.c.last_us >= sa.bindparam("from_us"),
        telemetry_parcel.c.first_us < sa.bindparam("to_us"),
    )
    .order_by(telemetry_parcel.c.parcel_no)
)
_ALL_BETWEEN = Statement(
    sa.select(telemetry_parcel.c.site_id, telemetry_parcel.c.body)
    .where(
        telemetry_parcel.c.arrived.is_(sa.true()),
        telemetry_parcel.c.last_us >= sa.bindparam("from_us"),
        telemetry_parcel.c.first_us < sa.bindparam("to_us"),
    )
    .order_by(telemetry_parcel.c.site_id, telemetry_parcel.c.parcel_no)
)
_WAITING = Statement(sa.select(sa.func.count(), sa.func.sum(telemetry_parcel.c.readings)).where(_OF_SITE))


class ParcelHead(msgspec.Struct, frozen=True):
    """A site's last parcel, and at its node the last flush that is in one. `landed_no` -1: none yet."""

    parcel_no: int = 0
    landed_no: int = -1


@hot_state
class ParcelHeads:
    """How far parcels go: at a node of its own site, at the tower of those it has heard of."""

    def __init__(self) -> None:
        self.of: dict[str, ParcelHead] = {}

    @classmethod
    def load(cls, reader: Reader) -> ParcelHeads:
        """Read the table."""
        state = cls()
        state.of = {site_id: ParcelHead(no, landed) for site_id, no, landed in reader.all(_HEADS)}
        return state


def move_head(tx: Tx, site_id: str, head: ParcelHead) -> None:
    """Write how far a site's parcels go."""
    heads = tx.hot(ParcelHeads).of
    before = heads.get(site_id)
    tx.write(_MOVE, site_id=site_id, parcel_no=head.parcel_no, landed_no=head.landed_no)
    heads[site_id] = head

    def put_back() -> None:
        if before is None:
            heads.pop(site_id, None)
        else:
            heads[site_id] = before

    tx.undo(put_back)


# --- At the node ------------------------------------------------------------------


def cut_parcel(tx: Tx, flushes: Sequence[Flush], landed_no: int) -> int:
    """Make parcels of the flushes that are in none yet; return how many (P1).

    `flushes`: those not rolled yet, the last one numbered `landed_no`. Does nothing where parcels are off.
    """
    head = tx.hot(ParcelHeads).of.get(tx.origin)
    if head is None or landed_no <= head.landed_no:
        return 0
    new = flushes[-min(len(flushes), landed_no - head.landed_no) :]
    move_head(tx, tx.origin, ParcelHead(head.parcel_no, landed_no))
    return put_own(tx, new) - head.parcel_no


def put_own(tx: Tx, flushes: Iterable[Flush], *, again: bool = False) -> int:
    """Put readings of the unit's site into parcels behind its last one; return the number of the last.

    `again`: they may have been sent before.
    """
    head = tx.hot(ParcelHeads).of[tx.origin]
    number, mark = head.parcel_no, mark_of(tx, tx.origin, head.parcel_no)
    for parts in portions(flushes):
        number, body = number + 1, pack_parcel(parts)
        mark = mark_after(mark, body)
        put_parcel(tx, Cut(number, False), parts, body)
        keep_mark(tx, tx.origin, number, mark, again=again)
    if number > head.parcel_no:
        move_head(tx, tx.origin, ParcelHead(number, head.landed_no))
    return number


def portions(flushes: Iterable[Flush]) -> Iterable[list[tuple[str, Readings]]]:
    """Yield the readings of flushes by sensor, in portions that a parcel may hold."""
    some: list[Flush] = []
    count = 0
    for flush in flushes:
        if some and count + len(flush.readings) > PARCEL_READINGS_MAX:
            yield _by_sensor(some)
            some, count = [], 0
        some.append(flush)
        count += len(flush.readings)
    if count:
        yield _by_sensor(some)


def _by_sensor(flushes: Sequence[Flush]) -> list[tuple[str, Readings]]:
    parts: dict[str, list[Readings]] = {}
    for flush in flushes:
        for index, sensor_id in enumerate(flush.sensor_ids):
            parts.setdefault(sensor_id, []).append(flush.part(index))
    return [(sensor_id, found) for sensor_id in sorted(parts) if len(found := joined(parts[sensor_id]))]


class Cut(msgspec.Struct, frozen=True):
    """A parcel's number, and whether it came from another host."""

    parcel_no: int
    arrived: bool


def put_parcel(tx: Tx, cut: Cut, parts: Sequence[tuple[str, Readings]], body: bytes) -> None:
    """Store a parcel of the unit's site; one that is there already stays."""
    tx.write(
        _PUT,
        site_id=tx.origin,
        parcel_no=cut.parcel_no,
        arrived=cut.arrived,
        first_us=min(int(readings.at_us[0]) for _, readings in parts),
        last_us=max(int(readings.at_us[-1]) for _, readings in parts),
        readings=sum(len(readings) for _, readings in parts),
        body=body,
    )


def drop_parcels(tx: Tx, site_id: str, upto: int) -> None:
    """Delete the parcels up to a number: the tower has them, or they were rolled; a mark remains."""
    tx.write(_DROP, whose=site_id, upto=upto)
    drop_marks(tx, site_id, upto)


# --- Queries ----------------------------------------------------------------------


def head_of(db: Reader, site_id: str) -> ParcelHead:
    """Return how far a site's parcels go."""
    row = db.one(_HEAD_OF, site_id=site_id)
    return ParcelHead() if row is None else ParcelHead(int(row[0]), int(row[1]))


def parcels_after(db: Reader, site_id: str, after: int, limit: int) -> list[Parcel]:
    """Return a site's parcels after a number, in order."""
    return db.all(_AFTER, site_id=site_id, after=after, count=limit)


def waiting(db: Reader, site_id: str) -> tuple[int, int]:
    """Return how many parcels of a site wait, and how many readings they hold."""
    row = db.one(_WAITING, site_id=site_id)
    return (0, 0) if row is None else (int(row[0] or 0), int(row[1] or 0))


def as_flush(parts: Sequence[tuple[str, Readings]]) -> Flush:
    """Return readings by sensor as a flush that nobody has to follow with rules any more."""
    counts = np.array([len(readings) for _, readings in parts], dtype=np.int64)
    readings = Readings(
        np.concatenate([part.at_us for _, part in parts]),
        np.concatenate([part.value_e4 for _, part in parts]),
        np.concatenate([part.bad for _, part in parts]),
    )
    names = [name for name, _ in parts]
    return Flush(
        Named(names, {name: [index] for index, name in enumerate(names)}),
        np.cumsum(counts) - counts,
        readings,
        0,
        0,
    )


def arrived_between(db: Reader, site_id: str, from_us: int, to_us: int) -> list[Flush]:
    """Return what parcels of another host hold of a range; nothing for a site whose flushes are here."""
    bodies = db.all(_BETWEEN, site_id=site_id, from_us=from_us, to_us=to_us)
    return [as_flush(unpack_parcel(body)) for (body,) in bodies]


def all_arrived_between(db: Reader, from_us: int, to_us: int) -> list[Flush]:
    """Return what parcels of all other hosts hold of a range."""
    return [as_flush(unpack_parcel(body)) for _, body in db.all(_ALL_BETWEEN, from_us=from_us, to_us=to_us)]
