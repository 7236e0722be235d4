"""Released: what the network asks a site to pick for its orders, as the site is told of it.

Invariants
    R1  An order's lines at a site are its open promises there; a release says that they may be picked.
    R2  A later release of the same order to the same site replaces what the one before said.

The network records these facts; the site's own node gets those that name it, and works from them alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.personal import Sealed
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

# --- Events ---------------------------------------------------------------------


class ShipTo(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an order goes: a region's name and the middle of its quarter-degree cell."""

    region: str
    lat: float
    lon: float


class WorkLine(msgspec.Struct, frozen=True):
    """What a site is to pick for a line: goods of this lot, from this zone."""

    line_no: int
    product_id: str
    lot_id: str
    zone_id: str
    qty: int


class OrderReleased(Event, frozen=True, tag="orders.released", omit_defaults=True):
    """The sites may pick: sourcing is final. Its audience are the sites in `work`: their lines.

    `leaves_at`: by site, the cut-off that the goods are to make; none in facts of the first release.
    """

    order_id: str
    work: dict[str, list[WorkLine]]
    ship_to: ShipTo
    customer: Sealed | None = None
    leaves_at: dict[str, datetime] = msgspec.field(default_factory=dict)


# --- Table and projection -------------------------------------------------------

warehouse_released = sa.Table(
    "warehouse_released",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("released_at", Instant, nullable=False),
    sa.Column("leaves_at", Instant),
    info={"origin": "network"},
)
_PUT = Statement(
    upsert(warehouse_released, keys=["order_id", "site_id"], set_=["region", "released_at", "leaves_at"])
)


@projects(OrderReleased)
def _release(tx: Tx, event: OrderReleased) -> None:
    for site_id in event.work:
        tx.write(
            _PUT,
            order_id=event.order_id,
            site_id=site_id,
            region=event.ship_to.region,
            released_at=tx.entry.occurred_at,
            leaves_at=event.leaves_at.get(site_id),
        )


# --- Queries --------------------------------------------------------------------


class Released(msgspec.Struct, frozen=True):
    """An order that a site may pick. `leaves_at`: the cut-off to make; None where nobody said."""

    order_id: str
    site_id: str
    region: str
    released_at: datetime
    leaves_at: datetime | None


_R = warehouse_released.c
_SOME = Statement(
    sa.select(*warehouse_released.columns).where(
        _R.site_id == sa.bindparam("site"), _R.order_id.in_(sa.bindparam("orders", expanding=True))
    ),
    into=Released,
)


def releases_of(db: Reader, site_id: str, order_ids: Sequence[str]) -> dict[str, Released]:
    """Return which of some orders a site may pick, by order."""
    if not order_ids:
        return {}
    return {one.order_id: one for one in db.all(_SOME, site=site_id, orders=list(order_ids))}
