"""Playing a plan: virtual time, seeded randomness, the real decider, and a report with its evidence pack."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.notes import Signer
from coldgrid.evidence.packs import PackRequest, pack_now
from coldgrid.evidence.parts import PackSubject
from coldgrid.evidence.verify import verify_pack
from coldgrid.kernel import log, outbox
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Call, Decider, Outcome
from coldgrid.kernel.outbox import ReportEffect
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.node.host import VirtualHost
from coldgrid.orchestration.incident_rules import IncidentAdvanced, IncidentOpened, Status
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.rooms import load_rooms
from coldgrid.tower.scenario import audit
from coldgrid.tower.scenario.report import Report, figures, unmet
from coldgrid.tower.world.places import read_places
from coldgrid.tower.world.plan import Plan, load_plan
from coldgrid.tower.world.run import World

Tell = Callable[[str], None]


class Player:
    """One plan on one empty database. Effects are taken by an outside world that always answers."""

    def __init__(self, plan: Plan, database: str, tell: Tell) -> None:
        self.plan = plan
        self.tell = tell
        load_rooms()
        self.host = VirtualHost(
            CedarAuthorizer(), plan.starts_at - timedelta(minutes=plan.warm_up_min), plan.seed
        )
        self.decider = Decider(open_database(database), self.host)
        self.notary = Notary(
            signer=Signer("coldgrid", self.host.entropy(32)), network_name=f"coldgrid/{plan.name}"
        )

    def play(self) -> None:
        """Seed the network, warm it up, and play every minute of the plan."""
        seed_master(self.decider.do)
        world = World(self.plan, read_places(self.reads(), self.plan.sites), self._execute, self._reader)
        world.fill()
        self.host.instant = self.plan.starts_at
        world.warm_up()
        at, end = self.plan.starts_at, self.plan.starts_at + timedelta(minutes=self.plan.minutes)
        while at <= end:
            self._move_to(at)
            world.step(at)
            self._deliver()
            at += timedelta(seconds=self.plan.reading_every_s)
            if (at - self.plan.starts_at) % timedelta(hours=1) < timedelta(seconds=self.plan.reading_every_s):
                self.tell(f"{at:%H:%M} UTC, {self.decider.position:,} facts")
        make_checkpoints(self.decider, self.notary)

    def reads(self) -> Reads:
        """Return a reader of everything committed."""
        return Reads(self.decider.connection)

    def facts(self) -> list[tuple[Any, Any]]:
        """Return the whole log, decoded."""
        return [(entry, log.decode_entry(entry)) for entry in log.read_all(self.reads())]

    def pack(self, incident_id: str) -> bytes:
        """Return the evidence pack of an incident, as of the plan's end."""
        subject = PackSubject("incident", incident_id)
        request = PackRequest(subject=subject, made_by="scenario", made_at=self.host.now())
        return pack_now(self.decider, self.notary, request)

    def close(self) -> None:
        """Close the database."""
        self.decider.close()

    def _move_to(self, at: datetime) -> None:
        """Move the clock; every timer on the way fires at its own instant."""
        while (due := self.decider.next_due_at) is not None and due <= at:
            self.host.instant = max(due, self.host.instant)
            self.decider.fire_due()
            self.decider.settle()
            self._deliver()
        self.host.instant = max(at, self.host.instant)

    def _execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        outcomes = self.decider.execute(calls)
        self.decider.settle()
        return outcomes

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        yield self.reads()

    def _deliver(self) -> None:
        """The outside world takes every effect at once."""
        effects = outbox.due_effects(self.reads(), self.host.now(), 1000)
        reports = [
            ReportEffect(origin=effect.origin, key=effect.key, delivered=True, reference="taken")
            for effect in effects
        ]
        if reports:
            self._execute([Call(report) for report in reports])


def play_file(
    path: Path,
    *,
    seed: int | None = None,
    pack: Path | None = None,
    database: str | None = None,
    tell: Tell = lambda text: None,
) -> Report:
    """Play a plan from a file and return its report; the pack is written where `pack` says.

    Raises:
        Invalid: the plan is not valid; every problem is named.
    """
    plan = load_plan(path)
    if seed is not None:
        plan = msgspec.structs.replace(plan, seed=seed)
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        player = Player(plan, database or f"{folder}/{plan.name}.db", tell)
        try:
            player.play()
            return _report(player, pack, began_s)
        finally:
            player.close()


def _report(player: Player, pack: Path | None, began_s: float) -> Report:
    plan, facts = player.plan, player.facts()
    events = [event for _, event in facts]
    told = figures(plan, facts)
    told |= {
        "oversold": audit.oversold(player.decider),
        "held_shipped": audit.held_shipped(events),
        "incidents_closed": sum(_is_closing(event) for event in events),
    }
    opened = next((event for event in events if isinstance(event, IncidentOpened)), None)
    where, verified = "", False
    if opened is not None:
        data = player.pack(opened.incident_id)
        verified = verify_pack(data).ok
        where = str(_write(data, pack or Path(tempfile.gettempdir()) / f"coldgrid-{plan.name}.zip"))
    told |= {"evidence_verified": verified, "pack": where}
    missed = unmet(plan, told)
    return Report(
        plan=plan.name,
        seed=plan.seed,
        ok=not missed,
        log_hash=audit.log_hash(entry for entry, _ in facts),
        events=len(facts),
        unmet=missed,
        played_in_s=round(time.perf_counter() - began_s, 2),
        **told,
    )


def _is_closing(event: Any) -> bool:
    return isinstance(event, IncidentAdvanced) and event.status is Status.CLOSED


def _write(data: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
