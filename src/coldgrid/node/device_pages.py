"""The page of a site's devices: gateways, what they hear and nobody registered, sensors and their devices."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from markupsafe import Markup

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.validation import decode_all
from coldgrid.network.changes import works_alone
from coldgrid.network.sites import get_site
from coldgrid.network.uploads import change_id_for
from coldgrid.network.zones import zones_of
from coldgrid.node.device_api import driving_of
from coldgrid.node.device_views import PointView, site_devices
from coldgrid.telemetry import health
from coldgrid.telemetry.gateways import gateways_of_site
from coldgrid.telemetry.registering import RegisterPoint
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.screening import Fate
from coldgrid.webkit.commands import KEY_LENGTH_MAX, form_values, pending_text, run, see_other
from coldgrid.webkit.forms import NO_FORM, Form, form_bytes, refused_form
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.shell import PanelContext, page, register_panel
from coldgrid.webkit.visitors import Db, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view", **AT_LEADER}
POINTS_SHOWN, UNUSED_SHOWN = 100, 20
WORDS = {Role.UPS_LOAD: "UPS load, W", Role.UPS_ENERGY: "UPS energy, Wh", Role.UPS_MAINS: "UPS mains"}
REASONS = {
    "unreadable": "cannot be read",
    Fate.UNKNOWN: "no sensor of this site",
    Fate.WRONG_UNIT: "not the sensor’s unit",
    Fate.FUTURE: "from the future",
    Fate.CLOCK_UNSET: "a clock that is not set",
}


@get("/sites/{site_id:str}/devices", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def devices_page(request: Req, db: Db, site_id: FromPath[str], source: FromQuery[str] = "") -> Response[str]:
    """Show a site's gateways, what they hear, and its sensors behind them."""
    return _shown(request, db, site_id, source)


def _shown(request: Req, db: Reader, site_id: str, source: str, form: Form = NO_FORM) -> Response[str]:
    site = get_site(db, site_id)
    now = request.app.state.now()
    found = site_devices(db, driving_of(request), site_id, now)
    picked = next((one for one in found.points if one.point.source == source), None)
    return page(
        request,
        "node/devices.html",
        db,
        title=f"{site.site_id} · Devices",
        nav="/",
        site=site,
        timezone=site.timezone,
        devices=found,
        points=found.points[:POINTS_SHOWN],
        more=max(0, len(found.points) - POINTS_SHOWN),
        picked=picked,
        zones=[("", "…")]
        + [(zone.zone_id, f"{zone.zone_id} · {zone.name}") for zone in zones_of(db, site_id)],
        roles=[(role.value, WORDS.get(role, role.value.replace("_", " "))) for role in Role],
        may_register=may(request, "network.draft_change") and not request.app.state.home,
        at_node=bool(request.app.state.home),
        form=form,
        alone=works_alone(db, visitor_of(request).principal.actor_id),
        told=told,
        unused=health.quarantined(db, site_id, UNUSED_SHOWN) if may(request, "telemetry.read") else [],
        reasons=REASONS,
    )


def told(view: PointView) -> str:
    """Return what a point probably is, in words."""
    role = view.suggestion.role
    return "" if role is None else role.value.replace("_", " ")


@post("/sites/{site_id:str}/devices", opt=AT_LEADER, include_in_schema=False)
async def register(request: Req, db: Db, site_id: FromPath[str]) -> Response[Any]:
    """Make a sensor of a point."""
    values = await form_values(request)
    key = (values.get("_key") or [""])[-1][:KEY_LENGTH_MAX] or None
    source = (values.get("source") or [""])[-1]
    try:
        change_id = change_id_for(request, db, key, source.encode())
        command = decode_all(form_bytes(values, RegisterPoint, change_id=change_id), RegisterPoint)
        outcome = await run(request, command, key)
    except Rejected as rejected:
        response = _shown(request, db, site_id, source, refused_form(rejected, values, status_of(rejected)))
        response.status_code = status_of(rejected)
        return response
    if outcome.pending:
        return see_other(f"/sites/{site_id}/devices", pending_text(outcome.pending), "warn")
    done = outcome.result
    if done.approved:
        return see_other(f"/sites/{site_id}/devices", f"{source} is {done.sensor_id} now.")
    sentence = f"{done.sensor_id} is drafted. Somebody else approves it."
    return see_other(f"/network/changes/{done.change_id}", sentence, "warn")


def _site_panel(c: PanelContext) -> Markup | None:
    """The way from a site's page to its devices; to their first gateway only for who may draft one."""
    site = c.about["site"]
    gateways = [one for one in gateways_of_site(c.db, site.site_id) if one.active]
    if not gateways and not may(c.request, "network.draft_change"):
        return None
    return c.render("node/_devices.html", gateways=gateways)


register_panel("site", "side", _site_panel, order=80)
handlers = [devices_page, register]
