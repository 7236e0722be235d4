"""The goods ledger: every movement twice, out of one place and into another.

Invariants
    L1  Every movement has a place it leaves and a place it reaches; both may be virtual, none is missing.
    L2  For each site, owner, product and lot, the balances of all places, virtual ones included, sum to zero.
    L3  Rows belong to the site whose fact they are, so facts of different sites commute: goods in transit may
        be negative until the sender's fact arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Named, metadata, to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.stock.units import Line

# --- Vocabulary and tables ------------------------------------------------------


class MovementKind(StrEnum):
    """What business a movement was part of."""

    RECEIPT = "receipt"
    MOVE = "move"
    ADJUSTMENT = "adjustment"
    DISPATCH = "dispatch"
    REMOVAL = "removal"
    TRANSFER_OUT = "transfer_out"
    TRANSFER_IN = "transfer_in"
    SPLIT = "split"
    MERGE = "merge"
    CONSUMED = "consumed"
    PRODUCED = "produced"


stock_movement = sa.Table(
    "stock_movement",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("kind", Named(MovementKind), nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("sscc", sa.Text, nullable=False),
    sa.Column("other_sscc", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("product_id", sa.Text, nullable=False),
    sa.Column("lot_id", sa.Text, nullable=False),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("weight_g", sa.BigInteger),
    sa.Column("from_location_id", sa.Text, nullable=False),
    sa.Column("from_zone_id", sa.Text, nullable=False),
    sa.Column("to_location_id", sa.Text, nullable=False),
    sa.Column("to_zone_id", sa.Text, nullable=False),
    sa.Column("moved_at", Instant, nullable=False),
    sa.Column("moved_by", sa.Text, nullable=False),
    sa.Index("ix_stock_movement_lot", "lot_id"),
    sa.Index("ix_stock_movement_sscc", "sscc"),
    sa.Index("ix_stock_movement_reference", "reference"),
    info={"origin": "site"},
)

stock_balance = sa.Table(
    "stock_balance",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("location_id", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("product_id", sa.Text, primary_key=True),
    sa.Column("lot_id", sa.Text, primary_key=True),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Index("ix_stock_balance_product", "product_id", "owner"),
    info={"origin": "site"},
)
_KINDS = {kind: kind.value for kind in MovementKind}
_B = stock_balance.c
_M = stock_movement.c
_INSERT = Statement(stock_movement.insert())
_ADD = Statement(
    upsert(stock_balance, keys=["site_id", "location_id", "owner", "product_id", "lot_id"], add=["qty"])
)


class Posting(msgspec.Struct, frozen=True):
    """The business behind movements: its kind, its reference (dispatch, transfer, delivery …), its order."""

    kind: MovementKind
    reference: str = ""
    order_id: str = ""


def enter(tx: Tx, site_id: str, posting: Posting, line: Line, n: int, other_sscc: str = "") -> None:
    """Write one movement and both its balances; from projections only. `n`: its place in the event."""
    # Encoded here, in the columns' order: this is the row that a rebuild writes most often.
    origin, target, entry = line.origin, line.target, tx.entry
    row = (
        site_id,
        entry.epoch,
        entry.seq,
        n,
        _KINDS[posting.kind],
        posting.reference,
        posting.order_id,
        line.sscc,
        other_sscc,
        line.owner,
        line.product_id,
        line.lot_id,
        line.qty,
        line.weight_g,
        origin.location_id,
        origin.zone_id,
        target.location_id,
        target.zone_id,
        occurred_us(tx),
        tx.actor,
    )
    tx.write_row(_INSERT, row)
    if line.qty and origin.location_id != target.location_id:
        owner, product_id, lot_id = line.owner, line.product_id, line.lot_id
        left = (site_id, origin.location_id, owner, product_id, lot_id, origin.zone_id, -line.qty)
        reached = (site_id, target.location_id, owner, product_id, lot_id, target.zone_id, line.qty)
        tx.write_row(_ADD, left)
        tx.write_row(_ADD, reached)


def occurred_us(tx: Tx) -> int:
    """Return when the fact that is projected happened, as it is stored."""
    at = tx.entry.occurred_at
    return tx.stamp.micros if at is tx.now else to_micros(at)


# --- Queries --------------------------------------------------------------------


class Balance(msgspec.Struct, frozen=True):
    """How much of a lot stands at a place of a site. `zone_id` is empty for virtual places."""

    site_id: str
    location_id: str
    owner: str
    product_id: str
    lot_id: str
    zone_id: str
    qty: int


class Movement(msgspec.Struct, frozen=True):
    """One movement as readers see it. `entry_id`: the log entry (site/epoch/seq) behind it."""

    site_id: str
    epoch: int
    seq: int
    kind: MovementKind
    reference: str
    order_id: str
    sscc: str
    other_sscc: str
    owner: str
    product_id: str
    lot_id: str
    qty: int
    from_location_id: str
    to_location_id: str
    moved_at: datetime
    moved_by: str

    @property
    def entry_id(self) -> str:
        """The log entry behind it."""
        return f"{self.site_id}/{self.epoch}/{self.seq}"


_BALANCE = (_B.site_id, _B.location_id, _B.owner, _B.product_id, _B.lot_id, _B.zone_id, _B.qty)
_MOVEMENT = (
    _M.site_id,
    _M.epoch,
    _M.seq,
    _M.kind,
    _M.reference,
    _M.order_id,
    _M.sscc,
    _M.other_sscc,
    _M.owner,
    _M.product_id,
    _M.lot_id,
    _M.qty,
    _M.from_location_id,
    _M.to_location_id,
    _M.moved_at,
    _M.moved_by,
)
_IN_TIME = (_M.moved_at, _M.site_id, _M.epoch, _M.seq, _M.n)
_OF_SITE = Statement(
    sa.select(*_BALANCE).where(_B.site_id == sa.bindparam("site"), _B.qty != 0).order_by(*_BALANCE[:5]),
    into=Balance,
)
_OF_PRODUCT = Statement(
    sa.select(*_BALANCE).where(_B.product_id == sa.bindparam("product"), _B.qty != 0).order_by(*_BALANCE[:5]),
    into=Balance,
)
_BY_LOT = Statement(
    sa.select(*_MOVEMENT).where(_M.lot_id.in_(sa.bindparam("lots", expanding=True))).order_by(*_IN_TIME),
    into=Movement,
)
_BY_UNIT = Statement(
    sa.select(*_MOVEMENT).where(_M.sscc == sa.bindparam("of_sscc")).order_by(*_IN_TIME), into=Movement
)
_BY_REFERENCE = Statement(
    sa.select(*_MOVEMENT)
    .where(_M.reference.in_(sa.bindparam("references", expanding=True)))
    .order_by(*_IN_TIME),
    into=Movement,
)
_REFERENCES = Statement(
    sa.select(_M.reference)
    .where(_M.lot_id.in_(sa.bindparam("lots", expanding=True)), _M.kind == sa.bindparam("of_kind"))
    .distinct()
    .order_by(_M.reference)
)
_LOT_BALANCES = Statement(
    sa.select(_B.site_id, _B.owner, _B.product_id, _B.lot_id, sa.cast(sa.func.sum(_B.qty), sa.BigInteger))
    .group_by(_B.site_id, _B.owner, _B.product_id, _B.lot_id)
    .having(sa.func.sum(_B.qty) != 0)
)


def balances_of_site(db: Reader, site_id: str) -> list[Balance]:
    """Return what stands at each place of a site, virtual places included."""
    return db.all(_OF_SITE, site=site_id)


def balances_of_product(db: Reader, product_id: str) -> list[Balance]:
    """Return where a product stands in the whole network, virtual places included."""
    return db.all(_OF_PRODUCT, product=product_id)


def unbalanced(db: Reader) -> list[tuple[str, str, str, str, int]]:
    """Return (site, owner, product, lot, difference) wherever goods appeared or vanished (L2): never any."""
    return [tuple(row) for row in db.all(_LOT_BALANCES)]


def movements_of_lots(db: Reader, lot_ids: Sequence[str]) -> list[Movement]:
    """Return the movements of some lots at every site, oldest first."""
    return db.all(_BY_LOT, lots=list(lot_ids)) if lot_ids else []


def references_of_lots(db: Reader, lot_ids: Sequence[str], kind: MovementKind) -> list[str]:
    """Return the references of some lots' movements of one kind, such as their transformations."""
    return [row[0] for row in db.all(_REFERENCES, lots=list(lot_ids), of_kind=kind)] if lot_ids else []


def movements_of_unit(db: Reader, sscc: str) -> list[Movement]:
    """Return the movements of a unit at every site, oldest first."""
    return db.all(_BY_UNIT, of_sscc=sscc)


def movements_of_references(db: Reader, references: Sequence[str]) -> list[Movement]:
    """Return the movements of some dispatches, transfers or transformations, oldest first."""
    return db.all(_BY_REFERENCE, references=list(references)) if references else []
