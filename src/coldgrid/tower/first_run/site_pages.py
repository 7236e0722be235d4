"""The step of the first site: by a form from a kind of site, or from files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from litestar import Request, Response, get, post
from msgspec import to_builtins

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.network.calendars import timezone_problems
from coldgrid.network.groups import NETWORK_GROUP, get_group, has_network_group
from coldgrid.network.imports import check_import
from coldgrid.network.sites import SiteNotFound, get_site, site_labels
from coldgrid.network.uploads import BODY_BYTES_MAX, files_of
from coldgrid.network.zones import locations_of_zone, zones_of
from coldgrid.tower.first_run.enacting import Filled, done_before, key_in, put_in_force
from coldgrid.tower.first_run.frame import SET_UP, after, must_be_open, refused, step_page
from coldgrid.tower.first_run.kinds import KINDS
from coldgrid.tower.first_run.link import WELCOME
from coldgrid.tower.first_run.places import towns
from coldgrid.tower.first_run.progress import progress_of
from coldgrid.tower.first_run.sites import (
    SiteAnswers,
    answers_of,
    at_fields,
    contacts_of,
    items_of,
    network_group_item,
    network_group_like,
    problems_of,
)
from coldgrid.webkit.commands import form_values, see_other
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
Again = Callable[[Form, list[Problem]], Response[Any]]
REASON = "the first site, as its kind begins"


@get(f"{WELCOME}/site", opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def site_page(request: Req, db: Db) -> Response[str]:
    """Show the site that there is, and the form for one."""
    return _site(request, db, NO_FORM)


def _site(request: Req, db: Reader, form: Form, bad_lines: list[Problem] | None = None) -> Response[str]:
    progress = progress_of(db)
    site = get_site(db, progress.site_id) if progress.site_id else None
    zones = zones_of(db, progress.site_id) if progress.site_id else []
    return step_page(
        request,
        db,
        "site",
        form,
        progress=progress,
        site=site,
        zones=[(zone, len(locations_of_zone(db, zone.zone_id))) for zone in zones],
        kinds=[(kind.value, told.title, told.told) for kind, told in KINDS.items()],
        # Those that a town gives its name to; any other IANA name may be written too.
        timezones=sorted(set(towns()) & available_timezones()),
        bad_lines=bad_lines or [],
    )


@post(f"{WELCOME}/site", opt=SET_UP, include_in_schema=False)
async def make_site(request: Req, db: Db) -> Response[Any]:
    """Put a site in force, with its group, zones and locations."""
    values = await form_values(request)
    answers, key = answers_of(values), key_in(values)
    try:
        must_be_open(db)
        if not done_before(request, db, key):
            _check(db, answers)
            today = _today(request, answers.timezone)
            own = visitor_of(request).principal.actor_id
            items = items_of(answers, own, today)
            if not has_network_group(db):
                items.append(network_group_item(answers.timezone, contacts_of(own, answers.reach), today))
            await put_in_force(request, db, Filled(items, REASON, key), new=("site",))
    except Invalid as invalid:
        return _site(request, db, refused(Invalid(at_fields(invalid.problems)), values))
    except Rejected as rejected:
        return _site(request, db, refused(rejected, values))
    return see_other(after("site"), f"{answers.site_id} is there.")


def _check(db: Reader, answers: SiteAnswers) -> None:
    problems = problems_of(answers)
    if _is_there(db, answers.site_id):
        fix = f"choose another number, as {answers.site_id[:3]}2, or change it under Network"
        problems.append(Problem(field="site_id", message=f"{answers.site_id} is there already", fix=fix))
    if problems:
        raise Invalid(problems)


def _is_there(db: Reader, site_id: str) -> bool:
    try:
        get_site(db, site_id)
    except SiteNotFound:
        return False
    return True


def _today(request: Req, timezone: str) -> date:
    now: datetime = request.app.state.now()
    return (now if timezone_problems("timezone", timezone) else now.astimezone(ZoneInfo(timezone))).date()


@post(f"{WELCOME}/site/import", opt=SET_UP, include_in_schema=False, request_max_body_size=BODY_BYTES_MAX)
async def import_site(request: Req, db: Db) -> Response[Any]:
    """Put in force what files say; every bad line is told at once."""
    return await import_files(request, db, "site", lambda form, lines: _site(request, db, form, lines))


async def import_files(request: Req, db: Reader, step: str, again: Again) -> Response[Any]:
    """Put files in force and go on, or show the step again with every bad line."""
    values = await form_values(request)
    said = "The files are in force."
    try:
        must_be_open(db)
        key = key_in(values)
        if not done_before(request, db, key):
            items = await asyncio.to_thread(check_import, db, await files_of(request))
            like, group = _network_group_for(db, items)
            if group is not None:
                items.append(group)
                said += f" {NETWORK_GROUP}, paged about the network itself, begins with the people of {like}."
            await put_in_force(request, db, Filled(items, "from files, when the network was set up", key))
    except Invalid as invalid:
        return again(Form(status=status_of(invalid)), list(invalid.problems))
    except Rejected as rejected:
        return again(refused(rejected, values), [])
    return see_other(after(step), said)


def _network_group_for(db: Reader, items: Sequence[dict[str, Any]]) -> tuple[str, dict[str, Any] | None]:
    """Return whose people answer for the network from now on, and its group; none where it has one.

    They are those who answer for the first site, in force or in the files: there is always somebody to page.
    """
    groups = {item["group_id"]: item for item in items if item["kind"] == "group"}
    if NETWORK_GROUP in groups or has_network_group(db):
        return "", None
    known = site_labels(db)
    sites = [item["escalation_group"] for item in items if item["kind"] == "site"]
    first = get_site(db, known[0].site_id).escalation_group if known else next(iter(sites), "")
    if not first:
        return "", None
    return first, network_group_like(groups.get(first) or to_builtins(get_group(db, first)))


handlers = [site_page, make_site, import_site]
