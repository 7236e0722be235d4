"""JSON API of telemetry: readings in, and readings, alarms and sensor health out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream
from msgspec.structs import replace

from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.network.sites import get_site
from coldgrid.network.zones import get_zone
from coldgrid.telemetry import alarms, decoding, export, health, panels, store
from coldgrid.telemetry.alarm_rules import Alarm
from coldgrid.telemetry.decoding import BODY_MAX_BYTES
from coldgrid.telemetry.ingest import Ingested, IngestReadings
from coldgrid.telemetry.quantities import OWN_UNIT
from coldgrid.telemetry.sensors import Sensor, get_sensor, sensors_of_site
from coldgrid.telemetry.store import LastReading, Rollup
from coldgrid.webkit.api_document import KEY, KEY_MEANS
from coldgrid.webkit.commands import LARGE_BYTES, check_names, key_of, run
from coldgrid.webkit.problems import WrongMediaType
from coldgrid.webkit.visitors import Db, admit_at

Req = Request[Any, Any, Any]
READ = {"action": "telemetry.read"}
TAGS = ["telemetry"]
SPAN_MAX = timedelta(days=366)
Most = Annotated[int, QueryParameter(ge=1, le=1_000)]
LINE = {"answers": {"application/json": list[tuple[datetime, float]], "text/csv": str}}
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


class ReadingsAnswer(Answer, frozen=True, kw_only=True):
    """What became of a request of readings."""

    result: Ingested


TAKEN = {"answers": ReadingsAnswer, "headers": {KEY: KEY_MEANS}}
ROWS = {
    "takes": {"application/json": decoding.Reading | list[decoding.Reading], "application/x-ndjson": str},
    **TAKEN,
}
COLUMNS = {"takes": {"application/json": decoding.Columns, "application/msgpack": decoding.Packed}, **TAKEN}


class SensorHealth(msgspec.Struct, frozen=True):
    """A sensor with its newest reading and how many of its readings met which fate."""

    sensor: Sensor
    last: LastReading | None
    counts: dict[str, int]


@post("/api/v1/readings", opt=ROWS, tags=TAGS, status_code=200, request_max_body_size=BODY_MAX_BYTES + 1)
async def take_in(request: Req) -> Response[bytes]:
    """Take in readings of one site as JSON (one or a list) or NDJSON, all or nothing of what can be read."""
    return await _take_in(request, READERS)


@post(
    "/api/v1/readings/columns",
    opt=COLUMNS,
    tags=TAGS,
    status_code=200,
    request_max_body_size=BODY_MAX_BYTES + 1,
)
async def take_in_columns(request: Req) -> Response[bytes]:
    """Take in readings of one site as columns, in JSON or packed in MessagePack."""
    return await _take_in(request, COLUMN_READERS)


async def _take_in(request: Req, readers: dict[str, Callable[[bytes], IngestReadings]]) -> Response[bytes]:
    given = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if given not in readers:
        raise WrongMediaType(given=given, takes=", ".join(sorted(readers)))
    body = await request.body()
    large = len(body) > LARGE_BYTES
    # A big body takes some milliseconds to read, in which other requests go on.
    command = await asyncio.to_thread(_read, readers, given, body) if large else _read(readers, given, body)
    try:
        outcome = await run(request, command, key_of(request))
    except Invalid as invalid:
        raise Invalid([_by_line(problem, given, body) for problem in invalid.problems]) from None
    return Response(msgspec.json.encode(outcome, enc_hook=str), media_type="application/json")


def _read(readers: dict[str, Callable[[bytes], IngestReadings]], given: str, body: bytes) -> IngestReadings:
    command = readers[given](body)
    if "json" in given and not _said_once(body, command, in_columns=readers is COLUMN_READERS):
        for number, line in enumerate(body.split(b"\n") if "nd" in given else [body], start=1):
            try:
                check_names(line)
            except Invalid as invalid:
                raise Invalid([replace(one, line=number) for one in invalid.problems]) from None
    return command


def _said_once(body: bytes, command: IngestReadings, *, in_columns: bool) -> bool:
    """Tell from counts alone that no field is there twice; where they do not add up, it must be looked at."""
    rows = 1 if in_columns else len(command.value) // 8
    own = np.count_nonzero(np.frombuffer(command.unit, np.uint8) != OWN_UNIT) if command.unit else 0
    names = (b"site_id", b"sensors", b"sensor") if in_columns else (b"sensor_id",)
    counts = [body.count(b'"%s"' % name) for name in (*names, b"at", b"value")]
    units = body.count(b'"unit"')
    return set(counts) == {rows} and units == (min(units, 1) if in_columns else own)


def _by_line(problem: Problem, media_type: str, body: bytes) -> Problem:
    """Name the line of a reading that its sensor's settings refuse, where there are lines."""
    match = re.fullmatch(r"readings\[(\d+)\]\.(\w+)", problem.field)
    if match is None or "ndjson" not in media_type:
        return problem
    lines = [number for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    return replace(problem, field=match[2], line=lines[int(match[1])])


@get("/api/v1/sites/{site_id:str}/sensors", opt=READ, tags=TAGS, sync_to_thread=True)
def sensors(db: Db, site_id: FromPath[str]) -> list[SensorHealth]:
    """List a site's sensors with their newest readings and counts."""
    get_site(db, site_id)
    last, counts = store.last_readings(db, site_id), health.health_of_site(db, site_id)
    return [
        SensorHealth(sensor, last.get(sensor.sensor_id), counts.get(sensor.sensor_id, {}))
        for sensor in sensors_of_site(db, site_id)
    ]


@get("/api/v1/sites/{site_id:str}/quarantine", opt=READ, tags=TAGS, sync_to_thread=True)
def quarantine(db: Db, site_id: FromPath[str], limit: Most = 100) -> list[health.Quarantined]:
    """List readings and messages of a site that could not be used, newest first."""
    get_site(db, site_id)
    return health.quarantined(db, site_id, limit)


@get("/api/v1/sites/{site_id:str}/alarms", opt=READ, tags=TAGS, sync_to_thread=True)
def open_alarms(db: Db, site_id: FromPath[str]) -> list[Alarm]:
    """List a site's alarms that are not over, newest first."""
    get_site(db, site_id)
    return alarms.open_alarms_of_site(db, site_id)


@get("/api/v1/sensors/{sensor_id:str}/readings", opt=READ | LINE, tags=TAGS, sync_to_thread=True)
def readings(
    request: Req,
    db: Db,
    sensor_id: FromPath[str],
    from_at: FromQuery[datetime],
    to_at: FromQuery[datetime],
    form: FromQuery[Literal["line", "csv"]] = "line",
) -> Response[Any]:
    """Return a sensor's readings: a line of at most 720 points, or all of them as CSV."""
    admit_at(request, READ["action"], [get_sensor(db, sensor_id).site_id])
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
    request: Req,
    db: Db,
    sensor_id: FromPath[str],
    from_at: FromQuery[datetime],
    to_at: FromQuery[datetime],
) -> Rollup:
    """Return a sensor's readings of a range added up: lowest, highest, mean, mean kinetic temperature."""
    admit_at(request, READ["action"], [get_sensor(db, sensor_id).site_id])
    _check_span(from_at, to_at)
    return store.rollups(db, [sensor_id], from_at, to_at)[0]


@get("/api/v1/zones/{zone_id:str}/air", opt=READ, tags=TAGS, sync_to_thread=True)
def zone_air(
    request: Req,
    db: Db,
    zone_id: FromPath[str],
    from_at: FromQuery[datetime],
    to_at: FromQuery[datetime],
) -> list[panels.Point]:
    """Return a zone's air as at most 720 points of the warmest and the coldest reading."""
    admit_at(request, READ["action"], [get_zone(db, zone_id).site_id])
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
