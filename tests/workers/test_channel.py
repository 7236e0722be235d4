"""The channel between workers, on real sockets: who is let in, what comes back, what a broken line costs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from coldgrid.adapters.workers import identity, link, wire
from coldgrid.adapters.workers.link import Leader, Link, NobodyDecides
from coldgrid.adapters.workers.port import WorkerPort
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.decider import Call
from coldgrid.kernel.driver import DatabaseLost
from coldgrid.kernel.events import encode
from coldgrid.kernel.registry import command_types
from coldgrid.kernel.rejections import Forbidden, Invalid, KeyReused, NotFound, Problem
from coldgrid.kernel.service import Stopping
from coldgrid.orders.intake import PlaceOrder
from coldgrid.stock.hold_facts import HoldPlaced, HoldReason
from coldgrid.stock.holds import PlaceHold
from coldgrid.tower.rooms import load_rooms
from tests.orders.world import order
from tests.stock.world import hold, receive, sscc
from tests.telemetry.cold_room import AIR, readings

load_rooms()
SECRET = "a-secret-of-the-database"
ANN = Principal("ann", frozenset({"operator"}), frozenset({"ATL1"}))


class Decides:
    """Answers calls as a decider would, as the test says, and remembers them."""

    def __init__(self, outcome: Callable[[Call], Any]) -> None:
        self.outcome = outcome
        self.taken: list[Call] = []

    def queue(self, call: Call) -> asyncio.Future[Answer]:
        self.taken.append(call)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        outcome = self.outcome(call)
        if outcome is None:
            return future  # never answered
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return future


async def no_replies(name: str, body: bytes) -> bytes:
    raise NotFound(name=name)


@asynccontextmanager
async def leading(
    decides: Decides, term: int = 1, replies: Any = no_replies
) -> AsyncIterator[tuple[WorkerPort, Leader]]:
    certificate, context = identity.make_identity(datetime.now(UTC))
    port = WorkerPort(decides, replies, SECRET, wire.Welcome("leader", term))
    host, number = await port.start("127.0.0.1", 0, context)
    try:
        yield port, Leader("leader", term, host, number, certificate, SECRET)
    finally:
        await port.stop()


def on_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def answered(call: Call) -> Answer:
    return Answer(result={"key": call.key}, origin="ATL1", epoch=1, seq=7, position=9)


# --- Frames -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [order(), hold("h1", sscc(3)), receive(sscc(3), 30), readings([(AIR, 1.5, -21.5)])],
    ids=lambda command: type(command).__name__,
)
def test_a_command_arrives_as_it_was_sent(command: Any) -> None:
    sent = wire.send_call(1, Call(command, ANN, None), "w/1")
    taken = wire.take_call(msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=wire.SentCall))
    assert taken == Call(command, ANN, "w/1")
    assert encode(taken.command) == encode(command), "a retry would not be known again"


def test_every_command_of_this_release_can_travel() -> None:
    assert type(order()) in command_types().values()
    for command in command_types().values():
        msgspec.msgpack.Decoder(command)  # raises where a field's type has no wire form


def test_what_a_handler_returns_arrives_as_what_it_declares() -> None:
    """Also when it comes out of the command log, where it is plain: its caller knows of no retry."""
    placed = HoldPlaced(
        hold_id="h1",
        site_id="ATL1",
        zone_id="",
        units=[],
        reason=HoldReason.QUALITY,
        cause_id="i1",
        releasing_role="quality",
    )
    answer = Answer(result=placed, origin="ATL1", epoch=1, seq=2, position=3, replayed=True)
    body = wire.send_outcome(1, answer).body
    assert wire.take_answer(body, PlaceHold, own_key=False) == answer
    plain = msgspec.structs.replace(answer, result=msgspec.to_builtins(placed))
    told = wire.take_answer(wire.send_outcome(1, plain).body, PlaceHold, own_key=True)
    assert told.result == placed
    assert not told.replayed


@pytest.mark.parametrize(
    "rejected",
    [
        KeyReused(key="k"),
        Forbidden(role="quality", since=datetime(2026, 1, 1, tzinfo=UTC)),
        NotFound(order="o1", near=["o2", "o3"]),
        Invalid([Problem(field="lines[0].qty", message="is 0", fix="send more", line=3)], order="o1"),
    ],
    ids=lambda rejected: type(rejected).__name__,
)
def test_a_rejection_arrives_as_the_class_that_was_raised(rejected: Any) -> None:
    taken = wire.take_rejection(wire.send_rejection(rejected))
    assert type(taken) is type(rejected)
    assert (taken.title, taken.facts, str(taken)) == (rejected.title, rejected.facts, str(rejected))
    assert getattr(taken, "problems", ()) == getattr(rejected, "problems", ())


def test_facts_that_cannot_travel_are_told_as_text() -> None:
    taken = wire.take_rejection(
        wire.send_rejection(NotFound(price=Decimal("1.50"), wait=timedelta(seconds=3)))
    )
    assert taken.facts["price"] in ("1.50", Decimal("1.50"))
    fault = wire.take_rejection(wire.send_rejection(ZeroDivisionError("by zero")))
    assert fault.code == "internal_fault"
    assert "by zero" in str(fault)


# --- Who is let in ----------------------------------------------------------------


def test_without_the_secret_nothing_is_taken() -> None:
    async def test() -> None:
        decides = Decides(answered)
        async with leading(decides) as (_, leader):
            context = identity.client_context(leader.certificate)
            for first in (
                wire.Hello("a-guess", "w2"),
                wire.Calls([wire.send_call(1, Call(order(), ANN, "k"), "k")]),
            ):
                reader, writer = await asyncio.open_connection(
                    leader.host, leader.port, ssl=context, server_hostname=identity.NAME
                )
                writer.write(wire.pack(first))
                writer.write(wire.pack(wire.Calls([wire.send_call(1, Call(order(), ANN, "k"), "k")])))
                assert await reader.read() == b"", "a stranger was answered"
                writer.close()
        assert not decides.taken

    on_loop(test)


def test_a_hello_is_bounded_and_a_stranger_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coldgrid.adapters.workers.port.HELLO_S", 0.3)

    async def test() -> None:
        async with leading(Decides(answered)) as (_, leader):
            context = identity.client_context(leader.certificate)
            for first in (b"", b"\x00\x00\x10\x00" + b"x" * 64):
                reader, writer = await asyncio.open_connection(
                    leader.host, leader.port, ssl=context, server_hostname=identity.NAME
                )
                writer.write(first)
                assert await reader.read() == b""
                writer.close()

    on_loop(test)


def test_a_follower_shows_the_secret_to_the_certificate_of_the_row_alone() -> None:
    async def test() -> None:
        decides = Decides(answered)
        async with leading(decides) as (_, leader):
            other, _ = identity.make_identity(datetime.now(UTC))
            with pytest.raises(ssl.SSLError):
                await asyncio.open_connection(
                    leader.host,
                    leader.port,
                    ssl=identity.client_context(other),
                    server_hostname=identity.NAME,
                )

    on_loop(test)


# --- Commands ---------------------------------------------------------------------


def test_many_commands_share_frames_and_each_caller_gets_its_own_answer() -> None:
    async def test() -> None:
        decides = Decides(answered)
        follower = Link("w2")
        follower.start()
        async with leading(decides) as (port, leader):
            follower.lead(leader)
            asked = [follower.queue(Call(order(number), ANN, None)) for number in range(700)]
            mine = follower.queue(Call(order(1), ANN, "my-key"))
            answers = await asyncio.gather(*asked)
            keys = [answer.result["key"] for answer in answers]
            assert len(set(keys)) == 700
            assert all(key.startswith("w2/") for key in keys)
            assert (await mine).result == {"key": "my-key"}
            assert [call.principal for call in decides.taken] == [ANN] * 701
            assert port.followers == ["w2"]
            assert follower.waiting == 0
        await follower.stop()

    on_loop(test)


def test_what_a_lost_leader_did_not_answer_goes_to_the_next_under_the_same_key() -> None:
    async def test() -> None:
        silent, willing = Decides(lambda call: None), Decides(answered)
        follower = Link("w2")
        follower.start()
        async with leading(silent, 1) as (_, first):
            follower.lead(first)
            asked = [follower.queue(Call(order(number), ANN, None)) for number in range(5)]
            while len(silent.taken) < 5:
                await asyncio.sleep(0.01)
        async with leading(willing, 2) as (_, second):
            follower.lead(second)
            answers = await asyncio.gather(*asked)
            assert [call.key for call in willing.taken] == [call.key for call in silent.taken]
            assert len({answer.result["key"] for answer in answers}) == 5
            assert follower.resent == 5
        await follower.stop()

    on_loop(test)


@pytest.mark.parametrize("later", [Stopping(), DatabaseLost()], ids=["stopping", "database"])
def test_a_leader_that_can_decide_no_more_is_asked_again_or_its_successor(later: Exception) -> None:
    async def test() -> None:
        refusals = [later, later]
        decides = Decides(lambda call: refusals.pop() if refusals else answered(call))
        lost: list[bool] = []
        follower = Link("w2", on_lost=lambda: lost.append(True))
        follower.start()
        async with leading(decides) as (_, leader):
            follower.lead(leader)
            answer = await follower.queue(Call(order(), ANN, None))
            assert len({call.key for call in decides.taken}) == 1
            assert len(decides.taken) == 3
            assert answer.position == 9
            assert lost
        await follower.stop()

    on_loop(test)


def test_a_caller_is_told_after_a_while_that_nobody_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "WAIT_S", 0.2)

    async def test() -> None:
        follower = Link("w2")
        follower.start()
        with pytest.raises(NobodyDecides):
            await follower.queue(Call(order(), ANN, None))
        with pytest.raises(NobodyDecides):
            await follower.ask("newest", b"")
        await follower.stop()

    on_loop(test)


def test_what_waits_is_handed_over_with_its_keys_to_a_worker_that_comes_to_lead() -> None:
    async def test() -> None:
        follower = Link("w2")
        follower.start()
        asked = [follower.queue(Call(order(number), ANN, None)) for number in range(3)]
        given = follower.hand_over()
        assert [waiter for _, waiter in given] == asked
        assert all(call.key for call, _ in given)
        assert isinstance(given[0][0].command, PlaceOrder)
        await follower.stop()

    on_loop(test)


def test_a_question_that_the_leader_rejects_is_rejected_here_and_a_lost_one_is_not_asked_again() -> None:
    async def test() -> None:
        asked: list[str] = []

        async def replies(name: str, body: bytes) -> bytes:
            asked.append(name)
            if name == "hang":
                await asyncio.sleep(60)
            if name == "break":
                raise ZeroDivisionError
            if name == "reject":
                raise NotFound(what="it")
            return body[::-1]

        follower = Link("w2")
        follower.start()
        async with leading(Decides(answered), replies=replies) as (_, leader):
            follower.lead(leader)
            while not follower.connected:
                await asyncio.sleep(0.01)
            assert await follower.ask("turn", b"abc") == b"cba"
            with pytest.raises(NotFound):
                await follower.ask("reject", b"")
            with pytest.raises(Exception, match="fault"):
                await follower.ask("break", b"")
            hanging = asyncio.ensure_future(follower.ask("hang", b""))
            while "hang" not in asked:
                await asyncio.sleep(0.01)
        with pytest.raises(NobodyDecides):
            await hanging
        assert asked.count("hang") == 1
        await follower.stop()

    on_loop(test)


def test_followers_hear_how_far_the_log_goes_and_of_sessions_that_changed() -> None:
    async def test() -> None:
        heard: list[int] = []
        forgot = asyncio.Event()
        follower = Link("w2", on_news=heard.append, on_forget=forgot.set)
        follower.start()
        async with leading(Decides(answered)) as (port, leader):
            follower.lead(leader)
            while not port.followers:
                await asyncio.sleep(0.01)
            for position in range(1000):
                port.tell(position)
            while not heard or heard[-1] < 999:
                await asyncio.sleep(0.01)
            assert heard == sorted(heard)
            assert len(heard) < 100, "each position was told by itself"
            port.forget()
            await forgot.wait()
        await follower.stop()

    on_loop(test)


def test_a_frame_that_is_none_ends_the_connection_and_the_follower_comes_again() -> None:
    async def test() -> None:
        decides = Decides(answered)
        follower = Link("w2")
        follower.start()
        async with leading(decides) as (port, leader):
            follower.lead(leader)
            await follower.queue(Call(order(1), ANN, None))
            writer = follower._writer  # noqa: SLF001
            assert writer is not None
            writer.write(b"\xff\xff\xff\xff nonsense")
            while follower.connected:
                await asyncio.sleep(0.01)
            answer = await follower.queue(Call(order(2), ANN, None))
            assert answer.seq == 7
            assert port.followers == ["w2"]
        await follower.stop()

    on_loop(test)
