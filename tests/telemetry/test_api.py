"""The API of telemetry: every form in, what comes out, and what is refused and how precisely."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.database import open_database
from coldgrid.telemetry import api, export, panels
from coldgrid.webkit.app import create_app
from tests.conftest import Kernel
from tests.doors import Doorman, deciding, services_over
from tests.telemetry.cold_room import AIR, AIR_2, at, cold_room, feed, micros, sensor, steady

NOW = at(60)
Client = TestClient[Litestar]
LINES = {"content-type": "application/x-ndjson"}


ROLES = {"gateway": "integrator", "otto": "operator"}


@contextmanager
def serving(folder: Path) -> Iterator[Litestar]:
    kernel = Kernel(open_database(f"sqlite:///{folder}/served.db"))
    cold_room(kernel, sensor("ATL1-CHL1-T1", unit="F"))
    kernel.host.instant = NOW
    kernel.host.authorizer = CedarAuthorizer()
    door = Doorman(ROLES, tokens=ROLES)
    try:
        with deciding(kernel.decider) as service:
            yield create_app(services_over(kernel.database, service, door, lambda: NOW), api.handlers)
    finally:
        kernel.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as app, TestClient(app) as made:
        yield made


def reading(minute: float, value: Any, sensor_id: str = AIR, **fields: Any) -> dict[str, Any]:
    return {"sensor_id": sensor_id, "at": at(minute).isoformat(), "value": value, **fields}


def ndjson(*readings: dict[str, Any]) -> bytes:
    return b"\n".join(msgspec.json.encode(one) for one in readings)


def line_of(client: Client, sensor_id: str = AIR) -> list[list[Any]]:
    span = {"from_at": at(0).isoformat(), "to_at": at(60).isoformat()}
    answer = client.get(f"/api/v1/sensors/{sensor_id}/readings", params=span, headers={"x-as": "otto"})
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()
    return found


class TestIn:
    def test_one_a_list_and_lines(self, client: Client) -> None:
        assert client.post("/api/v1/readings", json=reading(0, -21.5)).json()["result"]["stored"] == 1
        listed = client.post("/api/v1/readings", json=[reading(1, -21.4), reading(1, 39.2, "ATL1-CHL1-T1")])
        assert listed.json()["result"]["stored"] == 2
        lines = ndjson(reading(2, -6.7, unit="F"), reading(3, -21.2))
        assert client.post("/api/v1/readings", content=lines, headers=LINES).status_code == 200
        assert [value for _, value in line_of(client)] == [-21.5, -21.4, -21.5, -21.2]
        assert [value for _, value in line_of(client, "ATL1-CHL1-T1")] == [4.0]

    def test_columns_in_json_and_packed(self, client: Client) -> None:
        columns = {"site_id": "ATL1", "sensors": [AIR], "sensor": [0, 0], "value": [-21.5, -21.4]}
        body = columns | {"at": [micros(0) // 1_000, micros(1) // 1_000]}
        assert client.post("/api/v1/readings/columns", json=body).json()["result"]["stored"] == 2
        packed = columns | {
            "sensor": np.zeros(1, dtype="<u4").tobytes(),
            "at": np.array([micros(2)]).tobytes(),
            "value": np.array([-21.3]).tobytes(),
        }
        headers = {"content-type": "application/msgpack"}
        answer = client.post(
            "/api/v1/readings/columns", content=msgspec.msgpack.encode(packed), headers=headers
        )
        assert answer.json()["result"]["stored"] == 1
        assert [value for _, value in line_of(client)] == [-21.5, -21.4, -21.3]

    def test_a_retry_is_answered_the_same_and_another_body_refused(self, client: Client) -> None:
        headers = {"idempotency-key": "batch-1"}
        first = client.post("/api/v1/readings", json=reading(0, -21.5), headers=headers).json()
        again = client.post("/api/v1/readings", json=reading(0, -21.5), headers=headers).json()
        assert (again["result"], again["replayed"]) == (first["result"], True)
        other = client.post("/api/v1/readings", json=reading(0, -20.5), headers=headers)
        assert (other.status_code, other.json()["code"]) == (409, "key_reused")

    def test_nothing_of_a_bad_body_is_stored_and_the_line_is_named(self, client: Client) -> None:
        body = ndjson(reading(0, -21.5), reading(1, "cold"), reading(2, -21.5)) + b'\n{"sensor_id":'
        answer = client.post("/api/v1/readings", content=body, headers=LINES)
        assert answer.status_code == 422
        assert [(one["line"], one["field"]) for one in answer.json()["problems"]] == [
            (2, "value"),
            (4, "body"),
        ]
        assert line_of(client) == []

    def test_a_unit_that_does_not_fit_its_sensor_is_named_by_line(self, client: Client) -> None:
        body = ndjson(reading(0, -21.5)) + b"\n\n" + ndjson(reading(1, 50, unit="%"))
        answer = client.post("/api/v1/readings", content=body, headers=LINES)
        assert answer.status_code == 422
        assert [(one["line"], one["field"]) for one in answer.json()["problems"]] == [(3, "unit")]
        assert line_of(client) == []

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[",
            b"\xff\xfe",
            b"[" * 10_000,
            b'{"sensor_id":"ATL1-FRZ1-T1","at":"2026-03-01T08:00:00Z","value":NaN}',
            b'{"sensor_id":"ATL1-FRZ1-T1","at":"2026-03-01T08:00:00Z","value":-Infinity}',
            b'{"sensor_id":"ATL1-FRZ1-T1","at":"2026-03-01T08:00:00Z","value":1e400}',
        ],
    )
    @pytest.mark.parametrize("headers", [{"content-type": "application/json"}, LINES], ids=["json", "lines"])
    @pytest.mark.parametrize("path", ["/api/v1/readings", "/api/v1/readings/columns"])
    def test_malformed_bodies_get_a_precise_refusal(
        self, client: Client, path: str, headers: dict[str, str], body: bytes
    ) -> None:
        answer = client.post(path, content=body, headers=headers)
        if path.endswith("columns") and headers is LINES:
            assert answer.json()["code"] == "wrong_media_type"
        elif not (headers is LINES and not body):
            assert answer.status_code == 422
            assert answer.json()["problems"]
        assert answer.status_code >= 400
        assert line_of(client) == []

    def test_a_huge_body_is_refused(self, client: Client) -> None:
        answer = client.post("/api/v1/readings", content=b" " * (17 * 1024 * 1024))
        assert answer.status_code == 413

    def test_unknown_sensors_and_sites(self, client: Client) -> None:
        answer = client.post(
            "/api/v1/readings", json=[reading(0, -21.5), reading(0, 1.0, "ATL1-FRZ1-T9")]
        ).json()
        assert answer["result"]["refused"] == {"unknown": 1}
        assert answer["result"]["told"][0]["fix"]
        caught = client.get("/api/v1/sites/ATL1/quarantine", headers={"x-as": "otto"}).json()
        assert [one["sensor_id"] for one in caught] == ["ATL1-FRZ1-T9"]
        nowhere = client.post("/api/v1/readings", json=reading(0, 1.0, "XXX9-FRZ1-T1"))
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "site_not_found")

    def test_only_machines_and_their_keepers_send_readings(self, client: Client) -> None:
        answer = client.post(
            "/api/v1/readings", json=reading(0, 1.0), headers={"x-as": "otto", "x-csrf-token": "token"}
        )
        assert answer.status_code == 403


class TestOut:
    def test_sensors_with_their_health(self, client: Client) -> None:
        client.post("/api/v1/readings", json=[reading(0, -21.5), reading(1, 85.0)])
        found = client.get("/api/v1/sites/ATL1/sensors", headers={"x-as": "otto"}).json()
        mine = next(one for one in found if one["sensor"]["sensor_id"] == AIR)
        assert mine["counts"] == {"out_of_range": 1}
        assert mine["last"]["good"] is False

    def test_csv_has_all_readings_and_says_which_are_good(self, client: Client) -> None:
        client.post("/api/v1/readings", json=[reading(0, -21.5), reading(1, 85.0)])
        span = {"from_at": at(0).isoformat(), "to_at": at(60).isoformat(), "form": "csv"}
        answer = client.get(f"/api/v1/sensors/{AIR}/readings", params=span, headers={"x-as": "otto"})
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(row["value"], row["good"]) for row in rows] == [("-21.5", "true"), ("85.0", "false")]
        assert rows[0]["at"] == "2026-03-01T08:00:00.000000Z"

    def test_alarms_rollups_and_the_air_of_a_zone(self, client: Client) -> None:
        warm = [reading(minute, -12.0 - minute % 2 / 10) for minute in range(30)]
        client.post("/api/v1/readings", json=warm)
        alarms = client.get("/api/v1/sites/ATL1/alarms", headers={"x-as": "otto"}).json()
        assert "band_high" in {alarm["rule"] for alarm in alarms}
        span = {"from_at": at(0).isoformat(), "to_at": at(60).isoformat()}
        rollup = client.get(f"/api/v1/sensors/{AIR}/rollup", params=span, headers={"x-as": "otto"}).json()
        assert (rollup["good"], rollup["high_c"], rollup["low_c"]) == (30, -12.0, -12.1)
        line = client.get("/api/v1/zones/ATL1-FRZ1/air", params=span, headers={"x-as": "otto"}).json()
        assert len(line) == 720
        assert max(point[1] for point in line if point[1] is not None) == -12.0

    @pytest.mark.parametrize(
        ("from_at", "to_at", "status"),
        [
            (at(1), at(0), 422),
            (at(0), at(0) + timedelta(days=400), 422),
            (at(0).replace(tzinfo=None), at(1), 422),
        ],
    )
    def test_a_span_must_make_sense(self, client: Client, from_at: Any, to_at: Any, status: int) -> None:
        span = {"from_at": from_at.isoformat(), "to_at": to_at.isoformat()}
        answer = client.get(f"/api/v1/sensors/{AIR}/rollup", params=span, headers={"x-as": "otto"})
        assert answer.status_code == status

    def test_there_must_be_a_sensor(self, client: Client) -> None:
        span = {"from_at": at(0).isoformat(), "to_at": at(1).isoformat()}
        answer = client.get("/api/v1/sensors/nope/rollup", params=span, headers={"x-as": "otto"})
        assert (answer.status_code, answer.json()["code"]) == (404, "sensor_not_found")


class TestPanels:
    def test_a_line_keeps_every_spike_and_every_gap(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, [*steady(0, 20), (AIR, 20, -11.0), *steady(21, 20), *steady(50, 10)])
        line = panels.zone_line(kernel.reader(), "ATL1-FRZ1", at(0), at(60), points=6)
        assert [point.high_c for point in line] == [-21.49, -21.49, -11.0, -21.49, -21.49, -21.49]
        line = panels.zone_line(kernel.reader(), "ATL1-FRZ1", at(42), at(48), points=3)
        assert [point.high_c for point in line] == [None, None, None]

    def test_a_line_needs_time(self, kernel: Kernel) -> None:
        cold_room(kernel)
        with pytest.raises(ValueError, match="time"):
            panels.zone_line(kernel.reader(), "ATL1-FRZ1", at(1), at(1))


def test_parquet_holds_the_same_readings(kernel: Kernel) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    cold_room(kernel)
    feed(kernel, [*steady(0, 30), (AIR, 30, 85.0), *steady(0, 10, -20.0, AIR_2)])
    sink = io.BytesIO()
    assert export.write_parquet(kernel.reader(), [AIR, AIR_2], at(0), at(60), sink) == 41
    rows = pq.read_table(io.BytesIO(sink.getvalue())).to_pylist()
    assert rows[0] == {"sensor_id": AIR, "at": at(0), "value": -21.5, "unit": "C", "good": True}
    assert [row["good"] for row in rows].count(False) == 1
