"""Whoever reads Fahrenheit says so once: for what is sent to them, and for browsers that chose nothing."""

from __future__ import annotations

import re

import pytest

from coldgrid.access.degrees import ChooseUnit, ReadUnit, UnitChosen, unit_of
from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson, AssignSites, PersonNotFound
from coldgrid.kernel import log
from coldgrid.kernel.events import tag_of
from coldgrid.kernel.personal import EraseSubject
from tests.access.conftest import Client
from tests.access.house import House
from tests.access.test_door import post, sign_in
from tests.conftest import Kernel


def chosen(kernel: Kernel) -> list[tuple[str, str]]:
    entries = [entry for entry in log.read_all(kernel.reader()) if entry.type == tag_of(UnitChosen)]
    return [(log.decode_entry(entry).unit.value, entry.audience) for entry in entries]


def test_a_choice_is_a_fact_that_the_person_s_sites_are_told_of(kernel: Kernel) -> None:
    kernel.do(AddPerson(person_id="ana", name="Ana", login="ana", roles=[Role.OPERATOR], sites=["ATL1"]))
    assert unit_of(kernel.reader(), "ana") == ""
    for unit in (ReadUnit.FAHRENHEIT, ReadUnit.FAHRENHEIT, ReadUnit.CELSIUS):
        kernel.do(ChooseUnit(unit=unit), "ana")
    assert chosen(kernel) == [("f", "ATL1"), ("c", "ATL1")], "the same again is no new fact"
    assert unit_of(kernel.reader(), "ana") == "c"
    kernel.rebuild()


def test_a_site_that_a_person_comes_to_is_told_of_their_choice(kernel: Kernel) -> None:
    kernel.do(AddPerson(person_id="ana", name="Ana", login="ana", roles=[Role.OPERATOR], sites=["ATL1"]))
    kernel.do(ChooseUnit(unit=ReadUnit.FAHRENHEIT), "ana")
    kernel.do(AssignSites(person_id="ana", sites=["ATL1", "CLT1"]), "ben")
    assert chosen(kernel) == [("f", "ATL1"), ("f", "CLT1")]
    kernel.rebuild()


def test_a_choice_goes_with_the_person(kernel: Kernel) -> None:
    kernel.do(AddPerson(person_id="ana", name="Ana", login="ana", roles=[Role.OPERATOR]))
    kernel.do(ChooseUnit(unit=ReadUnit.FAHRENHEIT), "ana")
    kernel.do(EraseSubject(subject="ana", reason="asked for it"))
    assert unit_of(kernel.reader(), "ana") == ""
    kernel.rebuild()


def test_nobody_but_a_person_reads_degrees(kernel: Kernel) -> None:
    with pytest.raises(PersonNotFound):
        kernel.do(ChooseUnit(unit=ReadUnit.FAHRENHEIT), "gateway:1")
    assert chosen(kernel) == []


# --- On the account page ------------------------------------------------------------


def shown_in(client: Client) -> str:
    found = re.search(r'data-unit="(.)"', client.get("/account").text)
    assert found
    return found.group(1)


def kept_for(house: House, person_id: str) -> str:
    with house.app.state.reader() as db:
        return unit_of(db, person_id)


@pytest.mark.parametrize("path", ["/account/unit", "/preferences"])
def test_one_chooses_on_the_account_page_or_in_the_menu_and_other_browsers_follow(
    client: Client, house: House, path: str
) -> None:
    sign_in(client, "ben")
    assert shown_in(client) == "c"
    assert post(client, path, unit="f").status_code == 303
    assert shown_in(client) == "f"
    assert kept_for(house, "ben") == "f"
    for person_id, unit in (("ben", "f"), ("cleo", "c")):
        client.cookies.clear()  # another browser
        sign_in(client, person_id)
        assert shown_in(client) == unit


def test_the_account_page_puts_aside_what_this_browser_chose_before(client: Client, house: House) -> None:
    sign_in(client, "ben")
    post(client, "/preferences", unit="c")
    post(client, "/account/unit", unit="f")
    assert shown_in(client) == "f"


def test_a_theme_is_a_matter_of_the_browser_alone(client: Client, house: House) -> None:
    sign_in(client, "ben")
    assert post(client, "/preferences", theme="dark").status_code == 303
    assert kept_for(house, "ben") == ""


def test_a_unit_that_is_none_is_refused_beside_its_field(client: Client) -> None:
    sign_in(client, "ben")
    answer = post(client, "/account/unit", unit="k")
    assert answer.status_code == 422
    assert "Choose °C or °F" in answer.text
    assert shown_in(client) == "c"
