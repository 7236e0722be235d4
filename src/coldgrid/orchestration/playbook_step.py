"""How a playbook moves: one pure function from what happened to what is to be done.

Invariants
    P1  Same state, event, facts, instant and policy: same answer, live and in a backtest.
    P2  A step starts at most `times` times, so an action's key is given out once, in whatever order events
        come and however often one of them comes.
    P3  An ended run never moves again.
    P4  An unknown value satisfies no comparison; it is neither good nor bad.

A step that ends opens the way for others only in the next hop (`state.fresh`), because their facts are not
fetched yet; `advance` hops until nothing is fresh.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec

from coldgrid.orchestration.playbook_model import (
    AGREED,
    DONE,
    FAILED,
    LAPSED,
    LATE,
    OVERRIDDEN,
    SKIPPED,
    Step,
)
from coldgrid.orchestration.playbook_state import (
    Act,
    Choice,
    Facts,
    Happening,
    Kind,
    Moved,
    Policy,
    RunState,
    StepState,
    Wake,
)
from coldgrid.orchestration.playbook_values import Test, fill, minutes_of, test_all


def step(state: RunState, event: Happening, facts: Facts, now: datetime, policy: Policy) -> Moved:
    """Move a run by one event.

    Args:
        state: Where the run stands.
        event: What happened. What fits nothing (an answer nobody waits for, an old timer) changes nothing.
        facts: What `facts_needed` asked for, by name; None for what could not be found out.
        now: The instant, for deadlines.
        policy: The playbook and its numbers.
    """
    move = _Move(state, facts, now, policy)
    if not state.ended and move.take(event):
        move.start_what_may()
    return move.moved()


def facts_needed(state: RunState, event: Happening, now: datetime, policy: Policy) -> list[str]:
    """The facts declared by the steps that this event would start, in the playbook's order."""
    move = _Move(state, {}, now, policy)
    if state.ended or not move.take(event):
        return []
    return list(dict.fromkeys(fact for one in move.startable() for fact in one.facts))


def advance(
    state: RunState, event: Happening, fetch: Callable[[str], Any], now: datetime, policy: Policy
) -> tuple[Moved, dict[str, Any]]:
    """Move a run by one event and everything that follows at once.

    `fetch` is called once per fact. Returns the sum of all hops and the facts they were given. Ends: every
    hop starts a step and steps start a bounded number of times (P2).
    """
    facts: dict[str, Any] = {}
    total = Moved(state, [], [], [])
    while True:
        for name in facts_needed(total.state, event, now, policy):
            if name not in facts:
                facts[name] = fetch(name)
        moved = step(total.state, event, facts, now, policy)
        total = Moved(
            moved.state,
            total.actions + moved.actions,
            total.timers + moved.timers,
            total.choices + moved.choices,
        )
        if not moved.state.fresh or moved.state.ended:
            return total, facts
        event = Happening(Kind.NEXT)


class _Move:
    """One move under construction; lives for one call of `step`."""

    def __init__(self, state: RunState, facts: Facts, now: datetime, policy: Policy) -> None:
        self.before = state
        self.now = now
        self.playbook = policy.playbook
        self.happened = list(state.happened)
        self.fresh: list[str] = []  # what this event brought
        self.carried: list[str] = []  # what the next hop will see
        self.steps = dict(state.steps)
        self.answers = dict(state.answers)
        self.signals = dict(state.signals)
        self.seen = state.seen
        self.ended = state.ended
        self.actions: list[Act] = []
        self.timers: list[Wake] = []
        self.choices: list[Choice] = []
        self.roots = {
            "fact": facts,
            "policy": policy.values,
            "answer": self.answers,
            "signal": self.signals,
            "run": state.run,
        }

    def moved(self) -> Moved:
        state = RunState(
            run=self.before.run,
            happened=self.happened,
            fresh=[] if self.ended else self.carried,
            steps=self.steps,
            answers=self.answers,
            signals=self.signals,
            seen=self.seen,
            ended=self.ended,
        )
        return Moved(state, self.actions, self.timers, self.choices)

    # --- what happened ---

    def take(self, event: Happening) -> bool:
        """Work the event into the state; False when it changes nothing."""
        if event.id and event.id in self.seen:
            return False
        takers: dict[Kind, Callable[[Happening], bool]] = {
            Kind.START: self._start,
            Kind.MOVED: lambda _: True,
            Kind.SIGNAL: self._signal,
            Kind.NEXT: self._next,
        }
        taker = takers.get(event.kind, self._of_step)
        taken = taker(event)
        if taken and event.id:
            self.seen = [*self.seen, event.id]
        return taken

    def _start(self, event: Happening) -> bool:
        if "start" in self.happened:
            return False
        self._tell("start", self.fresh)
        return True

    def _next(self, event: Happening) -> bool:
        self.fresh = list(self.before.fresh)
        return bool(self.fresh)

    def _signal(self, event: Happening) -> bool:
        if event.name not in self.playbook.signals:
            return False
        self.signals[event.name] = event.data
        self._tell(f"signal:{event.name}", self.fresh)
        for one in self.playbook.steps:
            if self._at(one).is_open and event.name in one.wait_for:
                self._end(one, event.name, self.fresh)
        return True

    def _of_step(self, event: Happening) -> bool:
        one = self.playbook.step(event.name)
        if one is None:
            return False
        takers = {
            Kind.ANSWER: self._answer,
            Kind.APPROVAL: self._approval,
            Kind.TIMER: self._timer,
            Kind.ACTED: self._acted,
        }
        return takers[event.kind](one, event)

    def _answer(self, one: Step, event: Happening) -> bool:
        at = self._at(one)
        if one.ask is None or event.outcome not in one.ask.answers:
            return False
        if not at.is_open and not (one.ask.revisable and at.outcome in one.ask.answers):
            return False
        self.answers[one.id] = {**event.data, "answer": event.outcome}
        self._end(one, event.outcome, self.fresh)
        return True

    def _approval(self, one: Step, event: Happening) -> bool:
        if one.approve is None or not self._at(one).is_open or event.use != self._at(one).used:
            return False
        if event.outcome not in {AGREED, OVERRIDDEN, LAPSED}:
            return False
        self.answers[one.id] = {**event.data, "answer": event.outcome}
        self._end(one, event.outcome, self.fresh)
        return True

    def _timer(self, one: Step, event: Happening) -> bool:
        at = self._at(one)
        if not at.is_open or event.use != at.used or at.is_late:
            return False
        if event.outcome == LATE:
            self.steps[one.id] = msgspec.structs.replace(at, is_late=True)
            self._tell(f"{one.id}.{LATE}", self.fresh)
            return True
        if one.wait_min is None:
            return False
        self._end(one, DONE, self.fresh)
        return True

    def _acted(self, one: Step, event: Happening) -> bool:
        at = self._at(one)
        if not at.is_open or event.use != at.used or event.outcome not in {DONE, FAILED}:
            return False
        if not _waits(one):
            self._end(one, event.outcome, self.fresh)
            return True
        if event.outcome == DONE:
            return False
        self._tell(f"{one.id}.{FAILED}", self.fresh)
        return True

    # --- what starts ---

    def startable(self) -> list[Step]:
        """The steps that may start now, in the playbook's order."""
        return [one for one in self.playbook.steps if self._may_start(one)]

    def start_what_may(self) -> None:
        for one in self.startable():
            if self.ended:
                return
            self._open(one)

    def _may_start(self, one: Step) -> bool:
        at = self._at(one)
        if self.ended or at.is_open or at.used >= one.times or not _any(one.when, self.happened):
            return False
        if at.used and not _any([*one.when, *one.needs], self.fresh):
            return False
        return all(token in self.happened for token in one.needs) and not _any(one.unless, self.happened)

    def _open(self, one: Step) -> None:
        use = self._at(one).used + 1
        tests = test_all(one.conditions, self.roots)
        if not all(test.ok for test in tests):
            self.steps[one.id] = StepState(used=use, outcome=SKIPPED, opened_at=self.now)
            self.choices.append(Choice(one.id, use, SKIPPED, tests))
            self._tell(f"{one.id}.{SKIPPED}", self.carried)
            return
        self.steps[one.id] = StepState(used=use, is_open=True, opened_at=self.now)
        self.actions += [
            Act(f"{one.id}.{use}.{i}", one.id, use, action.action, fill(action.args, self.roots))
            for i, action in enumerate(one.do)
        ]
        if one.approve is not None:
            self.actions.append(self._request(one, use))
        outcome, branches = self._outcome_at_once(one)
        if one.facts or tests or branches:
            self.choices.append(Choice(one.id, use, outcome or "started", tests, branches))
        if outcome:
            self._end(one, outcome, self.carried)
        else:
            self._set_timers(one, use)

    def _request(self, one: Step, use: int) -> Act:
        assert one.approve is not None
        told = one.approve
        args = {
            "role": told.role,
            "subject": fill(told.subject, self.roots),
            "decision": self.roots["fact"].get(told.decision),
            "expires_min": minutes_of(told.expires_min, self.roots),
        }
        return Act(f"{one.id}.{use}.approve", one.id, use, "request_approval", args)

    def _outcome_at_once(self, one: Step) -> tuple[str, dict[str, list[Test]]]:
        """How a step ends the moment it starts, empty when it waits; and what a choice looked at."""
        branches: dict[str, list[Test]] = {}
        for branch in one.choose:
            branches[branch.outcome] = test_all(branch.conditions, self.roots)
            if all(test.ok for test in branches[branch.outcome]):
                return branch.outcome, branches
        already = [name for name in one.wait_for if f"signal:{name}" in self.happened]
        if already:
            return already[0], branches
        return ("" if _waits(one) or one.do else DONE), branches

    def _set_timers(self, one: Step, use: int) -> None:
        for what, told in ((LATE, one.within_min), ("wait", one.wait_min)):
            if told is not None:
                due_at = self.now + timedelta(minutes=minutes_of(told, self.roots))
                self.timers.append(Wake(one.id, use, what, due_at))

    # --- bookkeeping ---

    def _at(self, one: Step) -> StepState:
        return self.steps.get(one.id, StepState())

    def _end(self, one: Step, outcome: str, into: list[str]) -> None:
        at = self._at(one)
        if at.is_open and not at.is_late and one.within_min is not None:
            self.timers.append(Wake(one.id, at.used, LATE))
        self.steps[one.id] = msgspec.structs.replace(at, is_open=False, is_late=False, outcome=outcome)
        self._tell(one.id, into)
        self._tell(f"{one.id}.{outcome}", into)
        if one.end:
            self._end_run(one.end)

    def _end_run(self, how: str) -> None:
        """Nothing waits any longer."""
        self.ended = how
        for other in self.playbook.steps:
            at = self._at(other)
            if not at.is_open:
                continue
            self.steps[other.id] = msgspec.structs.replace(at, is_open=False)
            if other.within_min is not None and not at.is_late:
                self.timers.append(Wake(other.id, at.used, LATE))
            if other.wait_min is not None:
                self.timers.append(Wake(other.id, at.used, "wait"))

    def _tell(self, token: str, into: list[str]) -> None:
        into.append(token)
        if token not in self.happened:
            self.happened.append(token)


def _waits(one: Step) -> bool:
    return bool(one.ask or one.approve or one.wait_for or one.wait_min is not None or one.choose)


def _any(tokens: Collection[str], among: Collection[str]) -> bool:
    return any(token in among for token in tokens)
