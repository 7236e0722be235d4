"""Receiving: a supplier's pallet is taken in with its temperature, in one commit.

Invariants
    E1  Goods that are kept in a range are taken in with the temperature of the product, read by hand.
    E2  Goods outside their range on arrival are taken in and held for their temperature at once: quality
        decides. That they came so is on record, and nobody can promise them meanwhile.
    E3  Expired goods are taken in to quarantine only.

The unit, its lot, the reading and the hold are the facts of the rooms that own them.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

import msgspec

from coldgrid.catalog.limits import ranges_of
from coldgrid.catalog.lots import Lot, LotId, LotNotFound, RegisterLot, get_lot
from coldgrid.catalog.products import get_product
from coldgrid.kernel.events import Command
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Problem
from coldgrid.kernel.tx import Tx
from coldgrid.quality.hand_readings import Probed, RecordHandReading
from coldgrid.stock.hold_facts import HoldReason
from coldgrid.stock.holds import PlaceHold
from coldgrid.stock.movements import ReceiveUnit, place_at
from coldgrid.stock.units import UNSOLD_KINDS, Place, require

Text = Annotated[str, msgspec.Meta(max_length=100)]


class ReceiveGoods(Command, frozen=True, kw_only=True, tag="warehouse.receive_goods"):
    """Ask to take a supplier's unit in, with its lot where that is new, and its temperature.

    `tlc`: the traceability lot code as received, "" where it is the lot's number; `tlc_source`: its source.
    `value_c`: of the product, by `probe_id`.
    """

    site_id: str
    sscc: str
    location_id: str
    product_id: str
    lot_id: LotId
    qty: int
    expires_on: date | None = None
    produced_on: date | None = None
    tlc: Text = ""
    tlc_source: Text = ""
    weight_g: int | None = None
    reference: Text = ""
    value_c: Probed | None = None
    probe_id: Annotated[str, msgspec.Meta(max_length=60)] = ""
    other_class: bool = False


class Receipt(msgspec.Struct, frozen=True):
    """A unit that was taken in. `hold_id`: its hold, where it came too warm or too cold."""

    sscc: str
    location_id: str
    qty: int
    hold_id: str


Range = tuple[float | None, float | None]


# --- Decisions (pure) -----------------------------------------------------------


def check_receipt(
    command: ReceiveGoods, place: Place, kept: Range | None, known: Lot | None, today: date
) -> list[Problem]:
    """Return what is wrong with a receipt (E1, E3), beside what stock and the catalog find."""
    problems = []
    if kept is not None and command.value_c is None:
        fix = f"measure it: {command.product_id} is kept at {_in_words(kept)}"
        problems.append(Problem(field="value_c", message="the temperature of the goods is missing", fix=fix))
    if command.value_c is not None and not command.probe_id.strip():
        problems.append(Problem(field="probe_id", message="is missing", fix="the number on the probe"))
    if known is None and not command.tlc_source.strip():
        fix = "who made the lot, as the delivery note says"
        problems.append(Problem(field="tlc_source", message="is missing: the lot is new here", fix=fix))
    if known is not None and command.expires_on not in (None, known.expires_on):
        message = f"{known.lot_id} expires on {known.expires_on}, as it was registered"
        problems.append(Problem(field="expires_on", message=message, fix="check the label and the lot"))
    until = known.expires_on if known is not None else command.expires_on
    if until is not None and until < today and place.kind not in UNSOLD_KINDS:
        fix = "refuse the goods, or take them in to a place of quarantine"
        problems.append(Problem(field="expires_on", message=f"the goods expired on {until}", fix=fix))
    return problems


def is_outside(kept: Range | None, value_c: float | None) -> bool:
    """Tell whether goods came outside their range (E2); both ends of it are within."""
    if kept is None or value_c is None:
        return False
    low_c, high_c = kept
    return (low_c is not None and value_c < low_c) or (high_c is not None and value_c > high_c)


def _in_words(kept: Range) -> str:
    low_c, high_c = kept
    if low_c is None:
        return f"{high_c:g} °C or colder"
    return f"{low_c:g} °C or warmer" if high_c is None else f"{low_c:g} to {high_c:g} °C"


# --- Command --------------------------------------------------------------------


@handles(ReceiveGoods, action="stock.receive_unit", owner=Owner.SITE)
def receive_goods(tx: Tx, command: ReceiveGoods) -> Receipt:
    """Take a supplier's unit in; hold it at once where it came outside its range (E2)."""
    get_product(tx, command.product_id)
    place = place_at(tx, command.site_id, command.location_id)
    kept, known = ranges_of(tx, [command.product_id]).get(command.product_id), find_lot(tx, command.lot_id)
    require(check_receipt(command, place, kept, known, tx.now.date()))
    if known is None:
        tx.run(
            RegisterLot(
                site_id=command.site_id,
                lot_id=command.lot_id,
                product_id=command.product_id,
                tlc=command.tlc.strip() or command.lot_id,
                tlc_source=command.tlc_source.strip(),
                produced_on=command.produced_on,
                expires_on=command.expires_on,
            )
        )
    tx.run(
        ReceiveUnit(
            site_id=command.site_id,
            sscc=command.sscc,
            location_id=command.location_id,
            product_id=command.product_id,
            lot_id=command.lot_id,
            qty=command.qty,
            weight_g=command.weight_g,
            reference=command.reference.strip(),
            other_class=command.other_class,
        )
    )
    reading_id = _record(tx, command, place)
    hold_id = _hold(tx, command, reading_id) if is_outside(kept, command.value_c) else ""
    return Receipt(command.sscc, command.location_id, command.qty, hold_id)


def _record(tx: Tx, command: ReceiveGoods, place: Place) -> str:
    """Put the temperature on arrival on record; return the reading's id, "" where none was taken."""
    if command.value_c is None:
        return ""
    reading_id = derive_id("reading", command.site_id, command.sscc, "receipt", tx.now.isoformat())
    tx.run(
        RecordHandReading(
            site_id=command.site_id,
            reading_id=reading_id,
            zone_id=place.zone_id,
            location_id=place.location_id,
            sscc=command.sscc,
            value_c=command.value_c,
            probe_id=command.probe_id.strip(),
            note=f"on arrival {command.reference}".strip(),
        )
    )
    return reading_id


def _hold(tx: Tx, command: ReceiveGoods, reading_id: str) -> str:
    hold_id = derive_id("hold", command.site_id, reading_id)
    tx.run(
        PlaceHold(
            site_id=command.site_id,
            hold_id=hold_id,
            reason=HoldReason.TEMPERATURE_EXCURSION,
            cause_id=reading_id,
            sscc=(command.sscc,),
        )
    )
    return hold_id


def find_lot(db: Reader, lot_id: str) -> Lot | None:
    """Return a lot that is known here, or None."""
    try:
        return get_lot(db, lot_id)
    except LotNotFound:
        return None
