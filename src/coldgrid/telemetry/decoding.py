"""Decoding: bytes from gateways and devices to columns, or every wrong line and field at once. Pure.

Invariants
    D1  A body is taken as a whole or refused as a whole: nothing of a bad one is stored.
    D2  A refusal names every wrong field with its line (NDJSON) or its place in the list, at most 100.
    D3  One body carries readings of one site, which the sensors' names tell.

Forms, all UTF-8 JSON but the last:

    one reading    {"sensor_id": "ATL1-FRZ1-T1", "at": "2026-03-01T08:00:00Z", "value": -21.4, "unit": "C"}
    a list         [ … such objects … ]
    NDJSON         one such object in each line; empty lines do not count
    columns        {"site_id": "ATL1", "sensors": ["ATL1-FRZ1-T1", …], "sensor": [0, …],
                   "at": [1772352000000, …], "value": [-21.4, …], "unit": "C"}
    packed         the same in MessagePack, each column as little-endian bytes: `sensor` 4-byte unsigned,
                   `at` 8-byte signed in microseconds, `value` 8-byte float

`at` is RFC 3339 with an offset, or whole milliseconds since 1970 UTC. `unit` is what this value is in, where
it is not the sensor's own: C, F, %, state. NaN and Infinity are no numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np

from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import PROBLEMS_MAX, TooLarge, decode_all, decode_raw, problems_of
from coldgrid.telemetry.ingest import READINGS_MAX, VALUE_MAX, IngestReadings
from coldgrid.telemetry.quantities import OWN_UNIT, SPELLINGS, UNIT_CODES, Ints

BODY_MAX_BYTES = 16 * 1024 * 1024

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
At = Annotated[datetime, msgspec.Meta(tz=True)] | Annotated[int, msgspec.Meta(ge=0, lt=10**15)]
Value = Annotated[float, msgspec.Meta(gt=-VALUE_MAX, lt=VALUE_MAX)]
UnitName = Annotated[str, msgspec.Meta(max_length=20)]


class Reading(msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True):
    """One reading as devices send it."""

    sensor_id: Name
    at: At
    value: Value
    unit: UnitName = ""


class Payload(msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True):
    """One reading as an MQTT message carries it; the topic names the sensor."""

    at: At
    value: Value
    unit: UnitName = ""


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Readings as columns of JSON numbers."""

    site_id: Name
    sensors: list[Name]
    sensor: list[Annotated[int, msgspec.Meta(ge=0, lt=2**32)]]
    at: list[Annotated[int, msgspec.Meta(ge=0, lt=10**15)]]
    value: list[Value]
    unit: UnitName = ""


class Packed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Readings as columns of bytes."""

    site_id: Name
    sensors: list[Name]
    sensor: bytes
    at: bytes
    value: bytes
    unit: UnitName = ""


_lines = msgspec.json.Decoder(Reading)
_list = msgspec.json.Decoder(list[Reading])
_columns = msgspec.json.Decoder(Columns)
_packed = msgspec.msgpack.Decoder(Packed)
decode_payload: Callable[[bytes], Payload] = msgspec.json.Decoder(Payload).decode
_CODES = {"": OWN_UNIT} | {spelling: UNIT_CODES[unit] for spelling, unit in SPELLINGS.items()}
T = TypeVar("T")

# --- Bodies ---------------------------------------------------------------------


def read_json(body: bytes) -> IngestReadings:
    """Read one reading or a list (D1 to D3).

    Raises:
        Invalid: what is wrong, all of it.
    """
    _check_size(body)
    if body.lstrip()[:1] == b"[":
        readings = _decoded(_list.decode, body, list[Reading])
    else:
        readings = [decode_all(body, Reading, size_max_bytes=BODY_MAX_BYTES)]
    return command_of(readings, lambda index: Problem(field=f"[{index}]", message=""))


def read_lines(body: bytes) -> IngestReadings:
    """Read NDJSON: one reading in each line (D1 to D3).

    Raises:
        Invalid: what is wrong, with the line.
    """
    _check_size(body)
    try:
        readings = _lines.decode_lines(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problems = list(_wrong_lines(body))
        raise Invalid(problems[:PROBLEMS_MAX]) from None
    numbers = [number for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    return command_of(readings, lambda index: Problem(field="", message="", line=numbers[index]))


def read_columns_json(body: bytes) -> IngestReadings:
    """Read columns of JSON numbers.

    Raises:
        Invalid: what is wrong, all of it.
    """
    _check_size(body)
    given = _decoded(_columns.decode, body, Columns)
    _check_lengths({"sensor": len(given.sensor), "at": len(given.at), "value": len(given.value)})
    return _command(
        given,
        np.array(given.sensor, dtype="<u4").tobytes(),
        (np.array(given.at, dtype="<i8") * 1_000).tobytes(),
        np.array(given.value, dtype="<f8").tobytes(),
        len(given.at),
    )


def read_packed(body: bytes) -> IngestReadings:
    """Read columns of bytes in MessagePack.

    Raises:
        Invalid: what is wrong.
    """
    _check_size(body)
    try:
        given = _packed.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            [Problem(field="body", message=str(error)[:300], fix="send the documented map")]
        ) from None
    _check_lengths({"sensor": len(given.sensor) / 4, "at": len(given.at) / 8, "value": len(given.value) / 8})
    return _command(given, given.sensor, given.at, given.value, len(given.at) // 8)


def command_of(
    readings: Sequence[Reading], place: Callable[[int], Problem] = lambda index: Problem(field="", message="")
) -> IngestReadings:
    """Return the command for readings of one site; `place` tells where a reading stood.

    Raises:
        Invalid: no readings or too many, several sites, an unknown unit.
    """
    if not 0 < len(readings) <= READINGS_MAX:
        message = f"{len(readings)} readings; send 1 to {READINGS_MAX}"
        fix = "send smaller batches" if readings else "send at least one"
        raise Invalid([Problem(field="body", message=message, fix=fix)])
    number: dict[str, int] = {}
    sensor_no = [number.setdefault(reading.sensor_id, len(number)) for reading in readings]
    names = list(number)
    site_id = site_of(names[0])
    problems = _strange_sites(readings, names, site_id, place)
    unit, wrong = unit_codes(readings)
    problems += [_placed(place(index), "unit", *_no_unit(readings[index].unit)) for index in wrong]
    if problems:
        raise Invalid(problems[:PROBLEMS_MAX])
    return IngestReadings(
        site_id=site_id,
        sensor_ids=names,
        sensor_no=np.array(sensor_no, dtype="<u4").tobytes(),
        at_us=micros_of(readings).astype("<i8").tobytes(),
        value=np.array([reading.value for reading in readings], dtype="<f8").tobytes(),
        unit=unit,
        strict=True,
    )


def site_of(sensor_id: str) -> str:
    """Return the site that a sensor's name begins with."""
    return sensor_id.partition("-")[0]


def micros_of(readings: Iterable[Reading | Payload]) -> Ints:
    """Return the time of each reading in µs since 1970."""
    times = [reading.at for reading in readings]
    try:
        return np.array(times, dtype=np.int64) * 1_000
    except TypeError:
        # A float of seconds is exact to a quarter of a microsecond until the year 2100.
        micros = [at * 1_000 if isinstance(at, int) else round(at.timestamp() * 1e6) for at in times]
        return np.array(micros, dtype=np.int64)


def unit_codes(readings: Iterable[Reading | Payload]) -> tuple[bytes, list[int]]:
    """Return the code of each reading's unit (empty: none names one), and the indexes of unknown ones."""
    units = [reading.unit for reading in readings]
    if not any(units):
        return b"", []
    found = [_CODES.get(unit, -1) for unit in units]
    wrong = [index for index, code in enumerate(found) if code < 0]
    return bytes(max(code, 0) for code in found), wrong


# --- Telling what is wrong ------------------------------------------------------


def _check_size(body: bytes) -> None:
    if len(body) > BODY_MAX_BYTES:
        message = f"{len(body)} bytes are more than {BODY_MAX_BYTES}"
        raise TooLarge([Problem(field="body", message=message, fix="send smaller batches")])


def _decoded(decode: Callable[[bytes], T], body: bytes, type_: Any) -> T:
    """Decode on the fast path; on failure let the kernel name everything that is wrong."""
    try:
        return decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found: T = decode_all(body, type_, size_max_bytes=BODY_MAX_BYTES)
        return found


def _check_lengths(lengths: dict[str, float]) -> None:
    """Columns have the same whole number of readings, at least one."""
    if len(set(lengths.values())) > 1 or any(length % 1 for length in lengths.values()):
        told = ", ".join(f"{name} {length:g}" for name, length in lengths.items())
        raise Invalid([Problem(field="value", message=f"the columns have different lengths: {told}")])
    if not 0 < lengths["value"] <= READINGS_MAX:
        message = f"{lengths['value']:g} readings; send 1 to {READINGS_MAX}"
        raise Invalid([Problem(field="value", message=message, fix="send smaller batches")])


def _command(given: Columns | Packed, sensor: bytes, at: bytes, value: bytes, count: int) -> IngestReadings:
    unit = b""
    if given.unit:
        if given.unit not in SPELLINGS:
            message, fix = _no_unit(given.unit)
            raise Invalid([Problem(field="unit", message=message, fix=fix)])
        unit = bytes([UNIT_CODES[SPELLINGS[given.unit]]]) * count
    return IngestReadings(
        site_id=given.site_id,
        sensor_ids=given.sensors,
        sensor_no=sensor,
        at_us=at,
        value=value,
        unit=unit,
        strict=True,
    )


def _strange_sites(
    readings: Sequence[Reading], names: Sequence[str], site_id: str, place: Callable[[int], Problem]
) -> list[Problem]:
    strange = {name for name in names if site_of(name) != site_id}
    if not strange:
        return []
    message, fix = f"is not of site {site_id} as the first one is", "send each site's readings by themselves"
    return [
        _placed(place(index), "sensor_id", f"{reading.sensor_id[:64]} {message}", fix)
        for index, reading in enumerate(readings)
        if reading.sensor_id in strange
    ]


def _placed(place: Problem, field: str, message: str, fix: str) -> Problem:
    named = f"{place.field}.{field}" if place.field else field
    return Problem(field=named, message=message, fix=fix, line=place.line)


def _no_unit(unit: str) -> tuple[str, str]:
    return f"{unit!r} is no unit known here", f"one of {', '.join(sorted(SPELLINGS))}"


def _wrong_lines(body: bytes) -> Iterable[Problem]:
    """Yield what is wrong in each line."""
    for number, line in enumerate(body.split(b"\n"), start=1):
        if line.strip():
            try:
                _lines.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                for problem in _wrong_line(line):
                    yield msgspec.structs.replace(problem, line=number)


def _wrong_line(line: bytes) -> Sequence[Problem]:
    try:
        raw = decode_raw(line)
    except Invalid as invalid:
        return invalid.problems
    return problems_of(raw, Reading) or [Problem(field="body", message="is no reading")]
