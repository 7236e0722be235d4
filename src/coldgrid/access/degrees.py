"""Degrees: in which unit a person reads temperatures, in what is sent to them and where no browser chose.

Invariants
    U1  What is recorded is in °C; a unit is chosen for showing, by each person for themselves.
    U2  The sites where a person acts are told of it: their messages are sent from there.
    U3  Who chose nothing reads in the network's unit.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa

from coldgrid.access.admission import told_of
from coldgrid.access.people import get_person
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.personal import PersonErased
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Named, metadata
from coldgrid.kernel.tx import Tx


class ReadUnit(StrEnum):
    """What a person reads temperatures in."""

    CELSIUS = "c"
    FAHRENHEIT = "f"


class UnitChosen(Event, frozen=True, tag="access.unit_chosen"):
    """A person reads temperatures in this unit from now on."""

    person_id: str
    unit: ReadUnit


class ChooseUnit(Command, frozen=True, tag="access.choose_unit"):
    """Say in which unit one reads temperatures oneself."""

    unit: ReadUnit


# --- Table and projections ------------------------------------------------------------

access_unit = sa.Table(
    "access_unit",
    metadata,
    sa.Column("person_id", sa.Text, primary_key=True),
    sa.Column("unit", Named(ReadUnit), nullable=False),
    info={"origin": "network"},
)
_CHOOSE = Statement(upsert(access_unit, keys=["person_id"], set_=["unit"]))
_FORGET = Statement(access_unit.delete().where(access_unit.c.person_id == sa.bindparam("whose")))
_OF = Statement(sa.select(access_unit.c.unit).where(access_unit.c.person_id == sa.bindparam("whose")))


@projects(UnitChosen)
def _keep_unit(tx: Tx, event: UnitChosen) -> None:
    tx.write(_CHOOSE, person_id=event.person_id, unit=event.unit)


@projects(PersonErased)
def _forget_unit(tx: Tx, event: PersonErased) -> None:
    tx.write(_FORGET, whose=event.subject)


# --- Commands and queries ---------------------------------------------------------------


@handles(ChooseUnit, action="access.use_account", owner=Owner.NETWORK)
def choose_unit(tx: Tx, command: ChooseUnit) -> None:
    """Keep one's own choice (U1); the same again is no new fact."""
    person = get_person(tx, tx.actor)
    if unit_of(tx, tx.actor) != command.unit:
        event = UnitChosen(person_id=tx.actor, unit=command.unit)
        tx.record(f"person/{tx.actor}", event, audience=told_of(person.sites))


def unit_of(db: Reader, person_id: str) -> str:
    """Return "c" or "f", or "" for who chose nothing (U3)."""
    found: ReadUnit | None = db.value(_OF, whose=person_id)
    return "" if found is None else found.value
