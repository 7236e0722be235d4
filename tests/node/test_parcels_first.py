"""What a node hears goes to its tower from the first reading on."""

from __future__ import annotations

from pathlib import Path

import pytest
from litestar.testing import TestClient

from coldgrid.kernel.authorize import AllowAll
from coldgrid.kernel.settings import load_settings
from coldgrid.node import application
from coldgrid.node.application import NodeWork, build_node, create_node
from coldgrid.node.background import BaseBackground
from coldgrid.node.host import LiveHost
from coldgrid.telemetry.parcels import ParcelHeads
from tests.conftest import sqlite_kernel
from tests.sync.tower import served


def test_parcels_are_on_before_a_node_begins_to_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker delivers what it kept within milliseconds, before the talk with the tower has begun."""
    node = tmp_path / "node"
    with sqlite_kernel() as kernel, served(kernel, tmp_path) as tower:
        tower.join(node)
        settings = load_settings({}, database=str(node / "node.db"), signing_key=str(node / "signing.key"))
        parts = build_node(settings, LiveHost(AllowAll()))
        known: list[set[str]] = []

        def listen(background: BaseBackground) -> None:
            known.append(set(parts.decider.shared.hot[ParcelHeads].of))

        monkeypatch.setattr(application, "keys_of", lambda identity: [])
        monkeypatch.setattr(BaseBackground, "start", listen)
        monkeypatch.setattr(BaseBackground, "stop", lambda background: None)
        monkeypatch.setattr(NodeWork, "start", lambda work: None)
        monkeypatch.setattr(NodeWork, "stop", lambda work: None)
        with TestClient(create_node(parts, node, {})):
            assert known == [{"ATL1"}]
