"""Facts of different origins reach a database in any order and leave the same stock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.kernel import log
from coldgrid.kernel.events import Entry
from coldgrid.kernel.origins import take_in
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.stock.movements import MoveUnit
from coldgrid.stock.pauses import PauseReason, PauseZone
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer
from tests.conftest import Kernel, sqlite_kernel
from tests.stock.world import (
    AWAY,
    BULK,
    COOL,
    FREEZER,
    OTHER,
    PALLET,
    QUALITY,
    SECOND,
    SITE,
    THIRD,
    Ask,
    carrier,
    check_everything,
    dispatch,
    goods,
    hold,
    index,
    open_world,
    receive,
    release,
)

TABLES = [table for table in metadata.sorted_tables if table.name.startswith(("stock_", "catalog_"))]


def live(kernel: Kernel) -> None:
    """Two sites and the network, each answering what the others did."""
    open_world(kernel)
    kernel.do(carrier(PALLET))
    kernel.do(receive(SECOND, 40, parent_sscc=PALLET))
    kernel.do(receive(THIRD, 60))
    kernel.do(Ask(order_id="o1", allocations=[goods(50)]))
    kernel.do(Ask(order_id="o2", allocations=[goods(30)]))
    kernel.do(hold("h1", PALLET))
    ship = ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id=OTHER, sscc=(PALLET,))
    kernel.do(ship, roles={"supervisor"})
    kernel.do(dispatch("d1", (THIRD, 35)))
    pause = PauseReason.PRE_ALARM
    kernel.do(PauseZone(site_id=SITE, zone_id=FREEZER, pause_id="p1", reason=pause, cause_id="a1"))
    kernel.do(ReceiveTransfer(site_id=OTHER, transfer_id="t1", location_id=AWAY))
    kernel.do(release("h1", site_id=OTHER), "ben", QUALITY)
    back = ShipTransfer(site_id=OTHER, transfer_id="t2", to_site_id=SITE, sscc=(SECOND,))
    kernel.do(back, roles={"supervisor"})
    kernel.do(ReceiveTransfer(site_id=SITE, transfer_id="t2", location_id=BULK))
    kernel.do(MoveUnit(site_id=SITE, sscc=SECOND, to_location_id=COOL, other_class=True))


@cache
def history() -> tuple[list[Entry], dict[str, Any]]:
    with sqlite_kernel() as kernel:
        live(kernel)
        return list(log.read_all(kernel.reader())), stock_of(kernel)


def stock_of(kernel: Kernel) -> dict[str, Any]:
    rows: dict[str, Any] = {
        table.name: sorted(kernel.reader().all(Statement(sa.select(table))), key=repr) for table in TABLES
    }
    return rows | {"index": index(kernel).snapshot()}


def merged(entries: Sequence[Entry], turns: Sequence[int]) -> Iterator[Entry]:
    """Each origin's entries in their own order; the origins take turns as told, then one by one."""
    queues: dict[str, list[Entry]] = {}
    for entry in entries:
        queues.setdefault(entry.origin, []).append(entry)
    names = sorted(queues)
    for turn in turns:
        queue = queues[names[turn % len(names)]]
        if queue:
            yield queue.pop(0)
    for turn in turns[:1] or [0]:
        for name in names[turn:] + names[:turn]:
            yield from queues[name]


def _take(tx: Tx, entries: Sequence[Entry]) -> None:
    take_in(tx, entries)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=60))
def test_arrival_order_makes_no_difference(turns: list[int]) -> None:
    entries, expected = history()
    with sqlite_kernel() as kernel:
        for entry in merged(entries, turns):
            kernel.decider.take(entry.origin, partial(_take, entries=[entry]), "test")
        assert stock_of(kernel) == expected
        check_everything(kernel)
