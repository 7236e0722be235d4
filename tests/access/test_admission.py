"""Admission: which sites are told of a person, and of their password's hash."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.access import managing, people
from coldgrid.access.admission import gained, told_hash_of, told_of
from coldgrid.access.roles import Role
from coldgrid.access.vouching import check
from coldgrid.access.words import (
    AddPerson,
    AdmitPeople,
    AssignSites,
    GrantRole,
    PersonAdmitted,
    ReinstatePerson,
    SetPassword,
    SuspendPerson,
)
from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.events import Entry
from coldgrid.kernel.personal import EraseSubject
from tests.access.house import PASSWORD, known_hash
from tests.conftest import Kernel

SITES = st.sets(st.sampled_from(["ATL1", "CLT1", "SEA1"]))
ASSIGNED = st.none() | SITES


# --- Decisions --------------------------------------------------------------------


def test_who_acts_at_all_sites_is_known_at_all_and_has_a_hash_at_none() -> None:
    assert told_of(None) == ("*",)
    assert told_of(["ATL1"], None) == ("*",)
    assert told_hash_of(None) == ()
    assert told_of(["SEA1", "ATL1"], ["CLT1"]) == ("ATL1", "CLT1", "SEA1")
    assert told_of([]) == ()


@given(ASSIGNED, ASSIGNED)
def test_every_site_that_a_change_concerns_is_told_and_every_new_one_learns_who_it_is(
    before: Any, after: Any
) -> None:
    told, new = set(told_of(before, after)), set(gained(before, after))
    everyone = before is None or after is None
    assert told == ({"*"} if everyone else before | after)
    if after is None:
        assert new == (set() if before is None else {"*"})
    else:
        assert new == after - (before or set())
        assert new <= after


# --- Commands ---------------------------------------------------------------------


def entries(kernel: Kernel, person_id: str) -> list[Entry]:
    return log.read_stream(kernel.reader(), f"person/{person_id}")


def audiences(kernel: Kernel, person_id: str) -> list[tuple[str, str]]:
    return [(entry.type.partition(".")[2], entry.audience) for entry in entries(kernel, person_id)]


def add(kernel: Kernel, person_id: str, sites: list[str] | None, **more: Any) -> None:
    command = AddPerson(
        person_id=person_id,
        name=f"{person_id} Silva",
        login=f"{person_id}@example.com",
        roles=[Role.OPERATOR],
        sites=sites,
        password_hash=known_hash(),
        temporary=False,
    )
    kernel.do(command, actor="root", roles={"admin"}, **more)


def test_facts_about_people_go_where_they_act_and_hashes_only_where_they_are_assigned(kernel: Kernel) -> None:
    add(kernel, "ana", ["ATL1", "CLT1"])
    add(kernel, "boss", None)
    kernel.do(GrantRole(person_id="ana", role=Role.TECHNICIAN), actor="root", roles={"admin"})
    kernel.do(SetPassword(person_id="boss", password_hash=known_hash()), actor="boss")
    kernel.do(SetPassword(person_id="ana", password_hash=known_hash()), actor="ana")
    kernel.do(SuspendPerson(person_id="ana", reason="away"), actor="root", roles={"admin"})
    kernel.do(ReinstatePerson(person_id="ana", reason="back"), actor="root", roles={"admin"})
    both = "ATL1,CLT1"
    kinds = [
        "person_added",
        "role_granted",
        "password_set",
        "role_granted",
        "password_set",
        "person_suspended",
        "person_reinstated",
    ]
    assert audiences(kernel, "ana") == [(kind, both) for kind in kinds]
    assert audiences(kernel, "boss") == [
        ("person_added", "*"),
        ("role_granted", "*"),
        ("password_set", ""),
        ("password_set", ""),
    ]


def test_a_site_that_gains_a_person_is_told_who_it_is_and_who_lost_one_is_told_too(kernel: Kernel) -> None:
    add(kernel, "ana", ["ATL1"])
    kernel.do(AssignSites(person_id="ana", sites=["CLT1"]), actor="root", roles={"admin"})
    assert audiences(kernel, "ana")[3:] == [("sites_assigned", "ATL1,CLT1"), ("person_admitted", "CLT1")]
    [event] = [event for _, event in kernel.events() if isinstance(event, PersonAdmitted)]
    assert event.password_hash == known_hash()
    assert [(one.role, one.granted_by) for one in event.roles] == [(Role.OPERATOR, "root")]
    kernel.do(AssignSites(person_id="ana", sites=None), actor="root", roles={"admin"})
    last = [event for _, event in kernel.events() if isinstance(event, PersonAdmitted)][-1]
    assert audiences(kernel, "ana")[5:] == [("sites_assigned", "*"), ("person_admitted", "*")]
    assert last.password_hash == "", "no site has the hash of who acts at all of them"
    kernel.rebuild()


def test_being_told_again_changes_nothing_at_the_tower(kernel: Kernel) -> None:
    add(kernel, "ana", ["ATL1"])
    add(kernel, "boss", None)
    before = [people.snapshot(kernel.reader(), name) for name in ("ana", "boss")]
    for name in ("ana", "boss"):
        tell = partial(managing.admit, person_id=name, sites=("ATL1",))
        kernel.decider.within(SYSTEM, "network", tell, "test")
    assert [people.snapshot(kernel.reader(), name) for name in ("ana", "boss")] == before
    assert check(kernel.reader(), "boss@example.com", PASSWORD) == "boss"
    kernel.rebuild()


def test_a_site_that_gets_its_own_node_is_told_once_of_whom_it_was_never_told(kernel: Kernel) -> None:
    add(kernel, "ana", ["ATL1"])
    add(kernel, "boss", None)
    add(kernel, "gone", ["ATL1"])
    kernel.do(EraseSubject(subject="gone", reason="asked for it"), actor="root", roles={"admin"})
    before = len(kernel.events())
    kernel.do(AdmitPeople(site_id="ATL1"), actor="root", roles={"admin"})
    assert len(kernel.events()) == before, "everybody was told of when they were added"


def test_people_of_an_older_log_are_told_to_the_site_that_gets_a_node(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managing, "told_of", lambda *sites: ())
    monkeypatch.setattr(managing, "told_hash_of", lambda sites: ())
    add(kernel, "ana", ["ATL1"])
    add(kernel, "boss", None)
    add(kernel, "sea", ["SEA1"])
    monkeypatch.undo()
    kernel.do(AdmitPeople(site_id="ATL1"), actor="root", roles={"admin"})
    told = [event for _, event in kernel.events() if isinstance(event, PersonAdmitted)]
    assert [(event.person_id, bool(event.password_hash)) for event in told] == [
        ("ana", True),
        ("boss", False),
    ]
    kernel.do(AdmitPeople(site_id="ATL1"), actor="root", roles={"admin"})
    assert len([event for _, event in kernel.events() if isinstance(event, PersonAdmitted)]) == 2
    kernel.rebuild()


@pytest.mark.parametrize(
    ("home", "login", "who"),
    [
        ("", "ana@example.com", "ana"),
        ("", "boss@example.com", "boss"),
        ("ATL1", "ana@example.com", "ana"),
        ("ATL1", "ANA@example.com ", "ana"),
        ("CLT1", "ana@example.com", None),
        ("ATL1", "boss@example.com", None),
        ("ATL1", "nobody@example.com", None),
    ],
)
def test_a_node_lets_in_who_is_assigned_to_its_site(
    kernel: Kernel, home: str, login: str, who: str | None
) -> None:
    add(kernel, "ana", ["ATL1"])
    add(kernel, "boss", None)
    assert check(kernel.reader(), login, PASSWORD, home) == who
    assert check(kernel.reader(), login, PASSWORD + "x", home) is None
