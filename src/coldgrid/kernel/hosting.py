"""Hosting: which origins this database may extend. The others' facts are taken in, never made here.

Invariants
    H1  At most one host extends an origin: who closes it here writes that down in the same commit.
    H2  Timers of an origin that lives elsewhere do not fire here, and its commands are refused here.
    H3  A node extends its own site and nothing else, whatever it was fed.

A service table: who hosts what is a fact about this database, not about the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from coldgrid.kernel.registry import hot_state
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata

if TYPE_CHECKING:
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.tx import Tx

EVERY_OTHER = "*"

kernel_hosting = sa.Table(
    "kernel_hosting",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("here", sa.Boolean, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    info={"service": True},
)
_PLACE = Statement(upsert(kernel_hosting, keys=["origin"], set_=["here", "since", "why"]))
_ALL = Statement(sa.select(kernel_hosting.c.origin, kernel_hosting.c.here))
_WHY = Statement(sa.select(kernel_hosting.c.why).where(kernel_hosting.c.origin == sa.bindparam("origin")))


@hot_state
class Hosting:
    """Which origins are hosted here. Where nothing was said, all of them are: the embedded default."""

    def __init__(self) -> None:
        self.told: dict[str, bool] = {}

    @classmethod
    def load(cls, reader: Reader) -> Hosting:
        """Read the table."""
        state = cls()
        state.told = dict(reader.all(_ALL))
        return state

    def here(self, origin: str) -> bool:
        """Tell whether this database may extend an origin."""
        told = self.told.get(origin)
        return self.told.get(EVERY_OTHER, True) if told is None else told

    @property
    def told_here(self) -> frozenset[str]:
        """The origins that were said to live here."""
        return frozenset(origin for origin, here in self.told.items() if here)

    @property
    def elsewhere(self) -> list[str]:
        """The origins that are known to live elsewhere, in order."""
        return sorted(origin for origin, here in self.told.items() if not here and origin != EVERY_OTHER)


def elsewhere(db: Reader) -> list[str]:
    """Return the origins that are known to live elsewhere, in order, as committed."""
    return sorted(origin for origin, here in db.all(_ALL) if not here and origin != EVERY_OTHER)


def why_placed(db: Reader, origin: str) -> str:
    """Return why an origin lives where it does; empty where nothing was said about it."""
    return str(db.value(_WHY, origin=origin) or "")


def place(tx: Tx, origin: str, *, here: bool, why: str) -> None:
    """Write down where an origin lives from this commit on (H1)."""
    state = tx.hot(Hosting)
    before = state.told.get(origin)

    def put_back() -> None:
        if before is None:
            state.told.pop(origin, None)
        else:
            state.told[origin] = before

    tx.write(_PLACE, origin=origin, here=here, since=tx.now, why=why)
    state.told[origin] = here
    tx.undo(put_back)


def host_only(tx: Tx, origin: str) -> None:
    """Make this the database of one site's node (H3)."""
    place(tx, EVERY_OTHER, here=False, why="a node hosts its own site only")
    place(tx, origin, here=True, why="this node's own")
