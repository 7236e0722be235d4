"""What is urgent is heard at the tower before the facts that lie before it, and is no fact until then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from coldgrid.kernel.events import Entry, tag_of
from coldgrid.orchestration.incident_rules import IncidentAdvanced, IncidentOpened
from coldgrid.orchestration.incidents import (
    AdvanceIncident,
    OpenIncident,
    Severity,
    Status,
    open_incidents,
)
from coldgrid.sync import acts as a
from coldgrid.sync import engine
from coldgrid.sync import messages as m
from coldgrid.sync.acts import Backlog, Lane, State
from coldgrid.sync.ahead import ADVANCED, CLOSED, COPIES_MAX, RETURNED, URGENT, heard_of, urgent_after
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.messages import Code, Place
from coldgrid.telemetry.alarm_rules import AlarmRaised, AlarmReturned
from tests.conftest import Kernel, sqlite_kernel
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_refusals import bump, forged, send


@pytest.fixture
def pair(kernel: Kernel) -> Iterator[tuple[Tower, Node]]:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        yield tower, node


SETTLED = {"undecided_units": 0, "zone_released": True}


def open_incident(node: Node, name: str) -> None:
    node.kernel.do(
        OpenIncident(
            site_id="ATL1",
            incident_id=name,
            severity=Severity.OPERATOR_ACTIONABLE,
            title=f"The door of {name} stands open",
            asset_id=name,
            facts={},
            cause_id=name,
        )
    )


def told(tower: Tower) -> list[str]:
    return [one.told for one in heard_of(tower.kernel.reader())]


def copies(node: Node) -> list[Entry]:
    return urgent_after(node.kernel.reader(), "ATL1", Place())


def test_open_incidents_are_heard_first_the_oldest_first_and_go_when_the_log_reaches_them(
    pair: tuple[Tower, Node],
) -> None:
    tower, node = pair
    bump(node, 100)
    for name in ("i1", "i2", "i3"):
        open_incident(node, name)
    node.kernel.do(
        AdvanceIncident(site_id="ATL1", incident_id="i2", status=Status.CLOSED, reason="false", facts=SETTLED)
    )
    answer = send(tower, m.Ahead(pack_entries(copies(node))))
    assert answer == m.Heard(2)
    assert told(tower) == ["The door of i1 stands open", "The door of i3 stands open"]
    assert tower.place("ATL1") == Place(), "a copy is no fact"
    assert open_incidents(tower.kernel.reader()) == []
    assert send(tower, m.Ahead(pack_entries(copies(node)))) == m.Heard(0)
    tower.kernel.restart()
    tower.open_post()
    node.wake()
    node.talk()
    assert told(tower) == []
    assert len(open_incidents(tower.kernel.reader())) == 2
    assert own_log(tower.kernel, "ATL1") == own_log(node.kernel, "ATL1")
    assert urgent_after(node.kernel.reader(), "ATL1", tower.place("ATL1")) == []


def test_an_entry_that_differs_from_its_copy_is_a_fork(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node, 2)
    open_incident(node, "i1")
    [copy] = copies(node)
    other = forged(copy, actor="eve")
    assert send(tower, m.Ahead(pack_entries([other]))) == m.Heard(1)
    again = send(tower, m.Ahead(pack_entries([copy])))
    assert isinstance(again, m.Refused)
    assert (again.code, again.facts["here"]) == (Code.FORKED, other.leaf.hex())


def test_the_log_is_held_against_its_copies(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node, 2)
    open_incident(node, "i1")
    [copy] = copies(node)
    send(tower, m.Ahead(pack_entries([forged(copy, actor="eve")])))
    node.talk()
    assert node.code == Code.FORKED
    assert tower.place("ATL1") == Place(), "nothing of the batch was taken"


def test_copies_that_are_not_the_nodes_to_send_are_refused(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    open_incident(node, "i1")
    [copy] = copies(node)
    for entries, code in (
        ([forged(copy, origin="CLT1")], Code.NOT_YOURS),
        ([forged(copy, body=b"{}")], Code.MALFORMED),
        ([forged(copy, seq=number) for number in range(COPIES_MAX + 1)], Code.TOO_LARGE),
    ):
        refused = send(tower, m.Ahead(pack_entries(entries)))
        assert isinstance(refused, m.Refused)
        assert refused.code == code
    bump(node)
    plain = [one for one in own_log(node.kernel, "ATL1") if one.type == "toy.bumped"]
    assert send(tower, m.Ahead(pack_entries(plain))) == m.Heard(0)
    assert told(tower) == []


# --- When -----------------------------------------------------------------------------


def acts_of(state: State, head: int, now_us: int) -> tuple[State, list[a.Act]]:
    state, acts = engine.step(state, a.Looked(Backlog(Place(1, head))), now_us)
    return state, [act for act in acts if act.lane is Lane.FACTS]


def up(now_us: int) -> State:
    state, _ = engine.step(State(site_id="ATL1"), a.Looked(Backlog(Place(1, 1))), now_us)
    welcome = m.Welcome(1, b"t", Place(1, 1), 0, 0, now_us)
    return engine.step(state, a.Answered(Lane.FACTS, welcome), now_us)[0]


def test_copies_go_ahead_only_where_the_facts_behind_take_long() -> None:
    state, acts = acts_of(up(0), 40, 1)
    assert [type(act) for act in acts] == [a.SendFacts]
    state, acts = acts_of(up(0), 50_000, 1)
    assert acts == [a.SendAhead(Place(1, 1))]
    state, acts = engine.step(state, a.Answered(Lane.FACTS, m.Heard(3)), 2)
    assert [type(act) for act in acts] == [a.SendFacts]


def test_what_became_urgent_meanwhile_goes_ahead_after_two_seconds() -> None:
    state, _ = acts_of(up(0), 50_000, 1)
    state, _ = engine.step(state, a.Answered(Lane.FACTS, m.Heard(3)), 2)
    second = timedelta(seconds=1) // timedelta(microseconds=1)
    state, acts = engine.step(state, a.Answered(Lane.FACTS, m.Taken(Place(1, 2_001))), second)
    assert [type(act) for act in acts] == [a.SendFacts]
    state, _ = engine.step(state, a.Looked(Backlog(Place(1, 50_010))), second)
    state, acts = engine.step(state, a.Answered(Lane.FACTS, m.Taken(Place(1, 4_001))), 3 * second)
    assert acts == [a.SendAhead(Place(1, 50_000))]


def test_a_line_that_is_fast_needs_nothing_ahead() -> None:
    state, _ = acts_of(up(0), 3_000, 1)
    state, _ = engine.step(state, a.Answered(Lane.FACTS, m.Heard(0)), 2)
    state, _ = engine.step(state, a.Answered(Lane.FACTS, m.Taken(Place(1, 2_001))), 100_002)
    assert state.rate_per_s > 9_000
    assert not state.late()


def test_the_words_are_those_of_the_rooms_that_record_them() -> None:
    types = {tag_of(type_): set(type_.__struct_fields__) for type_ in (AlarmRaised, IncidentOpened)}
    assert set(types) == set(URGENT)
    assert all(URGENT[tag] in fields for tag, fields in types.items())
    assert (tag_of(AlarmReturned), tag_of(IncidentAdvanced)) == (RETURNED, ADVANCED)
    assert Status.CLOSED == CLOSED
