"""Births: what an edge node or a device says that it will send, and what its later messages mean by it. Pure.

Invariants
    SB1  A metric without a name means what its alias was given in the birth that is in force, or nothing.
    SB2  An alias that one birth gives to two names means neither.
    SB3  What can be no measurement is told at the birth, once; later messages only count it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from coldgrid.adapters import sparkplug_payload as sp
from coldgrid.adapters.driving import POINT_CHARS_MAX, Heard, Unreadable, reading_value, unreadable

# Metrics that one edge node, with its devices, may declare.
POINTS_MAX = 1_000
# Of one message so many failures are told one by one; all are counted.
TOLD_MAX = 20
# What a clock may say, in ms since 1970: up to the year 2200. How far it may be off is judged where readings
# become facts.
CLOCK_MS = range(1, 7_258_118_400_000)
# A value so much older than its message was kept by its device.
OLD_MS = 60_000


class Point(msgspec.Struct, frozen=True):
    """A metric that a birth declared. `address` empty: it is no measurement, later values are passed over."""

    name: str
    address: str
    datatype: int
    unit: str


class Table(msgspec.Struct):
    """A birth in force: what its names and aliases mean. `at_ms`: when it was sent, by its sender's clock."""

    at_ms: int
    by_name: dict[str, Point] = {}
    by_alias: dict[int, Point] = {}
    clashing: set[int] = set()


class Findings:
    """What messages came to, gathered."""

    def __init__(self) -> None:
        self.readings: list[Heard] = []
        self.unreadable: list[Unreadable] = []
        self.counts: Counter[str] = Counter()

    def refuse(self, source: str, text: str, why: str, outcome: str = "refused") -> None:
        """Note something that is no reading."""
        self.counts[outcome] += 1
        if len(self.unreadable) < TOLD_MAX:
            self.unreadable.append(unreadable(source, text, why))
        elif len(self.unreadable) == TOLD_MAX:
            self.unreadable.append(unreadable(source, "", "and more of this message; all are counted"))


def address_of(place: str, device: str, name: str) -> str:
    """Return a point's address: GROUP/NODE/DEVICE/METRIC; a metric of the node itself has an empty DEVICE."""
    return f"{place}/{device}/{name}"


def table_of(place: str, device: str, birth: sp.Payload, room: int, findings: Findings) -> Table:
    """Return what a birth declares (SB2, SB3).

    Args:
        place: GROUP/NODE.
        device: The device; empty: the node itself.
        birth: The payload.
        room: How many more points this edge node may have.
        findings: Where to tell what can be no measurement.
    """
    table = Table(birth.at_ms or 0, {}, {}, set())
    for metric in birth.metrics:
        if not metric.name:
            findings.refuse(address_of(place, device, ""), f"alias {metric.alias}", "a birth names no metric")
            continue
        point = _declared(address_of(place, device, metric.name), metric, room, findings)
        room -= bool(point.address)
        if table.by_name.setdefault(metric.name, point) is not point:
            findings.refuse(
                point.address, metric.name, "is declared twice in one birth: the first one counts"
            )
        elif metric.alias is not None:
            _give_alias(table, metric.alias, point, findings)
    return table


def _declared(address: str, metric: sp.Metric, room: int, findings: Findings) -> Point:
    """Return the point of a declared metric, without an address where it can be no measurement."""
    why, unit = "", ""
    if metric.datatype == 0 or metric.datatype > sp.BOOLEAN:
        why = f"datatype {sp.NAMES.get(metric.datatype, metric.datatype)} is no single number"
    elif len(address) > POINT_CHARS_MAX:
        why = f"its address has {len(address)} characters; at most {POINT_CHARS_MAX} are kept"
    elif not address.isprintable():
        why = "its name holds characters that are no text"
    elif room <= 0:
        why = f"its edge node declares more than {POINTS_MAX} points"
    else:
        try:
            unit = sp.unit_of(metric.unit, metric.datatype)
        except sp.NoNumber as error:
            why = str(error)
    own = metric.name == sp.BD_SEQ or metric.name.startswith("Node Control/")
    if why and metric.datatype not in sp.WORDS and not own:
        findings.refuse(address, metric.name, why, "no_measurement")
    return Point(metric.name, "" if why or own else address, metric.datatype, unit)


def _give_alias(table: Table, alias: int, point: Point, findings: Findings) -> None:
    taken = table.by_alias.setdefault(alias, point)
    if taken is not point:
        table.clashing.add(alias)
        why = f"alias {alias} is given to {taken.name} as well: it means neither"
        findings.refuse(point.address or point.name, point.name, why, "alias_clash")


def meant(table: Table, metric: sp.Metric) -> Point | None:
    """Return what a metric means by a birth; None: it means nothing (SB1, SB2)."""
    if metric.name:
        return table.by_name.get(metric.name)
    if metric.alias is None or metric.alias in table.clashing:
        return None
    return table.by_alias.get(metric.alias)


def read_birth(table: Table, birth: sp.Payload, now_us: int, findings: Findings) -> None:
    """Take the values that a birth brings along; one that brings none is no mistake."""
    seen = set()
    for metric in birth.metrics:
        point = table.by_name.get(metric.name)
        if point is not None and point.address and not metric.null and metric.name not in seen:
            seen.add(metric.name)
            read(point, metric, birth.at_ms, now_us, findings)


def read(point: Point, metric: sp.Metric, sent_ms: int | None, now_us: int, findings: Findings) -> None:
    """Read one value of a point, or tell why it is none."""
    if not point.address:
        findings.counts["no_measurement"] += 1
        return
    if metric.datatype not in (0, point.datatype):
        told, was = sp.NAMES.get(metric.datatype, metric.datatype), sp.NAMES[point.datatype]
        findings.refuse(point.address, str(metric.value), f"is a {told} now, and was declared as {was}")
        return
    try:
        value = reading_value(sp.number_of(metric, point.datatype))
    except sp.NoNumber as error:
        findings.refuse(point.address, str(metric.value), str(error), "null" if metric.null else "refused")
        return
    if value is None:
        findings.refuse(point.address, str(metric.value), "is too large a number to be a measurement")
        return
    # A clock that was never set says 0; a value that was kept is nothing without its time.
    at_ms = (sent_ms if metric.at_ms is None else metric.at_ms) or None
    if (at_ms is None and metric.historical) or (at_ms is not None and at_ms not in CLOCK_MS):
        findings.refuse(point.address, str(metric.value), f"its time {at_ms} is none that a clock shows")
        return
    device_at_us = None if at_ms is None else at_ms * 1_000
    # A birth brings the last known values, however old; what is old says nothing of the clock's offset.
    old = at_ms is not None and sent_ms is not None and sent_ms - at_ms > OLD_MS
    findings.readings.append(
        Heard(point.address, value, point.unit, device_at_us, now_us, historical=metric.historical or old)
    )
    findings.counts["read"] += 1


def points_of(tables: Iterator[Table]) -> int:
    """Return how many points births declare."""
    return sum(bool(point.address) for table in tables for point in table.by_name.values())
