"""Pages about quality: excursions, unit-by-unit dispositions and deviations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath
from markupsafe import Markup

from coldgrid.access.people import names
from coldgrid.catalog.products import Regime, get_product
from coldgrid.kernel.authorize import Resource
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.money import Money
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import get_site
from coldgrid.network.zones import get_zone
from coldgrid.orchestration.approvals import approvers_of
from coldgrid.orchestration.sources import Source, register_source
from coldgrid.quality import reading_pages
from coldgrid.quality.charts import excursion_frame, told
from coldgrid.quality.deviations import CloseDeviation, InvestigateDeviation, Weight, deviation_of
from coldgrid.quality.dispositions import (
    Outcome,
    SignDisposition,
    UnitNotExposed,
    dispositions_of,
    dispositions_of_unit,
    undecided_units,
)
from coldgrid.quality.excursion_book import find_excursion
from coldgrid.quality.excursions import (
    Excursion,
    excursions_of_incident,
    excursions_of_lot,
    excursions_of_unit,
    exposed_units,
    get_excursion,
    list_excursions,
    shipped_units,
    unit_counts,
    waiting_units,
)
from coldgrid.quality.exposure import Verdict
from coldgrid.quality.hand_readings import hand_readings_of
from coldgrid.quality.presence import WORDS as EXPOSING
from coldgrid.quality.presence import places_now, presence_of
from coldgrid.quality.reading_pages import shown_readings
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import Badge, NavItem, PanelContext, page, register_nav, register_panel
from coldgrid.webkit.visitors import Db, Visitor, at_home, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "quality.view", "reads": "quality"}
OUTCOMES = {
    Outcome.RELEASE: ("Release", "Back to stock, as good as before"),
    Outcome.REDUCED_LIFE: ("Release with reduced life", "Back to stock, with an earlier last day"),
    Outcome.REWORK: ("Rework", "Kept from sale until it was reworked"),
    Outcome.RETURN: ("Return to supplier", "Leaves with the supplier's carrier"),
    Outcome.DONATE: ("Donate", "Leaves for a food bank"),
    Outcome.DESTROY: ("Destroy", "Before a witness, after the insurer's inspection or its waiver"),
}
VERDICTS = {
    Verdict.WITHIN_LIMITS: ("ok", "within limits"),
    Verdict.ASSESS: ("crit", "to assess"),
    Verdict.UNKNOWN: ("off", "unknown"),
}
WEIGHTS = {
    Weight.MINOR: ("Minor", "No effect on the goods"),
    Weight.MAJOR: ("Major", "Goods were lost or their life reduced"),
    Weight.CRITICAL: ("Critical", "People may have been harmed"),
}
SHOWN = 60
# Units of an excursion that the incident's page shows; its own page has them all.
PANEL_UNITS = 12


def _open_count(db: Reader, visitor: Visitor) -> Badge | None:
    sites = visitor.principal.sites
    waiting = sum(count for site_id, count in waiting_units(db).items() if sites is None or site_id in sites)
    return Badge(waiting, hot=True) if waiting else None


register_nav(
    NavItem(group="Assure", label="Quality", href="/quality", icon="thermo", badge=_open_count, order=10)
)


def _visible(db: Reader, visitor: Visitor) -> list[Excursion]:
    sites = visitor.principal.sites
    return [one for one in list_excursions(db) if sites is None or one.site_id in sites]


def _admitted(request: Req, db: Reader, excursion_id: str) -> Excursion:
    """Return an excursion, or refuse whoever may not look at its site; the address does not name one."""
    excursion = get_excursion(db, excursion_id)
    resource = Resource(site_id=excursion.site_id, kind="page", id=request.url.path)
    request.app.state.authorizer.authorize(visitor_of(request).principal, VIEW["action"], resource)
    return excursion


# --- The list -------------------------------------------------------------------


@get("/quality", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def quality_page(request: Req, db: Db) -> Response[str]:
    """Show the excursions, those that wait for a decision first."""
    shown = _visible(db, visitor_of(request))[:SHOWN]
    counts = unit_counts(db, [one.excursion_id for one in shown])
    rows = [(one, *counts.get(one.excursion_id, (0, 0))) for one in shown]
    return page(
        request,
        "quality/excursions.html",
        db,
        title="Quality",
        nav="/quality",
        topics=("incidents",),
        waiting=[row for row in rows if row[2]],
        settled=[row for row in rows if not row[2]],
        deviations={one.excursion_id: deviation_of(db, one.excursion_id) for one, _, _ in rows},
        stakes={one.excursion_id: Money(one.at_stake_cents, one.currency) for one, _, _ in rows},
        presence={one.excursion_id: presence_of(db, one, request.app.state.now()) for one, _, _ in rows},
        exposing=EXPOSING,
        timezones={one.site_id: get_site(db, one.site_id).timezone for one, _, _ in rows},
        may_sign_at={
            one.site_id for one, _, _ in rows if may(request, "quality.sign_disposition", one.site_id)
        },
    )


# --- An excursion ---------------------------------------------------------------


@get("/quality/excursions/{excursion_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def excursion_page(request: Req, db: Db, excursion_id: FromPath[str]) -> Response[str]:
    """Show what was exposed and shipped, how warm it got, and what was decided."""
    return _excursion(request, db, excursion_id, NO_FORM)


def _excursion(request: Req, db: Reader, excursion_id: str, form: Form) -> Response[str]:
    excursion = _admitted(request, db, excursion_id)
    site, zone = get_site(db, excursion.site_id), get_zone(db, excursion.zone_id)
    units = [row.numbers for row in exposed_units(db, excursion_id)]
    frame = excursion_frame(db, excursion, units, unit=visitor_of(request).unit, timezone=site.timezone)
    return page(
        request,
        "quality/excursion.html",
        db,
        title=f"Excursion in {zone.name}",
        nav="/quality",
        topics=(f"incident/{excursion.incident_id}",) if excursion.incident_id else (),
        timezone=site.timezone,
        site=site,
        zone=zone,
        excursion=excursion,
        stake=Money(excursion.at_stake_cents, excursion.currency),
        units=units,
        presence=presence_of(db, excursion, request.app.state.now()),
        places=places_now(db, excursion.zone_id, [unit.sscc for unit in units]),
        undecided={unit.sscc: unit for unit in undecided_units(db, excursion_id)},
        signed=dispositions_of(db, excursion_id),
        shipped=shipped_units(db, excursion_id),
        products={pid: get_product(db, pid) for pid in sorted({unit.product_id for unit in units})},
        **shown_readings(db, excursion.zone_id, excursion.from_at, request.app.state.now()),
        deviation=deviation_of(db, excursion_id),
        frame=frame,
        told=told(frame) if frame else "",
        names=names(db),
        may_sign=may(request, "quality.sign_disposition", excursion.site_id),
        may_measure=may(request, "quality.record_hand_reading", excursion.site_id),
        may_investigate=may(request, "quality.investigate_deviation", excursion.site_id),
        form=form,
        **_words(),
    )


def _words() -> dict[str, Any]:
    return {
        "verdicts": VERDICTS,
        "outcomes": {outcome: text for outcome, (text, _) in OUTCOMES.items()},
        "weights": [(weight.value, *text) for weight, text in WEIGHTS.items()],
    }


# --- A unit's disposition -------------------------------------------------------


@get(
    "/quality/excursions/{excursion_id:str}/units/{sscc:str}",
    opt=VIEW,
    include_in_schema=False,
    sync_to_thread=True,
)
def unit_page(request: Req, db: Db, excursion_id: FromPath[str], sscc: FromPath[str]) -> Response[str]:
    """Ask what becomes of one unit, beside the numbers that speak for it."""
    return _unit(request, db, excursion_id, sscc, NO_FORM)


def _unit(request: Req, db: Reader, excursion_id: str, sscc: str, form: Form) -> Response[str]:
    excursion = _admitted(request, db, excursion_id)
    units = [row.numbers for row in exposed_units(db, excursion_id)]
    unit = next((one for one in units if one.sscc == sscc), None)
    if unit is None:
        raise UnitNotExposed(excursion_id=excursion_id, sscc=sscc)
    left = {one.sscc: one for one in undecided_units(db, excursion_id)}
    following = [one for one in left if one != sscc]
    product = get_product(db, unit.product_id)
    person = visitor_of(request).principal
    readings = hand_readings_of(db, excursion.zone_id, excursion.from_at, request.app.state.now())
    return page(
        request,
        "quality/unit.html",
        db,
        title="What becomes of the goods?",
        nav="/quality",
        timezone=get_site(db, excursion.site_id).timezone,
        excursion=excursion,
        exposed=unit,
        left=left.get(sscc),
        following=following[0] if following else "",
        product=product,
        value=Money(unit.value_cents, product.currency),
        role="responsible_person" if product.regime is Regime.PHARMA else "quality",
        involved=person.actor_id in approvers_of(db, excursion.incident_id)
        if excursion.incident_id
        else False,
        readings=[one for one in readings if one.sscc in ("", sscc)],
        signed=[one for one in dispositions_of(db, excursion_id) if sscc in (one.sscc, one.from_sscc)],
        people=[(who, name) for who, name in sorted(names(db).items()) if who != person.actor_id],
        names=names(db),
        options=[(outcome.value, *text) for outcome, text in OUTCOMES.items()],
        may_sign=may(request, "quality.sign_disposition", excursion.site_id),
        form=form,
        **_words(),
    )


@post("/quality/excursions/{excursion_id:str}/units/{sscc:str}", include_in_schema=False)
async def sign(request: Req, db: Db, excursion_id: FromPath[str], sscc: FromPath[str]) -> Response[Any]:
    """Sign for a unit, and go on to the next that waits."""
    excursion = _admitted(request, db, excursion_id)
    typed = await request.form()
    key = typed.get("_key", "")
    # After a part the rest of the same unit waits.
    rest = [one.sscc for one in undecided_units(db, excursion_id) if one.sscc != sscc or typed.get("qty")]
    at = f"/quality/excursions/{excursion_id}"
    return await submit_form(
        request,
        SignDisposition,
        then=f"{at}/units/{sscc if sscc in rest else rest[0]}" if rest else at,
        said=f"Signed. {len(rest)} still to decide; here is the next."
        if rest
        else "Signed. All are decided.",
        again=lambda form: _unit(request, db, excursion_id, sscc, form),
        site_id=excursion.site_id,
        excursion_id=excursion_id,
        sscc=sscc,
        disposition_id=derive_id("disposition", excursion_id, sscc, key),
    )


# --- Deviations -----------------------------------------------------------------


@post("/quality/excursions/{excursion_id:str}/investigation", include_in_schema=False)
async def investigate(request: Req, db: Db, excursion_id: FromPath[str]) -> Response[Any]:
    """Write down cause and remedy of an excursion's deviation."""
    excursion, deviation = _admitted(request, db, excursion_id), deviation_of(db, excursion_id)
    return await submit_form(
        request,
        InvestigateDeviation,
        then=f"/quality/excursions/{excursion_id}",
        said="The investigation is on record.",
        again=lambda form: _excursion(request, db, excursion_id, form),
        site_id=excursion.site_id,
        deviation_id=deviation.deviation_id if deviation else "",
    )


@post("/quality/excursions/{excursion_id:str}/conclusion", include_in_schema=False)
async def conclude(request: Req, db: Db, excursion_id: FromPath[str]) -> Response[Any]:
    """Close an excursion's deviation."""
    excursion, deviation = _admitted(request, db, excursion_id), deviation_of(db, excursion_id)
    return await submit_form(
        request,
        CloseDeviation,
        then=f"/quality/excursions/{excursion_id}",
        said="The deviation is closed.",
        again=lambda form: _excursion(request, db, excursion_id, form),
        site_id=excursion.site_id,
        deviation_id=deviation.deviation_id if deviation else "",
    )


# --- Panels on other rooms' pages -----------------------------------------------


def _rows(db: Reader, excursions: Sequence[Excursion]) -> list[dict[str, Any]]:
    rows = []
    for one in excursions:
        units = [row.numbers for row in exposed_units(db, one.excursion_id)]
        rows.append(
            {
                "excursion": one,
                "units": units,
                "places": places_now(db, one.zone_id, [unit.sscc for unit in units[:PANEL_UNITS]]),
                "undecided": {unit.sscc for unit in undecided_units(db, one.excursion_id)},
                "shipped": shipped_units(db, one.excursion_id),
                "outcomes_by": {signed.sscc: signed for signed in dispositions_of(db, one.excursion_id)},
            }
        )
    return rows


def _incident_panel(c: PanelContext) -> Markup | None:
    excursions = excursions_of_incident(c.db, c.about["incident"].incident_id)
    if not excursions:
        return None
    return c.render(
        "quality/_incident_panel.html", rows=_rows(c.db, excursions), most=PANEL_UNITS, **_words()
    )


def _unit_panel(c: PanelContext) -> Markup | None:
    sscc = c.about["handling_unit"].sscc
    found = excursions_of_unit(c.db, sscc)
    if not found:
        return None
    signed = {one.excursion_id: one for one in dispositions_of_unit(c.db, sscc)}
    return c.render("quality/_unit_panel.html", exposures=found, signed=signed, **_words())


def _lot_panel(c: PanelContext) -> Markup | None:
    visitor = visitor_of(c.request)
    every = excursions_of_lot(c.db, c.about["lot"].lot_id)
    excursions = [one for one in every if at_home(visitor, [one.site_id])]
    if not excursions:
        return None
    presence = {one.excursion_id: presence_of(c.db, one, c.request.app.state.now()) for one in excursions}
    return c.render("quality/_lot_panel.html", excursions=excursions, presence=presence, exposing=EXPOSING)


def _excursion_source(db: Reader, id_: str) -> Source | None:
    """Tell of an excursion that a decision rests on."""
    found = find_excursion(db, id_)
    if found is None:
        return None
    facts, href = {"zone": found.zone_id, "why": found.why}, f"/quality/excursions/{id_}"
    return Source(id=id_, text="Excursion in {zone}: {why}", facts=facts, at=found.opened_at, href=href)


register_source("quality.excursions", _excursion_source)
register_panel("incident", "main", _incident_panel, order=20)
register_panel("unit", "main", _unit_panel, order=10)
register_panel("lot", "side", _lot_panel, order=20)

handlers = [
    quality_page,
    excursion_page,
    unit_page,
    sign,
    investigate,
    conclude,
    *reading_pages.handlers,
]
