"""JSON API of the network: sites, zones, lanes, who is on duty, and changes of master data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.network.change_rules import (
    ApproveChange,
    Change,
    ChangeStatus,
    DraftChange,
    RejectChange,
    WithdrawChange,
    said_why,
)
from coldgrid.network.changes import get_change, items_of, list_changes
from coldgrid.network.groups import duty_ids
from coldgrid.network.imports import SourceFile, check_import
from coldgrid.network.items import item_kinds
from coldgrid.network.lanes import Lane, lanes_from, lanes_to
from coldgrid.network.sites import ChangeSiteMode, Site, get_site, sites_after
from coldgrid.network.uploads import BODY_BYTES_MAX, change_id_for, files_of
from coldgrid.network.zones import Location, Zone, get_zone, locations_of_zone, zones_of
from coldgrid.webkit.api_document import KEY, KEY_MEANS
from coldgrid.webkit.commands import key_of, run, submit
from coldgrid.webkit.problems import WrongMediaType
from coldgrid.webkit.visitors import Db, admit_at

Req = Request[Any, Any, Any]
READ = {"action": "network.read"}
TAGS = ["network"]
PAGE_MOST = 500
RAW_ENDINGS = {
    "text/csv": ".csv",
    "application/yaml": ".yaml",
    "application/x-yaml": ".yaml",
    "text/yaml": ".yaml",
}
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MOST)]


class ImportChecked(msgspec.Struct, frozen=True):
    """What an import that only looks would draft."""

    items: int
    drafted: bool = False


class Duty(msgspec.Struct, frozen=True):
    """Who is on duty at a site in one rota."""

    rota: str
    person_id: str


class ChangeDetail(msgspec.Struct, frozen=True):
    """A change with its items; personal data in them stays sealed."""

    change: Change
    items: list[dict[str, Any]]


# --- Reading --------------------------------------------------------------------


@get("/api/v1/sites", opt=READ, tags=TAGS, sync_to_thread=True)
def sites(db: Db, after: FromQuery[str] = "", limit: Limit = 100) -> list[Site]:
    """List sites by id; `after` is the last id of the page before."""
    return sites_after(db, after, limit)


@get("/api/v1/sites/{site_id:str}", opt=READ, tags=TAGS, sync_to_thread=True)
def site(db: Db, site_id: FromPath[str]) -> Site:
    """Return one site with its settings and its mode."""
    return get_site(db, site_id)


@get("/api/v1/sites/{site_id:str}/zones", opt=READ, tags=TAGS, sync_to_thread=True)
def zones(db: Db, site_id: FromPath[str]) -> list[Zone]:
    """List a site's zones."""
    get_site(db, site_id)
    return zones_of(db, site_id)


@get("/api/v1/sites/{site_id:str}/lanes", opt=READ, tags=TAGS, sync_to_thread=True)
def lanes(db: Db, site_id: FromPath[str]) -> list[Lane]:
    """List the lanes in use that leave or reach a site."""
    get_site(db, site_id)
    return [*lanes_from(db, site_id), *lanes_to(db, site_id)]


@get("/api/v1/sites/{site_id:str}/duty", opt=READ, tags=TAGS, sync_to_thread=True)
def duty(request: Req, db: Db, site_id: FromPath[str], at: FromQuery[datetime | None] = None) -> list[Duty]:
    """Say who is on duty at a site, now or at an instant (with its offset from UTC), without addresses."""
    if at is not None and at.tzinfo is None:
        fix = "as 2026-03-01T08:00:00Z"
        raise Invalid([Problem(field="at", message="has no offset from UTC", fix=fix)])
    group_id = get_site(db, site_id).escalation_group
    found = duty_ids(db, [group_id], at or request.app.state.now()).get(group_id, {})
    return [Duty(rota, person_id) for rota, person_id in found.items()]


@get("/api/v1/zones/{zone_id:str}", opt=READ, tags=TAGS, sync_to_thread=True)
def zone(request: Req, db: Db, zone_id: FromPath[str]) -> Zone:
    """Return one zone."""
    found = get_zone(db, zone_id)
    admit_at(request, READ["action"], [found.site_id])
    return found


@get("/api/v1/zones/{zone_id:str}/locations", opt=READ, tags=TAGS, sync_to_thread=True)
def locations(request: Req, db: Db, zone_id: FromPath[str]) -> list[Location]:
    """List a zone's locations."""
    admit_at(request, READ["action"], [get_zone(db, zone_id).site_id])
    return locations_of_zone(db, zone_id)


# --- Changes --------------------------------------------------------------------


@get("/api/v1/changes", opt=READ, tags=TAGS, sync_to_thread=True)
def changes(db: Db, status: FromQuery[ChangeStatus | None] = None, limit: Limit = 100) -> list[Change]:
    """List the newest changes of master data, of one status or of all."""
    return list_changes(db, status, limit)


@get("/api/v1/changes/kinds", opt=READ, tags=TAGS, sync_to_thread=True)
def kinds() -> dict[str, Any]:
    """Return the JSON schema of every kind of item that a change may hold."""
    structs = {kind.kind: kind.struct for kind in item_kinds().values()}
    refs, components = msgspec.json.schema_components(list(structs.values()), ref_template="#/$defs/{name}")
    return {"kinds": dict(zip(structs, refs, strict=True)), "$defs": components}


@get("/api/v1/changes/{change_id:str}", opt=READ, tags=TAGS, sync_to_thread=True)
def change(db: Db, change_id: FromPath[str]) -> ChangeDetail:
    """Return one change with its items."""
    found = get_change(db, change_id)
    items = [{"kind": item.kind, "base": item.base, **item.body} for item in items_of(db, change_id)]
    return ChangeDetail(found, items)


@post(
    "/api/v1/changes",
    opt={"takes": DraftChange},
    tags=TAGS,
    status_code=200,
    request_max_body_size=BODY_BYTES_MAX,
)
async def draft(request: Req) -> Response[bytes]:
    """Draft a change: `{"change_id", "items": [{"kind": …}], "reason"}`. Every problem is told at once."""
    return await submit(request, DraftChange)


@post("/api/v1/changes/{change_id:str}/approve", opt={"takes": ApproveChange}, tags=TAGS, status_code=200)
async def approve(request: Req, change_id: FromPath[str]) -> Response[bytes]:
    """Put a change in force: `{"reason"}`, by somebody else than its drafter."""
    return await submit(request, ApproveChange, change_id=change_id)


@post("/api/v1/changes/{change_id:str}/reject", opt={"takes": RejectChange}, tags=TAGS, status_code=200)
async def reject(request: Req, change_id: FromPath[str]) -> Response[bytes]:
    """Put a change aside: `{"reason"}`."""
    return await submit(request, RejectChange, change_id=change_id)


@post("/api/v1/changes/{change_id:str}/withdraw", opt={"takes": WithdrawChange}, tags=TAGS, status_code=200)
async def withdraw(request: Req, change_id: FromPath[str]) -> Response[bytes]:
    """Take back one's own change: `{"reason"}`."""
    return await submit(request, WithdrawChange, change_id=change_id)


@post("/api/v1/sites/{site_id:str}/mode", opt={"takes": ChangeSiteMode}, tags=TAGS, status_code=200)
async def mode(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Run a site in another mode at once: `{"mode", "reason"}`."""
    return await submit(request, ChangeSiteMode, site_id=site_id)


@post(
    "/api/v1/changes/import",
    opt={
        "action": "network.draft_change",
        "takes": {"multipart/form-data": dict[str, bytes], **dict.fromkeys(RAW_ENDINGS, str)},
        "answers": Answer | ImportChecked,
        "headers": {KEY: KEY_MEANS},
    },
    tags=TAGS,
    status_code=200,
    request_max_body_size=BODY_BYTES_MAX,
)
async def import_files(
    request: Req,
    db: Db,
    reason: FromQuery[str] = "",
    name: FromQuery[str] = "",
    check: FromQuery[bool] = False,
) -> Response[bytes]:
    """Draft a change from YAML or CSV: a multipart form of files, or one file as the body with its `name`.

    Every bad line of every file is told at once and nothing is drafted. `check`: only look.
    """
    files = await _sent(request, name)
    items = await asyncio.to_thread(check_import, db, files)
    if check:
        return _json(ImportChecked(len(items)))
    said_why(reason)
    key = key_of(request)
    change_id = change_id_for(request, db, key, b"".join(file.data for file in files))
    return _json(await run(request, DraftChange(change_id=change_id, items=items, reason=reason), key))


async def _sent(request: Req, name: str) -> Sequence[SourceFile]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await files_of(request)
    if media_type not in RAW_ENDINGS:
        raise WrongMediaType(given=media_type, takes=["multipart/form-data", *RAW_ENDINGS])
    ending = RAW_ENDINGS[media_type]
    named = name if name.lower().endswith((".yaml", ".yml", ".csv")) else f"{name or 'items'}{ending}"
    return [SourceFile(named, await request.body())]


def _json(answer: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(answer, enc_hook=str), media_type="application/json")


handlers = [
    sites,
    site,
    zones,
    lanes,
    duty,
    zone,
    locations,
    changes,
    kinds,
    change,
    draft,
    approve,
    reject,
    withdraw,
    mode,
    import_files,
]
