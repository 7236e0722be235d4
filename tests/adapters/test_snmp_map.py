"""Maps and answers of SNMP agents, without a socket."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.adapters import snmp_answers as answers
from coldgrid.adapters.snmp_answers import Absent, Told, energy_of, mains_of, read_answers, wanted
from coldgrid.adapters.snmp_map import AgentMap, Interface, Object, Ups, problems_of_map, read_map
from tests.adapters.test_modbus import values, whys

AGENT = """
device: UPS1
version: 3
context: ups
ups: {output_lines: 3, battery_wh: 1800}
interfaces:
  - {name: wan_primary, index: 2, expect: eth0, role: wan_primary}
oids:
  - {name: room, oid: .1.3.6.1.4.1.318.1.1.25.1.2.1.5.1.1, scale: 0.1, unit: C, role: zone_air}
"""


def told(text: str) -> list[tuple[int | None, str, str]]:
    return [(one.line, one.field, one.message) for one in problems_of_map(text)]


# --- The map ----------------------------------------------------------------------


def test_a_map_is_read_with_its_ups_interfaces_and_objects() -> None:
    known, problems = read_map(AGENT)
    assert problems == []
    assert (known.version, known.context, known.ups) == ("3", "ups", Ups(1, 3, 1800.0))
    assert known.interfaces == (Interface("wan_primary", 2, "eth0", "wan_primary"),)
    assert known.objects[0].oid == "1.3.6.1.4.1.318.1.1.25.1.2.1.5.1.1"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", (1, "", "is not a mapping of fields")),
        ("device: A", (1, "", "the map reads nothing")),
        ("version: 1\nups: {}", (1, "version", "'1' is no version that is spoken here")),
        ("ups: {}\ncontext: x", (2, "context", "only version 3 knows contexts")),
        ("ups: {}\ntimeout_s: 9", (2, "timeout_s", "is no such number")),
        ("ups: {output_lines: 4}", (1, "ups.output_lines", "is no such whole number")),
        ("ups:\n  battery: 3", (2, "ups.battery", "there is no field 'battery' here")),
        ("interfaces:\n  - {name: a}", (2, "interfaces[0]", "has no index")),
        (
            "ups: {}\ninterfaces:\n  - {name: mains, index: 1}",
            (3, "interfaces[0].name", "mains is there twice"),
        ),
        (
            "oids:\n  - {name: a, oid: 1.3.6}\n  - {name: a, oid: 1.3.7}",
            (3, "oids[1].name", "a is there twice"),
        ),
        (
            "oids:\n  - {name: a, oid: sysUpTime}",
            (2, "oids[0].oid", "'sysUpTime' is no object identifier"),
        ),
        (
            "oids:\n  - {name: a, oid: 1.3.4294967296}",
            (2, "oids[0].oid", "'1.3.4294967296' is no object identifier"),
        ),
        ("oids:\n  - {name: a, oid: 1.40.1}", (2, "oids[0].oid", "'1.40.1' is no object identifier")),
        ("oids:\n  - {name: a, oid: 1.3.6, scale: 0}", (2, "oids[0].scale", "makes every value the same")),
        (
            "oids:\n  - {name: a, oid: 1.3.6, low: 2, high: 1}",
            (2, "oids[0].low", "must be less than high"),
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_line(text: str, problem: tuple[int, str, str]) -> None:
    assert told(text) == [problem]


def test_an_anchor_and_its_alias_are_named_each_with_its_line() -> None:
    why = "anchors and aliases are not allowed"
    assert told("a: &x {}\nups: *x")[:2] == [(1, "file", why), (2, "file", why)]


@given(st.text() | st.text(alphabet="devicupsonta:[]{} -\n0.9&*!'\""))
def test_any_text_is_a_map_or_has_problems(text: str) -> None:
    known, problems = read_map(text)
    assert problems or wanted(known)


# --- What is asked ------------------------------------------------------------------


def test_everything_in_the_map_is_asked_for_once() -> None:
    oids = wanted(read_map(AGENT)[0])
    assert len(oids) == len(set(oids))
    assert f"{answers.OUTPUT_POWER}.3" in oids
    assert f"{answers.IF_DESCR}.2" in oids
    assert oids[-1] == "1.3.6.1.4.1.318.1.1.25.1.2.1.5.1.1"


# --- What the answers mean ------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "on_battery_s", "mains"),
    [
        (3, 0, True),
        (4, 0, True),
        (6, None, True),
        (7, 0, True),
        (5, 30, False),
        (5, 0, False),
        (5, None, False),
        (None, 30, False),
        (None, 0, True),
        (2, 30, False),
        (3, 30, None),
        (2, 0, None),
        (1, 0, None),
        (1, None, None),
        (99, 0, None),
        (None, None, None),
    ],
)
def test_mains_are_there_lost_or_unknown(
    source: int | None, on_battery_s: int | None, mains: bool | None
) -> None:
    found, why = mains_of(source, on_battery_s)
    assert found is mains
    assert bool(why) == (mains is None)


@pytest.mark.parametrize(
    ("battery_wh", "charge_pct", "minutes", "load_w", "energy_wh"),
    [
        (1000.0, 50, None, None, 500.0),
        (0.0, 50, 30, 600.0, 300.0),
        (1000.0, 50, 30, 600.0, 300.0),
        (1000.0, 20, 30, 600.0, 200.0),
        (1000.0, None, 30, 600.0, 300.0),
        (0.0, 50, None, 600.0, None),
        (0.0, 50, 30, None, None),
        (0.0, 50, 30, 0.0, None),
        (0.0, None, 0, 600.0, 0.0),
    ],
)
def test_energy_is_the_smaller_of_what_is_known(
    battery_wh: float,
    charge_pct: int | None,
    minutes: int | None,
    load_w: float | None,
    energy_wh: float | None,
) -> None:
    assert energy_of(battery_wh, charge_pct, minutes, load_w) == energy_wh


def three_lines() -> dict[str, Told]:
    found: dict[str, Told] = {answers.OUTPUT_LINES: 3, answers.OUTPUT_SOURCE: 3}
    for line in (1, 2, 3):
        found[f"{answers.OUTPUT_POWER}.{line}"] = 100 * line
        found[f"{answers.OUTPUT_LOAD_PCT}.{line}"] = 10 * line
    return found


def test_a_load_is_the_sum_of_all_lines() -> None:
    known = AgentMap(device="U", ups=Ups(output_lines=3))
    assert values(read_answers(known, three_lines(), 5))["U/load_w"] == 600.0


def test_a_load_with_a_line_missing_is_reckoned_from_shares_or_unknown() -> None:
    known = AgentMap(device="U", ups=Ups(output_lines=3))
    missing = three_lines() | {f"{answers.OUTPUT_POWER}.2": Absent("the agent has no such object")}
    haul = read_answers(known, missing, 5)
    assert "U/load_w" not in values(haul)
    assert [why for why in whys(haul) if why.startswith("U/load_w: tells neither")]
    rated = missing | {answers.RATED_W: 3_000}
    assert values(read_answers(known, rated, 5))["U/load_w"] == 600.0


def test_text_where_a_number_belongs_is_unknown() -> None:
    known = AgentMap(device="U", ups=Ups())
    haul = read_answers(known, {answers.OUTPUT_SOURCE: b"normal", answers.CHARGE_PCT: 250}, 5)
    assert values(haul) == {}
    assert "U/mains: tells no source of its output" in whys(haul)
    assert [note.battery_pct for note in haul.notes] == [None]


TOLD: Any = st.integers() | st.booleans() | st.binary(max_size=20) | st.builds(Absent, st.text(max_size=10))


@given(
    st.dictionaries(st.sampled_from(wanted(read_map(AGENT)[0])), TOLD),
    st.builds(
        Object,
        name=st.just("o"),
        oid=st.just("1.3.6.1.4.1.318.1.1.25.1.2.1.5.1.1"),
        text=st.booleans(),
        scale=st.floats(-1e12, 1e12),
        offset=st.floats(-1e12, 1e12),
        states=st.dictionaries(st.integers(0, 3), st.integers(0, 2)),
    ),
)
def test_any_answers_are_readings_that_can_be_kept_or_told_as_unreadable(
    told_of: dict[str, Told], one: Object
) -> None:
    known = AgentMap(
        device="U", ups=Ups(3, 3, 1800.0), interfaces=(Interface("w", 2, "eth0"),), objects=(one,)
    )
    haul = read_answers(known, told_of, 5)
    assert all(math.isfinite(one.value) and abs(one.value) < 214_748 for one in haul.readings)
    named = {one.point for one in haul.readings} | {one.source for one in haul.unreadable}
    assert {"U/mains", "U/load_w", "U/energy_wh", "U/w", "U/o"} <= named
    states = [one.value for one in haul.readings if one.point in {"U/mains", "U/w", "U/alarm"}]
    assert set(states) <= {0.0, 1.0}
