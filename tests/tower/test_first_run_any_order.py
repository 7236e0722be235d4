"""The first run in any order of its forms: only its own end ends it, and nothing in it is a dead end."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from coldgrid.network.profile import profile_of, set_up_open
from coldgrid.network.sites import site_labels
from tests.tower.new_network import SITE, Guest, NewNetwork, guest_of, new_network

pytestmark = pytest.mark.timeout(180)
STEPS = ("network", "site", "products", "sensor", "people", "summary")
POSTS: dict[str, tuple[str, dict[str, Any]]] = {
    "network": ("/first-run/network", {"name": "Frostwerk", "unit": "c"}),
    "site": ("/first-run/site", dict(SITE)),
    "products": ("/first-run/products", {"products": ["ICE-CREAM"]}),
    "sensor": ("/first-run/sensor", {"zone_id": "CGN1-FRZ1", "unit": "C", "interval_s": "60"}),
    "own": ("/first-run/people/own", {"mobile": "+491701234567", "email": "", "webhook": ""}),
    "try": ("/first-run/people/try", {"person_id": "p", "channel": "sms"}),
    "files": ("/first-run/site/import", {}),
    "product files": ("/first-run/products/import", {}),
    "finish": ("/first-run/finish", {}),
    **{
        f"{step} for later": (f"/first-run/skip/{step}", {})
        for step in ("site", "products", "sensor", "people")
    },
}


def post(guest: Guest, name: str) -> Any:
    """Send a form as a browser that has had its page open since before anything else was done."""
    path, told = POSTS[name]
    token = re.search(r'<meta name="csrf" content="([^"]+)"', guest.get("/people"))
    assert token
    hidden = {"_csrf": token.group(1), "_key": f"key-{random.random()}"}
    return guest.client.post(path, data=hidden | told)


def open_steps(guest: Guest) -> None:
    for step in STEPS:
        guest.get(f"/first-run/{step}")


@pytest.mark.parametrize("first", ["site", "products"])
def test_what_is_put_in_force_before_the_network_has_its_name_does_not_end_the_set_up(
    tmp_path: Path, first: str
) -> None:
    with new_network(tmp_path) as network, guest_of(network) as guest:
        guest.become_admin()
        assert post(guest, first).status_code == 303
        open_steps(guest)
        assert guest.client.get("/first-run").headers["location"] == "/first-run/network"
        assert post(guest, "network").status_code == 303
        assert post(guest, "finish").headers["location"] == "/"


def test_a_refused_draft_before_the_network_has_its_name_does_not_end_it_either(tmp_path: Path) -> None:
    with new_network(tmp_path) as network, guest_of(network) as guest:
        guest.become_admin()
        far: dict[str, Any] = SITE | {"lat": "13.4", "lon": "-152.5"}
        assert guest.send("/first-run/site", "/first-run/site", **far).status_code == 422
        open_steps(guest)


def test_the_end_pressed_twice_or_from_a_second_tab_leads_to_the_same_place(tmp_path: Path) -> None:
    with new_network(tmp_path) as network, guest_of(network) as guest:
        guest.become_admin()
        post(guest, "network")
        assert [post(guest, "finish").headers.get("location") for _ in range(2)] == ["/", "/"]


@pytest.mark.parametrize("seed", range(4))
def test_in_any_order_with_restarts_nothing_is_a_dead_end(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    names = [name for name in POSTS if name != "finish"]
    chance.shuffle(names)
    parts = [names[:4], names[4:9], names[9:]]
    for number, part in enumerate(parts):  # each with a process of its own
        with new_network(tmp_path) as network, guest_of(network) as guest:
            if number == 0:
                guest.become_admin()
            else:
                guest.sign_in("ana")
            for name in part:
                answer = post(guest, name)
                assert answer.status_code in (200, 303, 404, 409, 422), (name, answer.text[:300])
                if answer.status_code == 409:
                    assert "another" in answer.text or "first" in answer.text, (name, answer.text)
                open_steps(guest)
    with new_network(tmp_path) as network, guest_of(network) as guest:
        guest.sign_in("ana")
        for name in ("network", "site", "products", "sensor"):
            post(guest, name)
        open_steps(guest)
        assert post(guest, "finish").headers["location"] == "/"
        check_done(network)


def test_an_address_that_forms_go_to_opened_anew_leads_to_the_page_of_its_form(tmp_path: Path) -> None:
    with new_network(tmp_path) as network, guest_of(network) as guest:
        guest.become_admin()
        post(guest, "network")
        post(guest, "site")
        for path, page in (
            ("site/import", "site"),
            ("products/import", "products"),
            ("people/own", "people"),
            ("people/colleague", "people"),
            ("sensor/CGN1-FRZ1-T1/token", "sensor/CGN1-FRZ1-T1"),
        ):
            answer = guest.client.get(f"/first-run/{path}")
            assert (answer.status_code, answer.headers.get("location")) == (303, f"/first-run/{page}"), path
        assert guest.client.get("/first-run/skip/site").headers["location"] == "/first-run"
        assert guest.client.get("/network/changes/c-1/approve").headers["location"] == "/network/changes/c-1"
        machine = guest.client.get("/first-run/people/own", headers={"accept": "application/json"})
        assert machine.status_code == 405


def check_done(network: NewNetwork) -> None:
    with network.tower.reader() as db:
        profile = profile_of(db)
        assert profile is not None
        assert profile.name == "Frostwerk"
        assert [site.site_id for site in site_labels(db)] == ["CGN1"]
        assert not set_up_open(db)
