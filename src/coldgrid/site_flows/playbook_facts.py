"""Facts that playbooks look at, as the rooms of a site know them; None is unknown."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import get_zone
from coldgrid.orchestration.decisions import Decision
from coldgrid.orchestration.incidents import get_incident
from coldgrid.orchestration.playbooks import register_fact
from coldgrid.orchestration.runs import Run
from coldgrid.quality.dispositions import undecided_units_of_incident
from coldgrid.quality.zone_now import zone_now
from coldgrid.site_flows.rescue import advise
from coldgrid.site_flows.situation import bridges
from coldgrid.stock.inventory import units_in_zone


def _at(db: Reader, run: Run) -> datetime:
    """The instant that a fact is asked for: the step's own, or where there is none the run's last."""
    return db.now if isinstance(db, Tx) else run.moved_at


def goods(db: Reader, run: Run) -> dict[str, Any]:
    """What stands in the zone: units, products, value, the tightest warm limit and the time left."""
    seen = zone_now(db, run.zone_id, _at(db, run))
    return {
        "units": seen.units,
        "products": sorted({one.product_id for one in seen.products}),
        "at_stake_cents": seen.value_cents,
        "currency": seen.currency,
        "high_c": seen.high_c,
        "limit_at": seen.limit_at,
        "time_left_min": _whole(seen.left_min),
    }


def zone_state(db: Reader, run: Run) -> dict[str, Any]:
    """The zone's air: whether it is in its band (None: nobody knows), its value and trend."""
    seen = zone_now(db, run.zone_id, _at(db, run))
    return {
        "in_range": seen.in_range,
        "air_c": seen.air_c,
        "trend_c_per_h": seen.trend_c_per_h,
        "high_c": seen.band_high_c,
        "goods_crossed": seen.crossed,
    }


def weighed(db: Reader, run: Run) -> Decision | None:
    """Stay or move, as a decision for its approver."""
    return advise(db, get_incident(db, run.incident_id), _at(db, run))


def cold_space(db: Reader, run: Run) -> list[dict[str, Any]] | None:
    """The places that goods could be brought to, best first, those that were ruled out last."""
    decision = weighed(db, run)
    if decision is None or not isinstance(decision.alternatives, list):
        return None
    return [
        {"name": one.name, "score_cents": one.score, "why": one.why, **one.facts}
        for one in decision.alternatives
        if "to_zone_id" in one.facts
    ]


def undecided(db: Reader, run: Run) -> dict[str, int]:
    """The units that quality still has to decide about."""
    return {"units": len(undecided_units_of_incident(db, run.incident_id))}


def grace(db: Reader, run: Run) -> dict[str, float]:
    """How long silence may last before somebody has to measure, minutes."""
    return {"min": zone_now(db, run.zone_id, _at(db, run)).grace_min}


def bridge(db: Reader, run: Run) -> dict[str, Any]:
    """Whether sensors that speak cover every location with goods, and which they are."""
    heard = bridges(db, get_zone(db, run.zone_id), _at(db, run))
    whole_zone = any(not covers for covers in heard.values())
    seen = {location_id for covers in heard.values() for location_id in covers}
    places = {unit.location_id for unit in units_in_zone(db, run.zone_id) if unit.qty > 0}
    covered = bool(heard) and (whole_zone or places <= seen)
    return {"covered": covered, "by": ", ".join(sorted(heard))}


def time_left_min(db: Reader, run: Run) -> float | None:
    """Minutes until the first product crosses its limit."""
    return _whole(zone_now(db, run.zone_id, _at(db, run)).left_min)


def repair_eta(db: Reader, run: Run) -> datetime | None:
    """When the technician expects the asset to cool again."""
    return get_incident(db, run.incident_id).picture.repair_at


def _whole(minutes: float | None) -> float | None:
    return None if minutes is None else round(minutes)


for _name, _fetch in (
    ("goods", goods),
    ("zone_now", zone_state),
    ("stay_or_move", weighed),
    ("cold_space", cold_space),
    ("undecided", undecided),
    ("grace", grace),
    ("bridge", bridge),
    ("time_left_min", time_left_min),
    ("repair_eta", repair_eta),
):
    register_fact(_name, _fetch)
