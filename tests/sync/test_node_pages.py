"""Pages and API about nodes: codes shown once, states told, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldgrid.sync.codes import parse_code
from coldgrid.sync.gate import REGISTRAR
from coldgrid.sync.identity_files import begin_run
from coldgrid.sync.node_words import ReportClone
from coldgrid.sync.tls_client import TowerLink
from tests.sync.office import CSRF, Client, app_of, office
from tests.sync.tower import TowerPort

PAGE = {"accept": "text/html"}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[TowerPort, Client]]:
    with office(tmp_path) as (tower, app), Client(app) as client:
        client.headers.update(PAGE)
        client.follow_redirects = False
        yield tower, client


def form(**fields: str) -> dict[str, str]:
    return {"_csrf": CSRF, **fields}


def test_a_code_is_shown_once_with_the_command_to_type(
    shop: tuple[TowerPort, Client], tmp_path: Path
) -> None:
    tower, client = shop
    assert "No node yet" in client.get("/nodes").text
    made = client.post("/nodes", data=form(site_id="ATL1")).text
    typed = re.search(r"coldgrid node join (\S+) --code ([\w-]+)<", made)
    assert typed is not None
    assert typed[1] == tower.url
    assert parse_code(typed[2]).names(tower.port.authority.fingerprint)
    again = client.get("/nodes").text
    assert typed[2] not in again
    assert "Open codes" in again
    joined = tower.join(tmp_path / "node", typed[2])
    listed = client.get("/nodes").text
    assert joined.node_id in listed
    assert "Enrolled" in listed
    assert "Open codes" not in listed
    assert "Forest Park DC" in listed


def test_a_code_for_no_site_comes_back_with_the_form(shop: tuple[TowerPort, Client]) -> None:
    _, client = shop
    refused = client.post("/nodes", data=form(site_id="NOWHERE"))
    assert refused.status_code == 404
    assert 'role="alert"' in refused.text
    assert "--code" not in refused.text


def test_a_code_is_taken_back(shop: tuple[TowerPort, Client]) -> None:
    tower, client = shop
    client.post("/nodes", data=form(site_id="ATL1"))
    where = re.search(r"/nodes/codes/([\w-]+)/withdraw", client.get("/nodes").text)
    assert where is not None
    assert client.post(where[0], data=form()).status_code == 303
    assert "Open codes" not in client.get("/nodes").text
    assert tower.events() == ["sync.code_issued", "sync.code_withdrawn"]


def test_a_node_is_revoked_with_a_reason(shop: tuple[TowerPort, Client], tmp_path: Path) -> None:
    tower, client = shop
    joined = tower.join(tmp_path / "node")
    address = f"/nodes/{joined.node_id}"
    tower.settle()  # that it was used is noted behind the answer
    assert "In use" in client.get(address).text
    missing = client.post(f"{address}/revoke", data=form(reason=""))
    assert missing.status_code == 422
    assert "Needs 1 to 500" in missing.text
    assert client.post(f"{address}/revoke", data=form(reason="stolen from the office")).status_code == 303
    told = client.get(address).text
    assert "stolen from the office" in told
    assert "Revoke this node" not in told
    assert "Revoked" in client.get("/nodes").text


def test_a_node_is_brought_back_by_a_code_of_its_own(shop: tuple[TowerPort, Client], tmp_path: Path) -> None:
    tower, client = shop
    joined = tower.join(tmp_path / "node")
    tower.clock.forward(days=200)
    assert "Needs a new code" in client.get("/nodes").text
    made = client.post(f"/nodes/{joined.node_id}/code", data=form()).text
    typed = re.search(r"--code ([\w-]+)<", made)
    assert typed is not None
    assert tower.join(tmp_path / "node", typed[1]).node_id == joined.node_id
    assert "Needs a new code" not in client.get("/nodes").text


def test_a_copy_is_told_on_both_pages(shop: tuple[TowerPort, Client], tmp_path: Path) -> None:

    tower, client = shop
    joined = tower.join(tmp_path / "node")
    why = "two hosts are both at start 2 of this node"
    tower.do(ReportClone(node_id=joined.node_id, serial="7", why=why, at=tower.clock.at), REGISTRAR)
    assert why in client.get("/nodes").text
    assert "Two hosts act as this node" in client.get(f"/nodes/{joined.node_id}").text


def test_who_may_not_sees_no_button_and_does_nothing(shop: tuple[TowerPort, Client], tmp_path: Path) -> None:
    tower, client = shop
    joined = tower.join(tmp_path / "node")
    for who in ("otto", "aud"):
        page = client.get("/nodes", headers={"x-as": who})
        assert page.status_code == 200
        assert "Make a code" not in page.text
        assert client.post("/nodes", data=form(site_id="ATL1"), headers={"x-as": who}).status_code == 403
        refused = client.post(f"/nodes/{joined.node_id}/revoke", data=form(reason="x"), headers={"x-as": who})
        assert refused.status_code == 403
    assert client.post("/nodes", data={"site_id": "ATL1"}).status_code == 403


def test_the_api_issues_lists_and_revokes(shop: tuple[TowerPort, Client], tmp_path: Path) -> None:
    tower, client = shop
    csrf = {"x-csrf-token": CSRF, "accept": "application/json"}
    given = client.post("/api/v1/nodes/codes", json={"site_id": "ATL1"}, headers=csrf)
    assert given.headers["cache-control"] == "no-store"
    joined = tower.join(tmp_path / "node", given.json()["code"])
    (listed,) = client.get("/api/v1/nodes").json()
    assert (listed["node_id"], listed["site_id"], listed["state"]) == (joined.node_id, "ATL1", "enrolled")
    assert listed["heard_at"] is not None
    path = f"/api/v1/nodes/{joined.node_id}"
    refused = client.post(f"{path}/revoke", json={"reason": "x"}, headers={"x-as": "max"})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    assert client.post(f"{path}/revoke", json={"reason": "sold"}, headers=csrf).status_code == 200
    assert client.get(path).json()["state"] == "revoked"
    assert client.get("/api/v1/nodes/none").status_code == 404
    for body in (b"", b"[]", b'{"site_id": 1}', b'{"site_id": "ATL1", "more": 1}', b"\xff"):
        answer = client.post(
            "/api/v1/nodes/codes", content=body, headers=csrf | {"content-type": "application/json"}
        )
        assert answer.status_code == 422
    assert (
        client.post(
            "/api/v1/nodes/codes", content=b"x=1", headers=csrf | {"content-type": "text/csv"}
        ).status_code
        == 415
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at", "9999-12-31T23:59:59Z"),
        ("at", "0001-01-01T00:00:00Z"),
        ("at", "2026-03-01T08:00:00"),
        ("secret_hash", "secret"),
        ("code_id", "../.."),
        ("code_id", ""),
    ],
)
def test_a_code_that_makes_no_sense_is_refused_with_the_field(
    shop: tuple[TowerPort, Client], field: str, value: str
) -> None:
    body = {"code_id": "code-1", "site_id": "ATL1", "secret_hash": "ab" * 32, "at": "2026-03-01T08:00:00Z"}
    answer = shop[1].post(
        "/api/v1/commands/sync.issue_code", json=body | {field: value}, headers={"x-csrf-token": CSRF}
    )
    assert answer.status_code == 422
    assert field in answer.text


def test_a_tower_without_the_port_says_so(tower: TowerPort) -> None:
    with Client(app_of(tower, with_port=False)) as client:
        client.headers.update(PAGE)
        assert "Make a code" not in client.get("/nodes").text
        asked = client.post(
            "/api/v1/nodes/codes",
            json={"site_id": "ATL1"},
            headers={"x-csrf-token": CSRF, "accept": "application/json"},
        )
        assert (asked.status_code, asked.json()["code"]) == (409, "no_port")


def test_the_command_names_an_address_that_leads_here(shop: tuple[TowerPort, Client]) -> None:
    tower, _ = shop
    port = tower.port.server.address[1]
    assert tower.port.url_for("tower.example") == f"https://127.0.0.1:{port}"
    tower.port.server.address = ("0.0.0.0", 8443)
    assert tower.port.url_for("tower.example") == "https://tower.example:8443"
    assert tower.port.url_for("2001:db8::1") == "https://[2001:db8::1]:8443"
    tower.port.server.address = ("127.0.0.1", port)


def test_a_network_of_many_nodes_fits_the_page(shop: tuple[TowerPort, Client], tmp_path: Path) -> None:
    tower, client = shop
    for number in range(12):
        tower.join(tmp_path / f"n{number}", tower.code("CLT1" if number % 2 else "ATL1"))
    assert client.get("/nodes").text.count("Enrolled</span>") == 12


def test_a_replaced_authority_is_told_with_the_nodes_that_have_not_gone_over(
    shop: tuple[TowerPort, Client], tmp_path: Path
) -> None:
    tower, client = shop
    joined = tower.join(tmp_path / "node")
    assert "The authority was replaced" not in client.get("/nodes").text
    tower.port.replace_authority()
    told = client.get("/nodes").text
    assert "The authority was replaced" in told
    assert "1 node has not gone over yet" in told
    assert f'<a href="/nodes/{joined.node_id}">ATL1 · {joined.node_id}</a>' in told
    with TowerLink(tmp_path / "node", begin_run(tmp_path / "node", tower.entropy)) as link:
        link.renew(tower.entropy)
        link.standing()
    tower.settle()
    assert "Every node has gone over" in client.get("/nodes").text
    tower.port.end_authority()
    assert "The authority was replaced" not in client.get("/nodes").text
