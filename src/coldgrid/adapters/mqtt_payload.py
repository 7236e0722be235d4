"""A message of an `mqtt` gateway by its map: readings, what cannot be read, what devices say. Pure and total.

Invariants
    P1  Every field that the map names is a reading, or is told as unreadable; one that is absent is neither,
        for devices leave out what did not change.
    P2  A retained message without the device's time is no reading: nobody knows when it was measured. With
        one it teaches nothing about the device's clock.
    P3  Any bytes give an answer in bounded time; nothing is raised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from coldgrid.adapters.driving import (
    PAYLOAD_BYTES_MAX,
    POINT_CHARS_MAX,
    Haul,
    Heard,
    Note,
    reading_unit,
    reading_value,
    unreadable,
)
from coldgrid.adapters.mqtt_map import MappedPoint, MappedTopic, MqttMap, Steps, Told, filled, taken

# Numbers of a message without named points, and how deep they are looked for.
LEAVES_MAX, DEPTH_MAX = 64, 6
_NUMBER = re.compile(r"\s*[-+]?(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})(?:[eE][-+]?\d{1,2})?\s*", re.ASCII)
_ONLINE = {"online": True, "true": True, "1": True, "on": True, "offline": False, "false": False, "0": False}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_FROM = 10**11  # a number of seconds since 1970 stays below it until the year 5138
_decode = msgspec.json.Decoder().decode


def read_message(map_: MqttMap, topic: str, payload: bytes, heard_at_us: int, *, retained: bool) -> Haul:
    """Read one message."""
    haul = Haul([], [], [])
    matches = [(one, levels) for one in map_.topics if (levels := one.match(topic)) is not None]
    if not matches:
        haul.unreadable.append(unreadable(topic, payload, "no template of the map fits this topic"))
        return haul
    if len(payload) > PAYLOAD_BYTES_MAX:
        why = f"has {len(payload)} bytes, more than {PAYLOAD_BYTES_MAX}"
        haul.unreadable.append(unreadable(topic, payload, why))
        return haul
    if not payload:
        return haul  # how a retained message is taken back
    value, is_json = _value_of(payload)
    message = _Message(topic, payload, value, heard_at_us, retained)
    if not is_json and not any(_takes_text(mapped) for mapped, _ in matches):
        haul.unreadable.append(unreadable(topic, payload, "is no JSON"))
        return haul
    for mapped, levels in matches:
        _read(message, mapped, levels, haul)
    return haul


class _Message(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes
    value: Any
    heard_at_us: int
    retained: bool


def _value_of(payload: bytes) -> tuple[Any, bool]:
    """Return the payload as JSON, or a bare word such as `online` as text; and whether it is JSON."""
    try:
        return _decode(payload), True
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return payload[:200].decode(errors="replace"), False


def _takes_text(mapped: MappedTopic) -> bool:
    """Tell whether a template takes a whole payload, which then need not be JSON."""
    told = mapped.told is not None and mapped.told.online == ()
    return told or any(not point.steps for point in mapped.points or ())


def _read(message: _Message, mapped: MappedTopic, levels: Mapping[str, str], haul: Haul) -> None:
    if mapped.told is not None:
        haul.notes.extend(_note(message, mapped.told, levels))
    found = list(_found(message, mapped, levels))
    if not found:
        if mapped.told is None and not isinstance(message.value, dict):
            why = "is no object in which a point of the map stands"
            haul.unreadable.append(unreadable(message.topic, message.payload, why))
        return
    device_at_us, wrong = _time_of(message.value, mapped.time)
    if wrong:
        haul.unreadable.append(unreadable(message.topic, message.payload, wrong))
        return
    if message.retained and device_at_us is None:
        why = "was retained by the broker and has no time: nobody knows when it was measured"
        haul.unreadable.append(unreadable(message.topic, message.payload, why))
        return
    kept = message.retained or bool(mapped.kept is not None and taken(message.value, mapped.kept) is True)
    for point, unit, raw, value in found:
        if value is None or not 0 < len(point) <= POINT_CHARS_MAX or not point.isprintable():
            why = (
                "is no number that can be kept" if value is None else "its address is too long or unprintable"
            )
            haul.unreadable.append(unreadable(f"{message.topic} {point}", repr(raw)[:200], why))
            continue
        at_us = device_at_us
        haul.readings.append(
            Heard(point, value, unit, at_us, message.heard_at_us, historical=kept and at_us is not None)
        )


Found = tuple[str, str, Any, float | None]


def _found(message: _Message, mapped: MappedTopic, levels: Mapping[str, str]) -> Iterator[Found]:
    """Yield point, unit, what was sent, and its value (None: it has none)."""
    if mapped.points is None:
        first = next(iter(levels.values()), "")
        for count, (path, raw) in enumerate(_leaves(message.value, "", 0)):
            if count >= LEAVES_MAX:
                return
            yield (
                (f"{first}/{path or 'value'}" if first else path or "value"),
                reading_unit(raw, ""),
                raw,
                reading_value(raw),
            )
        return
    for one in mapped.points:
        raw = taken(message.value, one.steps)
        if raw is not None:
            yield filled(one.point, levels), reading_unit(raw, one.unit), raw, _scaled(raw, one)


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, int | float | bool]]:
    if isinstance(value, int | float):
        yield path, value
    elif depth < DEPTH_MAX and isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name), depth + 1)


def _scaled(raw: Any, point: MappedPoint) -> float | None:
    if point.states:
        return point.states.get(_word(raw))
    if isinstance(raw, str):
        raw = float(raw) if _NUMBER.fullmatch(raw) else None
    value = reading_value(raw, point.unit)
    return None if value is None else reading_value(value * point.scale + point.offset)


def _word(raw: Any) -> str:
    """Return a state as the map writes it: `true`, `2`, `OPEN`."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return f"{raw:g}" if isinstance(raw, int | float) else str(raw)


def _time_of(value: Any, steps: Steps | None) -> tuple[int | None, str]:
    """Return the device's time in µs, None where it has none; and what is wrong with it."""
    told = None if steps is None else taken(value, steps)
    if told is None:
        return None, ""
    at_us = _instant(told) if isinstance(told, str) else reading_time(told)
    if at_us is None:
        return None, "its time is neither RFC 3339 with an offset nor seconds or milliseconds since 1970"
    return at_us, ""


def _instant(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else (at - _EPOCH) // timedelta(microseconds=1)


def reading_time(told: Any) -> int | None:
    """Return seconds or milliseconds since 1970 in µs."""
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    if not math.isfinite(told) or not 0 <= told < 10**15:
        return None
    return round(told * (1_000 if told >= _MS_FROM else 1_000_000))


def _note(message: _Message, told: Told, levels: Mapping[str, str]) -> Iterator[Note]:
    def number(steps: Steps | None) -> float | None:
        return None if steps is None else reading_value(taken(message.value, steps), "%")

    online = None
    if told.online is not None:
        raw = taken(message.value, told.online)
        online = _ONLINE.get(_word(raw).strip().lower())
    battery, signal = number(told.battery), number(told.signal)
    if (battery, signal, online) != (None, None, None):
        yield Note(filled(told.device, levels), battery, signal, online, message.heard_at_us)
