"""The served tower as a process: starts, says how it is, takes readings from a broker, stops when asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port

READY_WITHIN_S = 60


def wait_until_ready(address: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            if httpx.get(f"{address}/healthz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the server never answered")


@pytest.fixture
def tower(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A live tower on an empty database, as its operator starts it."""
    port = free_port()
    environment = os.environ | {
        "COLDGRID_DATABASE": str(tmp_path / "tower.db"),
        "COLDGRID_SIGNING_KEY": str(tmp_path / "signing.key"),
        "COLDGRID_PORT": str(port),
        "COLDGRID_LOG_JSON": "yes",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "coldgrid.cli", "serve"], env=environment, stderr=subprocess.PIPE, text=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address, process)
        yield address, process
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.timeout(180)
def test_an_empty_tower_serves_its_health_and_sends_strangers_to_sign_in(
    tower: tuple[str, subprocess.Popen[str]],
) -> None:
    address, _ = tower
    assert httpx.get(f"{address}/readyz").json()["status"] == "ready"
    assert "coldgrid_commands_total" in httpx.get(f"{address}/metrics").text
    page = httpx.get(f"{address}/", headers={"Accept": "text/html"}, follow_redirects=False)
    assert page.status_code == 303
    assert "/login" in page.headers["location"]
    refused = httpx.post(f"{address}/api/v1/orders", json={})
    assert refused.status_code == 401
    assert refused.json()["code"] == "not_signed_in"


@pytest.mark.timeout(180)
def test_it_stops_within_seconds_when_asked_even_with_a_page_that_listens(
    tower: tuple[str, subprocess.Popen[str]],
) -> None:
    address, process = tower
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as listener:
        listener.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        listener.settimeout(5)
        listener.recv(100)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=15)
    assert time.monotonic() - began < 15
    assert process.returncode == 0


@pytest.mark.timeout(180)
def test_wrong_settings_are_refused_by_name_before_anything_starts(tmp_path: Path) -> None:
    environment = os.environ | {"COLDGRID_DATABASE": str(tmp_path / "t.db"), "COLDGRID_PROT": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "coldgrid.cli", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "COLDGRID_PROT" in done.stderr
    assert not (tmp_path / "t.db").exists()


@pytest.mark.timeout(180)
def test_the_stopped_database_can_be_rebuilt_and_exported_from_the_command_line(
    tower: tuple[str, subprocess.Popen[str]], tmp_path: Path
) -> None:
    _, process = tower
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=15)
    database = str(tmp_path / "tower.db")
    command = [sys.executable, "-m", "coldgrid.cli"]
    rebuilt = subprocess.run(
        [*command, "rebuild", "--database", database, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(rebuilt.stdout) == {"differences": []}
    subprocess.run([*command, "export", str(tmp_path / "out"), "--database", database], check=True)
    assert (tmp_path / "out" / "events.jsonl").exists()
