"""A tower that was put back behind its last recovery: its nodes witnessed another history of that name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldgrid.evidence.checkpoints import make_checkpoints
from coldgrid.evidence.forks import SettleFork, open_forks
from coldgrid.evidence.witness import witnessed
from coldgrid.kernel.database import open_database
from coldgrid.sync.abiding import abide
from coldgrid.sync.messages import Code
from coldgrid.tower.recovery import recover
from tests.conftest import Kernel, sqlite_kernel
from tests.network.master import put_in_force, site
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_choosing import ask_of, choose, reopened, told_to_choose
from tests.sync.test_refusals import bump

SECOND = "coldgrid/network/2"


@pytest.fixture
def twice(tmp_path: Path) -> Iterator[tuple[Tower, Node]]:
    """A tower was put back, went on in its second epoch, and was put back to the same copy again.

    Its node witnessed the second epoch, and was told nothing of what is in it.
    """
    tower = Tower(Kernel(open_database(str(tmp_path / "tower.db"))))
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        put_in_force(tower.kernel, site("CLT1", lat=35.2, lon=-80.9), change_id="change-clt")
        node.talk()
        tower.kernel.close()
        for name in ("once.db", "again.db"):
            shutil.copy(tmp_path / "tower.db", tmp_path / name)
        begin_anew(tower, tmp_path / "once.db", 3)
        talked(tower, node)
        assert [one.log_name for one in witnessed(own.reader())] == [SECOND]
        tower.kernel.close()
        yield tower, node
        tower.kernel.close()


def begin_anew(tower: Tower, copy: Path, facts: int) -> None:
    """Put the tower back, and let it decide what no site is told of."""
    reopened(tower, copy)
    recover(tower.kernel.decider)
    decide(tower, facts)
    make_checkpoints(tower.kernel.decider, tower.notary)


def decide(tower: Tower, facts: int) -> None:
    """Decide what no other site is told of."""
    for number in range(facts):
        name = f"{facts}/{number} of {tower.kernel.host.now()}"
        fresh = site("CLT1", name=name, lat=35.2, lon=-80.9)
        put_in_force(tower.kernel, fresh, change_id=f"change-{name}")


def talked(tower: Tower, node: Node) -> None:
    """The node greets, and is asked to witness."""
    tower.kernel.advance(11)
    node.kernel.advance(11)
    node.wake()
    bump(node)
    node.talk()


def test_a_node_that_witnessed_another_history_says_so_and_goes_on_once_a_person_settled_it(
    twice: tuple[Tower, Node], tmp_path: Path
) -> None:
    tower, node = twice
    begin_anew(tower, tmp_path / "again.db", 9)
    talked(tower, node)
    [told] = open_forks(node.kernel.reader())
    assert "does not extend" in told.why
    talked(tower, node)
    assert own_log(tower.kernel, "ATL1"), "its facts come all the same"
    [fork] = open_forks(tower.kernel.reader())
    assert (fork.origin, fork.epoch) == ("network", 2)
    assert fork.signed != fork.found
    tower.kernel.do(SettleFork(log_origin="network", log_epoch=2, reason="the tower was put back twice"))
    make_checkpoints(tower.kernel.decider, tower.notary)
    for _ in range(3):
        talked(tower, node)
        make_checkpoints(tower.kernel.decider, tower.notary)
    assert (node.up, node.code) == (True, ""), node.carrier.state.why
    assert open_forks(node.kernel.reader()) == open_forks(tower.kernel.reader()) == []
    [now] = witnessed(node.kernel.reader())
    assert (now.log_name, now.size > 9) == (SECOND, True)
    for kernel in (tower.kernel, node.kernel):
        kernel.restart()
        kernel.rebuild()


def test_who_kept_the_towers_copy_is_not_put_in_quarantine_again_for_what_it_witnessed_before(
    twice: tuple[Tower, Node], tmp_path: Path
) -> None:
    tower, node = twice
    begin_anew(tower, tmp_path / "again.db", 0)
    talked(tower, node)
    assert node.code in {Code.REWOUND, Code.QUARANTINED}, "it witnessed more than there is"
    choose(tower, "tower", "the tower was put back")
    told_to_choose(node)
    assert abide(node.desk, "ATL1", ask_of(tower)) == "tower"
    for _ in range(3):
        talked(tower, node)
        decide(tower, 1)
        make_checkpoints(tower.kernel.decider, tower.notary)
    assert (node.up, node.code) == (True, ""), node.carrier.state.why
    assert open_forks(tower.kernel.reader()) == []
    assert [one.log_name for one in witnessed(node.kernel.reader())] == [SECOND]
