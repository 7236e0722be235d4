"""Stream publisher: one connection's work of `stream`: find the place to go on, and publish behind it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import msgspec

from coldgrid.adapters.stream_form import MSG_ID, message_of
from coldgrid.kernel import log
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reader

READ_AT_ONCE = 1_000
CONFIRM_EVERY = 100
WINDOW = 4_000
CONFIRM_WITHIN_S = 15.0
LOOK_EVERY_S = 0.1
KEEP_EVERY_S = 1.0
# What a stream is made with where there is none; an operator's own limits stay as they are.
MAX_AGE_S = 7 * 86_400.0
MAX_BYTES = 4 * 1024**3
DUPLICATES_S = 120.0
BEHIND_SEQUENCE = "Nats-Expected-Last-Sequence"
BEHIND_MESSAGE = "Nats-Expected-Last-Msg-Id"
HEADERS_BYTES = 4_096


class StreamUnfit(Exception):
    """The broker has a stream of our name that does not take our subjects."""


class NotStored(Exception):
    """The broker did not store a message where it was to go; the stream is looked at, and sending goes on."""


class BrokerGone(Exception):
    """The connection ended while nothing was on its way."""

    def __str__(self) -> str:
        return "the connection to the broker ended"


class Broker(msgspec.Struct, frozen=True):
    """Where to: servers of one cluster, `prefix` of all subjects. The stream is named after the prefix."""

    servers: list[str]
    prefix: str = "coldgrid"

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.prefix.replace(".", "_").upper()

    @property
    def destination(self) -> str:
        """What the working state calls it: another address of the same broker goes on where this one was."""
        return f"nats/{self.stream}"


class Means(msgspec.Struct, frozen=True):
    """What a publisher works with: readers of committed facts, and what was confirmed (`kernel.fan_out`)."""

    broker: Broker
    reader: Callable[[], AbstractContextManager[Reader]]
    confirmed: Callable[[], int]
    confirm: Callable[[int], None]


class StreamState(msgspec.Struct):
    """How it is, for the health page. `kept`: the position that is kept durably."""

    ok: bool = True
    detail: str = "not connected yet"
    sent: int = 0
    confirmed: int = -1
    kept: int = -1


class Ack(msgspec.Struct):
    """What JetStream answers to a message."""

    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


class Asked(msgspec.Struct):
    """A message whose confirmation is on its way: its position, and the place it takes in the stream."""

    position: int
    sequence: int
    answer: asyncio.Future[Ack]


_ack = msgspec.json.Decoder(Ack).decode


def keep(means: Means, state: StreamState) -> None:
    """Keep durably what was confirmed since the last time."""
    if state.confirmed > state.kept:
        confirmed = state.confirmed
        means.confirm(confirmed)
        state.kept = confirmed


class Publisher:
    """Publishes over one connection. `not_found`: what the client raises where there is no such stream."""

    def __init__(self, means: Means, state: StreamState, client: Any, not_found: type[Exception]) -> None:
        self._means = means
        self._state = state
        self._client = client
        self._not_found = not_found
        self._most_bytes = client.max_payload - HEADERS_BYTES
        self._inbox = client.new_inbox()
        self._asked: deque[Asked] = deque()
        self._answers: dict[str, Asked] = {}
        self._number = 0
        self._after = -1
        self._sequence = 0
        self._last_id = ""  # of the message sent last; before the first one the sequence says where it goes

    async def publish(self, stopping: threading.Event) -> None:
        """Publish until told to stop, then until all that was sent is confirmed.

        Raises:
            NotStored, StreamUnfit, BrokerGone: see there; and any error of the connection.
        """
        await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)
        await self._find_place()
        await self._step_over_duplicates()
        loop, state = asyncio.get_running_loop(), self._state
        kept_s = loop.time()
        while not stopping.is_set():
            entries = self._read(READ_AT_ONCE)
            if not entries and not self._client.is_connected:
                raise BrokerGone
            for entry in entries:
                # The last of a part asks, so that nothing that was sent is ever in doubt for long.
                await self._send(entry, ask=entry is entries[-1])
            if len(entries) < READ_AT_ONCE:
                await self._drain()
            state.ok, state.detail = (
                True,
                f"{state.sent:,} sent, {self._after - state.confirmed:,} on their way",
            )
            if loop.time() - kept_s >= KEEP_EVERY_S:
                await asyncio.to_thread(keep, self._means, state)
                kept_s = loop.time()
            if not entries:
                await asyncio.sleep(LOOK_EVERY_S)
        await self._drain()

    # --- Where to go on (stream.J2) -----------------------------------------------

    async def _find_place(self) -> None:
        js = self._client.jetstream()
        info = await self._stream_of(js)
        self._sequence = info.state.last_seq
        self._after = max(self._state.confirmed, await asyncio.to_thread(self._means.confirmed))
        if info.state.messages:
            with suppress(self._not_found):
                last = await js.get_msg(self._means.broker.stream, seq=info.state.last_seq)
                with self._means.reader() as db:
                    entry = log.find(db, (last.headers or {}).get(MSG_ID, ""))
                if entry is not None:
                    self._after = entry.position
        self._state.confirmed = self._after

    async def _stream_of(self, js: Any) -> Any:
        """Return the stream; it is made when missing.

        Raises:
            StreamUnfit: see there.
        """
        name, subjects = self._means.broker.stream, [f"{self._means.broker.prefix}.>"]
        try:
            info = await js.stream_info(name)
        except self._not_found:
            return await js.add_stream(
                name=name,
                subjects=subjects,
                retention="limits",
                storage="file",
                discard="old",
                max_age=MAX_AGE_S,
                max_bytes=MAX_BYTES,
                duplicate_window=DUPLICATES_S,
                description="Every entry of Coldgrid's log, in its order",
            )
        if subjects[0] not in (info.config.subjects or []):
            raise StreamUnfit(
                f"the stream {name} takes {info.config.subjects}, not {subjects[0]}: add that subject to it, "
                "or choose another COLDGRID_STREAM_PREFIX"
            )
        return info

    async def _step_over_duplicates(self) -> None:
        """Send one by one while the broker knows what comes: it may have stored messages and dropped them."""
        while entries := self._read(1):
            await self._send(entries[0], ask=True)
            asked = self._asked.popleft()
            ack = await asyncio.wait_for(asked.answer, CONFIRM_WITHIN_S)
            if ack.error is not None or not ack.duplicate:
                self._check(ack, asked)
                return
            self._sequence -= 1
            self._last_id = ""
            self._state.confirmed = asked.position

    # --- Sending ------------------------------------------------------------------

    def _read(self, count: int) -> list[Entry]:
        with self._means.reader() as db:
            return log.read(db, self._after, count)

    async def _send(self, entry: Entry, *, ask: bool) -> None:
        message = message_of(self._means.broker.prefix, entry, self._most_bytes)
        if self._last_id:
            message.headers[BEHIND_MESSAGE] = self._last_id
        else:
            message.headers[BEHIND_SEQUENCE] = str(self._sequence)
        self._last_id = message.headers[MSG_ID]
        self._sequence += 1
        self._after = entry.position
        self._state.sent += 1
        if not ask and self._sequence % CONFIRM_EVERY:
            await self._client.publish(message.subject, message.body, headers=message.headers)
            return
        self._number += 1
        reply = f"{self._inbox}.{self._number}"
        asked = Asked(message.position, self._sequence, asyncio.get_running_loop().create_future())
        self._answers[reply] = asked
        self._asked.append(asked)
        await self._client.publish(message.subject, message.body, reply=reply, headers=message.headers)
        await asyncio.sleep(0)
        while len(self._asked) > 1 and (
            self._asked[0].answer.done() or self._sequence - self._asked[0].sequence > WINDOW
        ):
            await self._confirm_next()

    async def _drain(self) -> None:
        while self._asked:
            await self._confirm_next()

    async def _confirm_next(self) -> None:
        asked = self._asked.popleft()
        self._check(await asyncio.wait_for(asked.answer, CONFIRM_WITHIN_S), asked)

    def _check(self, ack: Ack, asked: Asked) -> None:
        if ack.error is not None:
            raise NotStored(str(ack.error.get("description", ack.error)))
        if ack.duplicate or ack.seq != asked.sequence:
            raise NotStored(f"a message went to place {ack.seq} of the stream, not to {asked.sequence}")
        self._state.confirmed = asked.position

    async def _answered(self, message: Any) -> None:
        asked = self._answers.pop(message.subject, None)
        if asked is None or asked.answer.done():
            return
        try:
            asked.answer.set_result(_ack(message.data))
        except msgspec.DecodeError:  # the server itself answers that nobody listens
            asked.answer.set_result(Ack(error={"description": "no JetStream answers at this broker"}))
