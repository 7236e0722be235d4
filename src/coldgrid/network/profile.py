"""What the network is called, the unit it reads temperatures in, and how far its first set-up got.

Invariants
    U1  A network is set up once: on a database without a change of master data, or where its set-up was begun
        here and not ended. Ended, it does not begin again.
    U2  Beginning, naming, leaving a step for later and ending are facts with their actor.
    U3  Its steps are taken in any order: what the first of them puts in force is no reason to end it.

The set-up itself is a wizard of the tower (`tower.first_run`); what it puts in force are changes like any
other.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.changes import count_changes

# --- Vocabulary -----------------------------------------------------------------

STREAM = "profile/network"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class ShownUnit(StrEnum):
    """What pages show temperatures in until a reader chooses. They are kept in °C."""

    CELSIUS = "c"
    FAHRENHEIT = "f"


class SetUpStep(StrEnum):
    """A step of the first set-up that may be left for later."""

    SITE = "site"
    PRODUCTS = "products"
    SENSOR = "sensor"
    PEOPLE = "people"


class Profile(msgspec.Struct, frozen=True):
    """The network as it was named. `finished_at` None: its set-up goes on."""

    name: str
    unit: ShownUnit
    finished_at: datetime | None


# --- Events ---------------------------------------------------------------------


class NetworkNamed(Event, frozen=True, tag="network.named"):
    """The network got its name and its unit, or others."""

    name: str
    unit: ShownUnit


class SetUpBegun(Event, frozen=True, tag="network.set_up_begun"):
    """The set-up began, with something else than the network's name."""


class SetUpStepSkipped(Event, frozen=True, tag="network.set_up_step_skipped"):
    """A step of the set-up was left for later."""

    step: SetUpStep


class SetUpFinished(Event, frozen=True, tag="network.set_up_finished"):
    """The set-up is over: from now on the network changes by its pages and files alone."""


# --- Rejections -----------------------------------------------------------------


class SetUpOver(Conflict):
    """This network is set up: there is something in it that the first set-up would not know of (U1)."""

    todo = "Change it under Network, People and API tokens."


class NetworkNotNamed(Conflict):
    """The network has no name yet."""

    todo = "Name it first."


# --- Tables and projections -----------------------------------------------------

network_profile = sa.Table(
    "network_profile",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("unit", Named(ShownUnit), nullable=False),
    sa.Column("finished_at", Instant),
    info={"origin": "network"},
)
network_skipped = sa.Table(
    "network_skipped",
    metadata,
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("skipped_at", Instant, nullable=False),
    info={"origin": "network"},
)
network_begun = sa.Table(
    "network_begun",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("begun_at", Instant, nullable=False),
    info={"origin": "network"},
)
_NAME = Statement(upsert(network_profile, keys=["stream"], set_=["name", "unit"]))
_SKIP = Statement(upsert(network_skipped, keys=["step"], set_=["skipped_at"]))
_BEGIN = Statement(upsert(network_begun, keys=["stream"], set_=["begun_at"]))
_FINISH = Statement(
    network_profile.update()
    .where(network_profile.c.stream == sa.bindparam("which"))
    .values(finished_at=sa.bindparam("at", type_=Instant))
)


@projects(NetworkNamed)
def _keep_name(tx: Tx, event: NetworkNamed) -> None:
    tx.write(_NAME, stream=STREAM, name=event.name, unit=event.unit, finished_at=None)


@projects(SetUpBegun)
def _keep_beginning(tx: Tx, event: SetUpBegun) -> None:
    tx.write(_BEGIN, stream=STREAM, begun_at=tx.now)


@projects(SetUpStepSkipped)
def _keep_skipped(tx: Tx, event: SetUpStepSkipped) -> None:
    tx.write(_SKIP, step=event.step, skipped_at=tx.now)


@projects(SetUpFinished)
def _keep_end(tx: Tx, event: SetUpFinished) -> None:
    tx.write(_FINISH, which=STREAM, at=tx.now)


# --- Commands -------------------------------------------------------------------


class NameNetwork(Command, frozen=True, tag="network.name_network"):
    """Say what the network is called and what its pages show temperatures in."""

    name: Name
    unit: ShownUnit = ShownUnit.CELSIUS


class BeginSetUp(Command, frozen=True, tag="network.begin_set_up"):
    """Begin the set-up with a step that puts something in force; begun, nothing happens."""


class SkipSetUpStep(Command, frozen=True, tag="network.skip_set_up_step"):
    """Leave a step of the set-up for later."""

    step: SetUpStep


class FinishSetUp(Command, frozen=True, tag="network.finish_set_up"):
    """End the set-up for good."""


@handles(NameNetwork, action="network.set_up", owner=Owner.NETWORK)
def name_network(tx: Tx, command: NameNetwork) -> None:
    """Name the network, while it is being set up (U1)."""
    _must_be_open(tx)
    name = command.name.strip()
    if not name:
        raise Invalid([Problem(field="name", message="is empty", fix="say what people call it")])
    known = profile_of(tx)
    if known is None or (known.name, known.unit) != (name, command.unit):
        tx.record(STREAM, NetworkNamed(name=name, unit=command.unit))


@handles(BeginSetUp, action="network.set_up", owner=Owner.NETWORK)
def begin_set_up(tx: Tx, command: BeginSetUp) -> None:
    """Note that what is put in force from now on is the set-up's own (U3)."""
    _must_be_open(tx)
    if not set_up_begun(tx):
        tx.record(STREAM, SetUpBegun())


@handles(SkipSetUpStep, action="network.set_up", owner=Owner.NETWORK)
def skip_step(tx: Tx, command: SkipSetUpStep) -> None:
    """Note that a step is left for later; twice is harmless."""
    _must_be_open(tx)
    if command.step not in skipped_steps(tx):
        tx.record(STREAM, SetUpStepSkipped(step=command.step))


@handles(FinishSetUp, action="network.set_up", owner=Owner.NETWORK)
def finish_set_up(tx: Tx, command: FinishSetUp) -> None:
    """End the set-up."""
    _must_be_open(tx)
    if profile_of(tx) is None:
        raise NetworkNotNamed()
    tx.record(STREAM, SetUpFinished())


def _must_be_open(db: Reader) -> None:
    if not set_up_open(db):
        raise SetUpOver()


# --- Queries --------------------------------------------------------------------

_PROFILE = Statement(
    sa.select(network_profile.c.name, network_profile.c.unit, network_profile.c.finished_at).where(
        network_profile.c.stream == sa.bindparam("which")
    ),
    into=Profile,
)
_BEGUN = Statement(sa.select(network_begun.c.begun_at).where(network_begun.c.stream == sa.bindparam("which")))
_SKIPPED = Statement(sa.select(network_skipped.c.step).order_by(network_skipped.c.step))


def profile_of(db: Reader) -> Profile | None:
    """Return the network's name and unit; None where nobody named it."""
    return db.one(_PROFILE, which=STREAM)


def set_up_open(db: Reader) -> bool:
    """Tell whether the network may still be set up by the wizard (U1)."""
    known = profile_of(db)
    if known is not None:
        return known.finished_at is None
    return set_up_begun(db) or not count_changes(db)


def set_up_begun(db: Reader) -> bool:
    """Tell whether the set-up was begun here, by its name or by another step."""
    return profile_of(db) is not None or db.one(_BEGUN, which=STREAM) is not None


def skipped_steps(db: Reader) -> set[str]:
    """Return the steps that were left for later."""
    return {step for (step,) in db.all(_SKIPPED)}
