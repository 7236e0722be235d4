"""Tower and node witness each other; a tower that was put back is found; personal data goes with its keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coldgrid.evidence import tiles
from coldgrid.evidence.checkpoints import make_checkpoints
from coldgrid.evidence.forks import SettleFork, forks
from coldgrid.evidence.notes import parse_note, verify_note
from coldgrid.evidence.tiles import LogId
from coldgrid.evidence.witness import witnessed
from coldgrid.kernel.database import open_database
from coldgrid.kernel.personal import EraseSubject, subjects_in
from coldgrid.network.groups import get_group
from coldgrid.sync.messages import Code
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel.rooms import Bump
from tests.network.master import put_in_force
from tests.sync.pair import Node, Tower, network_of, own_log
from tests.telemetry.cold_room import sensor


def test_the_tower_cosigns_a_nodes_checkpoints(kernel: Kernel) -> None:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        for _ in range(3):
            own.do(Bump(site_id="ATL1", name="a"))
            node.sign()
            node.talk()
            head = tiles.head(own.reader(), LogId("ATL1", 1))
            assert head is not None
            signed = verify_note(parse_note(head.note.encode()), [tower.notary.signer.witness_key])
            assert [one.key.name for one in signed] == ["coldgrid"]
        assert [one.log_name for one in witnessed(kernel.reader())] == ["coldgrid/ATL1/1"]


def test_a_node_cosigns_the_networks_checkpoints_now_and_then() -> None:
    with network_of("ATL1") as (tower, [node]):
        node.talk()
        make_checkpoints(tower.kernel.decider, tower.notary)
        tower.kernel.advance(11)
        node.kernel.advance(11)
        node.talk()
        assert [one.log_name for one in witnessed(node.kernel.reader())] == ["coldgrid/network/1"]
        tower.kernel.advance(11)
        node.kernel.advance(11)
        put_in_force(tower.kernel, sensor("ATL1-FRZ1-T9"), change_id="change-more")
        node.talk()
        head = tiles.checkpoint(tower.kernel.reader(), LogId("network", 1), first_size(tower))
        assert head is not None
        signed = verify_note(parse_note(head.note.encode()), [node.notary.signer.witness_key])
        assert [one.key.name for one in signed] == ["ATL1.node"]


def first_size(tower: Tower) -> int:
    return tiles.latest(tower.kernel.reader(), LogId("network", 1), 9)[-1].size


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_tower_that_was_put_back_is_found_by_its_nodes(tmp_path: Path, goes_on: bool) -> None:
    place = tmp_path / "tower.db"
    kernel = Kernel(open_database(str(place)))
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        kernel.close()
        shutil.copy(place, tmp_path / "backup.db")
        tower.kernel = kernel = Kernel(open_database(str(place)))
        tower.open_post()
        put_in_force(kernel, sensor("ATL1-FRZ1-T9"), change_id="change-more")
        own.do(Bump(site_id="ATL1", name="a"))
        node.wake()
        node.talk()
        assert own_log(kernel, "ATL1")
        kernel.close()
        tower.kernel = kernel = Kernel(open_database(str(tmp_path / "backup.db")))
        tower.open_post()
        if goes_on:  # and writes other facts under the numbers that the node knows already
            put_in_force(kernel, sensor("ATL1-FRZ1-T8"), change_id="change-other")
        node.kernel.advance(2)
        node.wake()
        node.talk()
        assert node.code == Code.REWOUND
        [found] = forks(kernel.reader())
        assert (found.origin, found.epoch) == ("ATL1", 0), "one node's word stops its own talk only"
        assert found.found, "what the node knows"
        kernel.close()


def test_site_facts_that_a_tower_lost_are_sent_again_once_a_person_has_settled_it(tmp_path: Path) -> None:
    place = tmp_path / "tower.db"
    kernel = Kernel(open_database(str(place)))
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        own.do(Bump(site_id="ATL1", name="a"))
        node.talk()
        kernel.close()
        shutil.copy(place, tmp_path / "backup.db")
        tower.kernel = kernel = Kernel(open_database(str(place)))
        tower.open_post()
        own.do(Bump(site_id="ATL1", name="b"))
        node.wake()
        node.talk()
        kernel.close()
        tower.kernel = kernel = Kernel(open_database(str(tmp_path / "backup.db")))
        tower.open_post()
        node.wake()
        node.talk()
        assert node.code == Code.CLONED, "the node shows a ticket that this tower never gave"
        kernel.do(SettleFork(log_origin="ATL1", log_epoch=1, reason="the tower was put back"))
        node.kernel.advance(2)
        node.talk()
        assert node.up
        assert own_log(kernel, "ATL1") == own_log(own, "ATL1")
        kernel.close()


def test_personal_data_comes_with_its_keys_and_goes_when_the_person_is_erased() -> None:
    with network_of("ATL1") as (tower, [node]):
        node.talk()
        told = [entry for entry in own_log(node.kernel, "network") if subjects_in(entry.body)]
        assert {subject for entry in told for subject in subjects_in(entry.body)} >= {"p-1", "p-2"}
        assert first_address(node) == "+14045550101"
        tower.kernel.do(EraseSubject(subject="p-1", reason="asked"))
        node.talk()
        assert first_address(node) != "+14045550101"
        node.kernel.rebuild()


def first_address(node: Node) -> str:
    contacts = [
        contact for step in get_group(node.kernel.reader(), "GRP-ATL1").steps for contact in step.contacts
    ]
    return contacts[0].address
