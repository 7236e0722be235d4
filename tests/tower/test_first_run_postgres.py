"""The first run on a PostgreSQL database in which nothing is: not a table, not a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from coldgrid.network.profile import profile_of
from coldgrid.telemetry import store
from tests.conftest import POSTGRES, postgres_url
from tests.tower.new_network import NewNetwork, guest_of, new_network
from tests.tower.test_first_run import _walk, heard_in

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def empty() -> Iterator[str]:
    """The address of a schema without tables."""
    own = postgres_url().split("search_path%3D")[1].split("%20")[0]
    schema = f"{own}_first_run"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        connection.execute(f'CREATE SCHEMA "{schema}"')
        yield postgres_url().replace(f"search_path%3D{own}", f"search_path%3D{schema}")
        connection.execute(f'DROP SCHEMA "{schema}" CASCADE')


def test_an_empty_postgresql_database_is_set_up_from_the_first_page_to_a_watched_site(
    empty: str, tmp_path: Path
) -> None:
    with new_network(tmp_path, database=empty) as network, guest_of(network) as guest:
        guest.become_admin()
        guest.send("/first-run/network", "/first-run/network", name="Frostwerk", unit="c")
        _walk(guest)
        assert "CGN1-FRZ1-T1 is heard" in heard_in(guest.get("/first-run/summary"))
        assert guest.send("/first-run/finish", "/first-run/summary").headers["location"] == "/"
        assert "Köln-Süd 冷" in guest.get("/sites/CGN1")
        holds_what_was_said(network)
    with new_network(tmp_path, database=empty) as again, guest_of(again) as back:
        back.sign_in("ana")
        assert "Köln-Süd 冷" in back.get("/sites/CGN1"), "it is there after a start anew"
        holds_what_was_said(again)


def holds_what_was_said(network: NewNetwork) -> None:
    with network.tower.reader() as db:
        profile = profile_of(db)
        assert profile is not None
        assert profile.finished_at is not None
        last = store.last_reading(db, "CGN1-FRZ1-T1")
    assert last is not None
    assert last.value_c == -21.4
