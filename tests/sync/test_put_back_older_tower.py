"""A disk that was put back, and a tower of a release that hands out no sealed blocks: the choice waits."""

from __future__ import annotations

import pytest

from coldgrid.node.carrier import Talk
from coldgrid.sync import messages as m
from coldgrid.sync.abiding import abide
from coldgrid.sync.choices import choice_of
from coldgrid.sync.messages import Code
from coldgrid.sync.recovering import Ask
from coldgrid.sync.tls_client import TowerUnreachable
from coldgrid.sync.wire import Refusal, decode, encode
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_choosing import ask_of, choose, told_to_choose
from tests.sync.test_put_back_blocks import minutes, put_back, seal, times, vouched_are_there
from tests.sync.test_readings import same
from tests.telemetry.cold_room import feed, steady

__all__ = ["put_back"]


def older(tower: Tower) -> Ask:
    """Ask a tower that answers as one of before its sealed blocks were handed out."""

    def ask(message: m.Message) -> m.Message:
        if isinstance(message, m.Ask) and message.kind == "copy.blocks":
            return m.Refused(Code.UNKNOWN, "nobody answers 'copy.blocks' here")
        answer: m.Message = ask_of(tower)(message)
        return answer

    return ask


class Line:
    """A line to the tower; `ask`: which release answers."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def post(self, frame: bytes, within_s: float) -> bytes:
        return encode(self.ask(decode(frame)))


def chosen(tower: Tower, node: Node) -> None:
    """The node took ten readings in and sealed them, and a person chose the tower's copy."""
    feed(node.kernel, steady(40, 10))
    seal(node, "inc-2")
    node.talk()
    choose(tower, "tower")
    told_to_choose(node)
    assert node.code == Code.CHOSEN


def test_the_choice_of_an_older_towers_copy_waits_and_changes_nothing(put_back: tuple[Tower, Node]) -> None:
    tower, node = put_back
    chosen(tower, node)
    before = (
        own_log(node.kernel, "ATL1"),
        times(node.kernel),
        own_log(tower.kernel, "ATL1"),
        times(tower.kernel),
    )
    for _ in range(2):
        with pytest.raises(Refusal) as refused:
            abide(node.desk, "ATL1", older(tower))
        assert (refused.value.code, "upgrade the tower" in refused.value.why) == (Code.VERSION, True)
    after = (
        own_log(node.kernel, "ATL1"),
        times(node.kernel),
        own_log(tower.kernel, "ATL1"),
        times(tower.kernel),
    )
    assert after == before
    choice = choice_of(tower.kernel.reader(), "ATL1")
    assert choice is not None
    assert choice.state == "open"
    feed(node.kernel, steady(60, 5))  # it goes on by itself
    seal(node, "inc-3")
    assert abide(node.desk, "ATL1", ask_of(tower)) == "tower", "upgraded meanwhile"
    node.carrier.begin_anew()
    node.talk()
    node.talk()
    assert times(tower.kernel) == minutes([*range(20), *range(40, 50), *range(60, 65)]), "each counts once"
    same(tower, node)
    seal(node, "inc-4")
    node.talk()
    node.talk()
    same(tower, node)
    assert vouched_are_there(node.kernel) == vouched_are_there(tower.kernel)


def test_the_node_says_that_its_tower_has_to_be_upgraded_first(put_back: tuple[Tower, Node]) -> None:
    tower, node = put_back
    chosen(tower, node)
    line = Line(older(tower))
    talk = Talk("ATL1", node.desk, node.carrier, line, 60.0, lambda: False)  # type: ignore[arg-type]
    with pytest.raises(Refusal):
        talk.carry_out()
    with pytest.raises(TowerUnreachable, match="upgrade the tower"):
        talk.told()


def test_the_nodes_own_copy_needs_nothing_of_an_older_tower(put_back: tuple[Tower, Node]) -> None:
    tower, node = put_back
    feed(node.kernel, steady(40, 10))
    node.talk()
    choose(tower, "node")
    told_to_choose(node)
    assert abide(node.desk, "ATL1", older(tower)) == "node"
    node.carrier.begin_anew()
    node.talk()
    node.talk()
    assert times(tower.kernel) == minutes([*range(20), *range(40, 50)])
