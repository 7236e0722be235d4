"""A row of the log that was changed behind our back is found, opens an incident and is shown to the admin."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from shutil import copy
from typing import Any

import pytest

from coldgrid.evidence.checkpoints import make_checkpoints
from coldgrid.evidence.forks import SettleFork, forked, forks, report
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.orchestration.incidents import Incident, Status, get_incident, open_incidents
from tests.conftest import Kernel
from tests.patience import eventually
from tests.system.served import System, running, seed, serving


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A tower on a copy of its database in which one old, signed entry was changed since."""
    folder = tmp_path_factory.mktemp("tampered")
    with running(folder) as system:
        notary = system.client.app.state.notary
        system.tower.service.call(lambda decider: make_checkpoints(decider, notary)).result(30)
    copied = folder / "copy.db"
    with closing(sqlite3.connect(folder / "system.db")) as whole:
        whole.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a reader that closed last left the log beside it
    copy(folder / "system.db", copied)
    with sqlite3.connect(copied) as db:
        rows = db.execute("SELECT seq, body FROM event_log WHERE origin = 'ATL1' ORDER BY seq").fetchall()
        seq, body = next(row for row in rows if b'"qty":' in bytes(row[1]))
        altered = bytes(body).replace(b'"qty":', b'"qty":1', 1)
        changed = db.execute(
            "UPDATE event_log SET body = ? WHERE origin = 'ATL1' AND seq = ?", (altered, seq)
        )
        assert changed.rowcount == 1
    with serving(folder, str(copied), checkpoint_every_s=3600.0) as system:
        eventually(lambda: found_by(system))
        system.last_position()
        yield system


def found_by(system: System) -> list[Any]:
    with system.tower.reader() as db:
        return forks(db)


def incident_of(system: System) -> Incident:
    with system.tower.reader() as db:
        (found,) = [one for one in open_incidents(db) if one.asset_id.startswith("log ")]
    return found


def test_the_audit_at_the_start_finds_it_though_nothing_new_is_signed(tampered: System) -> None:
    (fork,) = found_by(tampered)
    assert (fork.origin, fork.epoch) == ("ATL1", 1)
    assert fork.why.startswith("entry ATL1/1/")
    assert fork.signed != fork.found


def test_it_opens_one_incident_with_both_hashes(tampered: System) -> None:
    (fork,) = found_by(tampered)
    incident = incident_of(tampered)
    assert incident.site_id == "network"
    assert (incident.facts["signed_hash"], incident.facts["found_hash"]) == (fork.signed, fork.found)
    assert incident.facts["fault"] == fork.why
    page = tampered.client.get(f"/incidents/{incident.incident_id}", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert fork.signed in page.text
    assert fork.found in page.text


@pytest.mark.parametrize("path", ["/", "/incidents", "/evidence"])
def test_the_other_pages_live_with_an_incident_of_the_network(tampered: System, path: str) -> None:
    assert tampered.client.get(path, headers={"accept": "text/html"}).status_code == 200


def test_the_health_page_and_readiness_name_the_log(tampered: System) -> None:
    (fork,) = found_by(tampered)
    page = tampered.client.get("/health", headers={"accept": "text/html"}).text
    assert "Logs in quarantine" in page
    assert fork.signed in page
    assert fork.found in page
    ready = tampered.client.get("/readyz")
    assert (ready.status_code, ready.json()["quarantined"]) == (200, ["ATL1/1"])


def test_settling_the_fork_closes_the_incident_and_ends_the_warning(tampered: System) -> None:
    incident = incident_of(tampered)
    settling = SettleFork(log_origin="ATL1", log_epoch=1, reason="the copy was put away")
    tampered.tower.service.submit(settling).result(30)
    tampered.last_position()
    with tampered.tower.reader() as db:
        assert get_incident(db, incident.incident_id).status is Status.CLOSED
    assert tampered.client.get("/readyz").json()["quarantined"] == []


def test_the_same_fork_found_twice_opens_one_incident(kernel: Kernel) -> None:
    """The audit and a checkpoint may both come upon it."""
    seed(kernel)
    found = [forked(LogId("ATL1", 1), 5, b"1" * 32, b"2" * 32, "entry ATL1/1/4 was changed")]
    for _ in range(2):
        kernel.decider.within(SYSTEM, "network", lambda tx: report(tx, found), "evidence.audit")
        kernel.decider.settle()
    logs = [one for one in open_incidents(kernel.reader()) if one.asset_id.startswith("log ")]
    assert len(logs) == 1
    kernel.rebuild()
