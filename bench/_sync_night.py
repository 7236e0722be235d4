"""A real night's facts, repeated under other names: what a site has to tell after it was alone for long.

The mix is that of the freezer's night in scenarios/, of all its sites together, as if one site had lived it:
goods out and in and lots by far, then incidents, alarms, playbook steps, pages, dispositions. Before it come
nights with trade alone: goods in and out, lots, manifests. Each has ids of its own, which compress no better
than those of the night.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import msgspec

from bench.rebuild import PLAN
from coldgrid.kernel import log
from coldgrid.kernel.events import Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reads
from coldgrid.tower.scenario.play import Player
from coldgrid.tower.world.plan import load_plan

SITE = "ATL1"
TRADE = frozenset(
    {"stock.goods_dispatched", "stock.unit_received", "catalog.lot_registered", "telemetry.blocks_manifested"}
)
NIGHT = timedelta(hours=8)
_ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
# A drawn id, a handling unit, an order, a digest.
_IDS = re.compile(rb"-[a-z2-7]{16}\b|\b00952123\d{10}\b|\bweb-\d{4}-\d{5}\b|\b[0-9a-f]{64}\b")
_OUTCOME = re.compile(r"[A-Z]{3}\d/\d+/\d+")


class Night:
    """The night's log: of the network, and of every site."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            player = Player(load_plan(PLAN), str(Path(folder) / "night.db"), lambda told: None)
            player.play()
            entries = list(log.read_all(Reads(player.decider.connection)))
            player.close()
        self.network = [entry for entry in entries if entry.origin == NETWORK_ORIGIN]
        self.sites = sorted({entry.origin for entry in entries} - {NETWORK_ORIGIN})
        self.of_sites = [entry for entry in entries if entry.origin != NETWORK_ORIGIN]
        self.lived = [entry for entry in self.of_sites if entry.type != "origin.opened"]
        self._trade = [entry for entry in self.lived if entry.type in TRADE]

    def network_log(self, count: int) -> list[Entry]:
        """Return what the network has to know before a site tells so many facts.

        Of what the network decided in the night, what followed from the sites' facts is left out: it follows
        from them again.
        """
        network = _Log(NETWORK_ORIGIN, 1, 0)
        asked = [entry for entry in self.network if not _OUTCOME.match(entry.cause)]
        orders = [entry for entry in asked if entry.type.startswith("orders.") or "promise" in entry.type]
        for number in range(self._nights(count)):
            network.add(orders if number else asked, number)
        return network.entries

    def site_log(self, count: int, first: tuple[int, int]) -> list[Entry]:
        """Return so many facts of one site, from a place of its log on."""
        site = _Log(SITE, *first)
        left, nights = count - len(self.lived), self._nights(count)
        for number in range(1, nights):
            # Goods for all the nights come first: else the network would have promised what was not there.
            entries = self._trade if number > 1 else [_for_all(entry, nights) for entry in self._trade]
            site.add(entries[: max(0, left - len(site.entries))], number)
        site.add(self.lived[:count], 0, later=NIGHT * nights)
        return site.entries

    def _nights(self, count: int) -> int:
        return 1 + max(0, -(-(count - len(self.lived)) // len(self._trade)))


def _for_all(entry: Entry, nights: int) -> Entry:
    if entry.type != "stock.unit_received":
        return entry
    body = re.sub(rb'"qty":(\d+)', lambda qty: b'"qty":%d' % (int(qty[1]) * nights), entry.body)
    return msgspec.structs.replace(entry, body=body)


class _Log:
    """A log in the making: entries follow each other, causes keep their distance."""

    def __init__(self, origin: str, epoch: int, first_seq: int) -> None:
        self.origin = origin
        self._epoch = epoch
        self.entries: list[Entry] = []
        self._first_seq = first_seq
        self._now: dict[str, str] = {}  # where an entry of the night is now

    def add(self, entries: Sequence[Entry], number: int, later: timedelta | None = None) -> None:
        """Add a night's entries: night 0 as it was, others under other names."""
        other = _renamed(number) if number else _moved if self.origin == SITE else bytes
        later = NIGHT * number if later is None else later
        for entry in entries:
            own = msgspec.structs.replace(
                entry,
                position=-1,
                origin=self.origin,
                epoch=self._epoch,
                seq=self._first_seq + len(self.entries),
                occurred_at=entry.occurred_at + later,
                recorded_at=entry.recorded_at + later,
                stream=other(entry.stream.encode()).decode(),
                cause=self._now.get(entry.cause) or other(entry.cause.encode()).decode(),
                body=other(entry.body),
            )
            self._now[entry.id] = own.id
            self.entries.append(msgspec.structs.replace(own, leaf=leaf_hash(envelope_bytes(own))))


def _moved(text: bytes) -> bytes:
    """What other sites lived happens here."""
    return re.sub(rb"\b(CLT1|TPA1|CMH1|EWR1|JOT1)(?=\b|-)", SITE.encode(), text)


def _renamed(number: int) -> Callable[[bytes], bytes]:
    """Return what gives everything in a text another name, the same one in every text."""
    known: dict[bytes, bytes] = {}

    def name(found: re.Match[bytes]) -> bytes:
        old = found[0]
        if old not in known:
            known[old] = _drawn(old, sha256(b"%d %s" % (number, old)).digest(), number)
        return known[old]

    return lambda text: _moved(_IDS.sub(name, text))


def _drawn(old: bytes, random: bytes, number: int) -> bytes:
    if old.startswith(b"-"):
        return b"-" + bytes(_ALPHABET[byte & 31] for byte in random[:16])
    if old.startswith(b"web-"):
        return b"%s%05d" % (old[:-5], 1_000 * number + int(old[-5:]))
    if len(old) == 18:
        return b"%s%010d" % (old[:8], 20_000 * number + int(old[8:]))
    return random.hex().encode()
