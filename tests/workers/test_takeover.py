"""A leader is killed, stopped or cut off under load: another decides in seconds, nothing lost or twice."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
import structlog

from tests.node.test_doctor import look
from tests.patience import eventually
from tests.ports import free_port
from tests.workers.fleet import ADMIN, NOTE, Fleet, Ledger, Tower, fleet

TAKES_OVER_WITHIN_S = 5.0
# What is asked of a quiet machine; others that are at work here may hold every process up.
SLACK_S = 10.0

logger = structlog.get_logger("coldgrid.tests")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path) as made:
        made.start(3)
        yield made


def loaded(workers: Fleet) -> Ledger:
    """Callers with keys and without at every worker, and commands flowing."""
    ledger = Ledger()
    ledger.call(lambda: workers.towers, 4, keyed=True)
    ledger.call(workers.followers, 4, keyed=False)
    began_s = time.monotonic()
    eventually(lambda: ledger.flows(began_s, 100), "a flow of commands")
    return ledger


def test_a_killed_leader_is_replaced_under_load(workers: Fleet) -> None:
    leader, term = workers.leader(), workers.lease().term
    ledger = Ledger()
    others = workers.followers()
    ledger.call(lambda: workers.towers, 4, keyed=True)
    ledger.call(lambda: others, 4, keyed=False)
    began_s = time.monotonic()
    eventually(lambda: ledger.flows(began_s, 100), "a flow of commands")
    killed_s = time.monotonic()
    leader.kill()
    workers.towers.remove(leader)
    eventually(lambda: ledger.flows(killed_s + 0.1), "commands after the kill")
    took_s = ledger.gap_s(killed_s)
    logger.warning("killed_leader_replaced", seconds=round(took_s, 2), acknowledged=len(ledger.acknowledged))
    time.sleep(1)
    ledger.stop()
    assert workers.lease().term == term + 1
    plain = [one for one in ledger.refused if one[0].startswith("plain")]
    assert not plain, f"a follower let its caller down: {plain[:3]}"
    workers.audit(ledger)
    assert took_s <= TAKES_OVER_WITHIN_S + SLACK_S


def test_a_stopped_leader_is_replaced_and_never_writes_again(workers: Fleet) -> None:
    leader, term = workers.leader(), workers.lease().term
    others = workers.followers()
    ledger = Ledger()
    ledger.call(lambda: others, 4, keyed=True)
    ledger.call(lambda: others, 4, keyed=False)
    began_s = time.monotonic()
    eventually(lambda: ledger.flows(began_s, 100), "a flow of commands")
    stopped_s = time.monotonic()
    leader.signal(signal.SIGSTOP)
    # What reaches a stopped process waits in its buffers, and is decided long after its term.
    late = Ledger()
    late.call(lambda: [leader], 3, keyed=True)
    eventually(lambda: ledger.flows(stopped_s + 0.1), "commands past the stopped leader")
    took_s = ledger.gap_s(stopped_s)
    logger.warning("stopped_leader_replaced", seconds=round(took_s, 2), acknowledged=len(ledger.acknowledged))
    eventually(lambda: workers.lease().term == term + 1, "the next term")
    time.sleep(2)
    assert not late.acknowledged
    woken_s = time.monotonic()
    leader.signal(signal.SIGCONT)
    eventually(lambda: late.flows(woken_s, 3), "the late commands' answers")
    eventually(lambda: leader.standing().get("role") == "follower", "that the old leader follows")
    assert workers.lease().term == term + 1
    ledger.take_in(late)
    plain = [one for one in ledger.refused if one[0].startswith("plain")]
    assert not plain, f"a follower let its caller down: {plain[:3]}"
    workers.audit(ledger)
    assert took_s <= TAKES_OVER_WITHIN_S + SLACK_S


def test_a_leader_that_is_cut_off_from_the_database_is_replaced(tmp_path: Path) -> None:
    """Its process lives and its connections stand, but nothing comes through until the line is back."""
    with fleet(tmp_path) as workers, held_line(workers.url) as (line, through):
        first = Tower(through, tmp_path / "keys")
        workers.towers.append(first)
        eventually(first.ready, "the first tower's readiness")
        others = workers.start(2)
        assert workers.leader() is first
        term = workers.lease().term
        ledger, late = Ledger(), Ledger()
        ledger.call(lambda: others, 4, keyed=True)
        ledger.call(lambda: others, 4, keyed=False)
        late.call(lambda: [first], 3, keyed=True)
        began_s = time.monotonic()
        eventually(lambda: ledger.flows(began_s, 100) and late.flows(began_s, 10), "a flow of commands")
        cut_s = time.monotonic()
        line.send_signal(signal.SIGSTOP)
        eventually(lambda: ledger.flows(cut_s + 0.1), "commands past the leader that is cut off")
        took_s = ledger.gap_s(cut_s)
        logger.warning("cut_off_leader_replaced", seconds=round(took_s, 2))
        assert workers.lease().term == term + 1
        time.sleep(2)
        back_s = time.monotonic()
        line.send_signal(signal.SIGCONT)
        eventually(lambda: late.flows(back_s, 3), "the late commands' answers")
        eventually(lambda: first.standing().get("role") == "follower", "that the old leader follows")
        ledger.take_in(late)
        assert not [one for one in ledger.refused if one[0].startswith("plain")]
        workers.audit(ledger)
        assert took_s <= TAKES_OVER_WITHIN_S + SLACK_S


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def held_line(url: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A line to the database of `url`, and its address through that line."""
    parts = urlsplit(url)
    port, host, target = free_port(), parts.hostname or "127.0.0.1", parts.port or 5432
    line = subprocess.Popen([sys.executable, "-m", "tests.workers.line", str(port), host, str(target)])
    user = f"{parts.username}@" if parts.username else ""
    try:
        eventually(partial(listens, port), "the line")
        yield line, urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}"))
    finally:
        line.kill()
        line.wait(timeout=30)


def test_sessions_that_the_server_ends_lose_nothing(workers: Fleet) -> None:
    """As when PostgreSQL is restarted: every connection of every worker is gone at once."""
    ledger = loaded(workers)
    for _ in range(3):
        ended_s = time.monotonic()
        with psycopg.connect(workers.url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(a.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND l.pid = (SELECT backend FROM kernel_lease)"
            )
        eventually(partial(ledger.flows, ended_s + 0.1), "commands after the sessions ended")
    ledger.stop()
    workers.audit(ledger)


def test_workers_that_begin_at_once_agree_on_one_leader(tmp_path: Path) -> None:
    with fleet(tmp_path) as workers:
        before = workers.lease().term
        workers.start(3)
        leader = workers.leader()
        assert workers.lease().term == before + 1, "one was replaced"
        eventually(lambda: all(one.standing().get("leader") for one in workers.towers), "a known leader")
        assert len({one.standing()["leader"] for one in workers.towers}) == 1
        roles = sorted(tower.standing()["role"] for tower in workers.towers)
        assert roles == ["follower", "follower", "leader"]
        assert leader.standing()["role"] == "leader"


def test_a_leader_that_is_asked_to_stop_hands_over_at_once(workers: Fleet) -> None:
    leader = workers.leader()
    others = workers.followers()
    for tower in workers.towers:
        assert httpx.get(f"{tower.address}/deciding").status_code == 200
        assert "coldgrid_leaderless 0.0" in httpx.get(f"{tower.address}/metrics").text
    looked = look(workers.folder, database=workers.url)
    assert "3 workers serve; " in looked.findings["workers"]["found"]
    ledger = Ledger()
    ledger.call(lambda: others, 4, keyed=False)
    began_s = time.monotonic()
    eventually(lambda: ledger.flows(began_s, 50), "a flow of commands")
    asked_s = time.monotonic()
    leader.signal(signal.SIGTERM)
    eventually(lambda: ledger.flows(asked_s + 0.1), "commands after the hand-over")
    leader.process.wait(timeout=60)
    ledger.stop()
    assert not ledger.refused
    workers.audit(ledger)


def test_with_nobody_to_decide_a_caller_is_told_so_and_pages_still_answer(tmp_path: Path) -> None:
    with fleet(tmp_path) as workers:
        first = workers.start(1)[0]
        (second,) = workers.start(1, signing_key=str(tmp_path / "other" / "signing.key"))
        with second.client() as client:
            note = {"site_id": "ATL1", "incident_id": "i1", "text": "through the second"}
            assert client.post(NOTE, json=note).status_code == 200
        first.kill()
        eventually(lambda: second.standing().get("status") == "leaderless", "that nobody decides")
        assert "signing key" in second.standing()["why"]
        answers = {
            path: httpx.get(second.address + path).status_code
            for path in ("/healthz", "/readyz", "/deciding")
        }
        assert answers == {"/healthz": 200, "/readyz": 200, "/deciding": 503}, "reads go on"
        assert "coldgrid_leaderless 1.0" in httpx.get(f"{second.address}/metrics").text
        with second.client(60, **ADMIN) as person:
            page = unescape(person.get("/health").text)
        assert "Nobody decides" in page
        assert "must not lead: its signing key is not the leader's" in page
        assert ">checkpoints<" not in page, "the lost leader's duties are not told of as if it lived"
        looked = look(tmp_path, database=workers.url)
        assert looked.level("workers") == "fail"
        assert "none may decide" in looked.findings["workers"]["found"]
        assert "its signing key is not the leader's" in looked.findings["workers"]["found"]
        with second.client() as client:
            assert client.get("/api/v1/orders/web-1").status_code == 200
            refused: httpx.Response = client.post(NOTE, json={**note, "text": "nobody decides"})
        assert refused.status_code == 503
        assert refused.json()["code"] == "nobody_decides"
