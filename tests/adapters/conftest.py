"""These tests send effects of sites that are defined nowhere: which there are is the network's matter."""

from __future__ import annotations

import pytest

from coldgrid.kernel import decider


@pytest.fixture(autouse=True)
def every_site_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decider, "origin_checks", [])
