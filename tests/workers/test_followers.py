"""A follower serves what the leader serves: pages, commands, live updates, what the leader alone can do."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from html import unescape
from pathlib import Path

import httpx
import psycopg
import pytest

from coldgrid.access.tokens import form_token
from coldgrid.cli.app import app as cli
from coldgrid.kernel import log
from coldgrid.kernel.database import Database, open_database
from coldgrid.kernel.decider import Call
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reads
from coldgrid.node.errands import ask
from coldgrid.tower.serve import WorkersNeedPostgres
from coldgrid.tower.workers import feed as feed_module
from coldgrid.tower.workers.feed import Feed
from tests.conftest import postgres_kernel
from tests.patience import eventually
from tests.ports import free_port
from tests.stock.world import hold, release, sscc
from tests.system.served import seed
from tests.workers.fleet import ADMIN, NOTE, SESSION, Fleet, Tower, fleet

pytestmark = pytest.mark.timeout(600)
LINK = re.compile(r'href="(/[^"#]*)"')
CSRF = {"x-csrf-token": form_token(SESSION)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tower, Tower]]:
    """A leader and a follower, both set to listen for nodes on one address."""
    with fleet(tmp_path_factory.mktemp("pair")) as made:
        made.start(2, sync_port=str(free_port()), checkpoint_every_s="600")
        (follower,) = made.followers()
        yield made.leader(), follower


def note(client: httpx.Client, text: str) -> dict[str, object]:
    answer = client.post(NOTE, json={"site_id": "ATL1", "incident_id": "i1", "text": text})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


# --- Pages and commands -----------------------------------------------------------


def test_every_page_that_the_leader_shows_the_follower_shows_too(pair: tuple[Tower, Tower]) -> None:
    leader, follower = pair
    seen, waiting = set[str](), ["/", "/api", "/nodes", "/health", "/evidence", "/evidence/packs/incident/i1"]
    with leader.client(60, **ADMIN) as first, follower.client(60, **ADMIN) as second:
        while waiting and len(seen) < 60:
            path = waiting.pop(0)
            if path in seen or path.startswith(("/static", "/logout")):
                continue
            seen.add(path)
            one, other = first.get(path), second.get(path)
            assert other.status_code == one.status_code, path
            assert other.headers.get("content-type") == one.headers.get("content-type"), path
            if "text/html" in one.headers.get("content-type", ""):
                waiting += [unescape(found) for found in LINK.findall(one.text)]
    assert len(seen) > 40


def test_a_form_sent_to_a_follower_leads_where_the_leaders_does(pair: tuple[Tower, Tower]) -> None:
    _, follower = pair
    with follower.client(60, **ADMIN) as client:
        form = {"_csrf": CSRF["x-csrf-token"], "sscc": sscc(3), "hold_id": "h-follower", "reason": "customer"}
        refused = client.post("/health/parked", data={"_csrf": "of another session"})
        assert refused.status_code == 403
        done = client.post("/health/parked", data=form | {"reaction": ""})
        assert done.status_code in (303, 422), done.text


def test_what_was_just_written_is_read_at_once_on_every_worker(pair: tuple[Tower, Tower]) -> None:
    leader, follower = pair
    with leader.client() as first, follower.client() as second:
        for number in range(40):
            writes, reads = (second, first) if number % 2 else (first, second)
            text = f"written {number}"
            answer = note(writes, text)
            assert answer["position"]
            for client in (writes, reads):
                assert text in client.get("/api/v1/incidents/i1").text, "an answer came before its fact"


def test_a_retry_at_another_worker_is_answered_from_the_command_log(pair: tuple[Tower, Tower]) -> None:
    body = {"site_id": "ATL1", "incident_id": "i1", "text": "once"}
    answers = []
    for tower in (*pair, *pair):
        with tower.client() as client:
            answers.append(client.post(NOTE, json=body, headers={"idempotency-key": "k-once"}).json())
    assert [answer["replayed"] for answer in answers] == [False, True, True, True]
    assert len({answer["position"] for answer in answers}) == 1
    with pair[1].client() as client:
        reused = client.post(NOTE, json={**body, "text": "other"}, headers={"idempotency-key": "k-once"})
    assert (reused.status_code, reused.json()["code"]) == (409, "key_reused")


def test_a_refusal_looks_the_same_from_every_worker(pair: tuple[Tower, Tower]) -> None:
    told = []
    for tower in pair:
        with tower.client() as client:
            unknown = client.post(NOTE, json={"site_id": "ATL1", "incident_id": "none", "text": "x"})
            wrong = client.post(NOTE, json={"site_id": "ATL1", "incident_id": 7})
            barred = client.post("/api/v1/commands/access.add_person", json={"person_id": "p"})
            told.append([(one.status_code, one.text) for one in (unknown, wrong, barred)])
    assert told[0] == told[1]
    assert [status for status, _ in told[0]] == [404, 422, 422]


# --- What the leader alone can do -------------------------------------------------


def test_a_follower_lets_the_leader_do_what_it_alone_can(pair: tuple[Tower, Tower]) -> None:
    leader, follower = pair
    with follower.client(60, **ADMIN) as client:
        asked = {"site_id": "ATL1"}
        given = client.post("/api/v1/nodes/codes", json=asked, headers=CSRF | {"accept": "application/json"})
        assert given.status_code == 200, given.text
        assert given.json()["code"]
        assert client.get("/nodes").text.count("ATL1"), "the page of nodes knows the code's site"
        before = heads(client)
        signed = client.post("/evidence/sign", headers=CSRF)
        assert signed.status_code == 303
        assert signed.headers["location"] == "/evidence"
        assert heads(client) != before
        strangers = client.post("/api/v1/nodes/codes", json=asked, headers={"x-csrf-token": "guess"})
        assert strangers.status_code == 403
    with leader.client(60, **ADMIN) as first, follower.client(60, **ADMIN) as second:
        packs = [one.get("/evidence/packs/incident/i1") for one in (first, second)]
    assert [pack.status_code for pack in packs] == [200, 200]
    assert packs[1].content[:2] == b"PK"
    assert packs[1].headers["content-disposition"] == packs[0].headers["content-disposition"]


def heads(client: httpx.Client) -> dict[str, int]:
    listed = client.get("/api/v1/evidence/checkpoint").json()
    return {one["name"]: one["size"] for one in listed}


def test_an_errand_is_done_by_the_worker_that_decides(pair: tuple[Tower, Tower]) -> None:
    folder = pair[0].told.parent / "errands"
    told = ask(folder, "code", {"site": "ATL1"})
    assert told.ok, told.text
    health = ask(folder, "health", {})
    assert health.ok
    assert "checkpoints" in health.text


def test_health_names_every_worker_and_the_leaders_duties_from_any(pair: tuple[Tower, Tower]) -> None:
    leader, follower = pair
    for tower in pair:
        with tower.client(60, **ADMIN) as client:
            shown = eventually(partial(whole, client), "the duties on the page")
        assert re.search(r"leads by term \d+; 1 follow", shown)
        for duty in ("checkpoints", "audit of the log", "certificate of the tower", "overview"):
            assert f">{duty}<" in shown, duty
    alive = httpx.get(f"{follower.address}/healthz").json()
    assert alive["status"] == "ok"
    assert alive["role"] == "follower"
    assert alive["leader"] == httpx.get(f"{leader.address}/healthz").json()["worker"]
    ready = follower.standing()
    assert (ready["status"], ready["term"]) == ("ready", leader.standing()["term"])
    metrics = httpx.get(f"{follower.address}/metrics").text
    assert "coldgrid_worker_leads 0.0" in metrics
    assert f"coldgrid_worker_term {float(ready['term'])}" in metrics
    assert float(re.findall(r"(?m)^coldgrid_worker_forwarded_total (\S+)", metrics)[0]) > 0


def whole(client: httpx.Client) -> str:
    """The health page, once the workers have told of each other."""
    page = unescape(client.get("/health").text)
    return page if "1 follow" in page and ">follows<" in page else ""


# --- Live updates, sessions, guessers ---------------------------------------------


def test_a_page_on_a_follower_hears_of_what_another_worker_took(pair: tuple[Tower, Tower]) -> None:
    leader, follower = pair
    heard: list[str] = []
    opened = threading.Event()

    def listen() -> None:
        with (
            follower.client(60, **ADMIN) as client,
            client.stream("GET", "/stream?topics=incidents,site/ATL1") as stream,
        ):
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    heard.append(line.removeprefix("event: "))
                    opened.set()
                if "incident" in heard[1:] and "news" in heard[1:]:
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert opened.wait(30)
    with leader.client() as client:
        note(client, "heard elsewhere")
    thread.join(30)
    assert not thread.is_alive(), f"the page heard {heard}"


def test_who_signs_out_at_one_worker_is_a_stranger_at_the_others(tmp_path: Path) -> None:
    with fleet(tmp_path) as workers:
        workers.start(2)
        leader, (follower,) = workers.leader(), workers.followers()
        with leader.client(30, **ADMIN) as first, follower.client(30, **ADMIN) as second:
            assert first.get("/health").status_code == second.get("/health").status_code == 200
            assert second.post("/logout", headers=CSRF).status_code == 303
            began_s = time.monotonic()
            eventually(lambda: first.get("/health").status_code == 303, "that the leader forgets the session")
            eventually(
                lambda: second.get("/health").status_code == 303, "that the follower forgets the session"
            )
            assert time.monotonic() - began_s < 4, "it was remembered for as long as anything is"


def test_who_guesses_passwords_at_every_worker_in_turn_is_counted_once(tmp_path: Path) -> None:
    with fleet(tmp_path) as workers:
        workers.start(2)
        told = []
        for number in range(8):
            tower = workers.towers[number % 2]
            with tower.client(30, accept="text/html") as client:
                visit = client.get("/login").cookies["coldgrid_visit"]
                form = {"login": "ben", "password": "a guess", "_csrf": form_token(visit)}
                told.append(client.post("/login", data=form).status_code)
            time.sleep(0.3)
        assert told[:5] == [401] * 5
        assert told[5:] == [429] * 3


# --- Duties move ------------------------------------------------------------------


def test_duties_go_on_at_the_next_leader(tmp_path: Path) -> None:
    port = free_port()
    with fleet(tmp_path) as workers:
        workers.start(2, checkpoint_every_s="0.3", sync_port=str(port))
        first, (second,) = workers.leader(), workers.followers()
        with second.client() as client:
            note(client, "before")
            before = eventually(lambda: heads(client), "signed heads")
            first.signal(signal.SIGSTOP)
            note(client, "after")
            eventually(
                lambda: heads(client) != before and second.standing()["role"] == "leader", "newer heads"
            )
        with second.client(30, **ADMIN) as client:
            waits = "waits for its address"
            eventually(lambda: waits in unescape(client.get("/health").text), "that the port is taken")
            first.signal(signal.SIGCONT)
            eventually(lambda: waits not in unescape(client.get("/health").text), "that the port is free")


def test_a_worker_that_lost_its_session_leads_again_with_every_duty(tmp_path: Path) -> None:
    port = free_port()
    with fleet(tmp_path) as workers:
        (only,) = workers.start(1, checkpoint_every_s="0.3", sync_port=str(port))
        for turn in range(2):
            term = workers.lease().term
            with psycopg.connect(workers.url, autocommit=True) as admin:
                admin.execute("SELECT pg_terminate_backend(backend) FROM kernel_lease")
            eventually(partial(leads_by, workers, only, term + 1), "the next term")
            with only.client() as client:
                before = heads(client)
                note(client, f"turn {turn}")
                eventually(partial(moved, client, before), "newer heads")
            with socket.create_connection(("127.0.0.1", port), timeout=10):
                pass  # the port for nodes listens again
        with only.client(30, **ADMIN) as client:
            # What its last round found lost says so until its next one.
            eventually(lambda: "Failing" not in client.get("/health").text, "that every duty is well")


def moved(client: httpx.Client, before: dict[str, int]) -> bool:
    return heads(client) != before


def leads_by(workers: Fleet, tower: Tower, term: int) -> bool:
    return workers.lease().term == term and tower.standing().get("role") == "leader"


# --- The feed ---------------------------------------------------------------------


def test_a_feed_hears_each_fact_once_in_order_whoever_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "POLL_S", 0.01)
    monkeypatch.setattr(feed_module, "CHUNK", 7)
    with postgres_kernel() as kernel:
        seed(kernel)
        database = open_database(kernel.database.url)
        heard: list[int] = []
        feed = Feed(lambda: reading(database), lambda recorded: heard.extend(e.position for e, _ in recorded))
        kernel.decider.listeners.append(lambda recorded: decided(feed, heard, leads, recorded))
        leads = [False]
        feed.start()
        first = feed.position
        for turn in range(12):
            if turn % 3 == 1:
                feed.lead()
                leads[0] = True
            for number in range(5):
                kernel.decider.execute(
                    [
                        Call(hold(f"h{turn}-{number}", sscc(3), cause_id=f"{turn}-{number}")),
                        Call(release(f"h{turn}-{number}", sscc(3))),
                    ]
                )
                kernel.decider.settle()
            if turn % 3 == 2:
                leads[0] = False
                feed.follow()
        last = log.last_position(kernel.reader())
        eventually(lambda: heard and heard[-1] == last, "the last fact")
        feed.stop()
        database.close()
        assert heard == list(range(first + 1, last + 1))


def decided(
    feed: Feed, heard: list[int], leads: list[bool], recorded: Sequence[tuple[Entry, object]]
) -> None:
    """What a worker's listeners do while it leads."""
    if leads[0]:
        heard.extend(entry.position for entry, _ in recorded)
        feed.on_commit(recorded)


@contextmanager
def reading(database: Database) -> Iterator[Reads]:
    with database.reader() as connection:
        yield Reads(connection)


# --- On SQLite --------------------------------------------------------------------


def test_several_workers_on_a_file_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDGRID_DATABASE", str(tmp_path / "cold.db"))
    with pytest.raises(WorkersNeedPostgres) as refused:
        cli(["tower", "--workers", "3"])
    assert "postgresql://" in refused.value.todo
    assert not (tmp_path / "cold.db").exists()
