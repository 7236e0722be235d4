"""JSON API of nodes: who is enrolled, codes for new ones, and revoking."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.validation import decode_all
from coldgrid.sync import enrolled
from coldgrid.sync.admission import GRACE, Node
from coldgrid.sync.authority import renew_from
from coldgrid.sync.enrolment import CODE_LIFE
from coldgrid.sync.node_port import NodePort
from coldgrid.sync.node_words import IssueCode, RevokeNode
from coldgrid.webkit.commands import run, submit
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.problems import WrongMediaType
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
READ = {"action": "sync.read", **AT_LEADER}  # the port knows who was heard
TAGS = ["nodes"]


class NoPort(Conflict):
    """This tower has no port for nodes."""

    todo = "Start it with one: see docs/nodes.md."


class CodeAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which site a code is, and which node it brings back ("": a new one)."""

    site_id: str
    node_id: str = ""


class CodeGiven(msgspec.Struct, frozen=True):
    """A code, shown this once, and the command to type on the new host."""

    code_id: str
    code: str
    command: str
    expires_at: datetime


class NodeShown(msgspec.Struct, frozen=True):
    """A node as the API lists it. `state`: see `state_of`; times are the system clock's."""

    node_id: str
    site_id: str
    state: str
    enrolled_at: datetime
    heard_at: datetime | None
    serial: str
    not_after: datetime
    renews_at: datetime
    revoked_at: datetime | None
    revoked_by: str
    reason: str
    suspected_why: str


def port_of(request: Req) -> NodePort:
    """Return the tower's port for nodes.

    Raises:
        NoPort: it has none.
    """
    port: NodePort | None = request.app.state.get("node_port")
    if port is None:
        raise NoPort()
    return port


def state_of(node: Node, at: datetime) -> str:
    """Return in one word how a node stands at an instant of the system clock."""
    if node.revoked_at is not None:
        return "revoked"
    if node.suspected_at is not None:
        return "copied"
    if at >= node.not_after + GRACE:
        return "lapsed"
    return "expired" if at >= node.not_after else "enrolled"


def shown(request: Req, db: Reader, nodes: list[Node]) -> list[NodeShown]:
    """Return nodes with how they stand and when they were last heard of."""
    port, at = request.app.state.get("node_port"), request.app.state.system_now()
    noted = {node_id: seen.seen_at for node_id, seen in enrolled.seen_nodes(db).items()}
    heard = noted | (port.gate.last_heard() if port is not None else {})
    return [
        NodeShown(
            node_id=node.node_id,
            site_id=node.site_id,
            state=state_of(node, at),
            enrolled_at=node.enrolled_at,
            heard_at=heard.get(node.node_id),
            serial=node.serial,
            not_after=node.not_after,
            renews_at=renew_from(_issued(db, node), node.not_after),
            revoked_at=node.revoked_at,
            revoked_by=node.revoked_by,
            reason=node.reason,
            suspected_why=node.suspected_why,
        )
        for node in nodes
    ]


def _issued(db: Reader, node: Node) -> datetime:
    held = enrolled.find_certificate(db, node.serial)
    return held.issued_at if held is not None else node.enrolled_at


async def give_code(request: Req, site_id: str, node_id: str) -> CodeGiven:
    """Draw a code and issue it as the visitor.

    Raises:
        Rejected: the visitor may not, or the site or node is none that can enrol.
    """
    port = port_of(request)
    code, at = port.draw_code(), port.now()
    command = IssueCode(
        code_id=port.draw_id(), site_id=site_id, secret_hash=code.secret_hash, at=at, node_id=node_id
    )
    await run(request, command)
    url = port.url_for(request.url.hostname or "localhost")
    typed = f"coldgrid node join {url} --code {code.encode()}"
    return CodeGiven(command.code_id, code.encode(), typed, at + CODE_LIFE)


@get("/api/v1/nodes", opt=READ, tags=TAGS, sync_to_thread=True)
def nodes(request: Req, db: Db) -> list[NodeShown]:
    """List every node ever enrolled, by site, the newest of a site first."""
    return shown(request, db, enrolled.list_nodes(db))


@get("/api/v1/nodes/{node_id:str}", opt=READ, tags=TAGS, sync_to_thread=True)
def node_detail(request: Req, db: Db, node_id: FromPath[str]) -> NodeShown:
    """Return one node."""
    return shown(request, db, [enrolled.get_node(db, node_id)])[0]


@post(
    "/api/v1/nodes/codes",
    opt={"takes": CodeAsked, "answers": CodeGiven, **AT_LEADER},
    tags=TAGS,
    status_code=200,
)
async def new_code(request: Req) -> Response[bytes]:
    """Issue a one-time enrolment code for a site; it is told this once."""
    if (
        request.headers.get("content-type", "application/json").partition(";")[0].strip()
        != "application/json"
    ):
        raise WrongMediaType(given=request.headers.get("content-type", ""), takes="application/json")
    asked = decode_all(await request.body(), CodeAsked)
    given = await give_code(request, asked.site_id, asked.node_id)
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(given), media_type="application/json", headers=headers)


@post("/api/v1/nodes/{node_id:str}/revoke", opt={"takes": RevokeNode}, tags=TAGS, status_code=200)
async def revoke(request: Req, node_id: FromPath[str]) -> Response[bytes]:
    """Cut a node off at once and for ever; the body gives the `reason`."""
    return await submit(request, RevokeNode, node_id=node_id)


handlers = [nodes, node_detail, new_code, revoke]
