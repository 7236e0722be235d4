"""Backtest: the same playbook function over what came from outside, with a heap of timers and no effects.

Invariants
    B1  Only exogenous happenings go in: starts, signals, answers, approvals. Timers and what follows from
        them come out of the run itself.
    B2  The same playbook and the same happenings give the same actions as the live run did.

Facts come from a function of name and instant: recorded ones (`recorded_facts`), or scratch projections.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from coldgrid.orchestration.playbook_model import DONE, FAILED, LATE
from coldgrid.orchestration.playbook_state import Act, Happening, Kind, Policy, RunState, Wake
from coldgrid.orchestration.playbook_step import advance
from coldgrid.orchestration.runs import RunAdvanced

EXOGENOUS = frozenset({Kind.START, Kind.SIGNAL, Kind.ANSWER, Kind.APPROVAL})


class Timed(msgspec.Struct, frozen=True):
    """A happening and its instant."""

    at: datetime
    happening: Happening


class TimedAct(msgspec.Struct, frozen=True):
    """An action that the run asked for, and when."""

    at: datetime
    act: Act


class Replay(msgspec.Struct, frozen=True):
    """What a backtest came to."""

    state: RunState
    acts: list[TimedAct]


FactsAt = Callable[[str, datetime], Any]


def replay(
    policy: Policy,
    run: dict[str, str],
    happenings: Sequence[Timed],
    facts_at: FactsAt,
    refused: frozenset[tuple[str, int]] = frozenset(),
) -> Replay:
    """Run a playbook over past happenings in virtual time.

    Args:
        policy: The playbook and its numbers; another version than the live one answers "what if".
        run: What the playbook's texts may name as `run.…`.
        happenings: What came from outside, in time order.
        facts_at: The value of a fact at an instant, None for unknown.
        refused: Which starts of which steps had an action refused (`refused_in`); no other is, without an
            effect port.
    """
    virtual = _Driver(policy, RunState(run=run), facts_at, refused)
    for timed in happenings:
        virtual.run_timers(until=timed.at)
        virtual.move(timed.happening, timed.at)
    virtual.run_timers(until=None)
    return Replay(virtual.state, virtual.acts)


class _Driver:
    def __init__(
        self, policy: Policy, state: RunState, facts_at: FactsAt, refused: frozenset[tuple[str, int]]
    ) -> None:
        self.policy = policy
        self.state = state
        self.facts_at = facts_at
        self.refused = refused
        self.acts: list[TimedAct] = []
        self._timers: list[tuple[datetime, str]] = []
        self._wakes: dict[str, Wake] = {}

    def run_timers(self, until: datetime | None) -> None:
        """Fire what is due, in due order; a timer at the very instant of a happening comes before it."""
        while self._timers and (until is None or self._timers[0][0] <= until):
            at, key = heapq.heappop(self._timers)
            wake = self._wakes.get(key)
            if wake is not None and wake.at == at:
                del self._wakes[key]
                outcome = LATE if wake.what == "late" else DONE
                self.move(Happening(Kind.TIMER, wake.step, outcome, wake.use), at)

    def move(self, happening: Happening, at: datetime) -> None:
        waiting = [happening]
        while waiting and not self.state.ended:
            moved, _ = advance(
                self.state, waiting.pop(0), lambda name: self.facts_at(name, at), at, self.policy
            )
            self.state = moved.state
            self.acts += [TimedAct(at, act) for act in moved.actions]
            for wake in moved.timers:
                self._set(wake)
            waiting += self._acted(moved.actions)

    def _set(self, wake: Wake) -> None:
        if wake.at is None:
            self._wakes.pop(wake.key, None)
        else:
            self._wakes[wake.key] = wake
            heapq.heappush(self._timers, (wake.at, wake.key))

    def _acted(self, acts: Sequence[Act]) -> list[Happening]:
        starts = dict.fromkeys((act.step, act.use) for act in acts)
        return [
            Happening(Kind.ACTED, name, FAILED if (name, use) in self.refused else DONE, use)
            for name, use in starts
        ]


def exogenous(recorded: Iterable[tuple[datetime, RunAdvanced]]) -> list[Timed]:
    """What came from outside in a recorded run (B1)."""
    return [Timed(at, event.happening) for at, event in recorded if event.happening.kind in EXOGENOUS]


def refused_in(recorded: Iterable[tuple[datetime, RunAdvanced]]) -> frozenset[tuple[str, int]]:
    """Which starts of which steps had an action refused in a recorded run."""
    acted = [event.happening for _, event in recorded if event.happening.kind is Kind.ACTED]
    return frozenset((one.name, one.use) for one in acted if one.outcome == FAILED)


def recorded_facts(recorded: Iterable[tuple[datetime, RunAdvanced]]) -> FactsAt:
    """The facts of a recorded run: at any instant the value that was last looked at."""
    history: dict[str, tuple[list[datetime], list[Any]]] = {}
    for at, event in recorded:
        for name, value in event.facts.items():
            instants, values = history.setdefault(name, ([], []))
            instants.append(at)
            values.append(value)

    def facts_at(name: str, at: datetime) -> Any:
        instants, values = history.get(name, ([], []))
        index = bisect_right(instants, at)
        return values[index - 1] if index else None

    return facts_at
