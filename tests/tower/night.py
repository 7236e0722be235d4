"""The demo's night, played fast and then served: the real tower on a clock that only tests move."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from litestar import Litestar

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.dispatcher import Rehearsal
from coldgrid.kernel import outbox
from coldgrid.kernel.decider import Call, Outcome
from coldgrid.kernel.outbox import ReportEffect
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import LiveHost
from coldgrid.tower.application import Tower, build_tower, create
from coldgrid.tower.demo.people import add_people
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.demo.serve import PLAN
from coldgrid.tower.world.places import read_places
from coldgrid.tower.world.plan import Plan, load_plan
from coldgrid.tower.world.run import World

T = TypeVar("T")
# The compressor fails at minute 75 of the plan; by now goods are held and people are asked.
PLAYED_MIN = 150
CHANNELS = ("email", "sms", "voice", "webhook", "siren")


class StandingHost(LiveHost):
    """A business clock that stands until a test moves it; randomness is the same every time."""

    clock = "virtual"

    def __init__(self, start: datetime) -> None:
        super().__init__(CedarAuthorizer())
        self.instant = start
        self._drawn = 0

    def now(self) -> datetime:
        return self.instant

    def entropy(self, count: int) -> bytes:
        self._drawn += 1
        return (self._drawn.to_bytes(8, "big") * (count // 8 + 1))[:count]

    def timers_run(self) -> bool:
        return True


class Night:
    """The tower after the first hours of the night, with its world, which goes on when a test says so."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        settings = load_settings(
            {}, database=str(folder / "night.db"), signing_key=str(folder / "signing.key")
        )
        self.plan = plan
        self.host = StandingHost(plan.starts_at)
        self.tower: Tower = build_tower(settings, self.host)
        seed_master(self.tower.decider.do)
        add_people(self.tower.decider.do)
        with self.tower.reader() as db:
            places = read_places(db, plan.sites)
        self.world = World(plan, places, self._directly, self.tower.reader)
        self.world.fill()
        self.world.warm_up()
        self.app: Litestar = create(self.tower, {name: Rehearsal() for name in CHANNELS})

    def read(self, look: Callable[[Reader], T]) -> T:
        """Return what a look at the tables finds."""
        with self.tower.reader() as db:
            return look(db)

    def play(self, minutes: int) -> None:
        """Let the world go on before anybody is served; every timer fires at its own instant."""
        decider = self.tower.decider
        for _ in range(minutes):
            at = self.host.instant + timedelta(minutes=1)
            while (due := decider.next_due_at) is not None and due <= at:
                self.host.instant = max(due, self.host.instant)
                decider.fire_due()
                decider.settle()
            self.host.instant = at
            self.world.step(at)
            self._deliver()

    def served(self) -> None:
        """From now on the world gives its commands to the service, as in the demo."""
        self.world.execute = self._through_the_service

    def repair(self, zone_id: str) -> None:
        """The technician was there: from now on the zone cools again."""
        self.world.climate.repair(zone_id, (self.host.instant - self.plan.starts_at).total_seconds() / 60)

    def go_on(self, minutes: int) -> None:
        """Let the world go on while people look."""
        for _ in range(minutes):
            self.host.instant += timedelta(minutes=1)
            self.world.step(self.host.instant)

    def _deliver(self) -> None:
        effects = self.read(lambda db: outbox.due_effects(db, self.host.instant, 1000))
        taken = [ReportEffect(origin=e.origin, key=e.key, delivered=True, reference="taken") for e in effects]
        if taken:
            self._directly([Call(report) for report in taken])

    def _directly(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        outcomes = self.tower.decider.execute(calls)
        self.tower.decider.settle()
        return outcomes

    def _through_the_service(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        waiting = [self.tower.service.submit(call.command, call.principal, call.key) for call in calls]
        outcomes: list[Any] = []
        for future in waiting:
            try:
                outcomes.append(future.result(60))
            except Rejected as rejected:
                outcomes.append(rejected)
        return outcomes


@contextmanager
def played(minutes: int = PLAYED_MIN) -> Iterator[Night]:
    """Play the demo's night up to a minute of its plan."""
    with tempfile.TemporaryDirectory() as folder:
        night = Night(Path(folder), load_plan(PLAN))
        try:
            night.play(minutes)
            night.served()
            yield night
        finally:
            # Where it was served it is closed already; closing twice does no harm.
            night.tower.decider.close()
