"""The step of the first sensor: register it, give its gateway a token or a topic, wait for its reading."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response, get, post
from litestar.params import FromPath

from coldgrid.access.api_tokens import IssueToken
from coldgrid.access.roles import Role
from coldgrid.access.tokens import hash_token
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.network.profile import SetUpStep
from coldgrid.network.zones import get_zone, zones_of
from coldgrid.telemetry import health
from coldgrid.telemetry.sensors import Sensor, get_sensor, list_sensors
from coldgrid.telemetry.store import last_reading
from coldgrid.tower.first_run.enacting import Filled, done_before, key_in, put_in_force
from coldgrid.tower.first_run.frame import SET_UP, must_be_open, refused, step_page
from coldgrid.tower.first_run.link import WELCOME
from coldgrid.tower.first_run.progress import progress_of
from coldgrid.tower.first_run.shown_once import token_for
from coldgrid.webkit.commands import form_values, run, see_other
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.shell import fragment
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
STEP = SetUpStep.SENSOR.value
REASON = "the first sensors, as the network was set up"
MQTT_PORT = 1883
UNUSED_SHOWN = 3


@get(f"{WELCOME}/sensor", opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def sensors_page(request: Req, db: Db) -> Response[str]:
    """Show the sensors that there are, and the form for one."""
    return _sensors(request, db, NO_FORM)


def _sensors(request: Req, db: Reader, form: Form) -> Response[str]:
    progress = progress_of(db)
    zones = zones_of(db, progress.site_id) if progress.site_id else []
    heard = {sensor.sensor_id: last for sensor, last in progress.heard}
    return step_page(
        request,
        db,
        STEP,
        form,
        progress=progress,
        sensor=None,
        sensors=[(sensor, heard.get(sensor.sensor_id)) for sensor in progress.sensors],
        zones=[(zone.zone_id, f"{zone.name} · {zone.zone_id}") for zone in zones],
    )


def next_name(zone_id: str, taken: Collection[str]) -> str:
    """Return the first free name of a sensor of a zone's air."""
    return next(name for n in range(1, 100) if (name := f"{zone_id}-T{n}") not in taken)


@post(f"{WELCOME}/sensor", opt=SET_UP, include_in_schema=False)
async def register(request: Req, db: Db) -> Response[Any]:
    """Put a sensor of a zone's air in force."""
    values = await form_values(request)
    zone_id, unit, key = _last(values, "zone_id"), _last(values, "unit"), key_in(values)
    try:
        must_be_open(db)
        if done_before(request, db, key):
            return see_other(f"{WELCOME}/sensor")
        item = _item(db, zone_id, unit, _last(values, "interval_s"))
        await put_in_force(request, db, Filled([item], REASON, key), new=("sensor",))
    except Rejected as rejected:
        return _sensors(request, db, refused(_at_form(rejected), values))
    return see_other(f"{WELCOME}/sensor/{item['sensor_id']}", f"{item['sensor_id']} is registered.")


def _item(db: Reader, zone_id: str, unit: str, interval: str) -> dict[str, Any]:
    problems = []
    if not zone_id:
        problems.append(Problem(field="zone_id", message="is empty", fix="choose the room it hangs in"))
    if unit not in ("C", "F"):
        problems.append(Problem(field="unit", message="is none of the two", fix="choose what it reports in"))
    if not interval.isdecimal() or not 1 <= int(interval) <= 86_400:
        problems.append(
            Problem(field="interval_s", message="is no number of seconds from 1 to 86400", fix="as 60")
        )
    if problems:
        raise Invalid(problems)
    zone = get_zone(db, zone_id)
    return {
        "kind": "sensor",
        "sensor_id": next_name(zone_id, {sensor.sensor_id for sensor in list_sensors(db)}),
        "site_id": zone.site_id,
        "zone_id": zone_id,
        "role": "zone_air",
        "unit": unit,
        "interval_s": int(interval),
    }


def _at_form(rejected: Rejected) -> Rejected:
    """The form knows the sensor by its zone."""
    if not isinstance(rejected, Invalid):
        return rejected
    return Invalid(
        [
            problem
            if problem.field in ("unit", "interval_s", "zone_id")
            else Problem(field="zone_id", message=problem.message, fix="send the form again")
            for problem in rejected.problems
        ]
    )


def _last(values: dict[str, list[str]], name: str) -> str:
    return values.get(name, [""])[-1].strip()


# --- Waiting for its first reading -------------------------------------------------


@get(f"{WELCOME}/sensor/{{sensor_id:str}}", opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def waiting_page(request: Req, db: Db, sensor_id: FromPath[str]) -> Response[str]:
    """Show how the sensor's readings come in, and whether they do."""
    return _waiting(request, db, get_sensor(db, sensor_id))


def _waiting(
    request: Req, db: Reader, sensor: Sensor, token: str = "", form: Form = NO_FORM
) -> Response[str]:
    return step_page(
        request,
        db,
        STEP,
        form,
        sensor=sensor,
        token=token,
        value="-4.0" if sensor.unit == "F" else _usual(db, sensor),
        address=address_of(request),
        broker=broker_options(request.app.state.settings.mqtt_url),
        **_heard(db, sensor),
    )


def broker_options(url: str) -> str:
    """Return what tells a publishing command where the broker is, without its password; "" without one."""
    parts = urlsplit(url)
    if not parts.hostname:
        return ""
    port = f" -p {parts.port}" if parts.port not in (None, MQTT_PORT) else ""
    user = f" -u {parts.username} -P …" if parts.username else ""
    return f"-h {parts.hostname}{port}{user}"


def _usual(db: Reader, sensor: Sensor) -> str:
    return f"{get_zone(db, sensor.zone_id).setpoint_c:g}"


def address_of(request: Req) -> str:
    """Return where a gateway reaches this tower: what the settings say, else what the browser used."""
    settings = request.app.state.settings
    return settings.public_url.rstrip("/") if settings.secure_cookies else str(request.base_url).rstrip("/")


def _heard(db: Reader, sensor: Sensor) -> dict[str, Any]:
    zone = get_zone(db, sensor.zone_id)
    return {
        "zone": zone,
        "last": last_reading(db, sensor.sensor_id),
        "unused": health.quarantined(db, sensor.site_id, UNUSED_SHOWN),
    }


@get(f"{WELCOME}/sensor/{{sensor_id:str}}/heard", opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def heard(request: Req, db: Db, sensor_id: FromPath[str]) -> Response[str]:
    """Say what was heard so far, for a page that waits."""
    sensor = get_sensor(db, sensor_id)
    return fragment(request, "tower/first_run/_heard.html", db, sensor=sensor, **_heard(db, sensor))


@post(f"{WELCOME}/sensor/{{sensor_id:str}}/token", opt=SET_UP | AT_LEADER, include_in_schema=False)
async def issue(request: Req, db: Db, sensor_id: FromPath[str]) -> Response[Any]:
    """Issue a token for the site's gateways, and show it this once with a command that is ready to run."""
    values = await form_values(request)
    sensor, key = get_sensor(db, sensor_id), key_in(values)
    try:
        must_be_open(db)
        token = token_for(key)
        command = IssueToken(
            token_id=derive_id("token", key),
            label=f"Gateway of {sensor.site_id}",
            token_hash=hash_token(token),
            roles=[Role.INTEGRATOR],
            sites=[sensor.site_id],
        )
        await run(request, command, key or None)
    except Rejected as rejected:
        return _waiting(request, db, sensor, form=refused(rejected, values))
    return _waiting(request, db, sensor, token)


handlers = [sensors_page, register, waiting_page, heard, issue]
