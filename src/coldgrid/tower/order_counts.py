"""How many orders there are, for the control tower's figures: each counted once."""

from __future__ import annotations

from coldgrid.kernel.reading import Reader
from coldgrid.orders.orders import OrderStatus, count_by_status, count_unsourced

# Orders that wait for goods, whatever their status; the others to be served are promised.
WAITING, PROMISED = "waiting", "promised"


def order_counts(db: Reader) -> dict[str, int]:
    """How many orders wait for goods, are promised, dispatched or canceled; together all of them."""
    counts, waiting = count_by_status(db), count_unsourced(db)
    live = sum(counts.pop(status, 0) for status in (OrderStatus.OPEN, OrderStatus.RELEASED))
    return {**counts, WAITING: waiting, PROMISED: live - waiting}
