"""Deviations: quality's own record of an excursion, from what happened to what will prevent the next.

Invariants
    V1  Every excursion has one deviation, opened with it; it links alarm, excursion and incident.
    V2  A deviation closes when every unit is decided and cause and remedy are written down, by quality.
    V3  Who investigated does not also close it (four eyes).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects, reacts
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, NotFound, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.quality.dispositions import undecided_units
from coldgrid.quality.excursions import ExcursionLinked, ExcursionOpened, get_excursion

# --- Vocabulary -----------------------------------------------------------------

Text = Annotated[str, msgspec.Meta(max_length=4000)]


class Weight(StrEnum):
    """How grave a deviation is: for the record only, for the product, for the people who use it."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


class DeviationStatus(StrEnum):
    """How far quality has come."""

    OPEN = "open"
    INVESTIGATED = "investigated"
    CLOSED = "closed"


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """A deviation as readers see it."""

    deviation_id: str
    site_id: str
    zone_id: str
    excursion_id: str
    alarm_id: str
    incident_id: str
    title: str
    status: DeviationStatus
    weight: Weight | None
    root_cause: str
    remedy: str
    investigated_by: str
    opened_at: datetime
    closed_by: str
    closed_at: datetime | None


# --- Events ---------------------------------------------------------------------


class DeviationOpened(Event, frozen=True, tag="quality.deviation_opened"):
    """Quality has something to look into."""

    deviation_id: str
    site_id: str
    zone_id: str
    excursion_id: str
    alarm_id: str
    incident_id: str
    title: str


class DeviationInvestigated(Event, frozen=True, tag="quality.deviation_investigated"):
    """Cause and remedy were found, or found to be others than before."""

    deviation_id: str
    site_id: str
    zone_id: str
    weight: Weight
    root_cause: str
    remedy: str


class DeviationClosed(Event, frozen=True, tag="quality.deviation_closed"):
    """Quality is done with it."""

    deviation_id: str
    site_id: str
    zone_id: str
    conclusion: str


# --- Rejections -----------------------------------------------------------------


class DeviationNotFound(NotFound):
    """There is no such deviation."""


class DeviationAlreadyClosed(Conflict):
    """The deviation is closed."""


class DeviationNotSettled(Conflict):
    """A deviation closes when every unit is decided and cause and remedy are written down (V2)."""


class ExcursionHasDeviation(Conflict):
    """The excursion has a deviation already (V1)."""


class CloserLacksRole(Forbidden):
    """Only quality or the Responsible Person closes a deviation (V2)."""


class CloserInvestigated(Forbidden):
    """Who investigated a deviation does not also close it (V3)."""


# --- Table and projections ------------------------------------------------------

quality_deviation = sa.Table(
    "quality_deviation",
    metadata,
    sa.Column("deviation_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("excursion_id", sa.Text, nullable=False, unique=True),
    sa.Column("alarm_id", sa.Text, nullable=False),
    sa.Column("incident_id", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("status", Named(DeviationStatus), nullable=False),
    sa.Column("weight", Named(Weight)),
    sa.Column("root_cause", sa.Text, nullable=False),
    sa.Column("remedy", sa.Text, nullable=False),
    sa.Column("investigated_by", sa.Text, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("closed_by", sa.Text, nullable=False),
    sa.Column("closed_at", Instant),
    info={"origin": "site"},
)
_which = quality_deviation.c.deviation_id == sa.bindparam("which")
_OPEN = Statement(quality_deviation.insert())
_LINK = Statement(
    quality_deviation.update()
    .where(quality_deviation.c.excursion_id == sa.bindparam("of_excursion"))
    .values(incident_id=sa.bindparam("of_incident"))
)
_INVESTIGATE = Statement(
    quality_deviation.update()
    .where(_which)
    .values(
        status=DeviationStatus.INVESTIGATED,
        weight=sa.bindparam("how_grave"),
        root_cause=sa.bindparam("cause"),
        remedy=sa.bindparam("cure"),
        investigated_by=sa.bindparam("by"),
    )
)
_CLOSE = Statement(
    quality_deviation.update()
    .where(_which)
    .values(status=DeviationStatus.CLOSED, closed_by=sa.bindparam("by"), closed_at=sa.bindparam("at"))
)


@projects(DeviationOpened)
def _open_row(tx: Tx, event: DeviationOpened) -> None:
    tx.write(
        _OPEN,
        **msgspec.structs.asdict(event),
        status=DeviationStatus.OPEN,
        weight=None,
        root_cause="",
        remedy="",
        investigated_by="",
        opened_at=tx.now,
        closed_by="",
        closed_at=None,
    )


@projects(ExcursionLinked)
def _link_row(tx: Tx, event: ExcursionLinked) -> None:
    tx.write(_LINK, of_excursion=event.excursion_id, of_incident=event.incident_id)


@projects(DeviationInvestigated)
def _investigate_row(tx: Tx, event: DeviationInvestigated) -> None:
    tx.write(
        _INVESTIGATE,
        which=event.deviation_id,
        how_grave=event.weight,
        cause=event.root_cause,
        cure=event.remedy,
        by=tx.actor,
    )


@projects(DeviationClosed)
def _close_row(tx: Tx, event: DeviationClosed) -> None:
    tx.write(_CLOSE, which=event.deviation_id, by=tx.actor, at=tx.now)


# --- Commands -------------------------------------------------------------------


class OpenDeviation(Command, frozen=True, tag="quality.open_deviation"):
    """Ask for quality's record of an excursion."""

    site_id: str
    deviation_id: str
    excursion_id: str


class InvestigateDeviation(Command, frozen=True, tag="quality.investigate_deviation"):
    """Write down cause and remedy. Both may be corrected until the deviation is closed."""

    site_id: str
    deviation_id: str
    weight: Weight
    root_cause: Text
    remedy: Text


class CloseDeviation(Command, frozen=True, tag="quality.close_deviation"):
    """Ask to close a deviation."""

    site_id: str
    deviation_id: str
    conclusion: Text


def decide_close(
    command: CloseDeviation, deviation: Deviation, undecided: int, actor: str, roles: frozenset[str]
) -> DeviationClosed:
    """Return the event that closes a deviation, or reject (V2, V3)."""
    if deviation.closed_at is not None:
        raise DeviationAlreadyClosed(deviation_id=deviation.deviation_id, closed_by=deviation.closed_by)
    if not roles & {"quality", "responsible_person"}:
        raise CloserLacksRole(needs="quality")
    if deviation.investigated_by == actor:
        raise CloserInvestigated(deviation_id=deviation.deviation_id, actor=actor)
    if undecided or deviation.status is not DeviationStatus.INVESTIGATED:
        raise DeviationNotSettled(undecided_units=undecided, status=deviation.status)
    return DeviationClosed(
        deviation_id=deviation.deviation_id,
        site_id=deviation.site_id,
        zone_id=deviation.zone_id,
        conclusion=command.conclusion.strip(),
    )


@handles(OpenDeviation, action="quality.open_deviation", owner=Owner.SITE)
def open_deviation(tx: Tx, command: OpenDeviation) -> None:
    """Open quality's record of an excursion (V1)."""
    excursion = get_excursion(tx, command.excursion_id)
    if deviation_of(tx, command.excursion_id) is not None:
        raise ExcursionHasDeviation(excursion_id=command.excursion_id)
    tx.record(
        f"deviation/{command.deviation_id}",
        DeviationOpened(
            deviation_id=command.deviation_id,
            site_id=excursion.site_id,
            zone_id=excursion.zone_id,
            excursion_id=excursion.excursion_id,
            alarm_id=excursion.alarm_id,
            incident_id=excursion.incident_id,
            title=excursion.why,
        ),
    )


@handles(InvestigateDeviation, action="quality.investigate_deviation", owner=Owner.SITE)
def investigate_deviation(tx: Tx, command: InvestigateDeviation) -> None:
    """Put cause and remedy on record."""
    deviation = get_deviation(tx, command.deviation_id)
    if deviation.closed_at is not None:
        raise DeviationAlreadyClosed(deviation_id=deviation.deviation_id, closed_by=deviation.closed_by)
    empty = [name for name in ("root_cause", "remedy") if not getattr(command, name).strip()]
    if empty:
        raise Invalid(problems=[Problem(field=name, message="is empty") for name in empty])
    tx.record(
        f"deviation/{command.deviation_id}",
        DeviationInvestigated(
            deviation_id=deviation.deviation_id,
            site_id=deviation.site_id,
            zone_id=deviation.zone_id,
            weight=Weight(command.weight),
            root_cause=command.root_cause.strip(),
            remedy=command.remedy.strip(),
        ),
    )


@handles(CloseDeviation, action="quality.close_deviation", owner=Owner.SITE)
def close_deviation(tx: Tx, command: CloseDeviation) -> None:
    """Close quality's record."""
    deviation = get_deviation(tx, command.deviation_id)
    left = len(undecided_units(tx, deviation.excursion_id))
    event = decide_close(command, deviation, left, tx.actor, tx.roles)
    tx.record(f"deviation/{command.deviation_id}", event)


@reacts(ExcursionOpened, name="quality.open_deviation", later=True)
def _open_with_excursion(tx: Tx, event: ExcursionOpened) -> None:
    if deviation_of(tx, event.excursion_id) is not None:
        return  # a host that took up this past finds what the host before made of it
    deviation_id = derive_id("deviation", event.excursion_id)
    tx.run(OpenDeviation(site_id=event.site_id, deviation_id=deviation_id, excursion_id=event.excursion_id))


# --- Queries --------------------------------------------------------------------


def _deviation(*row: object) -> Deviation:
    return Deviation(**dict(zip(Deviation.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_SELECT = sa.select(*(quality_deviation.c[name] for name in Deviation.__struct_fields__))
_GET = Statement(_SELECT.where(_which), into=_deviation)
_OF_EXCURSION = Statement(
    _SELECT.where(quality_deviation.c.excursion_id == sa.bindparam("of")), into=_deviation
)


def get_deviation(db: Reader, deviation_id: str) -> Deviation:
    """Return one deviation.

    Raises:
        DeviationNotFound: there is none of this id.
    """
    found = db.one(_GET, which=deviation_id)
    if found is None:
        raise DeviationNotFound(deviation_id=deviation_id)
    return found


def deviation_of(db: Reader, excursion_id: str) -> Deviation | None:
    """Return quality's record of an excursion; None before it is opened."""
    return db.one(_OF_EXCURSION, of=excursion_id)
