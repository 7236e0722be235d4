"""Live updates: bounded memory, scopes, keep-alive, and the end of a session."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from coldgrid.kernel.authorize import Principal
from coldgrid.webkit import hub as hub_module
from coldgrid.webkit.hub import QUEUE_MAX, Client, Hub, Message, TooManyStreams, may_follow
from coldgrid.webkit.visitors import Visitor

HELLO = b"event: hello\ndata: {}\n\n"


async def opened(
    hub: Hub, *topics: str, welcome: bool = True, keep_alive_s: float = 5
) -> AsyncIterator[bytes]:
    hub.start(asyncio.get_running_loop())
    stream = hub.listen(topics, lambda: welcome, keep_alive_s)
    assert await anext(stream) == HELLO
    return stream


def test_a_message_reaches_those_who_follow_its_topic_and_no_others() -> None:
    async def story() -> None:
        hub = Hub()
        here, there = await opened(hub, "tower"), await opened(hub, "site/CLT1")
        hub.publish("tower", "kpis", "<b>1</b>\n<b>2</b>")
        hub.publish("site/CLT1", "reading", "{}")
        assert await anext(here) == b"event: kpis\ndata: <b>1</b>\ndata: <b>2</b>\n\n"
        assert await anext(there) == b"event: reading\ndata: {}\n\n"

    asyncio.run(story())


def test_publishing_from_another_thread_arrives() -> None:
    async def story() -> None:
        hub = Hub()
        stream = await opened(hub, "tower")
        threading.Thread(target=hub.publish, args=("tower", "ping", "x")).start()
        assert await anext(stream) == b"event: ping\ndata: x\n\n"

    asyncio.run(story())


def test_publishing_before_the_server_runs_is_harmless() -> None:
    Hub().publish("tower", "ping", "x")


def test_a_slow_client_is_told_to_resync_and_holds_no_more() -> None:
    client = Client(frozenset({"tower"}))
    for n in range(QUEUE_MAX + 1):
        client.offer(Message("reading", str(n)), latest=False)
    assert client.take() == [Message("resync", "{}")]
    assert client.lost == QUEUE_MAX + 1
    for n in range(10 * QUEUE_MAX):
        client.offer(Message("reading", str(n)), latest=False)
        assert len(client.waiting) <= QUEUE_MAX


def test_only_the_newest_of_what_replaces_itself_waits() -> None:
    client = Client(frozenset())
    for n in range(1000):
        client.offer(Message("kpis", str(n)), latest=True)
        client.offer(Message("clock", str(n)), latest=True)
    assert client.take() == [Message("kpis", "999"), Message("clock", "999")]


def test_a_quiet_stream_is_kept_alive() -> None:
    async def story() -> None:
        stream = await opened(Hub(), "tower", keep_alive_s=0.02)
        assert await anext(stream) == b": keep-alive\n\n"

    asyncio.run(story())


def test_a_stream_ends_with_its_session() -> None:
    async def story() -> None:
        hub = Hub()
        stream = await opened(hub, "tower", welcome=False, keep_alive_s=0.02)
        assert hub.streams == 1
        assert [part async for part in stream] == []
        assert hub.streams == 0
        assert not hub.listening("tower")

    asyncio.run(story())


def test_stopping_ends_every_stream() -> None:
    async def story() -> None:
        hub = Hub()
        stream = await opened(hub, "tower", "site/ATL1")
        threading.Thread(target=hub.stop).start()
        assert [part async for part in stream] == []
        assert hub.streams == 0

    asyncio.run(story())


def test_a_client_that_went_away_is_forgotten() -> None:
    async def story() -> None:
        hub = Hub()
        stream = await opened(hub, "tower")
        assert hub.listening("tower")
        await stream.aclose()  # type: ignore[attr-defined]
        assert (hub.streams, hub.listening("tower")) == (0, False)

    asyncio.run(story())


def test_more_streams_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        hub = Hub()
        await opened(hub, "tower")
        with pytest.raises(TooManyStreams):
            hub.check_room()

    monkeypatch.setattr(hub_module, "STREAMS_MAX", 1)
    asyncio.run(story())


@pytest.mark.parametrize(
    ("sites", "topic", "heard"),
    [
        (None, "site/ATL1", True),
        (frozenset({"ATL1"}), "site/ATL1", True),
        (frozenset({"ATL1"}), "site/ATL1/ATL1-FRZ1", True),
        (frozenset({"ATL1"}), "site/CLT1", False),
        (frozenset({"ATL1"}), "site/CLT1/CLT1-FRZ1", False),
        (frozenset({"ATL1"}), "tower", True),
        (None, "person/ana", True),
        (None, "person/ben", False),
    ],
)
def test_nobody_hears_what_is_not_theirs(sites: frozenset[str] | None, topic: str, heard: bool) -> None:
    visitor = Visitor(principal=Principal("ana", frozenset({"supervisor"}), sites))
    assert may_follow(visitor, topic) is heard
