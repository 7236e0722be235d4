"""A node whose certificate expired while it was away renews as soon as the tower says so, and talks on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from coldgrid.node.carrier import Talk
from coldgrid.sync import identity_files, readings
from coldgrid.sync.acts import Lane, Phase
from coldgrid.sync.carrier import Request
from coldgrid.sync.tls_client import TowerLink
from tests.conftest import sqlite_kernel
from tests.patience import eventually
from tests.sync.tower import served


class Line:
    """In place of the carrier: it always has one frame to send, and remembers how that went."""

    due_us = 0
    state = SimpleNamespace(code="", phase=Phase.DOWN)

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.answers: list[bytes] = []
        self.under_way = False

    def look(self, now_us: int, parcel_no: int) -> list[Request]:
        if self.under_way or self.answers:
            return []
        self.under_way = True
        return [Request(Lane.FACTS, b"frame")]

    def fail(self, request: Request, why: str, now_us: int) -> list[Request]:
        self.failures.append(why)
        self.under_way = False
        return []

    def receive(self, request: Request, answer: bytes, now_us: int) -> list[Request]:
        self.answers.append(answer)
        return []


def test_a_node_that_was_away_for_weeks_is_back_after_one_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "cut", lambda desk, site_id: 0)
    with sqlite_kernel() as kernel, served(kernel, tmp_path) as tower:
        tower.join(tmp_path / "node")
        tower.clock.forward(days=45)
        link = TowerLink(tmp_path / "node", identity_files.begin_run(tmp_path / "node", tower.entropy))
        line = Line()
        desk = cast(Any, SimpleNamespace(now=tower.clock.now))
        talk = Talk("ATL1", desk, cast(Any, line), link, 3_600.0, lambda: False)
        talk.start()
        try:
            eventually(lambda: bool(line.answers), "the tower answers", 20)
        finally:
            talk.stop()
        assert any("expired" in why for why in line.failures)
        assert len(line.failures) <= 3
        assert link.identity.shown.not_after > tower.clock.at
