"""Pages: who sees which control, personal data is read on record, and what a form keeps."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path

import pytest
from litestar.testing import TestClient

from coldgrid.kernel.authorize import Principal
from coldgrid.network.change_rules import ApproveChange, DraftChange
from tests.network.master import group, site
from tests.network.served import Client, Served, serving

ADA = {"x-as": "ada"}
OTTO = {"x-as": "otto"}
CSRF = {"_csrf": "token-of-this-session"}


def test_only_who_may_draft_sees_the_ways_to_do_so(client: Client) -> None:
    for path in ("/network", "/network/sites/ATL1", "/catalog/ICE-VAN-1L", "/network/changes"):
        assert "/network/new/" in client.get(path).text or "/network/edit/" in client.get(path).text
        reader = client.get(path, headers=OTTO).text
        assert "/network/new/" not in reader
        assert "/network/edit/" not in reader
    assert client.get("/network/import", headers=OTTO).status_code == 403
    assert client.get("/network/edit/site/ATL1", headers=OTTO).status_code == 403


def test_the_form_of_a_gateway_offers_sites_and_drivers_with_an_example_of_each(client: Client) -> None:
    import_module("coldgrid.adapters.drivers")  # what registers them
    shown = client.get("/network/new/gateway").text
    assert '<select id="f-site_id"' in shown
    assert '<select id="f-driver"' in shown
    for driver in ("lorawan", "modbus", "mqtt", "snmp", "sparkplug"):
        assert f'<option value="{driver}">' in shown
    assert "modbus://10.20.0.7:502" in shown
    assert "ATL1" in shown.partition('id="f-site_id"')[2].partition("</select>")[0]


def test_machines_have_no_pages(client: Client) -> None:
    assert client.get("/network", headers={"x-as": "max"}).status_code == 403
    assert client.get("/api/v1/sites", headers={"x-as": "max"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/network/sites/XXX9",
        "/network/zones/ATL1-FRZ9",
        "/network/changes/nope",
        "/network/edit/site/XXX9",
        "/network/edit/planet/mars",
        "/network/new/planet",
        "/catalog/NONE-1",
    ],
)
def test_what_is_not_there_is_said_on_a_page(client: Client, path: str) -> None:
    answer = client.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_addresses_are_shown_to_who_changes_them_and_the_read_is_on_record(
    served: Served, client: Client
) -> None:
    served.door.notes.clear()
    assert "+14045550110" not in client.get("/network/sites/ATL1").text
    assert served.door.notes == []
    assert "+14045550" in client.get("/network/edit/group/GRP-ATL1").text
    assert served.door.notes == [("dana", "personal", "/network/edit/group/GRP-ATL1")]


def test_who_may_not_approve_a_group_sees_only_that_an_address_changes(
    served: Served, client: Client
) -> None:
    contact = {"person_id": "p-9", "channel": "sms", "address": "+14045550177"}
    item = group("GRP-NEW", steps=[{"after_min": 0, "contacts": [contact]}])
    served.do(DraftChange(change_id="new-group", items=[item], reason="a new team"))
    served.door.notes.clear()
    seen = client.get("/network/changes/new-group", headers=OTTO).text
    assert "sealed" in seen
    assert "+14045550177" not in seen
    assert served.door.notes == []
    assert "+14045550177" in client.get("/network/changes/new-group", headers=ADA).text
    assert served.door.notes == [("ada", "personal", "/network/changes/new-group")]


def test_the_lines_of_a_gateways_map_stay_lines_where_somebody_approves_it(
    served: Served, client: Client
) -> None:
    import_module("coldgrid.adapters.drivers")  # what checks the map
    lines = "topics:\n  - topic: cold/{device}\n    points:\n      - {path: t, unit: C}\n"
    gateway = {"kind": "gateway", "gateway_id": "ATL1-GW1", "site_id": "ATL1", "driver": "mqtt"}
    item = gateway | {"address": "mqtt://127.0.0.1:1883", "map": lines}
    served.do(DraftChange(change_id="gateway", items=[item], reason="a broker"))
    shown = client.get("/network/changes/gateway", headers=ADA).text
    assert "<pre" in shown
    assert lines.strip() in shown


def test_a_stale_draft_says_so(served: Served, client: Client) -> None:
    zone = {"kind": "zone", **client.get("/api/v1/zones/DFW1-FRZ1").json()}
    planner, admin = Principal("dana", frozenset({"planner"})), Principal("ada", frozenset({"admin"}))
    for change_id, name in (("first", "Freezer north"), ("second", "Freezer south")):
        served.do(DraftChange(change_id=change_id, items=[zone | {"name": name}], reason=name), planner)
    served.do(ApproveChange(change_id="second", reason="yes"), admin)
    assert "This draft is stale" in client.get("/network/changes/first", headers=ADA).text
    refused = client.post("/network/changes/first/approve", data=CSRF | {"reason": "yes"}, headers=ADA)
    assert refused.status_code == 409
    assert "draft it again" in refused.text


def test_a_change_of_one_item_lies_open_and_says_what_of_it_changes(served: Served, client: Client) -> None:
    zone = {"kind": "zone", **client.get("/api/v1/zones/DFW1-FRZ1").json(), "name": "Freezer east"}
    planner = Principal("dana", frozenset({"planner"}))
    served.do(DraftChange(change_id="one-item", items=[zone], reason="renamed"), planner)
    text = client.get("/network/changes/one-item").text
    assert "1 item<" in text
    assert '<details class="fold" open>' in text
    assert "→ Freezer east" in text
    assert "Open all on this page" not in text


def test_the_items_of_one_kind_can_be_looked_at_and_beyond_the_last_page_is_the_last(client: Client) -> None:
    zones = client.get("/network/changes/change-demo?kind=zone").text
    assert "<h3>Zone " in zones
    assert "<h3>Site " not in zones
    beyond = client.get("/network/changes/change-demo?first=100000").text
    assert '<details class="fold">' in beyond
    assert client.get("/network/changes/change-demo?first=-7&kind=planet").status_code == 200


def test_a_stale_item_is_named_on_every_page_of_a_long_draft(served: Served, client: Client) -> None:
    planner, admin = Principal("dana", frozenset({"planner"})), Principal("ada", frozenset({"admin"}))
    zone = {"kind": "zone", **client.get("/api/v1/zones/CMH1-FRZ1").json()}
    items = [site(f"N{chr(65 + n // 26)}{chr(65 + n % 26)}1") for n in range(60)] + [
        zone | {"name": "Freezer one"}
    ]
    served.do(DraftChange(change_id="long", items=items, reason="many"), planner)
    served.do(DraftChange(change_id="short", items=[zone | {"name": "Freezer uno"}], reason="one"), planner)
    served.do(ApproveChange(change_id="short", reason="yes"), admin)
    text = client.get("/network/changes/long", headers=ADA).text
    assert "Zone CMH1-FRZ1" not in text, "it is on the second page"
    assert "Another change touched CMH1-FRZ1 since" in text


def test_a_planner_withdraws_what_they_drafted(served: Served, client: Client) -> None:
    zone = {"kind": "zone", **client.get("/api/v1/zones/RNO1-FRZ1").json(), "name": "West"}
    planner = Principal("dana", frozenset({"planner"}))
    served.do(DraftChange(change_id="mistake", items=[zone], reason="oops"), planner)
    assert "/network/changes/mistake/withdraw" in client.get("/network/changes/mistake").text
    done = client.post("/network/changes/mistake/withdraw", data=CSRF | {"reason": "a typing mistake"})
    assert done.status_code == 303
    assert client.get("/api/v1/changes/mistake").json()["change"]["status"] == "rejected"


def test_sending_the_same_form_twice_drafts_one_change(client: Client) -> None:
    zone = client.get("/api/v1/zones/DFW1-FRZ2").json()
    form = CSRF | {name: str(value) for name, value in zone.items() if value is not None}
    form |= {"name": "Deep freeze west", "reason": "renamed", "_key": "form-x"}
    first = client.post("/network/edit/zone/DFW1-FRZ2", data=form)
    again = client.post("/network/edit/zone/DFW1-FRZ2", data=form)
    assert (first.status_code, again.status_code) == (303, 303)
    assert first.headers["location"] == again.headers["location"]


def test_a_form_without_its_token_changes_nothing(client: Client) -> None:
    answer = client.post(
        "/network/sites/ATL1/mode",
        data={"mode": "closed", "reason": "x", "_csrf": "wrong"},
        headers={"x-csrf-token": "wrong"},
    )
    assert answer.status_code == 403
    assert client.get("/api/v1/sites/ATL1").json()["mode"] == "normal"


def test_a_thousand_sites_are_listed_in_a_tenth_of_a_second(served: Served, client: Client) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    codes = [f"{a}{b}Z{n}" for a in letters for b in letters[:4] for n in range(1, 10)]
    codes += [f"QQ{letter}{n}" for letter in letters[:7] for n in range(1, 10)]
    items = [site(code, name=f"Store {code}", site_kind="store") for code in codes]
    assert len(items) + 12 > 1_000
    served.do(DraftChange(change_id="many", items=items, reason="a big network"))
    served.do(ApproveChange(change_id="many", reason="yes"), Principal("ada", frozenset({"admin"})))
    for path in ("/network", "/network?kind=store&q=store", "/network?after=MAZ1", "/api/v1/sites?limit=100"):
        assert min(_seconds(client, path) for _ in range(5)) < 0.1, path


def _seconds(client: Client, path: str) -> float:
    began = time.perf_counter()
    assert client.get(path).status_code == 200
    return time.perf_counter() - began


def test_who_drafts_is_told_who_approves(client: Client) -> None:
    for path in ("/network/new/lane", "/network/import"):
        assert "omebody else approves" in client.get(path).text
        assert "as the only admin" not in client.get(path).text


def test_an_import_that_leaves_nobody_to_page_about_the_network_says_so_and_offers_the_step(
    tmp_path: Path,
) -> None:
    missing, step = "Nobody is paged about the network itself", 'href="/network/new/group"'
    planner, admin = Principal("dana", frozenset({"planner"})), Principal("ada", frozenset({"admin"}))
    with serving(tmp_path) as made, TestClient(made.app) as client:
        assert missing not in client.get("/network/import").text, "there is no site yet"
        made.do(DraftChange(change_id="files", items=[group(), site()], reason="the files"), planner)
        drafted = client.get("/network/changes/files").text
        assert missing in drafted
        assert step in drafted
        assert step not in client.get("/network/changes/files", headers=OTTO).text, "he may not draft it"
        made.do(ApproveChange(change_id="files", reason="checked"), admin)
        for path in ("/network/changes/files", "/network/import"):
            assert missing in client.get(path).text, path
        made.do(DraftChange(change_id="net", items=[group("GRP-NET")], reason="who answers"), planner)
        assert missing not in client.get("/network/changes/net").text, "this draft is what was missing"
        made.do(ApproveChange(change_id="net", reason="checked"), admin)
        for path in ("/network/changes/files", "/network/import"):
            assert missing not in client.get(path).text, path
