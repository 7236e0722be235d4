"""Situation: what an incident should know of its zone, put together from sensors, goods and money.

Reads only. `alarms`, `watch` and the playbook facts tell it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from coldgrid.catalog.products import get_product
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import TemperatureClass
from coldgrid.network.zones import Zone
from coldgrid.orchestration.severity import Goods, Severity, Stage, goods_at, severity_of
from coldgrid.quality.zone_air import sensors_heard
from coldgrid.quality.zone_now import ZoneNow, zone_now
from coldgrid.stock.inventory import units_in_zone
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
    """A zone at an instant, as an incident needs it."""

    zone: Zone
    now: ZoneNow

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
            "value_c": now.air_c,
            "trend_c_per_h": now.trend_c_per_h,
            "units": now.units,
            "products": sorted({one.product_id for one in now.products}),
            "at_stake_cents": now.value_cents,
            "currency": now.currency,
            "limit_at": now.limit_at,
            "limit_c": now.high_c,
            "product_c": max(
                (one.product_c for one in now.products if one.product_c is not None), default=None
            ),
            "temperature_known": self.known,
            "zone_released": False,
        }


def goods_at_stake(db: Reader, zone_id: str) -> dict[str, Any]:
    """What stands in a zone and what it is worth, under the names of `Situation.facts`."""
    units = [unit for unit in units_in_zone(db, zone_id) if unit.qty > 0]
    products = {product_id: get_product(db, product_id) for product_id in {unit.product_id for unit in units}}
    return {
        "units": len(units),
        "products": sorted(products),
        "at_stake_cents": sum(unit.qty * products[unit.product_id].value_cents for unit in units),
        "currency": products[min(products)].currency if products else "USD",
    }


def bridges(db: Reader, zone: Zone, at: datetime) -> dict[str, list[str]]:
    """The sensors that can be trusted now, with the locations they cover (none named: the whole zone)."""
    faulty = {
        alarm.sensor_id
        for alarm in open_alarms_of_zone(db, zone.zone_id)
        if alarm.stage is Fault.FAULT and alarm.state in STANDING
    }
    heard = sensors_heard(db, zone, at)
    return {sensor_id: covers for sensor_id, covers in heard.items() if sensor_id not in faulty}


def situation(db: Reader, zone: Zone, at: datetime) -> Situation:
    """Look at a zone now."""
    return Situation(zone, zone_now(db, zone.zone_id, at))
