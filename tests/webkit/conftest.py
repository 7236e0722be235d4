"""The tour and a client that has its form token at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tests.webkit.tour import CSRF, Tour, touring


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    with touring(Path(tmp_path_factory.mktemp("tour"))) as made:
        yield made


@pytest.fixture(scope="module")
def client(tour: Tour) -> Iterator[TestClient[Litestar]]:
    with TestClient(tour.app, raise_server_exceptions=False) as made:
        made.headers["x-csrf-token"] = CSRF
        made.follow_redirects = False
        yield made
