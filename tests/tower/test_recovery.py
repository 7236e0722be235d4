"""`coldgrid tower recover`: what it says of a database that was put back from a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldgrid.cli.maintenance import recover_tower
from coldgrid.cli.output import Output
from coldgrid.kernel.database import open_database
from tests.conftest import Kernel
from tests.network.master import small_network


def test_the_network_goes_on_in_its_next_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tower.db"
    kernel = Kernel(open_database(str(path)))
    small_network(kernel)
    kernel.close()
    recover_tower({}, str(path), Output(json=False))
    assert "network goes on in epoch 2" in capsys.readouterr().err
    kernel = Kernel(open_database(str(path)))
    assert kernel.decider.heads == {"network": (2, 1)}
    kernel.rebuild()
    kernel.close()
