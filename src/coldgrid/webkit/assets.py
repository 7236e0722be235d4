"""Browser assets: built once, named by their content's hash, served from memory and cached for ever.

Invariants
    A1  Only files that the build listed are served: a path from outside never reaches the file system.
    A2  A name carries its content's hash, so browsers may keep it for a year without asking.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from coldgrid.kernel.rejections import NotFound

STATIC = Path(__file__).parent / "static"
YEAR_S = 31_536_000
MEDIA_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}
_PACKED = {".woff2"}


class AssetNotFound(NotFound):
    """There is no such asset."""


class Basemap(msgspec.Struct, frozen=True):
    """The projected outline of the contiguous United States, in the units of its `width` and `height`."""

    width: float
    height: float
    scale: float
    translate: tuple[float, float]
    land: str
    fill: str
    borders: str


@cache
def manifest() -> dict[str, str]:
    """Return the plain name of every entry point and copied file → its hashed name.

    Raises:
        FileNotFoundError: the assets were not built (`make setup`).
    """
    return msgspec.json.decode((STATIC / "manifest.json").read_bytes(), type=dict[str, str])


def asset(name: str) -> str:
    """Return the address of an asset by its plain name, such as "src/app.ts"."""
    return f"/static/{manifest()[name]}"


@cache
def basemap() -> Basemap:
    """Return the base map that the build projected."""
    return msgspec.json.decode((STATIC / "basemap.json").read_bytes(), type=Basemap)


@cache
def _names() -> frozenset[str]:
    return frozenset(
        p.name for p in STATIC.iterdir() if p.suffix in MEDIA_TYPES and p.name != "manifest.json"
    )


@cache
def _packed(name: str) -> bytes:
    return gzip.compress((STATIC / name).read_bytes(), compresslevel=9, mtime=0)


@cache
def _plain(name: str) -> bytes:
    return (STATIC / name).read_bytes()


@get("/static/{name:str}", opt={"public": True}, include_in_schema=False, sync_to_thread=True)
def static_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """Serve one built file (A1, A2)."""
    if name not in _names():
        raise AssetNotFound(name=name)
    suffix = Path(name).suffix
    headers = {"Cache-Control": f"public, max-age={YEAR_S}, immutable", "Vary": "Accept-Encoding"}
    packs = suffix not in _PACKED and "gzip" in request.headers.get("accept-encoding", "")
    if packs:
        headers["Content-Encoding"] = "gzip"
    content = _packed(name) if packs else _plain(name)
    return Response(content, media_type=MEDIA_TYPES[suffix], headers=headers)
