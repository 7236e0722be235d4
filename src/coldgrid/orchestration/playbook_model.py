"""Playbook files: what a response looks like as data, read from YAML with every mistake named at once.

Invariants
    F1  A playbook is known by the SHA-256 of its bytes; a run keeps that hash and those bytes.
    F2  A file with one mistake is not used at all; all its mistakes are listed with their lines.
    F3  A step refers only to steps, outcomes, facts and numbers that the file declares.

A step starts when one thing in `when` has happened, all of `needs` and none of `unless`, and all of `if`
hold. What can happen: `start`, `STEP` (it ended), `STEP.OUTCOME`, `signal:NAME` (another room tells). It then
runs its actions (`do`) and either ends at once or waits: for a person (`ask`), an approval (`approve`), a
signal (`await`) or some minutes (`wait_min`); or it picks an outcome from facts (`choose`). Values are named
by paths: `fact.NAME…`, `policy.NAME`, `answer.STEP.NAME`, `signal.NAME…`, `run.NAME`.
docs/playbooks.md explains it with examples.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

WORD = re.compile(r"[a-z][a-z0-9_]*")
PLACE = re.compile(r"\{([a-z_][\w.]*)\}")
ROOTS = ("fact", "policy", "answer", "signal", "run")
RUN_VALUES = ("run_id", "site_id", "zone_id", "asset_id", "incident_id", "severity", "title", "cause_id")

# Outcomes that the engine itself gives.
DONE, FAILED, LATE, SKIPPED = "done", "failed", "late", "skipped"
AGREED, OVERRIDDEN, LAPSED = "agreed", "overridden", "lapsed"

Scalar = str | int | float | bool | None
# Minutes: a number, a path, or several of which the first that is known counts.
Minutes = float | str | list[float | str]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a playbook file; a misspelled field is an error."""


class Condition(_Part, frozen=True):
    """One comparison of the value at a path. An unknown value satisfies nothing but `known: false`."""

    value: str
    equals: Scalar | msgspec.UnsetType = msgspec.UNSET
    differs: Scalar | msgspec.UnsetType = msgspec.UNSET
    any_of: list[Scalar] | msgspec.UnsetType = msgspec.UNSET
    at_least: float | str | msgspec.UnsetType = msgspec.UNSET
    at_most: float | str | msgspec.UnsetType = msgspec.UNSET
    known: bool | msgspec.UnsetType = msgspec.UNSET


class Action(_Part, frozen=True, rename={"args": "with"}):
    """A registered action with its arguments; `{path}` in a text is filled in when the step starts."""

    action: str
    args: dict[str, Any] = {}


class Value(_Part, frozen=True):
    """Something that a person's answer brings along."""

    name: str
    kind: str = "text"
    label: str = ""
    required: bool = False


class Ask(_Part, frozen=True):
    """A task for a person of a role. With `revisable` a later answer replaces the first."""

    role: str
    answers: list[str] = msgspec.field(default_factory=lambda: [DONE])
    values: list[Value] = []
    revisable: bool = False


class Approve(_Part, frozen=True):
    """A decision that waits for a person of a role. `decision` names the fact that holds it."""

    role: str
    subject: str
    decision: str
    expires_min: Minutes = 60.0


class Branch(_Part, frozen=True, rename={"conditions": "if"}):
    """One outcome of a choice and what must hold for it; the last branch has no conditions."""

    outcome: str
    conditions: list[Condition] = []


class Step(_Part, frozen=True, rename={"conditions": "if", "wait_for": "await"}):
    """One step. `within_min` limits the waiting; then the step is `late`, and still open."""

    id: str
    title: str
    when: list[str] = msgspec.field(default_factory=lambda: ["start"])
    needs: list[str] = []
    unless: list[str] = []
    times: int = 1
    facts: list[str] = []
    conditions: list[Condition] = []
    do: list[Action] = []
    ask: Ask | None = None
    approve: Approve | None = None
    wait_for: list[str] = []
    wait_min: Minutes | None = None
    choose: list[Branch] = []
    within_min: Minutes | None = None
    end: str = ""

    @property
    def outcomes(self) -> tuple[str, ...]:
        """How the step can end, in the file's words and the engine's."""
        if self.ask is not None:
            return (*self.ask.answers, LATE, SKIPPED, FAILED)
        if self.approve is not None:
            return (AGREED, OVERRIDDEN, LAPSED, LATE, SKIPPED, FAILED)
        if self.wait_for:
            return (*self.wait_for, LATE, SKIPPED, FAILED)
        if self.choose:
            return (*(branch.outcome for branch in self.choose), SKIPPED)
        return (DONE, SKIPPED, FAILED)


class Playbook(_Part, frozen=True):
    """A whole playbook. `policy`: numbers and names that a site may set otherwise when a run starts.

    `signals`: those that some step speaks of; the others do not concern its runs.
    """

    name: str
    version: int
    title: str
    steps: list[Step]
    policy: dict[str, Scalar | list[str]] = {}
    hash: str = ""
    signals: list[str] = []

    def step(self, step_id: str) -> Step | None:
        """One step by its id; None where a newer version no longer has it."""
        return next((step for step in self.steps if step.id == step_id), None)


class Head(_Part, frozen=True):
    """The file before its steps are looked at one by one."""

    name: str
    version: int
    title: str
    steps: list[dict[str, Any]]
    policy: dict[str, Scalar | list[str]] = {}
