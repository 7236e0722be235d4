"""The map of a LoRaWAN gateway: what the fields of its uplinks measure. Pure.

    application: cold-rooms@ttn   # over MQTT: whose uplinks; without @ it is a ChirpStack application's UUID
    client_id: coldgrid-ATL1      # this host's session at the broker; left out: coldgrid-GATEWAY
    payload: decoded              # decoded fields (left out: these), or cayenne: raw bytes are Cayenne LPP
    ports: [2]                    # which ports carry measurements; left out: every one
    fields:                       # which fields are measurements; others are passed over
      - {path: temperature, point: air, unit: C}
      - {path: probe.volts, point: probe, factor: 10, offset: -40, unit: C}
      - {path: door_open, point: door, unit: state}
    battery: {path: voltage_1, empty: 2.4, full: 3.6}   # or {path: battery, empty: 0, full: 100}
    time: {path: measured_at}     # seconds since 1970 by the device's own clock, where it has one

Without `fields` those are taken that are named as Cayenne's are (`temperature_1`) and have a unit that is
kept here, and the air's as The Things Stack normalizes them (`normalized.air.temperature`). A point is
DEVEUI/POINT.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from coldgrid.adapters.device_map import Fields, Sheet
from coldgrid.kernel.rejections import Problem

PATH_MAX = 120


class FieldMap(msgspec.Struct, frozen=True):
    """One field: what is measured is its value × factor + offset, in its unit; empty: the sensor's own."""

    path: str
    point: str
    unit: str = ""
    factor: float = 1.0
    offset: float = 0.0


class BatteryMap(msgspec.Struct, frozen=True):
    """The field that tells of the battery, and its values at 0 % and 100 %."""

    path: str
    empty: float
    full: float


class LorawanMap(msgspec.Struct, frozen=True, kw_only=True):
    """What a map says."""

    application: str = ""
    client_id: str = ""
    payload: str = "decoded"
    ports: frozenset[int] = frozenset()
    fields: tuple[FieldMap, ...] = ()
    battery: BatteryMap | None = None
    time_path: str = ""

    def filters(self) -> list[str]:
        """Return the topics to subscribe to, of The Things Stack and of ChirpStack."""
        whose = self.application or "+"
        stack = [f"v3/{whose}/devices/+/up"]
        chirp = [f"application/{whose}/device/+/event/{event}" for event in ("up", "status", "join")]
        if not self.application:
            return stack + chirp
        return stack if "@" in self.application else chirp


class _Ids(Collection[str]):
    """Every name that can stand in a topic."""

    def __contains__(self, text: object) -> bool:
        return (
            isinstance(text, str)
            and 0 < len(text) <= 80
            and text.isprintable()
            and not set(text) & set("+#/")
        )

    def __iter__(self) -> Iterator[str]:
        return iter(("1 to 80 characters without +, # and /",))

    def __len__(self) -> int:
        return 1


def read_map(text: str) -> tuple[LorawanMap, list[Problem]]:
    """Read a map; total on any text."""
    if not text.strip():
        return LorawanMap(), []
    sheet = Sheet(text)
    top = sheet.top
    fields = tuple(_field(group) for group in top.groups("fields"))
    ports = top.wholes("ports")
    time = top.group("time")
    found = LorawanMap(
        application=top.choice("application", _Ids(), ""),
        client_id=top.choice("client_id", _Ids(), ""),
        payload=top.choice("payload", ("decoded", "cayenne"), "decoded"),
        ports=frozenset(ports),
        fields=fields,
        battery=_battery(top.group("battery")) if top.has("battery") else None,
        time_path=time.text("path", chars_max=PATH_MAX) if top.has("time") else "",
    )
    time.done()
    for index, port in enumerate(ports):
        if not 1 <= port <= 223:
            top.wrong(f"ports[{index}]", f"{port} is no port of an application", "from 1 to 223")
    _check_twice(top, [field.path for field in fields], "path")
    _check_twice(top, [field.point for field in fields], "point")
    top.done()
    return found, sheet.problems


def problems_of_map(text: str) -> Sequence[Problem]:
    """Return what is wrong with a map."""
    return read_map(text)[1]


def _field(given: Fields) -> FieldMap:
    found = FieldMap(
        path=given.text("path", chars_max=PATH_MAX),
        point=given.name("point"),
        unit=given.unit(),
        factor=given.number("factor", 1.0),
        offset=given.number("offset", 0.0),
    )
    given.done()
    return found


def _battery(given: Fields) -> BatteryMap:
    found = BatteryMap(
        path=given.text("path", chars_max=PATH_MAX),
        empty=given.number("empty", 0.0, 0.0, 10_000.0),
        full=given.number("full", 100.0, 0.0, 10_000.0),
    )
    if found.full <= found.empty:
        given.wrong("full", "is not above empty", "write volts, such as empty: 2.4 and full: 3.6")
    given.done()
    return found


def _check_twice(top: Fields, names: Sequence[str], what: str) -> None:
    for index, name in enumerate(names):
        if name and name in names[:index]:
            top.wrong(f"fields[{index}].{what}", f"{name!r} is there already", "keep one of them")
