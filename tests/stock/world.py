"""A small world for the tests of stock: two sites, goods in a freezer, and an order that only asks."""

from __future__ import annotations

from datetime import date
from typing import Any

from coldgrid.catalog.lots import RegisterLot
from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.decisions import Decision
from coldgrid.stock import promises
from coldgrid.stock.dispatch import DispatchGoods, DispatchLine
from coldgrid.stock.hold_facts import Disposition, HoldReason
from coldgrid.stock.holds import PlaceHold, ReleaseHold
from coldgrid.stock.index import PromisableIndex
from coldgrid.stock.movements import ReceiveUnit
from coldgrid.stock.promises import Allocation
from coldgrid.stock.units import PackLevel, make_sscc
from tests.conftest import Kernel
from tests.network import master

SITE, OTHER = "ATL1", "CLT1"
FREEZER, CHILLER, FAR = "ATL1-FRZ1", "ATL1-CHL1", "CLT1-FRZ1"
BULK, PICK, QUARANTINE = "ATL1-FRZ1-A01-02", "ATL1-FRZ1-A01-03", "ATL1-FRZ1-QRN-01"
COOL, AWAY = "ATL1-CHL1-A01-01", "CLT1-FRZ1-A01-01"
ICE, MILK = "ICE-VAN-1L", "MLK-WHL-1L"
LOT, LATER = "L-2601", "L-2602"
EXPIRES, EXPIRES_LATER = date(2026, 6, 1), date(2026, 9, 1)
QUALITY = {"quality"}


def sscc(serial: int) -> str:
    return make_sscc("10614141", serial)


PALLET, SECOND, THIRD = sscc(1), sscc(2), sscc(3)


class Ask(Command, frozen=True, tag="test.ask"):
    """Promise whatever a test names."""

    order_id: str
    allocations: list[Allocation]
    again: bool = False


class GiveBack(Command, frozen=True, tag="test.give_back"):
    order_id: str
    line_nos: list[int] | None = None


@handles(Ask, action="test.ask", owner=Owner.NETWORK)
def _ask(tx: Tx, command: Ask) -> None:
    why = Decision(
        decision_id=f"d-{command.order_id}", kind="test", policy="p-1", outcome="ATL1", why="asked"
    )
    if command.again:
        open_ = promises.open_promises_of(tx, command.order_id)
        promises.move(tx, command.order_id, open_, command.allocations, why, cause_id="test")
    else:
        promises.promise(tx, command.order_id, command.allocations, why)


@handles(GiveBack, action="test.give_back", owner=Owner.NETWORK)
def _give_back(tx: Tx, command: GiveBack) -> None:
    promises.release(tx, command.order_id, "cancelled", line_nos=command.line_nos)


def open_world(kernel: Kernel) -> None:
    """Put both sites, their places, two products and two lots in force."""
    places = [BULK, PICK, COOL, AWAY]
    master.put_in_force(
        kernel,
        master.group(),
        master.site(),
        master.site(OTHER, city="Charlotte", region="NC", lat=35.2, lon=-80.8),
        *(master.zone(zone_id) for zone_id in (FREEZER, CHILLER, FAR)),
        *(master.location(place) for place in places),
        master.location(QUARANTINE, location_kind="quarantine"),
        master.product(ICE, "09521000000018"),
        master.product(MILK, "09521000000025", name="Whole milk 1 l", temperature_class="chilled"),
    )
    for lot_id, product_id, until in (
        (LOT, ICE, EXPIRES),
        (LATER, ICE, EXPIRES_LATER),
        ("L-M1", MILK, EXPIRES),
    ):
        kernel.do(
            RegisterLot(
                site_id=SITE,
                lot_id=lot_id,
                product_id=product_id,
                tlc=f"TLC-{lot_id}",
                tlc_source="Dairy 7",
                produced_on=date(2026, 1, 5),
                expires_on=until,
            )
        )


def receive(code: str = PALLET, qty: int = 100, **fields: Any) -> ReceiveUnit:
    raw: dict[str, Any] = {
        "site_id": SITE,
        "location_id": BULK,
        "product_id": ICE,
        "lot_id": LOT,
        "pack_level": PackLevel.PALLET,
        "reference": "PO-1",
    }
    return ReceiveUnit(sscc=code, qty=qty, **{**raw, **fields})


def carrier(code: str, **fields: Any) -> ReceiveUnit:
    return receive(code, 0, product_id="", lot_id="", **fields)


def hold(hold_id: str = "h1", *codes: str, **fields: Any) -> PlaceHold:
    raw: dict[str, Any] = {"site_id": SITE, "reason": HoldReason.TEMPERATURE_EXCURSION, "cause_id": "x1"}
    return PlaceHold(hold_id=hold_id, sscc=codes, **{**raw, **fields})


def release(hold_id: str = "h1", *codes: str, **fields: Any) -> ReleaseHold:
    raw: dict[str, Any] = {"disposition": Disposition.RELEASE, "evidence_id": "ev1", "site_id": SITE}
    return ReleaseHold(hold_id=hold_id, sscc=codes, **{**raw, **fields})


def dispatch(dispatch_id: str, *lines: tuple[str, int], order_id: str = "o1") -> DispatchGoods:
    wanted = tuple(DispatchLine(sscc=code, qty=qty) for code, qty in lines)
    return DispatchGoods(site_id=SITE, dispatch_id=dispatch_id, order_id=order_id, lines=wanted)


def goods(qty: int, **fields: Any) -> Allocation:
    raw: dict[str, Any] = {
        "line_no": 1,
        "site_id": SITE,
        "product_id": ICE,
        "owner": "COLDGRID",
        "lot_id": LOT,
        "zone_id": FREEZER,
        "expires_on": EXPIRES,
    }
    return Allocation(qty=qty, **{**raw, **fields})


def index(kernel: Kernel) -> PromisableIndex:
    hot: PromisableIndex = kernel.decider.shared.hot[PromisableIndex]
    return hot


def promisable(kernel: Kernel, **fields: Any) -> int:
    bucket = index(kernel).bucket(goods(1, **fields).key)
    return 0 if bucket is None else bucket.promisable


def check_everything(kernel: Kernel) -> None:
    """What holds after any history: rebuild equals live, and hot state equals a fresh load."""
    kernel.rebuild()
    assert index(kernel).snapshot() == PromisableIndex.load(kernel.reader()).snapshot()
