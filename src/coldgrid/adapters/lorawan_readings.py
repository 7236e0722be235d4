"""LoRaWAN uplinks to readings: which fields are measurements, when they were taken, what came twice. Pure.

Invariants
    LU1  An uplink that is delivered twice (the same deduplication id) gives the same readings with the same
         times, which the store knows already: a sender that got no answer repeats itself. A frame counter
         that comes again in its session with another id is a replay, refused; after `RESET_S` without it a
         device that began anew is believed.
    LU2  A reading's time is the device's own where a map names it; else when the network server received it,
         for radio gateways without GPS have no clock to trust; else that of the gateway that heard it best.
    LU3  What the network server simulated is no measurement.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from coldgrid.adapters import cayenne
from coldgrid.adapters.driving import Haul, Heard, Note, reading_unit, reading_value, unreadable
from coldgrid.adapters.lorawan_map import LorawanMap
from coldgrid.adapters.lorawan_uplinks import Malformed, Uplink, read_uplink
from coldgrid.kernel.tables import to_micros

DEVICES_MAX = 5_000
FRAMES_REMEMBERED = 128
FIELDS_MAX = 200
# What The Things Stack's device repository calls these of every device, and their units
# (https://schema.thethings.network/devicerepository/1/payload/schema).
NORMALIZED = {"normalized.air.temperature": "C", "normalized.air.relativeHumidity": "%"}
RESET_S = 600.0
# An uplink that reaches us so much later than its network server waited somewhere.
LATE_US = 60_000_000
# A device's own time may lie between 1970 and the year 2200, in seconds.
OWN_TIME_MAX_S = 7_258_118_400


class Told(NamedTuple):
    """A field of an uplink: its value, and the unit that its name tells (None: none that is kept)."""

    value: Any
    unit: str | None


class _Known:
    """What was heard of one device: frame counters with their times, and deduplication ids."""

    def __init__(self) -> None:
        self.session = ""
        self.frames: OrderedDict[int, float] = OrderedDict()
        self.ids: OrderedDict[str, None] = OrderedDict()


class Uplinks:
    """All devices of one gateway. Not thread-safe: one thread at a time tells it what was heard."""

    def __init__(self, said: LorawanMap) -> None:
        self._said = said
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def hear(self, source: str, body: bytes, event: str, now_us: int) -> tuple[Haul, str]:
        """Take one message in; total.

        Args:
            source: Where it came from, for a person: a topic.
            body: The JSON.
            event: ChirpStack's kind of event; empty: told from the body.
            now_us: The system's time.

        Returns:
            The haul and, in a word, what became of it.
        """
        haul = Haul([], [], [])
        try:
            word = self._take(read_uplink(body, event), now_us, haul)
        except Malformed as error:
            haul.unreadable.append(unreadable(source, body[:400], str(error)))
            return haul, "refused"
        return haul, word

    def _take(self, uplink: Uplink, now_us: int, haul: Haul) -> str:
        if uplink.kind not in {"up", "status", "join"}:
            return "passed_over"
        word, battery_pct = uplink.kind, uplink.battery_pct
        if uplink.kind == "up":
            word = "again" if self._again(uplink) else "up"
            if uplink.f_port and (not self._said.ports or uplink.f_port in self._said.ports):
                fields = self._fields(uplink, haul)
                battery_pct = self._battery(fields) if self._said.battery else battery_pct
                self._read(uplink, fields, now_us, haul)
        haul.notes.append(Note(uplink.device, battery_pct, uplink.signal_dbm, online=True, at_us=now_us))
        return word

    # --- What came twice --------------------------------------------------------------

    def _again(self, uplink: Uplink) -> bool:
        """Tell a repeated delivery from a new frame (LU1).

        Raises:
            Malformed: it is a replay.
        """
        known = self._of(uplink.device)
        if uplink.dedup_id in known.ids:
            return True
        if uplink.session != known.session:
            known.session = uplink.session
            known.frames.clear()
        at_s = _time_of(uplink) / 1e6
        before_s = known.frames.get(uplink.f_cnt)
        if before_s is not None and at_s - before_s < RESET_S:
            raise Malformed(f"frame {uplink.f_cnt} of this session was taken already: a replay")
        if before_s is not None:
            known.frames.clear()
        known.frames[uplink.f_cnt] = at_s
        known.ids[uplink.dedup_id] = None
        for kept in (known.frames, known.ids):
            if len(kept) > FRAMES_REMEMBERED:
                kept.popitem(last=False)
        return False

    def _of(self, device: str) -> _Known:
        known = self._known.setdefault(device, _Known())
        self._known.move_to_end(device)
        if len(self._known) > DEVICES_MAX:
            self._known.popitem(last=False)
        return known

    # --- What it measures ---------------------------------------------------------------

    def _fields(self, uplink: Uplink, haul: Haul) -> dict[str, Told]:
        """Return the fields by their path; what is wrong with them goes into the haul."""
        why = ""
        fields: dict[str, Told] = {}
        if self._said.payload == "cayenne":
            found, why = cayenne.decode(uplink.data)
            fields = {field.name: Told(field.value, field.unit) for field in found}
        elif uplink.decoded is None and not uplink.normalized:
            why = (
                "its network server decoded nothing: set a payload formatter, or payload: cayenne in the map"
            )
        else:
            _flatten("", uplink.decoded or {}, fields)
            _flatten("normalized", uplink.normalized, fields)
            why = f"more than {FIELDS_MAX} decoded fields" if len(fields) > FIELDS_MAX else ""
        if why:
            haul.unreadable.append(unreadable(uplink.device, uplink.data.hex(), why))
        return fields

    def _battery(self, fields: dict[str, Told]) -> float | None:
        said = self._said.battery
        told = fields.get(said.path) if said else None
        value = reading_value(told.value, "V") if told else None
        if said is None or value is None:
            return None
        return min(100.0, max(0.0, round(100.0 * (value - said.empty) / (said.full - said.empty), 1)))

    def _read(self, uplink: Uplink, fields: dict[str, Told], now_us: int, haul: Haul) -> None:
        at_us = self._when(uplink, fields, haul)
        late = now_us - at_us > LATE_US
        for path, point, told, factor, offset in self._wanted(fields):
            unit = reading_unit(fields[path].value, told)
            value = reading_value(fields[path].value, unit)
            value = reading_value(value * factor + offset) if value is not None else None
            if value is None:
                why = f"{path} is no number that can be kept"
                haul.unreadable.append(unreadable(uplink.device, repr(fields[path].value)[:200], why))
            else:
                haul.readings.append(Heard(f"{uplink.device}/{point}", value, unit, at_us, now_us, late))
        if not haul.readings and not haul.unreadable:
            told = ", ".join(list(fields)[:10]) or "none"
            why = f"has no field that the gateway's map names: {told}"
            haul.unreadable.append(unreadable(uplink.device, uplink.data.hex(), why))

    def _wanted(self, fields: dict[str, Told]) -> list[tuple[str, str, str, float, float]]:
        """Return which fields are measurements: path, point, unit, factor, offset."""
        if self._said.fields:
            return [
                (one.path, one.point, one.unit, one.factor, one.offset)
                for one in self._said.fields
                if one.path in fields and fields[one.path].value is not None
            ]
        skip = self._said.battery.path if self._said.battery else ""
        return [
            (path, path, told.unit, 1.0, 0.0)
            for path, told in fields.items()
            if told.unit is not None and path != skip
        ]

    def _when(self, uplink: Uplink, fields: dict[str, Told], haul: Haul) -> int:
        """Return when it was measured (LU2)."""
        own = fields.get(self._said.time_path) if self._said.time_path else None
        if own is not None:
            at_s = own.value
            if isinstance(at_s, int | float) and not isinstance(at_s, bool) and 0 < at_s < OWN_TIME_MAX_S:
                return round(at_s * 1e6)
            why = f"{self._said.time_path} is no time in seconds since 1970: the network server's counts"
            haul.unreadable.append(unreadable(uplink.device, repr(at_s)[:200], why))
        return _time_of(uplink)


def _time_of(uplink: Uplink) -> int:
    """Return when the network server, or else the best gateway, received an uplink.

    Raises:
        Malformed: neither says.
    """
    at = uplink.network_at or uplink.gateway_at
    if at is None:
        raise Malformed("says neither when the network server nor when a gateway received it")
    return to_micros(at)


def _flatten(path: str, value: Any, flat: dict[str, Told], depth: int = 0) -> None:
    """Name every field of a decoded payload by its path: `probe.volts`, `readings.0`."""
    if len(flat) > FIELDS_MAX or depth > 6:
        return
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            _flatten(f"{path}.{key}" if path else str(key), inner, flat, depth + 1)
    else:
        flat[path] = Told(value, NORMALIZED.get(path) or cayenne.unit_of(path))
