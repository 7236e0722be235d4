"""The JSON API: what it tells, and that bad input gets a precise refusal and leaves nothing behind."""

from __future__ import annotations

import msgspec
import pytest

from coldgrid.kernel import log
from tests.network.master import zone
from tests.network.served import Client, Served

ADA = {"x-as": "ada"}


def recorded(served: Served) -> int:
    """How many facts there are."""
    with served.reader() as db:
        return len(list(log.read_all(db)))


class TestReading:
    def test_sites_are_listed_page_by_page(self, client: Client) -> None:
        first = client.get("/api/v1/sites?limit=5").json()
        assert [site["site_id"] for site in first] == ["ATL1", "CLT1", "CMH1", "DEN1", "DFW1"]
        rest = client.get("/api/v1/sites?after=DFW1").json()
        assert len(rest) == 7

    def test_a_site_with_its_zones_lanes_and_who_is_on_duty(self, client: Client) -> None:
        site = client.get("/api/v1/sites/ATL1").json()
        assert (site["kind"], site["mode"], site["capacity"]["frozen"]) == ("dc", "normal", 420)
        zones = client.get("/api/v1/sites/ATL1/zones").json()
        assert [found["zone_id"] for found in zones][-2:] == ["ATL1-FRZ1", "ATL1-FRZ2"]
        lanes = client.get("/api/v1/sites/ATL1/lanes").json()
        assert {"ATL1-CLT1", "CLT1-ATL1"} <= {lane["lane_id"] for lane in lanes}
        duty = client.get("/api/v1/sites/ATL1/duty?at=2026-11-20T07:00:00Z").json()
        assert {found["rota"] for found in duty} == {"keyholder", "backup", "duty-manager"}
        assert "address" not in str(duty)

    def test_a_zone_with_its_locations(self, client: Client) -> None:
        assert client.get("/api/v1/zones/ATL1-FRZ1").json()["setpoint_c"] == -25
        locations = client.get("/api/v1/zones/ATL1-FRZ1/locations").json()
        assert locations[0] == {
            "location_id": "ATL1-FRZ1-A01-01",
            "zone_id": "ATL1-FRZ1",
            "site_id": "ATL1",
            "location_kind": "bulk",
            "active": True,
        }

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("/api/v1/sites/XXX9", 404, "site_not_found"),
            ("/api/v1/sites/XXX9/zones", 404, "site_not_found"),
            ("/api/v1/sites/XXX9/lanes", 404, "site_not_found"),
            ("/api/v1/sites/XXX9/duty", 404, "site_not_found"),
            ("/api/v1/zones/ATL1-FRZ9", 404, "zone_not_found"),
            ("/api/v1/zones/ATL1-FRZ9/locations", 404, "zone_not_found"),
            ("/api/v1/changes/nope", 404, "change_not_found"),
            ("/api/v1/sites?limit=0", 400, "malformed"),
            ("/api/v1/sites?limit=many", 400, "malformed"),
            ("/api/v1/changes?status=lost", 400, "malformed"),
            ("/api/v1/sites/ATL1/duty?at=tonight", 400, "malformed"),
            ("/api/v1/sites/ATL1/duty?at=2026-11-20T07:00:00", 422, "invalid"),
        ],
    )
    def test_what_is_not_there_or_cannot_be_read_is_refused(
        self, client: Client, path: str, status: int, code: str
    ) -> None:
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"].startswith("application/problem+json")

    def test_the_kinds_of_items_are_described_as_json_schema(self, client: Client) -> None:
        described = client.get("/api/v1/changes/kinds").json()
        assert {"site", "zone", "location", "lane", "group", "product", "limit"} <= set(described["kinds"])
        assert described["$defs"]["Zone"]["properties"]["lag_min"]["exclusiveMinimum"] == 0


class TestChanges:
    def test_drafted_by_one_and_approved_by_another(self, client: Client) -> None:
        item = client.get("/api/v1/zones/ATL1-FRZ1").json() | {"kind": "zone", "setpoint_c": -26}
        body = {"change_id": "colder", "items": [item], "reason": "summer"}
        answer = client.post("/api/v1/changes", json=body)
        assert (answer.status_code, answer.json()["result"]["items"]) == (200, 1)
        assert client.get("/api/v1/zones/ATL1-FRZ1").json()["setpoint_c"] == -25
        reason = {"reason": "checked"}
        refused = client.post("/api/v1/changes/colder/approve", json=reason)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
        assert client.post("/api/v1/changes/colder/approve", json=reason, headers=ADA).status_code == 200
        assert client.get("/api/v1/zones/ATL1-FRZ1").json()["setpoint_c"] == -26
        detail = client.get("/api/v1/changes/colder").json()
        assert (detail["change"]["decided_by"], detail["items"][0]["base"]) == ("ada", "change-demo")

    def test_an_admin_who_drafted_it_does_not_approve_it(self, client: Client) -> None:
        item = client.get("/api/v1/zones/ATL1-FRZ1").json() | {"kind": "zone", "setpoint_c": -27}
        body = {"change_id": "colder-still", "items": [item], "reason": "summer"}
        client.post("/api/v1/changes", json=body, headers=ADA)
        refused = client.post("/api/v1/changes/colder-still/approve", json={"reason": "mine"}, headers=ADA)
        assert (refused.status_code, refused.json()["code"]) == (403, "approver_drafted")

    def test_the_same_request_again_is_answered_the_same(self, client: Client) -> None:
        body = {"change_id": "new-zone", "items": [zone("ATL1-FRZ3")], "reason": "more ice cream"}
        key = {"idempotency-key": "k-1"}
        first = client.post("/api/v1/changes", json=body, headers=key).json()
        again = client.post("/api/v1/changes", json=body, headers=key).json()
        assert (again["replayed"], again["position"]) == (True, first["position"])

    def test_a_site_s_mode_is_changed_by_who_runs_it(self, client: Client) -> None:
        body = {"mode": "closed", "reason": "snow"}
        assert client.post("/api/v1/sites/ATL1/mode", json=body, headers={"x-as": "otto"}).status_code == 403
        sue = {"x-as": "sue"}  # runs ATL1
        refused = client.post("/api/v1/sites/CLT1/mode", json=body, headers=sue)
        assert (refused.status_code, refused.json()["code"]) == (403, "other_site")
        ships = {"mode": "ship_only", "reason": "a dock is blocked"}
        assert client.post("/api/v1/sites/ATL1/mode", json=ships, headers=sue).status_code == 200
        assert client.post("/api/v1/sites/ATL1/mode", json=body).status_code == 200
        assert client.get("/api/v1/sites/ATL1").json()["mode"] == "closed"
        assert client.post("/api/v1/sites/ATL1/mode", json=body).status_code == 409


GOOD = {"change_id": "c", "items": [zone("ATL1-FRZ3")], "reason": "why"}
DEEP = b'{"change_id":"c","reason":"r","items":[{"kind":"zone","name":' + b"[" * 5_000 + b"]" * 5_000 + b"}]}"


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "status", "field"),
        [
            (b"", 422, "body"),
            (b"{", 422, "body"),
            (b"[]", 422, "body"),
            (b"\xff\xfe{}", 422, "body"),
            (DEEP, 422, "body"),
            (b'{"change_id":"c","reason":"r","items":[{"kind":"zone","setpoint_c":NaN}]}', 422, "body"),
            (b'{"change_id":"c","reason":"r","items":[{"kind":"zone","setpoint_c":1e999}]}', 422, "body"),
            (b'{"change_id":"c","reason":"r","items":[]}', 422, "items"),
            (b'{"change_id":"c","reason":"r","items":[1]}', 422, "items[0]"),
            (b'{"change_id":"c d","reason":"r","items":[{}]}', 422, "change_id"),
            (b'{"change_id":"c","reason":"","items":[{}]}', 422, "reason"),
            (b'{"change_id":"c","reason":"r","items":[{}],"force":true}', 422, "force"),
            (msgspec.json.encode(GOOD | {"items": [zone("ATL1-FRZ3", lag_min=-1)]}), 422, "items[0].lag_min"),
            (
                msgspec.json.encode(GOOD | {"items": [zone("ATL1-FRZ3", low_c="-13 F")]}),
                422,
                "items[0].low_c",
            ),
            (msgspec.json.encode(GOOD | {"items": [zone("ATL1-FRZ3", high_c=0)]}), 422, "items[0].high_c"),
            (msgspec.json.encode(GOOD | {"items": [zone("ATL1-FRZ3")] * 5_001}), 422, "items"),
        ],
    )
    def test_a_bad_change_is_refused_with_the_field_and_leaves_nothing(
        self, served: Served, client: Client, body: bytes, status: int, field: str
    ) -> None:
        before = recorded(served)
        headers = {"content-type": "application/json"}
        answer = client.post("/api/v1/changes", content=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert any(problem["field"].startswith(field) for problem in answer.json()["problems"]), answer.text
        assert recorded(served) == before

    def test_a_huge_body_is_refused_unread(self, served: Served, client: Client) -> None:
        before = recorded(served)
        headers = {"content-type": "application/json"}
        answer = client.post("/api/v1/changes", content=b" " * 9_000_000, headers=headers)
        assert answer.status_code == 413
        assert recorded(served) == before

    def test_another_media_type_is_refused(self, client: Client) -> None:
        answer = client.post("/api/v1/changes", content=b"<x/>", headers={"content-type": "text/xml"})
        assert answer.status_code == 415

    @pytest.mark.parametrize(
        "body",
        [b"", b"{}", b'{"mode":"half","reason":"r"}', b'{"mode":"closed","reason":""}', b"\xff", b"NaN"],
    )
    def test_a_bad_mode_is_refused(self, served: Served, client: Client, body: bytes) -> None:
        before = recorded(served)
        headers = {"content-type": "application/json"}
        assert client.post("/api/v1/sites/ATL1/mode", content=body, headers=headers).status_code == 422
        assert recorded(served) == before


LANES = b"lane_id,from_site,to_site,transit_min,cost_cents,classes\n"


class TestImport:
    def test_a_file_as_the_body(self, client: Client) -> None:
        headers = {"content-type": "text/csv"}
        body = LANES + b"TPA1-EWR1,TPA1,EWR1,1500,19000,frozen\n"
        checked = client.post("/api/v1/changes/import?name=lanes&check=true", content=body, headers=headers)
        assert checked.json() == {"items": 1, "drafted": False}
        answer = client.post("/api/v1/changes/import?name=lanes&reason=new", content=body, headers=headers)
        change_id = answer.json()["result"]["change_id"]
        assert client.get(f"/api/v1/changes/{change_id}").json()["items"][0]["lane_id"] == "TPA1-EWR1"

    def test_several_files_of_which_each_bad_line_is_told(self, served: Served, client: Client) -> None:
        before = recorded(served)
        files = [
            (
                "files",
                ("lanes.csv", LANES + b"TPA1-EWR1,TPA1,EWR1,25 h,-1,frozen\ntpa1>ewr1,TPA1,EWR1,1,1,cold\n"),
            ),
            ("files", ("zones.yaml", b"zones:\n  - zone_id: ATL1-FRZ3\n")),
        ]
        answer = client.post("/api/v1/changes/import?reason=new", files=files)
        assert answer.status_code == 422
        told = {(p["file"], p["line"], p["field"]): p["fix"] for p in answer.json()["problems"]}
        assert told["lanes.csv", 2, "transit_min"] == "write 1500"
        assert ("lanes.csv", 2, "cost_cents") in told
        assert told["lanes.csv", 3, "lane_id"] == "did you mean TPA1-EWR1?"
        assert ("lanes.csv", 3, "classes[0]") in told
        assert ("zones.yaml", 2, "site_id") in told
        assert recorded(served) == before

    @pytest.mark.parametrize(
        ("query", "content", "media_type", "status"),
        [
            ("name=lanes&reason=r", b"", "text/csv", 422),
            ("name=lanes&reason=r", b"\xff", "text/csv", 422),
            ("name=x.yaml&reason=r", b"[" * 100_000, "application/yaml", 422),
            ("name=lanes", LANES + b"TPA1-EWR1,TPA1,EWR1,1500,19000,frozen\n", "text/csv", 422),
            ("name=lanes&reason=r", b"PK", "application/zip", 415),
            ("name=lanes&reason=r&check=perhaps", b"", "text/csv", 400),
            ("name=lanes&reason=r", b"a" * 9_000_000, "text/csv", 413),
        ],
    )
    def test_what_cannot_be_imported_is_refused(
        self, served: Served, client: Client, query: str, content: bytes, media_type: str, status: int
    ) -> None:
        before = recorded(served)
        headers = {"content-type": media_type}
        answer = client.post(f"/api/v1/changes/import?{query}", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert recorded(served) == before

    def test_it_is_for_who_may_draft(self, client: Client) -> None:
        answer = client.post("/api/v1/changes/import", headers={"x-as": "otto", "content-type": "text/csv"})
        assert answer.status_code == 403


def test_the_api_page_describes_every_address(client: Client) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert {"/api/v1/sites", "/api/v1/changes/import", "/api/v1/products/{product_id}"} <= set(paths)
