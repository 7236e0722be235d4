"""Sparkplug B: this host as a host application of a broker's edge nodes (Eclipse Sparkplug 3.0).

Invariants
    SH1  This host's state is on `spBv1.0/STATE/HOST_ID`, retained: online after it subscribed, offline by its
         will, both with the same timestamp. Edge nodes that name it as their primary host keep their values
         while it is offline and send them later as historical ones.
    SH2  An edge node is asked for its births (`Node Control/Rebirth`) no more often than every
         `sparkplug_nodes.ASK_MIN_S`, and less and less often while it does not answer.
    SH3  What was published at QoS 1 is acknowledged after its commit (`mqtt_session`). What waits for a birth
         stays with the broker as long as an answer is likely (`PATIENT_S`); after that it is in memory only,
         so that an edge node which never answers holds up no other.

The session is kept by default, unlike the specification asks (`session: clean` in the map does as it says): a
broker that forgets this host at every break also forgets the QoS 1 messages that were not committed yet. What
a kept session delivers late is judged like everything else, by `seq`, `bdSeq` and timestamps.
"""

from __future__ import annotations

import structlog
from prometheus_client import Counter

from coldgrid.adapters import sparkplug_payload as sp
from coldgrid.adapters.driving import Clock, Deliver, Haul, Secret, unreadable
from coldgrid.adapters.mqtt_broker import Ack, Mail, Will, broker_of
from coldgrid.adapters.mqtt_session import Session
from coldgrid.adapters.sparkplug_map import read_map
from coldgrid.adapters.sparkplug_nodes import Edges, Outcome
from coldgrid.adapters.sparkplug_topics import NAMESPACE
from coldgrid.telemetry.gateways import Gateway

MESSAGES = Counter(
    "coldgrid_sparkplug_total",
    "Messages and values of Sparkplug edge nodes, by what became of them.",
    ["gateway", "outcome"],
)
# Where a Sparkplug Aware MQTT Server keeps the last births (chapter 10 of the specification).
CERTIFICATES = "$sparkplug/certificates/"
ONLINE = b'{"online":true,"timestamp":%d}'
OFFLINE = b'{"online":false,"timestamp":%d}'
logger = structlog.get_logger("coldgrid.driving")


class SparkplugHost:
    """One gateway's driver."""

    def __init__(self, gateway: Gateway, secret: Secret | None, deliver: Deliver, clock: Clock) -> None:
        said, problems = read_map(gateway.map)
        assert not problems, "a map is checked when it is written"
        self._gateway_id = gateway.gateway_id
        self._clock = clock
        self._host_id = said.host_id or f"coldgrid-{gateway.gateway_id}"
        self._own = f"{NAMESPACE}/STATE/{self._host_id}"
        self._online_ms = 0
        self._leaving = False
        self._edges = Edges()
        self._deferred: list[Ack] = []
        broker = broker_of(
            gateway, secret, client_id=said.client_id or self._host_id, clean=said.session == "clean"
        )
        kept = [CERTIFICATES + topic for topic in said.filters() if "BIRTH" in topic]
        filters = [self._own, *said.filters(), *(kept if said.broker == "aware" else [])]
        self._session = Session(gateway.gateway_id, broker, filters, deliver, clock)
        self._session.hear = self._hear
        self._session.every = self._every
        self._session.will = self._will
        self._session.greet = self._greet
        self._session.farewell = self._farewell

    def start(self) -> None:
        """Start; twice is once."""
        self._session.start()

    def stop(self) -> None:
        """Stop, and say so to the edge nodes."""
        self._session.stop()

    def state(self) -> tuple[bool, str]:
        """Say whether it is connected, how many edge nodes are online, and whose births are waited for."""
        ok, detail = self._session.state()
        if not ok:
            return ok, detail
        waiting = self._edges.waiting
        told = f"{detail}; {self._edges.online} edge nodes online"
        if waiting:
            told += f"; waiting for the births of {', '.join(waiting[:5])}: see that they take commands"
        return not waiting, told

    # --- The session's side -------------------------------------------------------------

    def _will(self) -> Will:
        self._leaving = False
        self._online_ms = self._clock.now_us() // 1_000
        return Will(self._own, OFFLINE % self._online_ms)

    def _greet(self) -> None:
        self._session.publish(self._own, ONLINE % self._online_ms, qos=1, retain=True)

    def _farewell(self) -> None:
        self._leaving = True
        self._session.publish(self._own, OFFLINE % self._online_ms, qos=1, retain=True)

    def _hear(self, mail: Mail) -> Haul | None:
        self._settle()
        if mail.topic == self._own:
            # Somebody else's word that we are offline, such as the late will of a broken link.
            if not mail.retained and not self._leaving and mail.payload.startswith(OFFLINE[:15]):
                self._greet()
            return Haul()
        if mail.topic.startswith(CERTIFICATES):
            self._edges.recall(mail.topic.removeprefix(CERTIFICATES), mail.payload)
            return Haul()
        if mail.retained:
            # An edge node's messages are never retained: this one was said at another time, maybe by another.
            MESSAGES.labels(self._gateway_id, "retained").inc()
            why = "was retained by the broker, and a retained birth or value may be of any age"
            return Haul(unreadable=[unreadable(mail.topic, mail.payload[:80].hex(), why)])
        now_us, now_s = self._clock.now_us(), self._clock.monotonic()
        outcome = self._edges.hear(mail.topic, mail.payload, now_us, now_s)
        haul = self._done(outcome)
        if outcome.waits and not len(haul):
            self._deferred.append(mail.ack)
            return None
        return haul

    def _settle(self) -> None:
        """Acknowledge what waited for a birth, behind what that birth came to."""
        if self._deferred and not self._edges.patient(self._clock.monotonic()):
            deferred, self._deferred = self._deferred, []
            self._session.settle(deferred)

    def _every(self) -> Haul:
        self._settle()
        return self._done(self._edges.tick(self._clock.monotonic()))

    def _done(self, outcome: Outcome) -> Haul:
        for what, count in outcome.counts.items():
            MESSAGES.labels(self._gateway_id, what).inc(count)
        for node in outcome.ask:
            logger.info("rebirth_asked", gateway=self._gateway_id, node=node.place)
            topic = f"{NAMESPACE}/{node.group}/NCMD/{node.node}"
            self._session.publish(topic, sp.rebirth_request(self._clock.now_us() // 1_000))
        return outcome.haul
