"""A pack's report in a network that reads Fahrenheit: °F beside what was recorded, nothing else changes."""

from __future__ import annotations

from datetime import UTC
from html import unescape

import pytest

from coldgrid.evidence import verify
from coldgrid.evidence.archive import open_zip
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.pack_form import REPORT_HTML, REPORT_PDF
from coldgrid.evidence.parts import PackTable
from coldgrid.evidence.report import tables_of
from coldgrid.network.profile import NameNetwork, ShownUnit
from coldgrid.webkit.formats import true_minus, with_fahrenheit
from tests.conftest import T0, Kernel
from tests.evidence.conftest import TOWER, fill, packed

RECORDED = ("toybox/", "limits.json")


def pack_of(kernel: Kernel, notary: Notary, unit: ShownUnit) -> bytes:
    kernel.do(NameNetwork(name="Frostwerk", unit=unit))
    fill(kernel)
    return packed(kernel, notary)


def test_a_network_that_reads_fahrenheit_has_it_beside_the_recorded_celsius(
    kernel: Kernel, notary: Notary
) -> None:
    pack = pack_of(kernel, notary, ShownUnit.FAHRENHEIT)
    page = unescape(open_zip(pack).files[REPORT_HTML].decode())
    assert "−18.0 °C (−0.4 °F)" in page
    assert "−21.0 to −9.1 °C (−5.8 to 15.6 °F)" in page
    assert "Temperatures as recorded, in °C; °F beside them is computed." in page
    assert verify.verify_pack(pack, [TOWER.key]).ok


def test_a_network_that_reads_celsius_has_celsius_alone(kernel: Kernel, notary: Notary) -> None:
    page = unescape(open_zip(pack_of(kernel, notary, ShownUnit.CELSIUS)).files[REPORT_HTML].decode())
    assert "°F" not in page
    assert "Temperatures in °C." in page


def test_what_was_recorded_stands_in_a_pack_in_celsius_whatever_the_network_reads(
    kernel: Kernel, notary: Notary
) -> None:
    files = open_zip(pack_of(kernel, notary, ShownUnit.FAHRENHEIT)).files
    for name, body in files.items():
        if name not in {REPORT_HTML, REPORT_PDF}:
            assert "°F".encode() not in body, name


def test_columns_and_sentences_of_tables_have_it_beside_them_too() -> None:
    table = PackTable("Units", ("SSCC", "Why", "Peak, °C", "Minutes"), [("1", "-12.5 °C at T1", -12.5, 7.5)])
    (told,) = tables_of([table], T0.tzinfo, with_fahrenheit)  # type: ignore[arg-type]
    assert told["rows"] == [["1", "−12.5 °C (9.5 °F) at T1", "-12.5 (9.5 °F)", "7.5"]]
    (told,) = tables_of([table], T0.tzinfo, str)  # type: ignore[arg-type]
    assert told["rows"] == [["1", "-12.5 °C at T1", "-12.5", "7.5"]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("above -18 °C for 5 min", "above −18 °C (−0.4 °F) for 5 min"),
        ("+1.0 °C/h", "+1.0 °C/h (+1.8 °F/h)"),
        ("nothing of the kind", "nothing of the kind"),
    ],
)
def test_a_sentence_keeps_its_recorded_degrees(text: str, told: str) -> None:
    assert with_fahrenheit(text) == told


def test_a_table_says_what_the_files_say_in_words_and_with_a_true_minus() -> None:
    rows = [["within_limits", "above -18 °C for 9 min", "web-1121-00013"]]
    [told] = tables_of([PackTable("Units", ["Verdict", "Why", "Order"], rows)], T0.tzinfo or UTC, true_minus)
    assert told["rows"] == [["within limits", "above −18 °C for 9 min", "web-1121-00013"]]
