"""A network that is set up from files has somebody to page about itself, or says who is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.network.groups import NETWORK_GROUP, get_group, group_of, has_network_group, on_duty
from coldgrid.network.rotas import Channel
from tests.tower.new_network import Guest, NewNetwork, guest_of, new_network

pytestmark = pytest.mark.timeout(180)

GROUPS = """
groups:
- group_id: GRP-ATL1
  name: Atlanta on call
  timezone: America/New_York
  people:
    - {person_id: ana, channel: email, address: ana@example.com, drive_min: 15}
    - {person_id: siren, channel: siren, address: sirens/ATL1}
  rotas:
    - {name: on-call, starts_on: 2026-01-01, members: [ana]}
    - {name: loud, starts_on: 2026-01-01, members: [siren]}
  steps:
    - {after_min: 0, rota: on-call}
    - {after_min: 10, contacts: [{person_id: siren, channel: siren, address: sirens/ATL1}]}
    - {after_min: 15, rota: loud}
    - {after_min: 20, contacts: [{person_id: ben, channel: sms, address: "+14045550142"}]}
"""
NETWORK_GROUP_TOO = """
- group_id: GRP-NET
  name: Network on call
  timezone: America/New_York
  people: [{person_id: noc, channel: email, address: noc@example.com}]
  rotas: [{name: on-call, starts_on: 2026-01-01, members: [noc]}]
  steps: [{after_min: 0, rota: on-call}]
"""
LOUD_ALONE = """
groups:
- group_id: GRP-ATL1
  name: Atlanta on call
  timezone: America/New_York
  steps: [{after_min: 0, contacts: [{person_id: siren, channel: siren, address: sirens/ATL1}]}]
"""
SITES = """
sites:
- site_id: ATL1
  name: Atlanta
  site_kind: dc
  city: Atlanta
  region: GA
  country: US
  lat: 33.6
  lon: -84.4
  timezone: America/New_York
  calendar: {hours: [{days: [mon]}]}
  sla_tier: gold
  capacity: {}
  escalation_group: GRP-ATL1
"""
MISSING = "Nobody is paged about the network itself"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[NewNetwork]:
    with new_network(tmp_path) as made:
        yield made


@pytest.fixture
def guest(network: NewNetwork) -> Iterator[Guest]:
    with guest_of(network) as made:
        made.become_admin()
        made.send("/first-run/network", "/first-run/network", name="Frostwerk", unit="c")
        yield made


def take(guest: Guest, *texts: str) -> Any:
    files = [(f"{n}.yaml", text.encode()) for n, text in enumerate(texts)]
    return guest.send("/first-run/site/import", "/first-run/site", files=files)


def heard_in(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", page).split())


def test_files_that_name_nobody_for_the_network_give_it_the_people_of_the_first_site(
    network: NewNetwork, guest: Guest
) -> None:
    assert take(guest, GROUPS, SITES).status_code == 303
    with network.tower.reader() as db:
        now = datetime.now(UTC)
        (duty,) = on_duty(db, NETWORK_GROUP, now)
        group, paged = get_group(db, NETWORK_GROUP), group_of(db, NETWORK_ORIGIN, at=now)
    assert [(one.address, one.drive_min) for one in duty.contacts] == [("ana@example.com", None)]
    assert [step.after_min for step in group.steps] == [0, 20]
    channels = {contact.channel for step in paged.steps for contact in step.contacts}
    assert channels == {Channel.EMAIL, Channel.SMS}, "no siren empties a floor about the network"
    said = heard_in(guest.get("/first-run/products"))
    assert "GRP-NET" in said
    assert "GRP-ATL1" in said
    assert MISSING not in heard_in(guest.get("/first-run/summary"))


def test_files_that_come_one_after_the_other_do_so_too(network: NewNetwork, guest: Guest) -> None:
    assert take(guest, GROUPS).status_code == 303
    with network.tower.reader() as db:
        assert not has_network_group(db), "no site yet: nobody knows whose group it would be"
    assert take(guest, SITES).status_code == 303
    with network.tower.reader() as db:
        (duty,) = on_duty(db, NETWORK_GROUP, datetime.now(UTC))
    assert [contact.address for contact in duty.contacts] == ["ana@example.com"]


def test_files_that_name_who_answers_for_the_network_are_taken_as_they_are(
    network: NewNetwork, guest: Guest
) -> None:
    assert take(guest, GROUPS + NETWORK_GROUP_TOO, SITES).status_code == 303
    with network.tower.reader() as db:
        (duty,) = on_duty(db, NETWORK_GROUP, datetime.now(UTC))
    assert [contact.address for contact in duty.contacts] == ["noc@example.com"]
    assert "GRP-NET" not in heard_in(guest.get("/first-run/products"))


def test_bad_lines_are_told_alone(network: NewNetwork, guest: Guest) -> None:
    answer = take(guest, GROUPS, SITES.replace("country: US", "country: USA"))
    assert answer.status_code == 422
    assert "GRP-NET" not in heard_in(answer.text)
    with network.tower.reader() as db:
        assert not has_network_group(db)


def test_a_network_that_nobody_answers_for_says_so_before_its_set_up_ends(
    network: NewNetwork, guest: Guest
) -> None:
    assert take(guest, LOUD_ALONE, SITES).status_code == 303
    with network.tower.reader() as db:
        assert not has_network_group(db)
    page = guest.get("/first-run/summary")
    assert MISSING in heard_in(page)
    assert "GRP-NET" in heard_in(page)
    assert 'href="/network/new/group"' in page
    guest.get("/network/new/group")
    guest.make_site()
    assert MISSING not in heard_in(guest.get("/first-run/summary"))
