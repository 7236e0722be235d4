"""Least privilege, at every address: who is responsible for one site learns nothing of another's goods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.api_tokens import IssueToken
from coldgrid.access.passwords import hash_password
from coldgrid.access.roles import Role
from coldgrid.access.tokens import hash_token
from coldgrid.access.words import AddPerson
from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM, Principal
from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.approvals import waiting_approvals
from coldgrid.orchestration.decisions import list_decisions
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.orchestration.runs import runs_of
from coldgrid.orders.orders import NO_END, Where, list_orders
from coldgrid.quality.excursions import list_excursions
from coldgrid.stock.hold_book import open_holds
from coldgrid.stock.inventory import zone_units
from coldgrid.webkit.hub import may_follow
from coldgrid.webkit.visitors import Visitor
from tests.tower.night import Night, played

Client = TestClient[Litestar]
OTHER, OWN = "ATL1", "RNO1"
PASSWORD = "seven quiet freezers hum"
SPAN = "from_at=2026-01-01T00:00:00Z&to_at=2026-01-02T00:00:00Z"
# What everybody may know: how the network is built, what it sells, who runs its nodes, and a person's own.
OPEN_TO_ALL = re.compile(
    r"/(network($|/changes|/edit|/new|/import)|catalog|nodes($|/)|evidence($|/logs)|health$|metrics|readyz|deciding|static|api$|"
    r"playbooks|people|tokens|account|menu|login|setup|"
    r"api/v1/(sites$|changes|evidence/(checkpoint|logs|keys)|nodes|products$|products/[^/]+(/lots)?$|lots|openapi|gtins))"
)


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    with played() as made:
        yield made


@pytest.fixture(scope="module")
def client(night: Night) -> Iterator[Client]:
    with TestClient(night.app) as made:
        made.follow_redirects = False
        hashed = hash_password(PASSWORD)
        for role in (Role.OPERATOR, Role.SUPERVISOR, Role.AUDITOR):
            person = AddPerson(
                person_id=f"person-{role}",
                name=f"{role} Ortiz",
                login=role,
                roles=[role],
                sites=[OWN],
                password_hash=hashed,
                temporary=False,
            )
            night.tower.service.submit(person, SYSTEM).result(timeout=10)
        token = IssueToken(
            token_id="token-x",
            label="x",
            token_hash=hash_token("cgt_x"),
            roles=[Role.INTEGRATOR],
            sites=[OWN],
        )
        night.tower.service.submit(token, SYSTEM).result(timeout=10)
        yield made


@pytest.fixture(scope="module")
def ids(night: Night) -> dict[str, str]:
    """One of each thing that is ATL1's alone."""

    def look(db: Reader) -> dict[str, str]:
        incident = next(one for one in open_incidents(db) if one.site_id == OTHER)
        unit = zone_units(db, f"{OTHER}-FRZ1", "", 1)[0]
        orders = [
            one for one in list_orders(db, before=NO_END, where=Where(OTHER)) if set(one.sites) == {OTHER}
        ]
        decision = next(one for one in list_decisions(db, limit=1000) if one.origin == OTHER)
        return {
            "site_id": OTHER,
            "zone_id": f"{OTHER}-FRZ1",
            "sensor_id": f"{OTHER}-FRZ1-T1",
            "incident_id": incident.incident_id,
            "run_id": runs_of(db, incident.incident_id)[0].run_id,
            "sscc": unit.sscc,
            "lot_id": unit.lot_id,
            "product_id": unit.product_id,
            "order_id": orders[0].order_id,
            "decision_id": decision.decision.decision_id,
            "approval_id": waiting_approvals(db, None, [OTHER])[0].approval_id,
            "excursion_id": next(o for o in list_excursions(db) if o.site_id == OTHER).excursion_id,
            "hold_id": open_holds(db, OTHER)[0].hold_id,
            "origin": OTHER,
            "kind": "incident",
            "subject_id": incident.incident_id,
            "epoch": "1",
            "part": "facts",
        }

    return night.read(look)


def addresses(app: Litestar, ids: dict[str, str], method: str = "GET") -> list[str]:
    """Every address of a method, with another site's things in it."""
    found = []
    for route in app.routes:
        path = getattr(route, "path_format", route.path)
        if method in getattr(route, "methods", ()):
            names = re.findall(r"{(\w+)(?::\w+)?}", path)
            if all(name in ids for name in names):
                filled = re.sub(r"{(\w+)(?::\w+)?}", lambda match: ids[match[1]], path)
                found.append(
                    filled + ("?" + SPAN if re.search("/(readings|rollup|air|times)$", path) else "")
                )
    return sorted(set(found))


def told(client: Client, path: str) -> Any:
    accept = "application/json" if path.startswith("/api/") else "text/html"
    return client.get(path, headers={"accept": accept})


def sign_in(client: Client, login: str) -> None:
    client.cookies.clear()
    client.headers.pop("authorization", None)
    if login == "token":
        client.headers["authorization"] = "Bearer cgt_x"
        return
    page = client.get("/login").text
    found = re.search(r'name="_csrf" value="([^"]+)"', page)
    assert found
    answer = client.post("/login", data={"_csrf": found.group(1), "login": login, "password": PASSWORD})
    assert answer.status_code == 303, answer.text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("login", ["operator", "supervisor", "auditor", "token"])
def test_no_address_tells_of_another_sites_goods(
    night: Night, client: Client, ids: dict[str, str], login: str
) -> None:
    sign_in(client, login)
    leaks, faults = [], []
    for path in addresses(night.app, ids):
        if OPEN_TO_ALL.match(path) or path.startswith("/stream"):
            continue
        answer = told(client, path)
        if answer.status_code >= 500 and "not_set_up" not in answer.text:
            faults.append((path, answer.status_code, answer.text[:200]))
        text = answer.text.replace(ids["lot_id"], "")  # it is in the question
        if answer.status_code == 200 and OTHER in text:
            at = text.index(OTHER)
            leaks.append((path, text[max(0, at - 60) : at + 60]))
    assert faults == []
    assert leaks == [], "\n".join(f"{path}: …{text}…" for path, text in leaks)


COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("stock.place_hold", {"hold_id": "h-1", "reason": "quality", "note": "x"}),
    ("telemetry.take_out_of_service", {"sensor_id": "ATL1-FRZ1-T1", "reason": "x"}),
    ("orchestration.acknowledge_incident", {}),
    ("stock.pause_zone", {"zone_id": "ATL1-FRZ1"}),
    ("network.change_site_mode", {"mode": "normal", "reason": "x"}),
]


@pytest.mark.timeout(300)
def test_nobody_acts_at_another_site_by_the_api_or_on_its_orders(
    night: Night, client: Client, ids: dict[str, str]
) -> None:
    sign_in(client, "supervisor")
    page = client.get("/account").text
    csrf = re.search(r'name="csrf" content="([^"]+)"', page)
    assert csrf
    headers = {"x-csrf-token": csrf.group(1), "accept": "application/json"}
    before = night.read(log.last_position)
    again = {"order_id": ids["order_id"], "cause_id": "x", "reason": "manual"}
    answer = client.post("/api/v1/commands/orders.source_again", json=again, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")
    for name, body in COMMANDS:
        asked = {"site_id": OTHER, "incident_id": ids["incident_id"]} | body
        answer = client.post(f"/api/v1/commands/{name}", json=asked, headers=headers)
        assert answer.status_code in (403, 404, 422), (name, answer.text)
    for path in addresses(night.app, ids, "POST"):
        if path.startswith("/api/") or not any(known in path for known in ids.values()):
            continue
        form = {"_csrf": csrf.group(1), "text": "x"}
        answer = client.post(path, data=form, headers={"accept": "text/html"})
        assert answer.status_code in (403, 404), (path, answer.status_code)
    assert not [entry for entry in night.read(lambda db: log.read(db, before, 1000)) if OTHER in entry.origin]


def test_a_stream_of_another_sites_topics_stays_silent() -> None:
    visitor = Visitor(principal=Principal("p", frozenset({"operator"}), frozenset({OWN})))
    assert not may_follow(visitor, f"site/{OTHER}")
    assert not may_follow(visitor, f"site/{OTHER}/{OTHER}-FRZ1")
    assert may_follow(visitor, f"site/{OWN}")
