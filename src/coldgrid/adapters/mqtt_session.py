"""A session at a gateway's broker: subscribed, heard from, told, acknowledged after the commit.

Invariants
    MS1  A message is acknowledged when its haul was stored, and everything before it, never before (QoS 1).
    MS2  What could not be stored is handed over again. When too much waits, newer messages are let go without
         an acknowledgement and the link is renewed afterwards, so that the broker delivers them again.
    MS3  An acknowledgement belongs to the connection its message came by.
    MS4  What an earlier map subscribed to, and a kept session still brings, is acknowledged and not heard.

The client is paho: this needs a will, retained messages and publishing, for some hundred messages a second
with many values each. `mqtt_links` is for the plain stream of single readings, where a general client costs
more than the reading.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, topic_matches_sub
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from coldgrid.adapters.driving import (
    HAUL_READINGS_MAX,
    STOP_WITHIN_S,
    Clock,
    Deliver,
    Haul,
    is_stored,
    unreadable,
)
from coldgrid.adapters.mqtt_broker import Ack, Broker, Mail, Will

KEEPALIVE_S = 30
CONNECT_WITHIN_S = 3.0
GREETED_WITHIN_S = 10.0
LOOK_S = 0.2
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.2, 30.0
# Messages and readings that may wait to be stored.
WAITING_MAX, WAITING_READINGS_MAX = 10_000, 100_000
TOPICS_KNOWN_MAX = 20_000
PACE_S = 0.02
RETRY_S = 0.5
logger = structlog.get_logger("coldgrid.driving")


class _Waiting:
    """Hauls that wait to be stored, in the order in which they came."""

    def __init__(self) -> None:
        self.hauls: deque[tuple[Haul, Ack | None]] = deque()
        self.readings = 0

    @property
    def full(self) -> bool:
        return len(self.hauls) >= WAITING_MAX or self.readings >= WAITING_READINGS_MAX

    def add(self, haul: Haul, ack: Ack | None) -> None:
        self.hauls.append((haul, ack))
        self.readings += len(haul.readings)

    def batch(self) -> tuple[Haul, int]:
        """Return the first hauls as one, and how many they are."""
        merged, count = Haul([], [], []), 0
        for haul, _ in self.hauls:
            if count and len(merged.readings) + len(haul.readings) > HAUL_READINGS_MAX:
                break
            merged.readings.extend(haul.readings)
            merged.unreadable.extend(haul.unreadable)
            merged.notes.extend(haul.notes)
            count += 1
        return merged, count

    def owed(self, count: int) -> list[Ack]:
        """Return what the first hauls owe the broker."""
        return [ack for _, ack in islice(self.hauls, count) if ack is not None]

    def pop(self, count: int) -> None:
        """Drop the first hauls."""
        for _ in range(count):
            haul, _ = self.hauls.popleft()
            self.readings -= len(haul.readings)


class Session:
    """One session; it is started and stopped by its driver.

    Args:
        name: The gateway's.
        broker: Where to connect.
        filters: What to subscribe to, at QoS 1.
        deliver: Hands a haul over.
        clock: The clocks.

    Its driver sets, before the start: `hear` reads a message (None: it is settled later), `every` is called
    about once a second while connected, one of them at a time; `will` makes the will of the next connection;
    `greet` is called after each connection, `farewell` before it is given up for good.
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        filters: Sequence[str],
        deliver: Deliver,
        clock: Clock,
    ) -> None:
        self.name = name
        self.broker = broker
        self.hear: Callable[[Mail], Haul | None] = lambda mail: Haul()
        self.every: Callable[[], Haul] = Haul
        self.will: Callable[[], Will | None] = lambda: None
        self.greet: Callable[[], None] = lambda: None
        self.farewell: Callable[[], None] = lambda: None
        self._filters = list(filters)
        self._deliver = deliver
        self._clock = clock
        self._guard = threading.Condition()
        self._waiting = _Waiting()
        self._let_go = 0
        self._lost = 0
        self._generation = 0
        self._client: Client | None = None
        self._connected = False
        self._subscribed = False
        self._why = "not connected yet"
        self._refused = 0
        self._ours: dict[str, bool] = {}
        self._gone = threading.Event()
        self._hearing = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    # --- For the driver --------------------------------------------------------------

    def start(self) -> None:
        """Start; twice is once."""
        if any(thread.is_alive() for thread in self._threads) and not self._stopping.is_set():
            return
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=run, args=(self._stopping,), name=f"{told} {self.name}", daemon=True)
            for run, told in ((self._run, "mqtt"), (self._store, "store"))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop within `STOP_WITHIN_S`; what is not acknowledged comes again."""
        self._stopping.set()
        with self._guard:
            self._guard.notify_all()
        until_s = self._clock.monotonic() + STOP_WITHIN_S
        for thread in self._threads:
            thread.join(timeout=max(0.1, until_s - self._clock.monotonic()))

    def state(self) -> tuple[bool, str]:
        """Say whether it is connected and whether what comes in can be stored."""
        where = f"{self.broker.host}:{self.broker.port}"
        with self._guard:
            waiting, let_go, lost = len(self._waiting.hauls), self._let_go, self._lost
        if not self._connected:
            told = f"no connection to the broker at {where}: {self._why}"
            return (
                False,
                f"{told}; see that it runs, and that the gateway's address and credentials are right",
            )
        if not self._subscribed or self._refused == len(self._filters):
            refused = "lets us subscribe to nothing: see its access list"
            told = refused if self._subscribed else "has not let us subscribe yet"
            return False, f"the broker at {where} {told}"
        if let_go:
            return False, f"{let_go} messages were not taken while nothing could be stored; they come again"
        if lost:
            return False, f"{lost} messages that their senders do not repeat (QoS 0) were lost in an outage"
        if waiting > WAITING_MAX // 10:
            return False, f"{waiting} messages wait to be stored"
        return True, f"connected to the broker at {where}"

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish while connected; else nothing happens."""
        client = self._client
        if client is not None and self._connected:
            client.publish(topic, payload, qos=qos, retain=retain)

    def settle(self, acks: Sequence[Ack]) -> None:
        """Acknowledge messages that were kept for later, when everything before is stored."""
        for ack in acks:
            self._keep(Haul(), ack if ack[2] else None)

    # --- The broker's side -------------------------------------------------------------

    def _run(self, stopping: threading.Event) -> None:
        backoff_s = BACKOFF_MIN_S
        while not stopping.is_set():
            before, self._why = self._generation, ""
            try:
                self._connection(stopping)
            except Exception as error:  # whatever a library throws: a broker must not end its gateway
                told = error.strerror if isinstance(error, OSError) else None
                self._why = told.lower() if told else f"{type(error).__name__}: {error}"
            self._connected = False
            backoff_s = BACKOFF_MIN_S if self._generation > before else min(2 * backoff_s, BACKOFF_MAX_S)
            if not stopping.is_set():
                logger.warning("broker_away", gateway=self.name, why=self._why, again_in_s=backoff_s)
                stopping.wait(backoff_s)

    def _connection(self, stopping: threading.Event) -> None:
        """Connect and stay until the link breaks, has to be renewed, or everything stops."""
        self._gone.clear()
        client = self._client = self._made()
        client.connect(self.broker.host, self.broker.port, keepalive=KEEPALIVE_S)
        client.loop_start()
        next_s = self._clock.monotonic() + GREETED_WITHIN_S
        try:
            while not self._gone.wait(LOOK_S) and not stopping.is_set() and not self._renewing():
                if self._clock.monotonic() < next_s:
                    continue
                if not self._connected:
                    self._why = f"it takes connections and said nothing within {GREETED_WITHIN_S:g} s"
                    return
                next_s = self._clock.monotonic() + 1.0
                with self._hearing:
                    self._keep(self.every(), None)
            if stopping.is_set() and self._connected:
                self.farewell()
        finally:
            self._connected = False
            with suppress(Exception):
                client.disconnect()
            client.loop_stop()

    def _made(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.broker.client_id,
            clean_session=self.broker.clean,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_WITHIN_S
        if self.broker.user:
            client.username_pw_set(self.broker.user, self.broker.password or None)
        if self.broker.tls:
            client.tls_set(ca_certs=self.broker.ca_file or None)
        will = self.will()
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, why: ReasonCode, _more: Properties | None
    ) -> None:
        if why.is_failure:
            self._why = f"it refuses us: {why}"
            return
        with self._guard:
            self._let_go = 0  # they come again by this connection
        self._generation += 1
        self._connected, self._subscribed = True, False
        self._why = ""
        client.subscribe([(topic, 1) for topic in self._filters])
        try:
            self.greet()
        except Exception:  # the library's thread must not end by it
            logger.exception("greeting_failed", gateway=self.name)

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        _number: int,
        answers: list[ReasonCode],
        _more: Properties | None,
    ) -> None:
        self._refused = sum(answer.is_failure for answer in answers)
        self._subscribed = True

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        why: ReasonCode,
        _more: Properties | None,
    ) -> None:
        self._connected = False
        self._why = self._why or str(why)
        self._gone.set()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        ack = (self._generation, message.mid, message.qos)
        if self._has_no_room(message.qos):
            return
        try:
            mail = Mail(message.topic, bytes(message.payload), message.retain, ack)
            with self._hearing:
                haul = self.hear(mail) if self._is_ours(mail.topic) else Haul()
        except Exception as error:  # a message must not end its gateway, nor come again for ever
            logger.exception("message_failed", gateway=self.name)
            why = f"the driver failed with it: {type(error).__name__}"
            haul = Haul(unreadable=[unreadable(self.name, bytes(message.payload[:400]), why)])
        if haul is not None:
            self._keep(haul, ack if message.qos else None)

    def _is_ours(self, topic: str) -> bool:
        known = self._ours.get(topic)
        if known is None:
            if len(self._ours) >= TOPICS_KNOWN_MAX:
                self._ours.clear()
            known = self._ours[topic] = any(topic_matches_sub(one, topic) for one in self._filters)
        return known

    def _has_no_room(self, qos: int) -> bool:
        """Tell whether too much waits; with one let go all that follow are: they come again in order."""
        with self._guard:
            full = self._waiting.full or (self._let_go > 0 and qos > 0)
            if full and qos:
                self._let_go += 1
            elif full:
                self._lost += 1
        return full

    def _keep(self, haul: Haul, ack: Ack | None) -> None:
        if len(haul) or ack is not None:
            with self._guard:
                self._waiting.add(haul, ack)
                self._guard.notify_all()

    def _renewing(self) -> bool:
        """Tell whether messages were let go, and everything before them is stored and acknowledged (MS2)."""
        with self._guard:
            waiting = self._waiting
            return self._let_go > 0 and not waiting.owed(len(waiting.hauls))

    # --- The store's side --------------------------------------------------------------

    def _store(self, stopping: threading.Event) -> None:
        """Hand over what waits, one haul at a time, and acknowledge what was stored (MS1)."""
        while not stopping.is_set():
            with self._guard:
                self._guard.wait_for(lambda: self._waiting.hauls or stopping.is_set(), timeout=1.0)
            if not self._waiting.hauls or stopping.wait(PACE_S):
                continue
            with self._guard:
                haul, count = self._waiting.batch()
            if len(haul) and not is_stored(self._deliver, haul, stopping.is_set):
                stopping.wait(RETRY_S)
                continue
            with self._guard:
                self._acknowledge(self._waiting.owed(count))
                self._waiting.pop(count)

    def _acknowledge(self, owed: Sequence[Ack]) -> None:
        client = self._client
        for generation, message_id, qos in owed:
            if client is not None and self._connected and generation == self._generation:
                client.ack(message_id, qos)
