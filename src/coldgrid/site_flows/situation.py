"""Situation: what an incident should know of its zone, put together from sensors, goods and money.

Reads only. `alarms`, `watch` and what follows from excursions tell it.

At stake are the exposed units that nobody has decided about, wherever they were brought, and what else stands
in the zone: all of it before anything was exposed, none of it once the exposure is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from coldgrid.catalog.products import get_product
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import TemperatureClass
from coldgrid.network.zones import Zone
from coldgrid.orchestration.incidents import OVER_FOR_NOW, Incident, Status
from coldgrid.orchestration.severity import Goods, Severity, Stage, goods_at, severity_of
from coldgrid.quality.dispositions import undecided_units
from coldgrid.quality.excursions import Excursion, ExposedUnit, excursions_of_incident, exposed_units
from coldgrid.quality.zone_air import sensors_heard
from coldgrid.quality.zone_now import ZoneNow, zone_now
from coldgrid.stock.inventory import units_in_zone
from coldgrid.stock.units import Unit
from coldgrid.telemetry.alarm_rules import STANDING
from coldgrid.telemetry.alarms import open_alarms_of_zone
from coldgrid.telemetry.rules import Stage as Fault

# What people need to come and to act at night: keyholder's drive, doors, first pallets.
RESPONSE_MIN = 60.0
PLAYBOOKS = {
    TemperatureClass.FROZEN: "freezer-excursion",
    TemperatureClass.CHILLED: "chiller-excursion",
    TemperatureClass.AMBIENT: "chiller-excursion",
}
FAULT_PLAYBOOK = "sensor-fault"


class Situation(msgspec.Struct, frozen=True):
    """A zone at an instant, as an incident needs it. `stakes`: what `goods_at_stake` says of its incident."""

    zone: Zone
    now: ZoneNow
    stakes: dict[str, Any]

    @property
    def known(self) -> bool:
        """Whether somebody knows the air now."""
        return self.now.in_range is not None

    def goods(self) -> Goods:
        """How much time the goods have. Never is more than enough, unknown counts as short."""
        left_min = self.now.left_min
        if left_min is None and self.known:
            left_min = float("inf")
        return goods_at(self.now.units, left_min, RESPONSE_MIN)

    def severity(self, stage: Stage) -> Severity:
        """How serious an alarm of this stage is here."""
        return severity_of(stage, self.goods())

    def facts(self) -> dict[str, Any]:
        """The picture under the names that every room uses (`incident_rules.Picture`), and some more."""
        now = self.now
        return {
            **self.stakes,
            "value_c": now.air_c,
            "trend_c_per_h": now.trend_c_per_h,
            "units_here": now.units,
            "limit_at": now.limit_at,
            "limit_c": now.high_c,
            "product_c": max(
                (one.product_c for one in now.products if one.product_c is not None), default=None
            ),
            "temperature_known": self.known,
            "zone_released": False,
        }


def goods_at_stake(db: Reader, zone_id: str, incident_id: str = "") -> dict[str, Any]:
    """What an incident of a zone is about and what that is worth, under the names of `Situation.facts`.

    Args:
        db: Where to read.
        zone_id: The zone.
        incident_id: Its open incident; "" where there is none yet.
    """
    excursions = excursions_of_incident(db, incident_id) if incident_id else []
    exposed = {unit.sscc: unit for one in excursions for unit in undecided_units(db, one.excursion_id)}
    products = {unit.product_id for unit in exposed.values()}
    at_stake_cents = sum(unit.value_cents for unit in exposed.values())
    beside = _beside(db, zone_id, excursions, exposed)
    products |= {unit.product_id for unit in beside}
    known = {product_id: get_product(db, product_id) for product_id in products}
    return {
        "units": len(exposed) + len(beside),
        "products": sorted(known),
        "at_stake_cents": at_stake_cents + sum(one.qty * known[one.product_id].value_cents for one in beside),
        "currency": known[min(known)].currency if known else "USD",
    }


def _beside(
    db: Reader, zone_id: str, excursions: Sequence[Excursion], exposed: Mapping[str, ExposedUnit]
) -> list[Unit]:
    """The units of a zone that are at stake though no excursion names them."""
    going_on = [one for one in excursions if one.closed_at is None]
    if excursions and not going_on:
        return []
    named = {row.numbers.sscc for one in going_on for row in exposed_units(db, one.excursion_id)}
    here = units_in_zone(db, zone_id)
    return [unit for unit in here if unit.qty > 0 and unit.sscc not in named and unit.sscc not in exposed]


def told_of_alarm(why: str, current: Incident | None, *, sensor_id: str = "") -> dict[str, Any]:
    """What an alarm says of an incident: it is the fault only while nobody has said what the fault is."""
    facts = {"alarm": why, "sensor_id": sensor_id}
    if current is None or current.facts.get("fault") in (None, "", current.facts.get("alarm")):
        facts["fault"] = why
    return facts


def wants_first_moves(current: Incident | None) -> bool:
    """Whether an alarm asks for the first moves: not while what people began about the goods goes on."""
    if current is None or current.status in OVER_FOR_NOW:
        return True
    return current.status is not Status.MITIGATED and "rescue" not in current.facts


def bridges(db: Reader, zone: Zone, at: datetime) -> dict[str, list[str]]:
    """The sensors that can be trusted now, with the locations they cover (none named: the whole zone)."""
    faulty = {
        alarm.sensor_id
        for alarm in open_alarms_of_zone(db, zone.zone_id)
        if alarm.stage is Fault.FAULT and alarm.state in STANDING
    }
    heard = sensors_heard(db, zone, at)
    return {sensor_id: covers for sensor_id, covers in heard.items() if sensor_id not in faulty}


def situation(db: Reader, zone: Zone, at: datetime, incident_id: str = "") -> Situation:
    """Look at a zone now, for its incident where it has one."""
    stakes = goods_at_stake(db, zone.zone_id, incident_id)
    return Situation(zone, zone_now(db, zone.zone_id, at), stakes)
