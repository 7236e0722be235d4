"""Registering: one step from a point that was heard to an approved sensor, as far as the rules of changes go.

Invariants
    R1  It is master data like any other: drafted, and approved by who may (`network.changes`). One command
        does both where the same person may, which is where nobody else could; else the change waits for
        somebody.
    R2  What is suggested is a suggestion, never a fact: what the gateway's map says the point is, else what
        its unit, its words and its value look like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, NotFound, Problem
from coldgrid.kernel.tables import EPOCH
from coldgrid.kernel.tx import Tx
from coldgrid.network.change_rules import ApproveChange, DraftChange
from coldgrid.network.changes import waiting_items
from coldgrid.telemetry.gateways import Gateway, driver_forms, get_gateway
from coldgrid.telemetry.heard import Point, points_of_site
from coldgrid.telemetry.quantities import SPELLINGS, Quantity, Unit
from coldgrid.telemetry.rules import DEVICES, SIGNALS, Role
from coldgrid.telemetry.sensors import sensors_of_zone

Text = Annotated[str, msgspec.Meta(max_length=200)]
NUMBERS_MAX = 99
# A device that only reports changes does so within a day at least.
CHANGES_S = 86_400.0
INTERVAL_MIN_S, INTERVAL_MAX_S = 1.0, 86_400.0
# A sensor counts as reporting half as often again as it was heard to, so that one lost reading is no gap.
SLACK = 1.5

_LETTERS = {
    Role.PRODUCT_PROBE: "P",
    Role.BUFFERED: "B",
    Role.SUPPLY_AIR: "S",
    Role.RETURN_AIR: "R",
    Role.DOOR: "D",
    Role.COMPRESSOR: "C",
    Role.DEFROST: "F",
    Role.UPS_MAINS: "W",
    Role.UPS_LOAD: "W",
    Role.UPS_ENERGY: "W",
    Role.WAN_PRIMARY: "N",
    Role.WAN_BACKUP: "N",
}
# Words of a point's address, and what they stand for; the first that occurs counts.
_STATES = (
    (("door", "contact", "open"), Role.DOOR),
    (("defrost",), Role.DEFROST),
    (("compressor", "comp"), Role.COMPRESSOR),
    (("mains", "utility", "online_status"), Role.UPS_MAINS),
    (("wan", "uplink"), Role.WAN_PRIMARY),
)
_AIRS = (
    (("return",), Role.RETURN_AIR),
    (("supply", "discharge"), Role.SUPPLY_AIR),
    (("product", "core"), Role.PRODUCT_PROBE),
    (("buffer", "glycol"), Role.BUFFERED),
)
# How warm a device is itself is not how warm its room is.
_OWN = {"battery", "cpu", "chip"}
_RANGES = {
    Quantity.TEMPERATURE: (-80.0, 80.0),
    Quantity.HUMIDITY: (0.0, 100.0),
    Quantity.STATE: (0.0, 255.0),
    Quantity.POWER: (0.0, 200_000.0),
    Quantity.ENERGY: (0.0, 200_000.0),
}


class Suggestion(msgspec.Struct, frozen=True):
    """What a point probably is (R2); `role` None: it cannot be told."""

    role: Role | None
    quantity: Quantity
    unit: Unit
    interval_s: float


class RegisterPoint(Command, frozen=True, tag="telemetry.register_point"):
    """Make a sensor of a point. What is left out is suggested; `source` is `GATEWAY/POINT`."""

    change_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    source: Annotated[str, msgspec.Meta(min_length=3, max_length=200)]
    zone_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    role: Role | None = None
    sensor_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    name: Text = ""
    interval_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 0.0
    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=500)] = "heard by its gateway"


class Registered(msgspec.Struct, frozen=True):
    """What came of it. `approved` False: the change waits for somebody else, and `why`."""

    sensor_id: str
    change_id: str
    approved: bool
    why: str = ""


# --- Rejection ----------------------------------------------------------------------


class PointDrafted(Conflict):
    """The point is drafted as a sensor already."""

    todo = "Approve that change, or put it aside and register the point again: /network/changes."


class PointNotNamed(NotFound):
    """The source names no point."""

    todo = "Write it as GATEWAY/POINT, as the page of devices shows it."


# --- Suggestions (pure) -------------------------------------------------------------


def suggest(point: Point, gateway: Gateway | None = None) -> Suggestion:
    """Return what a point probably is (R2). What a gateway polls is heard as often as it polls."""
    unit = SPELLINGS.get(point.unit)
    words = set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", point.point).lower()))
    role = _role_in_map(gateway, point.point) or _role_of(unit, words, point.value)
    quantity = quantity_of(role, unit or (Unit.PERCENT if words & {"humidity", "hum", "rh"} else None))
    interval_s = CHANGES_S if quantity is Quantity.STATE else _interval_of(point)
    if gateway is not None and gateway.every_s:
        interval_s = min(gateway.every_s * SLACK, INTERVAL_MAX_S)
    return Suggestion(role, quantity, _unit_of(quantity, unit), interval_s)


def _role_in_map(gateway: Gateway | None, point: str) -> Role | None:
    if gateway is None:
        return None
    told = _roles_in_map(gateway.driver, gateway.map).get(point, "")
    return Role(told) if told else None


@lru_cache(maxsize=32)
def _roles_in_map(driver: str, text: str) -> Mapping[str, str]:
    form = driver_forms().get(driver)
    return {} if form is None else form.roles_of_map(text)


def _role_of(unit: Unit | None, words: set[str], value: float) -> Role | None:
    state = next((role for told, role in _STATES if words & set(told)), None)
    if unit is Unit.STATE or (unit is None and state is not None and value in {0.0, 1.0, 2.0}):
        return state
    if unit is Unit.WATT:
        return Role.UPS_LOAD
    if unit is Unit.WATT_HOUR:
        return Role.UPS_ENERGY
    if words & _OWN:
        return None
    if unit is None and not words & {"temperature", "temp", "air", "humidity", "hum", "rh", "probe", "t"}:
        return None
    return next((role for told, role in _AIRS if words & set(told)), Role.ZONE_AIR)


def quantity_of(role: Role | None, unit: Unit | None) -> Quantity:
    """Return what a sensor of a role measures."""
    if role is not None and role in DEVICES | SIGNALS:
        return Quantity.STATE
    by_role = {Role.UPS_LOAD: Quantity.POWER, Role.UPS_ENERGY: Quantity.ENERGY}
    if role in by_role:
        return by_role[role]
    return Quantity.HUMIDITY if unit is Unit.PERCENT else Quantity.TEMPERATURE


def _unit_of(quantity: Quantity, unit: Unit | None) -> Unit:
    if quantity is Quantity.TEMPERATURE:
        return Unit.FAHRENHEIT if unit is Unit.FAHRENHEIT else Unit.CELSIUS
    return {
        Quantity.HUMIDITY: Unit.PERCENT,
        Quantity.STATE: Unit.STATE,
        Quantity.POWER: Unit.WATT,
        Quantity.ENERGY: Unit.WATT_HOUR,
    }[quantity]


def _interval_of(point: Point) -> float:
    """How often a point was heard, with slack; 60 s where that cannot be told yet."""
    if point.readings < 3:
        return 60.0
    mean_s = (point.last_at - point.first_at) / timedelta(seconds=1) / (point.readings - 1)
    return float(min(max(round(mean_s * SLACK), INTERVAL_MIN_S), INTERVAL_MAX_S))


def free_name(zone_id: str, role: Role, quantity: Quantity, taken: set[str]) -> str:
    """Return the next name of a sensor in a zone, by the naming standard.

    Raises:
        Invalid: the zone has 99 such sensors.
    """
    letter = "H" if quantity is Quantity.HUMIDITY else _LETTERS.get(role, "T")
    for number in range(1, NUMBERS_MAX + 1):
        if (found := f"{zone_id}-{letter}{number}") not in taken:
            return found
    raise Invalid([Problem(field="sensor_id", message=f"{zone_id} has {NUMBERS_MAX} such sensors already")])


# --- Carrying it out ----------------------------------------------------------------


@handles(RegisterPoint, action="network.draft_change", owner=Owner.NETWORK)
def register_point(tx: Tx, command: RegisterPoint) -> Registered:
    """Draft a sensor of a point, and approve it where the same person may (R1)."""
    _once(tx, command.source)
    item = item_for(tx, command)
    try:
        tx.run(DraftChange(change_id=command.change_id, items=[item], reason=command.reason))
    except Invalid as invalid:
        raise Invalid(_of_fields(invalid)) from None
    try:
        tx.run(ApproveChange(change_id=command.change_id, reason=command.reason))
    except Forbidden as forbidden:
        return Registered(item["sensor_id"], command.change_id, False, str(forbidden))
    return Registered(item["sensor_id"], command.change_id, True)


def _once(db: Reader, source: str) -> None:
    """A point that waits for approval under one name is not drafted under a second one.

    Raises:
        PointDrafted: it is in a change that nobody has decided.
    """
    for change_id, item in waiting_items(db, "sensor"):
        if item.body.get("source") == source:
            raise PointDrafted(source=source, sensor_id=item.key, change_id=change_id)


def _of_fields(invalid: Invalid) -> list[Problem]:
    """A problem of the one item is a problem of the command's own field."""
    return [
        msgspec.structs.replace(problem, field=problem.field.removeprefix("items[0]").removeprefix("."))
        for problem in invalid.problems
    ]


def item_for(db: Reader, command: RegisterPoint) -> dict[str, Any]:
    """Return the item of master data that makes a sensor of a point.

    Raises:
        GatewayNotFound: the source names none.
        Invalid: the role cannot be told and was not.
    """
    gateway = get_gateway(db, command.source.partition("/")[0])
    suggested = suggest(_heard(db, gateway.site_id, command.source), gateway)
    role = command.role or suggested.role
    if role is None:
        fix = f"say which: {', '.join(role.value for role in Role)}"
        raise Invalid([Problem(field="role", message="cannot be told from what was heard", fix=fix)])
    quantity = quantity_of(role, suggested.unit if suggested.quantity is Quantity.HUMIDITY else None)
    interval_s = suggested.interval_s
    if not gateway.every_s:
        interval_s = CHANGES_S if quantity is Quantity.STATE else min(interval_s, 3_600.0)
    low, high = _RANGES[quantity]
    taken = {sensor.sensor_id for sensor in sensors_of_zone(db, command.zone_id)}
    return {
        "kind": "sensor",
        "sensor_id": command.sensor_id or free_name(command.zone_id, role, quantity, taken),
        "site_id": gateway.site_id,
        "zone_id": command.zone_id,
        "role": role.value,
        "quantity": quantity.value,
        "unit": _unit_of(quantity, suggested.unit).value,
        "name": command.name,
        "valid_low": low,
        "valid_high": high,
        "interval_s": command.interval_s or interval_s,
        "source": command.source,
    }


def _heard(db: Reader, site_id: str, source: str) -> Point:
    """Return a point of the heard list; one that was not heard yet as far as its address tells."""
    for point in points_of_site(db, site_id):
        if point.source == source:
            return point
    gateway_id, _, name = source.partition("/")
    if not name:
        raise PointNotNamed(source=source)
    return Point(gateway_id=gateway_id, point=name, first_at=EPOCH, last_at=EPOCH, readings=1, value=0.0)
