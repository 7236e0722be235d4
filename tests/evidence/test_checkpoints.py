"""Checkpoints on a living log: what they cover, that they only grow, and every way in which a log may lie."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.evidence import checkpoints, forks, merkle, notes, tiles
from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.forks import ForkFound, ForkNotFound, SettleFork
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel import log
from coldgrid.kernel.decider import Call
from coldgrid.kernel.events import encode
from coldgrid.kernel.origins import CloseOrigin
from coldgrid.kernel.personal import EraseSubject
from tests.conftest import Kernel, sqlite_kernel
from tests.evidence.conftest import TOWER, bump
from tests.kernel.rooms import Bump

ATL1 = LogId("ATL1", 1)


def leaves_of(kernel: Kernel, log_id: LogId) -> list[bytes]:
    return [leaf for _, leaf in log.leaves(kernel.reader(), log_id.origin, log_id.epoch, 0, 1 << 40)]


def assert_all_proven(kernel: Kernel) -> None:
    """Every entry that a checkpoint covers has a proof that verifies, from the note alone."""
    db = kernel.reader()
    for head in tiles.heads(db):
        note = notes.parse_note(head.note.encode())
        assert notes.verify_note(note, [TOWER.key])
        signed = notes.parse_checkpoint(note.text)
        tree = tiles.tree_of(db, head.log_id)
        for seq, leaf in enumerate(leaves_of(kernel, head.log_id)[: signed.size]):
            proof = tree.inclusion(seq, signed.size)
            assert merkle.verify_inclusion(leaf, seq, signed.size, proof, signed.root)


def test_every_log_with_news_gets_a_checkpoint_over_all_its_entries(kernel: Kernel, notary: Notary) -> None:
    bump(kernel, 3)
    bump(kernel, 2, "DFW1", "pears")
    made = make_checkpoints(kernel.decider, notary)
    assert [head.log_id for head in made] == [ATL1, LogId("DFW1", 1), LogId("network", 1)]
    for head in made:
        leaves = leaves_of(kernel, head.log_id)
        assert (head.size, head.root) == (len(leaves), merkle.tree_root(leaves))
        assert notes.parse_note(head.note.encode()).text == (
            notes.Checkpoint(f"coldgrid.example/{head.log_id}", head.size, head.root).encode()
        )
    assert_all_proven(kernel)


def test_without_news_nothing_is_signed(kernel: Kernel, notary: Notary) -> None:
    bump(kernel)
    assert make_checkpoints(kernel.decider, notary)
    assert make_checkpoints(kernel.decider, notary) == []


def test_checkpoints_are_no_reason_to_extend_the_log(kernel: Kernel, notary: Notary) -> None:
    bump(kernel)
    before = log.last_position(kernel.reader())
    make_checkpoints(kernel.decider, notary)
    assert log.last_position(kernel.reader()) == before


def test_each_checkpoint_extends_the_one_before(kernel: Kernel, notary: Notary) -> None:
    heads = []
    for count in (1, 2, 300, 5):
        bump_fast(kernel, count)
        heads += [head for head in make_checkpoints(kernel.decider, notary) if head.log_id == ATL1]
    tree = tiles.tree_of(kernel.reader(), ATL1)
    for old, new in pairwise(heads):
        proof = tree.consistency(old.size, new.size)
        assert merkle.verify_consistency(old.size, new.size, old.root, new.root, proof)
    kept = tiles.latest(kernel.reader(), ATL1, 10)
    assert [one.root for one in kept] == [head.root for head in reversed(heads)]
    assert tiles.first_covering(kernel.reader(), ATL1, heads[1].size - 1) == kept[2]
    assert_all_proven(kernel)


def bump_fast(kernel: Kernel, times: int) -> None:
    kernel.decider.execute([Call(Bump(site_id="ATL1", name="apples", by=0))] * times)


def test_checkpoints_go_on_after_a_restart(kernel: Kernel, notary: Notary) -> None:
    bump_fast(kernel, 290)
    make_checkpoints(kernel.decider, notary)
    kernel.restart()
    bump_fast(kernel, 290)
    assert make_checkpoints(kernel.decider, notary)[0].root == merkle.tree_root(leaves_of(kernel, ATL1))
    assert checkpoints.audit(kernel.reader()) == []
    assert_all_proven(kernel)


def test_a_big_backlog_is_signed_in_passes_of_bounded_length(
    kernel: Kernel, notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LEAVES_MAX", 600)
    bump_fast(kernel, 1000)
    made = [head.size for head in make_checkpoints(kernel.decider, notary) if head.log_id == ATL1]
    total = len(leaves_of(kernel, ATL1))
    assert made[-1] == total
    assert len(made) > 1
    assert_all_proven(kernel)


def test_a_closed_epoch_keeps_its_last_checkpoint_and_the_next_begins_a_tree_of_its_own(
    kernel: Kernel, notary: Notary
) -> None:
    bump(kernel, 2)
    kernel.do(CloseOrigin(origin="ATL1", reason="moves"))
    kernel.decider.reopen("ATL1")
    bump(kernel, 1)
    made = {head.log_id: head for head in make_checkpoints(kernel.decider, notary)}
    for log_id in (ATL1, LogId("ATL1", 2)):
        leaves = leaves_of(kernel, log_id)
        assert (made[log_id].size, made[log_id].root) == (len(leaves), merkle.tree_root(leaves))


def test_proofs_still_verify_after_a_person_was_erased(kernel: Kernel, notary: Notary) -> None:
    kernel.do(Bump(site_id="ATL1", name="note", by=1, note="Ana Bell, 12 Peach St", person="customer-1"))
    make_checkpoints(kernel.decider, notary)
    kernel.do(EraseSubject(subject="customer-1", reason="asked"))
    make_checkpoints(kernel.decider, notary)
    entry = next(e for e in log.read_all(kernel.reader()) if e.type == "toy.bumped")
    assert kernel.reader().open(log.decode_entry(entry).note) is None
    assert checkpoints.audit(kernel.reader()) == []
    assert_all_proven(kernel)


def test_a_rebuild_leaves_checkpoints_alone(kernel: Kernel, notary: Notary) -> None:
    bump(kernel, 2)
    made = make_checkpoints(kernel.decider, notary)
    kernel.rebuild()
    assert tiles.heads(kernel.reader()) == made


# --- Forks ------------------------------------------------------------------------


def edit(kernel: Kernel, sql: str) -> None:
    """Change rows behind the decider's back."""
    kernel.decider.connection.command(sql)


EDITS = {
    "the leaf of the last entry": (
        "UPDATE event_log SET leaf = (SELECT leaf FROM event_log WHERE origin = 'ATL1' AND seq = 0) "
        "WHERE origin = 'ATL1' AND seq = 4",
        "entry ATL1/1/4 was changed",
    ),
    "the body of an old entry": (
        "UPDATE event_log SET body = (SELECT body FROM event_log WHERE origin = 'ATL1' AND seq = 1) "
        "WHERE origin = 'ATL1' AND seq = 3",
        "entry ATL1/1/3 was changed",
    ),
    "who did it": (
        "UPDATE event_log SET actor = 'bob' WHERE origin = 'ATL1' AND seq = 3",
        "ATL1/1/3 was changed",
    ),
    "when it was": (
        "UPDATE event_log SET occurred_at = occurred_at - 1 WHERE origin = 'ATL1' AND seq = 3",
        "ATL1/1/3 was changed",
    ),
    "an entry removed": ("DELETE FROM event_log WHERE origin = 'ATL1' AND seq = 1", "ATL1/1/1 is missing"),
    "the end removed": ("DELETE FROM event_log WHERE origin = 'ATL1' AND seq >= 3", "ATL1/1/3 was changed"),
    "everything removed": ("DELETE FROM event_log WHERE origin = 'ATL1'", "the log ends at 3"),
    "a tile": (
        "UPDATE evidence_tile SET hashes = (SELECT root FROM evidence_head WHERE origin = 'ATL1') "
        "WHERE origin = 'ATL1'",
        "tiles are missing",
    ),
    "the root": (
        "UPDATE evidence_head SET root = (SELECT leaf FROM event_log WHERE origin = 'ATL1' AND seq = 0) "
        "WHERE origin = 'ATL1'",
        "the tiles were changed",
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_log_that_does_not_extend_its_checkpoint_is_reported_with_both_hashes(
    kernel: Kernel, notary: Notary, what: str
) -> None:
    sql, why = EDITS[what]
    for by in range(5):
        kernel.do(Bump(site_id="ATL1", name="apples", by=by))
    signed = make_checkpoints(kernel.decider, notary)[0]
    edit(kernel, sql)
    assert [fork.facts["log_origin"] for fork in checkpoints.audit(kernel.reader())] == ["ATL1"]
    kernel.restart()
    bump(kernel, 1)
    bump(kernel, 1, "DFW1", "pears")
    made = make_checkpoints(kernel.decider, notary)
    assert ATL1 not in [head.log_id for head in made]
    assert LogId("DFW1", 1) in [head.log_id for head in made]
    found = forks.forks(kernel.reader())[0]
    assert (found.origin, found.epoch, found.settled_by) == ("ATL1", 1, "")
    assert found.signed != found.found
    assert why in found.why
    assert found.size <= signed.size
    recorded = log.read(kernel.reader(), -1, 10, ["evidence.fork_found"])
    assert [(entry.origin, entry.stream) for entry in recorded] == [("network", "origin/ATL1")]


def test_a_forked_log_is_signed_no_more_and_reported_once(kernel: Kernel, notary: Notary) -> None:
    bump(kernel, 5)
    signed = make_checkpoints(kernel.decider, notary)[0]
    edit(kernel, EDITS["who did it"][0])
    for _ in range(3):
        bump(kernel)
        make_checkpoints(kernel.decider, notary)
    assert tiles.head(kernel.reader(), ATL1) == signed
    assert sum(isinstance(event, ForkFound) for _, event in kernel.events()) == 1
    kernel.rebuild()


def test_a_person_ends_the_quarantine_after_putting_the_log_right(kernel: Kernel, notary: Notary) -> None:
    bump(kernel, 5)
    make_checkpoints(kernel.decider, notary)
    edit(kernel, EDITS["who did it"][0])
    bump(kernel)
    make_checkpoints(kernel.decider, notary)
    edit(kernel, "UPDATE event_log SET actor = 'ana' WHERE origin = 'ATL1' AND seq = 3")
    settle = SettleFork(log_origin="ATL1", log_epoch=1, reason="restored from the copy of 8:00")
    kernel.do(settle, actor="quinn")
    assert forks.forks(kernel.reader())[0].settled_by == "quinn"
    assert ATL1 in [head.log_id for head in make_checkpoints(kernel.decider, notary)]
    with pytest.raises(ForkNotFound):
        kernel.do(settle)
    kernel.rebuild()


def test_settling_without_putting_the_log_right_is_reported_again(kernel: Kernel, notary: Notary) -> None:
    bump(kernel, 5)
    make_checkpoints(kernel.decider, notary)
    edit(kernel, EDITS["who did it"][0])
    bump(kernel)
    make_checkpoints(kernel.decider, notary)
    kernel.do(SettleFork(log_origin="ATL1", log_epoch=1, reason="looks fine"))
    make_checkpoints(kernel.decider, notary)
    assert forks.quarantined(kernel.reader()) == {ATL1}
    assert sum(isinstance(event, ForkFound) for _, event in kernel.events()) == 2


def test_an_edit_far_from_the_edge_is_found_as_checkpoints_go_on(kernel: Kernel, notary: Notary) -> None:
    bump_fast(kernel, 600)
    make_checkpoints(kernel.decider, notary)
    edit(kernel, "UPDATE event_log SET actor = 'bob' WHERE origin = 'ATL1' AND seq = 150")
    for _ in range(4):
        bump_fast(kernel, 1)
        make_checkpoints(kernel.decider, notary)
    assert "ATL1/1/150 was changed" in forks.forks(kernel.reader())[0].why


def test_two_passes_at_once_keep_one_checkpoint(kernel: Kernel, notary: Notary) -> None:
    bump(kernel, 2)
    planned = checkpoints.plan(kernel.reader(), notary, kernel.decider.heads, kernel.host.now())
    bump(kernel, 1)
    made = make_checkpoints(kernel.decider, notary)
    assert checkpoints.keep(kernel.decider, notary, planned) == []
    assert tiles.heads(kernel.reader()) == made


@given(steps=st.lists(st.integers(0, 40), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None)
def test_whenever_checkpoints_are_made_the_last_one_is_the_same(steps: list[int]) -> None:
    notary = Notary(TOWER, "coldgrid.example")
    with sqlite_kernel() as kernel:
        for count in [*steps, 1]:
            bump_fast(kernel, count)
            make_checkpoints(kernel.decider, notary)
        leaves = leaves_of(kernel, ATL1)
        head = tiles.head(kernel.reader(), ATL1)
        assert head is not None
        assert (head.size, head.root) == (len(leaves), merkle.tree_root(leaves))


FROZEN: list[tuple[Any, bytes]] = [
    (
        ForkFound(log_origin="ATL1", log_epoch=1, size=7, signed="ab", found="cd", why="entry was changed"),
        b'{"type":"evidence.fork_found","log_origin":"ATL1","log_epoch":1,"size":7,"signed":"ab","found":"cd",'
        b'"why":"entry was changed"}',
    ),
    (
        forks.ForkSettled(log_origin="ATL1", log_epoch=1, reason="restored"),
        b'{"type":"evidence.fork_settled","log_origin":"ATL1","log_epoch":1,"reason":"restored"}',
    ),
]


@pytest.mark.parametrize(("event", "wire"), FROZEN)
def test_events_keep_their_wire_form(event: Any, wire: bytes) -> None:
    assert encode(event) == wire
