"""Live updates: one event stream a page, fed by topics.

Invariants
    L1  A client never holds more than `QUEUE_MAX` messages: one that reads too slowly loses them
        all and is told
        to `resync`, so that it reloads what it shows instead of showing something old.
    L2  `publish` may be called from any thread and never waits for a client.
    L3  Nobody hears a topic of a site outside their scope ("site/ATL1" and below), nor another person's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

from coldgrid.kernel.rejections import Unavailable
from coldgrid.webkit.visitors import Visitor

QUEUE_MAX = 256
STREAMS_MAX = 2_000
KEEP_ALIVE_S = 10.0
TOPICS_MAX = 64


class TooManyStreams(Unavailable):
    """Too many live pages are open; this one works without live updates."""

    todo = "Reload the page later."


class Message(NamedTuple):
    """One server-sent event. An empty `event` with empty `data` is a keep-alive comment."""

    event: str
    data: str
    id: str = ""

    def encode(self) -> bytes:
        """Return the wire form (WHATWG HTML, server-sent events); each line of `data` has its own."""
        if not self.event and not self.data:
            return b": keep-alive\n\n"
        lines = [f"id: {self.id}"] if self.id else []
        if self.event:
            lines.append(f"event: {self.event}")
        lines += [f"data: {line}" for line in self.data.splitlines() or [""]]
        return ("\n".join(lines) + "\n\n").encode()


KEEP_ALIVE = Message("", "")
RESYNC = Message("resync", "{}")


class Client:
    """One open stream: the topics it follows and what waits to be sent."""

    def __init__(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self.waiting: OrderedDict[object, Message] = OrderedDict()
        self._asleep: asyncio.Future[None] | None = None
        self.lost = 0
        self._serial = 0

    def offer(self, message: Message, latest: bool) -> None:
        """Queue a message; with `latest` it takes the place of an unsent one of the same event (L1)."""
        self._serial += 1
        key: object = message.event if latest else self._serial
        self.waiting.pop(key, None)
        self.waiting[key] = message
        if len(self.waiting) > QUEUE_MAX:
            self.lost += len(self.waiting)
            self.waiting.clear()
            self.waiting[0] = RESYNC
        self.wake()

    def wake(self) -> None:
        """Let who waits go on."""
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    async def wait(self, at_most_s: float) -> None:
        """Wait until something is to be sent, or as long as is allowed.

        One future and one timer: each further turn of the loop costs a wait for the interpreter when the
        decider is busy.
        """
        if self.waiting:
            return
        loop = asyncio.get_running_loop()
        self._asleep = loop.create_future()
        alarm = loop.call_later(at_most_s, self.wake)
        try:
            await self._asleep
        finally:
            alarm.cancel()
            self._asleep = None

    def take(self) -> list[Message]:
        """Return and forget what waits."""
        messages = list(self.waiting.values())
        self.waiting.clear()
        return messages


class Hub:
    """Carries messages from whoever publishes to the pages that follow their topic."""

    def __init__(self) -> None:
        self._clients: dict[str, set[Client]] = {}
        self._open = 0
        self.stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def streams(self) -> int:
        """How many pages are listening."""
        return self._open

    def listening(self, topic: str) -> bool:
        """Tell whether somebody follows a topic: rendering a fragment for nobody is waste."""
        return topic in self._clients

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind to the server's event loop."""
        self._loop = loop

    def stop(self) -> None:
        """End every stream, so that the server can stop without waiting for its readers to leave."""
        self.stopping = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for followers in self._clients.values():
            for client in followers:
                client.wake()

    def publish(self, topic: str, event: str, data: str, *, latest: bool = False) -> None:
        """Send to every page that follows `topic` (L2). `latest`: only the newest unsent one matters."""
        if self._loop is None or self._loop.is_closed() or topic not in self._clients:
            return
        self._loop.call_soon_threadsafe(self._deliver, topic, Message(event, data), latest)

    def _deliver(self, topic: str, message: Message, latest: bool) -> None:
        for client in self._clients.get(topic, ()):
            client.offer(message, latest)

    def check_room(self) -> None:
        """Refuse a stream before it starts.

        Raises:
            TooManyStreams: the server is at its limit.
        """
        if self._open >= STREAMS_MAX:
            raise TooManyStreams(limit=STREAMS_MAX)

    def _connect(self, client: Client) -> None:
        self._open += 1
        for topic in client.topics:
            self._clients.setdefault(topic, set()).add(client)

    def _disconnect(self, client: Client) -> None:
        self._open -= 1
        for topic in client.topics:
            followers = self._clients[topic]
            followers.discard(client)
            if not followers:
                del self._clients[topic]

    async def listen(
        self, topics: Iterable[str], still_welcome: Callable[[], bool], keep_alive_s: float = KEEP_ALIVE_S
    ) -> AsyncIterator[bytes]:
        """Yield what a page that follows `topics` is owed, and a comment when nothing was for `keep_alive_s`.

        `still_welcome` is asked about once in `keep_alive_s`: a stream ends with the session that opened it.
        """
        client, loop = Client(frozenset(topics)), asyncio.get_running_loop()
        self._connect(client)
        try:
            yield Message("hello", "{}").encode()
            asked_at = loop.time()
            while not self.stopping:
                await client.wait(keep_alive_s)
                if loop.time() - asked_at >= keep_alive_s * 0.9:
                    asked_at = loop.time()
                    if not still_welcome():
                        return
                if self.stopping:
                    return
                yield b"".join(message.encode() for message in client.take() or [KEEP_ALIVE])
        finally:
            self._disconnect(client)


def may_follow(visitor: Visitor, topic: str) -> bool:
    """Tell whether a visitor may hear a topic (L3)."""
    kind, _, rest = topic.partition("/")
    if kind == "site":
        sites = visitor.principal.sites
        return sites is None or rest.partition("/")[0] in sites
    if kind == "person":
        return rest == visitor.principal.actor_id
    return True
