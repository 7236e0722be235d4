"""The catalog over the API and on its pages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from coldgrid.kernel import log
from tests.network.served import Client, Served

OTTO = {"x-as": "otto"}
JSON = {"content-type": "application/json"}
LOT: dict[str, Any] = {
    "lot_id": "L-1",
    "product_id": "SAL-CAE-250",
    "tlc": "A 1/b",
    "tlc_source": "FFRN 1",
    "produced_on": "2026-03-05",
}


def changed(**fields: Any) -> bytes:
    return msgspec.json.encode(LOT | {"lot_id": "L-2"} | fields)


def recorded(served: Served) -> int:
    with served.reader() as db:
        return len(list(log.read_all(db)))


class TestProducts:
    def test_products_are_listed_page_by_page(self, client: Client) -> None:
        first = client.get("/api/v1/products?limit=2").json()
        assert [product["product_id"] for product in first] == ["BER-RAS-125", "BER-STR-250"]
        assert client.get("/api/v1/products?after=BER-STR-250").json()[0]["product_id"] == "CHO-DRK-100"

    def test_a_product_comes_with_its_sourced_limits(self, client: Client) -> None:
        answer = client.get("/api/v1/products/VEG-PEA-1K").json()
        told = {limit["limit_id"]: (limit["high_c"], limit["source"]) for limit in answer["limits"]}
        assert told["VEG-PEA-1K.RANGE"] == (-18, "Directive 89/108/EEC, Article 5(1)")

    @pytest.mark.parametrize("gtin", ["09521000000018", "9521000000018", "19521000000015"])
    def test_a_scan_finds_the_product_at_any_pack_level(self, client: Client, gtin: str) -> None:
        assert client.get(f"/api/v1/gtins/{gtin}").json()["product"]["product_id"] == "ICE-VAN-1L"

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/api/v1/products/NONE-1", 404),
            ("/api/v1/products/NONE-1/lots", 404),
            ("/api/v1/lots/NONE", 404),
            ("/api/v1/gtins/09521234543213", 404),
            ("/api/v1/gtins/09521234543214", 422),
            ("/api/v1/gtins/abc", 422),
            ("/api/v1/products?limit=501", 400),
            ("/api/v1/lots", 400),
        ],
    )
    def test_what_is_not_there_or_cannot_be_read_is_refused(
        self, client: Client, path: str, status: int
    ) -> None:
        assert client.get(path).status_code == status


class TestLots:
    def test_a_lot_is_registered_where_it_arrives_and_found_by_its_code(self, client: Client) -> None:
        answer = client.post("/api/v1/sites/ATL1/lots", json=LOT, headers=OTTO)
        assert answer.json()["result"]["expires_on"] == "2026-03-12"
        assert client.get("/api/v1/lots/L-1").json()["tlc"] == "A 1/b"
        assert client.get("/api/v1/lots", params={"tlc": "A 1/b"}).json()[0]["lot_id"] == "L-1"
        assert client.get("/api/v1/products/SAL-CAE-250/lots").json()[0]["lot_id"] == "L-1"
        other = client.post("/api/v1/sites/ATL1/lots", json=LOT | {"tlc": "B"}, headers=OTTO)
        assert (other.status_code, other.json()["code"]) == (409, "lot_differs")

    def test_nobody_registers_lots_at_a_site_that_is_not_theirs(self, client: Client) -> None:
        assert client.post("/api/v1/sites/CLT1/lots", json=LOT, headers=OTTO).status_code == 403

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 422),
            (b"\xff", 422),
            (b"[" * 100_000, 422),
            (b'{"lot_id":NaN}', 422),
            (changed(lot_id="L 2"), 422),
            (changed(tlc=""), 422),
            (changed(expires_on="soon"), 422),
            (changed(produced_on=None), 422),
            (changed(product_id="NONE-1"), 404),
            (changed(colour="blue"), 422),
            (b" " * 2_000_000, 413),
        ],
    )  # fmt: skip
    def test_bad_input_is_refused_and_leaves_nothing(
        self, served: Served, client: Client, body: bytes, status: int
    ) -> None:
        before = recorded(served)
        answer = client.post("/api/v1/sites/ATL1/lots", content=body, headers=JSON | OTTO)
        assert answer.status_code == status, answer.text
        assert recorded(served) == before


class TestPages:
    def test_a_product_s_page_names_every_source(self, client: Client) -> None:
        page = client.get("/catalog/SAL-CAE-250", headers=OTTO).text
        assert "FDA Food Code 2022, 3-501.16(A)(2)" in page
        assert "FDA Food Code 2022, 3-501.19(B)" in page
        assert "19521000000152" in page

    def test_temperatures_are_shown_in_the_reader_s_unit(self, client: Client) -> None:
        page = client.get("/catalog/SAL-CAE-250", headers=OTTO | {"cookie": "coldgrid_unit=f"}).text
        assert "32–41 °F" in page

    def test_products_are_found_by_a_part_of_their_name_or_gtin(self, client: Client) -> None:
        assert "SAL-CAE-250" in client.get("/catalog?q=caesar").text
        assert "ICE-VAN-1L" not in client.get("/catalog?q=caesar").text
        assert "ICE-VAN-1L" in client.get("/catalog?q=0952100000001").text
        assert "No product here" in client.get("/catalog?q=unobtainium").text
