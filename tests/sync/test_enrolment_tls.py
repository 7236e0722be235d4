"""Joining, talking and renewing over real TLS sockets, and everything that must not get in."""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from coldgrid.evidence.notes import Signer
from coldgrid.sync import authority as ca
from coldgrid.sync import enrolled, identity_files, node_port
from coldgrid.sync.codes import BadCode
from coldgrid.sync.enrolment import latest_codes
from coldgrid.sync.gate import Means
from coldgrid.sync.node_port import NodePort
from coldgrid.sync.node_words import WithdrawCode
from coldgrid.sync.tls_client import Joined, TowerLink, TowerRefused, join
from tests.sync.tower import TOWER_KEY, TowerPort, refused

NODE_KEY = Signer("ATL1.node", bytes(range(32))).key.encode()


def test_a_code_and_one_call_make_a_node_that_the_tower_knows(
    either_tower: TowerPort, tmp_path: Path
) -> None:
    tower = either_tower
    joined = tower.join(tmp_path / "node", signing_keys=[NODE_KEY])
    assert (joined.network, joined.site_id) == ("cold.example", "ATL1")
    assert joined.signing_keys == [TOWER_KEY]
    with TowerLink(tmp_path / "node", identity_files.begin_run(tmp_path / "node", tower.entropy)) as link:
        assert link.post(b"hello") == f"ATL1 {joined.node_id} hello".encode()
        standing = link.standing()
    assert standing == {"site_id": "ATL1", "node_id": joined.node_id, "serial": link.identity.shown.serial}
    assert tower.events() == ["sync.code_issued", "sync.node_enrolled", "sync.certificate_taken_up"]
    node = enrolled.get_node(tower.kernel.reader(), joined.node_id)
    assert node.signing_keys == [NODE_KEY]
    tower.settle()
    tower.kernel.rebuild()


def test_the_key_stays_in_its_folder_and_nobody_else_reads_it(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    tower.join(folder)
    key = identity_files.read_private(folder / "node.pem").partition(b"-----BEGIN CERTIFICATE-----")[0]
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    told = b"".join(msgspec.json.encode(event) for _, event in tower.kernel.events())
    assert b"PRIVATE" in key
    assert b"PRIVATE" not in told


def test_a_file_that_others_may_read_is_refused(tower: TowerPort, tmp_path: Path) -> None:
    tower.join(tmp_path / "node")
    (tmp_path / "node/node.pem").chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        identity_files.open_identity(tmp_path / "node")


def test_a_code_works_once_for_one_key(tower: TowerPort, tmp_path: Path) -> None:
    code = tower.code()
    joined = tower.join(tmp_path / "one", code)
    with pytest.raises(TowerRefused, match="used already") as caught:
        tower.join(tmp_path / "two", code)
    assert caught.value.code == "code_used"
    # An answer that was lost is asked for again with the same key, and is the same.
    again = _lose_the_answer(tower, tmp_path / "three")
    assert again.node_id != joined.node_id


def _lose_the_answer(tower: TowerPort, folder: Path) -> Joined:
    code = tower.code()
    key = identity_files.next_key(folder, tower.entropy)
    first = tower.join(folder, code)
    serial = identity_files.open_identity(folder).shown.serial
    for name in ("node.pem", "tower.json"):
        (folder / name).unlink()
    identity_files.write_private(folder / "next-key.pem", ca.key_pem(key))
    second = tower.join(folder, code)
    assert second.node_id == first.node_id
    assert identity_files.open_identity(folder).shown.serial == serial
    return second


def test_joining_again_with_the_code_of_this_very_node_changes_nothing(
    tower: TowerPort, tmp_path: Path
) -> None:
    code = tower.code()
    first = tower.join(tmp_path / "node", code)
    chain = (tmp_path / "node/node.pem").read_bytes()
    tower.clock.forward(hours=2)
    assert tower.join(tmp_path / "node", code) == first
    assert (tmp_path / "node/node.pem").read_bytes() == chain
    again = tower.join(tmp_path / "node", tower.code(node_id=first.node_id))
    assert again.node_id == first.node_id
    assert (tmp_path / "node/node.pem").read_bytes() != chain


def test_a_code_ends_after_an_hour(tower: TowerPort, tmp_path: Path) -> None:
    code = tower.code()
    tower.clock.forward(minutes=60)
    with pytest.raises(TowerRefused) as caught:
        tower.join(tmp_path / "node", code)
    assert caught.value.code == "code_expired"


def test_two_that_come_at_once_with_one_code_are_one_node(tower: TowerPort, tmp_path: Path) -> None:
    code = tower.code()

    def attempt(number: int) -> str:
        try:
            return tower.join(tmp_path / f"n{number}", code).node_id
        except TowerRefused as refusal:
            return refusal.code

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(attempt, range(8)))
    assert outcomes[:7] == ["code_used"] * 7
    assert outcomes[7].startswith("node-")


def test_a_wrong_code_is_counted_and_an_address_that_tries_many_waits(
    tower: TowerPort, tmp_path: Path
) -> None:
    before = refused("code_unknown")
    for _ in range(10):
        with pytest.raises(TowerRefused) as caught:
            tower.join(tmp_path / "node", tower.port.draw_code().encode())
        assert caught.value.code == "code_unknown"
    assert refused("code_unknown") - before == 10
    with pytest.raises(TowerRefused) as caught:
        tower.join(tmp_path / "node")
    assert (caught.value.code, caught.value.status) == ("too_many", 429)
    tower.clock.forward(minutes=16)
    assert tower.join(tmp_path / "node").site_id == "ATL1"


def test_a_code_that_was_taken_back_lets_nobody_in(tower: TowerPort, tmp_path: Path) -> None:
    code = tower.code()
    issued = latest_codes(tower.kernel.reader())[0]
    tower.do(WithdrawCode(code_id=issued.code_id, reason="sent to the wrong person"))
    with pytest.raises(TowerRefused) as caught:
        tower.join(tmp_path / "node", code)
    assert caught.value.code == "code_taken_back"


def test_a_typing_error_costs_no_attempt(tower: TowerPort, tmp_path: Path) -> None:
    code = tower.code()
    wrong = ("1" if code[0] != "1" else "2") + code[1:]
    with pytest.raises(BadCode, match="wrong"):
        join("https://127.0.0.1:1", wrong, tmp_path / "node", tower.clock.at, tower.entropy)


def test_a_poll_is_answered_on_news_and_for_good_when_its_time_is_over(
    tower: TowerPort, tmp_path: Path
) -> None:
    tower.join(tmp_path / "node")
    with TowerLink(tmp_path / "node", identity_files.begin_run(tmp_path / "node", tower.entropy)) as link:
        assert link.post(b"hold shortly").endswith(b"hold shortly")
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(link.post, b"hold on")
            while not any(frame == b"hold on" for _, frame in tower.post.heard):
                time.sleep(0.01)
            tower.post.news.set()
            tower.port.app.heard_news("*")
            assert held.result(timeout=5).endswith(b"hold on")


def test_a_tower_that_lost_its_authority_says_so_and_its_nodes_do_not_trust_the_new_one(
    tower: TowerPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(node_port.logger, "error", lambda event, **facts: told.append(f"{event} {facts}"))
    tower.join(tmp_path / "node")
    lost = msgspec.structs.replace(tower.port.settings, authority=tmp_path / "elsewhere/authority.pem")
    reader, submit = tower.port.gate.reader, tower.port.gate.submit
    anew = NodePort(lost, Means(reader, submit, tower.clock.now, tower.entropy))
    assert ["authority_made_anew" in line and "1" in line for line in told] == [True]
    assert anew.authority.fingerprint != tower.port.authority.fingerprint
    again = NodePort(lost, Means(reader, submit, tower.clock.now, tower.entropy))
    assert again.authority.fingerprint == anew.authority.fingerprint


def test_an_authority_of_another_network_is_not_used(tower: TowerPort) -> None:
    other = msgspec.structs.replace(tower.port.settings, network="warm.example")
    means = Means(tower.port.gate.reader, tower.port.gate.submit, tower.clock.now, tower.entropy)
    with pytest.raises(ca.BadCertificate, match=r"not of .warm\.example."):
        NodePort(other, means)


def test_the_towers_own_certificate_is_renewed_under_way(tower: TowerPort, tmp_path: Path) -> None:
    tower.join(tmp_path / "node")
    assert tower.port.tend() == "tower's certificate is good"
    tower.clock.forward(days=21)
    assert tower.port.tend() == "tower's certificate renewed"
    with TowerLink(tmp_path / "node", identity_files.begin_run(tmp_path / "node", tower.entropy)) as link:
        assert link.post(b"x").endswith(b"x")
