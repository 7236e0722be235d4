"""The signed past of a database: every checkpoint that was ever kept is held against the tree and the log.

For a copy: whether it can prove what the host that it was made of could prove.

Invariants
    S1  Each checkpoint's text is what was signed, names its log, and has the root that the tiles give at its
        size; each log's entries hash to its tiles (`checkpoints.audit_some`).
    S2  A signature by a key that is not known here is no fault of the copy; it is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from coldgrid.evidence import tiles
from coldgrid.evidence.checkpoints import AuditPlace, audit_some
from coldgrid.evidence.merkle import Tree
from coldgrid.evidence.notes import BadNote, VerifierKey, parse_checkpoint, parse_note, verify_note
from coldgrid.evidence.tiles import KeptCheckpoint, LogId
from coldgrid.kernel.reading import Reader

CHUNK = 500
TILES_KEPT = 4_096
Tell = Callable[[int], None]


class SignedPast(msgspec.Struct, frozen=True):
    """What was looked at: checkpoints, those no known key signed, entries hashed, and what is wrong."""

    checkpoints: int
    unknown_keys: int
    entries: int
    faults: list[str]


class TreeHead(msgspec.Struct, frozen=True):
    """A log's latest checkpoint, in a form to write down and compare."""

    origin: str
    epoch: int
    size: int
    root: str


def tree_heads(db: Reader) -> list[TreeHead]:
    """Return the latest checkpoint of every log."""
    return [TreeHead(one.origin, one.epoch, one.size, one.root.hex()) for one in tiles.heads(db)]


def look_through(db: Reader, keys: Sequence[VerifierKey], tell: Tell = lambda done: None) -> SignedPast:
    """Hold all that was signed against trees and log (S1). `tell` hears how much was looked at."""
    done, unknown, faults = 0, 0, list[str]()
    for head in tiles.heads(db):
        log_id = head.log_id
        tree = Tree(lru_cache(TILES_KEPT)(tiles.fetch_from(db, log_id)))
        size = 0
        while some := tiles.signed_after(db, log_id, size, CHUNK):
            for one in some:
                known, fault = _look_at(tree, log_id, one, keys)
                unknown += not known
                faults += [fault] if fault else []
            size, done = some[-1].size, done + len(some)
            tell(done)
    audited = audit_some(db, AuditPlace(), lambda: False)
    faults += [str(fork) for fork in audited.forks]
    return SignedPast(done, unknown, audited.entries, faults)


def _look_at(
    tree: Tree, log_id: LogId, kept: KeptCheckpoint, keys: Sequence[VerifierKey]
) -> tuple[bool, str]:
    """Return whether a known key signed a checkpoint, and what is wrong with it."""
    told = f"checkpoint {log_id} of {kept.size} entries"
    try:
        note = parse_note(kept.note.encode())
        said = parse_checkpoint(note.text)
        known = bool(verify_note(note, keys))
        root = tree.root(kept.size)
    except (BadNote, ValueError) as error:
        return True, f"{told}: {error}"
    if not said.log_name.endswith(f"/{log_id}") or (said.size, said.root) != (kept.size, kept.root):
        return known, f"{told}: its text says {said.log_name}, {said.size}"
    if root != kept.root:
        return known, f"{told}: the tiles give another root"
    return known, ""
