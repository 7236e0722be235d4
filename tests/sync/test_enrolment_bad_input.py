"""What must not get in: strangers, wrong certificates, other towers, garbage, and who only sits there."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from coldgrid.sync import authority as ca
from coldgrid.sync import identity_files
from coldgrid.sync.authority import Identity, make_authority, make_key, tower_uri
from coldgrid.sync.places import Limits
from coldgrid.sync.tls_client import (
    TowerLink,
    TowerRefused,
    TowerUnreachable,
    WrongTower,
    join,
    tower_address,
)
from coldgrid.sync.tls_server import TlsPort, server_context
from coldgrid.sync.trusting import pinned_context
from tests.conftest import sqlite_kernel
from tests.sync.tower import START, TowerPort, refused, served

entropy = Random("strangers").randbytes
HOST = "127.0.0.1"


def ask(tower: TowerPort, chain: Path | None, path: str = "/sync/v1", **more: Any) -> httpx.Response:
    """Send a request with a certificate of one's own choice."""
    context = pinned_context(tower.port.authority.pem, chain)
    headers = {"coldgrid-run": "1-" + "a" * 16} | more.pop("headers", {})
    with httpx.Client(verify=context, trust_env=False, timeout=10) as client:
        return client.post(tower.url + path, headers=headers, **more)


@contextmanager
def counted(reason: str, times: int = 1) -> Iterator[None]:
    before = refused(reason)
    yield
    until = time.monotonic() + 5
    while refused(reason) - before < times and time.monotonic() < until:
        time.sleep(0.01)
    assert refused(reason) - before >= times


def forged(tower: TowerPort, folder: Path, uris: list[str]) -> Path:
    """A certificate that the tower's own authority signed, with names of our choice."""
    key = make_key(entropy)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(tower.port.authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=30))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), critical=False
        )
        .sign(tower.port.authority.key, hashes.SHA256())
    )
    return written(folder, key, certificate)


def written(folder: Path, key: ca.Key, certificate: x509.Certificate) -> Path:
    path = folder / f"{ca.serial_of(certificate)}.pem"
    identity_files.write_private(path, ca.key_pem(key) + ca.pem_of(certificate).encode())
    return path


def code_of(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


# --- Certificates -----------------------------------------------------------------


def test_without_a_certificate_nothing_is_sent_and_the_refusal_says_what_to_do(tower: TowerPort) -> None:
    for path in ("/sync/v1", "/sync/v1/renew"):
        with counted("no_certificate"):
            answer = ask(tower, None, path, content=b"frame")
        assert code_of(answer) == (403, "no_certificate")
        assert "coldgrid node join" in answer.json()["todo"]
    assert tower.post.heard == []


def test_a_certificate_of_another_authority_does_not_pass_the_handshake(
    tower: TowerPort, tmp_path: Path
) -> None:
    theirs = make_authority("cold.example", START, entropy)
    key = make_key(entropy)
    node = Identity("cold.example", "ATL1", "node-a")
    chain = written(tmp_path, key, theirs.sign_node(key.public_key(), node, START, entropy))
    with counted("foreign_certificate"), pytest.raises(httpx.HTTPError):
        ask(tower, chain, content=b"frame")
    assert tower.post.heard == []


def test_a_certificate_that_is_not_in_the_table_is_refused(tower: TowerPort, tmp_path: Path) -> None:
    key = make_key(entropy)
    node = Identity("cold.example", "ATL1", "node-never-enrolled")
    chain = written(tmp_path, key, tower.port.authority.sign_node(key.public_key(), node, START, entropy))
    with counted("certificate_unknown"):
        assert code_of(ask(tower, chain)) == (403, "certificate_unknown")


def test_a_certificate_with_other_names_than_the_table_has_is_refused(
    tower: TowerPort, tmp_path: Path
) -> None:
    joined = tower.join(tmp_path / "node")
    ours = f"spiffe://cold.example/site/ATL1/node/{joined.node_id}"
    cases = {
        ("spiffe://cold.example/site/CLT1/node/" + joined.node_id,): "certificate_unknown",
        (tower_uri("cold.example"),): "no_certificate",
        ("spiffe://other.example/site/ATL1/node/" + joined.node_id,): "no_certificate",
        ("https://cold.example/site/ATL1",): "no_certificate",
        (ours, ours + "2"): "no_certificate",
        (): "no_certificate",
    }
    for uris, code in cases.items():
        assert code_of(ask(tower, forged(tower, tmp_path, list(uris)))) == (403, code), uris
    assert [peer.node_id for peer, _ in tower.post.heard] == []


def test_no_request_counts_that_does_not_name_its_run(tower: TowerPort, tmp_path: Path) -> None:
    tower.join(tmp_path / "node")
    for run in ("", "0-" + "a" * 16, "1", "-1-" + "a" * 16, "9" * 30 + "-" + "a" * 16):
        answer = ask(tower, tmp_path / "node/node.pem", headers={"coldgrid-run": run})
        assert code_of(answer) == (403, "run_not_named")


# --- Other towers -----------------------------------------------------------------


def test_the_secret_is_told_to_the_tower_that_made_the_code_and_to_no_other(
    tower: TowerPort, tmp_path: Path
) -> None:
    with sqlite_kernel() as kernel, served(kernel, tmp_path / "evil") as evil:
        code = tower.code()
        before = refused("code_unknown")
        with pytest.raises(WrongTower, match="nothing was told"):
            join(evil.url, code, tmp_path / "node", START, entropy)
        assert refused("code_unknown") == before
        assert not (tmp_path / "node").exists()
    assert tower.join(tmp_path / "node", code).site_id == "ATL1"


def test_a_node_cannot_pose_as_the_tower(tower: TowerPort, tmp_path: Path) -> None:
    tower.join(tmp_path / "node")
    tower.join(tmp_path / "spy", tower.code("CLT1"))
    pem = tower.port.authority.pem
    context = server_context(pem, tmp_path / "spy/node.pem")
    posing = TlsPort(tower.port.app, (HOST, 0), context, tower.clock.now)
    posing.start()
    try:
        with pytest.raises(httpx.ConnectError, match=r"(?i)purpose|certificate"):
            httpx.get(f"https://{HOST}:{posing.address[1]}/sync/v1/authority", verify=pinned_context(pem))
    finally:
        posing.stop()


def test_another_tower_in_the_same_place_is_not_talked_to(tower: TowerPort, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    tower.join(folder)
    with sqlite_kernel() as kernel, served(kernel, tmp_path / "evil") as evil:
        moved = (folder / "tower.json").read_text().replace(tower.url, evil.url)
        (folder / "tower.json").write_text(moved)
        link = TowerLink(folder, identity_files.begin_run(folder, entropy))
        with link, pytest.raises(TowerUnreachable, match=r"(?i)certificate"):
            link.post(b"frame")
        assert evil.post.heard == []


@pytest.mark.parametrize(
    "url", ["http://t:1", "https://", "https://t:99999", "https://t/path", "ftp://t", ""]
)
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ValueError, match="looks like"):
        tower_address(url)


def test_an_address_may_be_written_short() -> None:
    assert tower_address("tower.example:8443") == "https://tower.example:8443"
    assert tower_address("https://[::1]:8443/") == "https://[::1]:8443"


# --- Garbage ----------------------------------------------------------------------


def raw(tower: TowerPort) -> socket.socket:
    return socket.create_connection((HOST, tower.port.server.address[1]), timeout=30)


def secured(tower: TowerPort) -> ssl.SSLSocket:
    return pinned_context(tower.port.authority.pem).wrap_socket(raw(tower))


def to_the_end(sock: socket.socket) -> bytes:
    told = b""
    while True:
        try:
            data = sock.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            return told
        if not data:
            return told
        told += data


def test_plain_http_is_told_that_this_is_tls(tower: TowerPort) -> None:
    with counted("not_tls"), raw(tower) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"400 Bad Request" in (told := to_the_end(sock))
        assert b"speaks TLS" in told


def test_garbage_is_dropped_and_counted_and_the_port_goes_on(tower: TowerPort, tmp_path: Path) -> None:
    random = Random(4)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    pieces = [b"", b"\x00", b"\x16", hello, hello + random.randbytes(600), b"\x16" + random.randbytes(3_000)]
    pieces += [random.randbytes(random.randrange(1, 500)) for _ in range(40)]
    for piece in pieces:
        with raw(tower) as sock:
            sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
            to_the_end(sock)
    assert tower.join(tmp_path / "node").site_id == "ATL1"


def test_an_old_protocol_is_refused(tower: TowerPort) -> None:
    context = pinned_context(tower.port.authority.pem)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with counted("bad_handshake"), raw(tower) as sock, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(sock)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"POST /sync/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /sync/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000,
    ],
)
def test_what_is_no_http_inside_tls_is_refused(tower: TowerPort, request_: bytes) -> None:
    with counted("not_http"), secured(tower) as sock:
        sock.sendall(request_)
        assert to_the_end(sock).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/sync/v1/enrol", b"", 422, "invalid"),
        ("/sync/v1/enrol", b"[" * 5_000, 422, "invalid"),
        ("/sync/v1/enrol", b'{"secret": "\xff"}', 422, "invalid"),
        ("/sync/v1/enrol", b'{"secret": 1, "request": [], "more": 2}', 422, "invalid"),
        ("/sync/v1/enrol", b'{"secret": "x", "request": "y"}', 422, "invalid"),
        ("/sync/v1/enrol", b" " * 20_000, 413, "body_too_large"),
        ("/sync/v1/nothing", b"", 404, "no_such_place"),
        ("/sync/v1/authority", b"", 405, "method_not_allowed"),
        ("/%ff/../etc/passwd", b"", 404, "no_such_place"),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(
    tower: TowerPort, path: str, body: bytes, status: int, code: str
) -> None:
    with counted(code):
        assert code_of(ask(tower, None, path, content=body)) == (status, code)


def test_a_frame_that_is_too_long_is_refused_and_a_fault_of_ours_is_ours(
    tower: TowerPort, tmp_path: Path
) -> None:
    tower.join(tmp_path / "node")
    with TowerLink(tmp_path / "node", identity_files.begin_run(tmp_path / "node", entropy)) as link:
        with pytest.raises(TowerRefused) as caught:
            link.post(b"fault")
        assert (caught.value.status, caught.value.code) == (500, "request_failed")
        with pytest.raises((TowerRefused, TowerUnreachable)):
            link.post(bytes(5 * 1024 * 1024))
        assert link.post(bytes(3 * 1024 * 1024)).endswith(bytes(100))


# --- Sitting there ----------------------------------------------------------------


def test_who_says_nothing_or_little_loses_its_place(tower: TowerPort, tmp_path: Path) -> None:
    with counted("slow_handshake"), raw(tower) as sock:
        assert to_the_end(sock) == b""
    with counted("slow_handshake"), raw(tower) as sock:
        sock.sendall(b"\x16\x03\x01")
        assert to_the_end(sock) == b""
    with counted("slow_head"), secured(tower) as sock:
        assert b"408" in to_the_end(sock)


def test_a_head_or_a_body_that_drips_is_cut_off(tower: TowerPort) -> None:
    for start, reason in ((b"GET / HTTP/1.1\r\n", "slow_head"), (_HALF_A_BODY, "slow_body")):
        with counted(reason), secured(tower) as sock:
            sock.sendall(start)
            assert _drips_for_s(sock) < 6


def _drips_for_s(sock: socket.socket) -> float:
    began_s = time.monotonic()
    while (lasted_s := time.monotonic() - began_s) < 8:
        time.sleep(0.1)
        try:
            sock.sendall(b"x")
        except (OSError, ssl.SSLError):
            break
    return lasted_s


_HALF_A_BODY = b"POST /sync/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n"


def test_one_address_cannot_take_all_places_and_a_node_gets_in_when_they_are_free_again(
    tmp_path: Path,
) -> None:
    limits = Limits(handshake_s=1.0, handshakes_per_address=8)
    with sqlite_kernel() as kernel, served(kernel, tmp_path, limits) as tower:
        with counted("too_many", 10):
            sitting = [raw(tower) for _ in range(40)]
        for sock in sitting:
            sock.close()
        time.sleep(0.3)
        assert tower.join(tmp_path / "node").site_id == "ATL1"


def test_strangers_and_a_node_gone_wrong_leave_places_for_others(tmp_path: Path) -> None:
    limits = Limits(strangers_per_address=4, per_node=3, stranger_idle_s=0.5)
    with sqlite_kernel() as kernel, served(kernel, tmp_path, limits) as tower:
        tower.join(tmp_path / "node")
        tower.join(tmp_path / "other", tower.code("CLT1"))
        with counted("too_many", 4):
            strangers = [secured(tower) for _ in range(8)]
        _close_all(strangers)
        greedy = pinned_context(tower.port.authority.pem, tmp_path / "node/node.pem")
        with counted("too_many", 2):
            held = [greedy.wrap_socket(raw(tower)) for _ in range(5)]
        other = TowerLink(tmp_path / "other", identity_files.begin_run(tmp_path / "other", entropy))
        with other:
            assert other.post(b"x").endswith(b"x")
        _close_all(held)
        with secured(tower) as sock:  # a stranger's connection ends soon after its answer
            sock.sendall(b"GET /sync/v1/authority HTTP/1.1\r\nHost: x\r\n\r\n")
            began_s = time.monotonic()
            assert b"200 OK" in to_the_end(sock)
            assert time.monotonic() - began_s < 4


def _close_all(socks: list[ssl.SSLSocket]) -> None:
    for sock in socks:
        sock.close()
    time.sleep(0.3)


def test_a_flood_slows_its_address_down_and_does_not_lock_a_node_out(
    tower: TowerPort, tmp_path: Path
) -> None:
    tower.join(tmp_path / "node")
    for _ in range(120):
        with raw(tower) as sock:
            sock.sendall(b"\x00")
            to_the_end(sock)
    assert tower.port.server.refusals.slows(HOST)
    with TowerLink(tmp_path / "node", identity_files.begin_run(tmp_path / "node", entropy)) as link:
        began_s = time.monotonic()
        assert link.post(b"through").endswith(b"through")
        assert time.monotonic() - began_s > 0.2
