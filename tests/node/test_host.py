"""The clocks of hosts: the demo's advances only as far as it was served, and a live one is not taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.node.driving import HostClock
from coldgrid.node.host import SERVED_MAX_S, WALL, LiveHost, ScaledHost
from tests.conftest import T0

SCALE = 60.0


class Stopwatch:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.shows_s = 1000.0

    def __call__(self) -> float:
        return self.shows_s


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def demo(watch: Stopwatch) -> ScaledHost:
    host = ScaledHost(CedarAuthorizer(), T0, SCALE, watch)
    host.restart()
    return host


def test_a_scaled_clock_stands_until_it_is_started(watch: Stopwatch) -> None:
    host = ScaledHost(CedarAuthorizer(), T0, SCALE, watch)
    watch.shows_s += 20
    assert host.now() == T0
    host.restart()
    watch.shows_s += 1
    assert host.now() == T0 + timedelta(seconds=SCALE)


def test_a_scaled_clock_that_is_looked_at_runs_as_told(demo: ScaledHost, watch: Stopwatch) -> None:
    for _ in range(400):
        watch.shows_s += 0.25
        demo.now()
    assert demo.now() == T0 + timedelta(seconds=100 * SCALE)
    assert demo.until_due_s(T0 + timedelta(seconds=101 * SCALE)) == pytest.approx(1.0)


def test_a_demo_that_stood_still_counts_a_moment_of_it(demo: ScaledHost, watch: Stopwatch) -> None:
    watch.shows_s += 1
    before = demo.now()
    watch.shows_s += 70
    after = demo.now()
    assert after - before == timedelta(seconds=SERVED_MAX_S * SCALE)
    assert timedelta(0) < after - before < timedelta(minutes=5), "no probe falls silent within it"
    watch.shows_s += 1
    assert demo.now() - after == timedelta(seconds=SCALE), "and it goes on from there"


def test_a_scaled_clock_never_goes_back(demo: ScaledHost, watch: Stopwatch) -> None:
    watch.shows_s += 1
    before = demo.now()
    watch.shows_s -= 1
    assert demo.now() >= before


@pytest.mark.parametrize(("jump", "counts"), [(timedelta(minutes=-10), False), (timedelta(minutes=10), True)])
def test_a_wall_clock_that_was_set_back_does_not_take_the_time_back_until_somebody_accepts_it(
    monkeypatch: pytest.MonkeyPatch, jump: timedelta, counts: bool
) -> None:
    """Set back, it would refuse every reading as of the future; set ahead, or after a sleep, it counts."""
    host = LiveHost(CedarAuthorizer())
    before = host.now()
    monkeypatch.setattr(WALL, "wrong_by", jump)
    for _ in range(2):  # before the guard has looked, and after
        assert abs(host.now() - before - (jump if counts else timedelta(0))) < timedelta(seconds=30)
        assert not host.timers_run()
    host.accept_clock()
    assert host.timers_run()
    assert abs(host.now() - before - jump) < timedelta(seconds=30)


def test_what_polls_devices_reads_the_clock_that_was_not_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its readings would come late and out of order until somebody accepts the clock."""
    clock = HostClock(LiveHost(CedarAuthorizer()))
    before_us = clock.now_us()
    monkeypatch.setattr(WALL, "wrong_by", timedelta(minutes=-10))
    assert clock.now_us() >= before_us
