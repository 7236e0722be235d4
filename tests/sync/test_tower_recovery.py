"""A tower that was put back from a copy begins anew; nodes that know more are set right by a person."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldgrid.evidence import forks
from coldgrid.kernel import set_aside
from coldgrid.kernel.database import open_database
from coldgrid.kernel.outbox import EffectStatus, effects_of_status
from coldgrid.sync.abiding import abide
from coldgrid.sync.messages import Code
from coldgrid.tower.recovery import WHY, recover
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel.rooms import Bump
from tests.network.master import put_in_force, site
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_choosing import ask_of, choose, ids, name_site, reopened
from tests.sync.test_refusals import bump


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Tower, Node, Path]]:
    """A tower of which a copy was made, before its node sent more and said hello again."""
    tower = Tower(Kernel(open_database(str(tmp_path / "tower.db"))))
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        bump(node, 2)
        node.talk()
        put_in_force(tower.kernel, site("CLT1", lat=35.2, lon=-80.9), change_id="change-clt")
        tower.kernel.do(Bump(site_id="CLT1", name="effect"))
        tower.kernel.close()
        shutil.copy(tmp_path / "tower.db", tmp_path / "copy.db")
        reopened(tower, tmp_path / "tower.db")
        bump(node, 2)
        node.wake()
        node.talk()
        assert node.up
        yield tower, node, tmp_path / "copy.db"
        tower.kernel.close()


def put_back(tower: Tower, copy: Path) -> None:
    tower.kernel.close()
    reopened(tower, copy)


def come_again(node: Node) -> None:
    node.kernel.advance(2)
    node.wake()
    bump(node)
    node.talk()


def test_a_node_that_was_told_no_more_just_goes_on(two: tuple[Tower, Node, Path]) -> None:
    tower, node, copy = two
    put_back(tower, copy)
    done = recover(tower.kernel.decider)
    assert done.epochs == {"network": 2, "CLT1": 2}
    come_again(node)
    assert node.up
    assert own_log(tower.kernel, "ATL1") == own_log(node.kernel, "ATL1")
    assert forks.forks(tower.kernel.reader()) == []
    tower.kernel.rebuild()


def test_a_node_that_was_told_more_waits_for_a_person_and_loses_nothing(
    two: tuple[Tower, Node, Path],
) -> None:
    tower, node, copy = two
    name_site(tower, "lost")
    node.talk()
    come_again(node)
    lost = ids(own_log(node.kernel, "network"))
    put_back(tower, copy)
    recover(tower.kernel.decider)
    name_site(tower, "other")
    lost -= ids(own_log(tower.kernel, "network"))
    assert lost
    come_again(node)
    assert node.code == Code.REWOUND
    choose(tower, "tower", "the tower was put back")
    come_again(node)
    assert node.code == Code.CHOSEN
    abide(node.desk, "ATL1", ask_of(tower))
    come_again(node)
    assert node.up
    assert ids(set_aside.read(tower.kernel.reader(), "network")) == lost
    assert own_log(tower.kernel, "ATL1") == own_log(node.kernel, "ATL1")
    names = {one.id for one in own_log(tower.kernel, "network")}
    assert not names & {name for name, _ in lost}, "no name is used for two facts"
    for kernel in (tower.kernel, node.kernel):
        kernel.restart()
        kernel.rebuild()


def test_what_waited_to_be_sent_is_left_to_a_person(two: tuple[Tower, Node, Path]) -> None:
    tower, _, copy = two
    put_back(tower, copy)
    waits = tower.kernel.effects()
    assert waits
    assert recover(tower.kernel.decider).messages == len(waits)
    assert tower.kernel.effects() == []
    dead = effects_of_status(tower.kernel.reader(), EffectStatus.DEAD)
    assert {(one.key, one.why) for one in dead} == {(one.key, WHY) for one in waits}
