"""Checkpoints: every ten seconds, where there is news, each log's head is signed and kept for ever.

Invariants
    K1  A checkpoint extends the one before it; what was signed is checked against the log first, and a log
        that does not extend it is reported as a fork and signed no more (forks.F1).
    K2  A checkpoint, its tiles and the log's head are one commit.
    K3  With every checkpoint some older entries are hashed again from their bytes, in turn, so that an edit
        anywhere in a living log is found in the end; `audit` hashes all of them.

Hashing and signing happen on a reader's connection; the decider only writes, and only when nobody made
a checkpoint of that log meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from coldgrid.evidence import tiles
from coldgrid.evidence.forks import LogForked, forked, quarantined, report
from coldgrid.evidence.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Frontier,
    Tile,
    Tree,
    verify_consistency,
)
from coldgrid.evidence.notes import Checkpoint, Signer
from coldgrid.evidence.tiles import KeptHead, LogId
from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.tx import Tx

LEAVES_MAX = 100_000  # of one log in one pass: about a tenth of a second
AUDIT_CHUNK = TILE_WIDTH * 8
RECHECKED = 256  # older entries of one log hashed again in one pass: about three milliseconds (K3)


class Notary(msgspec.Struct, frozen=True):
    """Who signs here: the host's key, the network's name that leads every log's name, and its own origin.

    `home` is the origin that this host writes itself, where it reports what it finds.
    """

    signer: Signer
    network_name: str
    home: str = NETWORK_ORIGIN

    def log_name(self, log_id: LogId) -> str:
        """Return a log's name in checkpoints: network/origin/epoch."""
        return f"{self.network_name}/{log_id}"


class PlannedHead(msgspec.Struct, frozen=True):
    """A checkpoint to keep: the head it extends, itself, and the tiles that grew."""

    before: KeptHead
    head: KeptHead
    grown: list[Tile]


class Plan(msgspec.Struct, frozen=True):
    """What one pass found: checkpoints to keep, forks to report, and whether a log has still more news."""

    heads: list[PlannedHead]
    forks: list[LogForked]
    more: bool


# --- Planning: on any connection ----------------------------------------------------


def plan(db: Reader, notary: Notary, log_heads: Mapping[str, tuple[int, int]], now: datetime) -> Plan:
    """Work out the checkpoints that are due. `log_heads`: the decider's, each origin's (epoch, next seq)."""
    kept = {head.log_id: head for head in tiles.heads(db)}
    barred = quarantined(db)
    planned, found = [], []
    for log_id, size in _logs(log_heads, kept):
        before = kept.get(log_id) or tiles.no_head(log_id, now)
        if log_id in barred or before.size == size:
            continue
        try:
            step = _extend(db, notary, before, now)
        except LogForked as fork:
            found.append(fork)
            continue
        if step is not None:
            planned.append(step)
    return Plan(planned, found, any(_is_cut(step) for step in planned))


def _logs(
    log_heads: Mapping[str, tuple[int, int]], kept: Mapping[LogId, KeptHead]
) -> list[tuple[LogId, int | None]]:
    """Return every log with its size; None where it is not known: an epoch that is over."""
    found: dict[LogId, int | None] = dict.fromkeys(kept)
    for origin, (epoch, size) in log_heads.items():
        found |= {LogId(origin, earlier): None for earlier in range(log.FIRST_EPOCH, epoch)}
        found[LogId(origin, epoch)] = size
    return sorted(found.items(), key=lambda item: item[0])


def _is_cut(step: PlannedHead) -> bool:
    return step.head.size - step.before.size >= LEAVES_MAX - TILE_WIDTH


def _extend(db: Reader, notary: Notary, before: KeptHead, now: datetime) -> PlannedHead | None:
    """Return the next checkpoint of a log, or None where nothing was added.

    Raises:
        LogForked: the log does not extend its checkpoint (K1).
    """
    log_id = before.log_id
    fetch = tiles.fetch_from(db, log_id)
    frontier = _take_up(before, fetch)
    first = max(0, before.size - 1) // TILE_WIDTH * TILE_WIDTH
    leaves = log.leaves(db, log_id.origin, log_id.epoch, first, first + LEAVES_MAX)
    _check_tip(before, first, fetch(0, first // TILE_WIDTH), leaves)
    news = leaves[before.size - first :]
    if not news:
        return None
    checked = recheck(db, log_id, before.checked, min(before.checked + RECHECKED, before.size))
    grown = frontier.append(b"".join(leaf for _, leaf in news))
    overlay = {(tile.level, tile.index): tile.hashes for tile in grown}
    tree = Tree(lambda level, index: overlay.get((level, index)) or fetch(level, index))
    root = frontier.root()
    proof = tree.consistency(before.size, frontier.size)
    assert verify_consistency(before.size, frontier.size, before.root, root, proof), (
        f"{log_id} is inconsistent"
    )
    text = Checkpoint(notary.log_name(log_id), frontier.size, root).encode()
    note = notary.signer.sign(text).encode()
    checked = 0 if checked == before.size else checked
    head = KeptHead(log_id.origin, log_id.epoch, frontier.size, root, now, note, checked)
    return PlannedHead(before, head, grown)


def _take_up(before: KeptHead, fetch: tiles.Fetch) -> Frontier:
    try:
        frontier = Frontier(before.size, fetch)
    except ValueError as error:
        raise forked(before.log_id, before.size, before.root, b"", f"tiles are missing: {error}") from None
    if frontier.root() != before.root:
        raise forked(before.log_id, before.size, before.root, frontier.root(), "the tiles were changed")
    return frontier


def _check_tip(before: KeptHead, first: int, tile: bytes, leaves: Sequence[tuple[int, bytes]]) -> None:
    """Demand that the log's leaves in the last tile are those that were signed, and that none is missing."""
    for place, (seq, leaf) in enumerate(leaves):
        signed = tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        if seq != first + place:
            why = f"entry {before.log_id}/{first + place} is missing"
            raise forked(before.log_id, before.size, signed or before.root, b"", why)
        if seq < before.size and leaf != signed:
            why = f"entry {before.log_id}/{seq} was changed"
            raise forked(before.log_id, before.size, signed, leaf, why)
    if first + len(leaves) < before.size:
        why = f"the log ends at {first + len(leaves)}, {before.size} entries were signed"
        tip = leaves[-1][1] if leaves else EMPTY_ROOT
        raise forked(before.log_id, before.size, before.root, tip, why)


def recheck(db: Reader, log_id: LogId, first: int, end: int) -> int:
    """Hash entries again from their bytes and hold them against the tiles; return `end` (K3).

    Raises:
        LogForked: an entry is missing, or is not what was signed.
    """
    entries = {entry.seq: entry for entry in log.read_origin(db, log_id.origin, log_id.epoch, first, end)}
    for index in range(first // TILE_WIDTH, (end + TILE_WIDTH - 1) // TILE_WIDTH):
        hashes = tiles.tile(db, log_id, 0, index)
        start = index * TILE_WIDTH
        for seq in range(max(first, start), min(end, start + TILE_WIDTH)):
            signed = hashes[(seq - start) * HASH_BYTES : (seq - start + 1) * HASH_BYTES]
            _check_entry(log_id, seq, signed, entries.get(seq))
    return end


def _check_entry(log_id: LogId, seq: int, signed: bytes, entry: Entry | None) -> None:
    if entry is None:
        raise forked(log_id, seq + 1, signed, b"", f"entry {log_id}/{seq} is missing")
    found = leaf_hash(envelope_bytes(entry))
    if found != signed or entry.leaf != signed:
        why = f"entry {entry.id} was changed"
        raise forked(log_id, seq + 1, signed, found if found != signed else entry.leaf, why)


# --- Keeping: on the decider's thread -----------------------------------------------


def keep(decider: Decider, notary: Notary, planned: Plan) -> list[KeptHead]:
    """Keep what was planned, in one commit (K2); return the checkpoints. Forks are recorded and logged."""
    if planned.forks:
        decider.within(SYSTEM, notary.home, lambda tx: report(tx, planned.forks), "evidence.checkpoint")
    if not planned.heads:
        return []
    # The unit's origin must have a log already: a checkpoint is no reason to open one.
    first = planned.heads[0].head.origin
    kept: list[KeptHead] = decider.within(
        SYSTEM, first, lambda tx: _keep(tx, planned.heads), "evidence.checkpoint"
    )
    return kept


def _keep(tx: Tx, planned: Sequence[PlannedHead]) -> list[KeptHead]:
    kept = []
    for step in planned:
        here = tiles.head(tx, step.head.log_id)
        if (here.size if here else 0) != step.before.size:
            continue  # somebody else's pass was faster
        tiles.keep(tx, step.head, step.grown)
        kept.append(step.head)
    return kept


def make_checkpoints(decider: Decider, notary: Notary) -> list[KeptHead]:
    """Sign every log that has news, on the decider's thread; return the checkpoints made.

    A server plans on a reader's connection instead (`plan`), and only keeps here (`keep`).
    """
    made: list[KeptHead] = []
    more = True
    while more:
        planned = plan(Reads(decider.connection), notary, decider.heads, decider.host.now())
        made += keep(decider, notary, planned)
        more = planned.more
    return made


class AuditPlace(msgspec.Struct, frozen=True):
    """How far a round of audit came: the log, and its first entry that was not looked at yet."""

    log_id: LogId = LogId("", 0)
    seq: int = 0


class Audited(msgspec.Struct, frozen=True):
    """A part of an audit: entries hashed, each log's first fork, and where to go on; None: at the end."""

    entries: int
    forks: list[LogForked]
    place: AuditPlace | None


def audit_some(db: Reader, place: AuditPlace, enough: Callable[[], bool]) -> Audited:
    """Hold what was signed against the log from `place` on, until it is `enough` or all was looked at.

    At least one chunk of entries is looked at, however soon it is enough.
    """
    done, found = 0, list[LogForked]()
    for head in sorted(tiles.heads(db), key=lambda head: head.log_id):
        if head.log_id < place.log_id:
            continue
        seq = place.seq if head.log_id == place.log_id else 0
        try:
            if seq == 0:
                _take_up(head, tiles.fetch_from(db, head.log_id))
            while seq < head.size:
                end = min(seq + AUDIT_CHUNK, head.size)
                done, seq = done + end - seq, recheck(db, head.log_id, seq, end)
                if enough():
                    return Audited(done, found, AuditPlace(head.log_id, seq))
        except LogForked as fork:
            found.append(fork)
    return Audited(done, found, None)


def audit(db: Reader) -> list[LogForked]:
    """Hash all that was ever signed again and hold it against the tiles; return each log's first fork."""
    return audit_some(db, AuditPlace(), lambda: False).forks
