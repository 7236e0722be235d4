"""A served network with the demo's master data, one for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from litestar.testing import TestClient

from coldgrid.kernel.authorize import Principal
from coldgrid.network.change_rules import ApproveChange, DraftChange
from coldgrid.tower.demo.master import load_demo_master
from tests.network.served import CSRF, Client, Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the demo's network, drafted by the system and approved by Ada."""
    with serving(tmp_path_factory.mktemp("served")) as made:
        made.do(DraftChange(change_id="change-demo", items=load_demo_master(), reason="the demo opens"))
        made.do(
            ApproveChange(change_id="change-demo", reason="checked"), Principal("ada", frozenset({"admin"}))
        )
        yield made


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    """Come as Dana, the planner; a request's header `x-as` names somebody else."""
    with TestClient(served.app, raise_server_exceptions=False) as made:
        made.headers["x-csrf-token"] = CSRF
        made.follow_redirects = False
        yield made
