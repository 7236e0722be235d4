"""The pages and the API about nodes, over a tower's port, with visitors of different roles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.sync import node_api, node_pages
from coldgrid.webkit.app import create_app
from tests.conftest import sqlite_kernel
from tests.doors import Doorman, services_over
from tests.sync.tower import TowerPort, served

CSRF = "token-of-this-session"
ROLES = {"ada": "admin", "otto": "operator", "max": "integrator", "aud": "auditor"}
Client = TestClient[Litestar]


def app_of(tower: TowerPort, *, with_port: bool = True, more: Sequence[Any] = ()) -> Litestar:
    """The web application of the tower's pages about nodes."""
    state = {"node_port": tower.port} if with_port else {}
    door = Doorman(ROLES, tokens=("max",), csrf=CSRF)
    services = services_over(tower.kernel.database, tower.service, door, tower.clock.now, state)
    return create_app(services, [*more, *node_pages.handlers, *node_api.handlers])


@contextmanager
def office(folder: Path) -> Iterator[tuple[TowerPort, Litestar]]:
    """Serve a tower with its pages."""
    with sqlite_kernel() as kernel, served(kernel, folder) as tower:
        yield tower, app_of(tower)
