"""Feeds: what sites' facts change in the promisable index. Each fact says what could and can be sold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coldgrid.kernel.registry import projects
from coldgrid.kernel.tx import Tx
from coldgrid.stock.buckets import BucketKey
from coldgrid.stock.conditions import UnitStatusSet
from coldgrid.stock.counts import UnitAdjusted
from coldgrid.stock.dispatch import GoodsDispatched, GoodsRemoved
from coldgrid.stock.hold_facts import HeldUnit, HoldExtended, HoldPlaced, HoldReleased, ReleasedUnit
from coldgrid.stock.index import change_sellable
from coldgrid.stock.movements import UnitMoved, UnitReceived
from coldgrid.stock.splits import GoodsTransformed
from coldgrid.stock.transfer_book import TransferReceived, TransferShipped
from coldgrid.stock.units import Line

Changes = Iterator[tuple[BucketKey, int]]


def _key(goods: Line | HeldUnit | ReleasedUnit, site_id: str, zone_id: str) -> BucketKey:
    return (goods.product_id, goods.owner, site_id, zone_id, goods.lot_id, goods.expires_on)


def _changes(site_id: str, lines: Iterable[Line]) -> Changes:
    for line in lines:
        if line.was_sellable:
            yield _key(line, site_id, line.origin.zone_id), -line.qty
        if line.is_sellable:
            yield _key(line, site_id, line.target.zone_id), line.qty


@projects(UnitReceived)
def _received(tx: Tx, event: UnitReceived) -> None:
    change_sellable(tx, _changes(event.site_id, [event.line]))


@projects(UnitMoved)
def _moved(tx: Tx, event: UnitMoved) -> None:
    change_sellable(tx, _changes(event.site_id, event.lines))


@projects(UnitAdjusted)
def _adjusted(tx: Tx, event: UnitAdjusted) -> None:
    change_sellable(tx, _changes(event.site_id, [event.line]))


@projects(UnitStatusSet)
def _status_set(tx: Tx, event: UnitStatusSet) -> None:
    change_sellable(tx, _changes(event.site_id, [event.line]))


@projects(GoodsDispatched)
def _dispatched(tx: Tx, event: GoodsDispatched) -> None:
    change_sellable(tx, _changes(event.site_id, event.lines))


@projects(GoodsRemoved)
def _removed(tx: Tx, event: GoodsRemoved) -> None:
    change_sellable(tx, _changes(event.site_id, [event.line]))


@projects(TransferShipped)
def _shipped(tx: Tx, event: TransferShipped) -> None:
    change_sellable(tx, _changes(event.site_id, [unit.line for unit in event.units]))


@projects(TransferReceived)
def _arrived(tx: Tx, event: TransferReceived) -> None:
    change_sellable(tx, _changes(event.site_id, [unit.line for unit in event.units]))


@projects(GoodsTransformed)
def _transformed(tx: Tx, event: GoodsTransformed) -> None:
    change_sellable(tx, _changes(event.site_id, [*event.consumed, *event.produced]))


@projects(HoldPlaced)
def _held(tx: Tx, event: HoldPlaced) -> None:
    change_sellable(tx, _blocked(event.site_id, event.units))


@projects(HoldExtended)
def _joined(tx: Tx, event: HoldExtended) -> None:
    change_sellable(tx, _blocked(event.site_id, event.units))


@projects(HoldReleased)
def _freed(tx: Tx, event: HoldReleased) -> None:
    freed = ((_key(unit, event.site_id, unit.zone_id), unit.qty) for unit in event.units if unit.is_sellable)
    change_sellable(tx, freed)


def _blocked(site_id: str, units: Iterable[HeldUnit]) -> Changes:
    for unit in units:
        if unit.was_sellable:
            yield _key(unit, site_id, unit.zone_id), -unit.qty
