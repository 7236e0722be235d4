"""The hold book: which handling units are blocked, why, and who may end it.

Invariants
    H1  A unit has at most one open hold per reason and cause at a site; several others may be open beside it.
    H2  A unit's part in a hold ends once: released by a person, or left with the goods for another site.
    H3  Units that arrive where a hold of a place is open, or that split from a held one, join the hold.

Vocabulary: GS1 CBV 2.0, business step `holding`. The unit is held, never the lot: the same lot in a healthy
freezer stays available. `holds` decides; here is what was decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Named, metadata, partial_index
from coldgrid.kernel.tx import Tx
from coldgrid.stock import inventory
from coldgrid.stock.hold_facts import (
    HeldState,
    HoldExtended,
    HoldNotFound,
    HoldPlaced,
    HoldReason,
    HoldReleased,
    Window,
)

# --- Tables and projections -----------------------------------------------------

stock_hold = sa.Table(
    "stock_hold",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("hold_id", sa.Text, primary_key=True),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("reason", Named(HoldReason), nullable=False),
    sa.Column("cause_id", sa.Text, nullable=False),
    sa.Column("releasing_role", sa.Text, nullable=False),
    sa.Column("placed_by", sa.Text, nullable=False),
    sa.Column("placed_at", Instant, nullable=False),
    sa.Column("window_zone", sa.Text, nullable=False),
    sa.Column("window_location", sa.Text, nullable=False),
    sa.Column("window_from", Instant),
    sa.Column("window_to", Instant),
    sa.Column("ended_at", Instant),
    info={"origin": "site"},
)
# Ended holds are looked up by id alone; open ones by their site.
partial_index(
    "ix_stock_hold_open",
    stock_hold.c.site_id,
    stock_hold.c.placed_at,
    where=stock_hold.c.ended_at.is_(None),
)
stock_hold_unit = sa.Table(
    "stock_hold_unit",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("hold_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("state", Named(HeldState), nullable=False),
    sa.Column("held_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("ended_by", sa.Text, nullable=False),
    sa.Column("disposition", sa.Text, nullable=False),
    sa.Column("evidence_id", sa.Text, nullable=False),
    sa.Index("ix_stock_hold_unit_sscc", "sscc"),
    info={"origin": "site"},
)
_H = stock_hold.c
_U = stock_hold_unit.c
_OPEN_HOLD = Statement(upsert(stock_hold, keys=["site_id", "hold_id"], set_=["ended_at"]))
_END_HOLD = Statement(
    stock_hold.update()
    .where(_H.site_id == sa.bindparam("of_site"), _H.hold_id == sa.bindparam("of_hold"))
    .values(ended_at=sa.bindparam("at"))
)
_JOIN = Statement(
    upsert(
        stock_hold_unit,
        keys=["site_id", "hold_id", "sscc"],
        set_=["state", "held_at", "ended_at", "ended_by", "disposition", "evidence_id"],
    )
)
_RELEASE = Statement(
    stock_hold_unit.update()
    .where(
        _U.site_id == sa.bindparam("of_site"),
        _U.hold_id == sa.bindparam("of_hold"),
        _U.sscc == sa.bindparam("of_sscc"),
    )
    .values(
        state=HeldState.RELEASED,
        ended_at=sa.bindparam("at"),
        ended_by=sa.bindparam("by"),
        disposition=sa.bindparam("outcome"),
        evidence_id=sa.bindparam("evidence"),
    )
)
_LEAVE = Statement(
    stock_hold_unit.update()
    .where(
        _U.site_id == sa.bindparam("of_site"),
        _U.sscc == sa.bindparam("of_sscc"),
        _U.state == HeldState.OPEN,
    )
    .values(state=HeldState.LEFT, ended_at=sa.bindparam("at"), ended_by=sa.bindparam("by"))
)


def leave(tx: Tx, site_id: str, sscc: str, by: str) -> None:
    """Write that a unit took its holds along; from projections only."""
    tx.write(_LEAVE, of_site=site_id, of_sscc=sscc, at=tx.now, by=by)
    inventory.clear_holds(tx, site_id, sscc)


def _open(tx: Tx, event: HoldPlaced | HoldExtended, by: str, at: datetime, window: Window | None) -> None:
    tx.write(
        _OPEN_HOLD,
        site_id=event.site_id,
        hold_id=event.hold_id,
        zone_id=event.zone_id,
        reason=event.reason,
        cause_id=event.cause_id,
        releasing_role=event.releasing_role,
        placed_by=by,
        placed_at=at,
        window_zone=window.zone_id if window else "",
        window_location=window.location_id if window else "",
        window_from=window.from_at if window else None,
        window_to=window.to_at if window else None,
        ended_at=None,
    )


def _join(tx: Tx, event: HoldPlaced | HoldExtended) -> None:
    for unit in event.units:
        tx.write(
            _JOIN,
            site_id=event.site_id,
            hold_id=event.hold_id,
            sscc=unit.sscc,
            state=HeldState.OPEN,
            held_at=tx.now,
            ended_at=None,
            ended_by="",
            disposition="",
            evidence_id="",
        )
        inventory.count_hold(tx, event.site_id, unit.sscc, 1, False)


@projects(HoldPlaced)
def _place(tx: Tx, event: HoldPlaced) -> None:
    _open(tx, event, tx.actor, tx.now, event.window)
    _join(tx, event)


@projects(HoldExtended)
def _extend(tx: Tx, event: HoldExtended) -> None:
    _open(tx, event, event.placed_by, event.placed_at, None)
    _join(tx, event)


@projects(HoldReleased)
def _release(tx: Tx, event: HoldReleased) -> None:
    for unit in event.units:
        tx.write(
            _RELEASE,
            of_site=event.site_id,
            of_hold=event.hold_id,
            of_sscc=unit.sscc,
            at=tx.now,
            by=event.released_by,
            outcome=event.disposition,
            evidence=event.evidence_id,
        )
        inventory.count_hold(tx, event.site_id, unit.sscc, -1, unit.is_sellable)
        inventory.set_unit_status(
            tx,
            event.site_id,
            unit.sscc,
            status=unit.status,
            sellable=unit.is_sellable,
            expires_on=unit.expires_on,
        )
    if event.ended:
        tx.write(_END_HOLD, of_site=event.site_id, of_hold=event.hold_id, at=tx.now)


# --- Queries --------------------------------------------------------------------


class Hold(msgspec.Struct, frozen=True):
    """A hold as readers see it. `ended_at` is None while anything in it, or its place, is blocked."""

    site_id: str
    hold_id: str
    zone_id: str
    reason: HoldReason
    cause_id: str
    releasing_role: str
    placed_by: str
    placed_at: datetime
    window_zone: str
    window_location: str
    window_from: datetime | None
    window_to: datetime | None
    ended_at: datetime | None


class OpenHold(Hold, frozen=True):
    """An open hold with how many units were ever in it, and how many it still keeps."""

    unit_count: int
    held_count: int


class UnitHold(msgspec.Struct, frozen=True):
    """A unit's part in a hold, with what there is to know about the hold."""

    site_id: str
    hold_id: str
    sscc: str
    state: HeldState
    reason: HoldReason
    cause_id: str
    releasing_role: str
    placed_by: str
    placed_at: datetime
    held_at: datetime
    ended_at: datetime | None
    ended_by: str
    disposition: str
    evidence_id: str


_BOTH = stock_hold_unit.join(stock_hold, sa.and_(_H.site_id == _U.site_id, _H.hold_id == _U.hold_id))
_PART = (
    _U.site_id,
    _U.hold_id,
    _U.sscc,
    _U.state,
    _H.reason,
    _H.cause_id,
    _H.releasing_role,
    _H.placed_by,
    _H.placed_at,
    _U.held_at,
    _U.ended_at,
    _U.ended_by,
    _U.disposition,
    _U.evidence_id,
)
_ORDER = (_U.sscc, _H.placed_at, _U.hold_id)
_GET = Statement(
    sa.select(*stock_hold.columns).where(
        _H.site_id == sa.bindparam("site"), _H.hold_id == sa.bindparam("hold")
    ),
    into=Hold,
)
_LIST = Statement(
    sa.select(*stock_hold.columns)
    .where(_H.site_id == sa.bindparam("site"), _H.ended_at.is_(None))
    .order_by(_H.placed_at, _H.hold_id),
    into=Hold,
)
_LIST_ALL = Statement(
    sa.select(
        *stock_hold.columns,
        sa.func.count(_U.sscc),
        sa.func.coalesce(sa.func.sum(sa.case((_U.state == HeldState.OPEN, 1), else_=0)), 0),
    )
    .select_from(
        stock_hold.outerjoin(stock_hold_unit, sa.and_(_H.site_id == _U.site_id, _H.hold_id == _U.hold_id))
    )
    .where(_H.ended_at.is_(None))
    .group_by(*stock_hold.columns)
    .order_by(_H.placed_at, _H.site_id, _H.hold_id),
    into=OpenHold,
)
_ON_PLACE = Statement(
    sa.select(*stock_hold.columns)
    .where(
        _H.site_id == sa.bindparam("site"),
        _H.ended_at.is_(None),
        _H.window_zone == sa.bindparam("zone"),
        sa.or_(_H.window_location == "", _H.window_location == sa.bindparam("location")),
        sa.or_(_H.window_to.is_(None), _H.window_to > sa.bindparam("at", type_=Instant)),
    )
    .order_by(_H.placed_at, _H.hold_id),
    into=Hold,
)
_OF_HOLD = Statement(
    sa.select(*_PART)
    .select_from(_BOTH)
    .where(_U.site_id == sa.bindparam("site"), _U.hold_id == sa.bindparam("hold"))
    .order_by(*_ORDER),
    into=UnitHold,
)
_OPEN_OF_UNITS = Statement(
    sa.select(*_PART)
    .select_from(_BOTH)
    .where(
        _U.site_id == sa.bindparam("site"),
        _U.sscc.in_(sa.bindparam("ssccs", expanding=True)),
        _U.state == HeldState.OPEN,
    )
    .order_by(*_ORDER),
    into=UnitHold,
)
_OF_UNIT = Statement(
    sa.select(*_PART).select_from(_BOTH).where(_U.sscc == sa.bindparam("of_sscc")).order_by(*_ORDER),
    into=UnitHold,
)


def get_hold(db: Reader, site_id: str, hold_id: str) -> Hold:
    """Return one hold of a site, open or ended.

    Raises:
        HoldNotFound: the site has none of that id.
    """
    hold = find_hold(db, site_id, hold_id)
    if hold is None:
        raise HoldNotFound(site_id=site_id, hold_id=hold_id)
    return hold


def find_hold(db: Reader, site_id: str, hold_id: str) -> Hold | None:
    """Return one hold of a site, open or ended; None where there is none."""
    return db.one(_GET, site=site_id, hold=hold_id)


def open_holds(db: Reader, site_id: str) -> list[Hold]:
    """Return a site's open holds, oldest first."""
    return db.all(_LIST, site=site_id)


def open_holds_of_all_sites(db: Reader) -> list[OpenHold]:
    """Return every site's open holds with their counts of units, oldest first."""
    return db.all(_LIST_ALL)


def holds_of_place(db: Reader, site_id: str, zone_id: str, location_id: str, at: datetime) -> list[Hold]:
    """Return the open holds of a place that units arriving there at an instant join (H3)."""
    return db.all(_ON_PLACE, site=site_id, zone=zone_id, location=location_id, at=at)


def units_of_hold(db: Reader, site_id: str, hold_id: str) -> list[UnitHold]:
    """Return every unit's part in a hold."""
    return db.all(_OF_HOLD, site=site_id, hold=hold_id)


def open_holds_of(db: Reader, site_id: str, ssccs: Sequence[str]) -> list[UnitHold]:
    """Return what blocks some units of a site now, by unit, oldest first."""
    return db.all(_OPEN_OF_UNITS, site=site_id, ssccs=list(ssccs)) if ssccs else []


def holds_of_unit(db: Reader, sscc: str) -> list[UnitHold]:
    """Return every hold a unit was ever in, at every site."""
    return db.all(_OF_UNIT, of_sscc=sscc)
