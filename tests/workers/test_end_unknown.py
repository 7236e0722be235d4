"""The leader loses its session in the midst of a commit: what a caller is told, and what sending again does.

Whether the server kept the commit, its sender cannot tell. Both happen here, over HTTP.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from tests.patience import eventually
from tests.ports import free_port
from tests.workers.fleet import NOTE, Fleet, Ledger, Tower, fleet
from tests.workers.test_takeover import listens

pytestmark = pytest.mark.timeout(600)
ENDS = ("request", "answer")  # what of the commit is lost: nothing of it is kept, or all of it is


@contextmanager
def breaking_line(url: str) -> Iterator[str]:
    """The address of a database through a line that breaks in the midst of commits (`tests.workers.cut`)."""
    parts = urlsplit(url)
    port, host, target = free_port(), parts.hostname or "127.0.0.1", parts.port or 5432
    line = subprocess.Popen([sys.executable, "-m", "tests.workers.cut", str(port), host, str(target)])
    user = f"{parts.username}@" if parts.username else ""
    try:
        eventually(partial(listens, port), "the line")
        yield urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}"))
    finally:
        line.kill()
        line.wait(timeout=30)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers, each with the database behind the line."""
    folder = tmp_path_factory.mktemp("cut")
    with fleet(folder) as made, breaking_line(made.url) as through:
        made.towers += [Tower(through, folder / "keys") for _ in range(2)]
        for tower in made.towers:
            eventually(tower.ready, "a tower's readiness")
        yield made


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """What was sent and what was acknowledged, of all tests of this module."""
    return Ledger()


def send(ledger: Ledger, tower: Tower, text: str, key: str = "") -> httpx.Response:
    ledger.sent[text] = time.monotonic()
    body = {"site_id": "ATL1", "incident_id": "i1", "text": text}
    with tower.client() as client:
        answer = client.post(NOTE, json=body, headers={"idempotency-key": key} if key else {})
    if answer.status_code == 200:
        ledger.acknowledged[text] = time.monotonic()
    return answer


def noted(workers: Fleet, text: str) -> int:
    """How often every worker that can be asked shows a note."""
    counts = set()
    for tower in workers.towers:
        with tower.client() as client:
            counts.add(client.get("/api/v1/incidents/i1").text.count(f'"{text}"'))
    assert len(counts) == 1, counts
    return counts.pop()


def send_until_done(ledger: Ledger, tower: Tower, text: str, key: str) -> httpx.Response:
    def done() -> httpx.Response | None:
        answer = send(ledger, tower, text, key)
        assert answer.status_code in {200, 503}, answer.text
        return answer if answer.status_code == 200 else None

    found: httpx.Response = eventually(done, "the outcome")
    return found


@pytest.mark.parametrize("lost", ENDS)
def test_without_a_key_the_caller_is_told_that_the_end_is_unknown_and_to_look(
    workers: Fleet, ledger: Ledger, lost: str
) -> None:
    leader, term = workers.leader(), workers.lease().term
    text = f"lose-{lost}-1"
    answer = send(ledger, leader, text)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (503, "end_unknown"), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert told["facts"]["command"] == "orchestration.note_incident"
    assert "Look whether what you asked for is there" in told["todo"]
    eventually(lambda: workers.lease().term > term and workers.leader(), "the next term")
    eventually(
        lambda: send(ledger, workers.towers[0], f"after {text}").status_code == 200, "that work goes on"
    )
    assert noted(workers, text) == (1 if lost == "answer" else 0), "it is there whole, or not at all"


@pytest.mark.parametrize("lost", ENDS)
def test_with_its_key_the_same_request_afterwards_has_its_outcome_exactly_once(
    workers: Fleet, ledger: Ledger, lost: str
) -> None:
    leader, term = workers.leader(), workers.lease().term
    text, key = f"lose-{lost}-2", f"key-{lost}"
    # The worker sends it again itself, under the key; where that takes too long, the caller does.
    first = send_until_done(ledger, leader, text, key).json()
    assert workers.lease().term > term, "the commit was cut"
    assert first["replayed"] is (lost == "answer"), "what was done is answered, what was not is done"
    for tower in workers.towers:
        again = send_until_done(ledger, tower, text, key).json()
        assert (again["replayed"], again["position"]) == (True, first["position"])
    assert noted(workers, text) == 1


def test_the_log_holds_everything_that_was_acknowledged_once(workers: Fleet, ledger: Ledger) -> None:
    workers.audit(ledger)
