"""The decider: durable groups, idempotent retries, cascades, parking, timers, undo, both databases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from coldgrid.kernel import hosting, log, origins, outbox, parking, relocation
from coldgrid.kernel.authorize import Principal, Resource
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.decider import Call
from coldgrid.kernel.events import Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.origins import CloseOrigin, OriginFork
from coldgrid.kernel.outbox import ReportEffect
from coldgrid.kernel.parking import RetryParked
from coldgrid.kernel.personal import EraseSubject, SubjectErased
from coldgrid.kernel.rejections import Forbidden, KeyReused, OriginElsewhere
from coldgrid.kernel.statements import Statement
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump, Later, Tell, Totals


def names(kernel: Kernel) -> list[str]:
    return [type(event).__name__ for _, event in kernel.events()]


def test_a_command_its_reaction_and_the_cursor_reaction_are_all_recorded(kernel: Kernel) -> None:
    assert kernel.do(Bump(site_id="ATL1", name="a", by=2)) == {"count": 2}
    assert names(kernel) == ["Bumped", "Echoed", "Told"]
    assert rooms.count_of(kernel.reader(), "a") == 2
    assert rooms.told_of(kernel.reader(), "a") == 1
    kernel.rebuild()


def test_entries_are_gapless_by_origin_and_by_position_and_hash_to_their_leaf(kernel: Kernel) -> None:
    for site in ("ATL1", "SEA1", "ATL1"):
        kernel.do(Bump(site_id=site, name="a"))
    entries = list(log.read_all(kernel.reader()))
    assert [entry.position for entry in entries] == list(range(len(entries)))
    for origin in ("network", "ATL1", "SEA1"):
        seqs = [entry.seq for entry in entries if entry.origin == origin]
        assert seqs == list(range(len(seqs)))
    assert all(leaf_hash(envelope_bytes(entry)) == entry.leaf for entry in entries)


def test_a_retry_is_answered_as_before_and_another_body_is_refused(kernel: Kernel) -> None:
    first = kernel.do(Bump(site_id="ATL1", name="a"), key="k1")
    assert kernel.do(Bump(site_id="ATL1", name="a"), key="k1") == first
    assert rooms.count_of(kernel.reader(), "a") == 1
    with pytest.raises(KeyReused):
        kernel.do(Bump(site_id="ATL1", name="b"), key="k1")
    kernel.do(Bump(site_id="ATL1", name="a"), actor="ben", key="k1")  # another caller's key is another key
    kernel.restart()
    assert kernel.do(Bump(site_id="ATL1", name="a"), key="k1") == first


def test_a_rejected_command_in_a_group_leaves_no_trace_and_harms_no_neighbour(kernel: Kernel) -> None:
    calls = [
        Call(Bump(site_id="ATL1", name=name, by=by)) for name, by in (("a", 99), ("a", 2), ("a", 1), ("b", 5))
    ]
    outcomes = kernel.decider.execute(calls)
    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, False, True, True]
    assert rooms.count_of(kernel.reader(), "a") == 100
    assert kernel.decider.shared.hot[Totals].of == {"a": 100, "b": 5}
    kernel.decider.settle()
    kernel.rebuild()


def test_a_retry_inside_the_same_group_is_done_once(kernel: Kernel) -> None:
    call = Call(Bump(site_id="ATL1", name="a"), key="k")
    outcomes: list[Any] = kernel.decider.execute([call, call])
    assert [outcome.replayed for outcome in outcomes] == [False, True]
    assert rooms.count_of(kernel.reader(), "a") == 1


def test_a_failed_commit_takes_hot_state_back(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="a"))

    def explode(batch: Any) -> None:
        tx = kernel.decider.unit(batch, "ATL1", Principal("ana"), "test")
        tx.run(Bump(site_id="ATL1", name="a", by=7))
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        kernel.decider._commit(explode)  # noqa: SLF001
    assert kernel.decider.shared.hot[Totals].of == {"a": 1}
    kernel.do(Bump(site_id="ATL1", name="a"))
    assert rooms.count_of(kernel.reader(), "a") == 2


def test_a_poisoned_reaction_parks_its_stream_and_a_retry_resumes_in_order(kernel: Kernel) -> None:
    for _ in range(3):
        kernel.do(Bump(site_id="ATL1", name="poison"))
    kernel.do(Bump(site_id="ATL1", name="fine"))
    parked = parking.parked_events(kernel.reader())
    assert [p.why.startswith("waits behind") for p in parked] == [False, True, True]
    assert all(p.safety and p.scope == "ATL1" for p in parked)
    assert "Echoed" in names(kernel)  # the other stream went on
    kernel.restart()
    rooms.BROKEN.clear()
    try:
        assert kernel.do(RetryParked()) == {"resumed": 3, "failed": 0}
    finally:
        rooms.BROKEN.add("poison")
    assert parking.parked_events(kernel.reader()) == []
    kernel.rebuild()


def test_a_cascade_stops_at_its_greatest_depth(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="deep"))
    assert names(kernel).count("Bumped") == 5  # each bump is two levels: bumped, echoed
    assert [p.why for p in parking.parked_events(kernel.reader())] == ["cascade deeper than 8"]


def test_a_cursor_reaction_that_fails_is_parked_and_others_go_on(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="never"))
    kernel.do(Bump(site_id="ATL1", name="a"))
    assert [p.reaction for p in parking.parked_events(kernel.reader())] == ["toy.tell_network"]
    assert rooms.told_of(kernel.reader(), "a") == 1


def test_cursor_reactions_go_on_after_a_crash_exactly_once(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="a"))
    kernel.decider.execute([Call(Bump(site_id="ATL1", name="a"))])  # committed, and then the process died
    kernel.restart()
    kernel.decider.settle()
    assert rooms.told_of(kernel.reader(), "a") == 2
    kernel.restart()
    kernel.decider.settle()
    assert rooms.told_of(kernel.reader(), "a") == 2


def test_timers_fire_once_in_due_order_and_survive_a_restart(kernel: Kernel) -> None:
    kernel.do(Later(site_id="ATL1", name="late", minutes=20))
    kernel.do(Later(site_id="ATL1", name="soon", minutes=10))
    kernel.restart()
    assert kernel.advance(5) == 0
    assert kernel.advance(30) == 2
    assert [event.name for _, event in kernel.events() if isinstance(event, rooms.Bumped)] == ["soon", "late"]
    assert kernel.advance(60) == 0


def test_a_timer_whose_handler_is_refused_is_tried_again(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="full", by=100))
    kernel.do(Later(site_id="ATL1", name="full", minutes=1))
    assert kernel.advance(1) == 1
    kernel.do(Bump(site_id="ATL1", name="full", by=-1))
    kernel.advance(1)
    assert rooms.count_of(kernel.reader(), "full") == 100


def test_effects_wait_in_the_outbox_and_are_retried_then_dead_then_revived(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="effect", person="p1"))
    kernel.do(Bump(site_id="ATL1", name="effect", person="p1"))  # the same key is put once
    (effect,) = kernel.effects()
    assert effect.payload is None
    assert outbox.payload_of(kernel.reader(), effect) == {"to": "x"}
    kernel.do(ReportEffect(origin="ATL1", key="toy-1", delivered=False, why="no route"))
    (effect,) = kernel.effects()
    assert effect.attempts == 1
    assert effect.next_at == kernel.host.now() + outbox.backoff_after(1)
    assert outbox.due_effects(kernel.reader(), kernel.host.now(), 10) == []
    kernel.do(ReportEffect(origin="ATL1", key="toy-1", delivered=False, permanent=True, why="no such box"))
    assert kernel.effects() == []
    kernel.do(outbox.ReviveEffect(origin="ATL1", key="toy-1", reason="address mended"))
    kernel.do(ReportEffect(origin="ATL1", key="toy-1", delivered=True, reference="250 ok"))
    delivered = [event for _, event in kernel.events() if isinstance(event, outbox.EffectDelivered)]
    assert [event.reference for event in delivered] == ["250 ok"]


def test_an_erased_person_is_gone_and_proofs_stay(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="a", note="Ana Silva", person="p1"))
    (bumped,) = [event for _, event in kernel.events() if isinstance(event, rooms.Bumped)]
    assert bumped.note is not None
    assert b"Ana" not in bumped.note.cipher
    assert kernel.reader().open(bumped.note) == "Ana Silva"
    kernel.do(EraseSubject(subject="p1", reason="asked to be forgotten"))
    assert kernel.reader().open(bumped.note) is None
    with pytest.raises(SubjectErased):
        kernel.do(Bump(site_id="ATL1", name="a", note="again", person="p1"))
    kernel.restart()
    assert kernel.reader().open(bumped.note) is None
    assert all(leaf_hash(envelope_bytes(e)) == e.leaf for e in log.read_all(kernel.reader()))


@pytest.mark.parametrize("restarts", [False, True])
def test_who_was_erased_before_anything_was_known_of_them_stays_unknown(
    kernel: Kernel, restarts: bool
) -> None:
    kernel.do(EraseSubject(subject="stranger", reason="asked to be forgotten"))
    if restarts:
        kernel.restart()
    with pytest.raises(SubjectErased):
        kernel.do(Bump(site_id="ATL1", name="a", note="Ana Silva", person="stranger"))


def test_whoever_is_new_costs_no_read_in_the_middle_of_a_group(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.do(Bump(site_id="ATL1", name="a"))
    asked: list[str] = []
    query = type(kernel.decider.connection).query

    def noted(self: Any, statement: Statement[Any], params: Any) -> Any:
        asked.append(statement.sql[self.dialect].text)
        return query(self, statement, params)

    monkeypatch.setattr(type(kernel.decider.connection), "query", noted)
    calls = [Call(Bump(site_id="ATL1", name="a", note="Ana", person=f"p{n}")) for n in range(5)]
    kernel.decider.execute(calls)
    assert not any("personal_key" in text for text in asked)


def test_what_the_authorizer_forbids_is_not_done() -> None:
    class OnlyAna:
        def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
            if principal.actor_id not in ("ana", "system"):
                raise Forbidden(action=action, site=resource.site_id)

    with sqlite_kernel(OnlyAna()) as kernel:
        kernel.do(Bump(site_id="ATL1", name="a"))
        with pytest.raises(Forbidden) as caught:
            kernel.do(Bump(site_id="ATL1", name="a"), actor="eve")
        assert caught.value.facts == {"action": "toy.bump", "site": "ATL1"}
        assert rooms.count_of(kernel.reader(), "a") == 1


def test_a_closed_origin_takes_no_commands_until_its_next_epoch_is_opened(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="a"))
    kernel.do(CloseOrigin(origin="ATL1", reason="moves to its own node"))
    with pytest.raises(OriginElsewhere):
        kernel.do(Bump(site_id="ATL1", name="a"), roles={"system"})
    kernel.restart()
    with pytest.raises(OriginElsewhere):
        kernel.do(Bump(site_id="ATL1", name="a"), roles={"system"})
    assert rooms.count_of(kernel.reader(), "a") == 1
    kernel.decider.reopen("ATL1")
    kernel.do(Bump(site_id="ATL1", name="a"))
    entries = [entry for entry in log.read_all(kernel.reader()) if entry.origin == "ATL1"]
    opened = [entry for entry in entries if entry.type == "origin.opened"]
    assert [(entry.epoch, entry.seq) for entry in opened] == [(1, 0), (2, 0)]
    closed = next(entry for entry in entries if entry.type == "origin.closed")
    assert log.decode_entry(opened[1]).cites_leaf == closed.leaf.hex()


def test_an_origin_moves_to_a_database_of_its_own_and_goes_on_there(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="atlanta", by=7, note="Ana Silva", person="p1"))
    kernel.do(Bump(site_id="SEA1", name="seattle", by=3))
    kernel.do(Later(site_id="ATL1", name="atlanta", minutes=30))
    luggage = relocation.carry_out(kernel.decider, "ATL1", "a node of its own")
    with sqlite_kernel() as node:
        relocation.carry_in(node.decider, luggage)
        assert rooms.count_of(node.reader(), "atlanta") == 7
        assert rooms.count_of(node.reader(), "seattle") == 0
        node.do(Bump(site_id="ATL1", name="atlanta"))
        node.advance(31)
        assert rooms.count_of(node.reader(), "atlanta") == 9
        old = [e.leaf for e in log.read_all(kernel.reader()) if e.origin == "ATL1"]
        new = [e for e in log.read_all(node.reader()) if e.origin == "ATL1"]
        assert [entry.leaf for entry in new[: len(old)]] == old
        assert [(e.epoch, e.seq) for e in new[len(old) :]][:2] == [(2, 0), (2, 1)]
        node.rebuild()
    with pytest.raises(OriginElsewhere):
        kernel.do(Bump(site_id="ATL1", name="atlanta"), roles={"system"})


def test_a_forked_past_is_refused_with_both_hashes(kernel: Kernel) -> None:
    kernel.do(Bump(site_id="ATL1", name="a"))
    luggage = relocation.carry_out(kernel.decider, "ATL1", "moves")
    last = luggage.entries[-1]
    forged = msgspec.structs.replace(last, body=last.body.replace(b"moves", b"stays"))
    with sqlite_kernel() as node, pytest.raises(OriginFork):
        relocation.carry_in(
            node.decider, msgspec.structs.replace(luggage, entries=[*luggage.entries[:-1], forged])
        )


def test_an_origin_elsewhere_keeps_its_timers_until_it_comes_back(kernel: Kernel) -> None:
    kernel.do(Later(site_id="ATL1", name="atlanta", minutes=30))
    kernel.do(Later(site_id="SEA1", name="seattle", minutes=40))
    kernel.do(CloseOrigin(origin="ATL1", reason="moves to its own node"))
    kernel.advance(60)
    assert (rooms.count_of(kernel.reader(), "atlanta"), rooms.count_of(kernel.reader(), "seattle")) == (0, 1)
    kernel.decider.reopen("ATL1")
    kernel.advance(1)
    assert rooms.count_of(kernel.reader(), "atlanta") == 1


def test_the_database_of_a_node_extends_its_own_site_only(kernel: Kernel) -> None:
    kernel.decider.take("ATL1", lambda tx: hosting.host_only(tx, "ATL1"), "test")
    kernel.restart()
    kernel.do(Bump(site_id="ATL1", name="a"))
    for foreign in (Bump(site_id="SEA1", name="a"), Tell(name="a")):
        with pytest.raises(OriginElsewhere):
            kernel.do(foreign)
    assert {entry.origin for entry in log.read_all(kernel.reader())} == {"ATL1"}
    assert rooms.told_of(kernel.reader(), "a") == 0, "what runs from cursors is the network's"


def test_what_explains_follows_in_the_next_commit_at_its_own_origin_on_a_node_as_well(kernel: Kernel) -> None:
    kernel.decider.take("ATL1", lambda tx: hosting.host_only(tx, "ATL1"), "test")
    kernel.restart()
    kernel.do(Bump(site_id="ATL1", name="a"))
    kernel.decider.execute([Call(Bump(site_id="ATL1", name="urgent"))])
    assert rooms.count_of(kernel.reader(), "explained") == 0
    kernel.restart()  # the process died between the two commits
    kernel.decider.settle()
    assert rooms.count_of(kernel.reader(), "explained") == 1
    assert {entry.origin for entry in log.read_all(kernel.reader())} == {"ATL1"}


def test_facts_taken_in_live_set_off_what_the_network_does_about_them(kernel: Kernel) -> None:
    with sqlite_kernel() as node:
        node.do(Bump(site_id="ATL1", name="a"))
        entries = [entry for entry in log.read_all(node.reader()) if entry.origin == "ATL1"]
    for live, told in ((False, 0), (True, 1)):
        site = "ATL1" if live else "ATL2"
        moved = [entry if live else elsewhere(entry, site) for entry in entries]
        kernel.decider.take("network", lambda tx, m=moved, w=live: origins.take_in(tx, m, live=w), "test")  # type: ignore[misc]
        kernel.decider.settle()
        assert rooms.told_of(kernel.reader(), "a") == told
    kernel.rebuild()


def elsewhere(entry: Entry, site: str) -> Entry:
    moved = msgspec.structs.replace(entry, origin=site)
    return msgspec.structs.replace(moved, leaf=leaf_hash(envelope_bytes(moved)))
