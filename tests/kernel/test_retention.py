"""The kernel's own rows that go after their time: delivered messages and answers kept for retries."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coldgrid.kernel import log, retained, retention
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.outbox import EffectStatus, ReportEffect, effects_of_status
from coldgrid.kernel.retention import Dropped, Spared
from tests.conftest import T0, Kernel
from tests.kernel.rooms import Bump

HOUR = timedelta(hours=1)
ANA = Principal("ana", frozenset())


def let_go(kernel: Kernel, kind: str, hours: float) -> int:
    before = T0 + hours * HOUR
    things = retention.plan(kernel.reader(), kind, before, Spared(), 100)
    if things:
        retention.drop(kernel.decider, "ATL1", kind, before, things)
    return len(things)


@pytest.fixture
def busy(kernel: Kernel) -> Kernel:
    """An answer at eight, another at ten, and a message that was delivered."""
    kernel.do(Bump(site_id="ATL1", name="effect"), key="first")
    (waiting,) = kernel.effects()
    kernel.do(Bump(site_id="ATL1", name="pears"), key="second", at=120)
    kernel.do(ReportEffect(origin="ATL1", key=waiting.key, delivered=True))
    return kernel


def test_delivered_messages_go_and_waiting_ones_stay(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="effect"))
    assert let_go(kernel, retained.MESSAGES, 24) == 0, "it waits"
    kernel.do(ReportEffect(origin="ATL1", key=kernel.effects()[0].key, delivered=True))
    assert let_go(kernel, retained.MESSAGES, -1) == 0, "it is too young"
    assert let_go(kernel, retained.MESSAGES, 24) == 1
    assert effects_of_status(kernel.reader(), EffectStatus.DELIVERED) == []
    kernel.rebuild()


def test_answers_of_before_go_and_a_retry_since_is_still_answered(busy: Kernel) -> None:
    assert let_go(busy, retained.ANSWERS, 1) == 1
    again = busy.decider.do(Bump(site_id="ATL1", name="pears"), ANA, "second")
    assert again.replayed
    anew = busy.decider.do(Bump(site_id="ATL1", name="effect2"), ANA, "first")
    assert not anew.replayed, "the key is free again"


def test_the_first_entry_since_an_instant_is_found_by_halving(busy: Kernel) -> None:
    reader = busy.reader()
    entries = list(log.read_all(reader))
    for minutes in (-10, 0, 1, 119, 120, 121, 500):
        instant = T0 + timedelta(minutes=minutes)
        found = retained.first_since(reader, instant)
        assert found == min((e.position for e in entries if e.recorded_at >= instant), default=len(entries))


def test_what_goes_and_the_fact_are_one_commit(busy: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(log.read_all(busy.reader()))
    things = retention.plan(busy.reader(), retained.ANSWERS, T0 + HOUR, Spared(), 100)

    def fail(*given: object, **named: object) -> None:
        raise RuntimeError("the power went")

    with monkeypatch.context() as broken:
        broken.setattr(retention, "Dropped", fail)
        with pytest.raises(RuntimeError):
            retention.drop(busy.decider, "ATL1", retained.ANSWERS, T0 + HOUR, things)
    assert list(log.read_all(busy.reader())) == before
    assert let_go(busy, retained.ANSWERS, 1) == 1
    assert [event for _, event in busy.events() if isinstance(event, Dropped)]
