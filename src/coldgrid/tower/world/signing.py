"""Signing: how a plan's quality manager decides what becomes of exposed goods, one unit at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.decider import Call
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.quality.disposition_rules import SignDisposition
from coldgrid.quality.dispositions import undecided_units
from coldgrid.quality.excursion_book import list_excursions
from coldgrid.quality.excursion_rules import Excursion
from coldgrid.quality.exposed import ExposedUnit
from coldgrid.quality.exposure import Verdict
from coldgrid.stock.hold_facts import Disposition as Outcome
from coldgrid.tower.world.plan import Plan, Sign

A_MINUTE = timedelta(minutes=1)


def signatures(db: Reader, plan: Plan, now: datetime) -> Iterator[Call]:
    """Yield the next signature of each excursion that has waited as long as quality takes to come."""
    habit = plan.sign
    if habit is None:
        return
    for excursion in list_excursions(db):
        since = excursion.opened_at + timedelta(minutes=habit.after_min)
        if since > now:
            continue
        waiting = undecided_units(db, excursion.excursion_id)
        if waiting:
            # A unit that may not be decided yet must not keep the others waiting: the turn goes round.
            turn = int((now - since) / A_MINUTE) % len(waiting)
            yield _sign(habit, excursion, waiting[turn], now)


def _sign(habit: Sign, excursion: Excursion, unit: ExposedUnit, now: datetime) -> Call:
    sound = unit.verdict is Verdict.WITHIN_LIMITS
    peak = "unknown" if unit.peak_c is None else f"{unit.peak_c:.1f} °C"
    command = SignDisposition(
        site_id=excursion.site_id,
        disposition_id=derive_id("disposition", excursion.excursion_id, unit.sscc),
        excursion_id=excursion.excursion_id,
        sscc=unit.sscc,
        outcome=Outcome.RELEASE if sound else Outcome.DESTROY,
        reason=f"{unit.why}; peak {peak}",
        witness="" if sound else habit.witness_id,
        inspection="" if sound else "waived by the insurer by telephone",
    )
    return Call(command, Principal(habit.person_id, frozenset({"quality"})), f"{unit.sscc}-{now:%m%dT%H%M}")
