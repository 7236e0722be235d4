"""The batch behind the one under way is made meanwhile: the same one, and never after anything went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reader
from coldgrid.sync import messages as m
from coldgrid.sync import outgoing, wire
from coldgrid.sync.acts import Lane
from coldgrid.sync.carrier import Carrier, Request, Self
from coldgrid.sync.codec import unpack_entries
from coldgrid.sync.messages import Code, Pace, Place
from tests.conftest import sqlite_kernel
from tests.kernel.rooms import Bump
from tests.sync.pair import Node, Tower, own_log

PACE = Pace(0, 200)


@contextmanager
def begun() -> Iterator[Node]:
    with sqlite_kernel() as kernel, sqlite_kernel() as own:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        node = Node(tower, own)
        for number in range(500):
            own.do(Bump(site_id="ATL1", name=f"b{number // 100}"))
        yield node


def answered(request: Request) -> bytes:
    """What a tower would say that takes everything."""
    asked = wire.decode(request.frame)
    if isinstance(asked, m.Hello):
        return wire.encode(m.Welcome(1, b"t" * 16, Place(), 0, 0, 0, PACE, b""))
    assert isinstance(asked, m.Facts), asked
    last = asked.columns.runs[-1]
    return wire.encode(m.Taken(Place(last.epoch, last.first_seq + last.count), [], PACE))


def batches(node: Node, meanwhile: Callable[[Carrier], None]) -> list[bytes]:
    """Send everything; return the frames of facts."""
    carrier = Carrier(node.desk, Self("ATL1"))
    queue, sent = carrier.look(node.now_us), []
    while queue:
        request = queue.pop(0)
        if request.lane is not Lane.FACTS:
            continue
        if isinstance(wire.decode(request.frame), m.Facts):
            sent.append(request.frame)
        meanwhile(carrier)
        queue += carrier.receive(request, answered(request), node.now_us)
    return sent


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """From where batches were made, in order."""
    places: list[Place] = []
    own = outgoing.facts_after

    def noted(db: Reader, site_id: str, place: Place, head: Place, entries_max: int) -> list[Entry]:
        places.append(place)
        return own(db, site_id, place, head, entries_max)

    monkeypatch.setattr(outgoing, "facts_after", noted)
    return places


def test_the_batch_that_was_foreseen_is_the_one_that_is_sent(made: list[Place]) -> None:
    with begun() as node:
        plain = batches(node, lambda carrier: None)
        asked = list(made)
        made.clear()
        assert batches(node, Carrier.foresee) == plain
        assert made == asked, "each is made once"
        sent = [entry for frame in plain for entry in unpack_entries(facts_in(frame).columns)]
        assert sent == own_log(node.kernel, "ATL1")


def facts_in(frame: bytes) -> m.Facts:
    message = wire.decode(frame)
    assert isinstance(message, m.Facts)
    return message


@pytest.mark.parametrize("wrong", ["lost", "refused", "anew"])
def test_what_was_foreseen_is_forgotten_when_the_batch_before_it_was_not_taken(
    made: list[Place], wrong: str
) -> None:
    with begun() as node:
        carrier = Carrier(node.desk, Self("ATL1"))
        hello = carrier.look(node.now_us)[0]
        sent = carrier.receive(hello, answered(hello), node.now_us)
        facts = next(one for one in sent if one.lane is Lane.FACTS)
        carrier.foresee()
        assert made == [Place(), Place(1, 200)]
        if wrong == "lost":
            carrier.fail(facts, "no answer", node.now_us)
        elif wrong == "refused":
            told = m.Refused(Code.CHOSEN, "carry it out", {})
            carrier.receive(facts, wire.encode(told), node.now_us)
        else:
            carrier.begin_anew()
        carrier.foresee()
        assert len(made) == 2, "nothing is under way"
        taken = wire.encode(m.Taken(Place(1, 200), [], PACE))
        carrier.receive(facts, taken, node.now_us)
        assert len(made) == 2 or made[2:] == [Place(1, 200)], "it is made anew, if it is sent at all"
