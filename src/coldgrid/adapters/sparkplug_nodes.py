"""Edge nodes as a Sparkplug host knows them: births, deaths, the order of messages, when to ask again. Pure.

Invariants
    SN1  A value is read by the birth in force. Without one nothing is guessed: the node is asked for its
         births (a rebirth), and what names its metrics waits for them, bounded in number and time.
    SN2  After a gap in `seq` a birth may have been missed: names still hold; an alias waits until the next
         birth gives it the same meaning as the last one did, else its value is refused.
    SN3  A death counts when its `bdSeq` is that of the birth in force; a birth older than that in force is a
         replay, unless the node was asked for it after it sent the first such one (its clock was set back).
    SN4  The same bytes again (a message that was delivered twice) change nothing.
    SN5  A death says that the device is silent. It never makes a value.

`seq` counts all messages of an edge node and its devices, 0 to 255 and round again; a birth of the node
starts it. Source: Eclipse Sparkplug 3.0.0 (2022), chapters 4 to 6.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from hashlib import blake2b

import msgspec

from coldgrid.adapters import sparkplug_payload as sp
from coldgrid.adapters.driving import Haul, Note
from coldgrid.adapters.sparkplug_births import (
    POINTS_MAX,
    Findings,
    Point,
    Table,
    meant,
    points_of,
    read,
    read_birth,
    table_of,
)
from coldgrid.adapters.sparkplug_topics import Topic, topic_of

EDGES_MAX, DEVICES_MAX = 500, 500
HELD_MAX, HELD_S = 2_000, 60.0
# So long an answer is likely, and what waits for it is left with the broker.
PATIENT_S = 15.0
ASK_MIN_S, ASK_MAX_S = 10.0, 300.0
# Fewer than there are values of `seq`: a device without a clock may send the same bytes a round later.
REMEMBERED = 200
# Births of one session may be this much out of order: clocks of edge nodes are set while they run.
SLACK_MS = 2_000


class Held(msgspec.Struct, frozen=True):
    """A value that waits for a birth: `prior` is what it would have meant by the one before."""

    device: str
    metric: sp.Metric
    sent_ms: int | None
    heard_us: int
    prior: Point | None


class Outcome(msgspec.Struct, frozen=True):
    """What a message came to: a haul, the edge nodes to ask for their births, and counts for the metrics.

    `waits`: some of it waits for a birth that will probably come soon.
    """

    haul: Haul
    ask: list[Topic]
    counts: dict[str, int]
    waits: bool = False


class Edge:
    """One edge node with its devices."""

    def __init__(self) -> None:
        self.online = False
        self.doubt = False
        self.bd_seq: int | None = None
        self.birth_ms = 0
        self.refused_ms: int | None = None
        self.seq = 0
        self.tables: dict[str, Table] = {}
        self.former: dict[str, Table] = {}
        self.held: list[Held] = []
        self.held_until_s = 0.0
        self.answers = True
        self.wanted = False
        self.ask_at_s = 0.0
        self.asked = False
        self.wait_s = ASK_MIN_S
        self.recent: deque[bytes] = deque(maxlen=REMEMBERED)

    def patient(self, now_s: float) -> bool:
        """Tell whether what waits will probably be explained: not by one that left us without an answer."""
        return bool(self.held) and self.answers and now_s < self.held_until_s - HELD_S + PATIENT_S


class Edges:
    """All edge nodes of one gateway. Not thread-safe: one thread tells it what was heard."""

    def __init__(self) -> None:
        self._edges: dict[tuple[str, str], Edge] = {}

    @property
    def online(self) -> int:
        """How many edge nodes are online."""
        return sum(edge.online for edge in self._edges.values())

    @property
    def waiting(self) -> list[str]:
        """Edge nodes whose births are waited for."""
        return ["/".join(key) for key, edge in self._edges.items() if edge.wanted]

    def hear(self, topic: str, data: bytes, now_us: int, now_s: float) -> Outcome:
        """Take one message in; total on any topic and bytes.

        Args:
            topic: As it was published.
            data: Its payload.
            now_us: The system's time.
            now_s: Seconds of a clock that never steps.
        """
        findings, notes = Findings(), list[Note]()
        place = topic_of(topic)
        if place is None:
            findings.refuse(topic, "", "is no topic of Sparkplug B", "unknown_topic")
            return self._outcome(findings, notes, now_s, {})
        try:
            payload = sp.decode(data)
        except sp.MalformedPayload as error:
            findings.refuse(topic, data[:80].hex(), str(error), "malformed")
            return self._outcome(findings, notes, now_s, {})
        edge = self._edge(place)
        if edge is None:
            findings.refuse(topic, "", f"more than {EDGES_MAX} edge nodes on one gateway", "too_many")
            return self._outcome(findings, notes, now_s, {})
        concerned = {(place.group, place.node): edge}
        heard = _Heard(edge, place, payload, findings, notes, now_us)
        digest = blake2b(topic.encode(errors="replace") + b"\0" + data, digest_size=12).digest()
        if digest in edge.recent and place.kind != "NDEATH":
            findings.counts["again"] += 1
        else:
            heard.take()
            edge.recent.append(digest)
        if edge.held and not edge.held_until_s:
            edge.held_until_s = now_s + HELD_S
        outcome = self._outcome(findings, notes, now_s, concerned)
        waits = not {"held", "again"}.isdisjoint(outcome.counts) and edge.patient(now_s)
        return msgspec.structs.replace(outcome, waits=waits)

    def patient(self, now_s: float) -> bool:
        """Tell whether values wait for a birth that will probably come soon."""
        return any(edge.patient(now_s) for edge in self._edges.values())

    def recall(self, topic: str, data: bytes) -> None:
        """Learn what aliases meant from a birth that the broker kept; it puts nothing in force (SN2)."""
        place = topic_of(topic)
        edge = self._edge(place) if place is not None and place.kind in {"NBIRTH", "DBIRTH"} else None
        if place is None or edge is None or edge.online:
            return
        with suppress(sp.MalformedPayload):
            table = table_of(place.place, place.device, sp.decode(data), POINTS_MAX, Findings())
            edge.former[place.device] = table

    def tick(self, now_s: float) -> Outcome:
        """Give up what waited too long, and ask again where nothing was answered. For every second or so."""
        findings = Findings()
        for (group, node), edge in self._edges.items():
            if edge.held and edge.held_until_s and now_s >= edge.held_until_s:
                count = len(edge.held)
                edge.held, edge.held_until_s, edge.answers = [], 0.0, False
                findings.counts["never_explained"] += count - 1
                why = f"no birth that explains them came within {HELD_S:g} s of asking"
                findings.refuse(f"{group}/{node}", f"{count} values", why, "never_explained")
        return self._outcome(findings, [], now_s, self._edges)

    def _edge(self, place: Topic) -> Edge | None:
        edge = self._edges.get((place.group, place.node))
        if edge is None and len(self._edges) < EDGES_MAX:
            edge = self._edges[place.group, place.node] = Edge()
        return edge

    def _outcome(
        self, findings: Findings, notes: list[Note], now_s: float, edges: dict[tuple[str, str], Edge]
    ) -> Outcome:
        ask = []
        for (group, node), edge in edges.items():
            if edge.wanted and now_s >= edge.ask_at_s:
                edge.asked = True
                edge.ask_at_s = now_s + edge.wait_s
                edge.wait_s = min(2 * edge.wait_s, ASK_MAX_S)
                ask.append(Topic("NCMD", group, node))
                findings.counts["rebirth_asked"] += 1
        return Outcome(Haul(findings.readings, findings.unreadable, notes), ask, dict(findings.counts))


class _Heard:
    """One message under way."""

    def __init__(
        self,
        edge: Edge,
        topic: Topic,
        payload: sp.Payload,
        findings: Findings,
        notes: list[Note],
        now_us: int,
    ) -> None:
        self.edge = edge
        self.topic = topic
        self.payload = payload
        self.findings = findings
        self.notes = notes
        self.now_us = now_us

    def take(self) -> None:
        """Take the message in."""
        kind = self.topic.kind
        if kind == "NBIRTH":
            self._node_birth()
        elif kind == "NDEATH":
            self._node_death()
        else:
            self._follow()
            if kind == "DBIRTH":
                self._device_birth()
            elif kind == "DDEATH":
                self._device_death()
            else:
                self._data()

    # --- Order ----------------------------------------------------------------------

    def _follow(self) -> None:
        """Follow `seq`; after a gap nothing is certain but names (SN2)."""
        edge, seq = self.edge, self.payload.seq
        if not edge.online:
            return
        if seq is None or seq != (edge.seq + 1) % 256:
            self.findings.counts["gap"] += 1
            edge.doubt = edge.wanted = True
        if seq is not None:
            edge.seq = seq

    # --- The edge node's own ----------------------------------------------------------

    def _node_birth(self) -> None:
        edge, payload = self.edge, self.payload
        at_ms = payload.at_ms or 0
        if payload.seq is None:
            self.findings.refuse(self.topic.name, "", "a birth without seq cannot be followed", "malformed")
            return
        if at_ms < edge.birth_ms and not self._answers(at_ms):
            why = "is older than the birth in force: a replay, or its clock was set back; asked again"
            self.findings.refuse(self.topic.name, f"sent at {at_ms}", why, "stale_birth")
            edge.refused_ms, edge.asked, edge.wanted = at_ms, False, True
            return
        edge.former = {**edge.former, **edge.tables}
        edge.tables = {}
        edge.online, edge.doubt, edge.wanted, edge.asked = True, False, False, False
        edge.bd_seq, edge.birth_ms, edge.refused_ms, edge.seq = payload.bd_seq, at_ms, None, payload.seq
        edge.wait_s, edge.answers = ASK_MIN_S, True
        self._born()

    def _answers(self, at_ms: int) -> bool:
        """Tell whether an older birth is the answer to our asking after the first such one (SN3)."""
        refused_ms = self.edge.refused_ms
        return refused_ms is not None and self.edge.asked and at_ms > refused_ms

    def _node_death(self) -> None:
        edge = self.edge
        if not edge.online or self.payload.bd_seq != edge.bd_seq:
            self.findings.counts["stale_death"] += 1
            return
        self._note(self.topic.place, online=False)
        for device in edge.tables:
            if device:
                self._note(f"{self.topic.place}/{device}", online=False)
        edge.former = {**edge.former, **edge.tables}
        edge.tables, edge.online = {}, False
        self.findings.counts["death"] += 1

    # --- Devices ----------------------------------------------------------------------

    def _device_birth(self) -> None:
        edge, at_ms = self.edge, self.payload.at_ms or 0
        if not edge.online:
            self._ask("a birth of a device before that of its edge node")
            return
        known = edge.tables.get(self.topic.device)
        if at_ms < max(edge.birth_ms, known.at_ms if known else 0) - SLACK_MS:
            why = "is older than the births in force: a replay"
            self.findings.refuse(self.topic.name, f"sent at {at_ms}", why, "stale_birth")
            edge.wanted = True
            return
        if known is None and len(edge.tables) > DEVICES_MAX:
            why = f"its edge node has more than {DEVICES_MAX} devices"
            self.findings.refuse(self.topic.name, "", why, "too_many")
            return
        if known is not None:
            edge.former[self.topic.device] = known
        self._born()
        edge.wanted = edge.wanted and edge.doubt

    def _device_death(self) -> None:
        table = self.edge.tables.get(self.topic.device)
        if table is None or (self.payload.at_ms or 0) < table.at_ms - SLACK_MS:
            self.findings.counts["stale_death"] += 1
            return
        self.edge.former[self.topic.device] = self.edge.tables.pop(self.topic.device)
        self._note(self.topic.name, online=False)
        self.findings.counts["death"] += 1

    # --- Births and values --------------------------------------------------------------

    def _born(self) -> None:
        """Put a birth in force, take its values and what waited for it."""
        edge, device = self.edge, self.topic.device
        room = POINTS_MAX - points_of(table for name, table in edge.tables.items() if name != device)
        table = table_of(self.topic.place, device, self.payload, room, self.findings)
        edge.tables[device] = table
        self.findings.counts["birth"] += 1
        self._note(self.topic.name, online=True)
        read_birth(table, self.payload, self.now_us, self.findings)
        waited, edge.held = edge.held, [held for held in edge.held if held.device != device]
        for held in waited:
            if held.device == device:
                self._release(table, held)
        if not edge.held:
            edge.held_until_s = 0.0

    def _release(self, table: Table, held: Held) -> None:
        """Read what waited, where this birth leaves no doubt what it was (SN1, SN2)."""
        point = meant(table, held.metric)
        before = self.edge.former.get(held.device)
        prior = held.prior or (meant(before, held.metric) if before is not None else None)
        shown = held.metric.name or f"alias {held.metric.alias}"
        if point is None:
            self.findings.refuse(self.topic.name, shown, "the birth does not declare it", "unknown_metric")
        elif not held.metric.name and prior != point:
            why = "it came in a gap, and its alias changed its meaning or had none before"
            self.findings.refuse(self.topic.name, shown, why, "uncertain_alias")
        else:
            read(point, held.metric, held.sent_ms, held.heard_us, self.findings)

    def _data(self) -> None:
        edge, device = self.edge, self.topic.device
        table = edge.tables.get(device)
        if table is None:
            self._ask("values before a birth")
        for metric in self.payload.metrics:
            certain = table is not None and (not edge.doubt or metric.name)
            point = meant(table, metric) if table is not None else None
            if certain and point is not None:
                read(point, metric, self.payload.at_ms, self.now_us, self.findings)
            elif not certain:
                self._hold(metric, table)
            elif metric.alias is not None and not metric.name and table and metric.alias in table.clashing:
                why = f"alias {metric.alias} was given to two names"
                self.findings.refuse(self.topic.name, str(metric.value), why, "alias_clash")
            else:
                shown = metric.name or f"alias {metric.alias}"
                self.findings.refuse(self.topic.name, shown, "no birth declared it", "unknown_metric")
                edge.wanted = True

    def _hold(self, metric: sp.Metric, table: Table | None) -> None:
        edge, device = self.edge, self.topic.device
        if len(edge.held) >= HELD_MAX:
            why = f"more than {HELD_MAX} values wait for a birth"
            self.findings.refuse(self.topic.name, metric.name, why, "never_explained")
            return
        before = table or edge.former.get(device)
        prior = meant(before, metric) if before is not None else None
        edge.held.append(Held(device, metric, self.payload.at_ms, self.now_us, prior))
        self.findings.counts["held"] += 1

    def _ask(self, why: str) -> None:
        self.edge.wanted = True
        self.findings.counts["before_birth"] += 1
        if self.topic.kind not in {"DDATA", "NDATA"}:
            self.findings.refuse(self.topic.name, "", why, "before_birth")

    def _note(self, device: str, *, online: bool) -> None:
        self.notes.append(Note(device, None, None, online, self.now_us))
