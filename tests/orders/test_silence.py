"""Promises on a silent site: less and less is offered, then nothing; what it lost is sourced again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldgrid.kernel.rejections import Rejected
from coldgrid.orchestration.decisions import alternatives_of, get_decision
from coldgrid.orders.policy import DEFAULT_POLICY
from coldgrid.orders.reach import may_source
from coldgrid.stock.reserves import (
    BUFFER_STEPS,
    NoteStaleness,
    NothingNew,
    buffer_permille,
    minutes_since,
    silence_of,
)
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.orders import world
from tests.orders.world import BULK, OTHER, PALLET, SITE, index, order, promised, stocked, told
from tests.stock.world import dispatch, hold, receive, release, sscc

# --- Decisions --------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_longer_a_site_is_silent_the_less_it_offers(one: int, other: int) -> None:
    shorter, longer = sorted((one, other))
    assert buffer_permille(shorter) <= buffer_permille(longer)
    assert may_source(shorter, DEFAULT_POLICY) or not may_source(longer, DEFAULT_POLICY)


def test_sourcing_stops_at_a_step_so_that_it_is_noted_when_it_does() -> None:
    limit = DEFAULT_POLICY.stop_sourcing_after_min
    assert limit in {after_min for after_min, _ in BUFFER_STEPS}
    assert may_source(limit - 1, DEFAULT_POLICY)
    assert not may_source(limit, DEFAULT_POLICY)


@given(st.timedeltas())
def test_facts_of_the_future_are_fresh(ago: Any) -> None:
    try:
        heard_at = T0 - ago
    except OverflowError:
        return
    assert minutes_since(heard_at, T0) == max(0, ago.days * 1440 + ago.seconds // 60)


# --- Commands ---------------------------------------------------------------------


def silent(minutes: int, site_id: str = SITE) -> NoteStaleness:
    return NoteStaleness(site_id=site_id, stale_min=minutes)


def test_the_buffer_widens_in_steps_and_availability_tells_its_age(kernel: Kernel) -> None:
    stocked(kernel, near=100, far=0)
    free = []
    for after_min, _ in BUFFER_STEPS:
        kernel.do(silent(after_min))
        free.append(sum(bucket.promisable for bucket in index(kernel).buckets_at(SITE)))
        told_of = silence_of(kernel.reader(), SITE)
        assert told_of is not None
        assert minutes_since(told_of.heard_at, kernel.host.now()) == after_min
    assert free == [99, 97, 92, 80, 50, 0]
    with pytest.raises(NothingNew):
        kernel.do(silent(5_000))
    kernel.do(silent(0))
    assert silence_of(kernel.reader(), SITE) is None
    world.check_everything(kernel)


def test_a_site_silent_for_too_long_gets_no_new_orders_and_the_decision_says_so(kernel: Kernel) -> None:
    stocked(kernel)
    kernel.do(order(1))
    kernel.do(silent(1440))
    kernel.do(order(2))
    assert (promised(kernel, 1), promised(kernel, 2)) == ([(1, SITE, 10)], [(1, OTHER, 10)])
    decision = get_decision(kernel.reader(), "sourcing/web-2/placed").decision
    why = {row.name: row.why for row in alternatives_of(decision)}
    assert why[SITE] == "its facts have not come for too long"
    world.check_everything(kernel)
    kernel.restart()
    kernel.do(order(3))
    assert promised(kernel, 3) == [(1, OTHER, 10)]


def test_orders_that_wait_are_served_when_the_site_is_heard_again(kernel: Kernel) -> None:
    stocked(kernel, near=100, far=0)
    kernel.do(silent(1440))
    assert [lost.reason for lost in kernel.do(order(1)).unsourced] == ["s.quiet"]
    kernel.do(silent(0))
    assert promised(kernel, 1) == [(1, SITE, 10)]
    world.check_everything(kernel)


def test_a_site_that_comes_back_with_less_is_short_and_its_orders_are_sourced_again(kernel: Kernel) -> None:
    stocked(kernel, near=100, far=100)
    for number in range(1, 10):
        kernel.do(order(number))
    kernel.do(silent(60))
    kernel.do(dispatch("walk-in", (PALLET, 40), order_id=""))  # what the site tells when it is heard again
    kernel.do(silent(0))
    [shortfall] = told(kernel, "Shortfall")
    assert shortfall.short == 30
    assert [promised(kernel, number)[0][1] for number in range(1, 10)] == [SITE] * 6 + [OTHER] * 3
    world.check_everything(kernel)


# --- The law ------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.integers(1, 30)),
        st.tuples(st.just("silent"), st.sampled_from([0, *(after_min for after_min, _ in BUFFER_STEPS)])),
        st.tuples(st.just("sold"), st.integers(1, 30)),
        st.tuples(st.just("held"), st.integers(0, 1)),
        st.tuples(st.just("came"), st.integers(1, 30)),
    ),
    max_size=25,
)


def commands(steps: Any) -> Iterator[Any]:
    for number, (what, value) in enumerate(steps):
        if what == "order":
            yield order(number, value)
        elif what == "silent":
            yield silent(value)
        elif what == "sold":
            yield dispatch(f"d{number}", (PALLET, value), order_id="")
        elif what == "held":
            yield hold(f"h{number // 2}", PALLET) if value else release(f"h{number // 2}", PALLET)
        else:
            yield receive(sscc(number + 10), value, location_id=BULK)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_a_promise_on_a_silent_site_never_oversells_against_its_last_facts(steps: Any) -> None:
    with sqlite_kernel() as kernel:
        stocked(kernel, near=100, far=20)
        for command in commands(steps):
            before = {bucket.key: bucket.promisable for bucket in index(kernel).buckets_at(SITE)}
            count = len(told(kernel, "Promised"))
            try:
                kernel.do(command, roles={"operator", "quality"})
            except Rejected:
                continue
            for event in told(kernel, "Promised")[count:]:
                asked: dict[Any, int] = {}
                for one in event.allocations:
                    asked[one.key] = asked.get(one.key, 0) + one.qty
                known = {key: qty for key, qty in asked.items() if key[2] == SITE}
                if type(command).__name__ == "PlaceOrder":
                    assert all(qty <= before[key] for key, qty in known.items())
            for bucket in index(kernel).buckets_at(SITE):
                assert bucket.sellable >= 0, "never negative stock"
                assert bucket.promisable <= max(0, bucket.sellable - bucket.promised)
        world.check_everything(kernel)
