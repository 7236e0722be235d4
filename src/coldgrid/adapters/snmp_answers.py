"""Answers of SNMP agents: what is asked for a map, and what the answers mean. Pure and total on any answers.

Invariants
    U1  Mains are there when the output comes from them and the UPS counts no second on its battery; they are
        lost when either says so alone. When the two contradict each other they are unknown.
    U2  Energy is charge times what the battery holds (`battery_wh`), or the UPS's own minutes times its load;
        of two that are known the smaller.
    U3  A line of output that is missing makes the load unknown: part of a load is no load.
    U4  An object that the agent does not have, of another type, or out of bounds, and an interface that calls
        itself otherwise, are unknown: they never become a value.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coldgrid.adapters.driving import Haul, Heard, Note, reading_value, unreadable
from coldgrid.adapters.snmp_map import AgentMap, Interface, Object, Ups

# --- What agents tell: RFC 1628 and RFC 2863 ------------------------------------------

_UPS = "1.3.6.1.2.1.33.1"
BATTERY_STATUS = f"{_UPS}.2.1.0"
SECONDS_ON_BATTERY = f"{_UPS}.2.2.0"
MINUTES_LEFT = f"{_UPS}.2.3.0"
CHARGE_PCT = f"{_UPS}.2.4.0"
BATTERY_C = f"{_UPS}.2.7.0"
INPUT_VOLTAGE = f"{_UPS}.3.3.1.3"
OUTPUT_SOURCE = f"{_UPS}.4.1.0"
OUTPUT_LINES = f"{_UPS}.4.3.0"
OUTPUT_POWER = f"{_UPS}.4.4.1.4"
OUTPUT_LOAD_PCT = f"{_UPS}.4.4.1.5"
ALARMS = f"{_UPS}.6.1.0"
RATED_W = f"{_UPS}.9.6.0"

BATTERY_NORMAL, BATTERY_LOW, BATTERY_DEPLETED = 2, 3, 4
FROM_BATTERY = 5
FROM_MAINS = frozenset({3, 4, 6, 7})  # normal, bypass, booster, reducer

IF_DESCR = "1.3.6.1.2.1.2.2.1.2"
IF_OPER_STATUS = "1.3.6.1.2.1.2.2.1.8"
IF_UP = 1
# Down, testing, dormant, not present, a lower layer is down: nothing passes. Unknown (4) is unknown.
IF_NOT_UP = frozenset({2, 3, 5, 6, 7})


class Absent(msgspec.Struct, frozen=True):
    """What an agent said instead of a value."""

    why: str


Told = int | bytes | Absent
Answers = Mapping[str, Told]


# --- What is asked --------------------------------------------------------------------


def wanted(known: AgentMap) -> list[str]:
    """Return the objects to ask for, each once."""
    oids: list[str] = []
    if known.ups is not None:
        oids += [OUTPUT_SOURCE, SECONDS_ON_BATTERY, BATTERY_STATUS, CHARGE_PCT, MINUTES_LEFT, OUTPUT_LINES]
        oids += [ALARMS, BATTERY_C, RATED_W]
        for line in range(1, known.ups.output_lines + 1):
            oids += [f"{OUTPUT_POWER}.{line}", f"{OUTPUT_LOAD_PCT}.{line}"]
        oids += [f"{INPUT_VOLTAGE}.{line}" for line in range(1, known.ups.input_lines + 1)]
    for one in known.interfaces:
        oids.append(f"{IF_OPER_STATUS}.{one.index}")
        if one.expect:
            oids.append(f"{IF_DESCR}.{one.index}")
    oids += [one.oid for one in known.objects]
    return list(dict.fromkeys(oids))


# --- What the answers mean ----------------------------------------------------------------


class _Teller:
    """Collects what an agent told."""

    def __init__(self, device: str, answers: Answers, at_us: int) -> None:
        self.haul = Haul([], [], [])
        self.at_us = at_us
        self._device = device
        self._answers = answers

    def get(self, oid: str) -> Told:
        return self._answers.get(oid, Absent("was not answered"))

    def number(self, oid: str, low: int = 0, high: int = 2**31 - 1) -> int | None:
        told = self.get(oid)
        is_number = isinstance(told, int) and not isinstance(told, bool)
        return told if is_number and low <= told <= high else None  # type: ignore[operator, return-value]

    def heard(self, name: str, value: float | None, unit: str) -> None:
        """A value, or nothing where the agent has none: standard objects are optional."""
        if value is None:
            return
        number = reading_value(value)
        if number is None:
            self.unknown(name, str(value).encode(), "is too large to be kept")
            return
        point = f"{self._device}/{name}"
        self.haul.readings.append(Heard(point, number, unit, None, self.at_us))

    def unknown(self, name: str, told: Told, why: str) -> None:
        shown = "" if isinstance(told, Absent) else told if isinstance(told, bytes) else str(told)
        self.haul.unreadable.append(unreadable(f"{self._device}/{name}", shown, why))


def read_answers(known: AgentMap, answers: Answers, at_us: int) -> Haul:
    """Return what an agent's answers say, at the instant they came; total on any answers."""
    teller = _Teller(known.device, answers, at_us)
    if known.ups is not None:
        _read_ups(teller, known.ups, known.device)
    for interface in known.interfaces:
        _read_interface(teller, interface)
    for one in known.objects:
        _read_object(teller, one)
    return teller.haul


def _read_ups(teller: _Teller, ups: Ups, device: str) -> None:
    mains, why = mains_of(teller.number(OUTPUT_SOURCE), teller.number(SECONDS_ON_BATTERY))
    load_w, load_why = _load_w(teller, ups)
    charge_pct = teller.number(CHARGE_PCT, 0, 100)
    energy_wh = energy_of(ups.battery_wh, charge_pct, teller.number(MINUTES_LEFT), load_w)
    status = teller.number(BATTERY_STATUS)
    alarms = teller.number(ALARMS)
    if mains is None:
        teller.unknown("mains", teller.get(OUTPUT_SOURCE), why)
    if load_w is None:
        teller.unknown("load_w", b"", load_why)
    if energy_wh is None:
        needed = "neither its charge and battery_wh of the map, nor its minutes and load are known"
        teller.unknown("energy_wh", b"", needed)
    teller.heard("mains", None if mains is None else float(mains), "state")
    teller.heard("load_w", load_w, "W")
    teller.heard("energy_wh", energy_wh, "Wh")
    if status in (BATTERY_NORMAL, BATTERY_LOW, BATTERY_DEPLETED):
        teller.heard("battery_good", float(status == BATTERY_NORMAL), "state")
    teller.heard("battery_c", teller.number(BATTERY_C, -60, 150), "C")
    teller.heard("alarm", None if alarms is None else float(alarms > 0), "state")
    loads = [teller.number(f"{OUTPUT_LOAD_PCT}.{n}", 0, 1_000) for n in range(1, ups.output_lines + 1)]
    if None not in loads:
        teller.heard("load_pct", max((one for one in loads if one is not None), default=None), "")
    # In telemetry a % is humidity, and volts, minutes and seconds are nothing: names say what these are.
    teller.heard("charge_pct", charge_pct, "")
    for line in range(1, ups.input_lines + 1):
        teller.heard(f"input_{line}_v", teller.number(f"{INPUT_VOLTAGE}.{line}", 0, 10_000), "")
    teller.heard("minutes_left", teller.number(MINUTES_LEFT), "")
    teller.heard("on_battery_s", teller.number(SECONDS_ON_BATTERY), "")
    told = None if charge_pct is None else float(charge_pct)
    teller.haul.notes.append(Note(device, told, None, True, teller.at_us))


def mains_of(source: int | None, on_battery_s: int | None) -> tuple[bool | None, str]:
    """Tell whether a UPS is fed; None, and why: nobody knows (U1)."""
    if source == FROM_BATTERY:
        return False, ""
    if source in FROM_MAINS:
        if on_battery_s:
            return None, f"says that it is fed, and that it is on its battery for {on_battery_s} s"
        return True, ""
    if on_battery_s:
        return False, ""
    if source is None and on_battery_s == 0:
        return True, ""
    return None, "tells no source of its output" if source is None else f"its output comes from {source}"


def _load_w(teller: _Teller, ups: Ups) -> tuple[float | None, str]:
    """Return the load over all lines, or why it is unknown (U3)."""
    lines = range(1, ups.output_lines + 1)
    told = teller.number(OUTPUT_LINES)
    if told is not None and told != ups.output_lines:
        return None, f"has {told} lines of output, the map says {ups.output_lines}"
    watts = [teller.number(f"{OUTPUT_POWER}.{line}") for line in lines]
    if None not in watts:
        return float(sum(one for one in watts if one is not None)), ""
    shares = [teller.number(f"{OUTPUT_LOAD_PCT}.{line}", 0, 1_000) for line in lines]
    rated_w = teller.number(RATED_W, 1)
    if None in shares or rated_w is None:
        return None, "tells neither the power of each line nor its load in % and its rating"
    return rated_w * sum(one for one in shares if one is not None) / (100 * ups.output_lines), ""


def energy_of(
    battery_wh: float, charge_pct: int | None, minutes: int | None, load_w: float | None
) -> float | None:
    """Return what is left in a battery, in Wh; None: nobody knows (U2)."""
    found = []
    if battery_wh > 0 and charge_pct is not None:
        found.append(battery_wh * charge_pct / 100)
    if minutes is not None and load_w:
        found.append(minutes * load_w / 60)
    return min(found, default=None)


def _read_interface(teller: _Teller, one: Interface) -> None:
    told = teller.get(f"{IF_OPER_STATUS}.{one.index}")
    if one.expect:
        calls = teller.get(f"{IF_DESCR}.{one.index}")
        if calls != one.expect.encode():
            why = f"interface {one.index} does not call itself {one.expect}: they were numbered anew"
            teller.unknown(one.name, calls, why)
            return
    if told == IF_UP or told in IF_NOT_UP:
        teller.heard(one.name, float(told == IF_UP), "state")
        return
    why = told.why if isinstance(told, Absent) else "is neither up nor down"
    teller.unknown(one.name, told, why)


def _read_object(teller: _Teller, one: Object) -> None:
    told = teller.get(one.oid)
    value, why = object_value(one, told)
    if value is None:
        teller.unknown(one.name, told, why)
    else:
        teller.heard(one.name, value, one.unit)


def object_value(one: Object, told: Told) -> tuple[float | None, str]:
    """Return what an object says in its unit; None, and why: it is unknown (U4)."""
    raw = _raw(one, told)
    return (None, raw) if isinstance(raw, str) else one.value_of(raw)


def _raw(one: Object, told: Told) -> int | float | str:
    if isinstance(told, Absent):
        return told.why
    if isinstance(told, bytes) != one.text:
        return "is text: set type: text" if isinstance(told, bytes) else "is no text: leave type: text out"
    if isinstance(told, int):
        return told if abs(told) < 2**64 else "is too large to be kept"
    try:
        return float(told[:40].decode("ascii"))
    except ValueError:
        return "is no number"
