"""Validation: every problem at once, each with its place and what to do."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.kernel.rejections import Invalid
from coldgrid.kernel.validation import TooLarge, convert_all, decode_all


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    qty: Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Request(msgspec.Struct, forbid_unknown_fields=True):
    at: datetime
    lines: list[Line]
    note: str | None = None
    weights_g: dict[str, float] = {}


GOOD = b'{"at":"2026-03-01T08:00:00Z","lines":[{"sku":"ICE","qty":2}]}'


def problems(body: bytes) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        decode_all(body, Request)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_good_input_is_decoded() -> None:
    assert decode_all(GOOD, Request).lines[0].qty == 2


def test_every_wrong_field_is_named_at_once() -> None:
    found = problems(
        b'{"at":"yesterday","lines":[{"sku":"ICE","qty":0},{"qty":"2","skew":"ICE"}],"nte":1,"weights_g":{"a":"x"}}'
    )
    assert set(found) == {
        "at",
        "lines[0].qty",
        "lines[1].sku",
        "lines[1].qty",
        "lines[1].skew",
        "nte",
        "weights_g.a",
    }


class Tier(StrEnum):
    GOLD = "gold"
    SILVER = "silver"


class Place(msgspec.Struct):
    tier: Tier
    before: Tier | None = None


def test_a_word_that_is_none_of_those_there_are_is_told_all_of_them() -> None:
    with pytest.raises(Invalid) as caught:
        convert_all({"tier": "standard", "before": "copper"}, Place)
    assert [problem.fix for problem in caught.value.problems] == ["one of gold, silver"] * 2


def test_a_misspelt_field_is_told_the_right_name() -> None:
    with pytest.raises(Invalid) as caught:
        decode_all(GOOD[:-1] + b',"noet":"x"}', Request)
    assert caught.value.problems[0].fix == "did you mean note?"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "truncated"),
        (b'{"at":', "truncated"),
        (b"[" * 5000, "deeper"),
        (b"[" * 100 + b"]" * 100, "deeper"),
        (b'{"at":"\xff\xfe"}', "UTF-8"),
        (b'{"at":"2026-03-01T08:00:00Z","lines":[],"weights_g":{"a":NaN}}', "NaN"),
        (b'{"at":"2026-03-01T08:00:00Z","lines":[],"weights_g":{"a":-Infinity}}', "NaN"),
        (b'{"at":"2026-03-01T08:00:00Z","lines":[],"weights_g":{"a":1e999}}', "out of range"),
        (b'"just text"', "object"),
        (b"null", "object"),
    ],
)
def test_what_is_no_request_is_refused_with_its_reason(body: bytes, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode_all(body, Request)
    assert told in " ".join(problem.message for problem in caught.value.problems)


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    with pytest.raises(TooLarge):
        decode_all(b" " * 101, Request, size_max_bytes=100)


def test_a_broken_line_is_counted_from_one() -> None:
    with pytest.raises(Invalid) as caught:
        decode_all(b'{\n"at": "2026-03-01T08:00:00Z",\n"lines": oops}', Request)
    assert caught.value.problems[0].line == 3


def test_converted_data_carries_the_line_it_stood_on() -> None:
    with pytest.raises(Invalid) as caught:
        convert_all({"sku": 1}, Line, line=7)
    assert [(problem.field, problem.line) for problem in caught.value.problems] == [("sku", 7), ("qty", 7)]


@given(st.binary(max_size=300))
def test_no_bytes_do_worse_than_a_refusal(body: bytes) -> None:
    with suppress(Invalid):
        decode_all(body, Request)
