"""What a scanner types, and what it says: printed and scanned forms, and codes that are broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.stock.scans import Scan, read_scan
from coldgrid.stock.units import make_sscc

SSCC = make_sscc("10614141", 1)
GTIN = "09521000000018"
FNC1 = "\x1d"


@pytest.mark.parametrize(
    "text",
    [
        SSCC,
        f"  {SSCC}\r\n",
        f"(00){SSCC}",
        f"(00) {SSCC[:9]} {SSCC[9:]}",
        f"00{SSCC}",
        f"]C100{SSCC}",
        f"{FNC1}00{SSCC}",
        f"]C102{GTIN}3740{FNC1}00{SSCC}",
    ],
)
def test_an_sscc_is_read_in_every_form_that_a_label_or_a_scanner_gives_it(text: str) -> None:
    assert read_scan(text).sscc == SSCC


@pytest.mark.parametrize(
    "text",
    [
        f"(01){GTIN}(10)L-2601(17)260601(21)S7",
        f"01{GTIN}10L-2601{FNC1}1726060121S7",
        f"]d201{GTIN}1726060110L-2601{FNC1}21S7",
        f"01{GTIN}3103001250172606013922499{FNC1}10L-2601",
    ],
)
def test_goods_are_told_by_their_number_and_lot_wherever_the_separator_stands(text: str) -> None:
    scan = read_scan(text)
    assert (scan.gtin, scan.lot, scan.wrong) == (GTIN, "L-2601", "")


def test_a_shorter_trade_item_number_is_brought_to_fourteen_digits() -> None:
    assert read_scan("9521000000018") == Scan(gtin=GTIN)
    assert read_scan("]E09521000000018") == Scan(gtin=GTIN)


@pytest.mark.parametrize("name", ["ATL1-FRZ1-A01-02", "L-2601", "10-APRIL", "20260105", "", "(draft)"])
def test_what_is_no_code_is_a_name_unless_it_would_be_a_wrong_number(name: str) -> None:
    scan = read_scan(name)
    assert scan.name == name or scan.wrong


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{SSCC[:-1]}{(int(SSCC[-1]) + 1) % 10}", f"its last digit would be {SSCC[-1]}"),
        (f"(00){SSCC[:-1]}", "(00) has 18 characters, and 17 came"),
        (f"]C100{SSCC[:7]}", "(00) has 18 characters, and 7 came"),
        (f"]C100{SSCC[:16]}", "(00) has 18 characters, and 16 came"),
        ("(01)09521000000019", "its last digit would be 8"),
        (f"01{GTIN}1726", "(17) has 6 characters, and 2 came"),
        (f"01{GTIN}XX", "says nothing from"),
    ],
)
def test_a_broken_code_says_what_is_wrong_and_what_to_do(text: str, why: str) -> None:
    scan = read_scan(text)
    assert why in scan.wrong
    assert scan.wrong.endswith("Scan the label again.")
    assert scan == Scan(wrong=scan.wrong)


@given(st.text(alphabet=st.sampled_from("0123456789ABC()]d \x1d²٣"), max_size=60))
def test_whatever_is_typed_is_read_or_refused_and_a_number_that_is_read_checks(text: str) -> None:
    scan = read_scan(text)
    assert not scan.sscc or read_scan(scan.sscc).sscc == scan.sscc
    assert not scan.gtin or len(scan.gtin) == 14
