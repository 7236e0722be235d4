"""What a move of a run means for people and for the record: tasks, answers, decision records. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, Problem
from coldgrid.orchestration.decisions import Alternative, Decision, Guardrail
from coldgrid.orchestration.playbook_model import SKIPPED, Playbook, Step, Value
from coldgrid.orchestration.playbook_state import Choice, Happening, Kind, Policy, RunState, StepState
from coldgrid.orchestration.playbook_values import Test, fill, minutes_of, words
from coldgrid.orchestration.runs import TaskClosed, TaskOpened
from coldgrid.webkit.forms import number_of


class TaskNotOpen(Conflict):
    """Nobody waits for this answer any more."""


class TaskNeedsRole(Forbidden):
    """Only the role that the task names may answer it."""


def roots_of(state: RunState, facts: Mapping[str, Any], policy: Policy) -> dict[str, Mapping[str, Any]]:
    """What the paths of a playbook lead to."""
    return {
        "fact": facts,
        "policy": policy.values,
        "answer": state.answers,
        "signal": state.signals,
        "run": state.run,
    }


def tasks_opened(
    before: RunState, after: RunState, facts: Mapping[str, Any], policy: Policy, now: datetime
) -> list[TaskOpened]:
    """The tasks that a move asks people for."""
    roots = roots_of(after, facts, policy)
    opened = []
    for step in policy.playbook.steps:
        use = _at(after, step).used
        if step.ask is None or not _at(after, step).is_open or use == _at(before, step).used:
            continue
        due_at = None
        if step.within_min is not None:
            due_at = now + timedelta(minutes=minutes_of(step.within_min, roots))
        opened.append(
            TaskOpened(
                step=step.id,
                use=use,
                role=step.ask.role,
                title=words(fill(step.title, roots)),
                answers=step.ask.answers,
                values=step.ask.values,
                revisable=step.ask.revisable,
                due_at=due_at,
            )
        )
    return opened


def tasks_closed(before: RunState, after: RunState, event: Happening, policy: Policy) -> list[TaskClosed]:
    """The task that was answered, and those that nobody needs any more."""
    roots = roots_of(after, {}, policy)
    closed = []
    for step in policy.playbook.steps:
        if step.ask is None:
            continue
        use = _at(after, step).used
        if event.kind is Kind.ANSWER and event.name == step.id:
            title = words(fill(step.title, roots))
            closed.append(TaskClosed(step.id, use, event.outcome, title, event.data))
        elif _at(before, step).is_open and not _at(after, step).is_open:
            closed.append(TaskClosed(step.id, use))
    return closed


def _at(state: RunState, step: Step) -> StepState:
    return state.steps.get(step.id, StepState())


def decisions_of(
    run_id: str, playbook: Playbook, choices: Sequence[Choice], facts: Mapping[str, Any], inputs: list[str]
) -> list[Decision]:
    """The decision records of a move: one for each step that looked at facts."""
    decisions = []
    for choice in choices:
        step = playbook.step(choice.step)
        assert step is not None, f"{choice.step} is no step of {playbook.name}"
        decisions.append(
            Decision(
                decision_id=derive_id("decision", run_id, choice.step, choice.use),
                kind=f"playbook.{choice.step}",
                inputs=inputs,
                facts={name: facts.get(name) for name in step.facts},
                policy=f"{playbook.name}@{playbook.version}",
                policy_hash=playbook.hash,
                alternatives=_alternatives(step, choice),
                guardrails=[Guardrail(test.said, test.ok, f"saw {words(test.saw)}") for test in choice.tests],
                outcome=choice.outcome,
                why=_why(choice),
            )
        )
    return decisions


def _alternatives(step: Step, choice: Choice) -> list[Alternative]:
    """The branches in the order they were tried: what did not hold was ruled out."""
    found = []
    for i, branch in enumerate(step.choose):
        tests = choice.branches.get(branch.outcome)
        if tests is None:
            found.append(Alternative(branch.outcome, None, why="an earlier branch held"))
        else:
            failed = [test for test in tests if not test.ok]
            found.append(Alternative(branch.outcome, None if failed else i, why=_told(failed or tests)))
    return found


def _why(choice: Choice) -> str:
    if choice.outcome == SKIPPED:
        return _told([test for test in choice.tests if not test.ok])
    return _told(choice.branches.get(choice.outcome, choice.tests)) or "nothing spoke for another outcome"


def _told(tests: Sequence[Test]) -> str:
    return "; ".join(f"{test.said}: {'yes' if test.ok else 'no'}, it is {words(test.saw)}" for test in tests)


def check_answer(
    step: Step | None, state: RunState, answer: str, values: Mapping[str, Any], roles: frozenset[str]
) -> dict[str, Any]:
    """Return the values of an answer that fits its task, or reject with everything that is wrong."""
    at = state.steps.get(step.id, StepState()) if step is not None else StepState()
    if step is None or step.ask is None or state.ended:
        raise TaskNotOpen(step=step.id if step else "")
    if not at.is_open and not (step.ask.revisable and at.outcome in step.ask.answers):
        raise TaskNotOpen(step=step.id, outcome=at.outcome)
    if step.ask.role not in roles:
        raise TaskNeedsRole(step=step.id, needs=step.ask.role)
    problems = []
    if answer not in step.ask.answers:
        fix = f"one of {', '.join(step.ask.answers)}"
        problems.append(Problem(field="answer", message="is not an answer to this task", fix=fix))
    known = {value.name: value for value in step.ask.values}
    problems += [
        Problem(field=f"values.{name}", message="is not asked for") for name in values.keys() - known
    ]
    told = {}
    for name, value in known.items():
        told[name], wrong = _value(value, values.get(name))
        if wrong:
            problems.append(Problem(field=f"values.{name}", message=wrong))
    if problems:
        raise Invalid(problems=problems)
    return {name: value for name, value in told.items() if value is not None}


def _value(wanted: Value, given: Any) -> tuple[Any, str]:
    """Return a value in its kind, and what is wrong with it. Forms send text, so numbers may come as text."""
    if given is None or given == "":
        return None, "is missing" if wanted.required else ""
    if wanted.kind == "text":
        return (given, "") if isinstance(given, str) else (None, "is not a text")
    try:
        number = number_of(given) if isinstance(given, str) else float(given)
    except (TypeError, ValueError):
        return None, "is not a number"
    low, high = (0, 20_160) if wanted.kind == "minutes" else (-1e12, 1e12)
    if isinstance(given, bool) or not low <= number <= high:
        return None, f"lies between {low:g} and {high:g}"
    return number, ""
