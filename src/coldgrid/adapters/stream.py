"""Stream: every committed entry of the log, in order, to NATS JetStream.

Invariants
    J1  A message is stored only right behind the one before it (`Nats-Expected-Last-Msg-Id`): the stream has
        the log's order, without a gap, whatever fails.
    J2  After an interruption the stream itself says where to go on: by its last message, else by the last
        position that it confirmed. What is sent twice has the same `Nats-Msg-Id`.
    J3  While the broker is away entries wait in the log; nothing is dropped, and the health page says so.

Messages go out in windows; a confirmation is asked for every `CONFIRM_EVERY` messages only, because by J1 one
confirmation holds for all before it. The stream is ours alone: what others publish into it breaks the chain,
is noticed, and costs a look at the stream.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import structlog

from coldgrid.adapters.stream_form import PREFIX
from coldgrid.adapters.stream_publisher import (
    LOOK_EVERY_S,
    Broker,
    Means,
    NotStored,
    Publisher,
    StreamState,
    keep,
)
from coldgrid.kernel import log
from coldgrid.kernel.rejections import Unavailable

CONNECT_WITHIN_S = 5.0
STOP_WITHIN_S = 30.0
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
logger = structlog.get_logger("coldgrid.stream")


class StreamMissing(Unavailable):
    """The stream of events needs nats-py, which is not installed here."""

    todo = "Install coldgrid[stream]."


def broker_of(url: str, prefix: str) -> Broker:
    """Read `nats://[user:password@]host[:port][,…]` or `tls://`.

    Raises:
        ValueError: it is neither, or the prefix is no subject.
    """
    servers = [part.strip() for part in url.split(",")]
    if not all(urlsplit(one).scheme in {"nats", "tls"} and urlsplit(one).hostname for one in servers):
        raise ValueError("COLDGRID_STREAM is nats://[user:password@]host:port or tls://, several with commas")
    if not PREFIX.fullmatch(prefix):
        raise ValueError("COLDGRID_STREAM_PREFIX is words of letters, digits, - and _, joined by dots")
    return Broker(servers, prefix)


class FanOut:
    """Publishes the log, on a thread of its own."""

    def __init__(self, means: Means) -> None:
        try:
            import nats  # noqa: PLC0415 (an extra: only when used)
            from nats.js.errors import NotFoundError  # noqa: PLC0415
        except ImportError:
            raise StreamMissing from None
        self._connect: Any = nats.connect
        self._not_found: type[Exception] = NotFoundError
        self._means = means
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream of events", daemon=True)
        self.state = StreamState()

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after what is on its way was confirmed, or soon."""
        self._stopping.set()
        self._thread.join(timeout=STOP_WITHIN_S)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        """Connect, publish, and after a failure wait longer each time, until it works again (J3)."""
        failures = 0
        while not self._stopping.is_set():
            before = self.state.confirmed
            try:
                await self._over_one_connection()
            except Exception as error:
                failures = 0 if self.state.confirmed > before else failures
                wait_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                failures += 1
                self._tell(error, wait_s)
                await self._rest(wait_s)

    async def _over_one_connection(self) -> None:
        broker = self._means.broker
        tls = broker.servers[0].startswith("tls")
        connecting = self._connect(
            servers=broker.servers,
            name="coldgrid",
            # After any failure the stream is asked where to go on, so the client tries nothing by itself.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.1,
            connect_timeout=CONNECT_WITHIN_S,
            error_cb=_ignore,
            tls=ssl.create_default_context() if tls else None,
        )
        client = await asyncio.wait_for(connecting, 3 * CONNECT_WITHIN_S * len(broker.servers))
        try:
            await Publisher(self._means, self.state, client, self._not_found).publish(self._stopping)
        finally:
            with suppress(Exception):  # the database's own trouble is told elsewhere
                await asyncio.to_thread(keep, self._means, self.state)
            with suppress(Exception):
                await client.close()

    def _tell(self, error: Exception, wait_s: float) -> None:
        detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if not self.state.detail.startswith(detail):  # once, not at every try while it lasts
            logger.warning("stream_failed", why=detail)
        self.state.ok = isinstance(error, NotStored)
        self.state.detail = f"{detail}; {self._waiting():,} entries wait, again in {wait_s:g} s"

    async def _rest(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / LOOK_EVERY_S))):
            if self._stopping.is_set():
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _waiting(self) -> int:
        with suppress(Exception), self._means.reader() as db:
            return log.last_position(db) - max(self.state.confirmed, self._means.confirmed())
        return 0


async def _ignore(error: Exception) -> None:
    """What goes wrong with the connection is seen where it is used."""
