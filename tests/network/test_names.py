"""Naming standards: what is right, what is put right, and what cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.network import names
from coldgrid.network.names import STANDARDS


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        ("site", "atl1", "ATL1"),
        ("site", "ATL", "ATL1"),
        ("site", "ATL01", "ATL1"),
        ("zone", "atl1-frz1", "ATL1-FRZ1"),
        ("zone", "ATL1 Freezer 2", "ATL1-FRZ2"),
        ("zone", "atl1_chilled–03", "ATL1-CHL3"),
        ("location", "atl1-frz1-a1-2", "ATL1-FRZ1-A01-02"),
        ("location", "ATL1-FRZ1-dock 3", "ATL1-FRZ1-DOCK-03"),
        ("location", "ATL1-FRZ1-quarantine-1", "ATL1-FRZ1-QRN-01"),
        ("sensor", "atl1-frz1-temp1", "ATL1-FRZ1-T1"),
        ("sensor", "ATL1-FRZ1-defrost-02", "ATL1-FRZ1-F2"),
        ("lane", "atl1>clt1", "ATL1-CLT1"),
        ("lane", "ATL1 to CLT1", "ATL1-CLT1"),
        ("group", "atl1", "GRP-ATL1"),
        ("product", "ice_van_1l", "ICE-VAN-1L"),
        ("owner", "north bay", "NORTH-BAY"),
    ],
)
def test_a_common_misspelling_is_put_right(kind: str, written: str, meant: str) -> None:
    problems = STANDARDS[kind].check("id", written)
    assert [problem.fix for problem in problems] == [f"did you mean {meant}?"]
    assert STANDARDS[kind].check("id", meant) == []


@pytest.mark.parametrize(
    ("kind", "written"),
    [("site", "Atlanta"), ("zone", "ATL1-XYZ1"), ("location", "ATL1-FRZ1-A012"), ("site", "")],
)
def test_a_name_that_cannot_be_told_gets_the_rule_and_an_example(kind: str, written: str) -> None:
    (problem,) = STANDARDS[kind].check("id", written)
    assert problem.fix == f"{STANDARDS[kind].means}, like {STANDARDS[kind].example}"


@pytest.mark.parametrize("kind", list(STANDARDS))
def test_every_standard_allows_its_own_example(kind: str) -> None:
    assert STANDARDS[kind].check("id", STANDARDS[kind].example) == []


def test_look_alikes_from_other_alphabets_are_not_names() -> None:
    assert names.SITE.check("id", "АТL1") != []  # noqa: RUF001 (the first two letters are Cyrillic)
    assert names.ZONE.check("id", "ATL1-FRZ١") != []  # noqa: RUF001 (an Arabic digit)


def test_a_huge_name_is_refused_without_repeating_it() -> None:
    (problem,) = names.SITE.check("id", "A" * 1_000_000)
    assert len(problem.message) < 200


@given(st.sampled_from(list(STANDARDS)), st.text(max_size=40))
def test_a_suggestion_follows_its_standard(kind: str, written: str) -> None:
    spelt = STANDARDS[kind].suggest(written)
    assert spelt is None or STANDARDS[kind].allows(spelt)


@given(st.sampled_from(list(STANDARDS)), st.data())
def test_a_right_name_in_small_letters_is_read_back(kind: str, data: st.DataObject) -> None:
    name = data.draw(
        st.from_regex(STANDARDS[kind].pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))
    )
    if kind != "person" and STANDARDS[kind].allows(name):
        assert STANDARDS[kind].suggest(name.lower()) == name


def test_what_is_in_a_place_is_named_after_it() -> None:
    assert names.below("zone_id", "ATL1-FRZ1", "site", "ATL1") == []
    (problem,) = names.below("zone_id", "ATL1-FRZ1", "site", "CLT1")
    assert problem.fix == "begin it with CLT1-"
