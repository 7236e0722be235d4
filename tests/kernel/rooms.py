"""A toy room: counters that can be bumped, with everything the kernel offers. Registered once, at import."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.outbox import Effect
from coldgrid.kernel.ownership import STREAM_OWNERS, Owner
from coldgrid.kernel.personal import Personal
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, hot_state, on_timer, projects, reacts
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx

STREAM_OWNERS.setdefault("toy", Owner.SITE)
STREAM_OWNERS.setdefault("toys", Owner.NETWORK)


class Bumped(Event, frozen=True, tag="toy.bumped"):
    site_id: str
    name: str
    by: int
    note: Personal | None = None


class Echoed(Event, frozen=True, tag="toy.echoed"):
    site_id: str
    name: str


class Told(Event, frozen=True, tag="toy.told"):
    name: str


class Bump(Command, frozen=True, tag="toy.bump"):
    site_id: str
    name: str
    by: int = 1
    note: str = ""
    person: str = ""


class Echo(Command, frozen=True, tag="toy.echo"):
    site_id: str
    name: str


class Tell(Command, frozen=True, tag="toy.tell"):
    name: str


class Later(Command, frozen=True, tag="toy.later"):
    site_id: str
    name: str
    minutes: float
    on_outage: str = "fire"


class TooMany(Conflict):
    """A counter may not pass one hundred."""


toy = sa.Table(
    "toy",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("told", sa.BigInteger, nullable=False),
)
_BUMP = Statement(upsert(toy, keys=["name"], add=["count", "told"], set_=["at"]))
_COUNT = Statement(sa.select(toy.c.count).where(toy.c.name == sa.bindparam("which")))
_TOLD = Statement(sa.select(toy.c.told).where(toy.c.name == sa.bindparam("which")))
_SUM = Statement(sa.select(toy.c.name, toy.c.count))


@hot_state
class Totals:
    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    @classmethod
    def load(cls, reader: Reader) -> Totals:
        state = cls()
        state.of = {name: int(count) for name, count in reader.all(_SUM) if count}
        return state


@projects(Bumped)
def _bump_row(tx: Tx, event: Bumped) -> None:
    tx.write(_BUMP, name=event.name, count=event.by, at=tx.now, told=0)
    totals, name, by = tx.hot(Totals).of, event.name, event.by
    totals[name] = totals.get(name, 0) + by

    def undo() -> None:
        totals[name] -= by

    tx.undo(undo)


@projects(Told)
def _tell_row(tx: Tx, event: Told) -> None:
    tx.write(_BUMP, name=event.name, count=0, at=tx.now, told=1)


@handles(Bump, action="toy.bump", owner=Owner.SITE)
def bump(tx: Tx, command: Bump) -> dict[str, int]:
    if tx.hot(Totals).of.get(command.name, 0) + command.by > 100:
        raise TooMany(name=command.name)
    note = tx.seal(command.person, command.note) if command.person else None
    tx.record(
        f"toy/{command.name}",
        Bumped(site_id=command.site_id, name=command.name, by=command.by, note=note),
    )
    if command.name == "effect":
        tx.emit(Effect(channel="email", key="toy-1", payload={"to": "x"}, subject=command.person or None))
    return {"count": tx.hot(Totals).of[command.name]}


@handles(Echo, action="toy.echo", owner=Owner.SITE)
def echo(tx: Tx, command: Echo) -> None:
    tx.record(f"toy/{command.name}", Echoed(site_id=command.site_id, name=command.name))


@handles(Tell, action="toy.tell", owner=Owner.NETWORK)
def tell(tx: Tx, command: Tell) -> None:
    tx.record(f"toys/{command.name}", Told(name=command.name))


@handles(Later, action="toy.later", owner=Owner.SITE)
def later(tx: Tx, command: Later) -> None:
    due = tx.now + timedelta(minutes=command.minutes)
    tx.set_timer(f"toy/{command.name}", "toy.later", due, {"name": command.name}, command.on_outage)  # type: ignore[arg-type]


@on_timer("toy.later")
def _later_is_now(tx: Tx, timer: Timer) -> None:
    tx.run(Bump(site_id=timer.origin, name=timer.payload["name"]))


BROKEN = {"poison"}


@reacts(Bumped, name="toy.echo_bumps", safety=True, scope=lambda event: event.site_id)
def _echo(tx: Tx, event: Bumped) -> None:
    tx.run(Echo(site_id=event.site_id, name=event.name))
    if event.name in BROKEN:
        raise ValueError("poison")


@reacts(Echoed, name="toy.tell_network", cursor=True)
def _tell(tx: Tx, event: Echoed) -> None:
    if event.name == "never":
        raise ValueError("cannot be told")
    tx.run(Tell(name=event.name))


@reacts(Echoed, name="toy.run_away")
def _run_away(tx: Tx, event: Echoed) -> None:
    if event.name == "deep":
        tx.run(Bump(site_id=event.site_id, name="deep"))


@reacts(Echoed, name="toy.explain", later=True)
def _explain(tx: Tx, event: Echoed) -> None:
    if event.name == "urgent":
        tx.run(Bump(site_id=event.site_id, name="explained"))


def count_of(db: Reader, name: str) -> int:
    return int(db.value(_COUNT, which=name) or 0)


def told_of(db: Reader, name: str) -> int:
    return int(db.value(_TOLD, which=name) or 0)
