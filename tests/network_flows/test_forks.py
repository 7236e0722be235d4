"""A log that forked pages who answers for the network, again and again, until a person has settled it."""

from __future__ import annotations

import pytest

from coldgrid.evidence import forks
from coldgrid.evidence.forks import LogForked, SettleFork
from coldgrid.kernel import log, outbox
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.events import Entry
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.network.groups import NETWORK_GROUP
from coldgrid.orchestration.escalation import AcknowledgePage, pages_of
from coldgrid.orchestration.incidents import Status, get_incident, open_incidents
from coldgrid.orchestration.runs import runs_of
from coldgrid.sync.node_words import CloneSuspected, NodeRevoked
from coldgrid.tower.rooms import load_rooms
from tests.conftest import T0, Kernel
from tests.network.master import group, put_in_force, small_network

load_rooms()
PAGED = {"person_id": "p-net", "channel": "sms", "address": "+14045550191"}
SECOND = {"person_id": "p-second", "channel": "sms", "address": "+14045550192"}
STEPS = [{"after_min": 0, "contacts": [PAGED]}, {"after_min": 10, "contacts": [SECOND]}]


@pytest.fixture
def network(kernel: Kernel) -> Kernel:
    small_network(kernel)
    put_in_force(
        kernel, group(NETWORK_GROUP, name="Network on call", steps=STEPS), change_id="change-on-call"
    )
    return kernel


def fork(kernel: Kernel) -> str:
    found = LogForked(log_origin="ATL1", log_epoch=1, size=4, signed="aa" * 32, found="bb" * 32, why="forked")
    kernel.decider.within(SYSTEM, NETWORK_ORIGIN, lambda tx: forks.report(tx, [found]), "test")
    kernel.decider.settle()
    [incident] = [one for one in open_incidents(kernel.reader()) if one.site_id == NETWORK_ORIGIN]
    return incident.incident_id


def paged(kernel: Kernel, incident_id: str) -> list[str]:
    return [page.person_id for page in pages_of(kernel.reader(), incident_id)]


def of_incident(kernel: Kernel) -> list[Entry]:
    kinds = ("incident", "run", "page", "approval")
    return [one for one in log.read_all(kernel.reader()) if one.stream.partition("/")[0] in kinds]


def test_a_fork_pages_who_answers_for_the_network_and_then_the_next(network: Kernel) -> None:
    incident_id = fork(network)
    assert paged(network, incident_id) == ["p-net"]
    told = [outbox.payload_of(network.reader(), one) for one in network.effects()]
    assert [one["to"] for one in told if one] == [PAGED["address"]]
    assert "Find out which copy is right" in str(told)
    network.advance(11)
    assert paged(network, incident_id) == ["p-net", "p-second"]
    assert {one.origin for one in of_incident(network)} == {NETWORK_ORIGIN}
    assert {one.audience for one in of_incident(network)} == {""}, (
        "no site is told of the network's incidents"
    )


def test_who_takes_it_stops_the_paging_and_is_chased_when_nothing_comes_of_it(network: Kernel) -> None:
    incident_id = fork(network)
    [page] = pages_of(network.reader(), incident_id)
    network.do(AcknowledgePage(site_id=NETWORK_ORIGIN, page_id=page.page_id), actor="p-net")
    assert get_incident(network.reader(), incident_id).owner == "p-net"
    network.advance(25)
    assert paged(network, incident_id) == ["p-net"]
    network.advance(10)
    assert len(paged(network, incident_id)) > 1, "half an hour later nobody has said what was found"


def test_when_a_person_has_settled_it_the_incident_is_over_and_nobody_is_paged(network: Kernel) -> None:
    incident_id = fork(network)
    network.do(SettleFork(log_origin="ATL1", log_epoch=1, reason="the right copy is in place"))
    assert get_incident(network.reader(), incident_id).status is Status.CLOSED
    before = paged(network, incident_id)
    network.advance(300)
    assert paged(network, incident_id) == before
    assert [run.outcome for run in runs_of(network.reader(), incident_id)] == ["closed"]
    network.rebuild()


def test_without_a_group_the_incident_says_what_to_set_up(kernel: Kernel) -> None:
    small_network(kernel)
    incident_id = fork(kernel)
    assert paged(kernel, incident_id) == []
    notes = [one for one in of_incident(kernel) if one.type == "orchestration.incident_noted"]
    assert any(NETWORK_GROUP in one.body.decode() for one in notes)


def test_no_site_is_told_who_answers_for_the_network(network: Kernel) -> None:
    defined = {
        one.stream: one.audience
        for one in log.read_all(network.reader())
        if one.type == "network.group_defined"
    }
    assert defined == {"group/GRP-ATL1": "*", f"group/{NETWORK_GROUP}": ""}


def test_two_hosts_with_the_key_of_one_node_page_as_well(network: Kernel) -> None:
    why = "two hosts are both at start 3 of this node"
    told = CloneSuspected(node_id="atl1-1", serial="01", why=why, suspected_at=T0)
    network.decider.within(SYSTEM, NETWORK_ORIGIN, lambda tx: tx.record("node/atl1-1", told), "test")
    network.decider.settle()
    [incident] = [one for one in open_incidents(network.reader()) if one.site_id == NETWORK_ORIGIN]
    assert paged(network, incident.incident_id) == ["p-net"]
    revoked = NodeRevoked(node_id="atl1-1", reason="nobody knows which one is real")
    network.decider.within(SYSTEM, NETWORK_ORIGIN, lambda tx: tx.record("node/atl1-1", revoked), "test")
    network.decider.settle()
    assert get_incident(network.reader(), incident.incident_id).status is Status.CLOSED
