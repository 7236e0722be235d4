"""How far a loss of mains reaches, how long a battery lasts, and in which order things are shut down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.site_flows.power import (
    RESERVE_S,
    Loss,
    Reach,
    Ups,
    decide_shutdown,
    judge,
    runtime_s,
    within,
)
from coldgrid.telemetry.sensors import ShutdownStep

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
FED, LOST = Ups("OFFICE/1", True), Ups("OFFICE/1", False)


@pytest.mark.parametrize(
    ("silent", "heard", "ups", "loss"),
    [
        ({}, {"FRZ/1": 3}, [FED], None),
        ({"FRZ/1": 1}, {"FRZ/2": 2}, [FED], Loss(Reach.UNKNOWN)),
        ({"FRZ/1": 2}, {"FRZ/2": 2}, [FED], Loss(Reach.OUTLET, ("FRZ/1",))),
        ({"FRZ/1": 2}, {"FRZ/1": 1}, [FED], Loss(Reach.UNKNOWN)),
        ({"FRZ/1": 2, "FRZ/2": 1}, {"CHL/1": 2}, [], Loss(Reach.ROOM, ("FRZ",))),
        ({"FRZ/1": 1, "FRZ/2": 1}, {"CHL/1": 2}, [], Loss(Reach.ROOM, ("FRZ",))),
        ({"FRZ": 2}, {"CHL": 2}, [], Loss(Reach.ROOM, ("FRZ",))),
        ({"FRZ/1": 2}, {"CHL/1": 2}, [], Loss(Reach.OUTLET, ("FRZ/1",))),
        ({"FRZ/1": 2, "FRZ/2": 2, "CHL/1": 2, "CHL/2": 2}, {}, [LOST], Loss(Reach.SITE, ("",))),
        # a gateway that died looks the same as two dead rooms where nothing else speaks: no power is blamed
        ({"FRZ": 2, "CHL/1": 2, "CHL/2": 2}, {}, [FED], Loss(Reach.UNKNOWN, ("CHL/1", "CHL/2", "FRZ"))),
        ({"FRZ/1": 2, "FRZ/2": 2}, {}, [], Loss(Reach.UNKNOWN, ("FRZ/1", "FRZ/2"))),
        # somebody pulled the plug of the UPS
        ({}, {"FRZ/1": 2}, [LOST], Loss(Reach.OUTLET, ("OFFICE/1",))),
        ({"OFFICE/2": 1}, {"FRZ/1": 2}, [LOST], Loss(Reach.ROOM, ("OFFICE",))),
        # nothing was ever heard of this UPS
        ({"FRZ/1": 2}, {"CHL/1": 1}, [Ups("OFFICE/1", None)], Loss(Reach.OUTLET, ("FRZ/1",))),
    ],
)  # fmt: skip
def test_a_loss_is_told_apart_by_who_fell_silent_and_what_the_ups_says(
    silent: dict[str, int], heard: dict[str, int], ups: list[Ups], loss: Loss | None
) -> None:
    assert judge(silent, heard, ups) == loss


def test_while_some_may_still_speak_a_lost_ups_is_not_yet_the_whole_site() -> None:
    assert judge({}, {}, [LOST], unsure=4) == Loss(Reach.UNKNOWN, ("OFFICE/1",))
    assert judge({}, {}, [LOST], unsure=0) == Loss(Reach.SITE, ("",))


def test_with_all_devices_heard_only_the_way_out_is_lost() -> None:
    assert judge({}, {"FRZ/1": 2}, [FED], wan_down=True) == Loss(Reach.WAN_ONLY)
    assert not Loss(Reach.WAN_ONLY).explains("FRZ/1")


CIRCUITS = st.sampled_from(["", "FRZ", "FRZ/1", "FRZ/2", "CHL/1", "CHL/2", "OFFICE/1", "OFFICE/2"])
COUNTS = st.dictionaries(CIRCUITS, st.integers(0, 4))
UPSES = st.lists(st.builds(Ups, CIRCUITS.filter(bool), st.sampled_from([True, False, None])), max_size=3)


@given(silent=COUNTS, heard=COUNTS, ups=UPSES, unsure=st.integers(0, 3))
def test_a_circuit_on_which_somebody_speaks_is_never_dead_unless_a_ups_says_so(
    silent: dict[str, int], heard: dict[str, int], ups: list[Ups], unsure: int
) -> None:
    loss = judge(silent, heard, ups, unsure=unsure)
    lost = {one.circuit for one in ups if one.mains is False}
    if loss is None:
        return
    for circuit in {name for name, count in heard.items() if name and count} - lost:
        assert not loss.explains(circuit) or any(within(circuit, place) for place in lost)


@given(silent=COUNTS, heard=COUNTS, ups=UPSES)
def test_the_whole_site_is_dead_only_when_a_ups_lost_its_mains_and_nothing_speaks(
    silent: dict[str, int], heard: dict[str, int], ups: list[Ups]
) -> None:
    loss = judge(silent, heard, ups)
    if loss is not None and loss.reach is Reach.SITE:
        assert any(one.mains is False for one in ups)
        assert not any(one.mains for one in ups)
        assert not any(count for name, count in heard.items() if name)


@given(silent=COUNTS, heard=COUNTS, ups=UPSES)
def test_a_device_on_its_own_battery_counts_for_nothing(
    silent: dict[str, int], heard: dict[str, int], ups: list[Ups]
) -> None:
    with_, without = judge({**silent, "": 3}, {**heard, "": 2}, ups), judge(silent, heard, ups)
    bare = judge({k: v for k, v in silent.items() if k}, {k: v for k, v in heard.items() if k}, ups)
    assert with_ == without == bare


class TestBattery:
    def test_a_battery_lasts_by_its_load(self) -> None:
        assert runtime_s(400, 300) == 4800
        assert runtime_s(400, 600) == 2400

    def test_what_was_drawn_since_the_last_figure_is_taken_off(self) -> None:
        assert runtime_s(400, 300, 4000) == 800
        assert runtime_s(400, 300, 9000) == 0

    def test_a_battery_nobody_measures_lasts_nobody_knows_how_long(self) -> None:
        assert runtime_s(None, 300) is None
        assert runtime_s(400, None) is None
        assert runtime_s(400, 0) == float("inf")


ORDER = [
    ShutdownStep(name="screens", needs_s=60),
    ShutdownStep(name="cameras", needs_s=30),
    ShutdownStep(name="the node", needs_s=90),
]


class TestShutdown:
    def test_a_step_begins_when_what_is_left_just_covers_it_and_all_that_follows(self) -> None:
        all_s = 60 + 30 + 90 + RESERVE_S
        early = decide_shutdown(all_s + 40, ORDER, NOW)
        assert (early.due, early.next_at) == ((), NOW + timedelta(seconds=40))
        first = decide_shutdown(all_s, ORDER, NOW)
        assert [step.name for step in first.due] == ["screens"]
        assert first.next_at == NOW + timedelta(seconds=60)

    def test_a_load_that_grows_begins_several_at_once_in_their_order(self) -> None:
        assert [step.name for step in decide_shutdown(205, ORDER, NOW).due] == [
            "screens",
            "cameras",
            "the node",
        ]
        assert [step.name for step in decide_shutdown(205, ORDER, NOW, begun=1).due] == [
            "cameras",
            "the node",
        ]

    def test_a_battery_nobody_measures_begins_nothing_by_itself(self) -> None:
        assert decide_shutdown(None, ORDER, NOW).due == ()
        assert decide_shutdown(float("inf"), ORDER, NOW).next_at is None


STEPS = st.lists(
    st.builds(ShutdownStep, name=st.text(min_size=1, max_size=5), needs_s=st.floats(0, 600)), max_size=6
)


@given(order=STEPS, left_s=st.floats(0, 4000), less_s=st.floats(0, 4000), begun=st.integers(0, 6))
def test_less_battery_never_begins_fewer_steps(
    order: list[ShutdownStep], left_s: float, less_s: float, begun: int
) -> None:
    more, fewer = (decide_shutdown(x, order, NOW, begun) for x in (max(left_s - less_s, 0), left_s))
    assert more.due[: len(fewer.due)] == fewer.due
    assert list(more.due) == order[begun : begun + len(more.due)]


@given(order=STEPS, left_s=st.floats(0, 4000))
def test_looked_at_when_it_says_every_step_has_its_time(order: list[ShutdownStep], left_s: float) -> None:
    """From a battery that covers all steps, each begins while what is left covers it and all after it."""
    left_s += RESERVE_S + sum(step.needs_s for step in order)
    at, begun = NOW, 0
    while begun < len(order):
        schedule = decide_shutdown(left_s, order, at, begun)
        assert left_s + 0.001 >= sum(step.needs_s for step in order[begun:])
        begun += len(schedule.due)
        if begun < len(order):
            assert schedule.next_at is not None
            left_s -= (schedule.next_at - at).total_seconds() + 0.001
            at = schedule.next_at + timedelta(milliseconds=1)
