"""Decoding: every form that devices send, and every way to get it wrong, named with its line and field."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import TooLarge
from coldgrid.telemetry import decoding
from coldgrid.telemetry.ingest import IngestReadings, read_columns

T0_MS = 1_772_352_000_000
GOOD = b'{"sensor_id":"ATL1-FRZ1-T1","at":"2026-03-01T08:00:00Z","value":-21.4}'


def told(command: IngestReadings) -> list[tuple[str, int, float]]:
    columns = read_columns(command)
    return [
        (columns.sensor_ids[no], at, value)
        for no, at, value in zip(
            columns.sensor_no.tolist(), columns.at_us.tolist(), columns.value.tolist(), strict=True
        )
    ]


def problems(read: Any, body: bytes) -> list[Problem]:
    with pytest.raises(Invalid) as caught:
        read(body)
    return list(caught.value.problems)


ONE = [("ATL1-FRZ1-T1", T0_MS * 1_000, -21.4)]


def test_one_reading() -> None:
    assert told(decoding.read_json(GOOD)) == ONE


def test_a_list_with_times_of_both_kinds() -> None:
    body = b"[" + GOOD + b', {"sensor_id":"ATL1-FRZ1-T2","at":1772352000500,"value":3}]'
    assert told(decoding.read_json(body)) == [*ONE, ("ATL1-FRZ1-T2", T0_MS * 1_000 + 500_000, 3.0)]


def test_a_time_is_exact_to_the_microsecond() -> None:
    body = GOOD.replace(b"00:00Z", b"00:00.123457+02:00")
    assert told(decoding.read_json(body))[0][1] == (T0_MS - 7_200_000) * 1_000 + 123_457


def test_lines_with_empty_ones_between() -> None:
    assert told(decoding.read_lines(GOOD + b"\n\n" + GOOD + b"\r\n")) == ONE * 2


def test_columns() -> None:
    body = msgspec.json.encode(
        {"site_id": "ATL1", "sensors": ["ATL1-FRZ1-T1"], "sensor": [0], "at": [T0_MS], "value": [-21.4]}
    )
    assert told(decoding.read_columns_json(body)) == ONE


def packed(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "site_id": "ATL1",
        "sensors": ["ATL1-FRZ1-T1"],
        "sensor": np.array([0], dtype="<u4").tobytes(),
        "at": np.array([T0_MS * 1_000], dtype="<i8").tobytes(),
        "value": np.array([-21.4]).tobytes(),
    }
    return msgspec.msgpack.encode(fields | changes)


def test_packed_columns() -> None:
    assert told(decoding.read_packed(packed())) == ONE


def test_units_by_many_names() -> None:
    body = GOOD.replace(b"-21.4", b'-6.5,"unit":"degF"')
    assert decoding.read_json(body).unit == bytes([2])
    assert decoding.read_packed(packed(unit="C")).unit == bytes([1])


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (b"", "body", ""),
        (b"nonsense", "body", ""),
        (b"[]", "body", "0 readings"),
        (b"{}", "sensor_id", "missing"),
        (b"[{}]", "[0].sensor_id", "missing"),
        (b"\xff\xfe", "body", "UTF-8"),
        (GOOD.replace(b"-21.4", b"NaN"), "body", "NaN"),
        (GOOD.replace(b"-21.4", b"-Infinity"), "body", "NaN"),
        (GOOD.replace(b"-21.4", b"1e999"), "body", ""),
        (GOOD.replace(b"-21.4", b"1e12"), "value", "less than"),
        (GOOD.replace(b"-21.4", b'"cold"'), "value", "float"),
        (GOOD.replace(b"-21.4", b"null"), "value", "float"),
        (GOOD.replace(b"08:00:00Z", b"08:00:00"), "at", ""),
        (GOOD.replace(b'"2026-03-01T08:00:00Z"', b"-5"), "at", ""),
        (GOOD.replace(b'"value"', b'"temperature"'), "temperature", "not a field"),
        (GOOD.replace(b"-21.4", b'5,"unit":"K"'), "[0].unit", "no unit"),
        (b"[" * 100_000, "body", ""),
        (b'[{"sensor_id":' + b"[" * 200 + b"]" * 200 + b"}]", "body", ""),
    ],
    ids=lambda value: value[:24].decode(errors="replace") if isinstance(value, bytes) else str(value),
)
def test_a_bad_body_names_the_field(body: bytes, field: str, says: str) -> None:
    found = problems(decoding.read_json, body)
    assert field in {problem.field for problem in found}
    assert any(says in problem.message for problem in found)


def test_all_that_is_wrong_is_told_at_once() -> None:
    body = b'[{"sensor_id":7,"at":"x","value":-1},{"sensor_id":"A","at":1,"value":[]}]'
    assert {problem.field for problem in problems(decoding.read_json, body)} == {
        "[0].sensor_id",
        "[0].at",
        "[1].value",
    }


def test_bad_lines_are_told_by_line_and_field() -> None:
    body = b"\n".join(
        [GOOD, b"{not json", b"", GOOD.replace(b"-21.4", b'"warm"'), GOOD[:-1] + b',"x":1}', b"\xff"]
    )
    assert [(problem.line, problem.field) for problem in problems(decoding.read_lines, body)] == [
        (2, "body"),
        (4, "value"),
        (5, "x"),
        (6, "body"),
    ]


def test_at_most_a_hundred_problems_are_told() -> None:
    assert len(problems(decoding.read_lines, b"{}\n" * 5_000)) == 100


def test_readings_of_several_sites_are_refused_by_line() -> None:
    body = GOOD + b"\n" + GOOD.replace(b"ATL1-", b"CLT1-")
    [problem] = problems(decoding.read_lines, body)
    assert (problem.line, problem.field) == (2, "sensor_id")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sensor": [0, 1]}, "value"),
        ({"sensor": [-1]}, "sensor[0]"),
        ({"sensor": [2**33]}, "sensor[0]"),
        ({"at": ["2026-03-01T08:00:00Z"]}, "at[0]"),
        ({"value": [None]}, "value[0]"),
        ({"value": [], "at": [], "sensor": []}, "value"),
        ({"unit": "furlong"}, "unit"),
        ({"extra": 1}, "extra"),
    ],
)
def test_bad_columns_name_the_column(change: dict[str, Any], field: str) -> None:
    fields = {"site_id": "ATL1", "sensors": ["A"], "sensor": [0], "at": [T0_MS], "value": [1.5]}
    body = msgspec.json.encode(fields | change)
    assert field in {problem.field for problem in problems(decoding.read_columns_json, body)}


@pytest.mark.parametrize("body", [b"", b"\xc1", packed()[:-3], packed(at=b"123"), packed(value=bytes(16))])
def test_bad_packed_columns_are_refused(body: bytes) -> None:
    assert problems(decoding.read_packed, body)


@pytest.mark.parametrize(
    "read", [decoding.read_json, decoding.read_lines, decoding.read_columns_json, decoding.read_packed]
)
def test_a_huge_body_is_refused_unread(read: Any) -> None:
    with pytest.raises(TooLarge):
        read(b" " * (decoding.BODY_MAX_BYTES + 1))
