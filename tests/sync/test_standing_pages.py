"""What the tower shows of sites on nodes: heard, silent, in quarantine until a person has chosen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from coldgrid.evidence import forks
from coldgrid.evidence.forks import LogForked
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.hosting import place
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.tx import Tx
from coldgrid.sync import standing_pages
from coldgrid.sync.choices import CopyChosen, open_choice, settle
from coldgrid.sync.enrolled import nodes_of
from coldgrid.sync.gate import REGISTRAR
from coldgrid.sync.node_words import ReportClone
from tests.sync.office import CSRF, Client, app_of, office
from tests.sync.tower import TowerPort

HERE, THERE = "aa" * 32, "bb" * 32


class Shop:
    """A tower with two sites on nodes, as somebody sees it."""

    def __init__(self, tower: TowerPort, client: Client) -> None:
        self.tower = tower
        self.client = client
        self.heard: dict[str, datetime] = {}
        self.polling: set[str] = set()

    def text(self, path: str, who: str = "ada") -> str:
        answer = self.client.get(path, headers={"x-as": who, "accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return " ".join(answer.text.split())

    def fork(self, *, epoch: int = 1, why: str = "forked: different histories") -> None:
        found = LogForked(log_origin="ATL1", log_epoch=epoch, size=42, signed=HERE, found=THERE, why=why)
        self.tower.service.call(
            lambda decider: decider.within(
                SYSTEM, NETWORK_ORIGIN, lambda tx: forks.report(tx, [found]), "test"
            )
        ).result()


def move(decider: Decider, site_id: str) -> None:
    """Let a site live on a node."""
    decider.take(NETWORK_ORIGIN, lambda tx: place(tx, site_id, here=False, why="on a node"), "test")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with office(tmp_path) as (tower, _):
        for n, site_id in enumerate(("ATL1", "CLT1")):
            tower.join(tmp_path / str(n), tower.code(site_id))
            tower.service.call(partial(move, site_id=site_id)).result()
        app = app_of(tower, more=standing_pages.handlers)
        with Client(app) as client:
            client.follow_redirects = False
            shop = Shop(tower, client)
            port = SimpleNamespace(app=SimpleNamespace(polling=lambda site_id: site_id in shop.polling))
            app.state.nodes = SimpleNamespace(post=SimpleNamespace(heard=shop.heard), port=port)
            yield shop


def test_a_node_that_speaks_is_heard_and_one_that_does_not_is_silent_since_then(shop: Shop) -> None:
    now = shop.tower.clock.now()
    shop.heard |= {"ATL1": now - timedelta(seconds=4), "CLT1": now - timedelta(minutes=12)}
    assert "heard 4 s ago" in shop.text("/nodes/heard/ATL1")
    silent = shop.text("/nodes/heard/CLT1")
    assert "silent since" in silent
    assert "the site works on by itself" in silent
    line = shop.text("/nodes/heard")
    assert "CLT1" in line
    assert "1 node heard within the last minute" in line


def test_a_quiet_node_whose_request_waits_here_is_not_silent(shop: Shop) -> None:
    shop.heard["ATL1"] = shop.tower.clock.now() - timedelta(minutes=3)
    shop.polling.add("ATL1")
    assert "heard 3 min ago" in shop.text("/nodes/heard/ATL1")


def test_a_site_that_the_tower_hosts_itself_shows_no_line(shop: Shop) -> None:
    assert shop.text("/nodes/heard/RNO1").strip() == ""


def test_a_log_in_quarantine_shows_both_hashes_and_the_choice(shop: Shop) -> None:
    shop.fork()
    assert "/nodes/quarantine/ATL1" in shop.text("/nodes/heard")
    page = shop.text("/nodes/quarantine/ATL1")
    assert HERE in page
    assert THERE in page
    assert "The tower’s copy" in page
    assert "The node’s copy" in page


def test_a_person_chooses_with_a_reason_and_the_choice_waits_for_the_node(shop: Shop) -> None:
    shop.fork()
    fields = {"_csrf": CSRF}
    refused = shop.client.post("/nodes/quarantine/ATL1", data=fields | {"keep": "tower", "reason": "x"})
    assert refused.status_code == 422
    assert "Say what you found" in refused.text
    told = {"keep": "tower", "reason": "the disk was copied to a second PC"}
    done = shop.client.post("/nodes/quarantine/ATL1", data=fields | told)
    assert done.status_code == 303
    page = shop.text("/nodes/quarantine/ATL1")
    assert "the tower’s copy, ada" in page.lower()
    assert "the disk was copied to a second PC" in page
    assert "It is carried out when the node calls next" in page
    chosen = [e for _, e in shop.tower.kernel.events() if isinstance(e, CopyChosen)]
    assert [(event.site_id, event.keep) for event in chosen] == [("ATL1", "tower")]


def test_once_it_is_carried_out_the_page_tells_how_it_ended(shop: Shop) -> None:
    shop.fork()
    told = {"_csrf": CSRF, "keep": "node", "reason": "the tower was put back"}
    shop.client.post("/nodes/quarantine/ATL1", data=told)

    def carry_out(decider: Decider) -> None:
        def work(tx: Tx) -> None:
            choice = open_choice(tx, "ATL1")
            assert choice is not None
            settle(tx, choice, 1, 41, b"leaf", 3)

        decider.within(SYSTEM, NETWORK_ORIGIN, work, "test")

    shop.tower.service.call(carry_out).result()
    page = shop.text("/nodes/quarantine/ATL1")
    assert "No quarantine" in page
    assert "The node&#39;s copy is kept: the tower was put back" in page


def test_a_node_of_which_there_are_two_is_decided_on_its_own_page(shop: Shop) -> None:
    (node,) = nodes_of(shop.tower.kernel.reader(), "ATL1")
    why = "two hosts are both at start 4 of this node"
    report = ReportClone(node_id=node.node_id, serial="7", why=why, at=shop.tower.clock.at)
    shop.tower.do(report, REGISTRAR)
    page = shop.text("/nodes/quarantine/ATL1")
    assert f"Two hosts act as {node.node_id}" in page
    assert f'href="/nodes/{node.node_id}"' in page
    assert "tell the same history" not in page


def test_of_what_the_tower_told_only_its_own_copy_can_be_kept(shop: Shop) -> None:
    shop.fork(epoch=0, why="rewound: the node was told more than is here")
    page = shop.text("/nodes/quarantine/ATL1")
    assert 'value="tower"' in page
    assert 'value="node"' not in page


def test_who_is_no_admin_sees_it_and_cannot_choose(shop: Shop) -> None:
    shop.fork()
    assert "An admin decides this" in shop.text("/nodes/quarantine/ATL1", who="aud")
    told = {"_csrf": CSRF, "keep": "tower", "reason": "because"}
    answer = shop.client.post("/nodes/quarantine/ATL1", data=told, headers={"x-as": "aud"})
    assert answer.status_code == 403
