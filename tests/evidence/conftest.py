"""A notary for tests, and a log with something in it."""

from __future__ import annotations

import pytest

from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import Signer
from tests.conftest import Kernel
from tests.kernel.rooms import Bump

TOWER = Signer("coldgrid.example/tower", bytes(range(32)))
NODE = Signer("coldgrid.example/node/ATL1", bytes(range(1, 33)))


def bump(kernel: Kernel, times: int = 1, site_id: str = "ATL1", name: str = "apples") -> None:
    for _ in range(times):
        kernel.do(Bump(site_id=site_id, name=name, by=0))


@pytest.fixture
def notary() -> Notary:
    return Notary(TOWER, "coldgrid.example")
