"""A house with people of every kind, and browsers that come to its door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.roles import Role
from tests.access.house import House, housed

Client = TestClient[Litestar]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with housed(tmp_path) as made:
        made.add("ana", Role.ADMIN)
        made.add("ben", Role.QUALITY)
        made.add("cleo", Role.SUPERVISOR, sites=["ATL1"])
        yield made


@pytest.fixture
def empty_house(tmp_path: Path) -> Iterator[House]:
    with housed(tmp_path) as made:
        yield made


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with TestClient(house.app) as made:
        made.follow_redirects = False
        yield made
