"""Quality over HTTP: reads under /api/v1/quality. Its commands are at /api/v1/commands/{name}."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Router, get
from litestar.params import FromPath

from coldgrid.kernel.authorize import Resource
from coldgrid.kernel.reading import Reader
from coldgrid.network.zones import get_zone
from coldgrid.quality.budgets import Spent, spent_by
from coldgrid.quality.deviations import Deviation, deviation_of
from coldgrid.quality.dispositions import Disposition, dispositions_of, dispositions_of_unit, undecided_units
from coldgrid.quality.excursions import (
    Excursion,
    Exposed,
    ExposedUnit,
    ShippedUnit,
    excursions_of_unit,
    exposed_units,
    get_excursion,
    list_excursions,
    shipped_units,
)
from coldgrid.quality.zone_now import ZoneNow, zone_now
from coldgrid.stock.inventory import units_by_sscc
from coldgrid.stock.units import UnitNotFound
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "quality.view", "reads": "quality"}


class ExcursionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An excursion with its units and their verdicts, what was shipped, signed and is undecided."""

    excursion: Excursion
    units: list[ExposedUnit]
    shipped: list[ShippedUnit]
    dispositions: list[Disposition]
    undecided: list[str]
    deviation: Deviation | None


class UnitExposures(msgspec.Struct, frozen=True, kw_only=True):
    """A unit's exposures, what it spent of its life budgets by cause, and what was decided about it."""

    exposures: list[Exposed]
    spent: list[Spent]
    dispositions: list[Disposition]


def _admit(request: Req, site_id: str) -> None:
    """Refuse whoever may not look at a site that the address does not name."""
    resource = Resource(site_id=site_id, kind="api", id=request.url.path)
    request.app.state.authorizer.authorize(visitor_of(request).principal, VIEW["action"], resource)


@get("/excursions", opt=VIEW, sync_to_thread=True, summary="Excursions")
def excursions(request: Req, db: Db) -> list[Excursion]:
    """Return the newest excursions of the sites that the caller may look at."""
    sites = visitor_of(request).principal.sites
    return [one for one in list_excursions(db) if sites is None or one.site_id in sites]


@get("/excursions/{excursion_id:str}", opt=VIEW, sync_to_thread=True, summary="One excursion")
def excursion(request: Req, db: Db, excursion_id: FromPath[str]) -> ExcursionDetail:
    """Return an excursion with its units and their verdicts, what was shipped, signed and is undecided."""
    found = get_excursion(db, excursion_id)
    _admit(request, found.site_id)
    return ExcursionDetail(
        excursion=found,
        units=[row.numbers for row in exposed_units(db, excursion_id)],
        shipped=shipped_units(db, excursion_id),
        dispositions=dispositions_of(db, excursion_id),
        undecided=[unit.sscc for unit in undecided_units(db, excursion_id)],
        deviation=deviation_of(db, excursion_id),
    )


@get("/units/{sscc:str}", opt=VIEW, sync_to_thread=True, summary="A unit's exposures")
def unit(request: Req, db: Db, sscc: FromPath[str]) -> UnitExposures:
    """Return every exposure of a unit, what it spent of its life budgets, and what was decided about it."""
    exposures = _own(request, db, sscc)
    if not exposures and not units_by_sscc(db, sscc):
        raise UnitNotFound(sscc=sscc)
    return UnitExposures(
        exposures=exposures, spent=spent_by(db, [sscc]), dispositions=dispositions_of_unit(db, sscc)
    )


def _own(request: Req, db: Reader, sscc: str) -> list[Exposed]:
    sites = visitor_of(request).principal.sites
    return [row for row in excursions_of_unit(db, sscc) if sites is None or row.site_id in sites]


@get("/zones/{zone_id:str}/now", opt=VIEW, sync_to_thread=True, summary="A zone now")
def zone(request: Req, db: Db, zone_id: FromPath[str]) -> ZoneNow:
    """Return a zone's air, its goods' estimated temperatures and their time left."""
    _admit(request, get_zone(db, zone_id).site_id)
    return zone_now(db, zone_id, request.app.state.now())


handlers = [
    Router("/api/v1/quality", route_handlers=[excursions, excursion, unit, zone], tags=["Quality"]),
]
