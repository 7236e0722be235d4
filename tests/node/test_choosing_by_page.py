"""A fork between a tower and a node as processes, settled by a person in a real browser."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson
from coldgrid.evidence.forks import open_forks
from coldgrid.kernel.authorize import AllowAll
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.set_aside import asides
from coldgrid.kernel.settings import load_settings
from coldgrid.node.application import build_node
from coldgrid.node.folder import settings_in
from coldgrid.node.host import LiveHost
from coldgrid.orchestration.escalation import pages_of
from coldgrid.orchestration.incidents import closed_incidents, open_incidents
from coldgrid.stock.inventory import units_in_zone
from coldgrid.stock.pauses import PauseReason, PauseZone, all_open_pauses
from coldgrid.stock.transfers import ShipTransfer
from coldgrid.sync.receiving import links
from coldgrid.tower.application import build_tower
from tests.access.house import PASSWORD, known_hash
from tests.node.machines import node_machine, picture, read, running, seed_tower, tower_machine
from tests.patience import eventually
from tests.ports import free_ports
from tests.webkit.browser import DESKTOP, PHONE, chromium, visiting

TOWER_PORT, SYNC_PORT, NODE_PORT = free_ports(3)
URL = f"https://127.0.0.1:{SYNC_PORT}"
ZONES = ("ATL1-FRZ1", "ATL1-CHL1", "ATL1-CHL2")
WITHIN_S = 150.0


def pause(zone_id: str) -> Callable[[Decider], Any]:
    """A fact that is easy to tell apart."""
    command = PauseZone(
        site_id="ATL1", zone_id=zone_id, pause_id=f"p-{zone_id}", reason=PauseReason.EXCURSION, cause_id="c"
    )
    return lambda decider: decider.do(command)


def ship(decider: Decider) -> None:
    """A fact that another site is told of."""
    unit = next(u for zone in ZONES for u in units_in_zone(Reads(decider.connection), zone) if u.sscc)
    decider.do(ShipTransfer(site_id="ATL1", transfer_id="t-1", to_site_id="CLT1", sscc=(unit.sscc,)))


class Forked:
    """A node whose disk was put back, and which went on by itself while its tower was away."""

    def __init__(self, folder: Path) -> None:
        seed_tower(folder)
        self.folder, self.home = folder, folder / "atl1"
        settings = load_settings(
            {}, database=str(folder / "tower.db"), signing_key=str(folder / "signing.key")
        )
        tower = build_tower(settings, LiveHost(CedarAuthorizer()))
        tower.decider.do(
            AddPerson(
                person_id="boss",
                name="Ada Boss",
                login="boss",
                roles=[Role.ADMIN],
                sites=None,
                password_hash=known_hash(),
                temporary=False,
            )
        )
        tower.decider.close()
        self.tower = tower_machine(folder, TOWER_PORT, SYNC_PORT)
        self.node = node_machine(self.home, NODE_PORT, folder / "atl1.log")
        self.tower_db, self.node_db = folder / "tower.db", self.home / "node.db"

    def offline(self, *work: Callable[[Decider], Any]) -> None:
        """Let the node decide something while nobody serves it."""
        parts = build_node(settings_in(self.home, {}), LiveHost(AllowAll()))
        for one in work:
            one(parts.decider)
        parts.decider.close()

    def same(self) -> bool:
        here, there = (
            read(db, lambda reader: picture(reader, "ATL1")) for db in (self.tower_db, self.node_db)
        )
        return here == there

    def fork(self, lost: Callable[[Decider], Any], own: Callable[[Decider], Any]) -> None:
        """`lost`: what only the tower has in the end; `own`: what only the node has."""
        self.tower.start()
        code = self.tower.command("tower", "code", "ATL1")
        self.node.command("node", "join", URL, "--code", code, "--data", str(self.home))
        self.node.start()
        eventually(self.same, "both are the same", WITHIN_S)
        self.node.kill()
        copy = self.folder / "copy.db"
        with closing(sqlite3.connect(self.node_db)) as here, closing(sqlite3.connect(copy)) as there:
            here.backup(there)
        self.offline(lost)
        self.node.start()
        eventually(self.same, "the tower heard what the node will forget", WITHIN_S)
        self.node.kill()
        self.tower.kill()
        for suffix in ("", "-wal", "-shm"):
            self.node_db.with_name(f"node.db{suffix}").unlink(missing_ok=True)
        copy.rename(self.node_db)
        self.offline(own)
        self.tower.start()
        self.node.start()
        eventually(lambda: bool(read(self.tower_db, open_forks)), "the tower noticed", WITHIN_S)


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Forked]:
    made = Forked(tmp_path)
    with running(made.tower, made.node):
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def sign_in(page: Page) -> None:
    page.goto("/login")
    page.fill("#f-login", "boss")
    page.fill("#f-password", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_load_state()


def choose(page: Page, keep: str) -> None:
    """By keyboard, as a person does who has no mouse."""
    page.goto("/nodes/quarantine/ATL1")
    radio = page.locator(f"input[name=keep][value={keep}]")
    radio.focus()
    page.keyboard.press("Space")
    page.locator("[name=reason]").fill("its disk was put back; compared with the paper on the door")
    page.locator("[name=reason]").press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "on record" in page.inner_text("body")


def paused(db: Reader) -> set[str]:
    return {one.zone_id for one in all_open_pauses(db) if one.zone_id.startswith("ATL1")}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("keep", "look"), [("tower", DESKTOP), ("node", PHONE)])
def test_a_person_keeps_one_copy_and_both_sides_tell_it(
    forked: Forked, browser: Browser, keep: str, look: dict[str, int]
) -> None:
    forked.fork(lost=pause(ZONES[0]), own=pause(ZONES[1]))
    with visiting(browser, forked.tower.address, viewport=look) as visit:
        sign_in(visit.page)
        visit.open("/nodes/quarantine/ATL1")
        assert visit.violations() == []
        [incident] = [one for one in read(forked.tower_db, open_incidents) if one.site_id == "network"]
        assert read(forked.tower_db, lambda db: pages_of(db, incident.incident_id)), "somebody is paged"
        visit.open(f"/incidents/{incident.incident_id}")
        assert "ATL1" in visit.page.inner_text("body")
        assert visit.violations() == []
        choose(visit.page, keep)
        eventually(lambda: not read(forked.tower_db, open_forks), "the choice is carried out", WITHIN_S)
        eventually(forked.same, "both are the same", WITHIN_S)
        kept = {"tower": ZONES[0], "node": ZONES[1]}[keep]
        assert read(forked.tower_db, paused) == read(forked.node_db, paused) == {kept}
        assert [one.origin for one in read(forked.tower_db, asides)] == ["ATL1"]
        page = visit.open("/nodes/quarantine/ATL1")
        told = page.inner_text("body")
        assert "Ada Boss" in told
        assert "compared with the paper" in told
        assert "No quarantine" in told
        assert visit.violations() == []
        page.screenshot(path=str(forked.folder / f"settled-{keep}.png"), full_page=True)
    closed = [one.incident_id for one in read(forked.tower_db, closed_incidents)]
    assert incident.incident_id in closed


@pytest.mark.timeout(600)
def test_what_another_site_was_told_of_is_not_given_up_and_the_page_says_so(
    forked: Forked, browser: Browser
) -> None:
    forked.fork(lost=ship, own=pause(ZONES[1]))
    assert read(forked.tower_db, links)
    with visiting(browser, forked.tower.address, viewport=DESKTOP) as visit:
        sign_in(visit.page)
        choose(visit.page, "node")

        def refused() -> bool:
            return "other sites were told" in visit.page.request.get("/nodes/quarantine/ATL1").text()

        eventually(refused, "the page says that it cannot be done", WITHIN_S)
        assert "other sites were told" in visit.open("/nodes/quarantine/ATL1").inner_text("body")
        assert visit.violations() == []
        assert read(forked.tower_db, open_forks), "nothing was given up"
        choose(visit.page, "tower")
        eventually(lambda: not read(forked.tower_db, open_forks), "the choice is carried out", WITHIN_S)
        eventually(forked.same, "both are the same", WITHIN_S)
        assert read(forked.node_db, paused) == set()
