"""Products, their GTINs and their storage limits."""

from __future__ import annotations

import msgspec
import pytest
from biip import ParseError
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.catalog import gtins, limits, products
from coldgrid.catalog.limits import LimitKind, StorageLimit
from coldgrid.catalog.products import Product, Segregation
from coldgrid.kernel.rejections import Invalid
from coldgrid.network.change_rules import DraftChange
from tests.conftest import Kernel
from tests.network.master import Raw, limit, product, put_in_force


def refused(kernel: Kernel, *items: Raw) -> dict[str, str]:
    """Draft items and return each wrong field of the last one with its message and fix."""
    with pytest.raises(Invalid) as caught:
        kernel.do(DraftChange(change_id="c", items=list(items), reason="try"))
    prefix = f"items[{len(items) - 1}]."
    return {
        problem.field.removeprefix(prefix): f"{problem.message}: {problem.fix}"
        for problem in caught.value.problems
        if problem.field.startswith(prefix)
    }


MKT_ROW: Raw = {"limit_kind": "mkt", "limit_id": "ICE-VAN-1L.MKT", "minutes": 1440}


def levels(gtin: str | None = None, gtni: str | None = None, **quantities: int) -> Raw:
    """Pack levels by name; a GTIN, or a mistyped field, goes into each."""
    extra = {name: value for name, value in (("gtin", gtin), ("gtni", gtni)) if value is not None}
    return {"pack_levels": [{"name": name, "qty": qty, **extra} for name, qty in quantities.items()]}


class TestGtins:
    @pytest.mark.parametrize("gtin", ["09521234543213", "9521234543213", "614141007349", "96385074"])
    def test_each_length_with_a_right_check_digit_is_taken(self, gtin: str) -> None:
        assert gtins.gtin_problems("gtin", gtin) == []
        assert gtins.gtin_14(gtin) == gtin.zfill(14)

    @pytest.mark.parametrize(
        ("gtin", "fix"),
        [
            ("09521234543214", "did you mean 09521234543213?"),
            ("0952 1234 5432 13", "did you mean 09521234543213?"),
            ("952123454325", "did you mean 952123454324?"),
            ("9521234", "keep leading zeros"),
            ("0952123454321X", "digits only"),
            ("٠٩٥٢١٢٣٤٥٤٣٢١٣", "digits only"),
            ("", "digits only"),
            ("9" * 40, "keep leading zeros"),
        ],
    )
    def test_a_wrong_one_comes_with_its_fix(self, gtin: str, fix: str) -> None:
        (problem,) = gtins.gtin_problems("gtin", gtin)
        assert fix in problem.fix

    def test_what_is_no_gtin_has_no_14_digits(self) -> None:
        with pytest.raises(ParseError):
            gtins.gtin_14("09521234543214")

    @given(st.from_regex(r"[1-9]\d{12}", fullmatch=True, alphabet="0123456789"), st.integers(1, 9))
    def test_one_mistyped_digit_is_always_noticed(self, payload: str, step: int) -> None:
        right = next(payload + str(d) for d in range(10) if not gtins.gtin_problems("gtin", payload + str(d)))
        for place in range(14):
            mistyped = right[:place] + str((int(right[place]) + step) % 10) + right[place + 1 :]
            if not mistyped.startswith("0"):
                assert gtins.gtin_problems("gtin", mistyped) != []


class TestProducts:
    def test_a_product_is_read_back_and_found_by_any_of_its_gtins(self, kernel: Kernel) -> None:
        case = {"name": "case", "qty": 8, "gtin": "19521000000015"}
        put_in_force(kernel, product(gtin="9521000000018", pack_levels=[{"name": "each", "qty": 1}, case]))
        db = kernel.reader()
        found = products.get_product(db, "ICE-VAN-1L")
        assert (found.gtin, found.weight_g, found.active) == ("09521000000018", 560, True)
        assert products.product_by_gtin(db, "19521000000015") == found
        assert products.product_by_gtin(db, "9521000000018") == found
        assert products.list_products(db) == [found]
        with pytest.raises(products.ProductNotFound):
            products.product_by_gtin(db, "09521234543213")
        with pytest.raises(products.ProductNotFound):
            products.get_product(db, "ICE-NONE")
        kernel.rebuild()

    def test_a_changed_gtin_frees_the_old_one(self, kernel: Kernel) -> None:
        put_in_force(kernel, product())
        put_in_force(kernel, product(gtin="09521234543213"), change_id="relabelled")
        put_in_force(kernel, product("ICE-CHO-1L", gtin="09521000000018"), change_id="new")
        assert products.product_by_gtin(kernel.reader(), "09521000000018").product_id == "ICE-CHO-1L"
        kernel.rebuild()

    def test_a_gtin_names_one_product(self, kernel: Kernel) -> None:
        put_in_force(kernel, product())
        assert "already is product ICE-VAN-1L" in refused(kernel, product("ICE-CHO-1L"))["gtin"]
        twins = product("SRB-LEM-1L", "09521234543213"), product("SRB-MNG-1L", "9521234543213")
        assert "also product SRB-LEM-1L" in refused(kernel, *twins)["gtin"]

    @pytest.mark.parametrize(
        ("fields", "field", "told"),
        [
            ({"product_id": "ice van"}, "product_id", "did you mean ICE-VAN?"),
            ({"owner": "north bay"}, "owner", "did you mean NORTH-BAY?"),
            ({"gtin": "09521000000019"}, "gtin", "did you mean 09521000000018?"),
            ({"gtin": 9521000000018}, "gtin", "quotes"),
            ({"weight_g": "1.2 kg"}, "weight_g", "write 1200"),
            ({"weight_g": 0}, "weight_g", "at least 1"),
            ({"value_cents": 4.29}, "value_cents", "int"),
            ({"value_cents": -1}, "value_cents", "at least 0"),
            ({"volume_ml": 10**30}, "volume_ml", ""),
            ({"shelf_life_days": "18 months"}, "shelf_life_days", "write 540"),
            ({"currency": "usd"}, "currency", "regex"),
            ({"allergens": ["gluten", "peanuts"]}, "allergens[1]", "peanuts"),
            ({"temperature_class": "cold"}, "temperature_class", "cold"),
            (levels(case=8, pallet=100), "pack_levels[1].qty", "no multiple"),
            (levels(pallet=8, case=16), "pack_levels[1].name", "does not come after"),
            (levels(each=6), "pack_levels[0].qty", "one base unit"),
            (levels(case=8, gtin="1"), "pack_levels[0].gtin", "13 or 14"),
            (levels(case=8, gtni=""), "pack_levels[0].gtni", "did you mean gtin?"),
            (levels(case=8, gtin=product()["gtin"]), "pack_levels", "same GTIN"),
        ],
    )  # fmt: skip
    def test_a_wrong_field_is_named_with_its_fix(
        self, kernel: Kernel, fields: Raw, field: str, told: str
    ) -> None:
        assert told in refused(kernel, product() | fields)[field]

    def test_raw_food_is_kept_apart_from_ready_to_eat_food(self) -> None:
        def with_marks(*marks: Segregation) -> Product:
            fields = product(segregation=[mark.value for mark in marks])
            del fields["kind"]
            return msgspec.convert(fields, Product)

        raw, ready = with_marks(Segregation.RAW), with_marks(Segregation.READY_TO_EAT)
        assert "Food Code 3-302.11" in products.keep_apart(raw, ready)[0]
        assert products.keep_apart(ready, raw) == products.keep_apart(raw, ready)
        assert products.keep_apart(raw, raw) == []
        coffee, butter = with_marks(Segregation.ODOUR_SOURCE), with_marks(Segregation.ODOUR_SENSITIVE)
        assert products.keep_apart(coffee, butter) == ["the odour taints its neighbour"]


class TestLimits:
    def test_rows_are_kept_with_their_source_while_they_count(self, kernel: Kernel) -> None:
        brief = limit(limit_id="ICE-VAN-1L.SINGLE", limit_kind="single_excursion", high_c=-15)
        put_in_force(kernel, product(), limit(), brief)
        db = kernel.reader()
        told = [(row.kind, row.high_c, row.source) for row in limits.limits_of(db, "ICE-VAN-1L")]
        source = "Directive 89/108/EEC, Article 5(1)"
        assert told == [(LimitKind.RANGE, -18, source), (LimitKind.SINGLE_EXCURSION, -15, source)]
        put_in_force(kernel, brief | {"active": False}, change_id="gone")
        assert [row.kind for row in limits.limits_of(db, "ICE-VAN-1L")] == [LimitKind.RANGE]
        assert not limits.get_limit(db, "ICE-VAN-1L.SINGLE").active
        with pytest.raises(limits.LimitNotFound):
            limits.get_limit(db, "ICE-VAN-1L.MKT")
        kernel.rebuild()

    @pytest.mark.parametrize(
        ("fields", "field", "told"),
        [
            ({"source": "  "}, "source", "the document and section"),
            ({"source": ""}, "source", "is empty"),
            ({"limit_id": "ice-van-1l.range"}, "limit_id", "did you mean ICE-VAN-1L.RANGE?"),
            ({"limit_id": "ICE-VAN-1L.MKT"}, "limit_id", "did you mean ICE-VAN-1L.RANGE?"),
            ({"product_id": "ICE-NONE", "limit_id": "ICE-NONE.RANGE"}, "product_id", "no product"),
            ({"high_c": None}, "high_c", "low_c, high_c or both"),
            ({"low_c": -18}, "low_c", "not below high_c"),
            ({"minutes": 30}, "minutes", "single_excursion or cumulative"),
            ({"high_c": "0 °F"}, "high_c", "write -17.78"),
            ({"limit_kind": "cumulative", "limit_id": "ICE-VAN-1L.CUMUL"}, "minutes", "is missing"),
            (MKT_ROW, "limit_kind", "does not apply to frozen food"),
        ],
    )  # fmt: skip
    def test_a_wrong_field_is_named_with_its_fix(
        self, kernel: Kernel, fields: Raw, field: str, told: str
    ) -> None:
        assert told in refused(kernel, product(), limit() | fields)[field]

    @pytest.mark.parametrize(
        ("regime", "temperature_class", "applies"),
        [
            ("pharma", "chilled", True),
            ("pharma", "ambient", True),
            ("pharma", "frozen", False),
            ("food", "chilled", False),
            ("general", "ambient", False),
        ],
    )
    def test_mean_kinetic_temperature_is_for_pharma_above_freezing(
        self, kernel: Kernel, regime: str, temperature_class: str, applies: bool
    ) -> None:
        vaccine = product("VAX-FLU-10", regime=regime, temperature_class=temperature_class)
        row = limit("VAX-FLU-10", limit_id="VAX-FLU-10.MKT", limit_kind="mkt", high_c=8, minutes=1440)
        if applies:
            put_in_force(kernel, vaccine, row)
        else:
            assert "does not apply" in refused(kernel, vaccine, row)["limit_kind"]

    def test_goods_fit_a_zone_whose_band_lies_within_their_ranges(self) -> None:
        def row(kind: LimitKind, low_c: float | None = None, high_c: float | None = None) -> StorageLimit:
            return StorageLimit(
                limit_id="X", product_id="X", kind=kind, low_c=low_c, high_c=high_c, source="label"
            )

        berries = [row(LimitKind.RANGE, high_c=5), row(LimitKind.FREEZE, low_c=-0.8)]
        assert limits.fits_band(berries, 0, 5)
        assert not limits.fits_band(berries, 0, 5.1)
        assert not limits.fits_band(berries, -1, 5)
        assert not limits.fits_band([row(LimitKind.FREEZE, low_c=-0.8)], 0, 5)


STORED: list[tuple[type[msgspec.Struct], bytes]] = [
    (
        products.ProductDefined,
        b'{"type":"catalog.product_defined","product":{"product_id":"ICE-VAN-1L","gtin":"09521000000018",'
        b'"name":"Vanilla ice cream 1 l","owner":"COLDGRID","regime":"food","temperature_class":"frozen",'
        b'"base_unit":"each","pack_levels":[{"name":"case","qty":8,"gtin":"19521000000015"}],'
        b'"catch_weight":false,"shelf_life_days":540,"weight_g":560,"volume_ml":1250,"value_cents":429,'
        b'"currency":"USD","allergens":["milk"],"segregation":["odour_sensitive"],"active":true}}',
    ),
    (
        limits.LimitDefined,
        b'{"type":"catalog.limit_defined","limit":{"limit_id":"ICE-VAN-1L.RANGE","product_id":"ICE-VAN-1L",'
        b'"limit_kind":"range","low_c":null,"high_c":-18.0,"minutes":null,"source":"label","note":"",'
        b'"active":true}}',
    ),
]


@pytest.mark.parametrize(("type_", "stored"), STORED, ids=lambda value: getattr(value, "__name__", ""))
def test_events_keep_their_wire_form(type_: type[msgspec.Struct], stored: bytes) -> None:
    """Bytes from release 1 must decode for ever. Add lines; never edit one."""
    assert msgspec.json.encode(msgspec.json.decode(stored, type=type_)) == stored
