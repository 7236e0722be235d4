"""Handing over without sockets: what a node refuses to begin with, and how an interrupted move goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from coldgrid.evidence import checkpoints
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import Signer
from coldgrid.kernel import luggage
from coldgrid.kernel.elsewhere import SiteMoving
from coldgrid.kernel.hosting import Hosting
from coldgrid.node.moving import BadHandover, Moving, is_home
from coldgrid.stock.ledger import balances_of_site
from coldgrid.sync import handover, wire
from coldgrid.sync import messages as m
from coldgrid.sync.desk import HandDesk
from coldgrid.sync.handover import Begun
from coldgrid.sync.messages import Code
from coldgrid.sync.post import Post
from coldgrid.sync.wire import Refusal
from coldgrid.telemetry.store import last_readings
from coldgrid.tower.sync_work import Handing
from tests.conftest import Kernel, sqlite_kernel
from tests.system.served import seed
from tests.telemetry.cold_room import AIR, readings

SIGNER = Signer("coldgrid", b"t" * 32)


@dataclass
class Peer:
    site_id: str = "ATL1"
    serial: str = ""


@dataclass
class Both:
    """A tower with a living site, an empty node, and a wire on which a test may meddle."""

    tower: Kernel
    node: Kernel
    meddle: Callable[[m.Message], m.Message] = lambda message: message
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        desk = HandDesk(self.tower.decider, self.tower.host.now)
        notary = Notary(signer=SIGNER, network_name="coldgrid")
        self.post = Post(desk, notary, answers=Handing(desk, notary).answers())  # type: ignore[arg-type]

    def carry(self, frame: bytes) -> bytes:
        question = wire.decode(frame)
        self.asked.append(question.kind if isinstance(question, m.Ask) else type(question).__name__)
        answer = self.post.answer(Peer(), frame)  # type: ignore[arg-type]
        assert isinstance(answer, bytes)
        return wire.encode(self.meddle(wire.decode(answer)))

    def moving(self) -> Moving:
        desk = HandDesk(self.node.decider, self.node.host.now)
        return Moving("ATL1", desk, self.carry, [SIGNER.key], lambda text: None)


@pytest.fixture
def both() -> Iterator[Both]:
    with sqlite_kernel() as tower, sqlite_kernel() as node:
        seed(tower)
        tower.do(readings([(AIR, minute, -21.0) for minute in range(30)]))
        yield Both(tower, node)


def test_the_end_is_signed_though_a_pass_that_saw_an_earlier_one_is_faster(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, notary = both.tower.decider, Notary(signer=SIGNER, network_name="coldgrid")
    earlier = [checkpoints.plan(both.tower.reader(), notary, tower.heads, both.tower.host.now())]
    plan = checkpoints.plan

    def overtaken(*arguments: Any) -> checkpoints.Plan:
        planned = plan(*arguments)
        if earlier:
            checkpoints.keep(tower, notary, earlier.pop())
        return planned

    monkeypatch.setattr(checkpoints, "plan", overtaken)
    both.moving().take_over()
    assert not earlier
    assert is_home(both.node.decider, "ATL1")


def test_a_site_with_goods_readings_and_an_incident_moves_whole(both: Both) -> None:
    before = balances_of_site(both.tower.reader(), "ATL1")
    read = last_readings(both.tower.reader(), "ATL1")
    both.moving().take_over()
    assert balances_of_site(both.node.reader(), "ATL1") == before
    assert last_readings(both.node.reader(), "ATL1") == read
    assert is_home(both.node.decider, "ATL1")
    assert not both.node.decider.shared.hot[Hosting].here("network")
    both.node.rebuild()
    with pytest.raises(SiteMoving):  # until the tower hears of the next epoch
        both.tower.do(readings([(AIR, 31, -21.0)]))
    both.node.do(readings([(AIR, 31, -21.0)]))


def test_the_past_comes_before_the_site_stands_still(both: Both) -> None:
    both.moving().take_over()
    assert both.asked.index("PastAsk") < both.asked.index("handover.begin")


def test_a_past_that_was_altered_on_the_way_is_not_taken(both: Both) -> None:
    def alter(message: m.Message) -> m.Message:
        if isinstance(message, m.PastPart) and message.columns is not None:
            bodies = [body.replace(b'"qty":100', b'"qty":900') for body in message.columns.bodies]
            return msgspec.structs.replace(
                message, columns=msgspec.structs.replace(message.columns, bodies=bodies)
            )
        return message

    both.meddle = alter
    with pytest.raises(Refusal):
        both.moving().take_over()
    assert not is_home(both.node.decider, "ATL1")


@pytest.mark.parametrize(
    "change",
    [
        lambda begun: msgspec.structs.replace(begun, notes=[]),
        lambda begun: msgspec.structs.replace(begun, leaf=b"x" * 32),
        lambda begun: msgspec.structs.replace(begun, seq=begun.seq + 1),
        lambda begun: msgspec.structs.replace(begun, notes=[_signed_by_another(begun.notes[-1])]),
    ],
    ids=["not signed", "another last entry", "another length", "signed by another"],
)
def test_a_log_that_is_not_what_the_tower_signed_is_not_gone_on_with(
    both: Both, change: Callable[[Begun], Begun]
) -> None:
    def lie(message: m.Message) -> m.Message:
        if isinstance(message, m.Told) and message.kind == "handover.begin":
            begun = change(msgspec.msgpack.decode(message.body, type=Begun))
            return m.Told(message.kind, msgspec.msgpack.encode(begun))
        return message

    both.meddle = lie
    with pytest.raises(BadHandover):
        both.moving().take_over()
    assert not is_home(both.node.decider, "ATL1")
    both.meddle = lambda message: message
    both.moving().take_over()
    assert is_home(both.node.decider, "ATL1"), "asked again, with the truth, it goes on"


def _signed_by_another(note: str) -> str:
    text = note.partition("\n\n")[0] + "\n"
    return Signer("coldgrid", b"x" * 32).sign(text).encode()


@pytest.mark.parametrize("steps", range(1, 14, 2))
def test_a_move_that_breaks_off_anywhere_goes_on_where_it_was(both: Both, steps: int) -> None:
    left = [steps]

    def break_off(message: m.Message) -> m.Message:
        left[0] -= 1
        if left[0] == 0:
            raise ConnectionError("the line went down")
        return message

    before = balances_of_site(both.tower.reader(), "ATL1")
    read = last_readings(both.tower.reader(), "ATL1")
    both.meddle = break_off
    with pytest.raises(ConnectionError):
        both.moving().take_over()
    both.meddle = lambda message: message
    both.node.restart()
    both.moving().take_over()
    assert balances_of_site(both.node.reader(), "ATL1") == before
    assert last_readings(both.node.reader(), "ATL1") == read
    both.node.rebuild()


def test_a_move_that_is_given_up_leaves_the_tower_as_it_was(both: Both) -> None:
    before = luggage.copy_waiting(both.tower.reader(), "ATL1")
    assert before, "something waits"
    both.carry(wire.encode(m.Ask("handover.begin", msgspec.msgpack.encode(False))))
    assert luggage.copy_waiting(both.tower.reader(), "ATL1") == []
    assert handover.take_back(both.tower.decider, "ATL1", lost=False)
    assert luggage.copy_waiting(both.tower.reader(), "ATL1") == before
    both.tower.do(readings([(AIR, 31, -21.0)]))
    both.tower.rebuild()


def test_a_question_that_cannot_be_read_hands_nothing_over(both: Both) -> None:
    for kind in ("handover.begin", "handover.rows", "handover.feed", "handover.give", "handover.copy"):
        for body in (b"", b"\xc1garbage", msgspec.msgpack.encode({"table": 7})):
            answer = wire.decode(both.carry(wire.encode(m.Ask(kind, body))))
            assert isinstance(answer, m.Refused)
            assert answer.code == Code.MALFORMED, kind
    assert both.tower.decider.shared.hot[Hosting].here("ATL1")
