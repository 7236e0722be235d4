"""A node's disk that was put back to an older copy of itself, for what follows from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from coldgrid.kernel.database import open_database
from tests.conftest import Kernel
from tests.sync.pair import Node, Tower
from tests.sync.test_choosing import restarted
from tests.telemetry.cold_room import feed, steady


@contextmanager
def disk_put_back(
    kernel: Kernel, folder: Path, lived: Callable[[Tower, Node], None], later_min: float = 0
) -> Iterator[tuple[Tower, Node]]:
    """A node sent ten readings, lived on, and its disk was put back to the first ten."""
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    node = Node(tower, Kernel(open_database(str(folder / "node.db"))))
    node.talk()
    feed(node.kernel, steady(0, 10))
    node.talk()
    with (
        closing(sqlite3.connect(folder / "node.db")) as now,
        closing(sqlite3.connect(folder / "old.db")) as copy,
    ):
        now.backup(copy)
    lived(tower, node)
    node.kernel.close()
    restarted(node, folder / "old.db", drawn=10)
    node.kernel.advance(later_min)
    yield tower, node
    node.kernel.close()
