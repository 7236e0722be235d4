"""Sync: a site's backlog as frames, and how fast the tower takes it on SQLite. No TLS, no line.

The events are those of the freezer's site in scenarios/ with its receipts and dispatches repeated under ids
of their own, as on a busy day; the readings are of its sensors at 10 s, on a jittered clock and with a
probe's steps. Times are of the processor: what the tower itself has to do, the network's reactions included.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from bench.result import Result
from coldgrid.kernel import hosting, log
from coldgrid.kernel.authorize import AllowAll, Authorizer
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.origins import ClockKind, take_in
from coldgrid.kernel.reading import Reads
from coldgrid.sync import messages as m
from coldgrid.sync.authority import Peer
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.desk import HandDesk
from coldgrid.sync.messages import ENTRIES_MAX
from coldgrid.sync.post import Post
from coldgrid.sync.wire import LEVEL_BACKLOG, decode, encode
from coldgrid.telemetry import arriving
from coldgrid.telemetry.blocks import DAY_US, Readings, block_hash, encode_block
from coldgrid.telemetry.manifests import BlocksManifested, ManifestedBlock, Why
from coldgrid.telemetry.parcel_form import pack_parcel
from coldgrid.telemetry.sensors import sensors_of_site
from coldgrid.tower.scenario.play import Player
from coldgrid.tower.world.plan import load_plan

PLAN = Path(__file__).parents[1] / "scenarios/freezer-2am.yaml"
SITE = "ATL1"
EVENTS = 20_000
EVENTS_PER_S, READINGS_PER_S = 20_000, 2_000_000
BYTES_PER_EVENT, BYTES_PER_READING = 120, 0.6
TRADE = ("stock.unit_received", "stock.goods_dispatched")
IDS = re.compile(rb'"(order_id|dispatch_id|sscc|unit_id|cause_id)":"([^"]+)"')
INTERVAL_S = 10
ROUNDS = 3


class Standing:
    """A host whose clock stands."""

    clock: ClockKind = "virtual"

    def __init__(self) -> None:
        self.authorizer: Authorizer = AllowAll()

    def now(self) -> datetime:
        """Tell where it stands."""
        return datetime(2026, 3, 3, tzinfo=UTC)

    def entropy(self, count: int) -> bytes:
        """The same bytes each time: nothing here is secret."""
        return bytes(count)


def run() -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        player = Player(load_plan(PLAN), f"{folder}/night.db", lambda told: None)
        player.play()
        entries = list(log.read_all(Reads(player.decider.connection)))
        player.close()
        own = busy_day([entry for entry in entries if entry.origin == SITE])
        others = [entry for entry in entries if entry.origin != SITE]
        frames = [
            encode(m.Facts(pack_entries(own[start : start + ENTRIES_MAX])), LEVEL_BACKLOG)
            for start in range(0, len(own), ENTRIES_MAX)
        ]
        towers = [tower(f"{folder}/tower{number}.db", others) for number in range(ROUNDS)]
        events_s = min(taken(post, frames, m.Taken) for _, post in towers)
        results = events(own, frames, events_s) + readings(*towers[0])
        for decider, _ in towers:
            decider.close()
    return results


def events(own: Sequence[Entry], frames: Sequence[bytes], took_s: float) -> list[Result]:
    """Return what was measured of events."""
    size, per_s = sum(map(len, frames)) / len(own), len(own) / took_s
    return [
        result(f"backlog of {len(own):,} events, on the wire", size, "bytes/event", at_most=BYTES_PER_EVENT),
        result("the same, taken by the tower", per_s, "events/s", at_least=EVENTS_PER_S),
    ]


def readings(decider: Decider, post: Post) -> list[Result]:
    """Send a sealed day of all sensors as blocks, and the next one as parcels."""
    sensors = [sensor.sensor_id for sensor in sensors_of_site(Reads(decider.connection), SITE)]
    count = len(sensors) * (86_400 // INTERVAL_S)
    day = decider.host.now().timestamp() * 1_000_000 // DAY_US
    sealed, fresh = (
        [(name, series(place, int(day - before))) for place, name in enumerate(sensors)] for before in (2, 1)
    )
    bodies = [(name, encode_block(one)) for name, one in sealed]
    decider.take(SITE, lambda tx: arriving.want_blocks(tx, manifest(int(day - 2), bodies)), "bench")
    blocks = [m.Block(name, int(day - 2), 0, body) for name, body in bodies]
    parts = [
        [
            (name, Readings(*(column[start : start + 360] for column in msgspec.structs.astuple(one))))
            for name, one in fresh
        ]
        for start in range(0, 8_640, 360)
    ]
    parcels = [m.Parcel(number + 1, pack_parcel(part)) for number, part in enumerate(parts)]
    results = []
    kinds: list[tuple[str, list[bytes], type[object]]] = [
        (
            "sealed blocks",
            [encode(m.Blocks(blocks[i : i + 500])) for i in range(0, len(blocks), 500)],
            m.BlocksTaken,
        ),
        ("parcels", [encode(m.Parcels([one])) for one in parcels], m.ParcelsTaken),
    ]
    for name, frames, kind in kinds:
        took_s, size = taken(post, frames, kind), sum(map(len, frames)) / count
        told = f"{count:,} readings as {name}"
        results.append(result(f"{told}, on the wire", size, "bytes/reading", at_most=BYTES_PER_READING))
        results.append(
            result("the same, taken by the tower", count / took_s, "readings/s", at_least=READINGS_PER_S)
        )
    return results


def result(
    name: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None
) -> Result:
    """Return a figure with its target."""
    if at_least is not None:
        return Result(name, round(value), unit, f"≥ {at_least:,.0f}", ok=value >= at_least)
    assert at_most is not None
    return Result(name, round(value, 2), unit, f"≤ {at_most:g}", ok=value <= at_most)


def taken(post: Post, frames: Sequence[bytes], kind: type[object]) -> float:
    """Have frames answered; return the seconds of the processor."""
    began_s = time.process_time()
    for frame in frames:
        answer = post.answer(Peer(SITE, f"{SITE}.node", "01"), frame, final=True)
        assert isinstance(answer, bytes), answer
        assert isinstance(decode(answer), kind), answer
    return time.process_time() - began_s


def tower(path: str, others: Sequence[Entry]) -> tuple[Decider, Post]:
    """Return a tower that knows everything but what the site says."""
    decider = Decider(open_database(path), Standing())
    decider.take("network", lambda tx: take_in(tx, others, gapless=False), "bench")
    decider.take(SITE, lambda tx: hosting.place(tx, SITE, here=False, why="a node"), "bench")
    return decider, Post(HandDesk(decider, decider.host.now))


def busy_day(own: list[Entry]) -> list[Entry]:
    """Return a site's log, its trade repeated with other ids until it is long enough."""
    trade = [entry for entry in own if entry.type in TRADE]
    day, rounds = list(own), 0
    replace: Callable[..., Entry] = msgspec.structs.replace
    while len(day) < EVENTS:
        rounds += 1
        for entry in trade:
            body = IDS.sub(lambda found, rounds=rounds: other_id(found, rounds), entry.body)  # type: ignore[misc]
            kind, _, name = entry.stream.partition("/")
            stream = f"{kind}/{sha256(f'{name}{rounds}'.encode()).hexdigest()[: len(name)]}"
            last = day[-1]
            bare = replace(entry, epoch=last.epoch, seq=last.seq + 1, body=body, stream=stream)
            day.append(replace(bare, leaf=leaf_hash(envelope_bytes(bare))))
    return day


def other_id(found: re.Match[bytes], rounds: int) -> bytes:
    """Return another id of the same length and alphabet: nothing repeats that would not in life."""
    name, old = found[1], found[2]
    drawn = sha256(old + b"%d" % rounds).hexdigest()
    text = f"{int(drawn, 16):078d}" if old.isdigit() else drawn * 2
    return b'"%s":"%s"' % (name, text[-len(old) :].encode())


def series(place: int, day: int) -> Readings:
    """A sensor's day: a freezer's swing in steps of a sixteenth, on a clock that jitters by 2 ms."""
    chance = np.random.default_rng(1_000 * day + place)
    count = 86_400 // INTERVAL_S
    at_us = day * DAY_US + np.arange(count) * INTERVAL_S * 1_000_000 + chance.integers(0, 3, count) * 1_000
    air_c = -21 + 1.2 * np.sin(np.arange(count) / 90 + place) + chance.normal(0, 0.02, count)
    return Readings(at_us, (np.round(air_c * 16) * 625).astype(np.int64), np.zeros(count, dtype=np.bool_))


def manifest(day: int, bodies: Sequence[tuple[str, bytes]]) -> BlocksManifested:
    """Return what vouches for the blocks."""
    blocks = [ManifestedBlock(name, day, 0, block_hash(body), 8_640, 0, 0) for name, body in bodies]
    return BlocksManifested(
        site_id=SITE,
        why=Why.HOURLY,
        cause_id="",
        landed_no=0,
        landed_digest="",
        readings=8_640 * len(blocks),
        first_at=None,
        last_at=None,
        blocks=blocks,
    )
