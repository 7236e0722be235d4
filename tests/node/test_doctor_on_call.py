"""`coldgrid doctor` on who is paged about the network itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.node.machines import seed_tower
from tests.node.test_doctor import change, look


@pytest.fixture
def host(tmp_path: Path) -> Path:
    seed_tower(tmp_path)
    shutil.rmtree(tmp_path / "errands", ignore_errors=True)
    return tmp_path


def test_a_network_that_nobody_answers_for_is_told_with_the_fix(host: Path) -> None:
    assert look(host).level("on call for the network") == "ok"
    change(host, "UPDATE network_group SET group_id = 'GRP-OLD' WHERE group_id = 'GRP-NET'")
    looked = look(host)
    assert looked.level("on call for the network") == "warn"
    assert "GRP-NET" in looked.findings["on call for the network"]["todo"]
    assert looked.failed() == []
    change(host, "DELETE FROM network_site")
    assert look(host).level("on call for the network") == "ok", "a network without a site has nothing to tell"


def test_people_who_were_erased_answer_for_no_network(host: Path) -> None:
    change(host, "DELETE FROM personal_key")
    looked = look(host)
    assert looked.level("on call for the network") == "warn"
    assert "can be reached" in looked.findings["on call for the network"]["found"]
