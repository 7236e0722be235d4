"""Quality over HTTP: reads under /api/v1/quality. Its commands are at /api/v1/commands/{name}."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.params import FromPath

from coldgrid.kernel.authorize import Resource
from coldgrid.kernel.reading import Reader
from coldgrid.network.zones import get_zone
from coldgrid.quality.budgets import spent_by
from coldgrid.quality.deviations import deviation_of
from coldgrid.quality.dispositions import dispositions_of, dispositions_of_unit, undecided_units
from coldgrid.quality.excursions import (
    excursions_of_unit,
    exposed_units,
    get_excursion,
    list_excursions,
    shipped_units,
)
from coldgrid.quality.zone_now import zone_now
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "quality.view", "reads": "quality"}


def _json(value: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _admit(request: Req, site_id: str) -> None:
    """Refuse whoever may not look at a site that the address does not name."""
    resource = Resource(site_id=site_id, kind="api", id=request.url.path)
    request.app.state.authorizer.authorize(visitor_of(request).principal, VIEW["action"], resource)


@get("/excursions", opt=VIEW, sync_to_thread=True, summary="Excursions")
def excursions(request: Req, db: Db) -> Response[bytes]:
    """Return the newest excursions of the sites that the caller may look at."""
    sites = visitor_of(request).principal.sites
    return _json([one for one in list_excursions(db) if sites is None or one.site_id in sites])


@get("/excursions/{excursion_id:str}", opt=VIEW, sync_to_thread=True, summary="One excursion")
def excursion(request: Req, db: Db, excursion_id: FromPath[str]) -> Response[bytes]:
    """Return an excursion with its units and their verdicts, what was shipped, signed and is undecided."""
    found = get_excursion(db, excursion_id)
    _admit(request, found.site_id)
    return _json(
        {
            "excursion": found,
            "units": [row.numbers for row in exposed_units(db, excursion_id)],
            "shipped": shipped_units(db, excursion_id),
            "dispositions": dispositions_of(db, excursion_id),
            "undecided": [unit.sscc for unit in undecided_units(db, excursion_id)],
            "deviation": deviation_of(db, excursion_id),
        }
    )


@get("/units/{sscc:str}", opt=VIEW, sync_to_thread=True, summary="A unit's exposures")
def unit(request: Req, db: Db, sscc: FromPath[str]) -> Response[bytes]:
    """Return every exposure of a unit, what it spent of its life budgets, and what was decided about it."""
    exposures = _own(request, db, sscc)
    return _json(
        {
            "exposures": exposures,
            "spent": spent_by(db, [sscc]),
            "dispositions": dispositions_of_unit(db, sscc),
        }
    )


def _own(request: Req, db: Reader, sscc: str) -> list[Any]:
    sites = visitor_of(request).principal.sites
    return [row for row in excursions_of_unit(db, sscc) if sites is None or row.site_id in sites]


@get("/zones/{zone_id:str}/now", opt=VIEW, sync_to_thread=True, summary="A zone now")
def zone(request: Req, db: Db, zone_id: FromPath[str]) -> Response[bytes]:
    """Return a zone's air, its goods' estimated temperatures and their time left."""
    _admit(request, get_zone(db, zone_id).site_id)
    return _json(zone_now(db, zone_id, request.app.state.now()))


handlers = [
    Router("/api/v1/quality", route_handlers=[excursions, excursion, unit, zone], tags=["Quality"]),
]
