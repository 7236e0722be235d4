"""Pages about changes: draft one by a form or by files, see what it alters, approve or refuse it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.access.people import names
from coldgrid.kernel.events import Command, encode
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, NotFound, Rejected
from coldgrid.network.change_rules import (
    ApproveChange,
    Change,
    ChangeStatus,
    DraftChange,
    Drafted,
    RejectChange,
    WithdrawChange,
    said_why,
)
from coldgrid.network.change_views import EVERYTHING, Asked, review_of
from coldgrid.network.changes import body_in_force, get_change, items_of, list_changes, opened, works_alone
from coldgrid.network.groups import NETWORK_GROUP, group_names, has_network_group
from coldgrid.network.imports import check_import
from coldgrid.network.item_forms import form_fields, item_of, label_of, path_in_words, word
from coldgrid.network.items import ItemKind, item_kinds
from coldgrid.network.sites import site_labels
from coldgrid.network.uploads import BODY_BYTES_MAX, change_id_for, files_of
from coldgrid.webkit.commands import form_values, run, see_other, submit_form
from coldgrid.webkit.forms import NO_FORM, Form, refused_form
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view"}
DRAFT = {"action": "network.draft_change"}
# A longer list of sites is typed: nobody looks for one of thousands in a menu.
CHOICES_MAX = 300
SITE_FIELDS = ("site_id", "from_site", "to_site")
STATUS_STATES = {ChangeStatus.DRAFTED: "warn", ChangeStatus.APPROVED: "ok", ChangeStatus.REJECTED: "off"}


class ItemNotFound(NotFound):
    """There is no such item of master data."""


# --- Drafting by a form ---------------------------------------------------------


@get("/network/new/{kind:str}", opt=DRAFT, include_in_schema=False, sync_to_thread=True)
def new_page(request: Req, db: Db, kind: FromPath[str]) -> Response[str]:
    """Show an empty form for an item of a kind."""
    return _edit(request, db, (_kind(kind), ""), NO_FORM)


@get("/network/edit/{kind:str}/{key:str}", opt=DRAFT, include_in_schema=False, sync_to_thread=True)
def edit_page(request: Req, db: Db, kind: FromPath[str], key: FromPath[str]) -> Response[str]:
    """Show an item's fields as they are in force, to draft a change of them."""
    found = _kind(kind)
    if found.privacy is not None:
        request.app.state.door.note_read(visitor_of(request), "personal", request.scope["path"])
    return _edit(request, db, (found, key), NO_FORM)


def _kind(kind: str) -> ItemKind:
    found = item_kinds().get(kind)
    if found is None:
        raise ItemNotFound(kind=kind)
    return found


def _edit(request: Req, db: Reader, item: tuple[ItemKind, str], form: Form) -> Response[str]:
    kind, key = item
    raw = _opened_body(db, kind, key) if key else {}
    title = f"Change {key}" if key else f"New {word(kind.kind)}"
    return page(
        request,
        "network/edit.html",
        db,
        title=title,
        nav="/network/changes",
        kind=kind.kind,
        key=key,
        fields=form_fields(kind, raw, _choices(db, kind)),
        examples=[] if kind.form_help is None else kind.form_help.examples(),
        label_of=label_of,
        alone=_alone(request, db),
        form=form,
        word=word,
    )


def _choices(db: Reader, kind: ItemKind) -> dict[str, Sequence[tuple[str, str]]]:
    """What the fields of a form may name; a list that is too long to look through is typed instead."""
    sites = [(one.site_id, f"{one.site_id} · {one.name}") for one in site_labels(db)]
    found: dict[str, Sequence[tuple[str, str]]] = {
        "escalation_group": [(group_id, f"{group_id} · {name}") for group_id, name in group_names(db)],
    }
    if sites and len(sites) <= CHOICES_MAX:
        found |= dict.fromkeys(SITE_FIELDS, sites)
    if kind.form_help is not None:
        found |= kind.form_help.choices()
    found.pop(kind.key_field, None)
    return found


def _alone(request: Req, db: Reader) -> bool:
    """Whether who is asking approves their own changes, because nobody else could (ADR 21)."""
    return works_alone(db, visitor_of(request).principal.actor_id)


def _opened_body(db: Reader, kind: ItemKind, key: str) -> dict[str, Any]:
    body = body_in_force(db, kind.kind, key)
    if body is None:
        raise ItemNotFound(kind=kind.kind, key=key)
    value = opened(db, kind.kind, msgspec.convert(body, kind.stored))
    fields: dict[str, Any] = msgspec.to_builtins(value)
    return fields


@post("/network/new/{kind:str}", include_in_schema=False)
async def draft_new(request: Req, db: Db, kind: FromPath[str]) -> Response[Any]:
    """Draft a new item."""
    return await _draft(request, db, _kind(kind), "")


@post("/network/edit/{kind:str}/{key:str}", include_in_schema=False)
async def draft_edit(request: Req, db: Db, kind: FromPath[str], key: FromPath[str]) -> Response[Any]:
    """Draft a change of an item."""
    return await _draft(request, db, _kind(kind), key)


async def _draft(request: Req, db: Reader, kind: ItemKind, key: str) -> Response[Any]:
    values = await form_values(request)
    item, problems = item_of(kind, values)
    reason = (values.get("reason") or [""])[-1]
    try:
        said_why(reason)
        if problems:
            raise Invalid(problems)
        form_key = (values.get("_key") or [""])[-1] or None
        change_id = change_id_for(request, db, form_key, encode(item))
        await run(request, DraftChange(change_id=change_id, items=[item], reason=reason), form_key)
    except Rejected as rejected:
        form = refused_form(_of_fields(rejected), values, status_of(rejected))
        response = _edit(request, db, (kind, key), form)
        response.status_code = form.status
        return response
    said = "You are the only admin: approve it here." if _alone(request, db) else "Somebody else approves it."
    return see_other(f"/network/changes/{change_id}", f"Drafted. {said}")


def _of_fields(rejected: Rejected) -> Rejected:
    """The form holds one item: `items[0].high_c` is its field `high_c`."""
    if not isinstance(rejected, Invalid):
        return rejected
    return Invalid(
        [
            msgspec.structs.replace(problem, field=problem.field.removeprefix("items[0]").removeprefix("."))
            for problem in rejected.problems
        ]
    )


# --- Drafting by files ----------------------------------------------------------


@get("/network/import", opt=DRAFT, include_in_schema=False, sync_to_thread=True)
def import_page(request: Req, db: Db) -> Response[str]:
    """Show the form that takes files."""
    return _import(request, db, NO_FORM)


def _import(request: Req, db: Reader, form: Form) -> Response[str]:
    kinds = sorted(item_kinds())
    title = "Import master data"
    unanswered = bool(site_labels(db)) and not has_network_group(db)
    return page(
        request,
        "network/import.html",
        db,
        title=title,
        nav="/network/changes",
        kinds=kinds,
        alone=_alone(request, db),
        unanswered=unanswered,
        may_draft=True,
        form=form,
    )


@post("/network/import", include_in_schema=False, request_max_body_size=BODY_BYTES_MAX)
async def import_files(request: Req, db: Db) -> Response[Any]:
    """Check every line of the files; draft them when all are right, else show all that are wrong."""
    values = await form_values(request)
    reason = (values.get("reason") or [""])[-1]
    form_key = (values.get("_key") or [""])[-1] or None
    try:
        files = await files_of(request)
        items = await asyncio.to_thread(check_import, db, files)
        said_why(reason)
        change_id = change_id_for(request, db, form_key, b"".join(file.data for file in files))
        answer = await run(request, DraftChange(change_id=change_id, items=items, reason=reason), form_key)
    except Rejected as rejected:
        form = refused_form(rejected, values, status_of(rejected))
        response = _import(request, db, form)
        response.status_code = form.status
        return response
    drafted = msgspec.convert(msgspec.to_builtins(answer.result), Drafted)  # a replayed answer is plain
    told = f"{drafted.items} items drafted, {drafted.unchanged} are so already."
    return see_other(f"/network/changes/{change_id}", told)


# --- Review ---------------------------------------------------------------------


@get("/network/changes", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def changes_page(request: Req, db: Db, status: FromQuery[str] = "") -> Response[str]:
    """List the changes, those that wait first."""
    wanted = ChangeStatus(status) if status in set(ChangeStatus) else None
    changes = list_changes(db, wanted)
    return page(
        request,
        "network/changes.html",
        db,
        title="Changes",
        nav="/network/changes",
        changes=sorted(changes, key=lambda change: change.status is not ChangeStatus.DRAFTED),
        status=status,
        states=STATUS_STATES,
        names=names(db),
        may_draft=may(request, "network.draft_change"),
        kinds=sorted(item_kinds()),
        word=word,
    )


@get("/network/changes/{change_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def change_page(
    request: Req,
    db: Db,
    change_id: FromPath[str],
    first: FromQuery[int] = 0,
    kind: FromQuery[str] = "",
    show: FromQuery[str] = "",
) -> Response[str]:
    """Show what a change alters, field by field, and who decided what."""
    return _change(request, db, change_id, NO_FORM, Asked(first, kind, show == "all"))


def _change(request: Req, db: Reader, change_id: str, form: Form, asked: Asked = EVERYTHING) -> Response[str]:
    change = get_change(db, change_id)
    may_approve = may(request, "network.approve_change")
    review = review_of(db, change, asked, readable=may_approve)
    if may_approve and review.personal:
        request.app.state.door.note_read(visitor_of(request), "personal", request.scope["path"])
    return page(
        request,
        "network/change.html",
        db,
        title=f"Review: {change.reason}",
        nav="/network/changes",
        change=change,
        change_state=STATUS_STATES[change.status],
        review=review,
        names=names(db),
        in_words=path_in_words,
        own=visitor_of(request).principal.actor_id == change.drafted_by,
        alone=_alone(request, db),
        may_approve=may_approve,
        may_reject=may(request, "network.reject_change"),
        may_draft=may(request, "network.draft_change"),
        unanswered=_leaves_unanswered(db, change),
        form=form,
        word=word,
    )


def _leaves_unanswered(db: Reader, change: Change) -> bool:
    """Tell whether a change that makes sites, or made some, leaves nobody to page about the network."""
    if change.status is ChangeStatus.REJECTED or has_network_group(db):
        return False
    items = {(item.kind, item.key) for item in items_of(db, change.change_id)}
    return ("group", NETWORK_GROUP) not in items and any(kind == "site" for kind, _ in items)


@post("/network/changes/{change_id:str}/approve", include_in_schema=False)
async def approve(request: Req, db: Db, change_id: FromPath[str]) -> Response[Any]:
    """Put a change in force."""
    return await _settle(request, db, change_id, ApproveChange, "Approved; it is in force.")


@post("/network/changes/{change_id:str}/reject", include_in_schema=False)
async def reject(request: Req, db: Db, change_id: FromPath[str]) -> Response[Any]:
    """Put a change aside."""
    return await _settle(request, db, change_id, RejectChange, "Put aside; nothing was changed.")


@post("/network/changes/{change_id:str}/withdraw", include_in_schema=False)
async def withdraw(request: Req, db: Db, change_id: FromPath[str]) -> Response[Any]:
    """Take back one's own change."""
    return await _settle(request, db, change_id, WithdrawChange, "Withdrawn; nothing was changed.")


async def _settle(
    request: Req, db: Reader, change_id: str, command_type: type[Command], said: str
) -> Response[Any]:
    return await submit_form(
        request,
        command_type,
        then=f"/network/changes/{change_id}",
        said=said,
        again=lambda form: _change(request, db, change_id, form),
        change_id=change_id,
    )


handlers = [
    new_page,
    edit_page,
    draft_new,
    draft_edit,
    import_page,
    import_files,
    changes_page,
    change_page,
    approve,
    reject,
    withdraw,
]
