"""Import: every bad line at once with its fix, and nothing applied on error."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.network import imports, sites
from coldgrid.network.change_rules import DraftChange
from coldgrid.network.imports import SourceFile
from coldgrid.network.quantities import unit_fix
from tests.conftest import Kernel
from tests.network.master import group, put_in_force, site, zone

ZONES_YAML = b"""\
zones:
  - zone_id: ATL1-FRZ1
    site_id: ATL1
    name: Freezer
    temperature_class: frozen
    setpoint_c: -22
    low_c: "-13 F"      # a text, and in Fahrenheit
    high_c: -18
    capacity_pallets: 120
    lag_min: 4 h
    heigth: 3
  - zone_id: ATL1-CHL1
    site_id: ATL1
    name: Chiller
    temperature_class: chilled
    setpoint_c: 38
    low_c: 34
    high_c: 41
    capacity_pallets: 10
    lag_min: 120
"""
LOCATIONS_CSV = b"""\
location_id,zone_id,site_id,location_kind
ATL1-FRZ1-A01-01,ATL1-FRZ1,ATL1,bulk
atl1-frz1-a1-2,ATL1-FRZ1,ATL1,bulk
ATL1-FRZ1-A01-03,ATL1-FRZ1,ATL1
"ATL1-FRZ1-A01-04",ATL1-FRZ7,ATL1,shelf
"""


def told(caught: pytest.ExceptionInfo[Invalid]) -> list[tuple[str, int | None, str]]:
    return [(problem.file, problem.line, problem.field) for problem in caught.value.problems]


def problem_of(*files: SourceFile) -> Problem:
    with pytest.raises(Invalid) as caught:
        imports.load_items(files)
    return caught.value.problems[0]


class TestCheckImport:
    def test_every_bad_line_of_every_file_is_told_at_once_and_nothing_is_applied(
        self, kernel: Kernel
    ) -> None:
        put_in_force(kernel, group(), site())
        before = len(kernel.events())
        files = [SourceFile("zones.yaml", ZONES_YAML), SourceFile("locations.csv", LOCATIONS_CSV)]
        with pytest.raises(Invalid) as caught:
            imports.check_import(kernel.reader(), files)
        fixes = {(p.file, p.line, p.field): p.fix for p in caught.value.problems}
        assert fixes["zones.yaml", 7, "low_c"] == "write -25"
        assert fixes["zones.yaml", 10, "lag_min"] == "write 240"
        assert fixes["zones.yaml", 11, "heigth"].startswith("did you mean")
        assert fixes["zones.yaml", 16, "setpoint_c"] == "38 °F is 3.3 °C"
        assert fixes["locations.csv", 3, "location_id"] == "did you mean ATL1-FRZ1-A01-02?"
        assert fixes["locations.csv", 4, "row"] == "fill the row up"
        assert ("locations.csv", 5, "location_kind") in fixes
        # The freezer has problems of its own; what is in it is not told to be nowhere.
        assert ("locations.csv", 2, "zone_id") not in fixes
        assert ("locations.csv", 5, "zone_id") not in fixes  # unreadable, so not looked at further
        assert len(kernel.events()) == before

    def test_a_clean_import_is_drafted_like_any_other_change(self, kernel: Kernel) -> None:
        yaml = b"groups:\n- {group_id: GRP-ATL1, name: Atlanta, timezone: America/New_York, "
        yaml += (
            b'steps: [{after_min: 0, contacts: [{person_id: p-1, channel: sms, address: "+14045550101"}]}]}\n'
        )
        csv = (
            b"kind;site_id;name;site_kind;city;region;lat;lon;timezone;sla_tier;capacity.frozen;escalation_group\r\n"
            b"site;ATL1;Forest Park;dc;Forest Park;GA;33.62;-84.37;America/New_York;gold;400;GRP-ATL1\r\n"
        )
        files = [SourceFile("groups.yml", yaml), SourceFile("anything.csv", b"\xef\xbb\xbf" + csv)]
        with pytest.raises(Invalid) as caught:
            imports.check_import(kernel.reader(), files)
        assert told(caught) == [("anything.csv", 1, "calendar")]
        calendar = b"sites:\n- {site_id: ATL1, name: FP, site_kind: dc, city: FP, region: GA, lat: 33.62, "
        calendar += (
            b"lon: -84.37, timezone: America/New_York, calendar: {}, sla_tier: gold, capacity: {frozen: 1},"
        )
        calendar += b" escalation_group: GRP-ATL1}\n"
        items = imports.check_import(
            kernel.reader(), [SourceFile("groups.yml", yaml), SourceFile("sites.yaml", calendar)]
        )
        kernel.do(DraftChange(change_id="import", items=items, reason="import"))
        assert sites.list_sites(kernel.reader()) == []

    def test_a_reference_that_is_nowhere_is_told_with_its_line(self, kernel: Kernel) -> None:
        with pytest.raises(Invalid) as caught:
            imports.check_import(kernel.reader(), [SourceFile("locations.csv", LOCATIONS_CSV[:80])])
        assert ("locations.csv", 2, "zone_id") in told(caught)


class TestForm:
    """What a file must be before its items are looked at."""

    @pytest.mark.parametrize(
        ("name", "data", "line", "message"),
        [
            ("zones.yaml", b"zones:\n  - &a {zone_id: x}\n", 2, "anchors"),
            ("zones.csv", b"ATL1-FRZ1,ATL1,Freezer\nATL1-FRZ2,ATL1,Freezer\n", 1, "names no field of a zone"),
            ("zones.csv", b"zone_id\tsite_id\nATL1-FRZ1\tATL1\n", 1, "between tabs"),
            ("zones.csv", b"zone_id\n", None, "holds no items"),
            ("zones.yaml", b"zones: !!python/object/apply:os.system [ls]", 1, "tags"),
            ("zones.yaml", b"zones: [1, 2", 1, "no YAML"),
            ("zones.yaml", b"zones: []\nzones: []\n", 2, "twice"),
            ("zones.yaml", b"zones:\n- {zone_id: a, zone_id: b}\n", 2, "twice"),
            ("zones.yaml", b"zones:\n- zone\n", 2, "is not an item"),
            ("zones.yaml", b"zones: 3\n", 1, "is not a list"),
            ("zones.yaml", b"- zone_id: x\n", 1, "mapping of sections"),
            ("zones.yaml", b"--- {}\n--- {}\n", 2, "more than one document"),
            ("zones.yaml", b"? [a]\n: 1\n", 1, "a key is a text"),
            ("zones.yaml", b"zonse: []\n", 1, "no kind of master data"),
            ("zones.yaml", b"zones: []\n", None, "holds no items"),
            ("zones.yaml", b"", None, "holds no items"),
            ("zones.yaml", b"a: \xff\n", 1, "not UTF-8"),
            ("zones.yaml", "zones: 1".encode("utf-16"), 1, "not UTF-8"),
            ("zones.yaml", b"a: \x00\n", None, "no YAML"),
            ("zones.yaml", b"[" * 1_000_000, 1, "nested deeper"),
            ("zones.yaml", b"x" * (imports.SIZE_MAX_BYTES + 1), None, "bytes are more than"),
            ("zones.csv", b"", None, "holds no items"),
            ("zonse.csv", b"zone_id\nATL1-FRZ1\n", 1, "no kind of master data"),
            ("zones.csv", b"zone_id,zone_id\n", 1, "twice"),
            ("zones.csv", b"zone_id,\n", 1, "has no name"),
            ("zones.csv", b'zone_id\n"ATL1\n', 2, "unexpected end"),
            ("zones.csv", b"zone_id,name\nATL1-FRZ1\n", 2, "has 1 cells"),
            ("zones.csv", b"name,name.b\n1,2\n", 2, "clashes"),
            ("zones.csv", b"kind\nzoo\n", 2, "no kind of master data"),
            ("zones.csv", b"zone_id\n" + b"x" * 20_000 + b"\n", 2, "over 10000 characters"),
            ("zones.xlsx", b"PK", None, ".xlsx is no kind of file"),
        ],
    )
    def test_a_file_of_the_wrong_form_is_refused_with_its_line(
        self, name: str, data: bytes, line: int | None, message: str
    ) -> None:
        problem = problem_of(SourceFile(name, data))
        assert (problem.file, problem.line) == (name, line)
        assert message in problem.message

    def test_everything_wrong_in_the_form_of_a_yaml_file_is_told_at_once(self) -> None:
        text = b"zones:\n- &a {zone_id: x, zone_id: y}\n- *a\n- !!set {z}\nzones: []\n"
        _, problems = imports.parse_files([SourceFile("zones.yaml", text)])
        assert [(one.line, one.message.split()[0]) for one in problems] == [
            (2, "anchors"),
            (2, "'zone_id'"),
            (3, "anchors"),
            (4, "tags"),
            (5, "'zones'"),
        ]

    def test_a_header_that_comes_again_is_no_item(self) -> None:
        text = b"zone_id,name\nATL1-FRZ1,A\nzone_id,name\n"
        _, problems = imports.parse_files([SourceFile("zones.csv", text)])
        assert [(one.line, one.message) for one in problems] == [(3, "is the header again")]

    def test_each_file_without_items_is_told(self) -> None:
        files = [SourceFile("zones.csv", b"zone_id\nATL1-FRZ1\n"), SourceFile("sites.csv", b"")]
        _, problems = imports.parse_files(files)
        assert [(one.file, one.message) for one in problems] == [("sites.csv", "holds no items")]

    def test_a_text_in_a_numbers_place_is_told_in_words(self) -> None:
        with pytest.raises(Invalid) as caught:
            imports.load_items(
                [SourceFile("zones.csv", b"zone_id,setpoint_c,capacity_pallets\nA,cold,1.5\n")]
            )
        told = {one.field: (one.line, one.message) for one in caught.value.problems}
        assert told["setpoint_c"] == (2, "is no number")
        assert told["capacity_pallets"] == (2, "is no whole number")

    def test_no_file_at_all_is_refused(self) -> None:
        assert problem_of().fix == "send a .yaml or .csv file"

    def test_too_many_items_are_refused(self) -> None:
        rows = b"lane_id\n" + b"ATL1-CLT1\n" * 5_001
        with pytest.raises(Invalid) as caught:
            imports.load_items([SourceFile("lanes.csv", rows)])
        (problem,) = caught.value.problems  # nobody waits until each line was looked at
        assert problem.message == "5001 items are more than 5000"

    def test_plain_yaml_scalars_are_what_they_look_like(self) -> None:
        data = b"zones:\n- {a: NO, b: 22:30, c: 0123, d: -18, e: 1.5, f: true, g: ~, "
        data += b"h: '5', i: 2026-01-05, j: .nan}\n"
        (item,), problems = imports.parse_files([SourceFile("zones.yaml", data)])
        assert problems == []
        assert item.raw == {
            "kind": "zone", "a": "NO", "b": "22:30", "c": "0123", "d": -18, "e": 1.5, "f": True, "g": None,
            "h": "5", "i": "2026-01-05", "j": ".nan",
        }  # fmt: skip

    def test_cells_become_what_their_fields_want(self) -> None:
        data = b"lane_id,transit_min,distance_km,classes,active,note\n"
        data += b"ATL1-CLT1,240,480.5,frozen|chilled,false,\n"
        (item,), problems = imports.parse_files([SourceFile("lanes.csv", data)])
        assert problems == []
        assert item.raw == {
            "kind": "lane", "lane_id": "ATL1-CLT1", "transit_min": 240, "distance_km": 480.5,
            "classes": ["frozen", "chilled"], "active": False,
        }  # fmt: skip

    @given(st.binary(max_size=200), st.sampled_from(["zones.yaml", "zones.csv"]))
    def test_any_bytes_are_items_or_problems(self, data: bytes, name: str) -> None:
        placed, problems = imports.parse_files([SourceFile(name, data)])
        assert placed or problems

    @given(st.text(alphabet="zones: -[]{}\n\"'&*!|>,?a1", max_size=120))
    def test_any_text_of_yaml_signs_is_items_or_problems(self, text: str) -> None:
        placed, problems = imports.parse_files([SourceFile("zones.yaml", text.encode())])
        assert placed or problems


@pytest.mark.parametrize(
    ("field", "text", "fix"),
    [
        ("high_c", "41 °F", "write 5"),
        ("high_c", "-0,4F", "write -18"),
        ("high_c", "5", "write 5"),
        ("high_c", "278.15 K", "write 5"),
        ("weight_g", "1.2 kg", "write 1200"),
        ("volume_ml", "1 l", "write 1000"),
        ("minutes", "4 h", "write 240"),
        ("value_cents", "$4.29", "write 429"),
        ("distance_km", "300 mi", "write 482.8"),
        ("high_c", "warm", ""),
        ("high_c", "5 kg", ""),
        ("name", "5 kg", ""),
    ],
)
def test_a_quantity_in_another_unit_is_converted_in_the_fix(field: str, text: str, fix: str) -> None:
    assert unit_fix(field, text) == fix


ZONE = "ATL1-FRZ1,ATL1,Freezer,frozen,-22,-28,-18"
ZONE_COLUMNS = "zone_id,site_id,name,temperature_class,setpoint_c,low_c,high_c"


def test_a_column_that_is_missing_is_told_once_and_not_at_each_of_its_rows(kernel: Kernel) -> None:
    rows = "\n".join([ZONE_COLUMNS, *(ZONE.replace("FRZ1", f"FRZ{n}") for n in range(1, 40))])
    with pytest.raises(Invalid) as caught:
        imports.check_import(kernel.reader(), [SourceFile("zones.csv", rows.encode())])
    missing = [(p.line, p.field, p.fix) for p in caught.value.problems if "column" in p.message]
    assert missing == [
        (1, "capacity_pallets", "add the column capacity_pallets"),
        (1, "lag_min", "add the column lag_min"),
    ]
    assert told(caught)[2:] == [], "nothing else is said of rows that cannot be read yet"
    with pytest.raises(Invalid) as caught:
        imports.check_import(kernel.reader(), [SourceFile("sites.csv", b"site_id,name\nATL1,Forest Park\n")])
    fixes = {p.field: p.fix for p in caught.value.problems}
    assert fixes["calendar"] == "a cell cannot hold it: write these items as YAML"
    assert fixes["capacity"] == "add a column for each part, named capacity.PART"
    assert fixes["city"] == "add the column city"


def test_an_item_that_is_there_twice_says_on_which_line_it_was_first(kernel: Kernel) -> None:
    first, again = "locations.csv", "more.yaml"
    csv = b"location_id,zone_id,site_id,location_kind\nATL1-FRZ1-A01-01,ATL1-FRZ1,ATL1,bulk\n"
    yaml = (
        b"locations:\n- location_id: ATL1-FRZ1-A01-01\n  zone_id: ATL1-FRZ1\n"
        b"  site_id: ATL1\n  location_kind: dark\n- location_id: ATL1-FRZ1-A01-01\n"
        b"  zone_id: ATL1-FRZ1\n  site_id: ATL1\n  location_kind: bulk\n"
    )
    with pytest.raises(Invalid) as caught:
        imports.load_items([SourceFile(first, csv), SourceFile(again, yaml)])
    messages = [(p.line, p.message) for p in caught.value.problems]
    assert (5, "may not be 'dark'") in messages
    twice = "location ATL1-FRZ1-A01-01 is in this change twice, first on line 2 of locations.csv"
    assert (6, twice) in messages


def test_a_problem_says_nothing_of_a_file_where_there_is_none() -> None:
    assert msgspec.json.encode(Problem(field="a", message="b")) == b'{"field":"a","message":"b"}'


def test_json_items_are_told_by_their_place_in_the_change(kernel: Kernel) -> None:
    with pytest.raises(Invalid) as caught:
        kernel.do(DraftChange(change_id="c", items=[group(), site(), zone(lag_min="4 h")], reason="try"))
    assert [(p.field, p.fix) for p in caught.value.problems] == [("items[2].lag_min", "write 240")]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("sites.yaml", "sites:\n  - site_id: ATL1\n    kind: store\n", 3),
        ("sites.csv", "site_id,kind\nATL1,store\n", 2),
    ],
)
def test_the_kind_of_a_site_is_pointed_to_where_it_is_written_as_kind(
    name: str, text: str, line: int
) -> None:
    _, problems = imports.parse_files([SourceFile(name, text.encode())])
    (problem,) = problems
    assert problem.field.rpartition(".")[2] == "kind"
    assert (problem.line, problem.fix) == (line, "write site_kind: store")


def test_a_kind_that_repeats_its_section_is_taken() -> None:
    items, problems = imports.parse_files(
        [SourceFile("a.yaml", b"zones:\n  - {kind: zone, zone_id: ATL1-FRZ3}\n")]
    )
    assert problems == []
    assert items[0].raw == {"kind": "zone", "zone_id": "ATL1-FRZ3"}


def test_the_example_of_the_page_about_the_network_can_be_imported() -> None:
    page = (Path(__file__).parents[2] / "docs/network.md").read_text()
    (example,) = re.findall(r"^```yaml\n(sites:.*?)^```", page, re.MULTILINE | re.DOTALL)
    items = imports.load_items([SourceFile("example.yaml", example.encode())])
    assert [item["kind"] for item in items] == ["site", "zone"]
