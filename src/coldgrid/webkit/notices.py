"""Notices: one sentence that survives the redirect after a form, in a cookie that the next page clears."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie

COOKIE = "coldgrid_notice"
LIFE_S = 60
LENGTH_MAX = 1_500


class Notice(msgspec.Struct, frozen=True):
    """What happened. `kind` is ok, warn or crit."""

    text: str
    kind: str = "ok"


def leave(response: Response[Any], notice: Notice) -> Response[Any]:
    """Attach a notice for the next page."""
    told = Notice(notice.text[:LENGTH_MAX], notice.kind)
    value = base64.urlsafe_b64encode(msgspec.json.encode(told)).decode().rstrip("=")
    response.cookies.append(
        Cookie(key=COOKIE, value=value, max_age=LIFE_S, httponly=True, samesite="lax", path="/")
    )
    return response


def say_here(request: Request[Any, Any, Any], notice: Notice) -> None:
    """Have the page that answers this request say something."""
    request.scope.setdefault("state", {})["notice"] = notice


def notice_of(request: Request[Any, Any, Any]) -> Notice | None:
    """Return what a page says: what its own request gave reason for, else what the one before left."""
    said: Notice | None = request.scope.get("state", {}).get("notice")
    return said or pending_notice(request)


def pending_notice(request: Request[Any, Any, Any]) -> Notice | None:
    """Return the notice that waits, if it can be read. It is shown escaped: a cookie is not trusted."""
    raw = request.cookies.get(COOKIE, "")
    if not raw:
        return None
    try:
        told = msgspec.json.decode(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)), type=Notice)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return None
    return Notice(told.text, told.kind if told.kind in ("ok", "warn", "crit") else "ok")
