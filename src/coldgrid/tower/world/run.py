"""A running world: at every step it lets readings, orders, shipments and people happen, in that order.

The world only gives commands and reads tables, like anybody outside. A scenario steps it in virtual
time, the demo on its scaled clock; both give the same commands at the same business instants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from itertools import groupby
from random import Random

import numpy as np
import structlog

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.decider import Call, Outcome
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.tables import to_micros
from coldgrid.telemetry.ingest import IngestReadings
from coldgrid.telemetry.sensors import Sensor
from coldgrid.tower.world.climate import Climate, Sample
from coldgrid.tower.world.goods import opening_stock
from coldgrid.tower.world.people import acts
from coldgrid.tower.world.places import Places
from coldgrid.tower.world.plan import Plan
from coldgrid.tower.world.trade import Trade

SHIP_RETRY = timedelta(minutes=10)
WARM_UP_BATCH = timedelta(minutes=30)
DEVICE = Principal("gateway", frozenset({"integrator"}))
SHOP = Principal("web-shop", frozenset({"integrator"}))
STAFF = Principal("floor", frozenset({"operator"}))
logger = structlog.get_logger("coldgrid.world")

Execute = Callable[[Sequence[Call]], Sequence[Outcome]]


class World:
    """One plan under way.

    Args:
        plan: What happens.
        places: Where.
        execute: Carries a group of commands out and returns their outcomes.
        reader: Lends a reader of committed facts.
    """

    def __init__(
        self,
        plan: Plan,
        places: Places,
        execute: Execute,
        reader: Callable[[], AbstractContextManager[Reader]],
    ) -> None:
        self.plan = plan
        self.places = places
        self.climate = Climate(places.zones, places.sensors, plan.faults)
        self.trade = Trade(
            places.sites,
            places.products,
            plan.orders_per_hour,
            timedelta(minutes=plan.ship_after_min),
            plan.seed,
        )
        self.execute = execute
        self._reader = reader
        self._repaired: set[str] = set()

    def fill(self) -> int:
        """Put the opening stock in place; return how many commands that took."""
        calls = [
            Call(command, STAFF)
            for command in opening_stock(
                self.places,
                self.plan.starts_at.date(),
                Random(f"goods {self.plan.seed}"),
                self.plan.pallets_per_zone,
            )
        ]
        for start in range(0, len(calls), 100):
            self._do(calls[start : start + 100])
        return len(calls)

    def warm_up(self) -> None:
        """Read in what the sensors measured before the plan begins, half an hour to a batch."""
        every = timedelta(seconds=self.plan.reading_every_s)
        at = self.plan.starts_at - timedelta(minutes=self.plan.warm_up_min)
        while at < self.plan.starts_at:
            until = min(at + WARM_UP_BATCH, self.plan.starts_at)
            samples: list[Sample] = []
            while at < until:
                samples += self.climate.sample(at, self._minute(at))
                at += every
            self._do(readings_of(self.places.sensors, samples, f"{until:%Y%m%dT%H%M%S}-warm-up"))

    def step(self, at: datetime) -> None:
        """Let everything happen that happens at an instant."""
        minute = self._minute(at)
        for repair in self.plan.repair:
            if minute >= repair.at_min and repair.zone_id not in self._repaired:
                self._repaired.add(repair.zone_id)
                self.climate.repair(repair.zone_id, minute)
        samples = self.climate.sample(at, minute)
        self._do(readings_of(self.places.sensors, samples, f"{at:%Y%m%dT%H%M%S}"))
        self._do([Call(order, SHOP, order.order_id) for order in self.trade.orders_until(at)])
        self._ship(at)
        with self._reader() as db:
            calls = list(acts(db, self.plan, at))
        self._do(calls)

    def _ship(self, at: datetime) -> None:
        with self._reader() as db:
            shipments = self.trade.shipments(db, at)
        for command, outcome in zip(
            shipments, self._do([Call(command, STAFF) for command in shipments]), strict=True
        ):
            if isinstance(outcome, Rejected):
                # Held, paused or gone meanwhile: the site looks again when the order was sourced anew.
                self.trade.postpone(getattr(command, "order_id", ""), at + SHIP_RETRY)

    def _do(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        if not calls:
            return []
        outcomes = self.execute(calls)
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                logger.info("world_refused", command=type(call.command).__name__, why=str(outcome))
        return outcomes

    def _minute(self, at: datetime) -> float:
        return (at - self.plan.starts_at).total_seconds() / 60


def readings_of(sensors: Sequence[Sensor], samples: Sequence[Sample], batch: str) -> list[Call]:
    """Return one batch of readings for each site."""
    site_of = {sensor.sensor_id: sensor.site_id for sensor in sensors}

    def site(sample: Sample) -> str:
        return site_of[sample.sensor_id]

    calls = []
    for site_id, group in groupby(sorted(samples, key=site), key=site):
        calls.append(Call(_batch(site_id, list(group), f"{site_id}-{batch}"), DEVICE))
    return calls


def _batch(site_id: str, samples: list[Sample], batch_id: str) -> IngestReadings:
    ids = sorted({sample.sensor_id for sample in samples})
    place = {sensor_id: index for index, sensor_id in enumerate(ids)}
    return IngestReadings(
        site_id=site_id,
        batch_id=batch_id,
        sensor_ids=ids,
        sensor_no=np.array([place[sample.sensor_id] for sample in samples], dtype="<i4").tobytes(),
        at_us=np.array([to_micros(sample.at) for sample in samples], dtype="<i8").tobytes(),
        value=np.array([sample.value for sample in samples], dtype="<f8").tobytes(),
    )
