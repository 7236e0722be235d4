"""Simulated nodes: real certificates, real frames, no database. Each lives a site's night from its log.

A simulated node greets, keeps a poll open, sends one fact a second in a request of its own, a checkpoint with
its consistency proof every ten seconds, and its readings in parcels: every five minutes, or every two seconds
where its night has an incident, as a node does.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np

from bench._cold_world import freezer_c
from coldgrid.evidence.merkle import tree_root
from coldgrid.evidence.notes import Checkpoint, Signer
from coldgrid.evidence.witness import CosignRequest
from coldgrid.kernel.events import Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.tables import to_micros
from coldgrid.sync import identity_files, wire
from coldgrid.sync import messages as m
from coldgrid.sync.codec import pack_entries, unpack_entries
from coldgrid.sync.gate import run_header
from coldgrid.sync.messages import Place
from coldgrid.sync.trusting import pinned_context
from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.parcel_form import pack_parcel

NIGHT_SITES = rb"\b(ATL1|CLT1|TPA1|CMH1|EWR1|JOT1)(?=\b|-)"
SENSORS = int(os.environ.get("COLDGRID_BENCH_NODES_SENSORS", "100"))
PARCEL_EVERY_S, PARCEL_SOON_S = 300, 2
ANSWER_S = 60.0


class RawLink:
    """One connection to the tower's port, as cheap as it gets: the machine is to be the tower's."""

    def __init__(self, folder: Path) -> None:
        run = identity_files.begin_run(folder, secrets.token_bytes)
        identity = identity_files.open_identity(folder)
        where = urlsplit(identity.tower.url)
        self._where = (where.hostname or "", where.port or 0)
        self._context = pinned_context(identity.tower.authority, identity.chain)
        self._head = (
            f"POST /sync/v1 HTTP/1.1\r\nhost: {where.netloc}\r\n"
            f"content-type: {wire.MEDIA_TYPE}\r\ncoldgrid-run: {run_header(run)}\r\ncontent-length: "
        ).encode()

    def connect(self) -> ssl.SSLSocket:
        """Open a further connection."""
        raw = socket.create_connection(self._where, ANSWER_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(raw)

    def send(self, line: ssl.SSLSocket, message: m.Message, level: int = wire.LEVEL_LIVE) -> None:
        """Send a message."""
        frame = wire.encode(message, level)
        line.sendall(self._head + b"%d\r\n\r\n" % len(frame) + frame)


def answer(line: ssl.SSLSocket) -> m.Message:
    """Read an answer."""
    got = line.recv(65_536)
    while b"\r\n\r\n" not in got:
        got += line.recv(65_536)
    head, _, body = got.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head)
    assert head.startswith(b"HTTP/1.1 200"), got[:500]
    assert found is not None, head
    while len(body) < int(found[1]):
        body += line.recv(65_536)
    message = wire.decode(body)
    assert not isinstance(message, m.Refused), message
    return message


class SimulatedNode:
    """One node. `night`: the facts of a site that it lives through; `begun`: how many of them lie behind.

    Where its night has an incident its readings are urgent, until it calms down.
    """

    def __init__(
        self, site_id: str, folder: Path, signer: Signer, night: Sequence[Entry], begun: int, parcel_at_s: int
    ) -> None:
        self.site_id = site_id
        self._link = RawLink(folder)
        self._line = self._link.connect()
        self._poll = self._link.connect()
        self._signer = signer
        self._night = [entry for entry in night if entry.type != "origin.opened"]
        self._opening = next(entry for entry in night if entry.type == "origin.opened")
        self._begun = begun
        self._leaves: list[bytes] = []
        self._witnessed = 0
        self._parcel_no = 0
        has_incident = any(entry.type == "orchestration.incident_opened" for entry in night)
        self._parcel_every_s = PARCEL_SOON_S if has_incident else PARCEL_EVERY_S
        self._parcel_at_s = parcel_at_s % self._parcel_every_s

    def calm_down(self, parcel_at_s: int) -> None:
        """Be in no hurry with readings, whatever the night has."""
        self._parcel_every_s, self._parcel_at_s = PARCEL_EVERY_S, parcel_at_s % PARCEL_EVERY_S

    def greet(self, network: str) -> None:
        """Say hello, tell what was before, and open the poll."""
        self._network = network
        ticket, feed = b"", m.FeedPlace()
        hello = m.Hello([1], self.site_id, "bench", ticket, [], feed, _now_us(), 1, secrets.token_bytes(8))
        welcome = wire.expect(self._ask(hello), m.Welcome)
        past = [self._opening, *self._night[: self._begun]]
        taken = wire.expect(self._ask(m.Facts(pack_entries([self._next(e) for e in past]))), m.Taken)
        assert taken.place == Place(1, len(past)), taken
        # Everything that there is to tell is read first, then the poll stays open.
        while True:
            part = wire.expect(self._ask(m.FeedAsk(feed, welcome.ticket, 0)), m.FeedPart)
            if part.columns is None:
                break
            feed = _after(part)
        self._link.send(self._poll, m.FeedAsk(feed, welcome.ticket, 240_000))
        # The first parcel holds as much as every one: what was read before is in none.
        self._read_us = _now_us() - (self._parcel_every_s - self._parcel_at_s) * 1_000_000

    def has_parcel(self, second: int) -> bool:
        """Tell whether it is time for a parcel."""
        return second % self._parcel_every_s == self._parcel_at_s

    def tell(self) -> None:
        """Send the next fact of the night."""
        entry = self._next(self._night[self._begun % len(self._night)])
        self._begun += 1
        taken = wire.expect(self._ask(m.Facts(pack_entries([entry]))), m.Taken)
        assert taken.place == Place(1, len(self._leaves)), taken

    def prove(self) -> None:
        """Have a checkpoint of the log as it is witnessed."""
        size = len(self._leaves)
        name = f"{self._network}/{self.site_id}/1"
        note = self._signer.sign(Checkpoint(name, size, tree_root(self._leaves)).encode())
        proof = consistency(self._leaves, self._witnessed)
        request = CosignRequest(self._witnessed, tuple(proof), note)
        line = wire.expect(self._ask(m.Cosign(request.encode())), m.Cosigned)
        self._witnessed = line.size

    def read(self) -> int:
        """Send what was read since the last parcel, one reading of each sensor a second; return how many."""
        now_us = _now_us()
        at_us = np.arange(self._read_us // 1_000_000 + 1, now_us // 1_000_000 + 1, dtype=np.int64) * 1_000_000
        self._read_us = now_us
        if not len(at_us):
            return 0
        parts = []
        for number in range(SENSORS):
            value_e4 = np.rint(freezer_c(at_us, number) * 1e4).astype(np.int64)
            readings = Readings(at_us + 1_000 * number, value_e4, np.zeros(len(at_us), dtype=np.bool_))
            parts.append((f"{self.site_id}-FRZ1-X{number}", readings))
        self._parcel_no += 1
        sent = m.Parcels([m.Parcel(self._parcel_no, pack_parcel(sorted(parts)))])
        taken = wire.expect(self._ask(sent), m.ParcelsTaken)
        assert taken.parcel_no == self._parcel_no, taken
        return len(at_us) * SENSORS

    def close(self) -> None:
        """End both connections."""
        self._line.close()
        self._poll.close()

    def _ask(self, message: m.Message) -> m.Message:
        self._link.send(self._line, message)
        return answer(self._line)

    def _next(self, entry: Entry) -> Entry:
        """Return the entry of the night as this node records it now: its own site, its own ids."""
        mark = self.site_id.lower().encode() + b"%d" % (self._begun // len(self._night))
        body = re.sub(rb"-[a-z2-7]{16}\b", lambda f: b"-" + mark + f[0][1 + len(mark) :], entry.body)
        body = re.sub(NIGHT_SITES, self.site_id.encode(), body)
        now = datetime.now(UTC)
        own = msgspec.structs.replace(
            entry,
            position=-1,
            origin=self.site_id,
            epoch=1,
            seq=len(self._leaves),
            occurred_at=now,
            recorded_at=now,
            stream=re.sub(NIGHT_SITES, self.site_id.encode(), entry.stream.encode()).decode(),
            cause="",
            body=body,
        )
        own = msgspec.structs.replace(own, leaf=leaf_hash(envelope_bytes(own)))
        self._leaves.append(own.leaf)
        return own


def consistency(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """Return the proof that a tree extends its first `old` leaves (RFC 6962, 2.1.2)."""
    return _subproof(leaves, old, True) if 0 < old < len(leaves) else []


def _subproof(leaves: Sequence[bytes], old: int, whole: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if whole else [tree_root(leaves)]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= half:
        return [*_subproof(leaves[:half], old, whole), tree_root(leaves[half:])]
    return [*_subproof(leaves[half:], old - half, False), tree_root(leaves[:half])]


def _after(part: m.FeedPart) -> m.FeedPlace:
    assert part.columns is not None
    entries = unpack_entries(part.columns)
    last = entries[-1]
    return m.FeedPlace(part.first_feed_seq + len(entries) - 1, last.id, last.leaf)


def _now_us() -> int:
    return to_micros(datetime.now(UTC))
