"""The driver of playbook runs: moves them by what happens and takes their actions.

Invariants
    W1  Every fact a step looks at is fetched once, by a registered name, and recorded with the decision.
    W2  A run's new state is recorded before its actions are taken; each in a savepoint. One that is refused
        is told to the run as `failed`, with the reason; the others stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, on_timer
from coldgrid.kernel.rejections import Conflict, NotFound, Rejected
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration import run_rules, runs
from coldgrid.orchestration.playbook_library import playbook_of
from coldgrid.orchestration.playbook_model import DONE, FAILED, LATE
from coldgrid.orchestration.playbook_state import Act, Happening, Kind, Moved, Policy, Wake
from coldgrid.orchestration.playbook_step import advance
from coldgrid.orchestration.runs import Run

TIMER = "orchestration.step"

# --- What other rooms register ---------------------------------------------------

Fact = Callable[[Reader, Run], Any]
Action = Callable[[Tx, Run, dict[str, Any]], None]
_facts: dict[str, Fact] = {}
_actions: dict[str, Action] = {}


def register_fact(name: str, fetch: Fact) -> None:
    """Let playbooks look at a fact: `fetch(db, run)` returns plain values or a struct, None for unknown."""
    _facts[name] = fetch


def register_action(name: str, take: Action) -> None:
    """Let playbooks take an action: `take(tx, run, args)` gives commands; when refused the step `failed`.

    `args` has what the playbook gave, and under `key` a name of this one action within its run.
    """
    _actions[name] = take


def registered_facts() -> frozenset[str]:
    """The names that playbooks may list under `facts` here."""
    return frozenset(_facts)


def registered_actions() -> frozenset[str]:
    """The names that playbooks may use under `do` here."""
    return frozenset(_actions)


# --- Actions --------------------------------------------------------------------


class ActionUnknown(NotFound):
    """No room here knows this action."""


class ActionNotDue(Conflict):
    """The run did not ask for this action now."""


class TakeAction(Command, frozen=True, tag="orchestration.take_action"):
    """Take one action that a run asked for in its last move; a savepoint of its own (W2)."""

    site_id: str
    run_id: str
    key: str


@handles(TakeAction, action="orchestration.take_action", owner=Owner.SITE)
def take_action(tx: Tx, command: TakeAction) -> None:
    """Take an action by its registered name."""
    run = runs.get_run(tx, command.run_id)
    act = next((act for act in run.acts if act.key == command.key), None)
    if act is None:
        raise ActionNotDue(run_id=command.run_id, key=command.key)
    take = _actions.get(act.action)
    if take is None:
        raise ActionUnknown(action=act.action)
    take(tx, run, {**act.args, "key": act.key})


@on_timer(TIMER)
def _due(tx: Tx, timer: Timer) -> None:
    told = timer.payload
    outcome = LATE if told["what"] == "late" else DONE
    happening = Happening(Kind.TIMER, told["step"], outcome, told["use"])
    drive(tx, runs.get_run(tx, told["run_id"]), happening)


# --- The driver -----------------------------------------------------------------


def drive(tx: Tx, run: Run, happening: Happening) -> None:
    """Move a run by what happened, take its actions, and go on with what came of them."""
    told: dict[str, Any] = msgspec.to_builtins(happening.data)
    happening = msgspec.structs.replace(happening, data=told)
    policy = Policy(playbook_of(tx, run.hash), run.policy)
    waiting = deque([happening])
    while waiting and not run.state.ended:
        event = waiting.popleft()
        moved, facts = advance(run.state, event, _fetcher(tx, run), tx.now, policy)
        if moved.state == run.state:
            continue
        _record(tx, run, event, moved, facts)
        run = msgspec.structs.replace(run, state=moved.state, acts=moved.actions)
        waiting.extend(_act(tx, run, moved.actions))


def _record(tx: Tx, run: Run, event: Happening, moved: Moved, facts: dict[str, Any]) -> None:
    playbook = playbook_of(tx, run.hash)
    policy = Policy(playbook, run.policy)
    common = {name: getattr(run, name) for name in ("run_id", "site_id", "zone_id", "incident_id")}
    tx.record(
        f"run/{run.run_id}",
        runs.RunAdvanced(
            **common,
            happening=event,
            state=moved.state,
            facts=facts,
            acts=moved.actions,
            timers=moved.timers,
            decisions=run_rules.decisions_of(run.run_id, playbook, moved.choices, facts, [tx.cause]),
            opened=run_rules.tasks_opened(run.state, moved.state, facts, policy, tx.now),
            closed=run_rules.tasks_closed(run.state, moved.state, event, policy),
        ),
    )
    for wake in moved.timers:
        _set(tx, run, wake)
    if moved.state.ended:
        tx.record(f"run/{run.run_id}", runs.RunEnded(**common, outcome=moved.state.ended))


def _set(tx: Tx, run: Run, wake: Wake) -> None:
    timer_id = f"run/{run.run_id}/{wake.key}"
    if wake.at is None:
        tx.cancel_timer(timer_id)
        return
    told = {"run_id": run.run_id, "step": wake.step, "use": wake.use, "what": wake.what}
    tx.set_timer(timer_id, TIMER, wake.at, told)


def _act(tx: Tx, run: Run, acts: list[Act]) -> list[Happening]:
    """Take the actions of one move; return for each step whether they were taken (W2)."""
    refused: dict[tuple[str, int], dict[str, str]] = {}
    for act in acts:
        failures = refused.setdefault((act.step, act.use), {})
        try:
            tx.run(TakeAction(site_id=run.site_id, run_id=run.run_id, key=act.key))
        except Rejected as rejected:
            failures[act.action] = str(rejected)
    return [
        Happening(Kind.ACTED, step_id, FAILED if why else DONE, use, data={"refused": why} if why else {})
        for (step_id, use), why in refused.items()
    ]


def _fetcher(tx: Tx, run: Run) -> Callable[[str], Any]:
    """Fetch facts as they go on record; unknown where nobody knows one or its room cannot tell (W1)."""

    def fetch(name: str) -> Any:
        known = _facts.get(name)
        if known is None:
            return None
        try:
            return msgspec.to_builtins(known(tx, run))
        except Rejected:
            return None

    return fetch
