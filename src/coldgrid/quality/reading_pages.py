"""Pages of readings by hand: the form, which takes the picture of the display too, and the picture."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath

from coldgrid.access.people import names
from coldgrid.kernel.hosting import elsewhere
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.network.sites import get_site
from coldgrid.network.zones import get_zone, locations_of_zone
from coldgrid.quality.excursions import open_excursion_of
from coldgrid.quality.hand_readings import RecordHandReading, Target, hand_readings_of
from coldgrid.quality.photos import PHOTO_MAX_BYTES, KeepPhoto, check_photo, get_photo, photos_kept
from coldgrid.stock.scans import read_scan
from coldgrid.webkit.commands import form_values, run, see_other, submit_form
from coldgrid.webkit.forms import NO_FORM, Form, refused_form
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
VIEW = {"action": "quality.view", "reads": "quality"}
AT = "/quality/sites/{site_id:str}/zones/{zone_id:str}/reading"
# The form is read to its end, so that what is wrong with a large file is said beside its field.
BODY_BYTES_MAX = 4 * PHOTO_MAX_BYTES
SHOWN_SINCE = timedelta(days=1)
# A picture is shown by itself and does nothing else.
PHOTO_HEADERS = {
    "Content-Disposition": 'inline; filename="photo"',
    "Cache-Control": "private, max-age=31536000, immutable",
}


def shown_readings(db: Reader, zone_id: str, from_at: datetime, until_at: datetime) -> dict[str, Any]:
    """Return what `quality/_readings.html` shows: a zone's readings, and which of their photos are here."""
    readings = hand_readings_of(db, zone_id, from_at, until_at)
    site_id = get_zone(db, zone_id).site_id
    return {"readings": readings, "photos": photos_kept(db, site_id, [one.photo_hash for one in readings])}


@get(AT, opt=VIEW, include_in_schema=False, sync_to_thread=True)
def reading_page(request: Req, db: Db, site_id: FromPath[str], zone_id: FromPath[str]) -> Response[str]:
    """Ask for a temperature taken by hand."""
    return _reading(request, db, site_id, zone_id, NO_FORM)


def _reading(request: Req, db: Reader, site_id: str, zone_id: str, form: Form) -> Response[str]:
    site, zone, now = get_site(db, site_id), get_zone(db, zone_id), request.app.state.now()
    return page(
        request,
        "quality/reading.html",
        db,
        title="Reading by hand",
        nav="/quality",
        timezone=site.timezone,
        site=site,
        zone=zone,
        places=[(one.location_id, one.location_id) for one in locations_of_zone(db, zone_id) if one.active],
        targets=[
            (Target.PRODUCT.value, "Product", "Between two packs, or in one that is given up"),
            (Target.AIR.value, "Air", "Away from doors and coils"),
        ],
        takes_photo=site_id not in elsewhere(db),
        photo_max_mb=PHOTO_MAX_BYTES // 1_000_000,
        names=names(db),
        form=form,
        **shown_readings(db, zone_id, now - SHOWN_SINCE, now),
    )


@post(AT, include_in_schema=False, request_max_body_size=BODY_BYTES_MAX)
async def record_reading(
    request: Req, db: Db, site_id: FromPath[str], zone_id: FromPath[str]
) -> Response[Any]:
    """Put a temperature taken by hand on record, with the picture of it."""
    values = await form_values(request)
    key, label = (values.get(name, [""])[-1] for name in ("_key", "sscc"))
    scan, photo = read_scan(label), await _photo_of(request)
    problems = [Problem(field="sscc", message=scan.wrong)] if scan.wrong else []
    problems += _photo_problems(photo, here=site_id not in elsewhere(db))
    if problems:
        form = refused_form(Invalid(problems), values, 422)
        response = _reading(request, db, site_id, zone_id, form)
        response.status_code = 422
        return response
    excursion, reading_id = open_excursion_of(db, zone_id), derive_id("reading", zone_id, key)
    then = f"/quality/excursions/{excursion.excursion_id}" if excursion is not None else "/quality"
    response = await submit_form(
        request,
        RecordHandReading,
        then=then,
        said="The reading is on record.",
        again=lambda form: _reading(request, db, site_id, zone_id, form),
        site_id=site_id,
        zone_id=zone_id,
        reading_id=reading_id,
        sscc=scan.sscc or label.strip(),
        **({"photo_hash": sha256(photo).hexdigest()} if photo else {}),
    )
    if photo and response.status_code == 303:
        try:
            await run(request, KeepPhoto(site_id=site_id, reading_id=reading_id, body=photo))
        except Rejected as rejected:
            return see_other(then, f"The reading is on record, its photo was not kept. {rejected}", "crit")
    return response


async def _photo_of(request: Req) -> bytes | None:
    """The file of the form's photo; None where none was chosen."""
    part = (await request.form()).get("photo")
    return await part.read() if isinstance(part, UploadFile) and part.filename else None


def _photo_problems(photo: bytes | None, *, here: bool) -> list[Problem]:
    if photo is None:
        return []
    if not here:
        message = "is kept by the site's own computer, which this page is not of"
        fix = "record the reading without it, or open this page there"
        return [Problem(field="photo", message=message, fix=fix)]
    try:
        check_photo(photo)
    except Invalid as refused:
        return list(refused.problems)
    return []


@get(
    "/quality/sites/{site_id:str}/photos/{photo_hash:str}",
    opt=VIEW,
    include_in_schema=False,
    sync_to_thread=True,
)
def photo_file(db: Db, site_id: FromPath[str], photo_hash: FromPath[str]) -> Response[bytes]:
    """Show a photo as it was taken in."""
    photo = get_photo(db, site_id, photo_hash)
    return Response(photo.body, media_type=photo.media_type.value, headers=PHOTO_HEADERS)


handlers = [reading_page, record_reading, photo_file]
