"""Pauses: nothing new is promised from a zone until every cause has been lifted.

Invariants
    P1  A zone is paused while at least one pause of it is open; each cause has its own.
    P2  A pause of a passing cause may be lifted by the policy that set it; any other by a person whose role
        the reason names, with the reason written down.

A pause stops new promises only: goods already promised still ship. What blocks goods is a hold.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, NotFound, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import get_zone
from coldgrid.stock.authority import Signer, is_system, signer_of

# --- Vocabulary -----------------------------------------------------------------


class PauseReason(StrEnum):
    """Why nothing new is promised from a zone."""

    PRE_ALARM = "pre_alarm"
    EXCURSION = "excursion"
    SAFETY = "safety"
    MAINTENANCE = "maintenance"
    MANUAL = "manual"


# A trend that turned is no harm done: the policy that paused may resume. The rest is for people (P2).
PASSING = frozenset({PauseReason.PRE_ALARM})
RESUMING_ROLES = {
    PauseReason.PRE_ALARM: frozenset({"quality", "supervisor", "responsible_person"}),
    PauseReason.EXCURSION: frozenset({"quality", "responsible_person"}),
    PauseReason.SAFETY: frozenset({"quality", "supervisor", "responsible_person"}),
    PauseReason.MAINTENANCE: frozenset({"supervisor", "technician"}),
    PauseReason.MANUAL: frozenset({"quality", "supervisor", "responsible_person"}),
}


# --- Events ---------------------------------------------------------------------


class ZonePaused(Event, frozen=True, tag="stock.zone_paused"):
    """New promises from a zone stop. `cause_id`: what it answers, such as an alarm."""

    site_id: str
    zone_id: str
    pause_id: str
    reason: PauseReason
    cause_id: str


class ZoneResumed(Event, frozen=True, tag="stock.zone_resumed"):
    """One cause was lifted. `still_paused`: others are open. `resumed_by`: the person, or the policy."""

    site_id: str
    zone_id: str
    pause_id: str
    reason: str
    resumed_by: str
    still_paused: bool


# --- Rejections -----------------------------------------------------------------


class PauseAlreadyOpen(Conflict):
    """The zone was already paused under this id, or is paused for this cause (P1)."""


class PauseAlreadyLifted(Conflict):
    """The pause was lifted before."""


class PauseNotFound(NotFound):
    """There is no such pause."""


class ResumerLacksRole(Forbidden):
    """Only a role that the pause's reason names may lift it (P2)."""


# --- Table and projections ------------------------------------------------------

stock_pause = sa.Table(
    "stock_pause",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("pause_id", sa.Text, primary_key=True),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("reason", Named(PauseReason), nullable=False),
    sa.Column("cause_id", sa.Text, nullable=False),
    sa.Column("paused_by", sa.Text, nullable=False),
    sa.Column("paused_at", Instant, nullable=False),
    sa.Column("resumed_by", sa.Text),
    sa.Column("resumed_at", Instant),
    sa.Column("resume_reason", sa.Text),
    sa.Index("ix_stock_pause_zone", "zone_id", "resumed_at"),
    info={"origin": "site"},
)
_P = stock_pause.c
_INSERT = Statement(stock_pause.insert())
_LIFT = Statement(
    stock_pause.update()
    .where(_P.site_id == sa.bindparam("of_site"), _P.pause_id == sa.bindparam("of_pause"))
    .values(
        resumed_by=sa.bindparam("by"), resumed_at=sa.bindparam("at"), resume_reason=sa.bindparam("because")
    )
)


@projects(ZonePaused)
def _open_row(tx: Tx, event: ZonePaused) -> None:
    tx.write(
        _INSERT,
        **msgspec.structs.asdict(event),
        paused_by=tx.actor,
        paused_at=tx.now,
        resumed_by=None,
        resumed_at=None,
        resume_reason=None,
    )


@projects(ZoneResumed)
def _lift_row(tx: Tx, event: ZoneResumed) -> None:
    tx.write(
        _LIFT,
        of_site=event.site_id,
        of_pause=event.pause_id,
        by=event.resumed_by,
        at=tx.now,
        because=event.reason,
    )


# --- Decisions (pure) -----------------------------------------------------------


class Pause(msgspec.Struct, frozen=True):
    """A pause as readers see it. `resumed_at` is None while it is open."""

    site_id: str
    pause_id: str
    zone_id: str
    reason: PauseReason
    cause_id: str
    paused_by: str
    paused_at: datetime
    resumed_by: str | None = None
    resumed_at: datetime | None = None
    resume_reason: str | None = None


class PauseZone(Command, frozen=True, tag="stock.pause_zone"):
    """Ask to stop new promises from a zone."""

    site_id: str
    zone_id: str
    pause_id: str
    reason: PauseReason
    cause_id: str


class ResumeZone(Command, frozen=True, tag="stock.resume_zone"):
    """Ask to lift one cause of a pause. `signed_by`: for reactions, the person whose act it carries out."""

    site_id: str
    zone_id: str
    pause_id: str
    reason: str
    signed_by: str = ""
    signed_roles: tuple[str, ...] = ()


def decide_pause(command: PauseZone, others: list[Pause]) -> ZonePaused:
    """Return the event that pauses a zone, or reject (P1). `others`: open ones, and any of the same id."""
    for pause in others:
        if pause.pause_id == command.pause_id or (pause.reason, pause.cause_id) == (
            command.reason,
            command.cause_id,
        ):
            raise PauseAlreadyOpen(zone_id=command.zone_id, pause_id=pause.pause_id)
    return ZonePaused(
        site_id=command.site_id,
        zone_id=command.zone_id,
        pause_id=command.pause_id,
        reason=PauseReason(command.reason),
        cause_id=command.cause_id,
    )


def decide_resume(
    command: ResumeZone, pause: Pause, open_: list[Pause], signer: Signer | None
) -> ZoneResumed:
    """Return the event that lifts a pause, or reject (P2). `signer` is None when the policy itself asks."""
    if pause.resumed_at is not None:
        raise PauseAlreadyLifted(pause_id=pause.pause_id, resumed_at=pause.resumed_at)
    if not command.reason.strip():
        raise Invalid(problems=[Problem(field="reason", message="say why goods may be promised again")])
    if signer is not None and not RESUMING_ROLES[pause.reason] & signer.roles:
        raise ResumerLacksRole(pause_id=pause.pause_id, needs=", ".join(sorted(RESUMING_ROLES[pause.reason])))
    return ZoneResumed(
        site_id=pause.site_id,
        zone_id=pause.zone_id,
        pause_id=pause.pause_id,
        reason=command.reason.strip(),
        resumed_by=signer.actor if signer is not None else pause.paused_by,
        still_paused=any(other.pause_id != pause.pause_id for other in open_),
    )


# --- Commands -------------------------------------------------------------------


@handles(PauseZone, action="stock.pause_zone", owner=Owner.SITE, lapses=False)
def pause_zone(tx: Tx, command: PauseZone) -> None:
    """Stop new promises from a zone."""
    zone = get_zone(tx, command.zone_id)
    if zone.site_id != command.site_id:
        raise Invalid(
            problems=[Problem(field="zone_id", message=f"{zone.zone_id} is a zone of {zone.site_id}")]
        )
    known = find_pause(tx, command.site_id, command.pause_id)
    others = open_pauses(tx, command.zone_id) + ([known] if known is not None else [])
    tx.record(f"pause/{command.pause_id}", decide_pause(command, others))


@handles(ResumeZone, action="stock.resume_zone", owner=Owner.SITE)
def resume_zone(tx: Tx, command: ResumeZone) -> None:
    """Lift one cause; when it was the last, goods may be promised from the zone again."""
    pause = get_pause(tx, command.site_id, command.pause_id)
    by_policy = is_system(tx.actor) and not command.signed_by and pause.reason in PASSING
    signer = None
    if not by_policy:
        signer = signer_of(tx.actor, tx.roles, command.signed_by, command.signed_roles)
    event = decide_resume(command, pause, open_pauses(tx, pause.zone_id), signer)
    tx.record(f"pause/{command.pause_id}", event)


# --- Queries --------------------------------------------------------------------

_ALL = tuple(stock_pause.columns)
_GET = Statement(
    sa.select(*_ALL).where(_P.site_id == sa.bindparam("of_site"), _P.pause_id == sa.bindparam("of_pause")),
    into=Pause,
)
_OPEN = Statement(
    sa.select(*_ALL)
    .where(_P.zone_id == sa.bindparam("zone"), _P.resumed_at.is_(None))
    .order_by(_P.paused_at, _P.pause_id),
    into=Pause,
)
_ALL_OPEN = Statement(
    sa.select(*_ALL).where(_P.resumed_at.is_(None)).order_by(_P.zone_id, _P.paused_at, _P.pause_id),
    into=Pause,
)


def find_pause(db: Reader, site_id: str, pause_id: str) -> Pause | None:
    """Return one pause, open or lifted; None where there is none."""
    return db.one(_GET, of_site=site_id, of_pause=pause_id)


def get_pause(db: Reader, site_id: str, pause_id: str) -> Pause:
    """Return one pause, open or lifted.

    Raises:
        PauseNotFound: the site has none of that id.
    """
    pause = find_pause(db, site_id, pause_id)
    if pause is None:
        raise PauseNotFound(site_id=site_id, pause_id=pause_id)
    return pause


def open_pauses(db: Reader, zone_id: str) -> list[Pause]:
    """Return the open pauses of a zone, oldest first; none means goods may be promised from it."""
    return db.all(_OPEN, zone=zone_id)


def all_open_pauses(db: Reader) -> list[Pause]:
    """Return every open pause of the network, by zone."""
    return db.all(_ALL_OPEN)
