"""Heard: points of gateways that nobody registered yet, and what devices say of themselves.

Invariants
    H1  A site's heard list has at most `POINTS_MAX` points, its devices are at most `DEVICES_MAX`: what a
        gateway makes up fills no log. A new point takes the place of one not heard for `FORGOTTEN_AFTER`.
    H2  What is on the list is a fact of the site: it survives a restart, and the tower sees it too.
    H3  What a device did not tell stays as it was told last, with the time of that.

The runner of the gateways decides how often it notes (`worth_telling`), so that the log grows by what
changes: a point when it is first heard and then once in `POINT_EVERY`, a device when it says something else.

A point that is a sensor's source needs no place on the list: who asks sees those without a sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import get_site
from coldgrid.telemetry.sources import sensors_by_source

POINTS_MAX = 500
DEVICES_MAX = 1_000
NOTED_MAX = 1_000
FORGOTTEN_AFTER = timedelta(days=7)
POINT_EVERY = timedelta(hours=1)
DEVICE_EVERY = timedelta(hours=24)
# Of what a device says of itself, less is no news within the hour.
BATTERY_STEP_PCT = 1.0
SIGNAL_STEP_DB = 6.0
SETTLED_AFTER = timedelta(hours=1)

# --- Vocabulary -----------------------------------------------------------------

Text = Annotated[str, msgspec.Meta(max_length=200)]
GatewayId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[^/]+$")]
At = Annotated[datetime, msgspec.Meta(tz=True)]
COUNT_MAX = 10**15


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A point that was heard: how often, since when, and its newest value in `unit` (empty: it told none)."""

    gateway_id: GatewayId
    point: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    first_at: At
    last_at: At
    readings: Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]
    value: float
    unit: Annotated[str, msgspec.Meta(max_length=20)] = ""

    @property
    def source(self) -> str:
        """What a sensor of this point has as its source."""
        return f"{self.gateway_id}/{self.point}"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What a device said of itself last; None: never. `device` empty: the gateway itself.

    `told_at`: when it said anything last, `online_at`: since when it is online, or is not.
    """

    gateway_id: GatewayId
    device: Text
    battery_pct: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    signal_dbm: Annotated[float, msgspec.Meta(ge=-200, le=100)] | None = None
    online: bool | None = None
    told_at: At
    online_at: At | None = None


# --- Events ---------------------------------------------------------------------


class PointsHeard(Event, frozen=True, tag="telemetry.points_heard"):
    """Points without a sensor were heard; those forgotten, as `GATEWAY/POINT`, made room."""

    site_id: str
    points: list[Point]
    forgotten: tuple[str, ...] = ()


class DevicesTold(Event, frozen=True, tag="telemetry.devices_told"):
    """Devices said something else of themselves than before; each with all that is known of it."""

    site_id: str
    devices: list[Device]


# --- Command --------------------------------------------------------------------


class NoteHeard(Command, frozen=True, tag="telemetry.note_heard"):
    """Note what a site's gateways heard beside readings. `readings` of a point counts since the last note."""

    site_id: str
    points: Annotated[tuple[Point, ...], msgspec.Meta(max_length=NOTED_MAX)] = ()
    devices: Annotated[tuple[Device, ...], msgspec.Meta(max_length=NOTED_MAX)] = ()


class Noted(msgspec.Struct, frozen=True):
    """How many points and devices were noted, and how many found no room (H1)."""

    points: int
    devices: int
    no_room: int


# --- Tables and projections -------------------------------------------------------

telemetry_point = sa.Table(
    "telemetry_point",
    metadata,
    sa.Column("gateway_id", sa.Text, primary_key=True),
    sa.Column("point", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("first_at", Instant, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
    sa.Column("readings", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    info={"origin": "site"},
)
telemetry_device = sa.Table(
    "telemetry_device",
    metadata,
    sa.Column("gateway_id", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("battery_pct", sa.Float),
    sa.Column("signal_dbm", sa.Float),
    sa.Column("online", sa.Boolean),
    sa.Column("told_at", Instant, nullable=False),
    sa.Column("online_at", Instant),
    info={"origin": "site"},
)
_PUT_POINT = Statement(
    upsert(
        telemetry_point,
        keys=["gateway_id", "point"],
        set_=["site_id", "first_at", "last_at", "readings", "value", "unit"],
    )
)
_FORGET = Statement(
    telemetry_point.delete().where(
        telemetry_point.c.gateway_id == sa.bindparam("whose"),
        telemetry_point.c.point == sa.bindparam("which"),
    )
)
_PUT_DEVICE = Statement(
    upsert(
        telemetry_device,
        keys=["gateway_id", "device"],
        set_=["site_id", "battery_pct", "signal_dbm", "online", "told_at", "online_at"],
    )
)


@projects(PointsHeard)
def _keep_points(tx: Tx, event: PointsHeard) -> None:
    for source in event.forgotten:
        gateway_id, _, point = source.partition("/")
        tx.write(_FORGET, whose=gateway_id, which=point)
    for one in event.points:
        tx.write(_PUT_POINT, site_id=event.site_id, **msgspec.structs.asdict(one))


@projects(DevicesTold)
def _keep_devices(tx: Tx, event: DevicesTold) -> None:
    for one in event.devices:
        tx.write(_PUT_DEVICE, site_id=event.site_id, **msgspec.structs.asdict(one))


# --- Decisions (pure) -------------------------------------------------------------


def worth_telling(before: Device | None, now: Device) -> bool:
    """Tell whether what a device says of itself is news.

    At once: the first word, going on- or offline, a battery that falls through 20 or 10 %. Within the hour no
    other change; after it one of `BATTERY_STEP_PCT` or `SIGNAL_STEP_DB`, or the first word of either; and
    once in `DEVICE_EVERY` anyhow.
    """
    if before is None:
        return True
    if now.online is not None and now.online != before.online:
        return True
    if any(_fell_through(before.battery_pct, now.battery_pct, level) for level in (20.0, 10.0)):
        return True
    if now.told_at - before.told_at >= DEVICE_EVERY:
        return True
    if now.told_at - before.told_at < SETTLED_AFTER:
        return False
    return _moved(before.battery_pct, now.battery_pct, BATTERY_STEP_PCT) or _moved(
        before.signal_dbm, now.signal_dbm, SIGNAL_STEP_DB
    )


def _fell_through(before: float | None, now: float | None, level: float) -> bool:
    return now is not None and now <= level and (before is None or before > level)


def _moved(before: float | None, now: float | None, step: float) -> bool:
    return now is not None and (before is None or abs(now - before) >= step)


def merged(before: Device | None, now: Device) -> Device:
    """Return a device with what it said now over what it said before (H3)."""
    if before is None:
        return msgspec.structs.replace(now, online_at=None if now.online is None else now.told_at)
    same = now.online is None or now.online == before.online
    return Device(
        gateway_id=now.gateway_id,
        device=now.device,
        battery_pct=before.battery_pct if now.battery_pct is None else now.battery_pct,
        signal_dbm=before.signal_dbm if now.signal_dbm is None else now.signal_dbm,
        online=before.online if now.online is None else now.online,
        told_at=max(now.told_at, before.told_at),
        online_at=before.online_at if same else now.told_at,
    )


def decide_points(
    known: dict[str, Point], heard: Sequence[Point], bound: set[str], now: datetime
) -> tuple[list[Point], tuple[str, ...], int]:
    """Return which points to keep, which to forget for them, and how many found no room (H1).

    Args:
        known: The site's heard list, by source.
        heard: What was heard since it was last noted.
        bound: The sources that are sensors: they need no place on the list.
        now: The business clock.
    """
    kept: dict[str, Point] = {}
    no_room = 0
    again = {one.source for one in heard}
    gone = (one for one in known.values() if one.source not in again and _stale(one, bound, now))
    stale = sorted(gone, key=lambda one: one.last_at)
    forgotten: list[str] = []
    room = POINTS_MAX - len(known)
    for one in heard:
        before = kept.get(one.source) or known.get(one.source)
        if one.source in bound:
            continue
        if before is None and room <= 0:
            if not stale:
                no_room += 1
                continue
            forgotten.append(stale.pop(0).source)
            room += 1
        room -= before is None
        kept[one.source] = one if before is None else _together(before, one)
    return list(kept.values()), tuple(forgotten), no_room


def _stale(one: Point, bound: set[str], now: datetime) -> bool:
    return one.source in bound or now - one.last_at >= FORGOTTEN_AFTER


def _together(before: Point, now: Point) -> Point:
    newer = now if now.last_at >= before.last_at else before
    return Point(
        gateway_id=now.gateway_id,
        point=now.point,
        first_at=min(before.first_at, now.first_at),
        last_at=newer.last_at,
        readings=min(before.readings + now.readings, COUNT_MAX),
        value=newer.value,
        unit=newer.unit,
    )


# --- Carrying it out --------------------------------------------------------------


@handles(NoteHeard, action="telemetry.ingest_notes", owner=Owner.SITE)
def note_heard(tx: Tx, command: NoteHeard) -> Noted:
    """Put points on the site's heard list and keep what devices said of themselves."""
    get_site(tx, command.site_id)
    stream = f"device/{command.site_id}"
    points: list[Point] = []
    no_room = 0
    if command.points:
        known = {one.source: one for one in tx.all(_POINTS, site_id=command.site_id)}
        bound = set(sensors_by_source(tx, command.site_id))
        points, forgotten, no_room = decide_points(known, command.points, bound, tx.now)
        if points:
            tx.record(stream, PointsHeard(site_id=command.site_id, points=points, forgotten=forgotten))
    devices: dict[tuple[str, str], Device] = {}
    if command.devices:
        before = {(one.gateway_id, one.device): one for one in devices_of_site(tx, command.site_id)}
        for one in command.devices:
            key = (one.gateway_id, one.device)
            if key not in before and len(before) >= DEVICES_MAX:
                no_room += 1
                continue
            before[key] = devices[key] = merged(before.get(key), one)
        if devices:
            told = DevicesTold(site_id=command.site_id, devices=list(devices.values()))
            tx.record(stream, told)
    return Noted(len(points), len(devices), no_room)


# --- Queries --------------------------------------------------------------------

_POINTS = Statement(
    sa.select(
        *(
            telemetry_point.c[name]
            for name in ("gateway_id", "point", "first_at", "last_at", "readings", "value", "unit")
        )
    )
    .where(telemetry_point.c.site_id == sa.bindparam("site_id"))
    .order_by(telemetry_point.c.gateway_id, telemetry_point.c.point),
    into=lambda *row: Point(**dict(zip(Point.__struct_fields__, row, strict=True))),
)
_DEVICES = Statement(
    sa.select(*(telemetry_device.c[name] for name in Device.__struct_fields__))
    .where(telemetry_device.c.site_id == sa.bindparam("site_id"))
    .order_by(telemetry_device.c.gateway_id, telemetry_device.c.device),
    into=lambda *row: Device(**dict(zip(Device.__struct_fields__, row, strict=True))),
)


def points_of_site(db: Reader, site_id: str) -> list[Point]:
    """Return a site's heard list: the points that are no active sensor's source, by gateway and point."""
    bound = sensors_by_source(db, site_id)
    return [one for one in db.all(_POINTS, site_id=site_id) if one.source not in bound]


def devices_of_site(db: Reader, site_id: str) -> list[Device]:
    """Return what the devices of a site's gateways said of themselves last; `device` empty: a gateway."""
    return db.all(_DEVICES, site_id=site_id)
