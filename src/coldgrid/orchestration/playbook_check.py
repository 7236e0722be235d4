"""References within one playbook file: a step speaks only of what the file declares."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from coldgrid.kernel.rejections import Problem
from coldgrid.orchestration.playbook_model import (
    FAILED,
    LATE,
    PLACE,
    ROOTS,
    RUN_VALUES,
    SKIPPED,
    WORD,
    Approve,
    Ask,
    Branch,
    Condition,
    Head,
    Step,
)

TIMES_MAX = 20


def check_head(head: Head) -> list[Problem]:
    """Name, version and that there is a step."""
    problems = []
    if not re.fullmatch(r"[a-z][a-z0-9-]*", head.name):
        problems.append(
            Problem(field="name", message="is not a playbook name", fix="lower case, digits and hyphens")
        )
    if head.version < 1:
        problems.append(Problem(field="version", message="counts from 1"))
    if not head.steps:
        problems.append(Problem(field="steps", message="has no step"))
    return problems


class References:
    """References within one file (F3). Steps that did not decode still count as declared."""

    def __init__(self, head: Head, ids: list[str], steps: dict[str, Step]) -> None:
        self.head = head
        self.ids = ids
        self.steps = steps

    def problems(self, steps: list[tuple[int, Step]]) -> list[Problem]:
        """Everything wrong with these steps; `steps` holds each with its place in the file."""
        found = [problem for i, step in steps for problem in self._of_step(f"steps[{i}]", step)]
        if len(steps) == len(self.ids):
            reached = self._reachable()
            found += [
                Problem(field=f"steps[{i}].when", message=f"{step.id} can never start")
                for i, step in steps
                if step.id not in reached
            ]
        return found

    def _of_step(self, at: str, step: Step) -> list[Problem]:
        found = []
        if not WORD.fullmatch(step.id) or step.id == "start":
            found.append(
                Problem(field=f"{at}.id", message="is not a step name", fix="lower case, digits and _")
            )
        if self.ids.count(step.id) > 1:
            found.append(Problem(field=f"{at}.id", message=f"{step.id} is the name of two steps"))
        if not 1 <= step.times <= TIMES_MAX:
            found.append(Problem(field=f"{at}.times", message=f"lies between 1 and {TIMES_MAX}"))
        waits = ("ask", "approve", "await", "wait_min", "choose")
        told = [step.ask, step.approve, step.wait_for, step.wait_min is not None, step.choose]
        kinds = [name for name, value in zip(waits, told, strict=True) if value]
        if len(kinds) > 1:
            found.append(
                Problem(field=f"{at}.{kinds[1]}", message=f"a step with {kinds[0]} has no {kinds[1]}")
            )
        if step.within_min is not None and not set(kinds) & {"ask", "approve", "await"}:
            found.append(Problem(field=f"{at}.within_min", message="this step waits for nobody"))
        for name in ("when", "needs", "unless"):
            for i, token in enumerate(getattr(step, name)):
                found += self._token(f"{at}.{name}[{i}]", token)
        return found + self._of_parts(at, step)

    def _of_parts(self, at: str, step: Step) -> list[Problem]:
        found = self._conditions(f"{at}.if", step.conditions, step)
        found += self._texts(f"{at}.title", step.title, step)
        found += [p for i, branch in enumerate(step.choose) for p in self._of_branch(at, i, branch, step)]
        for i, action in enumerate(step.do):
            found += self._texts(f"{at}.do[{i}].with", action.args, step)
        for name in ("within_min", "wait_min"):
            found += self._number(f"{at}.{name}", getattr(step, name), step)
        if step.ask is not None:
            found += self._of_ask(f"{at}.ask", step.ask, step.title)
        if step.approve is not None:
            found += self._of_approve(f"{at}.approve", step.approve, step)
        return found

    def _of_branch(self, at: str, i: int, branch: Branch, step: Step) -> list[Problem]:
        at, last = f"{at}.choose[{i}]", i == len(step.choose) - 1
        found = self._conditions(f"{at}.if", branch.conditions, step)
        if not WORD.fullmatch(branch.outcome) or branch.outcome == SKIPPED:
            found.append(Problem(field=f"{at}.outcome", message=f"{branch.outcome!r} cannot be an outcome"))
        if bool(branch.conditions) == last:
            found.append(Problem(field=at, message="the last branch, and only it, has no `if`"))
        return found

    def _of_approve(self, at: str, approve: Approve, step: Step) -> list[Problem]:
        found = self._texts(f"{at}.subject", approve.subject, step)
        found += self._number(f"{at}.expires_min", approve.expires_min, step)
        if approve.decision not in step.facts:
            found.append(Problem(field=f"{at}.decision", message="is not among the step's facts"))
        return found

    def _of_ask(self, at: str, ask: Ask, title: str) -> list[Problem]:
        found = []
        for i, answer in enumerate(ask.answers):
            if not WORD.fullmatch(answer) or answer in {LATE, SKIPPED, FAILED}:
                found.append(Problem(field=f"{at}.answers[{i}]", message=f"{answer!r} cannot be an answer"))
        if "{fact." in title:
            message = "a task's title speaks of no facts: they may be others when it is answered"
            found.append(Problem(field=at.replace(".ask", ".title"), message=message))
        if not ask.answers:
            found.append(Problem(field=f"{at}.answers", message="a task has at least one answer"))
        for i, value in enumerate(ask.values):
            if value.kind not in {"text", "number", "minutes"}:
                found.append(
                    Problem(
                        field=f"{at}.values[{i}].kind", message="is unknown", fix="text, number or minutes"
                    )
                )
            if not WORD.fullmatch(value.name):
                found.append(Problem(field=f"{at}.values[{i}].name", message="is not a word"))
        return found

    def _token(self, at: str, token: str) -> list[Problem]:
        if token == "start" or re.fullmatch(r"signal:[a-z][a-z0-9_]*", token):
            return []
        step_id, _, outcome = token.partition(".")
        if step_id not in self.ids:
            return [Problem(field=at, message=f"no step is called {step_id}")]
        step = self.steps.get(step_id)
        if outcome and step is not None and outcome not in step.outcomes:
            known = ", ".join(step.outcomes)
            return [Problem(field=at, message=f"{step_id} never ends {outcome}", fix=f"one of {known}")]
        return []

    def _conditions(self, at: str, conditions: list[Condition], step: Step) -> list[Problem]:
        found = []
        for i, condition in enumerate(conditions):
            found += self._path(f"{at}[{i}].value", condition.value, step)
            told = [value for value in msgspec.structs.astuple(condition)[1:] if value is not msgspec.UNSET]
            if len(told) != 1:
                found.append(Problem(field=f"{at}[{i}]", message="a condition has exactly one comparison"))
            for name in ("at_least", "at_most"):
                found += self._number(f"{at}[{i}].{name}", getattr(condition, name), step)
        return found

    def _number(self, at: str, value: Any, step: Step) -> list[Problem]:
        if isinstance(value, list):
            return [p for i, one in enumerate(value) for p in self._number(f"{at}[{i}]", one, step)]
        if not isinstance(value, str):
            return []
        if not PLACE.fullmatch(value):
            return [Problem(field=at, message="is neither a number nor one {path}")]
        return self._path(at, value[1:-1], step)

    def _texts(self, at: str, value: Any, step: Step) -> list[Problem]:
        if isinstance(value, dict):
            return [p for name, inner in value.items() for p in self._texts(f"{at}.{name}", inner, step)]
        if isinstance(value, list):
            return [p for i, inner in enumerate(value) for p in self._texts(f"{at}[{i}]", inner, step)]
        if isinstance(value, str):
            return [p for path in PLACE.findall(value) for p in self._path(at, path, step)]
        return []

    def _path(self, at: str, path: str, step: Step) -> list[Problem]:
        root, _, rest = path.partition(".")
        name = rest.partition(".")[0]
        known: dict[str, Any] = {
            "fact": step.facts,
            "policy": self.head.policy,
            "answer": self.ids,
            "run": RUN_VALUES,
        }
        if root not in ROOTS or not name:
            return [Problem(field=at, message=f"{path} is not a path", fix=f"start with {', '.join(ROOTS)}")]
        if root in known and name not in known[root]:
            return [Problem(field=at, message=f"{root} {name} is not declared", fix=self._fix(root, name))]
        return []

    @staticmethod
    def _fix(root: str, name: str) -> str:
        fixes = {"fact": f"add {name} to the step's facts", "policy": f"add {name} to policy"}
        return fixes.get(root, f"one of {', '.join(RUN_VALUES)}" if root == "run" else "name a step")

    def _reachable(self) -> set[str]:
        """Steps that some history can start: a chain of `when` from the start or a signal."""
        reached: set[str] = set()
        while True:
            more = {
                step.id
                for step in self.steps.values()
                if any(
                    token == "start" or token.startswith("signal:") or token.partition(".")[0] in reached
                    for token in step.when
                )
            }
            if more <= reached:
                return reached
            reached |= more
