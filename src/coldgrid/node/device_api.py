"""JSON API of devices: gateways, what they hear, registering it, the times of readings, uplinks by HTTP."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.adapters.driving import PAYLOAD_BYTES_MAX
from coldgrid.kernel.authorize import Resource
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.network.sites import get_site
from coldgrid.node.device_views import GatewayView, PointView, devices_now, points_now, site_devices
from coldgrid.node.driving import Driving, NotStored
from coldgrid.telemetry.gateways import gateways_of_site, get_gateway
from coldgrid.telemetry.heard import Device
from coldgrid.telemetry.reading_times import ReadingTime, times_of
from coldgrid.telemetry.registering import RegisterPoint, suggest
from coldgrid.telemetry.sensors import get_sensor
from coldgrid.webkit.choices import ANY_NAMES, check_word
from coldgrid.webkit.commands import submit
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.visitors import Db, admit_at, visitor_of

Req = Request[Any, Any, Any]
READ = {"action": "telemetry.read", **AT_LEADER}  # what is newer than the log, the deciding process knows
TAGS = ["devices"]
ANSWERED_WITHIN_S = 60.0
SPAN_MAX = timedelta(days=31)


class Taken(msgspec.Struct, frozen=True):
    """What an uplink brought: how many readings, and what could not be read, with why."""

    readings: int
    unreadable: list[str]


def driving_of(request: Req) -> Driving:
    """Return what runs the gateways of this host."""
    driving: Driving = request.app.state.background.driving
    return driving


@get("/api/v1/sites/{site_id:str}/gateways", opt=READ, tags=TAGS, sync_to_thread=True)
def gateways(request: Req, db: Db, site_id: FromPath[str]) -> list[GatewayView]:
    """List a site's gateways with how they are."""
    get_site(db, site_id)
    return site_devices(db, driving_of(request), site_id, request.app.state.now()).gateways


@get("/api/v1/sites/{site_id:str}/points", opt=READ, tags=TAGS, sync_to_thread=True)
def points(request: Req, db: Db, site_id: FromPath[str], gateway_id: FromQuery[str] = "") -> list[PointView]:
    """List what a site's gateways heard and nobody registered, with what each probably is."""
    get_site(db, site_id)
    found = points_now(db, driving_of(request), site_id)
    of_site = {one.gateway_id: one for one in gateways_of_site(db, site_id)}
    check_word("gateway_id", gateway_id, of_site)
    wanted = [one for one in found if gateway_id in ("", one.gateway_id)]
    return [PointView(one, suggest(one, of_site.get(one.gateway_id))) for one in wanted]


@get("/api/v1/sites/{site_id:str}/devices", opt=READ, tags=TAGS, sync_to_thread=True)
def devices(request: Req, db: Db, site_id: FromPath[str]) -> list[Device]:
    """List what a site's devices said of themselves last: battery, signal, whether they are online."""
    get_site(db, site_id)
    return [one for one in devices_now(db, driving_of(request), site_id) if one.device]


@post("/api/v1/points", opt={"takes": RegisterPoint}, tags=TAGS, status_code=200)
async def register(request: Req) -> Response[bytes]:
    """Make a sensor of a point: drafted, and approved at once where the same person may."""
    return await submit(request, RegisterPoint)


@get(
    "/api/v1/sensors/{sensor_id:str}/times", opt={"action": "telemetry.read"}, tags=TAGS, sync_to_thread=True
)
def times(
    request: Req,
    db: Db,
    sensor_id: FromPath[str],
    from_at: FromQuery[datetime],
    to_at: FromQuery[datetime],
) -> list[ReadingTime]:
    """List the first 10,000 readings of at most 31 days, each with the gateway's and the device's time."""
    admit_at(request, "telemetry.read", [get_sensor(db, sensor_id).site_id])
    return times_of(db, sensor_id, *_span(from_at, to_at))


def _span(from_at: datetime, to_at: datetime) -> tuple[datetime, datetime]:
    problems = [
        Problem(field=field, message="has no offset", fix="add it, as in 2026-03-01T08:00:00Z")
        for field, instant in (("from_at", from_at), ("to_at", to_at))
        if instant.tzinfo is None
    ]
    if not problems and not timedelta() < to_at - from_at <= SPAN_MAX:
        problems.append(Problem(field="to_at", message="must be after from_at, by at most 31 days"))
    if problems:
        raise Invalid(problems)
    return from_at, to_at


@post(
    "/api/v1/gateways/{gateway_id:str}/uplinks",
    opt={"takes": {"application/json": Any, "*/*": bytes}, **AT_LEADER, **ANY_NAMES},
    tags=TAGS,
    status_code=200,
    request_max_body_size=PAYLOAD_BYTES_MAX + 1,
)
async def uplink(request: Req, db: Db, gateway_id: FromPath[str]) -> Taken:
    """Take in what a gateway's network server sends by HTTP; answered after the commit."""
    body = await request.body()
    _check_sender(request, db, gateway_id)
    query = {name: str(value)[:200] for name, value in request.query_params.items()}
    haul, answered = await asyncio.to_thread(driving_of(request).uplink, gateway_id, body, query)
    try:
        stored = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(answered)), ANSWERED_WITHIN_S)
    except TimeoutError:
        stored = False
    if not stored:
        raise NotStored(gateway_id=gateway_id)
    return Taken(len(haul.readings), [f"{one.source}: {one.why}" for one in haul.unreadable[:20]])


def _check_sender(request: Req, db: Reader, gateway_id: str) -> None:
    """Only who may post readings of the gateway's site."""
    site_id = get_gateway(db, gateway_id).site_id
    resource = Resource(site_id=site_id, kind="gateway", id=gateway_id)
    request.app.state.authorizer.authorize(visitor_of(request).principal, "telemetry.ingest_uplink", resource)


handlers = [gateways, points, devices, register, times, uplink]
