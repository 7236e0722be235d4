"""Joining a tower: what is refused before anything is asked or spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldgrid.kernel.sqlite import SqliteDatabase
from coldgrid.node.serve_node import Invited, NodeServes, join_tower

NOWHERE = Invited(tower="https://127.0.0.1:1", code="XXXX-XXXX")


def test_a_node_that_serves_is_to_be_stopped_before_its_new_code_is_spent(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "node.db")
    writer = database.writer()
    try:
        with pytest.raises(NodeServes, match="Stop it, run this again, then start it"):
            join_tower({}, tmp_path, NOWHERE)
    finally:
        writer.close()
        database.close()
