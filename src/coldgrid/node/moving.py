"""Moving: a node takes its site over from whoever had it, and gives it back when it is called back.

Invariants
    V1  A node extends its site only after it holds the whole log up to the last entry, checked against the
        tower's signature, and all that waited there.
    V2  What was put once is not put again: each page of rows and the place after it are one commit.
    V3  A move that was interrupted goes on where it was when it is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import msgspec
import sqlalchemy as sa

from coldgrid.evidence.merkle import tree_root
from coldgrid.evidence.notes import VerifierKey, parse_checkpoint, parse_note, verify_note
from coldgrid.kernel import log, luggage
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.origins import take_in
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.sync import following, handover, wire
from coldgrid.sync import messages as m
from coldgrid.sync.codec import unpack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.handover import CAUSE, Begun, Given, RowsAsk, RowsPart
from coldgrid.sync.messages import Code, Place
from coldgrid.sync.tls_client import TowerLink
from coldgrid.sync.wire import Refusal

AGAIN_S = 1.0
COPIED_MAX = 2_000
_pack = msgspec.msgpack.encode

node_moving = sa.Table(
    "node_moving",
    metadata,
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("after", sa.LargeBinary, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    info={"service": True},
)
_MOVED = Statement(upsert(node_moving, keys=["table_name"], set_=["after", "done"]))
_PLACE = Statement(
    sa.select(node_moving.c.after, node_moving.c.done).where(
        node_moving.c.table_name == sa.bindparam("which")
    )
)
_FORGET = Statement(node_moving.delete().where(node_moving.c.table_name == node_moving.c.table_name))


class BadHandover(Exception):
    """What the tower handed over is not what it signed; nothing was begun with it."""


def is_home(decider: Decider, site_id: str) -> bool:
    """Tell whether this node hosts its site already."""
    hosting: Hosting = decider.shared.hot[Hosting]
    return hosting.told.get(site_id, False)


def has_given(db: Reader, site_id: str) -> bool:
    """Tell whether this node closed its site's log because it was called back."""
    return bool(handover.state_of(db, site_id))


class Moving:
    """One node's move. `keys`: what verifies the tower's signatures; `tell`: how far it is, for a person."""

    def __init__(
        self,
        site_id: str,
        desk: Desk,
        post: Callable[[bytes], bytes],
        keys: list[VerifierKey],
        tell: Callable[[str], None],
    ) -> None:
        self._site_id = site_id
        self._desk = desk
        self._post = post
        self._keys = keys
        self._tell = tell
        self._copied = b""

    # --- taking over ----------------------------------------------------------------

    def take_over(self, *, replace: bool = False) -> None:
        """Take the site over from the tower, or with `replace` from the node that had it (V1, V3).

        Raises:
            BadHandover: what came is not what was signed.
            Refusal, TowerRefused, TowerUnreachable: ask again; nothing was begun.
        """
        self._desk.do(handover.host_nothing)
        self._fetch()  # before the site is closed, so that it stands still for a moment only
        begun = self._begin(replace)
        if begun.waiting:
            self._tell(f"waiting until the node that has {self._site_id} has closed its log …")
        while begun.waiting:
            time.sleep(AGAIN_S)
            begun = self._begin(replace)
        self._fetch()
        self._check(begun)
        for table in begun.tables:
            self._carry(table)
        self._desk.do(self._open)
        self._tell(f"{self._site_id} is hosted here from epoch {begun.epoch + 1} on")

    def _fetch(self) -> None:
        """Fetch what is meant for the site, then its own past."""
        while self._follow():
            pass
        while True:
            place = self._desk.place(self._site_id)
            part = wire.expect(self._exchange(m.PastAsk(place)), m.PastPart)
            if part.columns is None:
                return
            self._desk.do(partial(self._take_past, part=part))

    def _follow(self) -> bool:
        with self._desk.reader() as db:
            place = following.followed(db)
        part = wire.expect(wire.decode(self._ask("handover.feed", _pack(place))), m.FeedPart)
        if part.columns is not None:
            following.follow(self._desk, part)
        return part.more

    def _take_past(self, decider: Decider, part: m.PastPart) -> None:
        assert part.columns is not None
        entries = unpack_entries(part.columns)

        def work(tx: Tx) -> None:
            for key in part.keys:
                tx.take_key(key.subject, key.key)
            take_in(tx, entries)

        decider.take(self._site_id, work, CAUSE)

    def _begin(self, replace: bool) -> Begun:
        return msgspec.msgpack.decode(self._ask("handover.begin", _pack(replace)), type=Begun)

    def _check(self, begun: Begun) -> None:
        """Hold the log that came against its end and against what the tower signed (V1)."""
        place = self._desk.place(self._site_id)
        with self._desk.reader() as db:
            if place != Place(begun.epoch, begun.seq):
                raise BadHandover(f"the log ends at {place}, not at {begun.epoch}/{begun.seq}")
            last = log.leaves(db, self._site_id, begun.epoch, begun.seq - 1, begun.seq)
            if [leaf for _, leaf in last] != [begun.leaf]:
                raise BadHandover("the last entry is another than the tower's")
            signed = [self._check_note(db, note) for note in begun.notes]
        if (begun.epoch, begun.seq) not in signed:
            raise BadHandover("the tower has not signed the end of the log")

    def _check_note(self, db: Reader, text: str) -> tuple[int, int]:
        note = parse_note(text.encode())
        if not verify_note(note, self._keys):
            raise BadHandover("a checkpoint is not signed by the tower that this node joined")
        checkpoint = parse_checkpoint(note.text)
        lead, _, epoch = checkpoint.log_name.rpartition("/")
        if not lead.endswith(f"/{self._site_id}"):
            raise BadHandover(f"{checkpoint.log_name} is no log of this site")
        found = [leaf for _, leaf in log.leaves(db, self._site_id, int(epoch), 0, checkpoint.size)]
        if tree_root(found) != checkpoint.root:
            raise BadHandover(f"the log differs from the tower's checkpoint of {checkpoint.log_name}")
        return int(epoch), checkpoint.size

    def _carry(self, table: str) -> None:
        """Carry a table's rows over, page by page (V2)."""
        with self._desk.reader() as db:
            found = db.one(_PLACE, which=table)
        after, done = ([], False) if found is None else (msgspec.msgpack.decode(found[0]), bool(found[1]))
        while not done:
            answer = self._ask("handover.rows", _pack(RowsAsk(table, after)))
            part = msgspec.msgpack.decode(answer, type=RowsPart)
            if part.rows:
                after = list(luggage.key_of(table, tuple(part.rows[-1])))
            done = not part.more
            self._desk.do(partial(self._put, table=table, part=part, after=after))

    def _put(self, decider: Decider, table: str, part: RowsPart, after: list[Any]) -> None:
        def work(tx: Tx) -> None:
            luggage.put_rows(tx, table, part.rows)
            tx.write(_MOVED, table_name=table, after=_pack(after), done=not part.more)

        decider.take(self._site_id, work, CAUSE)

    def _open(self, decider: Decider) -> None:
        """Open the next epoch: from this commit on the site is decided here."""
        decider.reopen(self._site_id)

        def tidy(tx: Tx) -> None:
            handover.forget_packed(tx, self._site_id)
            tx.write(_FORGET)

        decider.take(self._site_id, tidy, CAUSE)
        decider.reload()

    # --- giving back ----------------------------------------------------------------

    def close(self) -> None:
        """Close the site's log here; what waits is packed. From now on nothing is decided for it here."""
        self._desk.do(partial(handover.close_here, site_id=self._site_id, reason="called back by the tower"))

    def give(self) -> None:
        """Hand what was packed to the tower, which has the whole log by now; asked again, it is the same.

        Raises:
            Refusal: the tower does not have the end of the log yet.
        """
        with self._desk.reader() as db:
            rows = handover.packed(db, self._site_id)
        first = 0
        while True:
            some = rows[first : first + handover.ROWS_AT_ONCE]
            done = first + len(some) >= len(rows)
            self._ask("handover.give", _pack((first, Given(some, done))))
            first += len(some)
            if done:
                return

    # --- in case that this node is lost ---------------------------------------------

    def copy(self) -> int:
        """Give the tower a copy of what waits here, where it changed; return how many rows wait."""
        with self._desk.reader() as db:
            rows = luggage.copy_waiting(cast(Reads, db), self._site_id)
        body = _pack(Given([(name, list(row)) for name, row in rows[:COPIED_MAX]], True))
        if body != self._copied:
            self._ask("handover.copy", body)
            self._copied = body
        return len(rows)

    # --- asking ---------------------------------------------------------------------

    def _ask(self, kind: str, body: bytes) -> bytes:
        return wire.expect(self._exchange(m.Ask(kind, body)), m.Told).body

    def _exchange(self, message: m.Message) -> m.Message:
        while True:
            answer = wire.decode(self._post(wire.encode(message)))
            if not (isinstance(answer, m.Refused) and answer.code == Code.BUSY):
                return answer
            time.sleep(AGAIN_S)


def moving_of(link: TowerLink, desk: Desk, keys: list[VerifierKey], tell: Callable[[str], None]) -> Moving:
    """Return the move of the node whose link this is."""
    return Moving(link.identity.tower.site_id, desk, link.post, keys, tell)


__all__ = ["BadHandover", "Moving", "Refusal", "has_given", "is_home", "moving_of"]
