"""One address, one process: a second one says who is there instead of sharing what comes in."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coldgrid.adapters.address import AddressTaken, check_address
from coldgrid.kernel.database import SqliteDatabase
from coldgrid.tower.demo.network import serve_network
from tests.ports import free_port


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listens as the server does: whoever asks to may share the address."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made


def coldgrid(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coldgrid.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_an_address_that_is_served_is_refused_until_it_is_free(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    with pytest.raises(AddressTaken):
        check_address(host, port)
    listener.close()
    check_address(host, port)


def test_the_demo_network_names_the_port_that_is_served_and_makes_nothing(
    listener: socket.socket, tmp_path: Path
) -> None:
    taken = listener.getsockname()[1]
    with pytest.raises(AddressTaken, match=f":{taken}"):
        serve_network({}, folder=tmp_path / "network", port=free_port(), tower_port=taken)
    assert not (tmp_path / "network").exists()


def test_a_demo_at_an_address_that_is_served_says_so_and_makes_nothing(
    listener: socket.socket, tmp_path: Path
) -> None:
    port = listener.getsockname()[1]
    refused = coldgrid("demo", "--port", str(port), "--folder", str(tmp_path / "demo"))
    assert refused.returncode == 1
    assert "Another process serves at this address" in refused.stderr
    assert f":{port}" in refused.stderr
    assert not (tmp_path / "demo" / "demo.db").exists()


def test_a_tower_at_an_address_that_is_served_opens_no_database(
    listener: socket.socket, tmp_path: Path
) -> None:
    port = listener.getsockname()[1]
    refused = coldgrid("serve", "--port", str(port), "--database", str(tmp_path / "cold.db"))
    assert refused.returncode == 1
    assert "choose another port" in refused.stderr
    assert not (tmp_path / "cold.db").exists()


def test_a_tower_whose_port_for_nodes_is_taken_says_which_setting_chooses_another(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDGRID_SYNC_PORT", str(listener.getsockname()[1]))
    refused = coldgrid("tower", "--port", str(free_port()), "--database", str(tmp_path / "cold.db"))
    assert refused.returncode == 1
    assert "COLDGRID_SYNC_PORT" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "cold.db").exists()


def test_a_second_demo_in_a_folder_leaves_the_first_one_s_database_alone(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "demo.db")
    with closing(database.writer()):
        before = (tmp_path / "demo.db").stat().st_ino
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        refused = coldgrid("demo", "--port", str(port), "--folder", str(tmp_path))
        assert refused.returncode == 1
        assert "Another process is the decider" in refused.stderr
        assert (tmp_path / "demo.db").stat().st_ino == before
    database.close()
