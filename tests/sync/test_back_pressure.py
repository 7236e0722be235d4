"""A backlog drains while the tower works on: commands wait for a chunk at most, nodes are slowed down."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest

from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Call
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.sync import messages as m
from coldgrid.sync import wire
from coldgrid.sync.acts import HOLD_MS
from coldgrid.sync.authority import Peer
from coldgrid.sync.carrier import Carrier, Self
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.desk import ServiceDesk
from coldgrid.sync.messages import ENTRIES_MAX, Pace
from coldgrid.sync.pace import ENTRIES_LEAST, WAIT_MAX_MS, pace_of
from coldgrid.sync.post import Post
from coldgrid.sync.receiving import BULK_FROM, LOOKED_UP_AFTER
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel.rooms import Bump
from tests.network.master import put_in_force, site
from tests.sync.pair import Node, Tower, desk_of, own_log

BUMPS = 1_500
COMMANDS = 40


def backlog_of(kernel: Kernel, site_id: str) -> list[Entry]:
    for start in range(0, BUMPS, 100):
        calls = [Call(Bump(site_id=site_id, name=f"{site_id}-{start}"), SYSTEM) for _ in range(100)]
        kernel.decider.execute(calls)
    kernel.decider.settle()
    return own_log(kernel, site_id)


@contextmanager
def serving(kernel: Kernel) -> Iterator[tuple[DeciderService, Post]]:
    service = DeciderService(kernel.decider, lambda due: 3_600.0, lambda: False)

    @contextmanager
    def reader() -> Iterator[Reader]:
        with kernel.database.reader() as connection:
            yield Reads(connection)

    service.start()
    try:
        yield service, Post(ServiceDesk(service, reader, kernel.host.now))
    finally:
        service.stop()


def drain(
    post: Post,
    site_id: str,
    entries: list[Entry],
    paces: list[Pace],
    together: threading.Barrier | None = None,
) -> None:
    """Send a backlog as a node does, without heeding the pace."""
    if together is not None:
        together.wait(timeout=60)
    for start in range(0, len(entries), ENTRIES_MAX):
        frame = wire.encode(m.Facts(pack_entries(entries[start : start + ENTRIES_MAX])))
        answer = post.answer(Peer(site_id, "n", "01"), frame, final=True)
        assert isinstance(answer, bytes)
        taken = wire.decode(answer)
        assert isinstance(taken, m.Taken), taken
        paces.append(taken.pace)


def command_meanwhile(service: DeciderService, threads: list[threading.Thread], sizes: list[int]) -> int:
    """Give commands until the threads are done; return the most chunks that went before one of them."""
    most = count = 0
    after: SimpleQueue[int] = SimpleQueue()

    def note(_: Future[Any]) -> None:  # in the decider's own thread: this one may be woken much later
        after.put(len(sizes))

    while any(thread.is_alive() for thread in threads) or count < COMMANDS:
        answer = service.submit(Bump(site_id="RNO1", name=f"r{count // 100}"))
        before = len(sizes)
        answer.add_done_callback(note)
        answer.result(timeout=60)
        most, count = max(most, after.get(timeout=60) - before), count + 1
    return most


def test_commands_wait_for_one_chunk_while_two_nodes_drain_a_backlog(kernel: Kernel) -> None:
    tower = Tower(kernel)
    for site_id in ("CLT1", "RNO1"):
        put_in_force(kernel, site(site_id, lat=35.2, lon=-80.9), change_id=f"change-{site_id}")
    backlogs: dict[str, list[Entry]] = {}
    for site_id in ("ATL1", "CLT1"):
        tower.lets_go_of(site_id)
        with sqlite_kernel() as own:
            backlogs[site_id] = backlog_of(Node(tower, own, site_id).kernel, site_id)
    sizes: list[int] = []
    paces: list[Pace] = []

    def note(recorded: Sequence[tuple[Entry, Any]]) -> None:
        taken = sum(entry.origin in backlogs for entry, _ in recorded)
        if taken:
            sizes.append(taken)

    kernel.decider.listeners.append(note)
    with serving(kernel) as (service, post):
        together = threading.Barrier(len(backlogs))
        threads = [
            threading.Thread(target=drain, args=(post, *one, paces, together)) for one in backlogs.items()
        ]
        for thread in threads:
            thread.start()
        most = command_meanwhile(service, threads, sizes)
    assert max(sizes) <= ENTRIES_MAX
    assert most <= 2, "the chunk at work, and one that was before it in the queue"
    for site_id, entries in backlogs.items():
        assert own_log(kernel, site_id) == entries
    assert any(pace.wait_ms or pace.entries_max < ENTRIES_MAX for pace in paces), "they alternate"


@pytest.mark.parametrize(("busy", "most"), [(False, ENTRIES_MAX), (True, LOOKED_UP_AFTER)])
def test_a_batch_is_one_commit_and_ends_early_where_somebody_waits(
    busy: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_kernel() as kernel, sqlite_kernel() as own:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        entries = backlog_of(Node(tower, own).kernel, "ATL1")
        sizes: list[int] = []

        def note(recorded: Sequence[tuple[Entry, Any]]) -> None:
            if recorded[0][0].origin == "ATL1":
                sizes.append(len(recorded))

        kernel.decider.listeners.append(note)
        desk = desk_of(kernel)
        monkeypatch.setattr(desk, "waits", lambda: busy)
        drain(Post(desk), "ATL1", entries, [])
        assert own_log(kernel, "ATL1") == entries
        assert sum(sizes) == len(entries)
        assert max(sizes) == most


def test_a_small_batch_is_never_asked_to_wait() -> None:
    with sqlite_kernel() as kernel, sqlite_kernel() as own:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        node = Node(tower, own)
        entries = backlog_of(node.kernel, "ATL1")
        post = Post(desk_of(kernel), pace=lambda: Pace(500, 300))
        small, large = entries[: BULK_FROM - 1], entries[BULK_FROM - 1 : 3 * BULK_FROM]
        for batch, pace in ((small, Pace()), (large, Pace(500, 300))):
            answer = post.answer(Peer("ATL1", "n", "01"), wire.encode(m.Facts(pack_entries(batch))))
            assert isinstance(answer, bytes)
            taken = wire.decode(answer)
            assert isinstance(taken, m.Taken)
            assert taken.pace == pace


@pytest.mark.parametrize(
    ("commands", "batches", "pace"),
    [
        (0, 0, Pace()),
        (20, 0, Pace()),
        (100, 0, Pace(100, ENTRIES_MAX)),
        (0, 1, Pace(20, ENTRIES_MAX // 2)),
        (0, 100, Pace(WAIT_MAX_MS, ENTRIES_LEAST)),
        (9_000, 9, Pace(WAIT_MAX_MS, ENTRIES_LEAST)),
    ],
)
def test_the_pace_follows_what_waits_at_the_decider(commands: int, batches: int, pace: Pace) -> None:
    assert pace_of(commands, batches) == pace
    assert pace_of(commands, batches, behind=True) == Pace(WAIT_MAX_MS), "what follows from facts is behind"


@pytest.mark.parametrize("bytes_per_s", [2_000, 20_000])
def test_a_node_sends_no_more_bytes_than_its_cap(bytes_per_s: int) -> None:
    with sqlite_kernel() as kernel, sqlite_kernel() as own:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        node = Node(tower, own)
        backlog_of(node.kernel, "ATL1")
        node.carrier = Carrier(node.desk, Self("ATL1", bytes_per_s=bytes_per_s))
        now_us, sent, largest = node.now_us, 0, 0
        began_us = now_us
        queue = node.carrier.look(now_us)
        while node.carrier.state.place != node.desk.place("ATL1") or not sent:
            if not queue:
                due_us = node.carrier.due_us
                assert due_us is not None, "it waits for nothing"
                now_us = max(due_us, now_us + 1_000)
                queue = node.carrier.look(now_us)
                continue
            request = queue.pop(0)
            if request.hold_ms >= HOLD_MS:
                continue
            sent, largest = sent + len(request.frame), max(largest, len(request.frame))
            answer = node.answer(request, final=True)
            assert isinstance(answer, bytes)
            queue += node.carrier.receive(request, answer, now_us)
        seconds = (now_us - began_us) / 1e6
        assert sent <= bytes_per_s * (seconds + 1) + 2 * largest
