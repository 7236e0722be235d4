"""The tower's map shows one country. A site elsewhere is listed below it: nobody sees a mark off the map."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.tower.new_network import Guest, guest_of, new_network

WITHIN_S = 60


def shown(guest: Guest, path: str) -> tuple[str, str]:
    """What the map draws and what stands below it, once the tower has looked at its sites."""
    ends_s = time.monotonic() + WITHIN_S
    while "pin-CGN1" not in (text := guest.get(path)):
        assert time.monotonic() < ends_s, "the site is not shown"
        time.sleep(0.2)
    drawn, _, below = text.partition('<svg class="us"')[2].partition("</svg>\n<nav")
    return drawn, below.partition("</nav>")[0]


def test_a_site_beyond_the_map_is_listed_below_it_with_its_state_and_not_drawn(tmp_path: Path) -> None:
    with new_network(tmp_path) as network, guest_of(network) as guest:
        guest.become_admin()
        guest.make_site(lat="50.94", lon="6.96")
        for path in ("/", "/tower/map"):
            drawn, below = shown(guest, path)
            assert "pin-" not in drawn
            assert re.search(r'id="pin-CGN1" href="/\?site=CGN1"', below)
            assert "CGN1 Köln, NW, no data, silent" in below


def test_a_site_without_a_gateway_leads_to_where_one_is_set_up(tmp_path: Path) -> None:
    with new_network(tmp_path) as network, guest_of(network) as guest:
        guest.become_admin()
        guest.make_site()
        shown(guest, "/")
        assert 'href="/sites/CGN1/devices">No gateway yet' in guest.get("/sites/CGN1")
        assert 'href="/network/new/gateway"' in guest.get("/sites/CGN1/devices")


def test_a_site_on_the_map_is_drawn_and_not_listed_again(tmp_path: Path) -> None:
    with new_network(tmp_path) as network, guest_of(network) as guest:
        guest.become_admin()
        guest.make_site(lat="33.62", lon="-84.37", timezone="America/New_York")
        drawn, below = shown(guest, "/")
        assert drawn.count('id="pin-CGN1"') == 1
        assert below == ""
