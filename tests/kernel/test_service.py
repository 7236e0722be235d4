"""The decider's thread: many callers share commits, timers fire by themselves, stopping loses nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from coldgrid.kernel import log
from coldgrid.kernel.clock import ClockGuard
from coldgrid.kernel.database import open_database
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.rejections import KeyReused
from coldgrid.kernel.service import DeciderService, Stopping
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump, Later


@pytest.fixture
def served() -> Iterator[tuple[Kernel, DeciderService]]:
    with sqlite_kernel() as kernel:
        began = time.monotonic()

        def until_due_s(due: datetime) -> float:
            return (due - T0).total_seconds() - (time.monotonic() - began)

        service = DeciderService(kernel.decider, until_due_s)
        service.start()
        yield kernel, service
        service.stop()


def test_callers_on_many_threads_are_all_answered_and_nothing_is_lost(
    served: tuple[Kernel, DeciderService],
) -> None:
    kernel, service = served
    answers: list[int] = []

    def call(caller: int) -> None:
        for step in range(20):
            answer = service.submit(Bump(site_id="ATL1", name=f"c{caller}"), key=f"{caller}-{step}").result(
                20
            )
            answers.append(answer.position)

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 320
    with kernel.database.reader() as connection:
        reads = Reads(connection)
        assert all(rooms.count_of(reads, f"c{caller}") == 20 for caller in range(16))


def test_callers_on_one_event_loop_share_commits_and_each_gets_its_own_answer_or_rejection(
    served: tuple[Kernel, DeciderService],
) -> None:
    kernel, service = served
    commits: list[int] = []
    kernel.decider.listeners.append(lambda recorded: commits.append(len(recorded)))

    async def caller(number: int) -> list[int]:
        asked = [
            await service.ask(Bump(site_id="ATL1", name=f"a{number}"), key=f"a{number}-{i}") for i in range(5)
        ]
        with pytest.raises(KeyReused):
            await service.ask(Bump(site_id="ATL1", name="another"), key=f"a{number}-0")
        return [answer.position for answer in asked]

    async def all_of_them() -> list[list[int]]:
        return await asyncio.gather(*[caller(number) for number in range(16)])

    positions = [position for one in asyncio.run(all_of_them()) for position in one]
    assert len(set(positions)) == 80
    assert len(commits) < 80, "nobody shared a commit"


def test_a_caller_that_gives_up_disturbs_neither_its_commit_nor_the_others(
    served: tuple[Kernel, DeciderService],
) -> None:
    kernel, service = served

    async def work() -> int:
        gone = asyncio.ensure_future(service.ask(Bump(site_id="ATL1", name="gone")))
        await asyncio.sleep(0)
        gone.cancel()
        return (await service.ask(Bump(site_id="ATL1", name="stays"))).position

    assert asyncio.run(work()) >= 0
    with kernel.database.reader() as connection:
        assert rooms.count_of(Reads(connection), "gone") == 1


def test_an_answer_is_given_only_when_the_fact_is_durable(served: tuple[Kernel, DeciderService]) -> None:
    kernel, service = served
    answer = service.submit(Bump(site_id="ATL1", name="a")).result(10)
    other = open_database(str(kernel.database.url))
    with other.reader() as connection:
        assert log.last_position(Reads(connection)) >= answer.position
    other.close()


def test_a_rejection_reaches_its_own_caller_only(served: tuple[Kernel, DeciderService]) -> None:
    _, service = served
    futures = [service.submit(Bump(site_id="ATL1", name="a", by=by)) for by in (60, 60, 40)]
    assert futures[0].result(10).result == {"count": 60}
    with pytest.raises(rooms.TooMany):
        futures[1].result(10)
    assert futures[2].result(10).result == {"count": 100}


def test_timers_fire_without_anybody_calling(served: tuple[Kernel, DeciderService]) -> None:
    kernel, service = served
    service.submit(Later(site_id="ATL1", name="late", minutes=-1)).result(10)
    deadline = time.monotonic() + 10
    with kernel.database.reader() as connection:
        while rooms.count_of(Reads(connection), "late") == 0:
            assert time.monotonic() < deadline, "the timer never fired"
            time.sleep(0.02)


def test_timers_that_are_due_together_let_whoever_waits_go_between_them(kernel: Kernel) -> None:
    for name in ("a", "b", "c"):
        kernel.do(Later(site_id="ATL1", name=name, minutes=1))
    kernel.host.instant += timedelta(minutes=2)
    fired = [kernel.decider.fire_due(waits=lambda: True) for _ in range(2)]
    assert (fired, kernel.decider.fire_due()) == ([1, 1], 1)
    assert [rooms.count_of(kernel.reader(), name) for name in ("a", "b", "c")] == [1, 1, 1]


def test_stopping_carries_out_what_waits_and_refuses_what_comes_later() -> None:
    with sqlite_kernel() as kernel:
        service = DeciderService(kernel.decider, lambda due: 1.0)
        futures = [service.submit(Bump(site_id="ATL1", name="a")) for _ in range(50)]
        service.start()
        service.stop()
        assert all(future.result(1).position >= 0 for future in futures)
        with pytest.raises(Stopping):
            service.submit(Bump(site_id="ATL1", name="a")).result(1)


def test_a_clock_that_jumps_freezes_the_timers_until_a_person_accepts_it() -> None:
    guard = ClockGuard(T0, 100.0)
    assert guard.observe(T0 + timedelta(seconds=10), 110.0)
    assert guard.observe(T0 + timedelta(seconds=9), 111.0)  # a small step back is only a correction
    assert not guard.observe(T0 + timedelta(hours=3), 112.0)
    assert "jumped" in guard.frozen_why
    assert guard.trusted(T0 + timedelta(hours=3), 130.0) == T0 + timedelta(seconds=28), "as if it had not"
    assert not guard.observe(T0 + timedelta(hours=3), 113.0)
    guard.accept(T0 + timedelta(hours=3), 114.0)
    assert guard.observe(T0 + timedelta(hours=3, seconds=1), 115.0)
    assert guard.trusted(T0 + timedelta(hours=3, seconds=4), 117.0) == T0 + timedelta(hours=3, seconds=4)
    before = guard.trusted(T0 - timedelta(days=9), 117.0)
    assert before == T0 + timedelta(hours=3, seconds=3), "before it is seen"


def test_the_order_of_the_log_does_not_follow_a_clock_that_steps_back(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="a"), at=10)
    kernel.do(Bump(site_id="ATL1", name="b"), at=-600)
    entries = [entry for entry in log.read_all(kernel.reader()) if entry.type == "toy.bumped"]
    assert [log.decode_entry(entry).name for entry in entries] == ["a", "b"]
    assert entries[0].recorded_at > entries[1].recorded_at
