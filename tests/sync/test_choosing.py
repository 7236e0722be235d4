"""A quarantine ends by a person's choice: one copy is kept, what only the other has is set aside."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from coldgrid.cli.maintenance import export_history
from coldgrid.cli.output import Output
from coldgrid.evidence import checkpoints, forks, tiles
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel import log, set_aside
from coldgrid.kernel.database import open_database
from coldgrid.kernel.events import Entry
from coldgrid.kernel.origins import OriginOpened
from coldgrid.kernel.rejections import Invalid
from coldgrid.kernel.set_aside import asides
from coldgrid.sync import messages as m
from coldgrid.sync.abiding import abide, is_abiding
from coldgrid.sync.acts import Phase
from coldgrid.sync.choices import ChooseCopy, FeedDiffers, NotQuarantined, choice_of
from coldgrid.sync.messages import Code
from coldgrid.sync.wire import Refusal
from tests.conftest import Kernel
from tests.kernel import rooms
from tests.network.master import put_in_force, site
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_refusals import bump, send


@pytest.fixture
def diverged(kernel: Kernel, tmp_path: Path) -> Iterator[tuple[Tower, Node, Path]]:
    """A node that sent three facts, then two; its disk was put back to the three, and it went on by four."""
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    node = Node(tower, Kernel(open_database(str(tmp_path / "node.db"))))
    node.talk()
    bump(node, 3)
    node.talk()
    node.sign()
    node.kernel.close()
    shutil.copy(tmp_path / "node.db", tmp_path / "old.db")
    restarted(node, tmp_path / "node.db")
    bump(node, 2)
    node.sign()
    node.talk()
    assert node.up
    node.kernel.close()
    restarted(node, tmp_path / "old.db", drawn=10)
    node.kernel.advance(1)
    bump(node, 4)
    node.sign()
    node.talk()
    assert node.code in (Code.REWOUND, Code.FORKED, Code.CLONED)
    yield tower, node, tmp_path
    node.kernel.close()


def restarted(node: Node, path: Path, drawn: int = 0) -> None:
    node.kernel = Kernel(open_database(str(path)))
    for _ in range(drawn):
        node.kernel.host.entropy(8)  # no two hosts draw the same
    node.wake()


def choose(tower: Tower, keep: str, reason: str = "its disk was put back") -> None:
    tower.kernel.do(ChooseCopy(site_id="ATL1", keep=keep, reason=reason))


def ask_of(tower: Tower, site_id: str = "ATL1"):  # type: ignore[no-untyped-def]
    return lambda message: send(tower, message, site_id)


def told_to_choose(node: Node) -> None:
    node.kernel.advance(2)
    node.talk()


def ids(entries: list[Entry]) -> set[tuple[str, bytes]]:
    return {(entry.id, entry.leaf) for entry in entries}


def both_are_the_same(tower: Tower, node: Node) -> None:
    node.kernel.advance(2)
    node.wake()
    bump(node)
    node.talk()
    assert node.up, (node.code, node.carrier.state.why)
    assert own_log(tower.kernel, "ATL1") == own_log(node.kernel, "ATL1")
    count = rooms.count_of(tower.kernel.reader(), "a")
    assert count == rooms.count_of(node.kernel.reader(), "a")
    assert count == sum(one.type == "toy.bumped" for one in own_log(node.kernel, "ATL1"))
    for kernel in (tower.kernel, node.kernel):
        kernel.restart()
        kernel.rebuild()


def opened_last(node: Node) -> tuple[Entry, OriginOpened]:
    [*_, opening] = [one for one in own_log(node.kernel, "ATL1") if one.type == "origin.opened"]
    event = log.decode_entry(opening)
    assert isinstance(event, OriginOpened)
    return opening, event


def test_the_towers_copy_is_kept_and_the_node_sets_its_own_aside(diverged: tuple[Tower, Node, Path]) -> None:
    tower, node, _ = diverged
    here, there = own_log(tower.kernel, "ATL1"), own_log(node.kernel, "ATL1")
    lost = [one for one in there if one.leaf not in {other.leaf for other in here}]
    assert len(lost) == 8
    choose(tower, "tower")
    told_to_choose(node)
    assert node.code == Code.CHOSEN
    assert abide(node.desk, "ATL1", ask_of(tower)) == "tower"
    assert own_log(node.kernel, "ATL1")[: len(here)] == here
    opening, event = opened_last(node)
    assert (opening.epoch, event.cites_entry, event.cites_leaf) == (2, here[-1].id, here[-1].leaf.hex())
    for kernel in (node.kernel, tower.kernel):
        kept = set_aside.read(kernel.reader(), "ATL1")
        assert ids(kept) == ids(lost), "nothing is deleted unseen, and it can be read on both sides"
        assert [msgspec.structs.replace(one, position=-1) for one in kept] == lost
    both_are_the_same(tower, node)
    assert forks.open_forks(tower.kernel.reader()) == []
    choice = choice_of(tower.kernel.reader(), "ATL1")
    assert choice is not None
    assert (choice.state, choice.chosen_by) == ("settled", "ana")


def test_the_nodes_copy_is_kept_and_the_tower_sets_its_own_aside(diverged: tuple[Tower, Node, Path]) -> None:
    tower, node, _ = diverged
    here, there = own_log(tower.kernel, "ATL1"), own_log(node.kernel, "ATL1")
    lost = [one for one in here if one.leaf not in {other.leaf for other in there}]
    assert len(lost) == 4
    choose(tower, "node")
    told_to_choose(node)
    assert abide(node.desk, "ATL1", ask_of(tower)) == "node"
    assert own_log(node.kernel, "ATL1")[: len(there)] == there
    assert opened_last(node)[1].cites_entry == there[-1].id
    assert ids(set_aside.read(tower.kernel.reader(), "ATL1")) == ids(lost)
    assert [(one.origin, one.entries) for one in asides(tower.kernel.reader())] == [("ATL1", 4)]
    both_are_the_same(tower, node)
    assert [fork.settled_by for fork in forks.forks(tower.kernel.reader())] == ["ana"]


@pytest.mark.parametrize("keep", ["tower", "node"])
def test_what_was_broken_off_is_done_again(diverged: tuple[Tower, Node, Path], keep: str) -> None:
    tower, node, _ = diverged
    choose(tower, keep)
    asked = attempt = stands_still = 0

    def breaking(message: m.Message) -> m.Message:
        """Break the n-th question of the n-th pair of attempts: on the way there, then on the way back."""
        nonlocal asked
        asked += 1
        if asked == attempt // 2 and attempt % 2:
            raise ConnectionError("the line broke")
        answer = send(tower, message)
        if asked == attempt // 2:
            raise ConnectionError("the answer was lost")
        return answer

    attempt = 1
    for _ in range(60):
        asked, attempt = 0, attempt + 1
        try:
            abide(node.desk, "ATL1", breaking)
            break
        except ConnectionError:
            node.kernel.restart()
            stands_still += is_abiding(node.kernel.reader(), "ATL1")
            node.wake()
        except Refusal:  # it was done; only its answer was lost
            break
    assert bool(stands_still) == (keep == "tower")
    both_are_the_same(tower, node)
    assert not is_abiding(node.kernel.reader(), "ATL1")
    epochs = {one.epoch for one in own_log(node.kernel, "ATL1")}
    assert epochs <= {1, 2, 3}


def test_a_log_that_is_kept_is_signed_and_proved_anew(diverged: tuple[Tower, Node, Path]) -> None:
    tower, node, _ = diverged
    choose(tower, "tower")
    before = tiles.head(node.kernel.reader(), LogId("ATL1", 1))
    assert before is not None
    abide(node.desk, "ATL1", ask_of(tower))
    both_are_the_same(tower, node)
    node.wake()
    node.talk()
    node.sign()
    node.talk()
    after = tiles.head(node.kernel.reader(), LogId("ATL1", 1))
    assert after is not None
    assert after.root != before.root
    assert checkpoints.audit(node.kernel.reader()) == []
    assert forks.open_forks(node.kernel.reader()) == []


def test_only_a_log_in_quarantine_has_a_choice(kernel: Kernel) -> None:
    tower = Tower(kernel)
    with pytest.raises(NotQuarantined):
        choose(tower, "tower")
    for keep, reason in (("both", "because"), ("tower", " ")):
        with pytest.raises(Invalid):
            choose(tower, keep, reason)


def test_a_node_asks_nothing_of_a_choice_that_nobody_made(diverged: tuple[Tower, Node, Path]) -> None:
    tower, node, _ = diverged
    with pytest.raises(Refusal) as refused:
        abide(node.desk, "ATL1", ask_of(tower))
    assert refused.value.code == Code.QUARANTINED
    for kind in ("copy.leaves", "copy.give_way", "copy.done", "copy.fed", "copy.aside", "copy.waiting"):
        for body in (b"", b"\xc0", b"garbage", msgspec.msgpack.encode([1, 2, b""])):
            assert isinstance(send(tower, m.Ask(kind, body)), m.Refused)
    assert node.carrier.state.phase is Phase.BARRED


@pytest.fixture
def put_back(tmp_path: Path) -> Iterator[tuple[Tower, Node]]:
    """A tower that was put back to before it told its node of something, and then said something else."""
    kernel = Kernel(open_database(str(tmp_path / "tower.db")))
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    node = Node(tower, Kernel(open_database(str(tmp_path / "node.db"))))
    node.talk()
    bump(node, 2)
    node.talk()
    kernel.close()
    shutil.copy(tmp_path / "tower.db", tmp_path / "backup.db")
    reopened(tower, tmp_path / "tower.db")
    name_site(tower, "lost")
    bump(node)
    node.talk()
    assert node.up
    tower.kernel.close()
    reopened(tower, tmp_path / "backup.db")
    name_site(tower, "other")
    node.wake()
    node.talk()
    assert node.code == Code.REWOUND
    yield tower, node
    node.kernel.close()
    tower.kernel.close()


def reopened(tower: Tower, path: Path) -> None:
    tower.kernel = Kernel(open_database(str(path)))
    for _ in range(10):
        tower.kernel.host.entropy(8)  # no two hosts draw the same
    tower.open_post()


def name_site(tower: Tower, name: str) -> None:
    put_in_force(tower.kernel, site("ATL1", name=name), change_id=f"change-{name}")


def test_a_node_that_was_told_what_the_tower_lost_follows_it_anew(put_back: tuple[Tower, Node]) -> None:
    tower, node = put_back
    told = ids(own_log(node.kernel, "network"))
    with pytest.raises(FeedDiffers):
        choose(tower, "node")
    choose(tower, "tower")
    told_to_choose(node)
    abide(node.desk, "ATL1", ask_of(tower))
    both_are_the_same(tower, node)
    now = ids(own_log(node.kernel, "network"))
    kept = ids(set_aside.read(node.kernel.reader(), "network"))
    assert kept
    assert told - now == kept
    assert ids(set_aside.read(tower.kernel.reader(), "network")) == kept


@pytest.mark.parametrize("keep", ["tower", "node"])
def test_what_was_set_aside_is_exported_word_for_word(
    diverged: tuple[Tower, Node, Path], keep: str, tmp_path: Path
) -> None:
    tower, node, folder = diverged
    choose(tower, keep)
    told_to_choose(node)
    abide(node.desk, "ATL1", ask_of(tower))
    host, database = (node, str(folder / "old.db")) if keep == "tower" else (tower, tower.kernel.database.url)
    kept = set_aside.read(host.kernel.reader(), "ATL1")
    assert kept
    export_history({}, database, tmp_path / "out", Output(json=False))
    lines = [
        msgspec.json.decode(line) for line in (tmp_path / "out/set_aside.jsonl").read_bytes().splitlines()
    ]
    assert [(one["entry"]["seq"], one["entry"]["leaf"]) for one in lines] == [
        (entry.seq, entry.leaf.hex()) for entry in kept
    ]
    assert all(one["why"] and one["set_aside_at"] for one in lines)
    assert [one["entry"]["body"] for one in lines] == [msgspec.json.decode(entry.body) for entry in kept]
    events = {
        msgspec.json.decode(line)["leaf"]
        for line in (tmp_path / "out/events.jsonl").read_bytes().splitlines()
    }
    assert not events & {entry.leaf.hex() for entry in kept}
