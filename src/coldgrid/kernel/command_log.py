"""Command log: a retry with the same caller, key and body is answered as before; another body is refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Entry, encode
from coldgrid.kernel.rejections import KeyReused
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import metadata

if TYPE_CHECKING:
    from coldgrid.kernel.batch import Batch
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.tx import Tx


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a command answers: its result, and the last entry it recorded (position -1: it recorded none).

    `replayed`: this key was carried out before; nothing was done again. `pending`: the site whose host was
    asked to do it (`kernel.requests`); `result` says under which id, and the entry named is the request.
    """

    result: Any = None
    origin: str = ""
    epoch: int = 0
    seq: int = -1
    position: int = -1
    replayed: bool = False
    pending: str = ""


def answer_of(result: Any, entry: Entry | None) -> Answer:
    """The answer of a command: what it returned, and the last entry it recorded."""
    if entry is None:
        return Answer(result=result)
    return Answer(
        result=result, origin=entry.origin, epoch=entry.epoch, seq=entry.seq, position=entry.position
    )


READ_AT_ONCE = 5_000

kernel_command = sa.Table(
    "kernel_command",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),  # first: it alone is what `find` looks up
    sa.Column("caller", sa.Text, primary_key=True),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    info={"service": True},
)
_FIND = Statement(
    sa.select(
        kernel_command.c.caller, kernel_command.c.key, kernel_command.c.body_hash, kernel_command.c.answer
    ).where(kernel_command.c.key.in_(sa.bindparam("keys", expanding=True)))
)
# A list of parameters costs several times one: a single caller's group has one key.
_FIND_ONE = Statement(
    sa.select(
        kernel_command.c.caller, kernel_command.c.key, kernel_command.c.body_hash, kernel_command.c.answer
    ).where(kernel_command.c.key == sa.bindparam("key"))
)
_KEEP = Statement(kernel_command.insert())
_ALL = Statement(sa.select(kernel_command.c.key, kernel_command.c.caller, kernel_command.c.answer))
_BEHIND = Statement(
    sa.select(kernel_command.c.key, kernel_command.c.caller, kernel_command.c.answer)
    .where(kernel_command.c.key > sa.bindparam("after"))
    .order_by(kernel_command.c.key)
    .limit(sa.bindparam("count", type_=sa.Integer))
)
_FORGET = Statement(
    kernel_command.delete()
    .where(kernel_command.c.key == sa.bindparam("which"))
    .where(kernel_command.c.caller == sa.bindparam("whose"))
)
_decoder = msgspec.json.Decoder(Answer)

Known = dict[tuple[str, str], tuple[str, str]]


def body_hash(command: Command) -> str:
    """Return the hash by which a repeated body is recognised."""
    return sha256(encode(command)).hexdigest()


def find(db: Reader, keys: Sequence[str]) -> Known:
    """Return what is known under the keys: (caller, key) → (body hash, answer)."""
    rows = db.all(_FIND_ONE, key=keys[0]) if len(keys) == 1 else db.all(_FIND, keys=list(keys))
    return {(caller, key): (hash_, answer) for caller, key, hash_, answer in rows}


def replay(known: Known, caller: str, key: str, hash_: str) -> Answer | None:
    """Return the earlier answer to the same request, or None.

    Raises:
        KeyReused: the key was used for another body.
    """
    found = known.get((caller, key))
    if found is None:
        return None
    if found[0] != hash_:
        raise KeyReused(key=key)
    return msgspec.structs.replace(_decoder.decode(found[1]), replayed=True)


def keep(batch: Batch, caller: str, key: str, hash_: str, answer: Answer) -> tuple[str, str]:
    """Store an answer; return (body hash, answer) as `find` would."""
    told = encode(answer).decode()
    batch.write_row(_KEEP, (key, caller, hash_, told))
    return hash_, told


def answered_before(db: Reader, position: int, most: int) -> list[tuple[str, str, int]]:
    """Return (key, caller, bytes) of answers that name an entry before a position."""
    found: list[tuple[str, str, int]] = []
    after = ""
    while len(found) < most and (rows := db.all(_BEHIND, after=after, count=READ_AT_ONCE)):
        after = rows[-1][0]
        for key, caller, told in rows:
            if 0 <= _decoder.decode(told).position < position:
                found.append((key, caller, len(told)))
    return found[:most]


def drop_answer(tx: Tx, key: str, caller: str) -> None:
    """Forget one answer: a retry of that request is carried out anew from now on."""
    tx.write(_FORGET, which=key, whose=caller)


def forget(tx: Tx, entry_ids: Collection[str]) -> None:
    """Forget the answers that name one of these entries: they are set aside, and may be asked for anew."""
    for key, caller, told in tx.all(_ALL):
        answer = _decoder.decode(told)
        if f"{answer.origin}/{answer.epoch}/{answer.seq}" in entry_ids:
            tx.write(_FORGET, which=key, whose=caller)
