"""A disk that fills up under the tower: refused with what to do, nothing half done, on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from coldgrid.kernel import rebuild
from tests.system import bodies
from tests.system.process import ADMIN, MACHINE, tower_process
from tests.system.served import Sent, System, running

SPACE = "24m"
JSON = MACHINE | {"content-type": "application/json"}
ORDER = {
    "channel": "web",
    "ship_to": {"region": "GA", "lat": 33.75, "lon": -84.39},
    "lines": [{"line_no": 1, "product_id": "ICE-VAN-1L", "qty": 1}],
}


def order(number: int) -> bytes:
    return bodies.written(ORDER | {"channel_order_id": f"full-{number}"})


def refused_for_space(answer: httpx.Response) -> bool:
    """Whether an answer is the refusal that a full disk gives, with what to do about it."""
    if answer.status_code != 507:
        return False
    told = answer.json()
    assert (told["code"], told["status"]) == ("storage_full", 507)
    assert "Free disk space" in told["todo"]
    return True


def post(system: System, number: int) -> httpx.Response:
    (answer,) = system.post_all([Sent("/api/v1/orders", order(number))])
    return answer


def pragma(system: System, pages: int) -> None:
    """Let the database have so many pages at most; SQLite raises that to its present size."""
    text = f"PRAGMA max_page_count = {pages}"
    system.tower.service.call(lambda decider: decider.connection.command(text)).result(30)


def test_a_full_database_refuses_by_name_and_goes_on_by_itself(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        pragma(system, 1)
        for number in range(400):
            answer = post(system, number)
            if refused_for_space(answer):
                break
            assert answer.status_code == 200, answer.text
        else:
            pytest.fail("the database never filled")
        before = system.last_position()
        answers = system.post_all([Sent("/api/v1/orders", order(1_000 + n)) for n in range(20)])
        assert all(refused_for_space(answer) for answer in answers)
        assert system.last_position() == before
        for path in ("/", "/health", "/readyz"):
            assert system.client.get(path).status_code == 200, path
        assert "The disk here is full since" in system.client.get("/").text
        deciding = system.client.get("/deciding")
        assert (deciding.status_code, deciding.json()["status"]) == (503, "full")
        pragma(system, 1_000_000)
        assert post(system, number).status_code == 200
        found = system.tower.service.call(rebuild.differences).result(60)
        assert found == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, as small as a database can work on."""
    place = tmp_path / "disk"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={SPACE}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.timeout(240)
def test_a_full_disk_under_the_served_tower_is_survived(small_disk: Path, tmp_path: Path) -> None:
    ballast = small_disk / "ballast"
    with tower_process(small_disk / "tower.db", tmp_path, checkpoint_every_s="3600") as client:
        assert client.post("/api/v1/orders", content=order(1), headers=JSON).status_code == 200
        fill(ballast)
        for number in range(2, 400):
            if refused_for_space(client.post("/api/v1/orders", content=order(number), headers=JSON)):
                break
        else:
            pytest.fail("the disk never filled")
        position = client.get("/readyz").json()["position"]
        assert refused_for_space(client.post("/api/v1/orders", content=order(number), headers=JSON))
        assert client.get("/readyz").json()["position"] == position
        assert client.get("/health", headers=ADMIN).status_code == 200
        ballast.unlink()
        answer = client.post("/api/v1/orders", content=order(number), headers=JSON)
        assert answer.status_code == 200, answer.text
        assert client.get("/readyz").json()["position"] > position


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            return
