"""The application: one process that decides, serves pages and API, and keeps its background work going."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litestar import Litestar

from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.settings import Settings
from coldgrid.node.errands import Doing
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import Parts, Work, build_parts, create_parts
from coldgrid.tower.background import Background
from coldgrid.tower.first_run.link import WELCOME, set_up_link
from coldgrid.tower.handlers import route_handlers
from coldgrid.tower.rooms import load_rooms
from coldgrid.tower.sync_work import NodeWork

Tower = Parts


def build_tower(settings: Settings, own_host: LiveHost) -> Tower:
    """Put a tower together on its database: rooms, decider, door. Nothing runs yet."""
    load_rooms()
    return build_parts(settings, own_host)


def create(
    tower: Tower,
    channels: Mapping[str, Channel],
    work: Sequence[Work] = (),
    clock_note: Callable[[], str] = lambda: "",
    *,
    nodes: bool = False,
) -> Litestar:
    """Return the web application of a tower. It starts the tower's threads and stops them in reverse.

    `nodes`: listen for nodes too, as the settings say.

    Raises:
        BadCertificate, PermissionError: the file of the authority cannot be used.
    """
    background = Background(tower, channels)
    state: dict[str, Any] = {
        "background": background,
        "notary": background.notary,
        "home": "",
        "welcome": WELCOME,
    }
    beside: list[Work] = [background, *work]
    doing: Doing = {"setup": lambda _: set_up_link(tower.settings, tower.door, new=True)}
    if nodes:
        node_work = NodeWork(tower, background.notary)
        background.loops += node_work.loops
        state |= {"nodes": node_work, "node_port": node_work.port}
        beside.append(node_work)
        doing = {**doing, **errands_of(node_work)}
    return create_parts(tower, route_handlers(), beside, state, clock_note, doing)


def errands_of(nodes: NodeWork) -> Doing:
    """Return what an operator at this machine may ask a running tower."""

    def code(asked: dict[str, str]) -> str:
        return nodes.issue_code(asked["site"], asked.get("node", "")).encode()

    def take_back(asked: dict[str, str]) -> str:
        return nodes.take_back(asked["site"], lost=asked.get("lost") == "yes")

    def choose(asked: dict[str, str]) -> str:
        return nodes.choose(asked["site"], asked["keep"], asked["reason"])

    def rotate_ca(asked: dict[str, str]) -> str:
        return nodes.rotate_ca(now=asked.get("now") == "yes")

    return {"code": code, "take-back": take_back, "choose": choose, "rotate-ca": rotate_ca}
