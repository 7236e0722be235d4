"""`coldgrid doctor`: each thing is broken for real, and the finding says so."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coldgrid.cli.doctor import see_doctor
from coldgrid.cli.output import Output
from coldgrid.kernel.settings import Settings
from coldgrid.node.doctor import Patient
from coldgrid.node.doctor_edges import check_ports
from coldgrid.node.host_errands import HostHealth
from coldgrid.sync import authority as ca
from coldgrid.sync.identity_files import write_private
from tests.adapters.servers import Mailbox, mail_server
from tests.conftest import service_missing
from tests.node.machines import node_machine, running, seed_tower, tower_machine
from tests.patience import eventually
from tests.ports import free_port, free_ports
from tests.starting import run

PORT, SYNC_PORT, NODE_PORT = free_ports(3)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
Findings = dict[str, dict[str, str]]


class Looked:
    """What the doctor said: its exit code and its findings by name."""

    def __init__(self, code: int, said: str, aside: str = "") -> None:
        assert said, aside
        told = json.loads(said)
        self.code = code
        self.serving: bool = told["serving"]
        self.findings: Findings = {one["name"]: one for one in told["findings"]}
        assert self.code == (1 if any(one["level"] == "fail" for one in told["findings"]) else 0)

    def level(self, name: str) -> str:
        return self.findings[name]["level"]

    def failed(self) -> list[str]:
        return [name for name, one in self.findings.items() if one["level"] == "fail"]


def settings_of(folder: Path, **settings: Any) -> dict[str, str]:
    return {
        "COLDGRID_DATABASE": str(folder / "tower.db"),
        "COLDGRID_SIGNING_KEY": str(folder / "signing.key"),
        "COLDGRID_AUTHORITY_KEY": str(folder / "authority.pem"),
        "COLDGRID_PORT": str(PORT),
        "COLDGRID_SYNC_PORT": str(SYNC_PORT),
        **{f"COLDGRID_{name.upper()}": value for name, value in settings.items()},
    }


def look(folder: Path, *, deep: bool = False, **settings: Any) -> Looked:
    """Look at a tower from this process: one of its own costs ten times as much."""
    said = io.StringIO()
    with redirect_stdout(said):
        code = see_doctor(
            settings_of(folder, **settings), deep=deep, data=None, database=None, out=Output(json=True)
        )
    return Looked(code, said.getvalue())


def command(folder: Path, *arguments: str, lead: tuple[str, ...] = (), **settings: Any) -> Looked:
    """Look as an operator does: with the command."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    done = run(["doctor", "--json", *arguments], environment | settings_of(folder, **settings), lead=lead)
    return Looked(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tower that served and signed, with an authority."""
    folder = tmp_path_factory.mktemp("tower")
    seed_tower(folder, ["ATL1"])
    tower = tower_machine(folder, PORT, SYNC_PORT)
    with running(tower):
        tower.start()
        eventually(lambda: signed(folder), "the first checkpoint")
    return folder


def signed(folder: Path) -> bool:
    with closing(sqlite3.connect(f"file:{folder / 'tower.db'}?mode=ro", uri=True)) as opened:
        (count,) = opened.execute("SELECT count(*) FROM evidence_checkpoint").fetchone()
    return bool(count)


@pytest.fixture
def host(seeded: Path, tmp_path: Path) -> Path:
    shutil.copytree(seeded, tmp_path / "host", ignore=shutil.ignore_patterns("errands"))
    return tmp_path / "host"


def change(host: Path, statement: str) -> None:
    with closing(sqlite3.connect(host / "tower.db", isolation_level=None)) as opened:
        opened.execute(statement)


# --- All is well ------------------------------------------------------------------------


def test_a_sound_host_that_does_not_serve_has_nothing_that_fails(host: Path) -> None:
    looked = command(host, "--deep")
    assert looked.failed() == []
    assert not looked.serving
    assert "entries" in looked.findings["database: rebuild"]["found"]
    assert looked.level("signing key") == "ok"
    assert looked.level("certificate of the tower") == "ok"


def test_a_serving_host_says_itself_how_it_is(host: Path) -> None:
    tower = tower_machine(host, PORT, SYNC_PORT)
    tower.lead = ("env",)  # started from nothing: it is named by the command that started it
    with running(tower):
        tower.start()
        looked = command(host, "--deep")
        assert looked.failed() == []
        assert looked.serving
        assert "release 0.1.0" in looked.findings["serving"]["found"]
        assert "coldgrid.cli tower" in looked.findings["database: lock"]["found"]
        assert "answers" in looked.findings["port: COLDGRID_PORT"]["found"]
        assert looked.level("database: rebuild") == "ok"


def test_a_serving_host_is_looked_for_where_it_listens_whatever_port_is_exported_here(host: Path) -> None:
    tower = tower_machine(host, PORT, SYNC_PORT)
    with running(tower):
        tower.start()
        looked = look(host, port=str(NODE_PORT))
    found = looked.findings["port: COLDGRID_PORT"]
    assert found["level"] == "ok"
    assert f"127.0.0.1:{PORT} answers" in found["found"]
    assert f"settings here say 127.0.0.1:{NODE_PORT}" in found["found"]


def test_a_serving_host_that_nobody_reaches_at_its_port_is_not_well() -> None:
    told = HostHealth(
        version="0.1.0", position=1, frozen_why="", listens_host="127.0.0.1", listens_port=NODE_PORT
    )
    patient = Patient(
        role="node", settings=Settings(), folder=None, now=NOW, deep=False, serving=True, health=told
    )
    (found,) = check_ports(patient)
    assert found.level == "warn"
    assert f"127.0.0.1:{NODE_PORT}: nobody listens" in found.found
    assert "--port" in found.todo


def test_words_for_people_name_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coldgrid.cli", "doctor", "--database", str(tmp_path / "none.db")],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")},
    )
    assert "put a copy back: docs/backup.md" in done.stdout
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


# --- Clock and disk ---------------------------------------------------------------------


def test_a_clock_behind_the_log_fails(host: Path) -> None:
    if shutil.which("faketime") is None:
        service_missing("faketime")
    looked = command(host, lead=("faketime", "-f", "-3h"))
    assert looked.failed() == ["clock: against the log"]


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a file system of one's own takes root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_with_little_room_fails_and_one_with_few_inodes_warns(host: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=100m", "nr_inodes=100") as disk:
        shutil.copytree(host, disk / "host")
        number = 0
        while os.statvfs(disk).f_favail > 4:
            number += 1
            (disk / f"file-{number}").touch()
        looked = look(disk / "host")
        assert looked.level("disk: room") == "fail"
        assert looked.level("disk: inodes") == "warn"
        assert looked.level("disk: writing") == "ok"


def test_a_disk_that_is_read_only_fails(host: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "fixed", "size=400m") as disk:
        shutil.copytree(host, disk / "host")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        looked = look(disk / "host")
        assert looked.level("disk: writing") == "fail"
        assert "Read-only" in looked.findings["disk: writing"]["found"]


# --- Database ---------------------------------------------------------------------------


def test_a_damaged_file_fails(host: Path) -> None:
    with closing(sqlite3.connect(host / "tower.db", isolation_level=None)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page_bytes,) = opened.execute("PRAGMA page_size").fetchone()
        # Of an index that opening a database does not need: else it fails before anybody looks at its pages.
        pages = opened.execute("SELECT pageno FROM dbstat WHERE name = 'ix_event_log_stream'").fetchall()
    with (host / "tower.db").open("r+b") as file:
        for (page,) in pages:
            file.seek((page - 1) * page_bytes)
            file.write(os.urandom(300))
    looked = look(host)
    assert looked.level("database: pages") == "fail"
    assert "keep the files as they are" in looked.findings["database: pages"]["todo"]


def test_tables_that_are_not_the_log_s_and_a_log_that_was_edited_fail_on_demand(host: Path) -> None:
    change(host, "UPDATE network_site SET name = 'Elsewhere'")
    assert look(host).failed() == []
    looked = look(host, deep=True)
    assert looked.failed() == ["database: rebuild"]
    assert "network_site" in looked.findings["database: rebuild"]["found"]
    change(host, "UPDATE event_log SET actor = 'mallory' WHERE origin = 'network' AND seq = 2")
    assert look(host, deep=True).failed() == ["database: proofs"]


def test_a_database_of_an_older_release_warns_and_of_a_newer_one_fails(host: Path) -> None:
    change(host, "DROP TABLE kernel_schema")
    assert look(host).level("database: release") == "warn"
    change(host, "CREATE TABLE kernel_schema (what TEXT PRIMARY KEY, told TEXT NOT NULL)")
    change(host, """INSERT INTO kernel_schema VALUES ('stamp', '{"release":"99.0.0","tables":{}}')""")
    assert look(host).level("database: release") == "fail"


def test_a_tower_that_was_put_back_and_not_begun_anew_fails(host: Path) -> None:
    (host / "tower.db.restored").write_text("2026-11-20")
    assert look(host).failed() == ["database: put back"]


def test_sealed_readings_that_are_lost_warn_and_are_counted(host: Path) -> None:
    assert look(host).level("readings") == "ok"
    change(
        host,
        "INSERT INTO telemetry_loss"
        " (site_id, hash, sensor_id, from_at, to_at, zone_id, readings, found_at, entry_id)"
        " VALUES ('ATL1', 'aa', 'ATL1-FRZ1-T1', 777600000000, 781140000000, 'ATL1-FRZ1', 60, 1, '')",
    )
    finding = look(host).findings["readings"]
    assert (finding["level"], finding["found"]) == ("warn", "60 in 1 sealed blocks of ATL1 are lost")


def test_a_process_that_holds_the_database_and_does_not_answer_is_named(host: Path) -> None:
    (host / "errands").mkdir()
    with (host / "tower.db.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        looked = command(host)
    assert looked.level("serving") == "warn"
    assert f"process {os.getpid()}" in looked.findings["database: lock"]["found"]


def test_a_write_ahead_log_that_grew_warns(host: Path) -> None:
    with closing(sqlite3.connect(host / "tower.db", isolation_level=None)) as opened:
        opened.execute("PRAGMA journal_mode=WAL")
        opened.execute("PRAGMA wal_autocheckpoint=0")
        opened.execute("CREATE TABLE much (body BLOB)")
        for _ in range(70):
            opened.execute("INSERT INTO much VALUES (zeroblob(4000000))")
        assert look(host).level("database: write-ahead log") == "warn"


# --- Keys and certificates --------------------------------------------------------------


def test_a_database_that_others_may_read_is_told_with_the_fix(host: Path) -> None:
    database = host / "tower.db"
    database.chmod(0o600)
    assert look(host).level("database: readers") == "ok"
    database.chmod(0o644)
    looked = look(host)
    assert looked.level("database: readers") == "warn"
    assert looked.findings["database: readers"]["todo"].startswith(f"chmod 600 {database}")


def test_a_key_that_others_may_read_fails(host: Path) -> None:
    (host / "signing.key").chmod(0o644)
    looked = look(host)
    assert looked.failed() == ["signing key"]
    assert looked.findings["signing key"]["todo"].startswith("chmod 600")


def test_another_key_than_the_log_was_signed_with_fails_and_a_missing_one_warns(host: Path) -> None:
    write_private(host / "signing.key", b"ab" * 32 + b"\n")
    looked = look(host)
    assert looked.failed() == ["signing key"]
    assert "did not make the last checkpoint" in looked.findings["signing key"]["found"]
    (host / "signing.key").unlink()
    assert look(host).level("signing key") == "warn"
    assert not (host / "signing.key").exists(), "looking makes no key"


def test_an_authority_that_expired_is_open_or_is_another_network_s_fails(host: Path) -> None:
    assert look(host, network="elsewhere").failed() == ["certificates"]
    (host / "authority.pem").chmod(0o640)
    assert look(host).failed() == ["certificates"]
    (host / "authority.pem").chmod(0o600)
    old = ca.make_authority("coldgrid", datetime.now(UTC) - timedelta(days=40 * 365), os.urandom)
    write_private(host / "authority.pem", ca.key_pem(old.key) + ca.pem_of(old.certificate).encode())
    assert look(host).failed() == ["certificate of the authority", "certificate of the tower"]


def test_a_node_s_certificate_is_looked_at(host: Path, tmp_path: Path) -> None:
    tower = tower_machine(host, PORT, SYNC_PORT)
    data = tmp_path / "node"
    node = node_machine(data, NODE_PORT, tmp_path / "node.log")
    own: dict[str, Any] = {"port": str(NODE_PORT), "sync_port": "0"}
    with running(tower, node):
        tower.start()
        code = tower.command("tower", "code", "ATL1")
        node.command("node", "join", f"https://127.0.0.1:{SYNC_PORT}", "--code", code, "--data", str(data))
        node.start()

        def sound() -> bool:
            looked = command(tmp_path, "--data", str(data), **own)
            return looked.failed() == [] and "clock: against the tower" in looked.findings

        eventually(sound, "the node talks, and knows its tower's clock", within_s=90)
        node.kill()
    looked = command(tmp_path, "--data", str(data), lead=("faketime", "-f", "+60d"), **own)
    assert "certificate of the node" in looked.failed()
    (data / "node.pem").chmod(0o644)
    assert "certificate of the node" in command(tmp_path, "--data", str(data), **own).failed()
    (data / "node.pem").unlink()
    assert "certificate of the node" in command(tmp_path, "--data", str(data), **own).failed()


# --- Settings, ports, broker, gateways --------------------------------------------------


def test_settings_that_are_wrong_or_contradict_each_other_are_named(host: Path) -> None:
    looked = look(host, prot="8080", port="eighty")
    assert set(looked.failed()) == {"settings: COLDGRID_PROT", "settings: COLDGRID_PORT"}
    assert looked.level("database: pages") == "ok", "the rest was looked at all the same"
    assert look(host, host="0.0.0.0").level("settings: COLDGRID_HOST") == "warn"
    looked = look(host, public_url="https://cold.example")
    assert looked.level("settings: COLDGRID_SECURE_COOKIES") == "warn"


def test_a_port_that_another_program_has_fails(host: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", PORT))):
        looked = look(host)
    assert looked.failed() == ["port: COLDGRID_PORT"]


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A broker of our own that asks for a password and lets `gauge` do nothing but connect."""
    if shutil.which("mosquitto_passwd") is None or shutil.which("mosquitto") is None:
        service_missing("mosquitto")
    port = free_port()
    passwords, rights = folder / "passwords", folder / "rights"
    passwords.touch(mode=0o644)
    for user in ("gauge", "coldgrid"):
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, "right"], check=True)
    rights.write_text("user coldgrid\ntopic readwrite #\n")
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\nuser root\n"
        f"password_file {passwords}\nacl_file {rights}\n"
    )
    process = subprocess.Popen(
        ["mosquitto", "-c", str(folder / "mosquitto.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _listens(port), "the broker listens")
        yield port
    finally:
        process.kill()
        process.wait(10)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_broker_that_is_away_or_refuses_us_fails(host: Path, tmp_path: Path) -> None:
    with broker(tmp_path) as port:
        assert command(host, mqtt_url=f"mqtt://coldgrid:right@127.0.0.1:{port}").level("broker") == "ok"
        looked = command(host, mqtt_url=f"mqtt://coldgrid:wrong@127.0.0.1:{port}")
        assert "does not let us in" in looked.findings["broker"]["found"]
        assert "wrong" not in json.dumps(looked.findings["broker"]), "a password is never told"
    assert command(host, mqtt_url=f"mqtt://127.0.0.1:{port}").failed() == ["broker"]
    assert command(host, mqtt_url="http://127.0.0.1").failed() == ["broker"]


def test_gateways_are_reached_and_no_message_is_sent(host: Path) -> None:
    mailbox = Mailbox()
    options: dict[str, Any] = {"authenticator": mailbox.login, "auth_require_tls": False}
    public: dict[str, Any] = {"public_url": "http://cold.example"}
    with mail_server(mailbox, **options) as port:
        good = command(host, smtp_url=f"smtp://ada:right@127.0.0.1:{port}", **public)
        assert good.level("mail server") == "ok"
        wrong = command(host, smtp_url=f"smtp://ada:wrong@127.0.0.1:{port}", **public)
        assert wrong.failed() == ["mail server"]
        assert "password" in wrong.findings["mail server"]["found"]
        there = command(host, sms_url=f"http://127.0.0.1:{port}/send", **public)
        assert there.level("SMS gateway") == "ok"
    assert mailbox.messages == []
    gone = command(host, smtp_url=f"smtp://127.0.0.1:{port}", sms_url=f"http://127.0.0.1:{port}/", **public)
    assert gone.failed() == ["mail server", "SMS gateway"]
