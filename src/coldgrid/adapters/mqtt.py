"""Readings from an MQTT broker: QoS 1, acknowledged after the commit that made them durable.

    topic      coldgrid/<site>/<sensor>, as coldgrid/ATL1/ATL1-FRZ1-T1
    payload    {"at": "2026-03-01T08:00:00Z", "value": -21.4, "unit": "C"}
               `at` may be whole milliseconds since 1970 UTC; `unit` is left out where it is the sensor's own

Invariants
    M1  A message is acknowledged (PUBACK) after the durable commit of its reading, never before.
    M2  A message that cannot be read is counted, quarantined at its site, and acknowledged, because it would
        come again for ever. One whose topic or site is unknown is counted and logged.
    M3  While nothing can be stored nothing is acknowledged; the broker keeps it and delivers it again.
    M4  What was waiting when a link broke is stored, comes again, and is told as a duplicate.
    M5  A reading that calls for haste is flushed at once, with what waits of its site, whatever is under way.

Other readings are flushed whenever no flush is under way, at most every `PACE_S` unless half a window waits:
a flush of every single message would keep the decider, and this machine, busy for nothing, and what is urgent
would wait behind it. A fixed second instead would let a broker with its default window (20 unacknowledged
messages for each link, 1,000 queued) drop most of a fast stream.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import numpy as np
import structlog
from prometheus_client import Counter

from coldgrid.adapters import mqtt_packets as packets
from coldgrid.adapters.mqtt_links import Link, MqttSettings, Opener
from coldgrid.kernel.rejections import Invalid, NotFound, OriginElsewhere
from coldgrid.telemetry.decoding import Payload, decode_payload, micros_of, unit_codes
from coldgrid.telemetry.ingest import IngestReadings, Poisoned

FLUSH_MAX = 10_000
PACE_S = 0.02
# Messages that a broker with its default settings delivers on one link before it waits for us.
WINDOW = 20
RETRY_S = 0.5
WAIT_MAX_S = 1.0
TOPICS_KNOWN_MAX = 100_000
MESSAGES = Counter(
    "coldgrid_mqtt_messages_total", "Messages from the broker, by what became of them.", ["outcome"]
)
logger = structlog.get_logger("coldgrid.mqtt")

Submit = Callable[[IngestReadings], "Future[Any]"]
# Tells whether a reading of a site's sensor calls for haste. A hint: it is asked on this room's thread.
Urgent = Callable[[str, str, Payload], bool]
# A message that is not acknowledged: its link, the link's generation, its packet id.
Owed = tuple[Link, int, bytes]


class Arrived(NamedTuple):
    """A message that waits: the site and sensor it is of ("" where it names none), and its reading."""

    link: Link
    message: packets.Message
    site_id: str
    sensor_id: str
    payload: Payload | None
    why: str


class Batch:
    """What one flush holds for one site."""

    def __init__(self, site_id: str) -> None:
        self.site_id = site_id
        self.number: dict[str, int] = {}
        self.sensor_no: list[int] = []
        self.payloads: list[Payload] = []
        self.poisoned: list[Poisoned] = []
        self.owed: list[Owed] = []

    def add(self, arrived: Arrived) -> None:
        """Sort a message in."""
        self.owed.append((arrived.link, arrived.link.generation, arrived.message.packet_id))
        if arrived.payload is not None:
            self.payloads.append(arrived.payload)
            self.sensor_no.append(self.number.setdefault(arrived.sensor_id, len(self.number)))
        elif arrived.site_id:
            self.poisoned.append(_poison(arrived.message, arrived.why))

    def command(self) -> IngestReadings:
        """Return the command that stores it."""
        unit, _ = unit_codes(self.payloads)
        return IngestReadings(
            site_id=self.site_id,
            sensor_ids=list(self.number),
            sensor_no=np.array(self.sensor_no, dtype="<u4").tobytes(),
            at_us=micros_of(self.payloads).astype("<i8").tobytes(),
            value=np.array([payload.value for payload in self.payloads], dtype="<f8").tobytes(),
            unit=unit,
            poisoned=tuple(self.poisoned[:1_000]),
        )


class MqttIngest:
    """Consumes readings on a thread of its own.

    Args:
        settings: Where the broker is.
        submit: Queues a command; its future is done after the commit.
        monotonic: Seconds of a clock that never steps.
        urgent: Tells whether a reading calls for haste.
    """

    def __init__(
        self,
        settings: MqttSettings,
        submit: Submit,
        monotonic: Callable[[], float],
        urgent: Urgent = lambda site_id, sensor_id, payload: False,
    ) -> None:
        self.settings = settings
        self._submit = submit
        self._monotonic = monotonic
        self._urgent = urgent
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
        self._opened: list[Link] = []
        self._done: list[tuple[Batch, Future[Any]]] = []
        self._guard = threading.Lock()
        self._waiting: list[Arrived] = []
        # Sites whose waiting readings call for haste.
        self._hasty: set[str] = set()
        self._flush_at_s = 0.0
        self._soon = settings.connections * WINDOW // 2
        self._topics: dict[bytes, tuple[str, str] | None] = {}
        self._under_way = 0
        self._retry_at_s = 0.0
        self._stopping = False
        # Links that were taken over from the opener.
        self._up: set[Link] = set()
        self._links = [Link(number) for number in range(settings.connections)]
        self._opener = Opener(settings, self._hand_over)
        self._thread = threading.Thread(target=self._loop, name="mqtt", daemon=True)

    @property
    def connected(self) -> int:
        """How many links are up: for the health page."""
        return len(self._up)

    def start(self) -> None:
        """Start consuming."""
        self._opener.start()
        for link in self._links:
            self._opener.want(link)
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is not acknowledged will be delivered again."""
        self._stopping = True
        self._opener.stop()
        self._wake()
        self._thread.join(timeout=5)

    # --- From other threads -------------------------------------------------------

    def _hand_over(self, link: Link) -> None:
        with self._guard:
            self._opened.append(link)
        self._wake()

    def _finished(self, batch: Batch, future: Future[Any]) -> None:
        with self._guard:
            self._done.append((batch, future))
        self._wake()

    def _wake(self) -> None:
        # Refused when enough wake-ups are waiting already, or when the thread is gone.
        with suppress(OSError):
            self._wake_out.send(b"\0")

    # --- The thread -----------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(self._patience_s()):
                if key.data is None:
                    self._wake_in.recv(4096)
                else:
                    self._read(key.data)
            self._take_over()
            self._keep_alive()
            if self._hasty and self._monotonic() >= self._retry_at_s:
                self._flush_hasty()
            if self._waiting and not self._under_way and self._wait_s() <= 0:
                self._flush()
        for link in self._links:
            self._drop(link, again=False)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _patience_s(self) -> float:
        if self._waiting and not self._under_way:
            return min(WAIT_MAX_S, max(0.0, self._wait_s()))
        return WAIT_MAX_S

    def _wait_s(self) -> float:
        """How long the next flush still has to wait, in seconds."""
        paced_at_s = 0.0 if len(self._waiting) >= self._soon else self._flush_at_s
        return max(paced_at_s, self._retry_at_s) - self._monotonic()

    def _read(self, link: Link) -> None:
        try:
            messages, _ = link.receive()
        except (OSError, packets.MalformedPacket) as error:
            logger.warning("link_broke", link=link.number, error=str(error))
            self._drop(link)
            return
        link.heard_s = self._monotonic()
        self._take_in(link, messages)

    def _take_in(self, link: Link, messages: Sequence[packets.Message]) -> None:
        """Read messages and let them wait."""
        for message in messages:
            arrived = self._arrive(link, message)
            self._waiting.append(arrived)
            if arrived.payload is not None and self._urgent(
                arrived.site_id, arrived.sensor_id, arrived.payload
            ):
                self._hasty.add(arrived.site_id)

    def _arrive(self, link: Link, message: packets.Message) -> Arrived:
        place = self._place(message.topic)
        if place is None:
            return Arrived(link, message, "", "", None, "")
        try:
            payload = decode_payload(message.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return Arrived(link, message, *place, None, str(error))
        if payload.unit and unit_codes([payload])[1]:
            return Arrived(link, message, *place, None, f"{payload.unit!r} is no unit known here")
        return Arrived(link, message, *place, payload, "")

    def _drop(self, link: Link, *, again: bool = True) -> None:
        if link in self._up and link.sock is not None:
            self._up.remove(link)
            self._selector.unregister(link.sock)
            link.drop()
            self._waiting = [arrived for arrived in self._waiting if arrived.link is not link]
            if again:
                self._opener.want(link)

    def _take_over(self) -> None:
        """Take what other threads handed over: opened links, flushes that are done."""
        with self._guard:
            opened, self._opened = self._opened, []
            done, self._done = self._done, []
        for link in opened:
            assert link.sock is not None, "a link is handed over when it is up"
            link.heard_s = link.pinged_s = self._monotonic()
            self._selector.register(link.sock, selectors.EVENT_READ, link)
            self._up.add(link)
            self._take_in(link, link.early)
            link.early = []
        for batch, future in done:
            self._under_way -= 1
            self._settle(batch, future)

    def _keep_alive(self) -> None:
        now_s = self._monotonic()
        for link in list(self._up):
            if now_s - link.pinged_s < self.settings.keepalive_s / 2:
                continue
            if now_s - link.heard_s > 1.5 * self.settings.keepalive_s:
                logger.warning("link_silent", link=link.number)
                self._drop(link)
                continue
            link.pinged_s = now_s
            self._send(link, packets.PINGREQ)

    def _send(self, link: Link, data: bytes) -> None:
        try:
            link.send(data)
        except OSError as error:
            logger.warning("link_broke", link=link.number, error=str(error))
            self._drop(link)

    # --- Flushes --------------------------------------------------------------------

    def _flush_hasty(self) -> None:
        """Submit what waits of the sites that call for haste, in its order (M5)."""
        hasty, self._hasty = self._hasty, set()
        taken = [arrived for arrived in self._waiting if arrived.site_id in hasty]
        self._waiting = [arrived for arrived in self._waiting if arrived.site_id not in hasty]
        self._submit_all(taken)

    def _flush(self) -> None:
        """Submit what waits, a command for each site."""
        taken, self._waiting = self._waiting[:FLUSH_MAX], self._waiting[FLUSH_MAX:]
        self._flush_at_s = self._monotonic() + PACE_S
        self._submit_all(taken)

    def _submit_all(self, taken: Sequence[Arrived]) -> None:
        batches: dict[str, Batch] = {}
        for arrived in taken:
            batch = batches.get(arrived.site_id)
            if batch is None:
                batch = batches[arrived.site_id] = Batch(arrived.site_id)
            batch.add(arrived)
        nowhere = batches.pop("", None)
        if nowhere is not None:
            MESSAGES.labels("refused").inc(len(nowhere.owed))
            logger.warning("topics_unknown", messages=len(nowhere.owed))
            self._acknowledge(nowhere.owed)
        for batch in batches.values():
            self._under_way += 1
            future = self._submit(batch.command())
            future.add_done_callback(lambda done, batch=batch: self._finished(batch, done))  # type: ignore[misc]

    def _place(self, topic: bytes) -> tuple[str, str] | None:
        """Return the site and the sensor that a topic names; None: it names none."""
        if topic not in self._topics:
            if len(self._topics) >= TOPICS_KNOWN_MAX:
                self._topics.clear()
            levels = topic.decode(errors="replace").split("/")
            fits = len(levels) == 3 and levels[0] == self.settings.prefix and all(levels)
            self._topics[topic] = (levels[1], levels[2]) if fits else None
        return self._topics[topic]

    def _settle(self, batch: Batch, future: Future[Any]) -> None:
        """Acknowledge what is durable (M1); hold back what could not be stored (M3)."""
        error = future.exception()
        if error is None:
            MESSAGES.labels("stored").inc(len(batch.payloads))
            MESSAGES.labels("poisoned").inc(len(batch.poisoned))
        elif isinstance(error, OriginElsewhere):
            # The site has a node, which hears the same broker by a session of its own: that one keeps it.
            MESSAGES.labels("elsewhere").inc(len(batch.owed))
        elif isinstance(error, NotFound | Invalid):
            MESSAGES.labels("refused").inc(len(batch.owed))
            logger.warning(
                "messages_refused", site_id=batch.site_id, messages=len(batch.owed), why=str(error)
            )
        else:
            logger.error("flush_failed", site_id=batch.site_id, messages=len(batch.owed), why=str(error))
            self._again(batch.owed)
            return
        self._acknowledge(batch.owed)

    def _acknowledge(self, owed: Sequence[Owed]) -> None:
        by_link: dict[Link, list[bytes]] = {}
        for link, generation, packet_id in owed:
            if packet_id and link.generation == generation and link.sock is not None:
                by_link.setdefault(link, []).append(packet_id)
        for link, packet_ids in by_link.items():
            self._send(link, packets.acknowledge(packet_ids))

    def _again(self, owed: Sequence[Owed]) -> None:
        """Let the broker deliver again: a broken link is the only way to ask it in MQTT 3.1.1."""
        self._retry_at_s = self._monotonic() + RETRY_S
        for link in {link for link, generation, _ in owed if link.generation == generation}:
            self._drop(link)


def _poison(message: packets.Message, why: str) -> Poisoned:
    return Poisoned(
        source=message.topic.decode(errors="replace")[:200],
        text=message.payload[:200].decode(errors="replace")[:200],
        why=why[:200],
    )
