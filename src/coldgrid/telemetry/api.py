"""JSON API of telemetry: readings in, and readings, alarms and sensor health out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.telemetry import alarms, decoding, export, health, panels, store
from coldgrid.telemetry.alarm_rules import Alarm
from coldgrid.telemetry.decoding import BODY_MAX_BYTES
from coldgrid.telemetry.ingest import IngestReadings
from coldgrid.telemetry.sensors import Sensor, get_sensor, sensors_of_site
from coldgrid.telemetry.store import LastReading, Rollup
from coldgrid.webkit.commands import key_of, run
from coldgrid.webkit.problems import WrongMediaType
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
READ = {"action": "telemetry.read"}
TAGS = ["telemetry"]
SPAN_MAX = timedelta(days=366)
Most = Annotated[int, QueryParameter(ge=1, le=1_000)]
READERS: dict[str, Callable[[bytes], IngestReadings]] = {
    "application/json": decoding.read_json,
    "application/x-ndjson": decoding.read_lines,
    "application/ndjson": decoding.read_lines,
}
COLUMN_READERS: dict[str, Callable[[bytes], IngestReadings]] = {
    "application/json": decoding.read_columns_json,
    "application/msgpack": decoding.read_packed,
    "application/x-msgpack": decoding.read_packed,
}


class SensorHealth(msgspec.Struct, frozen=True):
    """A sensor with its newest reading and how many of its readings met which fate."""

    sensor: Sensor
    last: LastReading | None
    counts: dict[str, int]


@post("/api/v1/readings", tags=TAGS, status_code=200, request_max_body_size=BODY_MAX_BYTES + 1)
async def take_in(request: Req) -> Response[bytes]:
    """Take in readings of one site as JSON (one or a list) or NDJSON, all or nothing of what can be read."""
    return await _take_in(request, READERS)


@post("/api/v1/readings/columns", tags=TAGS, status_code=200, request_max_body_size=BODY_MAX_BYTES + 1)
async def take_in_columns(request: Req) -> Response[bytes]:
    """Take in readings of one site as columns, in JSON or packed in MessagePack."""
    return await _take_in(request, COLUMN_READERS)


async def _take_in(request: Req, readers: dict[str, Callable[[bytes], IngestReadings]]) -> Response[bytes]:
    given = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if given not in readers:
        raise WrongMediaType(given=given, takes=", ".join(sorted(readers)))
    body = await request.body()
    # A big body takes some milliseconds to read, in which other requests go on.
    command = await asyncio.to_thread(readers[given], body) if len(body) > 65_536 else readers[given](body)
    try:
        outcome = await run(request, command, key_of(request))
    except Invalid as invalid:
        raise Invalid([_by_line(problem, given, body) for problem in invalid.problems]) from None
    return Response(msgspec.json.encode(outcome, enc_hook=str), media_type="application/json")


def _by_line(problem: Problem, media_type: str, body: bytes) -> Problem:
    """Name the line of a reading that its sensor's settings refuse, where there are lines."""
    match = re.fullmatch(r"readings\[(\d+)\]\.(\w+)", problem.field)
    if match is None or "ndjson" not in media_type:
        return problem
    lines = [number for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    return msgspec.structs.replace(problem, field=match[2], line=lines[int(match[1])])


@get("/api/v1/sites/{site_id:str}/sensors", opt=READ, tags=TAGS, sync_to_thread=True)
def sensors(db: Db, site_id: FromPath[str]) -> list[SensorHealth]:
    """List a site's sensors with their newest readings and counts."""
    last, counts = store.last_readings(db, site_id), health.health_of_site(db, site_id)
    return [
        SensorHealth(sensor, last.get(sensor.sensor_id), counts.get(sensor.sensor_id, {}))
        for sensor in sensors_of_site(db, site_id)
    ]


@get("/api/v1/sites/{site_id:str}/quarantine", opt=READ, tags=TAGS, sync_to_thread=True)
def quarantine(db: Db, site_id: FromPath[str], limit: Most = 100) -> list[health.Quarantined]:
    """List readings and messages of a site that could not be used, newest first."""
    return health.quarantined(db, site_id, limit)


@get("/api/v1/sites/{site_id:str}/alarms", opt=READ, tags=TAGS, sync_to_thread=True)
def open_alarms(db: Db, site_id: FromPath[str]) -> list[Alarm]:
    """List a site's alarms that are not over, newest first."""
    return alarms.open_alarms_of_site(db, site_id)


@get("/api/v1/sensors/{sensor_id:str}/readings", opt=READ, tags=TAGS, sync_to_thread=True)
def readings(
    db: Db,
    sensor_id: FromPath[str],
    from_at: FromQuery[datetime],
    to_at: FromQuery[datetime],
    form: Annotated[str, QueryParameter(pattern="^(line|csv)$")] = "line",
) -> Response[Any]:
    """Return a sensor's readings: a line of at most 720 points, or all of them as CSV."""
    get_sensor(db, sensor_id)
    _check_span(from_at, to_at)
    if form == "csv":
        name = f"{sensor_id}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        parts = export.csv_parts(db, [sensor_id], from_at, to_at)
        return Stream(list(parts), media_type="text/csv", headers=headers)
    line = panels.sensor_line(db, sensor_id, from_at, to_at)
    return Response(msgspec.json.encode(line), media_type="application/json")


@get("/api/v1/sensors/{sensor_id:str}/rollup", opt=READ, tags=TAGS, sync_to_thread=True)
def rollup(
    db: Db, sensor_id: FromPath[str], from_at: FromQuery[datetime], to_at: FromQuery[datetime]
) -> Rollup:
    """Return a sensor's readings of a range added up: lowest, highest, mean, mean kinetic temperature."""
    get_sensor(db, sensor_id)
    _check_span(from_at, to_at)
    return store.rollups(db, [sensor_id], from_at, to_at)[0]


@get("/api/v1/zones/{zone_id:str}/air", opt=READ, tags=TAGS, sync_to_thread=True)
def zone_air(
    db: Db, zone_id: FromPath[str], from_at: FromQuery[datetime], to_at: FromQuery[datetime]
) -> list[panels.Point]:
    """Return a zone's air as at most 720 points of the warmest and the coldest reading."""
    _check_span(from_at, to_at)
    return panels.zone_line(db, zone_id, from_at, to_at)


def _check_span(from_at: datetime, to_at: datetime) -> None:
    problems = [
        Problem(field=field, message="has no offset", fix="add it, as in 2026-03-01T08:00:00Z")
        for field, instant in (("from_at", from_at), ("to_at", to_at))
        if instant.tzinfo is None
    ]
    if not problems and not timedelta(seconds=1) <= to_at - from_at <= SPAN_MAX:
        problems.append(Problem(field="to_at", message="must be 1 second to 366 days after from_at"))
    if problems:
        raise Invalid(problems)


handlers = [
    take_in,
    take_in_columns,
    sensors,
    quarantine,
    open_alarms,
    readings,
    rollup,
    zone_air,
]
