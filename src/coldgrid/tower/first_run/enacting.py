"""Putting a step in force: a draft and its approval, by the admin who set the network up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request

from coldgrid.kernel.events import encode
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Conflict, Invalid, Problem, Rejected
from coldgrid.network.change_rules import (
    ApproveChange,
    ApproverDrafted,
    ChangeNotFound,
    ChangeStatus,
    DraftChange,
    NothingChanges,
    WithdrawChange,
)
from coldgrid.network.changes import get_change, items_of
from coldgrid.network.profile import BeginSetUp, set_up_begun
from coldgrid.network.uploads import change_id_for
from coldgrid.webkit.commands import KEY_LENGTH_MAX, run

Req = Request[Any, Any, Any]
Raw = dict[str, Any]


class WaitsForColleague(Conflict):
    """It is drafted: another admin approves it, for there is more than one now."""

    todo = "Ask them to look under Changes; this step is done when they approved."


class Filled(msgspec.Struct, frozen=True):
    """A form that is to be put in force: its items, why, and the key that makes a second press harmless."""

    items: Sequence[Raw]
    reason: str
    key: str


def key_in(values: dict[str, list[str]]) -> str:
    """Return the key of a form."""
    return (values.get("_key") or [""])[-1][: KEY_LENGTH_MAX - 10]


def done_before(request: Req, db: Reader, key: str) -> bool:
    """Tell whether this very form was put in force already: it was pressed twice."""
    try:
        found = get_change(db, change_id_for(request, db, key, b""))
    except ChangeNotFound:
        return False
    return found.status is ChangeStatus.APPROVED


async def put_in_force(request: Req, db: Reader, filled: Filled, *, new: Sequence[str] = ()) -> None:
    """Draft the items and approve them. `new`: kinds that must not be there yet under these names.

    Raises:
        Invalid: items are wrong, or somebody else made one of the `new` meanwhile; nothing is in force.
        WaitsForColleague: it is drafted, and not this admin's to approve.
        Rejected: see `DraftChange` and `ApproveChange`.
    """
    change_id = change_id_for(request, db, filled.key or None, encode(list(filled.items)))
    if not set_up_begun(db):
        await run(request, BeginSetUp())
    draft = DraftChange(change_id=change_id, items=list(filled.items), reason=filled.reason)
    try:
        await run(request, draft, filled.key or None)
    except NothingChanges:
        return
    try:
        _refuse_taken(request, change_id, new)
        approve = ApproveChange(change_id=change_id, reason=filled.reason)
        await run(request, approve, f"{filled.key} approve" if filled.key else None)
    except ApproverDrafted:
        raise WaitsForColleague(change_id=change_id) from None
    except Rejected:
        await run(request, WithdrawChange(change_id=change_id, reason="the set-up went another way"))
        raise


def _refuse_taken(request: Req, change_id: str, new: Sequence[str]) -> None:
    with request.app.state.reader() as db:
        drafted = items_of(db, change_id)
        waits = get_change(db, change_id).status is ChangeStatus.DRAFTED
    taken = [item.key for item in drafted if item.kind in new and item.base] if waits else []
    if taken:
        raise Invalid([Problem(field="site_id", message=f"{taken[0]} was set up by somebody else just now")])
