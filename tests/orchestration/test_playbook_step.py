"""The step function: one table per kind of step, then every order of events at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.orchestration.playbook_file import load_playbook
from coldgrid.orchestration.playbook_library import parsed, shipped
from coldgrid.orchestration.playbook_state import Happening, Kind, Moved, Policy, RunState, StepState
from coldgrid.orchestration.playbook_step import advance, facts_needed, step
from tests.conftest import T0

RUN = {"run_id": "r1", "site_id": "ATL1", "zone_id": "ATL1-FRZ1", "incident_id": "i1", "severity": "x"}
START = Happening(Kind.START)


def book(steps: str, policy: str = "{}") -> Policy:
    playbook = load_playbook(f"name: t\nversion: 1\ntitle: T\npolicy: {policy}\nsteps:\n{steps}")
    return Policy(playbook, dict(playbook.policy))


def go(policy: Policy, *events: Happening, facts: dict[str, Any] | None = None, minute: float = 0) -> Moved:
    """Everything that follows from a series of events, the last move's actions and timers."""
    moved = Moved(RunState(run=RUN), [], [], [])
    for event in events:
        now = T0 + timedelta(minutes=minute)
        moved, _ = advance(moved.state, event, (facts or {}).get, now, policy)
    return moved


def signal(name: str, id_: str = "", **data: Any) -> Happening:
    return Happening(Kind.SIGNAL, name, data=data, id=id_)


ASK = """
  - {id: doors, title: Doors, ask: {role: operator, answers: [shut, cannot]}, within_min: 5}
  - {id: help, title: Help, when: [doors.late, doors.cannot], do: [{action: page, with: {group: site}}]}
"""


class TestTasks:
    def test_a_task_waits_and_has_its_deadline(self) -> None:
        moved = go(book(ASK), START)
        assert moved.state.steps["doors"].is_open
        assert [(t.key, t.at) for t in moved.timers] == [("doors.1.late", T0 + timedelta(minutes=5))]
        assert moved.actions == []

    @pytest.mark.parametrize(
        ("event", "pages"),
        [
            (Happening(Kind.ANSWER, "doors", "shut"), 0),
            (Happening(Kind.ANSWER, "doors", "cannot"), 1),
            (Happening(Kind.ANSWER, "doors", "perhaps"), 0),
            (Happening(Kind.ANSWER, "windows", "shut"), 0),
            (Happening(Kind.TIMER, "doors", "late", 1), 1),
            (Happening(Kind.TIMER, "doors", "late", 2), 0),  # the timer of another start
            (Happening(Kind.TIMER, "doors", "done", 1), 0),  # not that kind of step
            (Happening(Kind.APPROVAL, "doors", "agreed", 1), 0),
        ],
    )
    def test_what_an_event_makes_of_it(self, event: Happening, pages: int) -> None:
        assert len(go(book(ASK), START, event).actions) == pages

    def test_an_answer_cancels_the_deadline_and_a_late_one_still_counts(self) -> None:
        answered = go(book(ASK), START, Happening(Kind.ANSWER, "doors", "shut"))
        assert [(t.key, t.at) for t in answered.timers] == [("doors.1.late", None)]
        late = go(
            book(ASK),
            START,
            Happening(Kind.TIMER, "doors", "late", 1),
            Happening(Kind.ANSWER, "doors", "shut"),
        )
        assert late.state.steps["doors"].outcome == "shut"
        assert late.timers == []

    def test_only_a_revisable_answer_may_change(self) -> None:
        revisable = book("  - {id: eta, title: Eta, ask: {role: o, answers: [told], revisable: true}}")
        once = go(revisable, START, Happening(Kind.ANSWER, "eta", "told", data={"min": 30}))
        assert once.state.answers["eta"]["min"] == 30
        twice = step(once.state, Happening(Kind.ANSWER, "eta", "told", data={"min": 240}), {}, T0, revisable)
        assert twice.state.answers["eta"]["min"] == 240
        fixed = go(book(ASK), START, Happening(Kind.ANSWER, "doors", "shut"))
        assert step(fixed.state, Happening(Kind.ANSWER, "doors", "cannot"), {}, T0, book(ASK)) == (
            fixed.state,
            [],
            [],
            [],
        )


CHOOSE = """
  - id: weigh
    title: Weigh
    when: ["signal:again", start]
    times: 3
    facts: [goods]
    if: [{value: fact.goods.units, at_least: 1}]
    choose:
      - {outcome: move, if: [{value: fact.goods.limit_min, at_most: "{policy.limit}"}]}
      - {outcome: stay}
  - id: go
    title: Go
    when: [weigh.move]
    facts: [goods]
    do: [{action: move, with: {units: "{fact.goods.units}", say: "in {fact.goods.limit_min} min"}}]
"""


class TestChoices:
    @pytest.mark.parametrize(
        ("goods", "outcome"),
        [
            ({"units": 3, "limit_min": 30}, "move"),
            ({"units": 3, "limit_min": 60}, "move"),  # the bound is inclusive
            ({"units": 3, "limit_min": 61}, "stay"),
            ({"units": 3, "limit_min": None}, "stay"),  # unknown satisfies nothing
            ({"units": 3, "limit_min": True}, "stay"),  # yes is no number
            ({"units": 0, "limit_min": 30}, "skipped"),
            (None, "skipped"),
        ],
    )
    def test_the_first_branch_that_holds(self, goods: Any, outcome: str) -> None:
        moved = go(book(CHOOSE, "{limit: 60}"), START, facts={"goods": goods})
        assert moved.state.steps["weigh"].outcome == outcome
        assert moved.choices[0].outcome == outcome

    def test_facts_are_fetched_once_and_only_for_what_starts(self) -> None:
        policy = book(CHOOSE, "{limit: 60}")
        assert facts_needed(RunState(run=RUN), START, T0, policy) == ["goods"]
        assert facts_needed(RunState(run=RUN), signal("other"), T0, policy) == []
        _, fetched = advance(RunState(run=RUN), START, {"goods": {"units": 0}}.get, T0, policy)
        assert fetched == {"goods": {"units": 0}}

    def test_arguments_keep_their_type_and_texts_are_filled_in(self) -> None:
        moved = go(book(CHOOSE, "{limit: 60}"), START, facts={"goods": {"units": 3, "limit_min": 12.5}})
        assert moved.actions[0].args == {"units": 3, "say": "in 12.5 min"}

    def test_it_starts_again_only_as_often_as_it_says(self) -> None:
        policy = book(CHOOSE, "{limit: 60}")
        signals = [signal("again", f"s{n}") for n in range(6)]
        moved = go(policy, START, *signals, facts={"goods": {"units": 1}})
        assert moved.state.steps["weigh"].used == 3

    def test_the_same_signal_twice_counts_once(self) -> None:
        policy = book(CHOOSE, "{limit: 60}")
        moved = go(policy, START, signal("again", "s1"), signal("again", "s1"), facts={"goods": {"units": 1}})
        assert moved.state.steps["weigh"].used == 2


class TestActionsAndWaits:
    def test_an_action_step_ends_when_its_actions_were_taken(self) -> None:
        policy = book("""
  - {id: hold, title: Hold, do: [{action: a}, {action: b}]}
  - {id: after, title: After, when: [hold.done], do: [{action: c}]}
  - {id: refused, title: Refused, when: [hold.failed], do: [{action: d}]}
""")
        started = go(policy, START)
        assert [act.key for act in started.actions] == ["hold.1.0", "hold.1.1"]
        done = go(policy, START, Happening(Kind.ACTED, "hold", "done", 1))
        assert [act.action for act in done.actions] == ["c"]
        failed = go(policy, START, Happening(Kind.ACTED, "hold", "failed", 1))
        assert [act.action for act in failed.actions] == ["d"]

    def test_a_wait_is_a_timer(self) -> None:
        policy = book(
            """
  - {id: rest, title: Rest, wait_min: "{policy.n}"}
  - {id: on, title: On, when: [rest], do: [{action: a}]}
""",
            "{n: 30}",
        )
        assert go(policy, START).timers[0].at == T0 + timedelta(minutes=30)
        assert len(go(policy, START, Happening(Kind.TIMER, "rest", "done", 1)).actions) == 1

    def test_an_unknown_deadline_is_due_at_once(self) -> None:
        policy = book("""
  - {id: grace, title: Grace, facts: [lag], ask: {role: o}, within_min: "{fact.lag.min}"}
""")
        assert go(policy, START).timers[0].at == T0

    @pytest.mark.parametrize(("lag", "due_min"), [({"min": 45}, 45), (None, 30), ({"min": None}, 30)])
    def test_of_several_deadlines_the_first_known_counts(self, lag: Any, due_min: float) -> None:
        policy = book("""
  - {id: grace, title: Grace, facts: [lag], ask: {role: o}, within_min: ["{fact.lag.min}", 30]}
""")
        assert go(policy, START, facts={"lag": lag}).timers[0].at == T0 + timedelta(minutes=due_min)

    def test_a_signal_that_came_before_its_wait_is_not_waited_for(self) -> None:
        policy = book("""
  - {id: first, title: First, ask: {role: o}}
  - {id: sign, title: Sign, when: [first], await: [decided]}
""")
        moved = go(policy, START, signal("decided"), Happening(Kind.ANSWER, "first", "done"))
        assert moved.state.steps["sign"].outcome == "decided"

    def test_needs_and_unless(self) -> None:
        policy = book("""
  - {id: a, title: A, when: ["signal:x"], needs: ["signal:y"], unless: ["signal:z"], do: [{action: act}]}
""")
        assert len(go(policy, START, signal("x")).actions) == 0
        assert len(go(policy, START, signal("x"), signal("y")).actions) == 1
        assert len(go(policy, START, signal("y"), signal("x")).actions) == 1
        assert len(go(policy, START, signal("z"), signal("y"), signal("x")).actions) == 0

    def test_an_approval_is_requested_with_its_decision_and_decided_by_its_use(self) -> None:
        policy = book("""
  - id: ok
    title: Ok
    facts: [advice]
    approve: {role: supervisor, subject: "Move {run.zone_id}", decision: advice, expires_min: 20}
  - {id: go, title: Go, when: [ok], do: [{action: act, with: {to: "{answer.ok.choice}"}}]}
""")
        moved = go(policy, START, facts={"advice": {"outcome": "move"}})
        assert moved.actions[0].action == "request_approval"
        assert moved.actions[0].args == {
            "role": "supervisor",
            "subject": "Move ATL1-FRZ1",
            "decision": {"outcome": "move"},
            "expires_min": 20.0,
        }
        agreed = Happening(Kind.APPROVAL, "ok", "agreed", 1, {"choice": "ATL1-FRZ2"})
        assert go(policy, START, agreed).actions[0].args == {"to": "ATL1-FRZ2"}
        assert go(policy, START, msgspec.structs.replace(agreed, use=2)).actions == []

    def test_an_ended_run_never_moves_again(self) -> None:
        policy = book("""
  - {id: ask, title: Ask, ask: {role: o}, within_min: 5}
  - {id: over, title: Over, when: ["signal:closed"], end: closed}
""")
        ended = go(policy, START, signal("closed"))
        assert ended.state.ended == "closed"
        assert [(wake.key, wake.at) for wake in ended.timers] == [("ask.1.late", None)]
        assert go(policy, START, signal("closed"), Happening(Kind.ANSWER, "ask", "done")).state == ended.state


def happenings_of(policy: Policy) -> st.SearchStrategy[Happening]:
    """Anything that could reach a run of this playbook, sensible or not."""
    steps = policy.playbook.steps
    names = st.sampled_from([*(one.id for one in steps), "nobody"])
    outcomes = st.sampled_from(sorted({outcome for one in steps for outcome in one.outcomes} | {"odd"}))
    uses = st.integers(0, 4)
    values = st.one_of(st.none(), st.booleans(), st.integers(-9, 99), st.floats(-9, 999), st.text(max_size=3))
    data = st.dictionaries(
        st.sampled_from(["choice", "repair_eta_min", "facts", "product_c"]), values, max_size=3
    )
    own = st.builds(
        Happening,
        st.sampled_from([Kind.ANSWER, Kind.APPROVAL, Kind.TIMER, Kind.ACTED]),
        names,
        outcomes,
        uses,
        data,
    )
    signals = st.builds(
        Happening,
        st.just(Kind.SIGNAL),
        st.sampled_from([*policy.playbook.signals, "other"]),
        data=data,
        id=st.sampled_from(["", "a", "b", "c", "d"]),
    )
    return st.one_of(own, own, signals, st.just(START), st.just(Happening(Kind.MOVED)))


BOOKS = {
    name: Policy(parsed(source), dict(parsed(source).policy)) for name, source in sorted(shipped().items())
}
FACT = st.one_of(
    st.none(),
    st.integers(-2, 2),
    st.fixed_dictionaries(
        {
            "units": st.integers(0, 2),
            "outcome": st.sampled_from(["move", "stay"]),
            "facts": st.fixed_dictionaries({"moves": st.one_of(st.none(), st.booleans())}),
            "in_range": st.one_of(st.none(), st.booleans()),
            "covered": st.booleans(),
            "min": st.one_of(st.none(), st.floats(-1, 99)),
            "high_c": st.floats(-30, 10),
        }
    ),
)


@pytest.mark.parametrize("name", sorted(BOOKS))
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_of_events_never_crashes_and_never_acts_twice(name: str, data: st.DataObject) -> None:
    policy = BOOKS[name]
    events = [START, *data.draw(st.lists(happenings_of(policy), max_size=40))]
    state, keys, timers = RunState(run=RUN), set[str](), set[str]()
    for minute, event in enumerate(events):
        before = state
        facts = {one: data.draw(FACT) for one in ("goods", "stay_or_move", "zone_now", "bridge", "grace")}
        moved, _ = advance(state, event, facts.get, T0 + timedelta(minutes=minute), policy)
        state = moved.state
        for act in moved.actions:
            assert act.key not in keys, f"{act.key} was given out twice"
            keys.add(act.key)
        for wake in moved.timers:
            (timers.discard if wake.at is None else timers.add)(wake.key)
        assert not (before.ended and moved != (before, [], [], []))
        assert msgspec.json.decode(msgspec.json.encode(state), type=RunState) == state
        for one in policy.playbook.steps:
            assert state.steps.get(one.id, StepState()).used <= one.times
        if state.ended:
            assert not any(at.is_open for at in state.steps.values())
            assert not timers
