"""Pages for work with a scanner: scan a unit, scan the place it goes to; a count, a part of its own.

Invariants
    P1  One field is ready when a page opens, also after a refusal, and a scan ends with Enter: a move is two
        scans and no touch. Nothing here needs JavaScript.
    P2  A scan of the wrong kind (the unit again, another unit, a lot) moves nothing and says what it was.
    P3  Goods go to a place of another temperature class only when that place is scanned a second time.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.catalog.products import get_product
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Problem
from coldgrid.network.sites import get_site
from coldgrid.stock.counts import AdjustUnit, UnitAdjusted, UnitCounted
from coldgrid.stock.finding import find, find_units, location_of
from coldgrid.stock.hold_book import holds_of_unit
from coldgrid.stock.hold_facts import HeldState
from coldgrid.stock.hold_pages import REASONS
from coldgrid.stock.inventory import units_by_sscc, with_nested
from coldgrid.stock.keeping import keeping_of
from coldgrid.stock.movements import MoveUnit
from coldgrid.stock.scans import read_scan
from coldgrid.stock.splits import SplitUnit
from coldgrid.stock.transfer_book import Sent, on_the_way
from coldgrid.stock.transfers import ReceiveTransfer
from coldgrid.stock.units import PackLevel, Unit, UnitNotFound, where_now
from coldgrid.webkit.commands import see_other, submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db, admit_at, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "stock.view"}
SCAN = "/stock/scan"
# Why a count differs, as it is recorded.
DIFFERENCES = (
    "Miscounted before",
    "Damaged, taken out",
    "Short when it came",
    "More than was booked",
    "Taken without a booking",
)
DIGITS_MIN = 4  # of a unit's label, typed where it cannot be scanned
SCAN_PLACE = "Scan the label of the place."


@get(SCAN, opt=VIEW, include_in_schema=False, sync_to_thread=True)
def scan_page(request: Req, db: Db, q: FromQuery[str] = "") -> Response[Any]:
    """Ask for a scan, and go where it leads: a unit's to the work with it."""
    found = find(db, q)
    if found.address:
        work = "/work" if found.address.startswith("/stock/units/") else ""
        return see_other(found.address + work)
    digits, own = q.strip(), visitor_of(request).principal.sites
    meant = find_units(db, own, digits, 2) if len(digits) >= DIGITS_MIN else []
    if len(meant) == 1:
        return see_other(f"{meant[0].href}/work")
    why = found.why or (f"Nothing here is called {digits[:80]}." if digits else "")
    if meant:
        why = f"More than one unit begins or ends with {digits[:80]}. Type more of its digits."
    return page(request, "stock/scan.html", db, title="Scan", nav="/stock", why=why)


@get("/stock/units/{sscc:str}/work", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def work_page(request: Req, db: Db, sscc: FromPath[str]) -> Response[str]:
    """Show what a unit is, and what can be done with it on the floor."""
    return _work(request, db, sscc, NO_FORM, "")


def _work(request: Req, db: Reader, sscc: str, form: Form, about: str, sure: str = "") -> Response[str]:
    """The page, with a refused form where it belongs. `sure`: the place that is asked for once more (P3)."""
    unit = _unit(db, sscc)
    coming = on_the_way(db, sscc)
    here = coming.to_site_id if coming is not None else unit.site_id
    admit_at(request, VIEW["action"], [here, unit.site_id])
    return page(
        request,
        "stock/work.html",
        db,
        title=f"Unit …{sscc[-6:]}",
        nav="/stock",
        timezone=get_site(db, here).timezone,
        handling_unit=unit,
        coming=coming,
        product=get_product(db, unit.product_id) if unit.product_id else None,
        blocked=[one for one in holds_of_unit(db, sscc) if one.state is HeldState.OPEN],
        reasons=REASONS,
        levels=[(one.value, one.value) for one in PackLevel],
        differences=[(one, one) for one in DIFFERENCES],
        may_move=may(request, "stock.receive_transfer" if coming else "stock.move_unit", here),
        may_count=may(request, "stock.adjust_unit", unit.site_id),
        may_split=may(request, "stock.split_unit", unit.site_id),
        form=form,
        about=about,
        sure=sure,
    )


def _unit(db: Reader, sscc: str) -> Unit:
    rows = units_by_sscc(db, sscc)
    if not rows:
        raise UnitNotFound(sscc=sscc)
    return where_now(rows)


@post("/stock/units/{sscc:str}/move", include_in_schema=False)
async def move(request: Req, db: Db, sscc: FromPath[str], sure: FromQuery[str] = "") -> Response[Any]:
    """Move a unit to the place that was scanned, or take it in there when it comes by a transfer."""
    unit, coming = _unit(db, sscc), on_the_way(db, sscc)
    sent = await request.form()
    text = str(sent.get("to_location_id") or sent.get("location_id") or "")
    place = location_of(db, text)
    if place is None:
        return _refuse(request, db, sscc, _wrong_place(text, sscc))
    here = coming.to_site_id if coming is not None else unit.site_id
    if place.site_id != here:
        other = f"{place.location_id} is a place of {place.site_id}, and the unit is to stand at {here}."
        return _refuse(request, db, sscc, f"{other} To another site goods go by a transfer.")
    if sure != place.location_id and (why := _unfit(db, unit, coming, place.zone_id)):
        return _refuse(request, db, sscc, why, place.location_id)
    again = {"again": lambda form: _work(request, db, sscc, form, "move")}
    if coming is not None:
        return await submit_form(
            request,
            ReceiveTransfer,
            then=SCAN,
            said=f"…{sscc[-6:]} is taken in at {place.location_id}.",
            site_id=here,
            transfer_id=coming.transfer_id,
            location_id=place.location_id,
            sscc=[sscc],
            other_class=sure == place.location_id,
            **again,
        )
    return await submit_form(
        request,
        MoveUnit,
        then=SCAN,
        said=f"…{sscc[-6:]} moved to {place.location_id}.",
        site_id=here,
        sscc=sscc,
        to_location_id=place.location_id,
        other_class=sure == place.location_id,
        **again,
    )


def _refuse(request: Req, db: Reader, sscc: str, why: str, sure: str = "") -> Response[str]:
    form = Form(title=why, problems=[Problem(field="place", message=why)], status=422)
    response = _work(request, db, sscc, form, "move", sure)
    response.status_code = 422
    return response


def _wrong_place(text: str, sscc: str) -> str:
    """Say what was scanned instead of a place (P2)."""
    scan = read_scan(text)
    if scan.wrong:
        return scan.wrong
    if scan.sscc:
        own = scan.sscc == sscc
        return f"That is {'this unit' if own else f'unit {scan.sscc}'}, not a place. {SCAN_PLACE}"
    if not text.strip():
        return f"Nothing was scanned. {SCAN_PLACE}"
    if scan.name:
        return f"There is no place {scan.name[:80]}. {SCAN_PLACE}"
    return f"That is no label of a place. {SCAN_PLACE}"


def _unfit(db: Reader, unit: Unit, coming: Sent | None, zone_id: str) -> str:
    """Say that goods of one temperature class would stand in a zone of another; "" where they fit."""
    lines = [coming.unit.line] if coming is not None else with_nested(db, [unit])
    if coming is None and unit.zone_id == zone_id:
        return ""
    keeping = keeping_of(db, zone_id, [line.product_id for line in lines])
    for product_id, kept in sorted(keeping.misfits().items()):
        return (
            f"{zone_id} is {keeping.zone_class.value}, and {product_id} is kept {kept.value}. "
            "Scan another place, or this one once more if the goods must go there."
        )
    return ""


@post("/stock/units/{sscc:str}/count", include_in_schema=False)
async def count(request: Req, db: Db, sscc: FromPath[str]) -> Response[Any]:
    """Keep a count; where it differs the books are put right."""
    unit = _unit(db, sscc)
    return await submit_form(
        request,
        AdjustUnit,
        then=SCAN,
        said=lambda outcome: _counted(sscc, unit.qty, outcome.result),
        again=lambda form: _work(request, db, sscc, form, "count"),
        site_id=unit.site_id,
        sscc=sscc,
    )


def _counted(sscc: str, booked_qty: int, event: UnitAdjusted | UnitCounted) -> str:
    if isinstance(event, UnitCounted):
        return f"…{sscc[-6:]} agrees with the books: {event.counted_qty}."
    return f"…{sscc[-6:]}: {booked_qty} in the books, {event.counted_qty} counted."


@post("/stock/units/{sscc:str}/split", include_in_schema=False)
async def split(request: Req, db: Db, sscc: FromPath[str]) -> Response[Any]:
    """Make a part of a unit a unit of its own, under the label that was scanned."""
    unit = _unit(db, sscc)
    text = str((await request.form()).get("new_sscc", ""))
    scan = read_scan(text)
    return await submit_form(
        request,
        SplitUnit,
        then=lambda outcome: f"/stock/units/{quote(outcome.result.new_sscc)}/work",
        said=lambda outcome: f"{outcome.result.line.qty} of …{sscc[-6:]} are now this unit.",
        again=lambda form: _work(request, db, sscc, form, "split"),
        site_id=unit.site_id,
        sscc=sscc,
        new_sscc=scan.sscc or text.strip(),
    )


handlers = [scan_page, work_page, move, count, split]
