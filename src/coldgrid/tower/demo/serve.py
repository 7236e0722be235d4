"""The demo: a network that lives by itself on a fast clock, in one process and one SQLite file."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.address import check_address
from coldgrid.adapters.dispatcher import Rehearsal
from coldgrid.kernel.database import DatabaseInUse, SqliteDatabase
from coldgrid.kernel.decider import Call, Outcome
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.settings import Settings, load_settings
from coldgrid.node.host import ScaledHost
from coldgrid.node.serve import serve
from coldgrid.node.words import say
from coldgrid.tower.application import Tower, build_tower, create
from coldgrid.tower.demo import seeds
from coldgrid.tower.demo.people import LOGINS, PASSWORD, add_people
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.world.places import read_places
from coldgrid.tower.world.plan import Plan, load_plan
from coldgrid.tower.world.run import World

PLAN = Path(__file__).parent / "data" / "night.yaml"
logger = structlog.get_logger("coldgrid.demo")


def tonight(plan: Plan, today: datetime) -> Plan:
    """Return the plan with its hours on today's date."""
    return msgspec.structs.replace(
        plan, starts_at=plan.starts_at.replace(year=today.year, month=today.month, day=today.day)
    )


class DemoWorld:
    """Steps the world on the scaled clock, from a thread of its own, through the deciding service."""

    def __init__(self, plan: Plan, tower: Tower) -> None:
        self._plan = plan
        self._tower = tower
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-world", daemon=True)
        with tower.reader() as db:
            places = read_places(db, plan.sites)
        self._world = World(plan, places, self._before_serving, tower.reader)

    def prepare(self) -> None:
        """Put goods in place and readings behind them, before anybody can look."""
        self._world.fill()
        self._world.warm_up()

    def start(self) -> None:
        """Let time pass."""
        self._world.execute = self._while_serving
        self._thread.start()

    def stop(self) -> None:
        """Stop before the next step."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        every = timedelta(seconds=self._plan.reading_every_s)
        at = self._plan.starts_at
        while not self._stopping.wait(max(0.0, self._tower.host.until_due_s(at))):
            try:
                self._world.step(at)
            except Exception:
                logger.exception("world_step_failed")
            # A machine that is too slow skips minutes rather than falling ever further behind.
            at = max(at + every, self._tower.host.now() - every)

    def _before_serving(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        outcomes = self._tower.decider.execute(calls)
        self._tower.decider.settle()
        return outcomes

    def _while_serving(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        futures = [self._tower.service.submit(call.command, call.principal, call.key) for call in calls]
        outcomes: list[Outcome] = []
        for future in futures:
            try:
                outcomes.append(future.result(60))
            except Rejected as rejected:
                outcomes.append(rejected)
        return outcomes


def serve_demo(
    environment: Mapping[str, str], *, folder: Path, scale: float, host: str | None, port: int | None
) -> None:
    """Make the demo network anew and serve it.

    Raises:
        AddressTaken: something serves at its address already.
        DatabaseInUse: the demo of this folder runs already.
    """
    began_s = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    database = SqliteDatabase(folder / "demo.db")
    own: dict[str, Any] = {"database": str(database.path), "signing_key": str(folder / "signing.key")}
    settings = load_settings(environment, host=host, port=port, **own)
    check_address(settings.host, settings.port)
    if database.in_use():
        raise DatabaseInUse(database=database.url)
    plan = tonight(load_plan(PLAN), datetime.now(UTC))
    seed = seeds.of(folder, plan)
    fresh = seeds.put_back(seed, database.path)
    configure_logs("warning" if settings.log_level == "info" else settings.log_level, json=settings.log_json)
    clock = ScaledHost(CedarAuthorizer(), plan.starts_at, scale)
    tower = build_tower(settings, clock)
    if fresh:
        seed_master(tower.decider.do)
        add_people(tower.decider.do)
    world = DemoWorld(plan, tower)
    if fresh:
        world.prepare()
        seeds.keep(tower.decider.connection, seed)
    clock.restart()
    _greet(settings, scale, time.monotonic() - began_s)
    channels = {name: Rehearsal() for name in ("email", "sms", "voice", "webhook", "siren")}
    serve(create(tower, channels, [world], lambda: f"{scale:g} × real time"), settings)


def _greet(settings: Settings, scale: float, took_s: float) -> None:
    """Say where the demo is and who can sign in."""
    say(
        f"\n  Coldgrid demo network   http://{settings.host}:{settings.port}   (ready after {took_s:.1f} s)\n"
    )
    for login, _, roles, what in LOGINS:
        say(f"    {login:<8}{', '.join(roles):<16}{what}")
    say(f"\n    password of each: {PASSWORD}")
    say(f"    The business clock runs {scale:g} times as fast as yours. Stop with Ctrl C.\n")
