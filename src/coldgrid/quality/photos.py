"""Photos: pictures of what a person measured, kept beside the site's records by the hash that its log holds.

Invariants
    R3  A photo is kept for a hand reading that names its hash, at the site of that reading.
    R4  What is kept is a JPEG, PNG or WebP by its content, whatever it is called, and no larger than
        `PHOTO_MAX_BYTES`.

The log holds the hash only. The picture lies in the database of the host that carries the site and moves with
the site; it takes no part in what nodes and tower tell each other.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict, Invalid, NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.quality.hand_readings import find_hand_reading

# --- Vocabulary -----------------------------------------------------------------

# Twice what a phone's camera makes of a display; the decider writes it in one go.
PHOTO_MAX_BYTES = 8_000_000


class Picture(StrEnum):
    """A format that every browser shows. The value is its media type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"


class Photo(msgspec.Struct, frozen=True):
    """A picture as it was taken in."""

    media_type: Picture
    body: bytes


# --- Rejections -----------------------------------------------------------------


class PhotoNotFound(NotFound):
    """This host does not keep that photo."""

    todo = "It is kept by the computer that carries its site: ask for it there."


class PhotoNotNamed(Conflict):
    """The hand reading does not name this photo (R3)."""


# --- Decisions (pure) -----------------------------------------------------------


def picture_of(body: bytes) -> Picture | None:
    """Return what a file is by its content; None where it is none of these, or was cut off (R4)."""
    if body.startswith(b"\xff\xd8\xff"):
        return Picture.JPEG if _is_whole_jpeg(body) else None
    if body.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        return Picture.PNG if b"IEND\xaeB`\x82" in body else None
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return Picture.WEBP if len(body) >= 8 + int.from_bytes(body[4:8], "little") else None
    return None


_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that tell a picture's size
_SCAN = 0xDA


def _is_whole_jpeg(body: bytes) -> bool:
    """Follow the segments to the scan, which must end (ITU-T T.81); the end of a preview in one is not it."""
    at, framed = 2, False
    while body[at : at + 1] == b"\xff" and len(body) > at + 3:
        marker = body[at + 1]
        framed = framed or marker in _FRAMES
        if marker == _SCAN:
            return framed and body.find(b"\xff\xd9", at) > 0
        at += 2 + int.from_bytes(body[at + 2 : at + 4], "big")
    return False


def check_photo(body: bytes) -> Picture:
    """Return what a photo is, or reject what cannot be kept (R4).

    Raises:
        Invalid: it is too big, or no picture.
    """
    if len(body) > PHOTO_MAX_BYTES:
        size = f"has {len(body) / 1e6:.1f} MB, a photo has {PHOTO_MAX_BYTES / 1e6:.0f} MB at most"
        fix = "choose a smaller size in the camera or when it is shared"
        raise Invalid([Problem(field="photo", message=size, fix=fix)])
    found = picture_of(body)
    if found is None:
        fix = "send a whole JPEG, PNG or WebP"
        raise Invalid([Problem(field="photo", message=_is_none(body), fix=fix)])
    return found


def _is_none(body: bytes) -> str:
    if not body:
        return "is empty"
    if body[4:8] == b"ftyp":
        return "is a HEIC, AVIF or video file, which not every browser shows"
    return "is no picture, or was cut off"


# --- Table and command ----------------------------------------------------------

quality_photo = sa.Table(
    "quality_photo",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("photo_hash", sa.Text, primary_key=True),
    sa.Column("media_type", Named(Picture), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True, "carried_by": "site_id"},
)
_KEEP = Statement(upsert(quality_photo, keys=["site_id", "photo_hash"]))


class KeepPhoto(Command, frozen=True, kw_only=True, tag="quality.keep_photo"):
    """Ask to keep the photo that a hand reading names; `body` is the file, in base 64 where it is JSON."""

    site_id: str
    reading_id: str
    body: bytes


@handles(KeepPhoto, action="quality.record_hand_reading", owner=Owner.SITE, direct=True)
def keep_photo(tx: Tx, command: KeepPhoto) -> None:
    """Keep a photo beside the site's records; the same again changes nothing."""
    media_type, photo_hash = check_photo(command.body), sha256(command.body).hexdigest()
    reading = find_hand_reading(tx, command.reading_id)
    if reading is None or (reading.site_id, reading.photo_hash) != (command.site_id, photo_hash):
        raise PhotoNotNamed(reading_id=command.reading_id, photo_hash=photo_hash)
    tx.write(
        _KEEP,
        site_id=command.site_id,
        photo_hash=photo_hash,
        media_type=media_type,
        body=command.body,
    )


# --- Queries --------------------------------------------------------------------

_of_site = quality_photo.c.site_id == sa.bindparam("site_id")
_GET = Statement(
    sa.select(quality_photo.c.media_type, quality_photo.c.body).where(
        _of_site, quality_photo.c.photo_hash == sa.bindparam("photo_hash")
    ),
    into=Photo,
)
_KEPT = Statement(
    sa.select(quality_photo.c.photo_hash).where(
        _of_site, quality_photo.c.photo_hash.in_(sa.bindparam("hashes", expanding=True))
    )
)


def get_photo(db: Reader, site_id: str, photo_hash: str) -> Photo:
    """Return a photo that is kept here.

    Raises:
        PhotoNotFound: this host does not keep it.
    """
    found: Photo | None = db.one(_GET, site_id=site_id, photo_hash=photo_hash)
    if found is None:
        raise PhotoNotFound(site_id=site_id, photo_hash=photo_hash)
    return found


def photos_kept(db: Reader, site_id: str, hashes: list[str]) -> set[str]:
    """Return which photos of a site are kept here."""
    wanted = [one for one in hashes if one]
    return {one for (one,) in db.all(_KEPT, site_id=site_id, hashes=wanted)} if wanted else set()
