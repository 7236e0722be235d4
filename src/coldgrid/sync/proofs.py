"""Proofs: tower and node witness each other's checkpoints over sync.

Invariants
    P1  A checkpoint is cosigned after its consistency proof only (evidence.witness); the tower also holds it
        against its own copy.
    P2  The network's checkpoints go to each node now and then, in turn: together they notice a tower that was
        put back, and none of them pays for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from coldgrid.evidence import tiles, witness
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.forks import LogForked
from coldgrid.evidence.notes import BadNote, VerifierKey, parse_checkpoint
from coldgrid.evidence.tiles import LogId
from coldgrid.evidence.witness import OldSizeDiffers, add_cosignature, parse_request
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.sync.desk import Desk
from coldgrid.sync.messages import Code, Cosign, Cosigned
from coldgrid.sync.wire import Refusal

# How often one node is asked to witness the network's log: bytes over a phone's link cost.
WITNESS_EVERY = timedelta(minutes=10)


def witness_for(
    desk: Desk, notary: Notary, keys: Sequence[VerifierKey], site_id: str, asked: Cosign
) -> Cosigned:
    """Cosign a checkpoint of a node's own log.

    Raises:
        Refusal: old_size, with the size to prove from; forked, with both hashes; malformed; not_yours.
    """
    try:
        request = parse_request(asked.request)
        checkpoint = parse_checkpoint(request.note.text)
        name, _, epoch = checkpoint.log_name.rpartition("/")
        if name != f"{notary.network_name}/{site_id}" or not epoch.isdigit():
            raise Refusal(Code.NOT_YOURS, f"{checkpoint.log_name[:100]} is no log of {site_id}")
        signature = desk.do(lambda decider: witness.cosign(decider, notary, keys, request))
    except OldSizeDiffers as differs:
        raise Refusal(Code.OLD_SIZE, str(differs), size=differs.facts.get("size", 0)) from None
    except LogForked as fork:
        raise _forked(fork) from None
    except Rejected as rejected:
        raise Refusal(Code.MALFORMED, str(rejected)[:200]) from None
    return Cosigned(int(epoch), checkpoint.size, signature.line())


def _forked(fork: LogForked) -> Refusal:
    """Return the refusal of a log that does not extend what was witnessed of it, with both hashes."""
    here, there, size = (fork.facts[name] for name in ("signed", "found", "size"))
    return Refusal(Code.FORKED, str(fork), here=here, there=there, size=size)


def own_checkpoint(db: Reader, site_id: str, epoch: int, old_size: int) -> bytes:
    """Return the request to have a node's newest checkpoint witnessed; empty where there is nothing new."""
    request = witness.request_for(db, LogId(site_id, epoch), old_size)
    return b"" if request is None else request.encode()


def keep_cosignature(desk: Desk, origin: str, line: Cosigned, keys: Sequence[VerifierKey]) -> bool:
    """Put a witness's line under our checkpoint; return whether a witness that is known made it."""
    log_id = LogId(origin, line.epoch)
    try:
        return desk.do(lambda decider: add_cosignature(decider, log_id, line.size, line.line, keys))
    except BadNote:
        return False


def network_checkpoint(db: Reader, epoch: int, size: int) -> bytes:
    """Return the network's checkpoint for a node that witnessed this one last; empty: it has the newest.

    Raises:
        Refusal: rewound: the node witnessed more than there is, so the tower was put back.
    """
    head = next((head for head in reversed(tiles.heads(db)) if head.origin == NETWORK_ORIGIN), None)
    if head is None or (epoch, size) > (head.epoch, head.size):
        if size:
            why = "the node witnessed more of the network's log than the tower has: it was put back"
            raise Refusal(Code.REWOUND, why, whose=NETWORK_ORIGIN, witnessed=size, epoch=epoch)
        return b""
    request = witness.request_for(db, head.log_id, size if epoch == head.epoch else 0)
    return b"" if request is None else request.encode()


def witness_tower(desk: Desk, notary: Notary, keys: Sequence[VerifierKey], request: bytes) -> Cosigned:
    """Cosign the network's checkpoint, which came with the feed.

    Raises:
        Refusal: forked, where the proof fails: the tower tells another history than it did; old_size, where
            it goes back.
    """
    try:
        asked = parse_request(request)
        checkpoint = parse_checkpoint(asked.note.text)
        signature = desk.do(lambda decider: witness.cosign(decider, notary, keys, asked))
    except OldSizeDiffers as differs:
        raise Refusal(Code.OLD_SIZE, str(differs), size=differs.facts.get("size", 0)) from None
    except LogForked as fork:
        raise _forked(fork) from None
    except Rejected as rejected:
        raise Refusal(Code.MALFORMED, str(rejected)[:200]) from None
    return Cosigned(int(checkpoint.log_name.rpartition("/")[2]), checkpoint.size, signature.line())
