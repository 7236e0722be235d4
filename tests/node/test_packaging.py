"""What is shipped to run it: units that systemd accepts, and a process that tells its manager how it is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from coldgrid.kernel.settings import setting_docs
from tests.conftest import service_missing
from tests.ports import free_port

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = sorted((PACKAGING / "systemd").iterdir())
PORT = free_port()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with a program that is there, so that all else is judged."""
    if shutil.which("systemd-analyze") is None:
        service_missing("systemd-analyze")
    program = tmp_path / "coldgrid"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS:
        text = unit.read_text().replace("/opt/coldgrid/bin/coldgrid", str(program))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_systemd_accepts_the_units(installed: Path) -> None:
    units = [str(installed / unit.name) for unit in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [unit.name for unit in UNITS if unit.suffix == ".service"])
def test_a_service_is_exposed_little(installed: Path, unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(installed / unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < 2.0


def test_every_setting_that_a_package_names_is_one() -> None:
    known = {name for name, *_ in setting_docs()} | {"COLDGRID_NODE"}
    for path in PACKAGING.rglob("*"):
        if path.is_file():
            named = set(re.findall(r"COLDGRID_[A-Z_]+", path.read_text()))
            assert named <= known, path


def test_what_the_container_is_built_of_is_there() -> None:
    root = PACKAGING.parent
    text = (PACKAGING / "container/Containerfile").read_text()
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    ]
    named = re.findall(r"-r (\S+\.lock)", text)
    locks = [name.replace("$LOCK", lock) for name in named for lock in ("run", "all")]
    assert {"locks/run.lock", "locks/all.lock"} < set(locks)
    assert [name for name in (*copied, *locks) if not (root / name).exists()] == []
    sent = set(re.findall(r"^!(\S+)$", (root / ".dockerignore").read_text(), re.MULTILINE))
    assert {name.rstrip("/") for name in copied} == sent, "what is copied is sent to the build, no more"
    compose = yaml.safe_load((PACKAGING / "container/compose.yaml").read_text())
    built = compose["services"]["tower"]["build"]
    context = (PACKAGING / "container" / built["context"]).resolve()
    assert context == root
    assert (context / built["dockerfile"]).is_file()
    laid_over = yaml.safe_load((PACKAGING / "container/compose.postgres.yaml").read_text())["services"]
    assert laid_over["tower"]["build"] == {"args": {"LOCK": "all"}}, "the driver of PostgreSQL is an extra"
    assert laid_over["tower"]["image"] != compose["services"]["tower"]["image"]
    assert set(laid_over["tower"]["depends_on"]) == {"db", *compose["services"]["tower"]["depends_on"]}


def test_the_lock_of_every_extra_names_what_the_extras_ask_for_and_the_versions_of_the_tests() -> None:
    root = PACKAGING.parent
    pinned = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", re.MULTILINE)
    held = set(pinned.findall((root / "locks/all.lock").read_text()))
    assert held <= set(pinned.findall((root / "locks/test.lock").read_text()))
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {re.split(r"[\[>=<]", one)[0] for listed in extras.values() for one in listed}
    assert asked <= {name for name, _ in held}


def test_a_command_is_run_as_the_tower_s_unit_runs_it() -> None:
    text = (PACKAGING / "coldgrid-run").read_text()
    assert subprocess.run(["sh", "-n", str(PACKAGING / "coldgrid-run")], check=False).returncode == 0
    unit = (PACKAGING / "systemd/coldgrid-tower.service").read_text()
    for line in re.findall(r"^Environment=(\S+)$", unit, re.MULTILINE):
        assert f"-E {line.replace('%S', '/var/lib')}" in text
    for word in ("DynamicUser=yes", "User=coldgrid", "StateDirectory=coldgrid", "UMask=0077"):
        assert word in unit.splitlines()
        assert f"-p {word} " in text
    assert "-p EnvironmentFile=-/etc/coldgrid/tower.env" in text


class Manager:
    """Listens as a service manager does."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(60)

    def hears(self, state: str) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if state in self.socket.recv(4096).decode().splitlines():
                return
        raise AssertionError(f"never told: {state}")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    with closing(made.socket):
        yield made


def test_a_host_says_when_it_answers_feeds_the_watchdog_and_says_when_it_stops(
    manager: Manager, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    environment |= {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "900000",
        "COLDGRID_DATABASE": str(tmp_path / "tower.db"),
        "COLDGRID_SIGNING_KEY": str(tmp_path / "signing.key"),
        "COLDGRID_PORT": str(PORT),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "coldgrid.cli", "serve"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        manager.hears("READY=1")
        with closing(socket.create_connection(("127.0.0.1", PORT), 5)):
            pass
        for _ in range(3):
            manager.hears("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        manager.hears("STOPPING=1")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)
