"""A served world of orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from tests.orders.served import CSRF, Client, Served, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as made:
        yield made


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    """Come as the shop's machine; a request's header `x-as` names somebody else."""
    with TestClient(served.app, raise_server_exceptions=False) as made:
        made.headers["x-csrf-token"] = CSRF
        made.headers["x-as"] = "shop"
        made.follow_redirects = False
        yield made
