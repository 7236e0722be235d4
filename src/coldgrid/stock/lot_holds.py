"""Pages that hold a lot, and what was made from it, wherever it stands: asked once, one hold at each site."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from coldgrid.catalog.lots import get_lot
from coldgrid.kernel.authorize import Resource
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Conflict, Invalid, Problem, Rejected
from coldgrid.kernel.validation import decode_all
from coldgrid.stock.hold_pages import REASONS, VIEW
from coldgrid.stock.holds import HoldAlreadyOpen, PlaceHold
from coldgrid.stock.inventory import units_of_lot
from coldgrid.stock.trace import trace_lot
from coldgrid.stock.units import Unit
from coldgrid.webkit.commands import KEY_LENGTH_MAX, form_values, run, see_other
from coldgrid.webkit.forms import NO_FORM, Form, form_bytes, refused_form
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db, may, visitor_of

Req = Request[Any, Any, Any]
HELD = "Held at {}."
PENDING = "Pending at {}: the nodes there do it when they hear of it. See Requests for the answer."
REFUSED = "Not held at {}."
TOLD = (HELD, PENDING, REFUSED)


class LotIsNowhere(Conflict):
    """No goods of the lot stand where you may hold any; whoever got some is on the lot's page."""


class Place(msgspec.Struct, frozen=True):
    """A site at which a lot, or what was made from it, stands, with the units there."""

    site_id: str
    units: list[Unit]

    @property
    def qty(self) -> int:
        """Base units that stand there."""
        return sum(unit.qty for unit in self.units)

    @property
    def free(self) -> int:
        """Units there that no hold blocks yet."""
        return sum(not unit.open_holds for unit in self.units)


@get("/stock/lots/{lot_id:str}/hold", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def ask_page(request: Req, db: Db, lot_id: FromPath[str]) -> Response[str]:
    """Show where a lot stands, and ask why it is held."""
    return _ask(request, db, lot_id, NO_FORM)


def _ask(request: Req, db: Reader, lot_id: str, form: Form) -> Response[str]:
    lot = get_lot(db, lot_id)
    trace = trace_lot(db, lot_id, visitor_of(request).principal.sites)
    return page(
        request,
        "stock/lot_hold.html",
        db,
        title=f"Hold lot {lot_id}",
        nav="/stock",
        lot=lot,
        later=_made_from(db, lot_id),
        places=_places(request, db, lot_id),
        in_transit=trace.in_transit,
        shipped=sum(trace.orders.values()),
        reasons=[(reason.value, text) for reason, text in REASONS.items()],
        form=form,
    )


def _made_from(db: Reader, lot_id: str) -> list[str]:
    return sorted({link.into_lot_id for link in trace_lot(db, lot_id).made_into} - {lot_id})


def _places(request: Req, db: Reader, lot_id: str) -> list[Place]:
    """Where the lot and what was made from it stand, of the sites at which the visitor may hold goods."""
    return [place for place in _everywhere(db, lot_id) if may(request, "stock.place_hold", place.site_id)]


def _everywhere(db: Reader, lot_id: str) -> list[Place]:
    found: dict[str, dict[str, Unit]] = {}
    for one in (lot_id, *_made_from(db, lot_id)):
        for unit in units_of_lot(db, one):
            if unit.present:
                found.setdefault(unit.site_id, {})[unit.sscc] = unit
    return [Place(site_id, list(units.values())) for site_id, units in sorted(found.items())]


def _refuse_strangers(request: Req, db: Reader, lot_id: str) -> None:
    """Refuse whoever may hold goods at none of the sites at which the lot stands.

    Raises:
        Forbidden: the lot stands somewhere, and the visitor may hold it nowhere.
    """
    for place in _everywhere(db, lot_id):
        resource = Resource(site_id=place.site_id, kind="lot", id=lot_id)
        request.app.state.authorizer.authorize(visitor_of(request).principal, "stock.place_hold", resource)


@post("/stock/lots/{lot_id:str}/hold", include_in_schema=False)
async def hold_lot(request: Req, db: Db, lot_id: FromPath[str]) -> Response[Any]:
    """Hold the lot at every site; a site that refuses is named, and the others are held all the same."""
    values = await form_values(request)
    key = (values.get("_key") or [""])[-1]
    places = _places(request, db, get_lot(db, lot_id).lot_id)
    if not places:
        _refuse_strangers(request, db, lot_id)
    try:
        _check(values, places, lot_id)
        became = [await _hold_at(request, place, lot_id, values, key) for place in places]
    except Rejected as rejected:
        response = _ask(request, db, lot_id, refused_form(rejected, values, status_of(rejected)))
        response.status_code = status_of(rejected)
        return response
    told = [
        text.format(", ".join(site for site, known in became if known == text))
        for text in TOLD
        if any(known == text for _, known in became)
    ]
    all_held = {known for _, known in became} == {HELD}
    return see_other(f"/stock/lots/{lot_id}", " ".join(told), "ok" if all_held else "warn")


def _check(values: dict[str, list[str]], places: list[Place], lot_id: str) -> None:
    if not (values.get("cause_id") or [""])[-1].strip():
        raise Invalid([Problem(field="cause_id", message="name what the hold answers")])
    if not places:
        raise LotIsNowhere(lot_id=lot_id)


async def _hold_at(
    request: Req, place: Place, lot_id: str, values: dict[str, list[str]], key: str
) -> tuple[str, str]:
    """Hold the lot at one site; return the site, with the reason where it refused, and what became of it."""
    fixed = {
        "site_id": place.site_id,
        "hold_id": derive_id("hold", place.site_id, lot_id, key),
        "sscc": [unit.sscc for unit in place.units],
    }
    command = decode_all(form_bytes(values, PlaceHold, **fixed), PlaceHold)
    try:
        outcome = await run(request, command, f"{place.site_id} {key}"[:KEY_LENGTH_MAX])
    except HoldAlreadyOpen:
        return place.site_id, HELD
    except Conflict as rejected:
        return f"{place.site_id} ({rejected})", REFUSED
    return place.site_id, PENDING if outcome.pending else HELD


handlers = [ask_page, hold_lot]
