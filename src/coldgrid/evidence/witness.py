"""Witnessing: this host cosigns another host's checkpoint once it has proof that the log only grew.

Invariants
    W1  Of each log this host has cosigned one line of heads, each extending the one before; the last one is
        kept in the commit that gives the cosignature away.
    W2  Where this host holds a copy of the log itself, the checkpoint must be that of the copy too.
    W3  A refusal for a fork is recorded (forks.F2); it changes nothing of what was cosigned.
    W4  Once a person has said which history of a log counts, its line begins anew: who remembers the other
        one would refuse the right one for ever.

So a restored tower or a rewound site is noticed by whoever witnessed it, even when its own tables agree with
each other. Source: C2SP tlog-witness (`add-checkpoint`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.evidence import forks, tiles
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.forks import ForkSettled, LogForked, forked
from coldgrid.evidence.merkle import EMPTY_ROOT, PROOF_MAX, verify_consistency
from coldgrid.evidence.notes import (
    SIGNED_BY_LOG,
    BadNote,
    Checkpoint,
    Signature,
    SignedNote,
    VerifierKey,
    encode_proof,
    parse_checkpoint,
    parse_note,
    parse_proof,
    verify_note,
)
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

REQUEST_BYTES_MAX = 128 * 1024


# --- Vocabulary -------------------------------------------------------------------


class CosignRequest(msgspec.Struct, frozen=True):
    """A checkpoint to witness, and the proof that it extends the head of `old_size` leaves."""

    old_size: int
    proof: tuple[bytes, ...]
    note: SignedNote

    def encode(self) -> bytes:
        """Return the request as tlog-witness sends it."""
        return f"old {self.old_size}\n{encode_proof(self.proof)}\n{self.note.encode()}".encode()


class Witnessed(msgspec.Struct, frozen=True):
    """The last head of somebody's log that this host cosigned."""

    log_name: str
    size: int
    root: bytes
    cosigned_at: datetime
    note: str


# --- Rejections -------------------------------------------------------------------


class CheckpointUnsigned(Forbidden):
    """The checkpoint is not signed by a host that this witness knows."""

    todo = "Give this witness the host's key, or sign with the key it was given."


class OldSizeDiffers(Conflict):
    """The proof does not start at the head that this witness cosigned last."""

    todo = "Send the proof from the size named as `size`."


# --- Table ------------------------------------------------------------------------

# A service table: what was cosigned is a promise to others, and not to be made again from the log.
evidence_witnessed = sa.Table(
    "evidence_witnessed",
    metadata,
    sa.Column("log_name", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("cosigned_at", Instant, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    info={"service": True},
)
_KEEP = Statement(upsert(evidence_witnessed, keys=["log_name"], set_=["size", "root", "cosigned_at", "note"]))
_ONE = Statement(
    sa.select(evidence_witnessed).where(evidence_witnessed.c.log_name == sa.bindparam("log_name")),
    into=Witnessed,
)
_ALL = Statement(sa.select(evidence_witnessed).order_by(evidence_witnessed.c.log_name), into=Witnessed)
_FORGET = Statement(
    evidence_witnessed.delete().where(evidence_witnessed.c.log_name == sa.bindparam("whose_name"))
)


@projects(ForkSettled)
def _begin_anew(tx: Tx, event: ForkSettled) -> None:
    """The next head of a log whose fork was settled is cosigned as the first one (W4)."""
    if not tx.rebuilding:
        forget(tx, event.log_origin, event.log_epoch)


def forget(tx: Tx, origin: str, epoch: int | None = None) -> None:
    """Forget which heads of an origin's log were cosigned here: of one epoch, or of all (W4)."""
    for one in tx.all(_ALL):
        log_id = _log_id(one.log_name)
        if log_id.origin == origin and epoch in (None, log_id.epoch):
            tx.write(_FORGET, whose_name=one.log_name)


# --- Pure decision ----------------------------------------------------------------


def parse_request(data: bytes) -> CosignRequest:
    """Read a request.

    Raises:
        Invalid: it is none; the problem says what is wrong.
    """
    try:
        if len(data) > REQUEST_BYTES_MAX:
            raise BadNote(f"at most {REQUEST_BYTES_MAX} bytes")
        head, blank, note = data.partition(b"\n\n")
        first, _, proof = f"{head.decode('ascii')}\n".partition("\n")
        word, _, size = first.partition(" ")
        if not blank or word != "old" or not size.isdigit() or str(int(size[:19])) != size:
            raise BadNote("the first line is `old` and a size, then a proof, a blank line, a checkpoint")
        request = CosignRequest(int(size), tuple(parse_proof(proof)), parse_note(note))
        parse_checkpoint(request.note.text)
        if len(request.proof) > PROOF_MAX:
            raise BadNote(f"a proof has at most {PROOF_MAX} lines")
    except (BadNote, UnicodeDecodeError) as error:
        raise Invalid([Problem(field="body", message=str(error))]) from None
    return request


def decide_cosign(request: CosignRequest, keys: Sequence[VerifierKey], last: Witnessed | None) -> Checkpoint:
    """Return the checkpoint to cosign (W1).

    Raises:
        CheckpointUnsigned: by nobody known, or the signature does not fit.
        OldSizeDiffers: the proof starts elsewhere than at the last cosigned head.
        LogForked: the proof fails: this is another history than the one cosigned.
    """
    checkpoint = parse_checkpoint(request.note.text)
    try:
        signed = verify_note(request.note, [key for key in keys if key.kind == SIGNED_BY_LOG])
    except BadNote as error:
        raise CheckpointUnsigned(log=checkpoint.log_name, why=str(error)) from None
    if not signed:
        raise CheckpointUnsigned(log=checkpoint.log_name)
    size, root = (last.size, last.root) if last else (0, EMPTY_ROOT)
    if checkpoint.size < size:
        # Older than what was cosigned: no fork by itself, the sender may only be behind.
        raise OldSizeDiffers(log=checkpoint.log_name, size=size)
    if request.old_size != size:
        raise OldSizeDiffers(log=checkpoint.log_name, size=size)
    if not verify_consistency(size, checkpoint.size, root, checkpoint.root, request.proof):
        why = "the checkpoint does not extend the one that was witnessed"
        raise forked(_log_id(checkpoint.log_name), size, root, checkpoint.root, why)
    return checkpoint


def _log_id(log_name: str) -> LogId:
    """Return the log that a name ends in; names of other systems are kept whole, as epoch 0."""
    rest, _, epoch = log_name.rpartition("/")
    if not epoch.isdigit() or not rest:
        return LogId(log_name, 0)
    return LogId(rest.rpartition("/")[2], int(epoch))


# --- Commands ---------------------------------------------------------------------


def cosign(
    decider: Decider, notary: Notary, keys: Sequence[VerifierKey], request: CosignRequest
) -> Signature:
    """Witness a checkpoint: check it, keep it as the last head of its log, return the cosignature.

    Raises:
        Rejected: see `decide_cosign`; a fork is recorded before it is raised (W3).
    """

    def work(tx: Tx) -> Signature:
        log_name = request.note.text.partition("\n")[0]
        checkpoint = decide_cosign(request, keys, last_witnessed(tx, log_name))
        _check_copy(tx, notary, checkpoint)
        at_s = int(tx.now.timestamp())
        cosignature = notary.signer.cosign(request.note.text, at_s)
        note = request.note.with_signature(cosignature).encode()
        tx.write(
            _KEEP,
            log_name=checkpoint.log_name,
            size=checkpoint.size,
            root=checkpoint.root,
            cosigned_at=tx.now,
            note=note,
        )
        return cosignature

    try:
        signature: Signature = decider.within(SYSTEM, notary.home, work, "evidence.cosign")
    except LogForked as fork:
        found = [fork]
        decider.within(SYSTEM, notary.home, lambda tx: forks.report(tx, found), "evidence.cosign")
        raise
    return signature


def _check_copy(tx: Tx, notary: Notary, checkpoint: Checkpoint) -> None:
    """Hold a checkpoint against this host's own copy of the log, as far as that goes (W2)."""
    log_id = _log_id(checkpoint.log_name)
    if notary.log_name(log_id) != checkpoint.log_name:
        return
    here = tiles.head(tx, log_id)
    if here is None or here.size < checkpoint.size:
        return
    root = tiles.tree_of(tx, log_id).root(checkpoint.size)
    if root != checkpoint.root:
        why = "the checkpoint is not that of the entries received"
        raise forked(log_id, checkpoint.size, checkpoint.root, root, why)


def request_for(db: Reader, log_id: LogId, old_size: int) -> CosignRequest | None:
    """Return what to send a witness that has cosigned `old_size` leaves; None where it has the latest."""
    head = tiles.head(db, log_id)
    if head is None or head.size <= old_size:
        return None
    proof = tiles.tree_of(db, log_id).consistency(old_size, head.size)
    return CosignRequest(old_size, tuple(proof), parse_note(head.note.encode()))


def add_cosignature(
    decider: Decider, log_id: LogId, size: int, line: str, keys: Sequence[VerifierKey]
) -> bool:
    """Put a witness's signature line under our checkpoint; return whether a known witness made it.

    Raises:
        BadNote: the line is no signature, or claims to be of a known witness and is not.
    """

    def work(tx: Tx) -> bool:
        kept = tiles.checkpoint(tx, log_id, size)
        if kept is None:
            return False
        sent = parse_note(f"{parse_note(kept.note.encode()).text}\n{line}".encode())
        if not verify_note(sent, keys):
            return False
        note = parse_note(kept.note.encode()).with_signature(sent.signatures[0]).encode()
        tiles.keep_checkpoint(tx, msgspec.structs.replace(kept, note=note))
        head = tiles.head(tx, log_id)
        if head is not None and head.size == size:
            tiles.keep_head(tx, msgspec.structs.replace(head, note=note))
        return True

    added: bool = decider.within(SYSTEM, log_id.origin, work, "evidence.cosigned")
    return added


# --- Queries ----------------------------------------------------------------------


def last_witnessed(db: Reader, log_name: str) -> Witnessed | None:
    """Return the last head of a log that this host cosigned."""
    return db.one(_ONE, log_name=log_name)


def witnessed(db: Reader) -> list[Witnessed]:
    """Return the last cosigned head of every log."""
    return db.all(_ALL)
