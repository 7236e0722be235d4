"""Requests between a tower and its nodes: asked there, decided here; and who may sign in where."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldgrid.access import people
from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.access.roles import Role
from coldgrid.access.vouching import check
from coldgrid.access.words import AddPerson, AssignSites, SetPassword, SuspendPerson
from coldgrid.kernel import requests
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.personal import EraseSubject
from coldgrid.kernel.rejections import KeyReused
from coldgrid.kernel.requests import LIFE, Request, Status
from tests.access.house import PASSWORD, known_hash
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump
from tests.sync.pair import Node, Tower, network_of, own_log

ANA = Principal("ana", frozenset({"supervisor"}))
OTHER_HASH = "$argon2id$v=19$m=8,t=1,p=1$YWFhYWFhYWE$YQ"
ROOT: dict[str, Any] = {"actor": "root", "roles": {"admin"}}


def asked(kernel: Kernel) -> list[Request]:
    """What was asked, oldest first."""
    return requests.list_requests(kernel.reader())[::-1]


def statuses(kernel: Kernel) -> list[str]:
    return [request.status for request in asked(kernel)]


# --- Requests -----------------------------------------------------------------------


def test_what_the_tower_asks_is_decided_at_the_site_and_told_back(kernel: Kernel) -> None:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        pending = kernel.decider.do(Bump(site_id="ATL1", name="a", by=60), ANA, "k1")
        kernel.decider.do(Bump(site_id="ATL1", name="a", by=60), ANA, "k2")
        assert pending.pending == "ATL1"
        assert statuses(kernel) == ["pending", "pending"], "the line is down"
        node.talk()
        node.talk()
        assert statuses(kernel) == statuses(own) == ["done", "refused"]
        assert rooms.count_of(kernel.reader(), "a") == rooms.count_of(own.reader(), "a") == 60
        [bumped] = [entry for entry in own_log(own, "ATL1") if entry.type == "toy.bumped"]
        assert (bumped.actor, bumped.cause) == ("ana", f"request/{pending.result.request_id}")
        assert asked(kernel)[0].entry_id == bumped.id
        node.talk()
        own.restart()
        node.wake()
        node.talk()
        assert rooms.count_of(own.reader(), "a") == 60, "once"
        for one in (kernel, own):
            one.rebuild()


def test_a_request_that_reaches_the_site_too_late_does_nothing() -> None:
    with network_of("ATL1") as (tower, [node]):
        node.talk()
        tower.kernel.do(Bump(site_id="ATL1", name="a"))
        node.kernel.host.instant += LIFE
        node.talk()
        node.talk()
        assert statuses(tower.kernel) == ["expired"]
        assert rooms.count_of(node.kernel.reader(), "a") == 0


def test_another_sites_node_is_told_nothing_of_it() -> None:
    with network_of("ATL1", "CLT1") as (tower, [atlanta, charlotte]):
        tower.kernel.do(Bump(site_id="ATL1", name="a"))
        charlotte.talk()
        assert asked(charlotte.kernel) == []
        atlanta.talk()
        assert len(asked(atlanta.kernel)) == 1


def test_the_nodes_own_rules_hold_for_who_asks_through_the_tower() -> None:
    rules = CedarAuthorizer("forbid (principal, action, resource);")
    with sqlite_kernel() as kernel, sqlite_kernel(rules) as own:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        node = Node(tower, own)
        kernel.decider.do(Bump(site_id="ATL1", name="a"), ANA)
        node.talk()
        node.talk()
        [request] = asked(kernel)
        assert (request.status, request.code) == (Status.REFUSED, "not_allowed")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 3), st.sampled_from(["k1", "k2", "k3", None])),
        st.tuples(st.just("sell"), st.integers(1, 3), st.none()),
        st.tuples(st.sampled_from(["talk", "restart", "hours"]), st.none(), st.none()),
    ),
    max_size=14,
)


class History:
    """A tower and a node to which things happen; counts what was sold at the site itself."""

    def __init__(self, tower: Tower, node: Node) -> None:
        self.tower, self.node, self.sold = tower, node, 0

    def ask(self, by: int, key: str | None) -> None:
        with suppress(KeyReused):
            self.tower.kernel.decider.do(Bump(site_id="ATL1", name="a", by=by), ANA, key)

    def sell(self, by: int, _: None) -> None:
        self.node.kernel.do(Bump(site_id="ATL1", name="b", by=by))
        self.sold += by

    def talk(self, *_: None) -> None:
        self.node.talk()

    def hours(self, *_: None) -> None:
        for kernel in (self.tower.kernel, self.node.kernel):
            kernel.host.instant += timedelta(hours=13)

    def restart(self, *_: None) -> None:
        for side in (self.tower, self.node):
            side.kernel.restart()
        self.tower.open_post()
        self.node.wake()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_whatever_happens_each_request_is_answered_once_and_both_sides_end_alike(steps: Any) -> None:
    with network_of("ATL1") as (tower, [node]):
        history = History(tower, node)
        for what, by, key in steps:
            getattr(history, what)(by, key)
        node.talk()
        node.talk()
        assert statuses(tower.kernel) == statuses(node.kernel)
        assert "pending" not in statuses(tower.kernel)
        total = sum(_by(one) for one in asked(tower.kernel) if one.status is Status.DONE)
        for kernel in (tower.kernel, node.kernel):
            assert rooms.count_of(kernel.reader(), "a") == total
            assert rooms.count_of(kernel.reader(), "b") == history.sold
            kernel.rebuild()


def _by(request: Request) -> int:
    command = requests.command_of(request)
    assert isinstance(command, Bump)
    return command.by


# --- People ---------------------------------------------------------------------------


def add(kernel: Kernel, person_id: str, sites: list[str] | None) -> None:
    command = AddPerson(
        person_id=person_id,
        name=f"{person_id} Silva",
        login=f"{person_id}@example.com",
        roles=[Role.OPERATOR],
        sites=sites,
        password_hash=known_hash(),
        temporary=False,
    )
    kernel.do(command, actor="root", roles={"admin"})


def lets_in(node: Node, person_id: str) -> bool:
    """Whether a node lets somebody in with the line down."""
    return check(node.kernel.reader(), f"{person_id}@example.com", PASSWORD, node.site_id) == person_id


def test_people_sign_in_where_they_are_assigned_and_nobodys_hash_is_anywhere_else() -> None:
    with network_of("ATL1", "CLT1") as (tower, [atlanta, charlotte]):
        for person_id, sites in (("ana", ["ATL1"]), ("cleo", ["CLT1"]), ("boss", None)):
            add(tower.kernel, person_id, sites)
        for node in (atlanta, charlotte):
            node.talk()
        assert [lets_in(atlanta, who) for who in ("ana", "cleo", "boss")] == [True, False, False]
        assert [lets_in(charlotte, who) for who in ("ana", "cleo", "boss")] == [False, True, False]
        assert people.get_person(atlanta.kernel.reader(), "boss").name == "boss Silva"
        told = b"".join(entry.body for entry in own_log(charlotte.kernel, "network"))
        assert told.count(b"argon2id") == 1, "only Cleo's"
        assert b"ana Silva" not in told


def test_who_moves_signs_in_at_the_new_site_and_at_the_old_one_no_more() -> None:
    with network_of("ATL1", "CLT1") as (tower, [atlanta, charlotte]):
        add(tower.kernel, "ana", ["ATL1"])
        tower.kernel.do(AssignSites(person_id="ana", sites=["CLT1"]), **ROOT)
        for node in (atlanta, charlotte):
            node.talk()
        assert not lets_in(atlanta, "ana")
        assert lets_in(charlotte, "ana")
        assert people.get_person(charlotte.kernel.reader(), "ana").roles == ("operator",)
        tower.kernel.do(
            SetPassword(person_id="ana", password_hash=OTHER_HASH),
            actor="ana",
        )
        tower.kernel.do(AssignSites(person_id="ana", sites=["ATL1", "CLT1"]), **ROOT)
        for node in (atlanta, charlotte):
            node.talk()
            assert not lets_in(node, "ana"), "the password is another now"
            node.kernel.rebuild()


def test_who_is_suspended_or_erased_is_kept_out_everywhere() -> None:
    with network_of("ATL1") as (tower, [node]):
        add(tower.kernel, "ana", ["ATL1"])
        add(tower.kernel, "bob", ["ATL1"])
        node.talk()
        assert lets_in(node, "ana")
        assert lets_in(node, "bob")
        tower.kernel.do(SuspendPerson(person_id="ana", reason="left"), **ROOT)
        tower.kernel.do(EraseSubject(subject="bob", reason="asked for it"), **ROOT)
        node.talk()
        assert not lets_in(node, "ana")
        assert not lets_in(node, "bob")
        assert people.get_person(node.kernel.reader(), "bob").name is None
