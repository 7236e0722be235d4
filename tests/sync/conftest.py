"""A tower's port on SQLite for most tests, on PostgreSQL too for what its tables hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Kernel, sqlite_kernel
from tests.sync.tower import TowerPort, served


@pytest.fixture
def tower(tmp_path: Path) -> Iterator[TowerPort]:
    with sqlite_kernel() as kernel, served(kernel, tmp_path) as made:
        yield made


@pytest.fixture
def either_tower(tmp_path: Path, kernel: Kernel) -> Iterator[TowerPort]:
    with served(kernel, tmp_path) as made:
        yield made
