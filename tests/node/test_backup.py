"""Copies of a host: made while it serves, checked, put back where nothing lives; and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel import log
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.settings import load_settings
from coldgrid.kernel.sqlite import SqliteConnection
from coldgrid.node import host_errands
from coldgrid.node.backup_form import Manifest, sha256_of
from coldgrid.node.host import LiveHost
from coldgrid.node.host_errands import CHECKPOINTS, HostErrands
from coldgrid.tower.application import build_tower
from tests.node.machines import (
    GATEWAY_TOKEN,
    Machine,
    picture,
    read,
    running,
    seed_tower,
    tower_machine,
)
from tests.patience import eventually
from tests.ports import free_port
from tests.starting import run

PORT = free_port()


def coldgrid(folder: Path, *arguments: str, lead: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command with the settings of the tower in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    environment |= {
        "COLDGRID_DATABASE": str(folder / "tower.db"),
        "COLDGRID_SIGNING_KEY": str(folder / "signing.key"),
        "COLDGRID_AUTHORITY_KEY": str(folder / "authority.pem"),
        "COLDGRID_SMTP_URL": "smtp://mailer:very-secret@127.0.0.1:2525",
        "COLDGRID_TEMPERATURE_UNIT": "F",
    }
    return run(arguments, environment, lead=lead)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tower's folder with goods, readings and checkpoints; copied by each test that changes it."""
    folder = tmp_path_factory.mktemp("tower")
    seed_tower(folder, ["ATL1"])
    tower = tower_machine(folder, PORT, 0)
    with running(tower):
        tower.start()
        eventually(lambda: bool(_checkpoints(folder / "tower.db")), "the first checkpoint")
    return folder


def _checkpoints(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as opened:
        (count,) = opened.execute("SELECT count(*) FROM evidence_checkpoint").fetchone()
    opened.close()
    return int(count)


@pytest.fixture
def host(seeded: Path, tmp_path: Path) -> Path:
    shutil.copytree(seeded, tmp_path / "host", ignore=shutil.ignore_patterns("errands"))
    return tmp_path / "host"


@pytest.fixture
def made(host: Path, tmp_path: Path) -> Path:
    done = coldgrid(host, "backup", str(tmp_path / "copy"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "copy"


def manifest_of(backup: Path) -> Manifest:
    return msgspec.json.decode((backup / "manifest.json").read_bytes(), type=Manifest)


# --- What a backup is -----------------------------------------------------------------


def test_a_backup_names_every_file_and_tells_no_secret_setting(made: Path) -> None:
    manifest = manifest_of(made)
    assert {file.path for file in manifest.files} == {
        str(path.relative_to(made))
        for path in made.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert manifest.set_again == ["COLDGRID_SMTP_URL"], "where the file lay is no secret"
    assert manifest.settings["COLDGRID_DATABASE"].endswith("tower.db")
    assert manifest.settings["COLDGRID_TEMPERATURE_UNIT"] == "F"
    told = "".join(path.read_text() for path in (made / "manifest.json", made / "settings.env"))
    assert "very-secret" not in told
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    for file in manifest.files:
        assert stat.S_IMODE((made / file.path).stat().st_mode) == 0o600, file.path
    assert manifest.checkpoints > 0
    assert {one.origin for one in manifest.trees} >= {"network", "ATL1"}


def test_a_backup_is_not_made_over_another_one(host: Path, made: Path) -> None:
    before = (made / "manifest.json").read_bytes()
    refused = coldgrid(host, "backup", str(made))
    assert refused.returncode == 1
    assert "was not touched" in refused.stderr
    assert (made / "manifest.json").read_bytes() == before


def test_without_a_database_nothing_is_made(tmp_path: Path) -> None:
    refused = coldgrid(tmp_path, "backup", str(tmp_path / "copy"))
    assert refused.returncode == 1
    assert "There is no database" in refused.stderr
    assert not (tmp_path / "copy").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with less room than the database needs."""
    place = tmp_path / "disk"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a file system of one's own takes root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_without_room_is_refused_before_anything_is_written(host: Path, small_disk: Path) -> None:
    refused = coldgrid(host, "backup", str(small_disk / "copy"))
    assert refused.returncode == 1
    assert "There is no room" in refused.stderr
    assert "Free disk space" in refused.stderr
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing_that_looks_whole(host: Path, tmp_path: Path) -> None:
    """The limit stops the file in the middle, where the room was thought to be enough."""
    limited = ("bash", "-c", 'ulimit -f 1024; trap "" XFSZ; exec "$@"', "limited")
    refused = coldgrid(host, "backup", str(tmp_path / "copy"), lead=limited)
    assert refused.returncode == 1, refused.stderr
    assert "nothing of" in refused.stderr.lower()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("copy")] == []


def test_a_backup_that_was_killed_is_none_and_the_next_one_is_whole(host: Path, tmp_path: Path) -> None:
    part = tmp_path / "copy.part"
    part.mkdir()
    (part / "database.db").write_bytes(b"half")
    refused = coldgrid(host, "restore", str(part), "--check")
    assert refused.returncode == 1
    assert "no whole backup" in refused.stderr
    assert coldgrid(host, "backup", str(tmp_path / "copy")).returncode == 0
    assert not part.exists()


def test_a_copy_of_a_damaged_log_is_refused_and_thrown_away(host: Path, tmp_path: Path) -> None:
    with sqlite3.connect(host / "tower.db") as opened:
        opened.execute("UPDATE event_log SET actor = 'somebody else' WHERE origin = 'network' AND seq = 3")
    opened.close()
    refused = coldgrid(host, "backup", str(tmp_path / "copy"))
    assert refused.returncode == 1
    assert "was changed" in refused.stderr
    assert not (tmp_path / "copy").exists()


# --- Putting one back -----------------------------------------------------------------


def test_a_backup_is_put_back_whole_and_the_tower_waits_for_its_next_epochs(
    host: Path, made: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    done = coldgrid(there, "restore", str(made), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["checkpoints_verified"] == manifest_of(made).checkpoints
    assert told["set_again"] == ["COLDGRID_SMTP_URL"]
    site = read(host / "tower.db", lambda db: picture(db, "ATL1"))
    assert read(there / "tower.db", lambda db: picture(db, "ATL1")) == site
    assert (there / "signing.key").read_bytes() == (host / "signing.key").read_bytes()
    assert stat.S_IMODE((there / "signing.key").stat().st_mode) == 0o600

    refused = coldgrid(there, "serve", "--port", str(PORT))
    assert refused.returncode == 1
    assert "coldgrid tower recover" in refused.stderr
    assert coldgrid(there, "tower", "recover").returncode == 0
    heads = read(there / "tower.db", log.heads)
    assert {epoch for epoch, _ in heads.values()} == {2}
    tower = tower_machine(there, PORT, 0)
    with running(tower):
        tower.start()
        eventually(lambda: _checkpoints(there / "tower.db") > told["checkpoints_verified"], "it signs again")


def test_nothing_living_is_overwritten(host: Path, made: Path) -> None:
    before = (host / "tower.db").read_bytes()
    refused = coldgrid(host, "restore", str(made))
    assert refused.returncode == 1
    assert "Something living" in refused.stderr
    assert (host / "tower.db").read_bytes() == before
    (host / "tower.db").rename(host / "away.db")
    (host / "tower.db-wal").write_bytes(b"of another database")
    told = coldgrid(host, "restore", str(made)).stderr
    assert str(host / "tower.db-wal") in told, "it would be played into the copy"
    (host / "tower.db-wal").unlink()
    (host / "signing.key").write_text("0" * 64 + "\n")
    (host / "signing.key").chmod(0o600)
    assert str(host / "signing.key") in coldgrid(host, "restore", str(made)).stderr
    assert not (host / "tower.db").exists()


@pytest.mark.parametrize("spoil", ["flip", "cut", "missing", "key"])
def test_a_backup_that_was_spoiled_is_refused_by_the_file_s_name(
    made: Path, tmp_path: Path, spoil: str
) -> None:
    path = made / ("keys/signing.key" if spoil == "key" else "database.db")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if spoil == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if spoil == "cut" else data)
    there = tmp_path / "there"
    there.mkdir()
    refused = coldgrid(there, "restore", str(made))
    assert refused.returncode == 1
    assert str(path.relative_to(made)) in refused.stderr
    assert list(there.iterdir()) == []


def test_a_backup_whose_tables_are_not_its_log_s_is_refused(made: Path, tmp_path: Path) -> None:
    """Somebody who changed the file and the manifest's hash is found by the rebuild."""
    with sqlite3.connect(made / "database.db") as opened:
        opened.execute("UPDATE network_site SET name = 'Elsewhere'")
    opened.close()
    for end in ("-wal", "-shm"):
        (made / f"database.db{end}").unlink(missing_ok=True)
    text = json.loads((made / "manifest.json").read_text())
    for file in text["files"]:
        if file["path"] == "database.db":
            file["sha256"] = sha256_of(made / "database.db")
            file["bytes"] = (made / "database.db").stat().st_size
    (made / "manifest.json").write_text(json.dumps(text))
    there = tmp_path / "there"
    there.mkdir()
    refused = coldgrid(there, "restore", str(made))
    assert refused.returncode == 1
    assert "network_site" in refused.stderr
    assert list(there.iterdir()) == []


# --- While it serves ------------------------------------------------------------------


def post_readings(tower: Machine, minute: int) -> int:
    line = {
        "sensor_id": "ATL1-FRZ-01",
        "at": f"2026-01-05T{minute // 60:02}:{minute % 60:02}:00Z",
        "value": -21.0,
    }
    answer = httpx.post(
        f"{tower.address}/api/v1/readings",
        content=msgspec.json.encode(line),
        headers={"authorization": f"Bearer {GATEWAY_TOKEN}", "content-type": "application/x-ndjson"},
        timeout=30,
    )
    return answer.status_code


def test_a_backup_of_a_serving_tower_is_one_state_and_nobody_is_refused(host: Path, tmp_path: Path) -> None:
    tower = tower_machine(host, PORT, 0)
    stop = threading.Event()
    answers: list[int] = []

    def write() -> None:
        while not stop.is_set():
            answers.append(post_readings(tower, len(answers)))

    with running(tower):
        tower.start()
        writer = threading.Thread(target=write)
        writer.start()
        try:
            eventually(lambda: len(answers) > 20, "readings flow")
            done = coldgrid(host, "backup", str(tmp_path / "copy"))
        finally:
            stop.set()
            writer.join()
        assert done.returncode == 0, done.stderr
        assert answers.count(200) == len(answers)
        checked = coldgrid(host, "restore", str(tmp_path / "copy"), "--check")
        assert checked.returncode == 0, checked.stderr


def test_a_host_whose_copier_was_killed_copies_its_log_back_again(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_errands, "FORGOTTEN_AFTER_S", 0.3)
    settings = load_settings(
        {}, database=str(host / "tower.db"), signing_key=str(host / "signing.key"), port=PORT
    )
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))
    tower.service.start()

    def pages() -> int:
        def look(decider: Decider) -> int:
            assert isinstance(decider.connection, SqliteConnection)
            (found,) = decider.connection.driver.execute("PRAGMA wal_autocheckpoint").fetchone()
            return int(found)

        answer: int = tower.service.call(look).result(30)
        return answer

    try:
        before = pages()
        doing = HostErrands(tower, "0.1.0", list, lambda: None).doing()
        assert "left to you" in doing[CHECKPOINTS]({"alone": "yes"})
        assert pages() == 0
        eventually(lambda: pages() == before, "the host does it again by itself")
    finally:
        tower.service.stop()
        tower.decider.close()
