"""Fan-out: how far the log has gone to each place outside that takes all of it.

Invariants
    F1  A place's position is that of the last entry which that place has confirmed; everything behind it is
        sent, or sent again.

It is working state of the runtime: which place there is, is a setting.
"""

from __future__ import annotations

import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx

kernel_fan_out = sa.Table(
    "kernel_fan_out",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    info={"service": True},
)
_MOVE = Statement(upsert(kernel_fan_out, keys=["destination"], set_=["position"]))
_WHERE = Statement(
    sa.select(kernel_fan_out.c.position).where(kernel_fan_out.c.destination == sa.bindparam("destination"))
)


def confirmed(db: Reader, destination: str) -> int:
    """Return the last position that a place has confirmed; -1 before the first."""
    position = db.value(_WHERE, destination=destination)
    return -1 if position is None else int(position)


def confirm(tx: Tx, destination: str, position: int) -> None:
    """Note what a place has confirmed (F1)."""
    tx.write(_MOVE, destination=destination, position=position)
