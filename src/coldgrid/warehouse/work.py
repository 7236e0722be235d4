"""The work of a site as its pages show it: the orders to pick, and one order's pick list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from coldgrid.catalog.products import Product, ProductNotFound, get_product
from coldgrid.kernel.reading import Reader
from coldgrid.network.zones import zones_of
from coldgrid.stock.inventory import find_unit, get_units, units_of_lot
from coldgrid.stock.promises import Promise, promised_on
from coldgrid.stock.scans import read_scan
from coldgrid.stock.units import Unit, UnitStatus
from coldgrid.warehouse.picking import Work, count_work, holds_on, work_of
from coldgrid.warehouse.picks import Pick, SentGoods, picks_at, picks_from, unsettled
from coldgrid.warehouse.plan import Hold, Missing, Stop, decide_stops
from coldgrid.warehouse.released import Released, releases_of

AGAIN = "Scan the label on the goods again."


class Waiting(msgspec.Struct, frozen=True):
    """An order with goods to pick here. `released` None: it may still be sourced from elsewhere."""

    order_id: str
    released: Released | None
    classes: list[str]
    lines: int
    left: int
    picked: int

    @property
    def leaves_at(self) -> datetime | None:
        """The cut-off to make; None where nobody said."""
        return self.released.leaves_at if self.released is not None else None


class Floor(msgspec.Struct, frozen=True):
    """What there is to do at a site. `stray`: picks of orders that want nothing from here any more."""

    now: list[Waiting]
    later: list[Waiting]
    stray: list[Pick]


class Picked(msgspec.Struct, frozen=True):
    """Goods taken for an order, and what keeps them here: `why`, or nothing."""

    pick: Pick
    location_id: str
    why: str


class PickList(msgspec.Struct, frozen=True):
    """One order's work: where to go next, what is picked, what nobody here can give."""

    work: Work
    released: Released | None
    stops: list[Stop]
    missing: list[Missing]
    picked: list[Picked]

    @property
    def blocked(self) -> bool:
        """Whether something that was picked cannot leave."""
        return any(one.why for one in self.picked if one.pick.qty)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to take."""
        return not self.stops


# --- The orders -----------------------------------------------------------------


def floor_of(db: Reader, site_id: str) -> Floor:
    """Return what there is to do at a site: the next to leave first."""
    open_: dict[str, list[Promise]] = {}
    for zone in zones_of(db, site_id):
        for promise in promised_on(db, zone.zone_id):
            open_.setdefault(promise.order_id, []).append(promise)
    picks: dict[str, list[Pick]] = {}
    for one in picks_at(db, site_id):
        picks.setdefault(one.order_id, []).append(one)
    gone: dict[str, list[SentGoods]] = {}
    for sent in unsettled(db, site_id, sorted(open_)):
        gone.setdefault(sent.order_id, []).append(sent)
    releases = releases_of(db, site_id, sorted(open_))
    rows, busy = [], set()
    for order_id, promises in open_.items():
        work = count_work(promises, gone.get(order_id, []), picks.get(order_id, []))
        if work.due:
            busy.add(order_id)
            rows.append(_waiting(db, order_id, work, releases.get(order_id)))
    rows.sort(key=_turn)
    return Floor(
        now=[row for row in rows if row.released is not None or row.picked],
        later=[row for row in rows if row.released is None and not row.picked],
        stray=[one for order_id, some in picks.items() if order_id not in busy for one in some if one.qty],
    )


def _waiting(db: Reader, order_id: str, work: Work, released: Released | None) -> Waiting:
    classes = {_class_of(db, one.product_id) for one in work.due}
    return Waiting(
        order_id=order_id,
        released=released,
        classes=sorted(classes),
        lines=len({one.line_no for one in work.due}),
        left=sum(one.open_qty for one in work.left),
        picked=sum(one.qty for one in work.picks),
    )


def _turn(row: Waiting) -> tuple[bool, float, str]:
    at = row.leaves_at
    return row.released is None, at.timestamp() if at is not None else float("inf"), row.order_id


def _class_of(db: Reader, product_id: str) -> str:
    found = product_of(db, product_id)
    return found.temperature_class.value if found is not None else ""


def product_of(db: Reader, product_id: str) -> Product | None:
    """Return a product; None where this host does not know it yet."""
    try:
        return get_product(db, product_id)
    except ProductNotFound:
        return None


# --- One order ------------------------------------------------------------------


def pick_list(db: Reader, site_id: str, order_id: str) -> PickList:
    """Return one order's pick list at a site."""
    work = work_of(db, site_id, order_id)
    lots = sorted({one.lot_id for one in work.left})
    units = [unit for lot in lots for unit in units_of_lot(db, lot) if unit.site_id == site_id]
    taken: dict[str, int] = {}
    for one in picks_from(db, site_id, [unit.sscc for unit in units]):
        taken[one.sscc] = taken.get(one.sscc, 0) + one.qty
    closed = {one.sscc for one in work.picks if one.short}
    stops, missing = decide_stops(work.left, units, taken, closed)
    return PickList(
        work=work,
        released=releases_of(db, site_id, [order_id]).get(order_id),
        stops=stops,
        missing=missing,
        picked=_picked(db, site_id, work.picks),
    )


def _picked(db: Reader, site_id: str, picks: Sequence[Pick]) -> list[Picked]:
    ssccs = [one.sscc for one in picks]
    units = {unit.sscc: unit for unit in get_units(db, site_id, ssccs)}
    holds = holds_on(db, site_id, ssccs)
    return [
        Picked(one, units[one.sscc].location_id, why_stays(units[one.sscc], one, holds.get(one.sscc, [])))
        for one in picks
    ]


def why_stays(unit: Unit, pick: Pick, holds: Sequence[Hold]) -> str:
    """Return what keeps picked goods from leaving; "" where nothing does."""
    for hold in holds:
        return f"Held: {hold.reason.replace('_', ' ')}, ended by {hold.role.replace('_', ' ')}."
    if unit.status is not UnitStatus.AVAILABLE:
        return f"Not available: {unit.status.value}."
    if unit.qty < pick.qty:
        return f"The books have {unit.qty} on it."
    return ""


def scanned(db: Reader, site_id: str, text: str, found: PickList) -> tuple[Unit | None, str]:
    """Return the unit that a scan or a typed text means for a pick list; else why it means none."""
    scan = read_scan(text)
    if scan.wrong:
        return None, scan.wrong
    if scan.sscc:
        unit = find_unit(db, site_id, scan.sscc)
        return unit, "" if unit else f"No unit {scan.sscc} was ever at {site_id}. {AGAIN}"
    ssccs = [*(one.sscc for one in found.stops), *(one.pick.sscc for one in found.picked)]
    name = scan.lot or scan.name.strip().upper()
    lots = {one.sscc: one.lot_id for one in found.stops} | {
        one.pick.sscc: one.pick.lot_id for one in found.picked
    }
    named = [sscc for sscc in ssccs if name and name in (lots[sscc].upper(), lots[sscc])]
    if not named and scan.name and len(name) >= 4:
        named = [sscc for sscc in ssccs if sscc.endswith(name)]
    if named:
        return find_unit(db, site_id, named[0]), ""
    if scan.gtin and not scan.lot:
        return None, "That label names the product alone. Scan the one with the lot or the pallet's number."
    wanted = ", ".join(dict.fromkeys(one.lot_id for one in found.stops))
    told = f"{name[:80]} is neither a unit nor a lot of this list."
    return None, f"{told} Take lot {wanted}." if wanted else f"{told} {AGAIN}"
