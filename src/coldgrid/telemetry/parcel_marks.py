"""Marks of parcels: by them a node and its tower know that they speak of the same ones.

Invariants
    K1  A mark covers a parcel's bytes and the mark before it: who cut other readings under the same number
        has another mark there, and at every number after it.
    K2  Marks are kept from the last parcel on that the tower has; what was sent before has none any more.
"""

from __future__ import annotations

from hashlib import sha256

import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx

UNMARKED = b""
MARK_BYTES = 16

telemetry_parcel_mark = sa.Table(
    "telemetry_parcel_mark",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("parcel_no", sa.BigInteger, primary_key=True),
    sa.Column("mark", sa.LargeBinary, nullable=False),
    sa.Column("again", sa.Boolean, nullable=False),  # of readings that may have been sent before
    info={"service": True},
)
_KEEP = Statement(upsert(telemetry_parcel_mark, keys=["site_id", "parcel_no"], set_=["mark", "again"]))
_ONE = Statement(
    sa.select(telemetry_parcel_mark.c.mark, telemetry_parcel_mark.c.again).where(
        telemetry_parcel_mark.c.site_id == sa.bindparam("site_id"),
        telemetry_parcel_mark.c.parcel_no == sa.bindparam("parcel_no"),
    )
)
_DROP = Statement(
    telemetry_parcel_mark.delete().where(
        telemetry_parcel_mark.c.site_id == sa.bindparam("whose"),
        telemetry_parcel_mark.c.parcel_no < sa.bindparam("before"),
    )
)


def mark_after(before: bytes, body: bytes) -> bytes:
    """Return the mark of a parcel that follows one with the mark `before` (K1)."""
    return sha256(before + body).digest()[:MARK_BYTES]


def keep_mark(tx: Tx, site_id: str, parcel_no: int, mark: bytes, *, again: bool = False) -> None:
    """Write down the mark of a parcel. `again`: its readings may have been sent before in another one."""
    tx.write(_KEEP, site_id=site_id, parcel_no=parcel_no, mark=mark, again=again)


def drop_marks(tx: Tx, site_id: str, before: int) -> None:
    """Forget the marks of the parcels before a number (K2)."""
    tx.write(_DROP, whose=site_id, before=before)


def forget_mark(tx: Tx, site_id: str) -> None:
    """Forget which parcel was the last: another host goes on, or another copy of the same."""
    tx.write(_DROP, whose=site_id, before=2**62)


def mark_of(db: Reader, site_id: str, parcel_no: int) -> bytes:
    """Return the mark of a parcel; `UNMARKED` where none is known."""
    found = db.one(_ONE, site_id=site_id, parcel_no=parcel_no)
    return UNMARKED if found is None else bytes(found[0])


def is_again(db: Reader, site_id: str, parcel_no: int) -> bool:
    """Tell whether a parcel holds readings that may have been sent before in another one."""
    found = db.one(_ONE, site_id=site_id, parcel_no=parcel_no)
    return found is not None and bool(found[1])
