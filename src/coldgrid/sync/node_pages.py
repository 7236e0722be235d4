"""Pages about nodes: who is enrolled, codes for new ones, one node with its certificates."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from coldgrid.access import people
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.network.sites import site_labels
from coldgrid.sync import authorities, enrolled, enrolment, node_api
from coldgrid.sync.admission import Node
from coldgrid.sync.codes import pin_of
from coldgrid.sync.node_api import CodeGiven, give_code
from coldgrid.sync.node_port import NodePort
from coldgrid.sync.node_words import RevokeNode, WithdrawCode
from coldgrid.webkit.commands import form_values, submit_form
from coldgrid.webkit.forms import NO_FORM, Form, refused_form
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.shell import NavItem, page, register_nav
from coldgrid.webkit.visitors import Db, may

Req = Request[Any, Any, Any]
VIEW = {"action": "sync.view", **AT_LEADER}  # the port knows who was heard
SEERS = frozenset({"admin", "auditor", "planner", "technician"})
# Polls are held for some minutes: who said nothing for longer than that is silent.
SILENT_AFTER = timedelta(minutes=10)
# Of a node: its state's shape, and its word.
STATES = {
    "enrolled": ("ok", "Enrolled"),
    "expired": ("warn", "Certificate expired"),
    "lapsed": ("crit", "Needs a new code"),
    "copied": ("crit", "Copy suspected"),
    "revoked": ("off", "Revoked"),
}


class Replacing(msgspec.Struct, frozen=True):
    """The authority was replaced: until when the one before counts, and which nodes have not gone over."""

    ends_at: datetime
    without: list[Node]


register_nav(NavItem(group="Set up", label="Nodes", href="/nodes", icon="plug", roles=SEERS, order=70))


# --- The list ---------------------------------------------------------------------


@get("/nodes", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def nodes_page(request: Req, db: Db) -> Response[str]:
    """Show every node, the codes that are open, and the form for a new one."""
    return _nodes(request, db, NO_FORM)


def _nodes(request: Req, db: Reader, form: Form, given: CodeGiven | None = None) -> Response[str]:
    now, port = request.app.state.system_now(), request.app.state.get("node_port")
    labels = site_labels(db)
    return page(
        request,
        "sync/nodes.html",
        db,
        title="Nodes",
        nav="/nodes",
        nodes=node_api.shown(request, db, enrolled.list_nodes(db)),
        codes=[code for code in enrolment.latest_codes(db) if code.open(now)],
        states=STATES,
        sites={label.site_id: label.name for label in labels},
        site_options=[(label.site_id, f"{label.site_id} · {label.name}") for label in labels],
        has_port=port is not None,
        may_issue=port is not None and may(request, "sync.issue_code"),
        may_withdraw=may(request, "sync.withdraw_code"),
        authority=_spaced(pin_of(port.authority.fingerprint)) if port is not None else "",
        replacing=_replacing(port, db) if port is not None else None,
        system_now=now,
        silent_after=SILENT_AFTER,
        names=people.names(db),
        form=form,
        given=given,
        status_code=form.status,
    )


@post("/nodes", opt=AT_LEADER, include_in_schema=False)
async def issue(request: Req, db: Db) -> Response[Any]:
    """Issue a code for a site, and show it this once."""
    values = await form_values(request)
    try:
        given = await give_code(request, _last(values, "site_id"), _last(values, "node_id"))
    except Rejected as rejected:
        return _nodes(request, db, refused_form(rejected, values, status_of(rejected)))
    return _nodes(request, db, NO_FORM, given)


@post("/nodes/codes/{code_id:str}/withdraw", opt=AT_LEADER, include_in_schema=False)
async def withdraw(request: Req, code_id: FromPath[str]) -> Response[Any]:
    """Take a code back."""
    return await submit_form(
        request, WithdrawCode, then="/nodes", said="The code was taken back.", code_id=code_id
    )


# --- One node ---------------------------------------------------------------------


@get("/nodes/{node_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def node_page(request: Req, db: Db, node_id: FromPath[str]) -> Response[str]:
    """Show one node, its certificates, and what can be done."""
    return _node(request, db, node_id, NO_FORM)


def _node(
    request: Req, db: Reader, node_id: str, form: Form, given: CodeGiven | None = None
) -> Response[str]:
    node = enrolled.get_node(db, node_id)
    port = request.app.state.get("node_port")
    return page(
        request,
        "sync/node.html",
        db,
        title=f"Node of {node.site_id}",
        nav="/nodes",
        node=node_api.shown(request, db, [node])[0],
        certificates=enrolled.certificates_of(db, node_id),
        states=STATES,
        sites={label.site_id: label.name for label in site_labels(db)},
        has_port=port is not None,
        may_issue=port is not None and may(request, "sync.issue_code"),
        may_revoke=may(request, "sync.revoke_node"),
        system_now=request.app.state.system_now(),
        names=people.names(db),
        form=form,
        given=given,
        status_code=form.status,
    )


@post("/nodes/{node_id:str}/code", opt=AT_LEADER, include_in_schema=False)
async def bring_back(request: Req, db: Db, node_id: FromPath[str]) -> Response[Any]:
    """Issue a code that brings this node back, and show it this once."""
    values = await form_values(request)
    try:
        given = await give_code(request, enrolled.get_node(db, node_id).site_id, node_id)
    except Rejected as rejected:
        return _node(request, db, node_id, refused_form(rejected, values, status_of(rejected)))
    return _node(request, db, node_id, NO_FORM, given)


@post("/nodes/{node_id:str}/revoke", opt=AT_LEADER, include_in_schema=False)
async def revoke(request: Req, db: Db, node_id: FromPath[str]) -> Response[Any]:
    """Cut the node off."""
    return await submit_form(
        request,
        RevokeNode,
        then=f"/nodes/{node_id}",
        said="The node is cut off.",
        again=lambda form: _node(request, db, node_id, form),
        node_id=node_id,
    )


def _replacing(port: NodePort, db: Reader) -> Replacing | None:
    succession = port.certifying.succession
    if succession is None:
        return None
    without = authorities.nodes_without(db, port.authority.certificate)
    return Replacing(succession.ends_at, without)


def _last(values: dict[str, list[str]], name: str) -> str:
    return values.get(name, [""])[-1].strip()


def _spaced(pin: str) -> str:
    return " ".join(pin[at : at + 4] for at in range(0, len(pin), 4))


handlers = [nodes_page, issue, withdraw, node_page, bring_back, revoke]
