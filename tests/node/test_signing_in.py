"""Signing in at a node: its site's people by their hash, who acts at all sites by the tower's word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.roles import Role
from coldgrid.access.vouching import Asked, TowerSilent, Vouched, vouch
from coldgrid.node.vouching import KIND, Voucher
from coldgrid.sync import messages as m
from coldgrid.sync import wire
from coldgrid.sync.tls_client import TowerUnreachable
from tests.access.house import PASSWORD, House, housed

Client = TestClient[Litestar]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with housed(tmp_path) as made:
        made.add("boss", Role.ADMIN)
        made.add("ana", Role.OPERATOR, sites=["ATL1"])
        made.add("cleo", Role.OPERATOR, sites=["CLT1"])
        yield made


def tower(house: House, asked: Asked) -> Vouched:
    """What the tower answers; here both stand in one house."""
    with house.app.state.reader() as db:
        return vouch(house.door, db, "ATL1", asked)


def signs_in(house: House, login: str, password: str = PASSWORD) -> int:
    with TestClient(house.app) as client:
        client.follow_redirects = False
        page = client.get("/login").text
        token = re.search(r'name="_csrf" value="([^"]+)"', page)
        assert token is not None
        form = {"login": login, "password": password, "_csrf": token[1]}
        answer = client.post("/login", data=form, headers={"accept": "text/html"})
        if answer.status_code == 303:
            assert client.get("/account", headers={"accept": "text/html"}).status_code == 200
        return answer.status_code


def test_with_the_line_down_the_sites_people_come_in_and_nobody_else(house: House) -> None:
    def silent(asked: Asked) -> Vouched:
        raise TowerSilent

    house.app.state.home, house.app.state.vouch = "ATL1", silent
    assert signs_in(house, "ana") == 303
    assert signs_in(house, "ana", "another password") == 401
    assert signs_in(house, "cleo") == 401, "not of this site"
    assert signs_in(house, "boss") == 503, "only the tower could tell"


def test_with_the_line_up_who_acts_at_all_sites_comes_in_by_the_towers_word(house: House) -> None:
    house.app.state.home = "ATL1"
    house.app.state.vouch = lambda asked: tower(house, asked)
    assert signs_in(house, "boss") == 303
    assert signs_in(house, "boss", "another password") == 401
    assert signs_in(house, "cleo") == 401
    house.app.state.vouch = lambda asked: Vouched(wait_s=60)
    assert signs_in(house, "boss") == 429


def test_the_tower_vouches_for_nobody_who_acts_at_some_sites_and_counts_guesses(house: House) -> None:
    assert tower(house, Asked("boss", PASSWORD)) == Vouched("boss")
    assert tower(house, Asked("ana", PASSWORD)) == Vouched(), "her hash is at her site"
    for _ in range(5):
        assert tower(house, Asked("boss", "guessed")) == Vouched()
    waits = tower(house, Asked("boss", PASSWORD))
    assert not waits.person_id
    assert waits.wait_s > 0


def test_a_node_asks_over_its_link_and_says_so_when_nobody_answers() -> None:
    def answer(frame: bytes, within_s: float) -> bytes:
        ask = wire.expect(wire.decode(frame), m.Ask)
        assert ask.kind == KIND
        asked = msgspec.msgpack.decode(ask.body, type=Asked)
        return wire.encode(m.Told(KIND, msgspec.msgpack.encode(Vouched(asked.login))))

    def nobody(frame: bytes, within_s: float) -> bytes:
        raise TowerUnreachable("no route")

    assert Voucher(answer)(Asked("boss", "x")) == Vouched("boss")
    with pytest.raises(TowerSilent):
        Voucher(nobody)(Asked("boss", "x"))


def test_who_has_a_temporary_password_is_told_at_the_node_where_to_change_it(house: House) -> None:
    house.add("neo", Role.OPERATOR, sites=["ATL1"], temporary=True)
    house.app.state.home = "ATL1"
    with TestClient(house.app) as client:
        token = re.search(r'name="_csrf" value="([^"]+)"', client.get("/login").text)
        assert token is not None
        form = {"login": "neo", "password": PASSWORD, "_csrf": token[1]}
        page = client.post("/login", data=form, headers={"accept": "text/html"}).text
    assert "Choose a password of your own, at the tower." in page
    assert "new_password" not in page, "a form that cannot work is not shown"
