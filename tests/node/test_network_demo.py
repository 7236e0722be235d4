"""`make run-network`: three sites on lines of their own, each switch does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from coldgrid.tower.demo.network import SITES, Seen, seen
from coldgrid.tower.demo.people import PASSWORD
from tests.patience import eventually
from tests.ports import free_ports

# Each of pytest's processes that gets one of these tests runs a demo of its own. The tower's port for nodes,
# each site's pages and its line follow the tower's.
PAGE_PORT, TOWER_PORT, *_ = free_ports(3 + 2 * len(SITES))
PAGE = f"http://127.0.0.1:{PAGE_PORT}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("network") / "demo"
    arguments = [
        "network-demo",
        "--port",
        str(PAGE_PORT),
        "--tower-port",
        str(TOWER_PORT),
        "--folder",
        str(folder),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    process = subprocess.Popen([sys.executable, "-m", "coldgrid.cli", *arguments], env=environment)
    try:
        eventually(lambda: serves(PAGE), "the page with the switches", within_s=240)
        yield folder
    finally:
        process.terminate()
        process.wait(20)


def serves(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def signed_in(address: str, login: str) -> bool:
    """Sign in as a browser without JavaScript does; tell whether a page opens behind it."""
    with httpx.Client(base_url=address, timeout=20) as browser:
        fields = dict(re.findall(r'name="(_\w+)" value="([^"]*)"', browser.get("/login").text))
        browser.post("/login", data={**fields, "login": login, "password": PASSWORD})
        return browser.get("/incidents").status_code == 200


def turn(site_id: str, what: str, **headers: str) -> int:
    return httpx.post(f"{PAGE}/switch/{site_id}/{what}", headers=headers, timeout=60).status_code


def at(folder: Path, host: str, site_id: str) -> Seen:
    found = seen(folder / host / ("tower.db" if host == "tower" else "node.db"), site_id)
    assert found is not None
    return found


@pytest.mark.timeout(400)
def test_every_site_has_moved_to_its_node_and_readings_flow(folder: Path) -> None:
    for site_id in SITES:
        eventually(lambda name=site_id: at(folder, "tower", name).epoch == 2, f"{site_id} is at its node")  # type: ignore[misc]
        before = at(folder, "tower", site_id).read_at
        eventually(lambda name=site_id, then=before: at(folder, "tower", name).read_at != then, "readings")  # type: ignore[misc]


@pytest.mark.timeout(120)
def test_the_switches_cut_a_line_and_kill_a_node(folder: Path) -> None:
    assert turn("ATL1", "cut") == 303
    assert turn("CLT1", "kill") == 303
    then = at(folder, "tower", "ATL1").read_at
    here = at(folder, "atl1", "ATL1").read_at
    eventually(lambda: at(folder, "atl1", "ATL1").read_at != here, "the site reads on with its line cut")
    assert at(folder, "tower", "ATL1").read_at == then, "and nothing of it gets through"
    assert signed_in(f"http://127.0.0.1:{TOWER_PORT + 2}", "shift-atl1"), "the site's own people sign in"
    assert not signed_in(f"http://127.0.0.1:{TOWER_PORT + 2}", "dana"), (
        "who acts everywhere waits for the line"
    )
    assert not serves(f"http://127.0.0.1:{TOWER_PORT + 4}"), "the other node is dead"
    assert turn("ATL1", "mend") == 303
    assert turn("CLT1", "start") == 303
    eventually(lambda: at(folder, "tower", "ATL1").read_at != then, "what waited has arrived")
    assert serves(f"http://127.0.0.1:{TOWER_PORT + 4}")


@pytest.mark.timeout(120)
def test_the_switches_set_a_clock_wrong_and_fill_a_disk(folder: Path) -> None:
    assert turn("RNO1", "ahead") == 303
    assert turn("RNO1", "fill") == 303
    page = httpx.get(PAGE, timeout=10).text
    assert "+10 min" in page
    assert "Make room" in page
    assert httpx.get(f"http://127.0.0.1:{TOWER_PORT + 6}/readyz", timeout=5).json()["status"] == "frozen"
    assert turn("RNO1", "right") == 303
    assert turn("RNO1", "free") == 303


def test_only_the_page_itself_turns_switches(folder: Path) -> None:
    assert turn("ATL1", "cut", **{"sec-fetch-site": "cross-site"}) == 403
    assert turn("ATL1", "unheard-of") == 404
    assert turn("ZZZ9", "cut") == 404
