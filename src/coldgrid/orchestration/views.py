"""What pages show of incidents and decisions, worked out once: state, steps, scores, what is next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from coldgrid.kernel.money import Money
from coldgrid.orchestration.approvals import Approval, ApprovalStatus
from coldgrid.orchestration.decisions import Decision, alternatives_of
from coldgrid.orchestration.incidents import OVER_FOR_NOW, Incident, Status
from coldgrid.orchestration.page_book import Page
from coldgrid.orchestration.tasks import Task
from coldgrid.orchestration.timeline import TimelineLine, Tone, told_fact
from coldgrid.webkit import formats

STATUSES = {
    Status.OPEN: "Open",
    Status.MITIGATED: "Mitigated",
    Status.RECOVERED: "Recovered",
    Status.DISPOSITION_PENDING: "Disposition pending",
    Status.CLOSED: "Closed",
}
# The kit's state (shape, word, colour) of each tone of a line.
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
# Alternatives that are shown at once; the others can be opened.
BEST_SHOWN = 5
# So many routine lines after each other are one moment.
FOLD_FROM = 3
# Facts that repeat an alternative's name.
_SAID_BY_NAME = frozenset({"moves", "to_site_id", "to_zone_id", "site_id", "currency"})


class ShownAlternative(msgspec.Struct, frozen=True, kw_only=True):
    """An alternative as a row. `share`: from the worst score (0) to the best (1), None if ruled out.

    `folded`: neither among the best nor chosen, so it is shown when somebody asks for it.
    """

    name: str
    score: str
    share: float | None
    chosen: bool
    facts: list[tuple[str, str]]
    why: str
    folded: bool


def shown_alternatives(decision: Decision, unit: str = "c") -> list[ShownAlternative]:
    """The alternatives of a decision as rows, best first; the lowest score is the best."""
    rows = alternatives_of(decision)
    scores = [row.score for row in rows if row.score is not None]
    low, high = min(scores, default=0), max(scores, default=0)
    return [
        ShownAlternative(
            name=row.name,
            # What was chosen without a score was chosen by a rule, and not ruled out.
            score="—" if row.score is None and row.name == decision.outcome else _score(row.score, decision),
            share=None if row.score is None else 1 - (row.score - low) / (high - low) if high > low else 1.0,
            chosen=row.name == decision.outcome,
            facts=chips({k: v for k, v in row.facts.items() if k not in _SAID_BY_NAME}, unit)
            or chips(row.facts, unit),
            why=row.why,
            folded=len(rows) > BEST_SHOWN + 1
            and row.name != decision.outcome
            and (row.score is None or place >= BEST_SHOWN),
        )
        for place, row in enumerate(rows)
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


def flat_facts(facts: Mapping[str, Any], unit: str = "c", timezone: str = "UTC") -> list[tuple[str, str]]:
    """Every fact of a decision, nested ones by their path; for its record. `timezone`: of its instants."""
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            found += [(f"{_label(name)}: {inner}", told) for inner, told in flat_facts(value, unit, timezone)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found.append((_label(name), f"{len(value)} entries"))
        else:
            found.append((_label(name), told_fact(name, value, facts, unit, timezone) or "—"))
    return found


# What a fact's name, cut of its unit, does not say by itself.
_LABELS = {
    "zone_id": "zone",
    "site_id": "site",
    "moves": "goods move",
    "crosses": "limit crossed in",
    "recovered": "cold again in",
    "repair": "repair in",
    "repair_eta": "repair in",
    "pallets_per_h": "pallets an hour",
    "people_ready": "people there in",
    "dock": "air at the dock",
    "load": "loading takes",
    "pull_down": "cooling down takes",
    "truck_ready": "truck there in",
    "trailer_ready": "trailer there in",
    "dry_ice_ready": "dry ice there in",
    "move_cents_per_pallet": "a pallet moved costs",
    "dry_ice_cents_per_pallet": "dry ice for a pallet costs",
}


def _label(name: str) -> str:
    for suffix in ("_c_per_h", "_cents", "_min", "_c", "_at"):
        name = name.removesuffix(suffix)
    return _LABELS.get(name) or name.replace("_", " ")


def time_left(incident: Incident, now: datetime) -> tuple[float, str, str] | None:
    """The product's time left as (share of a full bar, words, state); None when it is unknown."""
    left_min = incident.time_left_min(now)
    if left_min is None or incident.status is Status.CLOSED:
        return None
    if left_min <= 0:
        return 0.0, "over its limit", "crit"
    state = "crit" if left_min <= TIME_SHORT_MIN else "warn" if left_min <= TIME_FULL_MIN else "ok"
    return min(1.0, left_min / TIME_FULL_MIN), formats.duration(left_min), state


class ShownRepair(msgspec.Struct, frozen=True):
    """What is true of the repair: `label` says what `at` is; `expected_at` only where it is over."""

    label: str
    at: datetime | None
    expected_at: datetime | None = None


def repair(incident: Incident, recovered_at: datetime | None, now: datetime) -> ShownRepair:
    """Tell when the repair is expected, or was; after the recovery, when the zone was cold again."""
    expected_at = incident.picture.repair_at
    if incident.status in OVER_FOR_NOW or incident.status is Status.CLOSED:
        return ShownRepair("Recovered", recovered_at or incident.closed_at, expected_at)
    late = expected_at is not None and expected_at < now
    return ShownRepair("Repair was expected" if late else "Repair expected", expected_at)


def next_step(incident: Incident, approvals: Sequence[Approval], tasks: Sequence[Task]) -> str:
    """The one thing to do next: a decision, else the task due first, quality's, else what rooms advise."""
    waiting = [one for one in approvals if one.status is ApprovalStatus.WAITING]
    if waiting:
        return waiting[0].subject
    opened = sorted(
        (task for task in tasks if task.answer is None), key=lambda task: (task.due_at is None, task.due_at)
    )
    if opened:
        return opened[0].title
    undecided = incident.picture.undecided_units
    if incident.status in OVER_FOR_NOW:
        # What the rooms advised belongs to the first minutes: the zone is cold again.
        many = "s" if undecided and undecided > 1 else ""
        return f"Decide what becomes of {undecided} unit{many}" if undecided else "Watch"
    return incident.picture.next_step or ("" if incident.status is Status.CLOSED else "Watch")


def joined(lines: Sequence[TimelineLine]) -> list[TimelineLine]:
    """Lines in which one call by several channels is one line, and so is what several sensors saw at once."""
    found: list[TimelineLine] = []
    for line in lines:
        place = _said_before(found, line)
        if place is None:
            found.append(line)
            continue
        last, name = found[place], "channel" if "channel" in line.facts else "sensor"
        told = f"{last.facts[name]}, {line.facts[name]}"
        found[place] = msgspec.structs.replace(last, facts={**last.facts, name: told})
    return found


def _said_before(found: Sequence[TimelineLine], line: TimelineLine) -> int | None:
    """The place of the line that says the same; a call is joined only to the one right before it."""
    if "sensor" in line.facts:
        for place in range(len(found) - 1, -1, -1):
            if found[place].at != line.at:
                return None
            if _same_alarm(found[place], line):
                return place
    return len(found) - 1 if found and _same_call(found[-1], line) else None


def _same_alarm(one: TimelineLine, other: TimelineLine) -> bool:
    return (one.text, one.facts.get("fault")) == (other.text, other.facts.get("fault"))


def _same_call(one: TimelineLine, other: TimelineLine) -> bool:
    same = (one.text, one.at, one.facts.get("person")) == (other.text, other.at, other.facts.get("person"))
    return same and {"person", "channel", "step"} <= other.facts.keys()


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A line as the page shows it; `inner`: the routine lines that it stands for, newest first.

    `named`: the text names its actor already.
    """

    at: datetime
    text: str
    tone: str
    actor: str
    named: bool = False
    person: str = ""
    routine: bool = False
    inner: list[Moment] = []


def folded(moments: Sequence[Moment]) -> list[Moment]:
    """Let each run of routine moments be one that says who was paged and how much was delivered."""
    found: list[Moment] = []
    for routine, group in groupby(moments, key=lambda one: one.routine):
        run = list(group)
        if not routine or len(run) < FOLD_FROM:
            found += run
            continue
        people = list(dict.fromkeys(one.person for one in reversed(run) if one.person))
        delivered = sum(not one.person for one in run)
        said = [f"{', '.join(people)} paged" if people else "", _delivered(delivered)]
        text = "; ".join(part for part in said if part)
        found.append(Moment(at=run[0].at, text=text, tone=run[0].tone, actor="system", inner=run))
    return found


def _delivered(count: int) -> str:
    return "" if not count else "1 message delivered" if count == 1 else f"{count} messages delivered"


class PagedPerson(msgspec.Struct, frozen=True, kw_only=True):
    """A person who was paged: how often, by what, and the answer. `takes_it` None: none yet."""

    person_id: str
    step: int
    times: int
    channels: list[str]
    last_at: datetime
    takes_it: bool | None
    answered_at: datetime | None


def paged_people(pages: Sequence[Page]) -> list[PagedPerson]:
    """Everybody who was paged, in the order of the steps; one who answered shows that answer."""
    by_person: dict[str, list[Page]] = {}
    for one in sorted(pages, key=lambda one: (one.step, one.sent_at)):
        by_person.setdefault(one.person_id, []).append(one)
    found = []
    for person_id, sent in by_person.items():
        answered = max(
            (one for one in sent if one.answered_at),
            key=lambda one: one.answered_at or one.sent_at,
            default=None,
        )
        found.append(
            PagedPerson(
                person_id=person_id,
                step=sent[0].step,
                times=len({one.sent_at for one in sent}),
                channels=list(dict.fromkeys(one.channel.value for one in sent)),
                last_at=max(one.sent_at for one in sent),
                takes_it=answered.takes_it if answered else None,
                answered_at=answered.answered_at if answered else None,
            )
        )
    return found


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
