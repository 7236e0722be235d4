"""The application: one process that decides, serves pages and API, and keeps its background work going."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from litestar import Litestar

from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.settings import Settings
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import Parts, Work, build_parts, create_parts
from coldgrid.tower.background import Background
from coldgrid.tower.handlers import route_handlers
from coldgrid.tower.rooms import load_rooms

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
) -> Litestar:
    """Return the web application of a tower. It starts the tower's threads and stops them in reverse."""
    background = Background(tower, channels)
    state = {"background": background, "notary": background.notary, "home": ""}
    return create_parts(tower, route_handlers(), [background, *work], state, clock_note)
