"""Requests: what is asked of a site that lives elsewhere waits, is carried out once and answered once."""

from __future__ import annotations

import datetime
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.kernel import hosting, log, requests
from coldgrid.kernel.authorize import Principal, Resource
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.elsewhere import SiteMoving
from coldgrid.kernel.events import Command, Event, decode, encode
from coldgrid.kernel.origins import CloseOrigin, take_in
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, reacts
from coldgrid.kernel.rejections import Forbidden, OriginElsewhere
from coldgrid.kernel.requests import (
    LIFE,
    Answered,
    DecidedElsewhere,
    NotKeptForLater,
    OpenRequests,
    Pending,
    Request,
    Requested,
    Status,
    decide_answer,
    decide_ask,
    request_id_of,
)
from coldgrid.kernel.tx import Tx
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump, Tell, Told

ANA = Principal("ana", frozenset({"supervisor", "operator"}))


class Meter(Command, frozen=True, tag="toy.meter"):
    site_id: str


class Keep(Command, frozen=True, tag="toy.keep"):
    site_id: str


@handles(Meter, action="toy.meter", owner=Owner.SITE, direct=True)
def _meter(tx: Tx, command: Meter) -> None:
    raise AssertionError("is never carried out here")


@handles(Keep, action="toy.keep", owner=Owner.SITE, lapses=False)
def _keep(tx: Tx, command: Keep) -> None:
    tx.run(Bump(site_id=command.site_id, name="kept"))


answers: list[Any] = []


@reacts(Told, name="toys.bump_at_sea", cursor=True)
def _bump_at_sea(tx: Tx, event: Told) -> None:
    if event.name == "sea":
        answers.append(tx.run(Bump(site_id="SEA1", name="bumped", by=2)))


def leave(kernel: Kernel, site_id: str = "ATL1") -> None:
    """A site that this host decided goes to another."""
    kernel.do(Bump(site_id=site_id, name="before"))
    kernel.do(CloseOrigin(origin=site_id, reason="moves to its node"))


def asked(kernel: Kernel) -> list[Request]:
    return requests.list_requests(kernel.reader())


# --- Decisions --------------------------------------------------------------------


def row(**changes: Any) -> Request:
    values: dict[str, Any] = dict.fromkeys(Request.__struct_fields__)
    values |= {"request_id": "r", "site_id": "ATL1", "command": "toy.bump", "body": "{}", "actor": "ana"}
    return Request(**(values | {"roles": [], "asked_at": T0} | changes))


def test_a_person_waits_a_day_and_what_follows_from_facts_waits_for_ever() -> None:
    command = Bump(site_id="ATL1", name="a")
    event = decide_ask("r", command, "ATL1", ANA, True, T0)
    assert event.expires_at == T0 + LIFE
    assert (event.actor, event.roles) == ("ana", ["operator", "supervisor"])
    assert decide_ask("r", command, "ATL1", ANA, False, T0).expires_at is None
    machine = Principal("system:flows", frozenset({"system"}))
    assert decide_ask("r", command, "ATL1", machine, True, T0).expires_at is None


def test_an_answer_says_what_was_done_or_refused_or_that_it_came_too_late() -> None:
    done = decide_answer(row(), Answer(origin="ATL1", epoch=2, seq=7, position=40))
    assert (done.outcome, done.entry_id) == (Status.DONE, "ATL1/2/7")
    assert decide_answer(row(), Answer()).entry_id == ""
    refused = decide_answer(row(), rooms.TooMany(name="a"))
    assert (refused.outcome, refused.code) == (Status.REFUSED, "too_many")
    assert "may not pass one hundred" in refused.why
    assert decide_answer(row(), None).outcome is Status.EXPIRED


@given(st.text(), st.text(), st.text(min_size=1))
def test_a_key_names_the_same_request_whatever_else_changed_and_never_another_callers(
    caller: str, other: str, key: str
) -> None:
    assert request_id_of(caller, key, 1) == request_id_of(caller, key, 2)
    assert (request_id_of(caller, key) == request_id_of(other, key)) == (caller == other)
    assert request_id_of(caller, None, 1) != request_id_of(caller, None, 2)


@given(st.integers(min_value=-100, max_value=100))
def test_a_request_is_begun_before_it_expires_or_not_at_all(seconds: int) -> None:
    end = T0 + timedelta(seconds=seconds)
    assert row(expires_at=end).expired(T0) == (seconds <= 0)
    assert not row().expired(datetime.datetime.max.replace(tzinfo=datetime.UTC))


# --- Commands ---------------------------------------------------------------------


def test_a_command_about_a_site_elsewhere_is_pending_and_nothing_is_done(kernel: Kernel) -> None:
    leave(kernel)
    answer = kernel.decider.do(Bump(site_id="ATL1", name="a", by=3), ANA, "key-1")
    assert answer.pending == "ATL1"
    assert answer.origin == "network"
    assert answer.result.site_id == "ATL1"
    [request] = asked(kernel)
    assert request.request_id == answer.result.request_id == request_id_of("ana", "key-1")
    assert (request.status, request.actor, request.roles) == (
        Status.PENDING,
        "ana",
        ["operator", "supervisor"],
    )
    entry = log.find(kernel.reader(), f"{answer.origin}/{answer.epoch}/{answer.seq}")
    assert entry is not None
    assert (entry.audience, entry.stream) == ("ATL1", f"request/{request.request_id}")
    assert rooms.count_of(kernel.reader(), "a") == 0
    kernel.rebuild()


def test_the_same_key_asks_once_and_no_key_asks_each_time(kernel: Kernel) -> None:
    leave(kernel)
    first = kernel.decider.do(Bump(site_id="ATL1", name="a"), ANA, "key-1")
    again = kernel.decider.do(Bump(site_id="ATL1", name="a"), ANA, "key-1")
    assert again.replayed
    assert again.pending == "ATL1"
    assert again.result["request_id"] == first.result.request_id
    kernel.do(Bump(site_id="ATL1", name="a"))
    kernel.do(Bump(site_id="ATL1", name="a"))
    assert len({request.request_id for request in asked(kernel)}) == 3


def test_who_may_not_do_it_may_not_ask_for_it() -> None:
    class OnlyAna:
        def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
            if principal.actor_id == "eve":
                raise Forbidden(action=action, site=resource.site_id)

    with sqlite_kernel(OnlyAna()) as kernel:
        leave(kernel)
        with pytest.raises(Forbidden):
            kernel.do(Bump(site_id="ATL1", name="a"), actor="eve")
        assert asked(kernel) == []


def test_what_is_asked_is_carried_out_in_order_once_the_site_is_decided_here_again(kernel: Kernel) -> None:
    leave(kernel)
    kernel.do(Bump(site_id="ATL1", name="a", by=99))
    kernel.do(Bump(site_id="ATL1", name="a", by=2))
    kernel.do(Bump(site_id="ATL1", name="a", by=1), actor="bob")
    kernel.restart()
    kernel.decider.reopen("ATL1")
    kernel.decider.settle()
    assert rooms.count_of(kernel.reader(), "a") == 100
    third, second, first = asked(kernel)
    assert [first.status, second.status, third.status] == [Status.DONE, Status.REFUSED, Status.DONE]
    assert second.code == "too_many"
    done = log.find(kernel.reader(), third.entry_id or "")
    assert done is not None
    assert (done.actor, done.cause) == ("bob", f"request/{third.request_id}")
    kernel.decider.settle()
    kernel.restart()
    kernel.decider.settle()
    assert rooms.count_of(kernel.reader(), "a") == 100, "nothing is done twice"
    kernel.rebuild()


def test_what_comes_too_late_does_nothing_but_what_keeps_goods_from_people_always_comes(
    kernel: Kernel,
) -> None:
    leave(kernel)
    kernel.do(Bump(site_id="ATL1", name="a"))
    kernel.do(Keep(site_id="ATL1"))
    kernel.host.instant = T0 + LIFE
    kernel.decider.reopen("ATL1")
    kernel.decider.settle()
    kept, late = asked(kernel)
    assert (late.status, kept.status) == (Status.EXPIRED, Status.DONE)
    assert (rooms.count_of(kernel.reader(), "a"), rooms.count_of(kernel.reader(), "kept")) == (0, 1)


def test_the_sites_own_rules_decide_about_the_asker_too() -> None:
    class Strict:
        strict = False

        def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
            if self.strict and "operator" in principal.roles:
                raise Forbidden(action=action, sites=sorted(principal.sites or ()))

    rules = Strict()
    with sqlite_kernel(rules) as kernel:
        leave(kernel)
        kernel.decider.do(Bump(site_id="ATL1", name="a"), ANA)
        rules.strict = True
        kernel.decider.reopen("ATL1")
        kernel.decider.settle()
        [request] = asked(kernel)
        assert (request.status, request.code) == (Status.REFUSED, "forbidden")
        assert "ATL1" in (request.why or ""), "asked at this site alone"
        assert rooms.count_of(kernel.reader(), "a") == 0


def test_readings_and_the_like_are_refused_and_not_kept(kernel: Kernel) -> None:
    leave(kernel)
    with pytest.raises(SiteMoving):  # nobody can take them: who sent them keeps them
        kernel.do(Meter(site_id="ATL1"))
    with sqlite_kernel() as node:
        host_only(node)
        past = [one for one in log.read_all(kernel.reader()) if one.origin == "ATL1"]
        node.decider.take("ATL1", lambda tx: take_in(tx, past), "test")
        node.decider.reopen("ATL1")
        [*_, opened] = log.read_all(node.reader())
    kernel.decider.take("ATL1", lambda tx: take_in(tx, [opened]), "test")
    with pytest.raises(NotKeptForLater):
        kernel.do(Meter(site_id="ATL1"))
    with pytest.raises(OriginElsewhere):
        kernel.do(Bump(site_id="ATL1", name="a"), roles={"system"})
    assert asked(kernel) == []


def test_a_node_asks_for_nothing_in_anybodys_name() -> None:
    with sqlite_kernel() as node:
        host_only(node)
        for command in (Tell(name="a"), Bump(site_id="SEA1", name="a")):
            with pytest.raises(DecidedElsewhere):
                node.do(command)
        assert asked(node) == []


def host_only(kernel: Kernel) -> None:
    kernel.decider.take("ATL1", lambda tx: hosting.host_only(tx, "ATL1"), "test")
    kernel.decider.reload()


def test_what_follows_from_a_fact_is_asked_of_the_sites_host_once(kernel: Kernel) -> None:
    answers.clear()
    leave(kernel, "SEA1")
    kernel.do(Tell(name="sea"))
    assert [type(answer) for answer in answers] == [Pending]
    [request] = asked(kernel)
    assert request.actor == "system:toys.bump_at_sea"
    assert request.expires_at is None
    kernel.restart()
    kernel.decider.settle()
    assert len(asked(kernel)) == 1
    kernel.decider.reopen("SEA1")
    kernel.decider.settle()
    assert rooms.count_of(kernel.reader(), "bumped") == 2
    kernel.rebuild()


def test_a_command_that_the_site_does_not_know_is_refused_with_its_name(kernel: Kernel) -> None:
    leave(kernel)
    pending = Requested(
        request_id="r-1",
        site_id="ATL1",
        command="toy.of_a_later_release",
        body=msgspec.Raw(b'{"type":"toy.of_a_later_release"}'),
        actor="ana",
        roles=[],
        expires_at=None,
    )
    kernel.decider.within(ANA, "network", lambda tx: tx.record("request/r-1", pending), "test")
    kernel.decider.reopen("ATL1")
    kernel.decider.settle()
    [request] = asked(kernel)
    assert (request.status, request.code) == (Status.REFUSED, "invalid")
    assert "toy.of_a_later_release" in (request.why or "")


def test_what_waits_in_memory_is_what_the_tables_say(kernel: Kernel) -> None:
    leave(kernel)
    leave(kernel, "SEA1")
    for number in range(3):
        kernel.do(Bump(site_id="ATL1" if number % 2 else "SEA1", name="a"))
    kernel.decider.reopen("SEA1")
    kernel.decider.settle()
    live = kernel.decider.shared.hot[OpenRequests].by_site
    assert {site: list(waiting) for site, waiting in live.items()} == {
        "ATL1": [one.request_id for one in asked(kernel) if one.status is Status.PENDING]
    }
    assert live == OpenRequests.load(kernel.reader()).by_site
    assert requests.count_waiting(kernel.reader()) == 1


# --- Bytes --------------------------------------------------------------------------

FROZEN: list[tuple[Event, bytes]] = [
    (
        Requested(
            request_id="request-1",
            site_id="ATL1",
            command="stock.move_unit",
            body=msgspec.Raw(b'{"type":"stock.move_unit","site_id":"ATL1"}'),
            actor="ana",
            roles=["operator"],
            expires_at=T0,
        ),
        b'{"type":"kernel.requested","request_id":"request-1","site_id":"ATL1","command":"stock.move_unit",'
        b'"body":{"type":"stock.move_unit","site_id":"ATL1"},"actor":"ana","roles":["operator"],'
        b'"expires_at":"2026-03-01T08:00:00Z"}',
    ),
    (
        Answered(
            request_id="request-1",
            site_id="ATL1",
            outcome=Status.REFUSED,
            code="too_many",
            why="A counter may not pass one hundred.",
        ),
        b'{"type":"kernel.answered","request_id":"request-1","site_id":"ATL1","outcome":"refused",'
        b'"code":"too_many","why":"A counter may not pass one hundred.","entry_id":""}',
    ),
]


@pytest.mark.parametrize(("event", "body"), FROZEN)
def test_the_bytes_of_the_first_release_stay(event: Event, body: bytes) -> None:
    assert encode(event) == body
    assert encode(decode(event.__struct_config__.tag, body)) == body  # type: ignore[arg-type]
