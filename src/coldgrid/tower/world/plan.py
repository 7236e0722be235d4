"""Plans: what a scenario or the demo lets happen, as a YAML file that is checked whole before it runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import convert_all
from coldgrid.tower.world.faults import Fault

Minutes = Annotated[float, msgspec.Meta(ge=0)]


class Acknowledge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whoever is paged at a step of the escalation (0: the owner, 1: the backup …) takes it after a while.

    Steps that are not listed stay unanswered.
    """

    step: int
    after_min: Minutes


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody of the task's role answers a playbook's task, `after_min` minutes after it was asked."""

    step: str
    answer: str
    after_min: Minutes
    person_id: str
    values: dict[str, Any] = {}


class Approve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody decides the approvals that wait for a role. `choice` empty: the recommended option."""

    role: str
    person_id: str
    after_min: Minutes
    choice: str = ""
    reason: str = "read the decision and its alternatives"
    override: bool = False


class Sign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Quality signs dispositions, one unit a minute, from `after_min` after the excursion was opened on.

    A unit that stayed within its limits is released; the others are destroyed before the witness, after
    the insurer waived an inspection. What is still exposed is looked at again later.
    """

    person_id: str
    witness_id: str
    after_min: Minutes


class Repair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A technician repairs a zone's plant at a minute of the plan."""

    zone_id: str
    at_min: Minutes


class Expect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the report of a played plan must say, by its field names. `never`: nought, or did not happen."""

    at_least: dict[str, float] = {}
    at_most: dict[str, float] = {}
    never: list[str] = []


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan. Minutes count from `starts_at`; `minutes` is how long it runs.

    `warm_up_min` of readings come before the start, so that rules and charts have a past.
    `sites`: the demo's sites that take part, all of them when empty.
    """

    name: str
    title: str
    seed: int
    starts_at: datetime
    minutes: Annotated[int, msgspec.Meta(ge=1, le=10_080)]
    warm_up_min: Annotated[int, msgspec.Meta(ge=0, le=1_440)] = 120
    reading_every_s: Annotated[int, msgspec.Meta(ge=10, le=3_600)] = 60
    sites: list[str] = []
    orders_per_hour: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 30
    ship_after_min: Minutes = 25
    pallets_per_zone: Annotated[int, msgspec.Meta(ge=0, le=500)] = 8
    faults: list[Fault] = []
    acknowledge: list[Acknowledge] = []
    answers: list[Answer] = []
    approve: list[Approve] = []
    sign: Sign | None = None
    repair: list[Repair] = []
    expect: Expect = Expect()


def load_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises:
        Invalid: every problem, with the file and, for YAML that cannot be read, the line.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise Invalid([Problem(field="file", message=f"there is no {path}", fix="see scenarios/")]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise Invalid([Problem(field=str(path), message=str(error).splitlines()[0], line=line)]) from None
    return convert_all(raw, Plan)
