"""Defrost plans: when a zone's coil is warmed on purpose. Master data of the network, one plan for each zone.

Invariants
    D1  A plan explains warm air for a bounded time only: at most `LASTS_MAX_MIN` at a time, `TIMES_MAX` times
        a day, starts at least `APART_MIN` apart. So it cannot keep a zone's alarms quiet for long.
    D2  It is local wall-clock time, in the time zone that the site had when the plan was approved.
    D3  What a plan explains is recorded like what a sensor in the coil says: suppressed by design, by
        defrost, and raised when it still holds afterwards.

A sensor in the coil knows better than a plan; a zone may have both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.rejections import Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network import names
from coldgrid.network.calendars import WEEKDAYS, LocalTime, Weekday
from coldgrid.network.changes import known
from coldgrid.network.items import Batch, FormHelp, register_item
from coldgrid.network.sites import get_site
from coldgrid.telemetry.rules import MINUTE_US
from coldgrid.telemetry.schedules import Schedule

# --- Vocabulary -----------------------------------------------------------------

TIMES_MAX = 8
LASTS_MAX_MIN = 45.0
APART_MIN = 120
DAY_MIN = 1_440


class DefrostPlan(msgspec.Struct, frozen=True, kw_only=True):
    """When a zone defrosts: local times on some weekdays, and how long one takes. An inactive one is over."""

    zone_id: str
    site_id: str
    times: Annotated[list[LocalTime], msgspec.Meta(min_length=1, max_length=TIMES_MAX)]
    days: list[Weekday] = msgspec.field(default_factory=lambda: list(WEEKDAYS))
    lasts_min: Annotated[float, msgspec.Meta(ge=1, le=LASTS_MAX_MIN)] = 30.0
    active: bool = True


# --- Events ---------------------------------------------------------------------


class DefrostPlanned(Event, frozen=True, tag="telemetry.defrost_planned"):
    """A zone's defrosts were planned, or planned otherwise. `timezone`: the site's (D2)."""

    site_id: str
    zone_id: str
    plan: DefrostPlan
    timezone: str


# --- Table and projection -------------------------------------------------------

telemetry_defrost = sa.Table(
    "telemetry_defrost",
    metadata,
    sa.Column("zone_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("plan", Json(DefrostPlan), nullable=False),
    sa.Column("timezone", sa.Text, nullable=False),
    info={"origin": "network"},
)
_PUT = Statement(upsert(telemetry_defrost, keys=["zone_id"], set_=["site_id", "plan", "timezone"]))


@projects(DefrostPlanned)
def _keep_plan(tx: Tx, event: DefrostPlanned) -> None:
    plan = event.plan
    tx.write(_PUT, zone_id=plan.zone_id, site_id=plan.site_id, plan=plan, timezone=event.timezone)


# --- Decisions ------------------------------------------------------------------


def problems_of(plan: DefrostPlan) -> list[Problem]:
    """Return what is wrong with a plan, whatever else exists (D1)."""
    problems = names.ZONE.check("zone_id", plan.zone_id)
    problems += names.below("zone_id", plan.zone_id, "site", plan.site_id)
    if not plan.days:
        problems.append(Problem(field="days", message="names no day", fix="leave it out for every day"))
    return problems + _too_close(plan.times)


def _too_close(times: Sequence[str]) -> list[Problem]:
    """Starts that come so close that one explanation would run into the next (D1)."""
    at_min = sorted(int(time[:2]) * 60 + int(time[3:]) for time in times)
    around = [*at_min, at_min[0] + DAY_MIN] if at_min else []
    close = [(one, other) for one, other in pairwise(around) if other - one < APART_MIN]
    return [
        Problem(
            field="times",
            message=f"{_shown(one)} and {_shown(other)} are less than {APART_MIN} min apart",
            fix="a coil that needs it more often is faulty, or wants a sensor of its own",
        )
        for one, other in close
    ]


def _shown(at_min: int) -> str:
    return f"{at_min % DAY_MIN // 60:02d}:{at_min % 60:02d}"


def schedule_of(plan: DefrostPlan, timezone: str) -> Schedule | None:
    """Return a plan as the rules ask it; None where it is over."""
    if not plan.active:
        return None
    return Schedule(timezone, plan.times, plan.days, round(plan.lasts_min * MINUTE_US))


# --- Items ----------------------------------------------------------------------


def _check(db: Reader, plan: DefrostPlan, batch: Batch) -> list[Problem]:
    problems = problems_of(plan)
    if not known(db, batch, "zone", plan.zone_id):
        problems.append(Problem(field="zone_id", message=f"there is no zone {plan.zone_id!r}"))
    return problems


def _define(tx: Tx, plan: DefrostPlan) -> None:
    timezone = get_site(tx, plan.site_id).timezone
    told = DefrostPlanned(site_id=plan.site_id, zone_id=plan.zone_id, plan=plan, timezone=timezone)
    tx.record(f"defrost/{plan.zone_id}", told)


register_item(
    "defrost",
    DefrostPlan,
    _check,
    _define,
    form_help=FormHelp(hints={"times": 'Local times. Each on a line that begins with -, like - "02:30"'}),
)

# --- Queries --------------------------------------------------------------------

_COLUMNS = sa.select(telemetry_defrost.c.plan, telemetry_defrost.c.timezone)
_ALL = Statement(_COLUMNS.order_by(telemetry_defrost.c.zone_id))
_OF_SITE = Statement(
    sa.select(telemetry_defrost.c.plan)
    .where(telemetry_defrost.c.site_id == sa.bindparam("site_id"))
    .order_by(telemetry_defrost.c.zone_id),
    into=lambda plan: plan,
)

_OF_ZONE = Statement(
    sa.select(telemetry_defrost.c.plan).where(telemetry_defrost.c.zone_id == sa.bindparam("zone_id")),
    into=lambda plan: plan,
)


def plan_of_zone(db: Reader, zone_id: str) -> DefrostPlan | None:
    """Return a zone's plan, the one that is over too; None where there never was one."""
    return db.one(_OF_ZONE, zone_id=zone_id)


def list_schedules(db: Reader) -> list[tuple[DefrostPlan, str]]:
    """Return every plan with its time zone, by zone."""
    return [(plan, timezone) for plan, timezone in db.all(_ALL)]


def plans_of_site(db: Reader, site_id: str) -> list[DefrostPlan]:
    """Return the plans of a site, by zone."""
    return db.all(_OF_SITE, site_id=site_id)
