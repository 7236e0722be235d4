"""What people at the tower see of the sites that nodes host: who was heard when, and logs in quarantine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from markupsafe import Markup

from coldgrid.access import people
from coldgrid.evidence import forks
from coldgrid.evidence.forks import KeptFork
from coldgrid.kernel import hosting, log, set_aside
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import get_site
from coldgrid.sync import enrolled, receiving
from coldgrid.sync.choices import FEED_EPOCH, ChooseCopy, choice_of
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import PanelContext, fragment, page, register_panel
from coldgrid.webkit.visitors import Db, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view"}
SEE = {"action": "sync.view"}
TOPIC = "nodes"
# No frame for so long, and no request of the node waits here: its site is silent.
SILENT_AFTER = timedelta(seconds=60)
SHOWN_MAX = 8
RANK = {"quarantined": 0, "silent": 1, "unheard": 2, "heard": 3}


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """A site that a node hosts. `state`: heard, silent, unheard (since this tower started), quarantined.

    `waits`: a request of the node is open here at this moment.
    """

    site_id: str
    node_id: str
    state: str
    heard_at: datetime | None
    waits: bool
    fork: KeptFork | None


def hosted_sites(
    db: Reader, heard: Mapping[str, datetime], polling: Collection[str], now: datetime
) -> list[Hosted]:
    """Return every site that lives elsewhere, those that need a look first.

    Args:
        db: The tower's facts.
        heard: When each site's node was last heard, by the system clock, since the start.
        polling: The sites of which a request is open.
        now: The system clock.
    """
    nodes = {node.site_id: node.node_id for node in _live_nodes(db)}
    barred = {fork.origin: fork for fork in forks.open_forks(db)}
    links = {link.site_id: link.heard_at for link in receiving.links(db)}
    found = []
    for site_id in hosting.elsewhere(db):
        if site_id == NETWORK_ORIGIN:
            continue
        at = max(filter(None, (heard.get(site_id), links.get(site_id))), default=None)
        waits = site_id in polling
        state = "unheard" if at is None else "heard"
        if at is not None and now - at > SILENT_AFTER and not waits:
            state = "silent"
        if site_id in barred:
            state = "quarantined"
        found.append(
            Hosted(
                site_id=site_id,
                node_id=nodes.get(site_id, ""),
                state=state,
                heard_at=at,
                waits=waits,
                fork=barred.get(site_id),
            )
        )
    return sorted(found, key=lambda one: (RANK[one.state], one.site_id))


def _live_nodes(db: Reader) -> list[Any]:
    """The nodes that are not cut off, the newest last, so that it is the one that counts."""
    nodes = [node for node in enrolled.list_nodes(db) if node.revoked_at is None]
    return sorted(nodes, key=lambda node: node.enrolled_at)


def _hosted(request: Req, db: Reader) -> list[Hosted]:
    """What a visitor may see of the nodes; nothing where this tower has no port for them."""
    work = request.app.state.get("nodes")
    if work is None:
        return []
    heard = dict(work.post.heard)
    polling = {site_id for site_id in hosting.elsewhere(db) if work.port.app.polling(site_id)}
    allowed = visitor_of(request).principal.sites
    now = request.app.state.system_now()
    return [one for one in hosted_sites(db, heard, polling, now) if allowed is None or one.site_id in allowed]


# --- Panels -----------------------------------------------------------------------


@get("/nodes/heard", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def heard_all(request: Req, db: Db) -> Response[str]:
    """The line of the control tower alone, for a page that is live."""
    return fragment(request, "sync/_heard_all.html", db, **_all(request, db))


@get("/nodes/heard/{site_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def heard_one(request: Req, db: Db, site_id: FromPath[str]) -> Response[str]:
    """The line of one site alone."""
    return fragment(request, "sync/_heard_one.html", db, **_one(request, db, site_id))


def _all(request: Req, db: Reader) -> dict[str, Any]:
    hosted = _hosted(request, db)
    calling = [one for one in hosted if one.state != "heard"]
    return {
        "calling": calling[:SHOWN_MAX],
        "more": max(0, len(calling) - SHOWN_MAX),
        "heard": len(hosted) - len(calling),
        "system_now": request.app.state.system_now(),
    }


def _one(request: Req, db: Reader, site_id: str) -> dict[str, Any]:
    found = next((one for one in _hosted(request, db) if one.site_id == site_id), None)
    told: dict[str, Any] = {"hosted": found, "system_now": request.app.state.system_now()}
    return told | ({} if found is None else {"timezone": get_site(db, site_id).timezone})


def _tower_panel(context: PanelContext) -> Markup | None:
    told = _all(context.request, context.db)
    if not told["heard"] and not told["calling"]:
        return None
    return context.render("sync/_heard_part.html", address="/nodes/heard", one=False, **told)


def _chosen_panel(context: PanelContext) -> Markup | None:
    """Beside the map: the chosen site's node."""
    chosen = context.about.get("chosen")
    return None if chosen is None else _site_line(context, chosen.site.site_id)


def _site_panel(context: PanelContext) -> Markup | None:
    return _site_line(context, context.about["site"].site_id)


def _site_line(context: PanelContext, site_id: str) -> Markup | None:
    told = _one(context.request, context.db, site_id)
    if told["hosted"] is None:
        return None
    return context.render("sync/_heard_part.html", address=f"/nodes/heard/{site_id}", one=True, **told)


# --- Quarantine -------------------------------------------------------------------


@get("/nodes/quarantine/{site_id:str}", opt=SEE, include_in_schema=False, sync_to_thread=True)
def quarantine_page(request: Req, db: Db, site_id: FromPath[str]) -> Response[str]:
    """Show a log in quarantine with both hashes, and the form that ends it."""
    return _quarantine(request, db, site_id, NO_FORM)


def _quarantine(request: Req, db: Reader, site_id: str, form: Form) -> Response[str]:
    mine = [fork for fork in forks.forks(db) if fork.origin == site_id]
    here = [(epoch, size) for origin, epoch, size in log.epochs(db) if origin == site_id]
    return page(
        request,
        "sync/quarantine.html",
        db,
        title=f"Quarantine of {site_id}",
        nav="/nodes",
        topics=[f"site/{site_id}"],
        site_id=site_id,
        suspected=[one for one in enrolled.nodes_of(db, site_id) if one.suspected_why and not one.revoked_at],
        open_forks=[fork for fork in mine if not fork.settled_by],
        settled=[fork for fork in mine if fork.settled_by],
        here=here,
        may_choose=may(request, "sync.choose_copy"),
        choice=choice_of(db, site_id),
        asides=[one for one in set_aside.asides(db) if one.origin == site_id],
        of_feed=any(fork.epoch == FEED_EPOCH and not fork.settled_by for fork in mine),
        names=people.names(db),
        form=form,
        status_code=form.status,
    )


@post("/nodes/quarantine/{site_id:str}", include_in_schema=False)
async def choose(request: Req, db: Db, site_id: FromPath[str]) -> Response[Any]:
    """Choose which copy is kept, and say why."""
    return await submit_form(
        request,
        ChooseCopy,
        then=f"/nodes/quarantine/{site_id}",
        said="The choice is on record; it is carried out when the node calls next.",
        again=lambda form: _quarantine(request, db, site_id, form),
        site_id=site_id,
    )


register_panel("tower", "left", _tower_panel, order=20)
register_panel("tower", "right", _chosen_panel, order=-10)
register_panel("site", "top", _site_panel, order=10)
handlers = [heard_all, heard_one, quarantine_page, choose]
