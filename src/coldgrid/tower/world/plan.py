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
    """A person answers pages `after_min` minutes after being paged. Who is not listed never answers."""

    person_id: str
    after_min: Minutes


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody with a role answers a playbook's task."""

    step: str
    answer: str
    after_min: Minutes
    person_id: str
    role: str
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
    """Quality signs dispositions, one unit at a time, from `after_min` after the excursion ended.

    Units whose product stayed under `release_below_c` are released, the others destroyed.
    """

    person_id: str
    witness_id: str
    after_min: Minutes
    release_below_c: float


class Repair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A technician repairs a zone's plant at a minute of the plan."""

    zone_id: str
    at_min: Minutes


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A supervisor lifts the pauses of a recovered zone, `after_min` after its units are decided."""

    person_id: str
    role: str = "quality"
    after_min: Minutes


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
    release: Release | None = None


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
