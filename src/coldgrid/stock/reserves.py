"""Reserves: what is kept back from promising: protected stock, and a buffer for facts not heard yet.

Invariants
    R1  Protected stock is so many base units of one product and owner at one site: set, never counted down.
    R2  A site's buffer depends on how stale its facts are and on nothing else; a hosted site is never stale.

Staleness is a fact of the network: whoever receives a site's entries records that they stopped, or came back.
So the promisable quantity is the same on a replay as it was when the promise was made.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.stock.units import QTY_MAX, require

# --- Vocabulary and the pure rule -----------------------------------------------

# Minutes without facts, from which on so much of the stock is kept back, in thousandths. House policy: a busy
# store sells about a fifth of a perishable's stock a day, so an hour of silence hides about one per cent.
BUFFER_STEPS = ((5, 10), (15, 30), (60, 80), (240, 200), (1440, 500), (4320, 1000))

# Ten years: what has not been heard for longer is no site of ours.
STALE_MIN_MAX = 10 * 366 * 1440


def buffer_permille(stale_min: int) -> int:
    """Return how much of a site's stock is kept back after so long without its facts, in thousandths."""
    return max((permille for after_min, permille in BUFFER_STEPS if stale_min >= after_min), default=0)


def minutes_since(heard_at: datetime, now: datetime) -> int:
    """Return how many whole minutes ago the last facts came; 0 where that seems to be in the future."""
    return max(0, (now - heard_at) // timedelta(minutes=1))


# --- Events and rejections ------------------------------------------------------


class StockProtected(Event, frozen=True, tag="stock.stock_protected"):
    """So many base units of a product stay at a site. 0 lifts it."""

    site_id: str
    product_id: str
    owner: str
    qty: int
    reason: str


class StalenessNoted(Event, frozen=True, tag="stock.staleness_noted"):
    """A site's facts stopped coming so many minutes ago; 0 when they come again."""

    site_id: str
    stale_min: int


class NothingNew(Conflict):
    """That is how it already is."""


# --- Tables and projections -----------------------------------------------------

stock_protected = sa.Table(
    "stock_protected",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("product_id", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    info={"origin": "network"},
)
stock_stale_site = sa.Table(
    "stock_stale_site",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("stale_min", sa.BigInteger, nullable=False),
    sa.Column("heard_at", Instant, nullable=False),
    info={"origin": "network"},
)
_PROTECT = Statement(upsert(stock_protected, keys=["site_id", "product_id", "owner"], set_=["qty", "reason"]))
_NOTE = Statement(upsert(stock_stale_site, keys=["site_id"], set_=["stale_min", "heard_at"]))


@projects(StockProtected)
def _protect(tx: Tx, event: StockProtected) -> None:
    tx.write(_PROTECT, **msgspec.structs.asdict(event))


@projects(StalenessNoted)
def _note(tx: Tx, event: StalenessNoted) -> None:
    heard_at = tx.now - timedelta(minutes=event.stale_min)
    tx.write(_NOTE, site_id=event.site_id, stale_min=event.stale_min, heard_at=heard_at)


# --- Commands -------------------------------------------------------------------


class ProtectStock(Command, frozen=True, tag="stock.protect_stock"):
    """Ask to keep `qty` base units of a product at a site from being promised; 0 lifts it."""

    site_id: str
    product_id: str
    owner: str
    qty: int
    reason: str


class NoteStaleness(Command, frozen=True, tag="stock.note_staleness"):
    """Tell for how many minutes a site's facts have not come; 0 when they come again."""

    site_id: str
    stale_min: int


@handles(ProtectStock, action="stock.protect_stock", owner=Owner.NETWORK)
def protect_stock(tx: Tx, command: ProtectStock) -> None:
    """Protect stock, or lift it."""
    problems = []
    if not 0 <= command.qty <= QTY_MAX:
        problems.append(Problem(field="qty", message=f"must be between 0 and {QTY_MAX} base units"))
    if not command.reason.strip():
        problems.append(Problem(field="reason", message="say what it is kept for"))
    require(problems)
    event = StockProtected(**msgspec.structs.asdict(command))
    tx.record(f"site/{command.site_id}", event)


@handles(NoteStaleness, action="stock.note_staleness", owner=Owner.NETWORK)
def note_staleness(tx: Tx, command: NoteStaleness) -> None:
    """Record a site's staleness where it changes the buffer."""
    if not 0 <= command.stale_min <= STALE_MIN_MAX:
        require([Problem(field="stale_min", message=f"must be between 0 and {STALE_MIN_MAX} minutes")])
    known = tx.value(_ONE, site=command.site_id) or 0
    if buffer_permille(known) == buffer_permille(command.stale_min):
        raise NothingNew(site_id=command.site_id, stale_min=known)
    tx.record(f"site/{command.site_id}", StalenessNoted(site_id=command.site_id, stale_min=command.stale_min))


# --- Queries --------------------------------------------------------------------


class Protected(msgspec.Struct, frozen=True):
    """Protected stock as readers see it."""

    site_id: str
    product_id: str
    owner: str
    qty: int
    reason: str


_ONE = Statement(
    sa.select(stock_stale_site.c.stale_min).where(stock_stale_site.c.site_id == sa.bindparam("site"))
)
_STALE = Statement(
    sa.select(stock_stale_site.c.site_id, stock_stale_site.c.stale_min)
    .where(stock_stale_site.c.stale_min > 0)
    .order_by(stock_stale_site.c.site_id)
)
_SILENCE = Statement(
    sa.select(stock_stale_site.c.stale_min, stock_stale_site.c.heard_at)
    .where(stock_stale_site.c.site_id == sa.bindparam("site"))
    .where(stock_stale_site.c.stale_min > 0)
)
_PROTECTED = Statement(
    sa.select(*stock_protected.columns)
    .where(stock_protected.c.qty > 0)
    .order_by(stock_protected.c.site_id, stock_protected.c.product_id, stock_protected.c.owner),
    into=Protected,
)


class Silence(msgspec.Struct, frozen=True):
    """A site whose facts do not come: since when, and how much is kept back for what is not heard."""

    site_id: str
    heard_at: datetime
    kept_back_permille: int


def silence_of(db: Reader, site_id: str) -> Silence | None:
    """Return since when a site's facts do not come; None while they do."""
    row = db.one(_SILENCE, site=site_id)
    return None if row is None else Silence(site_id, row[1], buffer_permille(int(row[0])))


def stale_sites(db: Reader) -> dict[str, int]:
    """Return the sites whose facts do not come, with the minutes since they did."""
    return {site_id: int(stale_min) for site_id, stale_min in db.all(_STALE)}


def protected_stock(db: Reader) -> list[Protected]:
    """Return all protected stock, by site."""
    return db.all(_PROTECTED)
