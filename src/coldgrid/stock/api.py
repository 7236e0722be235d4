"""Stock over HTTP: reads under /api/v1/stock, and the commands that devices send.

Every command of this room also has its address at /api/v1/commands/{name}.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.catalog.lots import get_lot
from coldgrid.catalog.products import get_product
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.network.sites import get_site
from coldgrid.network.zones import get_zone
from coldgrid.stock.counts import AdjustUnit, Count, counts_of
from coldgrid.stock.dispatch import DispatchGoods
from coldgrid.stock.hold_book import Hold, UnitHold, holds_of_unit, open_holds, units_of_hold
from coldgrid.stock.holds import PlaceHold, ReleaseHold
from coldgrid.stock.inventory import units_by_sscc, zone_units
from coldgrid.stock.ledger import Balance, Movement, balances_of_product, balances_of_site, movements_of_unit
from coldgrid.stock.lineage import Descent, came_from, went_into
from coldgrid.stock.movements import MoveUnit, ReceiveUnit
from coldgrid.stock.pauses import Pause, PauseZone, ResumeZone, open_pauses
from coldgrid.stock.promise_book import Promise, promises_of
from coldgrid.stock.reserves import silence_of
from coldgrid.stock.stays import Stay, stays_of
from coldgrid.stock.trace import LotTrace, trace_lot
from coldgrid.stock.transfer_book import Sent, sent_units
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer, TransferNotFound
from coldgrid.stock.units import Unit, UnitNotFound
from coldgrid.webkit.commands import submit
from coldgrid.webkit.visitors import Db, admit_at, at_home, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "stock.view"}
LIMIT_MAX = 1000


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a site's facts have not come (null: they do), and how much is kept back for that."""

    site_id: str
    silent_since: datetime | None
    kept_back_permille: int


class UnitDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A unit's rows at every site, and what happened to it."""

    units: list[Unit]
    holds: list[UnitHold]
    stays: list[Stay]
    movements: list[Movement]
    counts: list[Count]
    came_from: list[Descent]
    went_into: list[Descent]


class HoldDetail(msgspec.Struct, frozen=True):
    """A hold with every unit's part in it."""

    hold: Hold
    units: list[UnitHold]


# --- Reads ----------------------------------------------------------------------


@get("/sites/{site_id:str}/balances", opt=VIEW, sync_to_thread=True, summary="Balances of a site")
def site_balances(db: Db, site_id: FromPath[str]) -> list[Balance]:
    """Return what stands at each place of a site, virtual places included; together they are zero."""
    get_site(db, site_id)
    return balances_of_site(db, site_id)


@get("/sites/{site_id:str}/freshness", opt=VIEW, sync_to_thread=True, summary="Age of a site's facts")
def freshness(db: Db, site_id: FromPath[str]) -> Freshness:
    """Return since when a site's facts have not come (null: they do), and how much is kept back for that."""
    get_site(db, site_id)
    silence = silence_of(db, site_id)
    kept = silence.kept_back_permille if silence is not None else 0
    heard_at = silence.heard_at if silence is not None else None
    return Freshness(site_id=site_id, silent_since=heard_at, kept_back_permille=kept)


@get("/products/{product_id:str}/balances", opt=VIEW, sync_to_thread=True, summary="Balances of a product")
def product_balances(request: Req, db: Db, product_id: FromPath[str]) -> list[Balance]:
    """Return where a product stands in the whole network, as far as the caller is responsible for it."""
    get_product(db, product_id)
    visitor = visitor_of(request)
    return [one for one in balances_of_product(db, product_id) if at_home(visitor, [one.site_id])]


@get(
    "/sites/{site_id:str}/zones/{zone_id:str}/units", opt=VIEW, sync_to_thread=True, summary="Units of a zone"
)
def units(
    db: Db,
    site_id: FromPath[str],
    zone_id: FromPath[str],
    after: FromQuery[str] = "",
    limit: FromQuery[int] = 100,
) -> list[Unit]:
    """Return a zone's units by SSCC, those behind `after`, at most `limit` (1 to 1000)."""
    if not 1 <= limit <= LIMIT_MAX:
        raise Invalid(
            problems=[
                Problem(
                    field="limit",
                    message=f"must be between 1 and {LIMIT_MAX}",
                    fix="ask for fewer and go on behind the last with `after`",
                )
            ]
        )
    _require_zone(db, site_id, zone_id)
    return zone_units(db, zone_id, after, limit)


@get("/units/{sscc:str}", opt=VIEW, sync_to_thread=True, summary="One unit")
def unit(request: Req, db: Db, sscc: FromPath[str]) -> UnitDetail:
    """Return a unit's rows at every site, its holds, stays, movements, counts and lineage."""
    rows = units_by_sscc(db, sscc)
    if not rows:
        raise UnitNotFound(sscc=sscc)
    admit_at(request, VIEW["action"], [row.site_id for row in rows])
    return UnitDetail(
        units=rows,
        holds=holds_of_unit(db, sscc),
        stays=stays_of(db, sscc),
        movements=movements_of_unit(db, sscc),
        counts=counts_of(db, sscc),
        came_from=came_from(db, sscc),
        went_into=went_into(db, sscc),
    )


@get("/sites/{site_id:str}/holds", opt=VIEW, sync_to_thread=True, summary="Open holds of a site")
def site_holds(db: Db, site_id: FromPath[str]) -> list[HoldDetail]:
    """Return a site's open holds with their units."""
    get_site(db, site_id)
    holds = open_holds(db, site_id)
    return [HoldDetail(hold, units_of_hold(db, site_id, hold.hold_id)) for hold in holds]


@get("/sites/{site_id:str}/zones/{zone_id:str}/pauses", opt=VIEW, sync_to_thread=True, summary="Open pauses")
def zone_pauses(db: Db, site_id: FromPath[str], zone_id: FromPath[str]) -> list[Pause]:
    """Return the open pauses of a zone; none means goods may be promised from it."""
    _require_zone(db, site_id, zone_id)
    return open_pauses(db, zone_id)


@get("/lots/{lot_id:str}/trace", opt=VIEW, sync_to_thread=True, summary="Trace of a lot, both ways")
def lot_trace(request: Req, db: Db, lot_id: FromPath[str]) -> LotTrace:
    """Return where a lot came from, every unit of it, and the orders that got it, at the caller's sites."""
    get_lot(db, lot_id)  # of a mistyped lot nobody is told that none of it went out
    return trace_lot(db, lot_id, visitor_of(request).principal.sites)


@get("/orders/{order_id:str}/promises", opt=VIEW, sync_to_thread=True, summary="Promises of an order")
def order_promises(request: Req, db: Db, order_id: FromPath[str]) -> list[Promise]:
    """Return an order's promises, past ones too; those of the caller's sites."""
    visitor = visitor_of(request)
    return [one for one in promises_of(db, order_id) if at_home(visitor, [one.site_id])]


@get("/transfers/{transfer_id:str}", opt=VIEW, sync_to_thread=True, summary="Units of a transfer")
def transfer(request: Req, db: Db, transfer_id: FromPath[str]) -> list[Sent]:
    """Return a transfer's units, received ones too."""
    found = sent_units(db, transfer_id)
    if not found:
        raise TransferNotFound(transfer_id=transfer_id)
    admit_at(request, VIEW["action"], [found[0].from_site_id, found[0].to_site_id])
    return found


def _require_zone(db: Reader, site_id: str, zone_id: str) -> None:
    zone = get_zone(db, zone_id)
    if zone.site_id != site_id:
        raise Invalid(problems=[Problem(field="zone_id", message=f"{zone_id} is a zone of {zone.site_id}")])


# --- Commands -------------------------------------------------------------------


@post("/sites/{site_id:str}/units", opt={"takes": ReceiveUnit}, status_code=200, summary="Receive a unit")
async def receive(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Take a unit in."""
    return await submit(request, ReceiveUnit, site_id=site_id)


@post(
    "/sites/{site_id:str}/units/{sscc:str}/move",
    opt={"takes": MoveUnit},
    status_code=200,
    summary="Move a unit",
)
async def move(request: Req, site_id: FromPath[str], sscc: FromPath[str]) -> Response[bytes]:
    """Move a unit with all that nests in it."""
    return await submit(request, MoveUnit, site_id=site_id, sscc=sscc)


@post(
    "/sites/{site_id:str}/units/{sscc:str}/count",
    opt={"takes": AdjustUnit},
    status_code=200,
    summary="Count a unit",
)
async def count(request: Req, site_id: FromPath[str], sscc: FromPath[str]) -> Response[bytes]:
    """Keep a count: one that agrees, or one that puts the books right; a large difference by a supervisor."""
    return await submit(request, AdjustUnit, site_id=site_id, sscc=sscc)


@post(
    "/sites/{site_id:str}/dispatches", opt={"takes": DispatchGoods}, status_code=200, summary="Dispatch goods"
)
async def dispatch(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Let goods leave for a customer's order; held goods are refused, naming each hold."""
    return await submit(request, DispatchGoods, site_id=site_id)


@post(
    "/sites/{site_id:str}/transfers",
    opt={"takes": ShipTransfer},
    status_code=200,
    summary="Send units to another site",
)
async def ship_transfer(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Send units to another site; held ones stay held."""
    return await submit(request, ShipTransfer, site_id=site_id)


@post(
    "/sites/{site_id:str}/transfers/{transfer_id:str}/receive",
    opt={"takes": ReceiveTransfer},
    status_code=200,
    summary="Receive a transfer",
)
async def receive_transfer(
    request: Req, site_id: FromPath[str], transfer_id: FromPath[str]
) -> Response[bytes]:
    """Take units of a transfer in."""
    return await submit(request, ReceiveTransfer, site_id=site_id, transfer_id=transfer_id)


@post("/sites/{site_id:str}/holds", opt={"takes": PlaceHold}, status_code=200, summary="Place a hold")
async def place_hold(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Hold units, or a place over a time."""
    return await submit(request, PlaceHold, site_id=site_id)


@post(
    "/sites/{site_id:str}/holds/{hold_id:str}/release",
    opt={"takes": ReleaseHold},
    status_code=200,
    summary="End a hold",
)
async def release_hold(request: Req, site_id: FromPath[str], hold_id: FromPath[str]) -> Response[bytes]:
    """Decide what becomes of held units."""
    return await submit(request, ReleaseHold, site_id=site_id, hold_id=hold_id)


@post(
    "/sites/{site_id:str}/zones/{zone_id:str}/pause",
    opt={"takes": PauseZone},
    status_code=200,
    summary="Pause a zone",
)
async def pause(request: Req, site_id: FromPath[str], zone_id: FromPath[str]) -> Response[bytes]:
    """Stop new promises from a zone."""
    return await submit(request, PauseZone, site_id=site_id, zone_id=zone_id)


@post(
    "/sites/{site_id:str}/zones/{zone_id:str}/resume",
    opt={"takes": ResumeZone},
    status_code=200,
    summary="Resume a zone",
)
async def resume(request: Req, site_id: FromPath[str], zone_id: FromPath[str]) -> Response[bytes]:
    """Lift one cause of a pause."""
    return await submit(request, ResumeZone, site_id=site_id, zone_id=zone_id)


READS = [
    site_balances,
    freshness,
    product_balances,
    units,
    unit,
    site_holds,
    zone_pauses,
    lot_trace,
    order_promises,
    transfer,
]
WRITES = [
    receive,
    move,
    count,
    dispatch,
    ship_transfer,
    receive_transfer,
    place_hold,
    release_hold,
    pause,
    resume,
]
router = Router("/api/v1/stock", route_handlers=[*READS, *WRITES], tags=["stock"])
handlers = [router]
