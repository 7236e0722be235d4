"""What pages show of incidents and decisions, worked out once: state, steps, scores, what is next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from coldgrid.kernel.money import Money
from coldgrid.orchestration.approvals import Approval, ApprovalStatus
from coldgrid.orchestration.decisions import Decision, alternatives_of
from coldgrid.orchestration.incidents import Incident, Status
from coldgrid.orchestration.severity import Severity
from coldgrid.orchestration.tasks import Task
from coldgrid.orchestration.timeline import TimelineLine, Tone, told_fact
from coldgrid.webkit import formats

# The kit's state (shape, word, colour) of each severity and of each tone of a line.
SEVERITIES = {
    Severity.EXCURSION_RISK: ("crit", "Excursion risk"),
    Severity.OPERATOR_ACTIONABLE: ("warn", "To be acted on"),
    Severity.INFORMATIONAL: ("info", "Information"),
}
STATUSES = {
    Status.OPEN: "Open",
    Status.MITIGATED: "Mitigated",
    Status.RECOVERED: "Recovered",
    Status.DISPOSITION_PENDING: "Disposition pending",
    Status.CLOSED: "Closed",
}
TONES = {
    Tone.ALARM: "crit",
    Tone.GOODS: "warn",
    Tone.PEOPLE: "off",
    Tone.DECISION: "info",
    Tone.ORDERS: "info",
    Tone.DONE: "ok",
}
# A full bar of time left.
TIME_FULL_MIN = 180.0
TIME_SHORT_MIN = 60.0
CHIPS_MAX = 8


class ShownAlternative(msgspec.Struct, frozen=True, kw_only=True):
    """An alternative as a row. `share`: from the worst score (0) to the best (1), None if ruled out."""

    name: str
    score: str
    share: float | None
    chosen: bool
    facts: list[tuple[str, str]]
    why: str


def shown_alternatives(decision: Decision, unit: str = "c") -> list[ShownAlternative]:
    """The alternatives of a decision as rows, best first; the lowest score is the best."""
    rows = alternatives_of(decision)
    scores = [row.score for row in rows if row.score is not None]
    low, high = min(scores, default=0), max(scores, default=0)
    return [
        ShownAlternative(
            name=row.name,
            score=_score(row.score, decision),
            share=None if row.score is None else 1 - (row.score - low) / (high - low) if high > low else 1.0,
            chosen=row.name == decision.outcome,
            facts=chips(row.facts, unit),
            why=row.why,
        )
        for row in rows
    ]


def _score(score: float | None, decision: Decision) -> str:
    if score is None:
        return "ruled out"
    if decision.score_unit == "cents":
        return formats.money(Money(round(score), str(decision.facts.get("currency") or "USD")))
    if decision.score_unit == "min":
        return formats.duration(score)
    shown = formats.count(score) if float(score).is_integer() else formats.number(score, 2)
    return f"{shown} {decision.score_unit}".strip()


def chips(facts: Mapping[str, Any], unit: str = "c") -> list[tuple[str, str]]:
    """The plain facts among some, as (name, value) for people; what is nested is left to the record."""
    plain = {
        name: value
        for name, value in facts.items()
        if value is not None and not isinstance(value, dict | list) and name != "currency"
    }
    return [(_label(name), told_fact(name, value, facts, unit)) for name, value in plain.items()][:CHIPS_MAX]


def flat_facts(facts: Mapping[str, Any], unit: str = "c") -> list[tuple[str, str]]:
    """Every fact of a decision, nested ones by their path; for its record."""
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            found += [(f"{_label(name)}: {inner}", told) for inner, told in flat_facts(value, unit)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found.append((_label(name), f"{len(value)} entries"))
        else:
            found.append((_label(name), told_fact(name, value, facts, unit) or "–"))
    return found


def _label(name: str) -> str:
    for suffix in ("_c_per_h", "_cents", "_min", "_c", "_at"):
        name = name.removesuffix(suffix)
    return name.replace("_", " ")


def time_left(incident: Incident, now: datetime) -> tuple[float, str, str] | None:
    """The product's time left as (share of a full bar, words, state); None when it is unknown."""
    left_min = incident.time_left_min(now)
    if left_min is None or incident.status is Status.CLOSED:
        return None
    if left_min <= 0:
        return 0.0, "over its limit", "crit"
    state = "crit" if left_min <= TIME_SHORT_MIN else "warn" if left_min <= TIME_FULL_MIN else "ok"
    return min(1.0, left_min / TIME_FULL_MIN), formats.duration(left_min), state


def next_step(incident: Incident, approvals: Sequence[Approval], tasks: Sequence[Task]) -> str:
    """The one thing to do next: a decision, else the task due first, else what the rooms advise."""
    waiting = [one for one in approvals if one.status is ApprovalStatus.WAITING]
    if waiting:
        return waiting[0].subject
    opened = sorted(
        (task for task in tasks if task.answer is None), key=lambda task: (task.due_at is None, task.due_at)
    )
    if opened:
        return opened[0].title
    return incident.picture.next_step or ("" if incident.status is Status.CLOSED else "Watch")


def joined(lines: Sequence[TimelineLine]) -> list[TimelineLine]:
    """Lines in which one call by several channels is one line."""
    found: list[TimelineLine] = []
    for line in lines:
        last = found[-1] if found else None
        if last is None or not _same_call(last, line):
            found.append(line)
            continue
        channel = f"{last.facts['channel']}, {line.facts['channel']}"
        found[-1] = msgspec.structs.replace(last, facts={**last.facts, "channel": channel})
    return found


def _same_call(one: TimelineLine, other: TimelineLine) -> bool:
    same = (one.text, one.at, one.facts.get("person")) == (other.text, other.at, other.facts.get("person"))
    return same and {"person", "channel", "step"} <= other.facts.keys()


class ShownStep(msgspec.Struct, frozen=True):
    """A closing step: passed, present or still to come."""

    name: str
    state: str


def closing_steps(incident: Incident) -> list[ShownStep]:
    """The way to the end, with where the incident stands."""
    order = list(Status)
    at = order.index(incident.status)
    over = incident.status is Status.CLOSED
    states = ["done" if i < at or over else "now" if i == at else "to come" for i in range(len(order))]
    return [ShownStep(STATUSES[status], state) for status, state in zip(order, states, strict=True)]
