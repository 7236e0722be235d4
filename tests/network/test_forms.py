"""What a form of master data says beside its fields."""

from __future__ import annotations

import pytest
from msgspec import inspect

import coldgrid.catalog.products
import coldgrid.network.groups
import coldgrid.network.lanes
import coldgrid.network.sites
import coldgrid.telemetry.gateways
import coldgrid.telemetry.sensors  # noqa: F401
from coldgrid.network.item_forms import as_yaml, form_fields, item_of
from coldgrid.network.items import item_kinds, read_item

KINDS = ["site", "group", "zone", "lane", "location", "product", "sensor"]


@pytest.mark.parametrize("name", ["site", "group"])
def test_an_example_beside_a_form_can_be_drafted_as_it_stands(name: str) -> None:
    kind = item_kinds()[name]
    assert kind.form_help is not None
    for example in kind.form_help.examples():
        raw, problems = item_of(kind, {field: [text] for field, text in example.fields.items()})
        assert problems == []
        assert read_item(raw)[1] == []


@pytest.mark.parametrize("name", KINDS)
def test_a_field_of_several_lines_says_what_goes_into_it(name: str) -> None:
    bare = {"Each on a line that begins with -", "name: value"}
    controls = form_fields(item_kinds()[name], {}, {})
    assert [one.name for one in controls if one.hint in bare] == []


@pytest.mark.parametrize("name", KINDS)
def test_a_form_says_how_its_item_is_named(name: str) -> None:
    controls = form_fields(item_kinds()[name], {}, {})
    assert controls[0].hint


@pytest.mark.parametrize("name", KINDS)
def test_a_hint_belongs_to_a_field_that_there_is(name: str) -> None:
    kind = item_kinds()[name]
    controls = {one.name for one in form_fields(kind, {}, {})}
    hints = set(kind.form_help.hints) if kind.form_help else set()
    assert hints - controls == set()
    assert isinstance(inspect.type_info(kind.struct), inspect.StructType)


def test_many_plain_values_are_written_one_a_line() -> None:
    assert as_yaml({"high_c": None, "band_min": 10.0}) == "high_c: null\nband_min: 10.0"
