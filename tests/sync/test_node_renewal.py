"""Certificates over their life: renewed in time, after a long outage, and never by a copy."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from shutil import copytree

import pytest

from coldgrid.kernel.database import open_database
from coldgrid.sync import authority as ca
from coldgrid.sync import enrolled, identity_files
from coldgrid.sync.admission import Run, clone_suspected
from coldgrid.sync.tls_client import TowerLink, TowerRefused, TowerUnreachable
from coldgrid.tower.recovery import recover
from tests.conftest import Kernel
from tests.patience import eventually
from tests.sync.tower import START, TowerPort, served


@contextmanager
def linked(tower: TowerPort, folder: Path) -> Iterator[TowerLink]:
    """One start of the node in a folder."""
    with TowerLink(folder, identity_files.begin_run(folder, tower.entropy)) as link:
        yield link


def code_of(refusal: pytest.ExceptionInfo[TowerRefused]) -> str:
    return refusal.value.code


def test_a_node_renews_at_two_thirds_with_a_new_key_and_the_old_certificate_ends_with_its_use(
    either_tower: TowerPort, tmp_path: Path
) -> None:
    tower, folder = either_tower, tmp_path / "node"
    tower.join(folder)
    with linked(tower, folder) as link:
        assert not link.renewal_due(tower.clock.at)
        tower.clock.forward(days=20)
        assert link.renewal_due(tower.clock.at)
        before = link.identity.shown
        copytree(folder, tmp_path / "copy")
        assert link.renew(tower.entropy) == tower.clock.at + timedelta(days=30)
        assert link.identity.shown.key_hash != before.key_hash
        assert b"next" in link.post(b"next")
        tower.settle()
    held = enrolled.find_certificate(tower.kernel.reader(), before.serial)
    assert held is not None
    assert held.superseded_at == tower.clock.at
    with linked(tower, tmp_path / "copy") as copy, pytest.raises(TowerRefused) as caught:
        copy.post(b"me too")
    assert code_of(caught) == "certificate_superseded"
    assert tower.events()[-2:] == ["sync.certificate_renewed", "sync.certificate_taken_up"]
    tower.kernel.rebuild()


def test_requests_under_way_while_renewing_are_all_answered(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    tower.join(folder)
    tower.clock.forward(days=20)
    answered, failed, stop = [], [], threading.Event()

    with linked(tower, folder) as link:

        def talk(number: int) -> None:
            while not stop.is_set():
                try:
                    answered.append(link.post(f"from {number}".encode()))
                except (TowerRefused, TowerUnreachable) as fault:
                    failed.append(fault)

        held: list[bytes] = []
        poll = threading.Thread(target=lambda: held.append(link.post(b"hold on")))
        talkers = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
        for thread in (*talkers, poll):
            thread.start()
        eventually(lambda: len(answered) > 50)
        link.renew(tower.entropy)
        count = len(answered)
        eventually(lambda: len(answered) > count + 50)
        stop.set()
        for thread in talkers:
            thread.join(timeout=20)
        tower.post.news.set()
        tower.port.app.heard_news("ATL1")
        poll.join(timeout=20)
    assert failed == []
    assert [answer[-7:] for answer in held] == [b"hold on"]


def test_a_renewal_whose_answer_was_lost_is_asked_for_again(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    tower.join(folder)
    tower.clock.forward(days=20)
    copytree(folder, tmp_path / "before")
    key = identity_files.next_key(tmp_path / "before", tower.entropy)
    identity_files.write_private(folder / "next-key.pem", ca.key_pem(key))
    with linked(tower, folder) as link:
        link.renew(tower.entropy)
        serial = link.identity.shown.serial
    # The node's disk never saw the answer: it still has the old certificate, and the key it asked for.
    for name in ("node.pem", "next-key.pem"):
        (tmp_path / "before" / name).replace(folder / name)
    with linked(tower, folder) as link:
        link.renew(tower.entropy)
        assert link.identity.shown.serial == serial
        link.post(b"on it goes")


def test_a_node_that_was_away_for_weeks_renews_by_itself(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    tower.join(folder)
    tower.clock.forward(days=30 + 89)
    with linked(tower, folder) as link:
        with pytest.raises(TowerRefused) as caught:
            link.post(b"back again")
        assert code_of(caught) == "certificate_expired"
        link.renew(tower.entropy)
        assert link.post(b"back again").endswith(b"back again")


def test_a_node_that_was_away_too_long_needs_a_code_and_stays_the_same_node(
    tower: TowerPort, tmp_path: Path
) -> None:
    folder = tmp_path / "node"
    joined = tower.join(folder)
    tower.clock.forward(days=30 + 91)
    with linked(tower, folder) as link, pytest.raises(TowerRefused) as caught:
        link.renew(tower.entropy)
    assert code_of(caught) == "certificate_lapsed"
    again = tower.join(folder, tower.code(node_id=joined.node_id))
    assert again.node_id == joined.node_id
    with linked(tower, folder) as link:
        assert link.post(b"back again").endswith(b"back again")


def test_nobody_renews_much_too_early(tower: TowerPort, tmp_path: Path) -> None:
    tower.join(tmp_path / "node")
    tower.clock.forward(days=14)
    with linked(tower, tmp_path / "node") as link, pytest.raises(TowerRefused) as caught:
        link.renew(tower.entropy)
    assert code_of(caught) == "renewed_too_early"


# --- Revoked and copied -----------------------------------------------------------


def test_a_revoked_node_is_cut_off_on_its_open_connection(tower: TowerPort, tmp_path: Path) -> None:
    joined = tower.join(tmp_path / "node")
    other = tower.join(tmp_path / "other", tower.code("CLT1"))
    with linked(tower, tmp_path / "node") as link, linked(tower, tmp_path / "other") as bystander:
        outcome: list[Exception] = []

        def poll() -> None:
            try:
                link.post(b"hold on")
            except (TowerRefused, TowerUnreachable) as fault:
                outcome.append(fault)

        polling = threading.Thread(target=poll)
        polling.start()
        eventually(lambda: any(frame == b"hold on" for _, frame in tower.post.heard))
        tower.revoke(joined.node_id)
        polling.join(timeout=5)
        assert not polling.is_alive()
        assert len(outcome) == 1
        for ask in (lambda: link.post(b"still here"), lambda: link.renew(tower.entropy)):
            with pytest.raises(TowerRefused, match="stolen") as caught:
                ask()
            assert code_of(caught) == "node_cut_off"
        assert bystander.post(b"x") == f"CLT1 {other.node_id} x".encode()


def test_a_revoked_node_comes_back_under_another_name_only(tower: TowerPort, tmp_path: Path) -> None:
    joined = tower.join(tmp_path / "node")
    code = tower.code(node_id=joined.node_id)
    tower.revoke(joined.node_id)
    with pytest.raises(TowerRefused) as caught:
        tower.join(tmp_path / "node", code)
    assert code_of(caught) == "node_cut_off"
    assert tower.join(tmp_path / "node").node_id != joined.node_id


def test_a_copied_disk_is_found_at_its_first_request_and_reported(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    joined = tower.join(folder)
    copytree(folder, tmp_path / "copy")
    with linked(tower, folder) as link, linked(tower, tmp_path / "copy") as copy:
        link.post(b"the real one")
        with pytest.raises(TowerRefused, match="two hosts") as caught:
            copy.post(b"the copy")
        assert code_of(caught) == "node_cloned"
        assert link.post(b"the real one goes on")
    tower.settle()
    node = enrolled.get_node(tower.kernel.reader(), joined.node_id)
    assert "two hosts" in node.suspected_why
    assert tower.events().count("sync.clone_suspected") == 1


def test_a_rewound_disk_is_found_too(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    tower.join(folder)
    copytree(folder, tmp_path / "backup")
    for _ in range(3):
        with linked(tower, folder) as link:
            link.post(b"x")
    with linked(tower, tmp_path / "backup") as old, pytest.raises(TowerRefused, match="came after") as caught:
        old.post(b"x")
    assert code_of(caught) == "node_cloned"


def test_two_keys_for_the_certificate_after_the_same_one_are_a_copy(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    joined = tower.join(folder)
    tower.clock.forward(days=20)
    copytree(folder, tmp_path / "copy")
    with linked(tower, folder) as link:
        link.renew(tower.entropy)
    with linked(tower, tmp_path / "copy") as ahead:  # more starts than the real one: runs alone do not tell
        pass
    with linked(tower, tmp_path / "copy") as ahead, pytest.raises(TowerRefused) as caught:
        ahead.renew(tower.entropy)
    assert code_of(caught) == "node_cloned"
    tower.settle()
    assert "two keys" in enrolled.get_node(tower.kernel.reader(), joined.node_id).suspected_why


def test_a_key_that_a_crash_left_lying_is_not_asked_for_again(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    tower.join(folder)
    present = ca.key_pem(ca.load_key((folder / "node.pem").read_bytes().partition(b"-----BEGIN CERT")[0]))
    identity_files.write_private(folder / "next-key.pem", present)
    tower.clock.forward(days=20)
    with linked(tower, folder) as link:
        before = link.identity.shown.key_hash
        link.renew(tower.entropy)
        assert link.identity.shown.key_hash != before


def test_starts_are_counted_in_place_so_that_a_full_disk_does_not_stop_a_node(tmp_path: Path) -> None:
    runs = [identity_files.begin_run(tmp_path, bytes) for _ in range(12)]
    assert [run.starts for run in runs] == list(range(1, 13))
    assert (tmp_path / "starts").read_text() == "00000000000000000012\n"
    inode = (tmp_path / "starts").stat().st_ino
    identity_files.begin_run(tmp_path, bytes)
    assert (tmp_path / "starts").stat().st_ino == inode


def test_what_is_known_of_runs_outlives_the_towers_process(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    joined = tower.join(folder)
    copytree(folder, tmp_path / "copy")
    with linked(tower, folder) as link:
        link.post(b"x")
    tower.settle()
    seen = enrolled.seen_nodes(tower.kernel.reader())[joined.node_id]
    assert seen.starts == 2
    assert clone_suspected(Run(seen.starts, seen.run), Run(2, "f" * 16))
    assert clone_suspected(Run(seen.starts, seen.run), Run(1, "f" * 16))
    assert not clone_suspected(Run(seen.starts, seen.run), Run(3, "f" * 16))
    assert not clone_suspected(None, Run(1, "f" * 16))


@contextmanager
def put_back(folder: Path, number: int, *, recovered: bool) -> Iterator[TowerPort]:
    """A tower that was put back to before it renewed one node's certificate and enrolled another node."""
    kernel = Kernel(open_database(str(folder / "tower.db")))
    with served(kernel, folder, number=number) as tower:
        tower.join(folder / "node")
        tower.settle()
        with (
            closing(sqlite3.connect(folder / "tower.db")) as here,
            closing(sqlite3.connect(folder / "copy.db")) as there,
        ):
            here.backup(there)
        tower.clock.forward(days=20)
        with linked(tower, folder / "node") as link:
            link.renew(tower.entropy)
            assert b"next" in link.post(b"next")
        tower.join(folder / "late", tower.code("CLT1"))
    kernel.close()
    kernel = Kernel(open_database(str(folder / "copy.db")))
    kernel.host.instant = START + timedelta(days=21)
    try:
        if recovered:
            recover(kernel.decider)
        with served(kernel, folder, number=number, put_back=True) as tower:
            tower.clock.at = kernel.host.instant
            yield tower
    finally:
        kernel.close()


def test_a_tower_that_was_put_back_takes_up_what_it_gave_out_since(tmp_path: Path) -> None:
    with put_back(tmp_path, 21730, recovered=True) as tower:
        with linked(tower, tmp_path / "node") as link:
            assert b"back" in link.post(b"back")
            assert b"again" in link.post(b"again")
        assert tower.events()[-2:] == ["sync.certificate_recognised", "sync.certificate_taken_up"]
        [node] = enrolled.list_nodes(tower.kernel.reader())
        tower.revoke(node.node_id)
        with linked(tower, tmp_path / "node") as link, pytest.raises(TowerRefused) as caught:
            link.post(b"revoked")
        assert code_of(caught) == "node_cut_off"


@pytest.mark.parametrize(("recovered", "who"), [(True, "late"), (False, "node")])
def test_who_was_enrolled_after_the_copy_or_comes_without_a_recovery_joins_again(
    tmp_path: Path, recovered: bool, who: str
) -> None:
    with (
        put_back(tmp_path, 21731 + recovered, recovered=recovered) as tower,
        linked(tower, tmp_path / who) as link,
        pytest.raises(TowerRefused) as caught,
    ):
        link.post(b"here I am")
    assert code_of(caught) == "certificate_unknown"
