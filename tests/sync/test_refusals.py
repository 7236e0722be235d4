"""What a tower refuses of a node: gaps, forks, rewound and copied disks, what is not the node's to say."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from coldgrid.evidence.forks import SettleFork, forks
from coldgrid.kernel import log
from coldgrid.kernel.database import open_database
from coldgrid.kernel.events import Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.origins import OriginOpened
from coldgrid.sync import messages as m
from coldgrid.sync.acts import Phase
from coldgrid.sync.authority import Peer
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.judging import Link, check_opening, decide_facts, decide_greeting
from coldgrid.sync.messages import Code, FeedPlace, Hello, Place, Tip
from coldgrid.sync.wire import Refusal, decode, encode
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_wire import entry

# --- Decisions, without a database ------------------------------------------------


def hello(ticket: bytes = b"t1", *tips: Tip, versions: tuple[int, ...] = (1,)) -> Hello:
    return Hello(list(versions), "ATL1", "test", ticket, list(tips), FeedPlace(), 0, 8, b"n8")


def code_of(decision: Callable[[], object]) -> str:
    """The code of a refusal; empty where there was none."""
    try:
        decision()
    except Refusal as refusal:
        return refusal.code
    return ""


def link(ticket: bytes = b"t1", before: bytes = b"t0", *, shown: bool = True) -> Link:
    return Link("ATL1", ticket, before, shown, "test", 1, T0, 0, 7, b"n7")


TIP = Tip(1, 9, b"leaf")


@pytest.mark.parametrize(
    ("said", "known", "head", "code"),
    [
        (hello(), None, Place(), ""),
        (hello(b""), None, Place(), ""),
        (hello(b"t1", TIP), link(), Place(1, 9), ""),
        (hello(b"t1", TIP), link(), Place(1, 5), ""),
        (hello(b"t0", TIP), link(shown=False), Place(1, 9), ""),
        (hello(b"t0", TIP), link(shown=True), Place(1, 9), Code.CLONED),
        (hello(b"", TIP), link(), Place(1, 9), Code.CLONED),
        (hello(b"t9", TIP), link(shown=False), Place(1, 9), Code.CLONED),
        (hello(b"t1", Tip(1, 9, b"other")), link(), Place(1, 9), Code.FORKED),
        (hello(b"t1", Tip(1, 8, b"leaf")), link(), Place(1, 9), Code.REWOUND),
        (hello(b"t1", TIP), link(), Place(2, 1), Code.REWOUND),
        (hello(b"t1", Tip(2, 3, b"x"), TIP), link(), Place(1, 9), ""),
        (hello(b"t1"), link(), Place(1, 9), Code.PAST),
        (hello(versions=(2, 3)), None, Place(), Code.VERSION),
        (hello(versions=(9, 1)), None, Place(), ""),
    ],
)
def test_a_greeting_is_answered_or_refused(said: Hello, known: Link | None, head: Place, code: str) -> None:
    assert code_of(lambda: decide_greeting(said, known, head, b"leaf")) == code


def test_a_greeting_that_comes_twice_gets_the_same_answer_and_an_older_one_none() -> None:
    again = msgspec.structs.replace(hello(b"t0", TIP), number=7, nonce=b"n7")
    assert decide_greeting(again, link(), Place(1, 9), b"leaf").again
    other = msgspec.structs.replace(again, nonce=b"other")
    assert code_of(lambda: decide_greeting(other, link(), Place(1, 9), b"leaf")) == Code.CLONED
    older = msgspec.structs.replace(again, number=6, nonce=b"n6", ticket=b"")
    assert code_of(lambda: decide_greeting(older, link(), Place(1, 9), b"leaf")) == Code.GREET
    # Meanwhile the node has sent more: neither says that its disk was put back.
    assert decide_greeting(again, link(), Place(1, 20), b"leaf").again
    assert code_of(lambda: decide_greeting(older, link(), Place(1, 20), b"leaf")) == Code.GREET


def known_of(entries: list[Entry]) -> dict[tuple[int, int], bytes]:
    return {(one.epoch, one.seq): one.leaf for one in entries}


def test_a_batch_that_follows_is_taken_and_what_is_known_is_passed_over() -> None:
    entries = [entry(seq) for seq in range(6)]
    assert decide_facts(entries, Place(), {}) == 0
    assert decide_facts(entries, Place(1, 4), known_of(entries)) == 4
    assert decide_facts(entries, Place(1, 6), known_of(entries)) == 6
    assert decide_facts(entries, Place(1, 9), known_of(entries)) == 6


def test_a_gap_is_refused_with_the_place_to_go_on_from() -> None:
    for entries, head in (
        ([entry(5)], Place(1, 4)),
        ([entry(0), entry(2)], Place()),
        ([entry(3)], Place()),
        ([entry(4), entry(1, epoch=2)], Place(1, 4)),
        ([entry(0, epoch=3)], Place(1, 4)),
    ):
        with pytest.raises(Refusal) as refused:
            decide_facts(entries, head, {})
        assert refused.value.code == Code.GAP
        assert refused.value.facts == {"epoch": max(1, head.epoch), "seq": head.seq}


def test_another_entry_at_a_known_place_is_a_fork_with_both_hashes() -> None:
    ours, theirs = entry(3), entry(3, actor="eve")
    with pytest.raises(Refusal) as refused:
        decide_facts([theirs], Place(1, 4), known_of([ours]))
    assert refused.value.code == Code.FORKED
    assert (refused.value.facts["here"], refused.value.facts["there"]) == (ours.leaf.hex(), theirs.leaf.hex())


def test_more_of_an_epoch_that_is_over_here_is_a_fork() -> None:
    with pytest.raises(Refusal) as refused:
        decide_facts([entry(9)], Place(2, 1), {})
    assert refused.value.code == Code.FORKED


def opening(cites: str, leaf: bytes, epoch: int = 2) -> Entry:
    opened = OriginOpened(origin="ATL1", clock="live", cites_entry=cites, cites_leaf=leaf.hex())
    return entry(0, epoch=epoch, type="origin.opened", stream="origin/ATL1", body=msgspec.json.encode(opened))


LEAF = b"\x07" * 32


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (opening("ATL1/1/3", LEAF), ""),
        (opening("ATL1/1/7", LEAF), Code.GAP),
        (opening("ATL1/1/3", b"\x08" * 32), Code.FORKED),
        (opening("ATL1/1/2", LEAF), Code.FORKED),
        (opening("", b""), Code.FORKED),
        (entry(0, epoch=2), Code.MALFORMED),
    ],
)
def test_a_new_epoch_must_cite_the_last_entry_here(first: Entry, code: str) -> None:
    assert code_of(lambda: check_opening(first, Place(1, 4), LEAF)) == code


# --- With both sides --------------------------------------------------------------


@pytest.fixture
def pair(kernel: Kernel) -> Iterator[tuple[Tower, Node]]:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        yield tower, node


def bump(node: Node, count: int = 1) -> None:
    for _ in range(count):
        node.kernel.do(Bump(site_id=node.site_id, name="a"))


def send(tower: Tower, message: m.Message, site_id: str = "ATL1") -> m.Message:
    answer = tower.post.answer(Peer(site_id, f"{site_id}.node", "01"), encode(message), final=True)
    assert isinstance(answer, bytes)
    return decode(answer)


def facts_of(node: Node) -> list[Entry]:
    return own_log(node.kernel, node.site_id)


def forged(one: Entry, **changes: object) -> Entry:
    changed = msgspec.structs.replace(one, **changes)
    return msgspec.structs.replace(changed, leaf=leaf_hash(envelope_bytes(changed)))


def refusal_of(tower: Tower, entries: list[Entry], site_id: str = "ATL1") -> m.Refused:
    before = len(list(log.read_all(tower.kernel.reader())))
    answer = send(tower, m.Facts(pack_entries(entries)), site_id)
    assert isinstance(answer, m.Refused), answer
    if answer.code not in (Code.FORKED, Code.REWOUND):
        assert len(list(log.read_all(tower.kernel.reader()))) == before, "nothing was kept"
    return answer


def test_a_gap_is_asked_for_again(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node, 5)
    refused = refusal_of(tower, facts_of(node)[3:])
    assert (refused.code, refused.facts) == (Code.GAP, {"epoch": 1, "seq": 0})
    node.talk()
    assert own_log(tower.kernel, "ATL1") == facts_of(node)


def test_the_same_batch_again_changes_nothing(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node, 5)
    for _ in range(3):
        assert send(tower, m.Facts(pack_entries(facts_of(node)))) == m.Taken(tower.place("ATL1"))
    assert rooms.count_of(tower.kernel.reader(), "a") == 5
    assert rooms.told_of(tower.kernel.reader(), "a") == 5


def test_a_fork_is_recorded_with_both_hashes_and_bars_the_log_until_a_person_settles_it(
    pair: tuple[Tower, Node],
) -> None:
    tower, node = pair
    bump(node, 3)
    node.talk()
    ours = facts_of(node)
    theirs = forged(ours[-1], actor="eve")
    refused = refusal_of(tower, [theirs])
    assert refused.code == Code.FORKED
    [found] = forks(tower.kernel.reader())
    assert (found.signed, found.found) == (ours[-1].leaf.hex(), theirs.leaf.hex())
    bump(node)
    assert refusal_of(tower, facts_of(node)).code == Code.QUARANTINED
    node.talk()
    assert node.carrier.state.phase is Phase.BARRED
    tower.kernel.do(SettleFork(log_origin="ATL1", log_epoch=1, reason="the copy was thrown away"))
    node.kernel.advance(2)
    node.talk()
    assert node.up
    assert own_log(tower.kernel, "ATL1") == facts_of(node)


def test_a_rewound_disk_is_found_at_its_first_hello(tmp_path: Path) -> None:
    with sqlite_kernel() as kernel:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        own = Kernel(open_database(str(tmp_path / "node.db")))
        node = Node(tower, own)
        node.talk()
        bump(node, 3)
        node.talk()
        own.close()
        shutil.copy(tmp_path / "node.db", tmp_path / "old.db")
        own = node.kernel = Kernel(open_database(str(tmp_path / "node.db")))
        node.wake()
        bump(node, 3)
        node.talk()
        own.close()
        node.kernel = Kernel(open_database(str(tmp_path / "old.db")))
        for _ in range(10):
            node.kernel.host.entropy(8)  # no two hosts draw the same
        node.wake()
        node.talk()
        assert node.code == Code.REWOUND
        assert [fork.origin for fork in forks(kernel.reader())] == ["ATL1"]
        node.kernel.close()


def test_a_copied_disk_is_found_though_its_log_is_the_same(tmp_path: Path) -> None:
    with sqlite_kernel() as kernel:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        own = Kernel(open_database(str(tmp_path / "node.db")))
        node = Node(tower, own)
        node.talk()
        own.close()
        shutil.copy(tmp_path / "node.db", tmp_path / "copy.db")
        for drawn, name in enumerate(("node.db", "copy.db")):
            node.kernel = Kernel(open_database(str(tmp_path / name)))
            for _ in range(10 * drawn):
                node.kernel.host.entropy(8)  # no two hosts draw the same
            node.wake()
            node.talk()
            node.kernel.close()
        assert node.code == Code.CLONED
        [found] = forks(kernel.reader())
        assert found.why.startswith("cloned")


def test_a_lost_answer_to_a_hello_is_no_clone(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    for _ in range(3):
        node.wake()
        [request] = node.carrier.look(node.now_us)
        node.answer(request)  # and the answer gets lost
    node.wake()
    node.talk()
    assert node.up
    assert forks(tower.kernel.reader()) == []


def test_a_node_speaks_for_its_own_site_only(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node, 2)
    entries = facts_of(node)
    bumped = next(one for one in entries if one.type == "toy.bumped")
    tower.lets_go_of("CLT1")
    assert refusal_of(tower, entries, "CLT1").code == Code.NOT_YOURS
    about_other = forged(bumped, seq=0, body=bumped.body.replace(b"ATL1", b"CLT1"))
    assert refusal_of(tower, [about_other]).code == Code.NOT_YOURS
    assert refusal_of(tower, [forged(bumped, seq=0, stream="toys/a")]).code == Code.NOT_YOURS
    assert refusal_of(tower, [forged(bumped, seq=0, origin="network")]).code == Code.NOT_YOURS
    assert refusal_of(tower, [forged(bumped, seq=0, body=b'{"type":"toy.bumped"')]).code == Code.MALFORMED
    assert refusal_of(tower, [forged(bumped, seq=0, body=b'{"type":"toy.bumped"}')]).code == Code.MALFORMED
    assert refusal_of(tower, [forged(bumped, seq=0, type="x.new", body=b"{oops")]).code == Code.MALFORMED


def test_a_site_that_the_tower_hosts_takes_nothing_from_outside(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node)
    moved = [forged(one, origin="CLT1", body=one.body.replace(b"ATL1", b"CLT1")) for one in facts_of(node)]
    assert refusal_of(tower, moved, "CLT1").code == Code.NOT_YOURS


def test_a_fact_of_a_newer_release_is_kept_and_waits_for_the_upgrade(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node)
    entries = facts_of(node)
    last = entries[-1]
    new = forged(
        last, seq=last.seq + 1, type="toy.juggled", stream="juggle/1", body=b'{"type":"toy.juggled"}'
    )
    assert isinstance(send(tower, m.Facts(pack_entries([*entries, new]))), m.Taken)
    assert own_log(tower.kernel, "ATL1") == [*entries, new]
    tower.kernel.rebuild()


def test_what_is_no_question_to_a_tower_is_refused(pair: tuple[Tower, Node]) -> None:
    tower, _ = pair
    for message in (m.Taken(Place()), m.Told("x", b""), m.Ask("nobody", b"")):
        answer = send(tower, message)
        assert isinstance(answer, m.Refused)
        assert answer.code == Code.UNKNOWN
    assert isinstance(decode(bytes(tower.post.answer(Peer("ATL1", "n", "s"), b"garbage"))), m.Refused)  # type: ignore[arg-type]
