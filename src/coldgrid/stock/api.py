"""Stock over HTTP: reads under /api/v1/stock, and the commands that devices send.

Every command of this room also has its address at /api/v1/commands/{name}.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.network.sites import get_site
from coldgrid.network.zones import get_zone
from coldgrid.stock.dispatch import DispatchGoods
from coldgrid.stock.hold_book import holds_of_unit, open_holds, units_of_hold
from coldgrid.stock.holds import PlaceHold, ReleaseHold
from coldgrid.stock.inventory import units_by_sscc, zone_units
from coldgrid.stock.ledger import balances_of_product, balances_of_site, movements_of_unit
from coldgrid.stock.lineage import came_from, went_into
from coldgrid.stock.movements import AdjustUnit, MoveUnit, ReceiveUnit
from coldgrid.stock.pauses import PauseZone, ResumeZone, open_pauses
from coldgrid.stock.promises import promises_of
from coldgrid.stock.reserves import silence_of
from coldgrid.stock.stays import stays_of
from coldgrid.stock.trace import trace_lot
from coldgrid.stock.transfer_book import sent_units
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer
from coldgrid.stock.units import UnitNotFound
from coldgrid.webkit.commands import submit
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
VIEW = {"action": "stock.view"}
LIMIT_MAX = 1000


def _json(value: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json")


# --- Reads ----------------------------------------------------------------------


@get("/sites/{site_id:str}/balances", opt=VIEW, sync_to_thread=True, summary="Balances of a site")
def site_balances(db: Db, site_id: FromPath[str]) -> Response[bytes]:
    """Return what stands at each place of a site, virtual places included; together they are zero."""
    return _json(balances_of_site(db, site_id))


@get("/sites/{site_id:str}/freshness", opt=VIEW, sync_to_thread=True, summary="Age of a site's facts")
def freshness(db: Db, site_id: FromPath[str]) -> Response[bytes]:
    """Return since when a site's facts have not come (null: they do), and how much is kept back for that."""
    get_site(db, site_id)
    silence = silence_of(db, site_id)
    kept = silence.kept_back_permille if silence is not None else 0
    heard_at = silence.heard_at if silence is not None else None
    return _json({"site_id": site_id, "silent_since": heard_at, "kept_back_permille": kept})


@get("/products/{product_id:str}/balances", opt=VIEW, sync_to_thread=True, summary="Balances of a product")
def product_balances(db: Db, product_id: FromPath[str]) -> Response[bytes]:
    """Return where a product stands in the whole network."""
    return _json(balances_of_product(db, product_id))


@get(
    "/sites/{site_id:str}/zones/{zone_id:str}/units", opt=VIEW, sync_to_thread=True, summary="Units of a zone"
)
def units(
    db: Db,
    site_id: FromPath[str],
    zone_id: FromPath[str],
    after: FromQuery[str] = "",
    limit: FromQuery[int] = 100,
) -> Response[bytes]:
    """Return a zone's units by SSCC, those behind `after`, at most `limit` (1 to 1000)."""
    if not 1 <= limit <= LIMIT_MAX:
        raise Invalid(problems=[Problem(field="limit", message=f"must be between 1 and {LIMIT_MAX}")])
    _require_zone(db, site_id, zone_id)
    return _json(zone_units(db, zone_id, after, limit))


@get("/units/{sscc:str}", opt=VIEW, sync_to_thread=True, summary="One unit")
def unit(db: Db, sscc: FromPath[str]) -> Response[bytes]:
    """Return a unit's rows at every site, its holds, stays, movements and lineage."""
    rows = units_by_sscc(db, sscc)
    if not rows:
        raise UnitNotFound(sscc=sscc)
    found = {
        "units": rows,
        "holds": holds_of_unit(db, sscc),
        "stays": stays_of(db, sscc),
        "movements": movements_of_unit(db, sscc),
        "came_from": came_from(db, sscc),
        "went_into": went_into(db, sscc),
    }
    return _json(found)


@get("/sites/{site_id:str}/holds", opt=VIEW, sync_to_thread=True, summary="Open holds of a site")
def site_holds(db: Db, site_id: FromPath[str]) -> Response[bytes]:
    """Return a site's open holds with their units."""
    holds = open_holds(db, site_id)
    return _json([{"hold": hold, "units": units_of_hold(db, site_id, hold.hold_id)} for hold in holds])


@get("/sites/{site_id:str}/zones/{zone_id:str}/pauses", opt=VIEW, sync_to_thread=True, summary="Open pauses")
def zone_pauses(db: Db, site_id: FromPath[str], zone_id: FromPath[str]) -> Response[bytes]:
    """Return the open pauses of a zone; none means goods may be promised from it."""
    _require_zone(db, site_id, zone_id)
    return _json(open_pauses(db, zone_id))


@get("/lots/{lot_id:str}/trace", opt=VIEW, sync_to_thread=True, summary="Trace of a lot, both ways")
def lot_trace(db: Db, lot_id: FromPath[str]) -> Response[bytes]:
    """Return where a lot came from, every unit of it, and the orders that got it."""
    return _json(trace_lot(db, lot_id))


@get("/orders/{order_id:str}/promises", opt=VIEW, sync_to_thread=True, summary="Promises of an order")
def order_promises(db: Db, order_id: FromPath[str]) -> Response[bytes]:
    """Return an order's promises, past ones too."""
    return _json(promises_of(db, order_id))


@get("/transfers/{transfer_id:str}", opt=VIEW, sync_to_thread=True, summary="Units of a transfer")
def transfer(db: Db, transfer_id: FromPath[str]) -> Response[bytes]:
    """Return a transfer's units, received ones too."""
    return _json(sent_units(db, transfer_id))


def _require_zone(db: Reader, site_id: str, zone_id: str) -> None:
    zone = get_zone(db, zone_id)
    if zone.site_id != site_id:
        raise Invalid(problems=[Problem(field="zone_id", message=f"{zone_id} is a zone of {zone.site_id}")])


# --- Commands -------------------------------------------------------------------


@post("/sites/{site_id:str}/units", status_code=200, summary="Receive a unit")
async def receive(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Take a unit in."""
    return await submit(request, ReceiveUnit, site_id=site_id)


@post("/sites/{site_id:str}/units/{sscc:str}/move", status_code=200, summary="Move a unit")
async def move(request: Req, site_id: FromPath[str], sscc: FromPath[str]) -> Response[bytes]:
    """Move a unit with all that nests in it."""
    return await submit(request, MoveUnit, site_id=site_id, sscc=sscc)


@post("/sites/{site_id:str}/units/{sscc:str}/count", status_code=200, summary="Count a unit")
async def count(request: Req, site_id: FromPath[str], sscc: FromPath[str]) -> Response[bytes]:
    """Tell what a count found."""
    return await submit(request, AdjustUnit, site_id=site_id, sscc=sscc)


@post("/sites/{site_id:str}/dispatches", status_code=200, summary="Dispatch goods")
async def dispatch(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Let goods leave for a customer's order; held goods are refused, naming each hold."""
    return await submit(request, DispatchGoods, site_id=site_id)


@post("/sites/{site_id:str}/transfers", status_code=200, summary="Send units to another site")
async def ship_transfer(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Send units to another site; held ones stay held."""
    return await submit(request, ShipTransfer, site_id=site_id)


@post(
    "/sites/{site_id:str}/transfers/{transfer_id:str}/receive", status_code=200, summary="Receive a transfer"
)
async def receive_transfer(
    request: Req, site_id: FromPath[str], transfer_id: FromPath[str]
) -> Response[bytes]:
    """Take units of a transfer in."""
    return await submit(request, ReceiveTransfer, site_id=site_id, transfer_id=transfer_id)


@post("/sites/{site_id:str}/holds", status_code=200, summary="Place a hold")
async def place_hold(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Hold units, or a place over a time."""
    return await submit(request, PlaceHold, site_id=site_id)


@post("/sites/{site_id:str}/holds/{hold_id:str}/release", status_code=200, summary="End a hold")
async def release_hold(request: Req, site_id: FromPath[str], hold_id: FromPath[str]) -> Response[bytes]:
    """Decide what becomes of held units."""
    return await submit(request, ReleaseHold, site_id=site_id, hold_id=hold_id)


@post("/sites/{site_id:str}/zones/{zone_id:str}/pause", status_code=200, summary="Pause a zone")
async def pause(request: Req, site_id: FromPath[str], zone_id: FromPath[str]) -> Response[bytes]:
    """Stop new promises from a zone."""
    return await submit(request, PauseZone, site_id=site_id, zone_id=zone_id)


@post("/sites/{site_id:str}/zones/{zone_id:str}/resume", status_code=200, summary="Resume a zone")
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
