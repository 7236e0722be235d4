"""Quality's pages and API: what who may see and sign, without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.quality.deviations import deviation_of
from coldgrid.quality.dispositions import dispositions_of, undecided_units
from coldgrid.quality.excursions import list_excursions
from coldgrid.quality.hand_readings import hand_readings_of
from tests.conftest import T0
from tests.quality.night import ZONE
from tests.quality.office import CSRF, Office, open_office
from tests.stock.world import LOT, PALLET, SECOND, SITE, THIRD

Client = TestClient[Litestar]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with open_office(tmp_path) as made:
        yield made


@pytest.fixture
def client(office: Office) -> Iterator[Client]:
    with TestClient(office.app, raise_server_exceptions=False) as made:
        made.headers["x-csrf-token"] = CSRF
        made.follow_redirects = False
        yield made


def excursion_id(office: Office) -> str:
    found: str = office.read(list_excursions)[0].excursion_id
    return found


def send(client: Client, path: str, who: str = "quinn", **data: Any) -> Any:
    return client.post(path, data={"_csrf": CSRF, **data}, headers={"x-as": who})


def test_the_list_shows_what_waits_and_what_is_at_stake(office: Office, client: Client) -> None:
    text = client.get("/quality").text
    for told in (ZONE, "3 undecided", "Decide", "cold again, goods not yet"):
        assert told in text


def test_the_page_shows_units_shipped_goods_and_the_deviation(office: Office, client: Client) -> None:
    text = client.get(f"/quality/excursions/{excursion_id(office)}").text
    for told in (
        PALLET,
        SECOND,
        THIRD,
        "to assess",
        "order o1",
        "Write down",
        "At stake",
        "last good reading",
    ):
        assert told in text


def test_quality_signs_unit_by_unit(office: Office, client: Client) -> None:
    at = f"/quality/excursions/{excursion_id(office)}"
    form = client.get(f"{at}/units/{PALLET}").text
    assert "Sign" in form
    answer = send(
        client,
        f"{at}/units/{PALLET}",
        outcome="destroy",
        reason="thawed",
        witness="olga",
        inspection="claim 7",
        evidence=[],
        reduced_life_until="",
        qty="",
        part_sscc="",
    )
    following = answer.headers["location"].removeprefix(f"{at}/units/")
    assert answer.status_code == 303
    left = office.read(lambda db: undecided_units(db, list_excursions(db)[0].excursion_id))
    assert following in [one.sscc for one in left], "the next one that waits comes by itself"
    signed = office.read(lambda db: dispositions_of(db, list_excursions(db)[0].excursion_id))
    assert [(one.sscc, one.signed_by, one.witness) for one in signed] == [(PALLET, "quinn", "olga")]
    assert "This unit is decided" in client.get(f"{at}/units/{PALLET}").text


def test_a_refused_signature_keeps_what_was_typed_and_names_every_field(
    office: Office, client: Client
) -> None:
    at = f"/quality/excursions/{excursion_id(office)}/units/{PALLET}"
    answer = send(client, at, outcome="destroy", reason="melted away")
    assert answer.status_code == 422
    for told in ("melted away", "estruction has a witness", "he insurer inspects first"):
        assert told in answer.text


def test_others_see_but_do_not_sign(office: Office, client: Client) -> None:
    at = f"/quality/excursions/{excursion_id(office)}"
    assert "Waits for quality" in client.get(f"{at}/units/{PALLET}", headers={"x-as": "olga"}).text
    assert send(client, f"{at}/units/{PALLET}", "olga", outcome="release", reason="fine").status_code == 403
    assert client.get(at, headers={"x-as": "far"}).status_code == 403
    assert ZONE not in client.get("/quality", headers={"x-as": "far"}).text
    assert client.get("/quality", headers={"x-as": "nobody"}).status_code == 401


def test_the_investigation_is_written_down_and_closed_by_another(office: Office, client: Client) -> None:
    at = f"/quality/excursions/{excursion_id(office)}"
    told = {"weight": "major", "root_cause": "fan bearing", "remedy": "bearing replaced"}
    assert send(client, f"{at}/investigation", **told).status_code == 303
    deviation = office.read(lambda db: deviation_of(db, list_excursions(db)[0].excursion_id))
    assert (deviation.status, deviation.investigated_by) == ("investigated", "quinn")
    refused = send(client, f"{at}/conclusion", "rita", conclusion="no harm")
    assert refused.status_code == 409
    assert "every unit is decided" in refused.text


def test_a_reading_by_hand_is_recorded(office: Office, client: Client) -> None:
    at = f"/quality/sites/{SITE}/zones/{ZONE}/reading"
    assert "A calibrated probe" in client.get(at).text
    told = {"value_c": "-19.5", "target": "product", "probe_id": "PROBE-7", "location_id": "", "sscc": PALLET}
    assert send(client, at, "olga", **told).status_code == 303
    (reading,) = office.read(lambda db: hand_readings_of(db, ZONE, T0, office.clock.instant))
    assert (reading.value_c, reading.sscc, reading.taken_by) == (-19.5, PALLET, "olga")
    assert send(client, at, "olga", value_c="warm", probe_id="").status_code == 422


def test_the_unit_of_a_reading_by_hand_is_taken_as_its_label_is_scanned(
    office: Office, client: Client
) -> None:
    at = f"/quality/sites/{SITE}/zones/{ZONE}/reading"
    told = {"value_c": "-19,5", "target": "product", "probe_id": "PROBE-7"}
    assert send(client, at, "olga", **told, sscc=f"]C100{PALLET}").status_code == 303
    (reading,) = office.read(lambda db: hand_readings_of(db, ZONE, T0, office.clock.instant))
    assert (reading.value_c, reading.sscc) == (-19.5, PALLET)
    refused = send(client, at, "olga", **told, sscc=f"(00){PALLET[:-1]}")
    assert refused.status_code == 422
    assert "broke off" in refused.text


def test_other_rooms_pages_show_the_exposure(office: Office, client: Client) -> None:
    incident_id = office.read(list_excursions)[0].incident_id
    assert "Exposed goods" in client.get(f"/incidents/{incident_id}").text
    assert "Temperature exposure" in client.get(f"/stock/units/{PALLET}").text
    assert "Excursions" in client.get(f"/stock/lots/{LOT}").text


def test_the_api_tells_the_same(office: Office, client: Client) -> None:
    (listed,) = client.get("/api/v1/quality/excursions").json()
    told = client.get(f"/api/v1/quality/excursions/{listed['excursion_id']}").json()
    assert {unit["sscc"] for unit in told["units"]} == {PALLET, SECOND, THIRD}
    assert told["undecided"] == sorted([PALLET, SECOND, THIRD])
    assert told["deviation"]["status"] == "open"
    unit = client.get(f"/api/v1/quality/units/{PALLET}").json()
    assert unit["spent"][0]["spent_min"] > 120
    assert client.get(f"/api/v1/quality/zones/{ZONE}/now").json()["in_range"] is True
    assert (
        client.get(
            f"/api/v1/quality/excursions/{listed['excursion_id']}", headers={"x-as": "far"}
        ).status_code
        == 403
    )
    assert client.get("/api/v1/quality/excursions", headers={"x-as": "far"}).json() == []
    assert client.get(f"/api/v1/quality/zones/{ZONE}/now", headers={"x-as": "far"}).status_code == 403
    assert office.read(lambda db: len(undecided_units(db, listed["excursion_id"]))) == 3
