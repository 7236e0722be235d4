"""Inventory: the handling units of every site, as each site's own facts leave them.

Invariants
    I1  A row belongs to the site that wrote it (site, SSCC), so facts of different sites commute: a pallet
        that went from A to B has a gone row at A and a present one at B, whichever fact arrives first.
    I2  `sellable` was decided with the fact and is only stored here; `qty` of a gone unit is 0.

The table is written by the projections of `movements`, `dispatch`, `transfers`, `splits` and `holds`, through
the functions below; nobody else names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.sought import Names
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Day, Instant, Named, metadata, to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.stock.units import DEPTH_MAX, Line, PackLevel, Unit, UnitNotFound, UnitStatus

# --- Table and writes -----------------------------------------------------------

stock_unit = sa.Table(
    "stock_unit",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("parent_sscc", sa.Text),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("product_id", sa.Text, nullable=False),
    sa.Column("lot_id", sa.Text, nullable=False),
    sa.Column("expires_on", Day, nullable=False),
    sa.Column("pack_level", Named(PackLevel), nullable=False),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("weight_g", sa.BigInteger),
    sa.Column("status", Named(UnitStatus), nullable=False),
    sa.Column("location_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("location_kind", sa.Text, nullable=False),
    sa.Column("arrived_at", Instant, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("open_holds", sa.BigInteger, nullable=False),
    sa.Column("sellable", sa.Boolean, nullable=False),
    sa.Index("ix_stock_unit_zone", "zone_id", "location_id"),
    sa.Index("ix_stock_unit_lot", "lot_id"),
    sa.Index("ix_stock_unit_sscc", "sscc"),
    sa.Index("ix_stock_unit_parent", "parent_sscc"),
    info={"origin": "site"},
)
UNIT_NAMES = Names("stock_unit_name", "site")
_C = stock_unit.c
_COLUMNS = tuple(stock_unit.columns)
_ONE = (_C.site_id == sa.bindparam("of_site"), _C.sscc == sa.bindparam("of_sscc"))

_PUT = Statement(
    upsert(
        stock_unit,
        keys=["site_id", "sscc"],
        set_=[column.name for column in stock_unit.columns if column.name not in ("site_id", "sscc")],
    )
)
_PLACE = Statement(
    stock_unit.update()
    .where(*_ONE)
    .values(
        location_id=sa.bindparam("to_location"),
        zone_id=sa.bindparam("to_zone"),
        location_kind=sa.bindparam("to_kind"),
        arrived_at=sa.bindparam("at"),
        sellable=sa.bindparam("may_sell"),
        parent_sscc=sa.bindparam("parent"),
    )
)
_TAKE_OUT = Statement(
    stock_unit.update()
    .where(*_ONE)
    .values(
        location_id=sa.bindparam("to_location"),
        zone_id="",
        location_kind="virtual",
        arrived_at=sa.bindparam("at"),
        sellable=False,
        parent_sscc=sa.null(),
        qty=0,
        weight_g=sa.null(),
    )
)
_ADD = Statement(
    stock_unit.update()
    .where(*_ONE)
    .values(qty=_C.qty + sa.bindparam("more"), weight_g=_C.weight_g + sa.bindparam("more_g"))
)
assert _ADD.names == ("more", "more_g", "of_site", "of_sscc"), "its rows are written in this order"
_HOLD = Statement(
    stock_unit.update()
    .where(*_ONE)
    .values(open_holds=_C.open_holds + sa.bindparam("more"), sellable=sa.bindparam("may_sell"))
)
_CLEAR_HOLDS = Statement(stock_unit.update().where(*_ONE).values(open_holds=0))
_STATUS = Statement(
    stock_unit.update()
    .where(*_ONE)
    .values(
        status=sa.bindparam("to_status"),
        sellable=sa.bindparam("may_sell"),
        expires_on=sa.bindparam("until"),
    )
)
_NEST = Statement(stock_unit.update().where(*_ONE).values(parent_sscc=sa.bindparam("parent")))


def put_unit(tx: Tx, unit: Unit) -> None:
    """Write a unit as it is now; from projections only."""
    row = (
        unit.site_id,
        unit.sscc,
        unit.parent_sscc,
        unit.owner,
        unit.product_id,
        unit.lot_id,
        unit.expires_on.isoformat(),
        unit.pack_level.value,
        unit.qty,
        unit.weight_g,
        unit.status.value,
        unit.location_id,
        unit.zone_id,
        unit.location_kind,
        to_micros(unit.arrived_at),
        to_micros(unit.received_at),
        unit.open_holds,
        unit.sellable,
    )
    tx.write_row(_PUT, row)
    UNIT_NAMES.keep(tx, unit.sscc, unit.sscc, site_id=unit.site_id)


def place_unit(tx: Tx, site_id: str, line: Line, at: datetime) -> None:
    """Write where a unit stands now."""
    tx.write(
        _PLACE,
        of_site=site_id,
        of_sscc=line.sscc,
        to_location=line.target.location_id,
        to_zone=line.target.zone_id,
        to_kind=line.target.kind,
        at=at,
        may_sell=line.is_sellable,
        parent=line.parent_sscc,
    )


def take_out_unit(tx: Tx, site_id: str, sscc: str, location_id: str, at: datetime) -> None:
    """Write that a unit left the building."""
    tx.write(_TAKE_OUT, of_site=site_id, of_sscc=sscc, to_location=location_id, at=at)


def add_to_unit(tx: Tx, site_id: str, sscc: str, qty: int, weight_g: int | None) -> None:
    """Write that goods came to a unit, or with a negative quantity left it."""
    tx.write_row(_ADD, (qty, weight_g or 0, site_id, sscc))


def count_hold(tx: Tx, site_id: str, sscc: str, more: int, sellable: bool) -> None:
    """Write that a unit's number of open holds changed, and whether it may be sold now."""
    tx.write(_HOLD, of_site=site_id, of_sscc=sscc, more=more, may_sell=sellable)


def clear_holds(tx: Tx, site_id: str, sscc: str) -> None:
    """Write that a unit's holds left with it."""
    tx.write(_CLEAR_HOLDS, of_site=site_id, of_sscc=sscc)


def set_unit_status(
    tx: Tx, site_id: str, sscc: str, *, status: UnitStatus, sellable: bool, expires_on: date
) -> None:
    """Write what a unit is fit for, and until when."""
    tx.write(_STATUS, of_site=site_id, of_sscc=sscc, to_status=status, may_sell=sellable, until=expires_on)


def nest_unit(tx: Tx, site_id: str, sscc: str, parent: str | None) -> None:
    """Write what a unit stands on; None for the floor."""
    tx.write(_NEST, of_site=site_id, of_sscc=sscc, parent=parent)


# --- Queries --------------------------------------------------------------------


class SellableTotal(msgspec.Struct, frozen=True):
    """What may be sold of one lot with one expiry in one zone."""

    product_id: str
    owner: str
    site_id: str
    zone_id: str
    lot_id: str
    expires_on: date
    qty: int


class SiteTotal(msgspec.Struct, frozen=True):
    """Goods of a site in base units, over all products."""

    site_id: str
    units: int
    qty: int
    held_units: int
    for_sale_qty: int


class LotInZone(msgspec.Struct, frozen=True):
    """Goods of one lot with one expiry in one zone, in base units."""

    site_id: str
    zone_id: str
    product_id: str
    owner: str
    lot_id: str
    expires_on: date
    units: int
    qty: int
    held_qty: int
    for_sale_qty: int
    weight_g: int | None


_ORDER = (_C.zone_id, _C.location_id, _C.sscc)
_GET = Statement(sa.select(*_COLUMNS).where(*_ONE), into=Unit)
_EVERYWHERE = Statement(
    sa.select(*_COLUMNS).where(_C.sscc == sa.bindparam("of_sscc")).order_by(_C.received_at, _C.site_id),
    into=Unit,
)
_SOME = Statement(
    sa.select(*_COLUMNS)
    .where(_C.site_id == sa.bindparam("of_site"), _C.sscc.in_(sa.bindparam("ssccs", expanding=True)))
    .order_by(*_ORDER),
    into=Unit,
)
# By parent alone: the planner would rather read the whole site than the index when it is told the site.
_CHILDREN = Statement(
    sa.select(*_COLUMNS).where(_C.parent_sscc.in_(sa.bindparam("parents", expanding=True))), into=Unit
)
_IN_ZONE = Statement(
    sa.select(*_COLUMNS).where(_C.zone_id == sa.bindparam("zone")).order_by(*_ORDER), into=Unit
)
_AT = Statement(
    sa.select(*_COLUMNS)
    .where(_C.zone_id == sa.bindparam("zone"), _C.location_id == sa.bindparam("location"))
    .order_by(_C.sscc),
    into=Unit,
)
_OF_LOT = Statement(
    sa.select(*_COLUMNS).where(_C.lot_id == sa.bindparam("lot")).order_by(_C.site_id, *_ORDER), into=Unit
)
_BUCKET = (_C.product_id, _C.owner, _C.site_id, _C.zone_id, _C.lot_id, _C.expires_on)
_TOTALS = Statement(
    sa.select(*_BUCKET, sa.cast(sa.func.sum(_C.qty), sa.BigInteger))
    .where(_C.sellable.is_(True), _C.qty > 0)
    .group_by(*_BUCKET)
    .order_by(*_BUCKET),
    into=SellableTotal,
)


def _sum(value: sa.ColumnElement[int] | sa.Column[int]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.sum(value), sa.BigInteger)


_HELD_QTY = _sum(sa.case((_C.open_holds > 0, _C.qty), else_=0))
_FOR_SALE_QTY = _sum(sa.case((_C.sellable.is_(True), _C.qty), else_=0))
_BY_SITE = Statement(
    sa.select(
        _C.site_id,
        sa.func.count(),
        _sum(_C.qty),
        _sum(sa.case((_C.open_holds > 0, 1), else_=0)),
        _FOR_SALE_QTY,
    )
    .where(_C.qty > 0)
    .group_by(_C.site_id)
    .order_by(_C.site_id),
    into=SiteTotal,
)
_PLACED = (_C.site_id, _C.zone_id, _C.product_id, _C.owner, _C.lot_id, _C.expires_on)
_BY_ZONE = Statement(
    sa.select(*_PLACED, sa.func.count(), _sum(_C.qty), _HELD_QTY, _FOR_SALE_QTY, _sum(_C.weight_g))
    .where(_C.zone_id.in_(sa.bindparam("zones", expanding=True)), _C.qty > 0)
    .group_by(*_PLACED)
    .order_by(_C.zone_id, _C.product_id, _C.expires_on, _C.lot_id),
    into=LotInZone,
)
_PAGE = Statement(
    sa.select(*_COLUMNS)
    .where(_C.zone_id == sa.bindparam("zone"), _C.sscc > sa.bindparam("after"))
    .order_by(_C.sscc)
    .limit(sa.bindparam("most")),
    into=Unit,
)


def find_unit(db: Reader, site_id: str, sscc: str) -> Unit | None:
    """Return a unit of a site, gone ones too; None where the site never had it."""
    return db.one(_GET, of_site=site_id, of_sscc=sscc)


def get_unit(db: Reader, site_id: str, sscc: str) -> Unit:
    """Return a unit of a site, gone ones too.

    Raises:
        UnitNotFound: the site never had it.
    """
    unit = find_unit(db, site_id, sscc)
    if unit is None:
        raise UnitNotFound(site_id=site_id, sscc=sscc)
    return unit


def units_by_sscc(db: Reader, sscc: str) -> list[Unit]:
    """Return a unit's row at every site that had it, in the order of its receipts."""
    return db.all(_EVERYWHERE, of_sscc=sscc)


def get_units(db: Reader, site_id: str, ssccs: Sequence[str]) -> list[Unit]:
    """Return units of a site by their SSCCs, in the order asked.

    Raises:
        UnitNotFound: naming every SSCC that the site never had.
    """
    found = {unit.sscc: unit for unit in db.all(_SOME, of_site=site_id, ssccs=list(ssccs))} if ssccs else {}
    missing = [sscc for sscc in ssccs if sscc not in found]
    if missing:
        raise UnitNotFound(site_id=site_id, sscc=", ".join(missing))
    return [found[sscc] for sscc in ssccs]


def children_of(db: Reader, site_id: str, *ssccs: str) -> list[Unit]:
    """Return the units of a site that stand on some, by SSCC."""
    found = db.all(_CHILDREN, parents=list(ssccs))
    return sorted((unit for unit in found if unit.site_id == site_id), key=lambda unit: unit.sscc)


def with_nested(db: Reader, units: Sequence[Unit]) -> list[Unit]:
    """Return units of one site and everything that nests in them, each once, parents first."""
    found = {unit.sscc: unit for unit in units}
    level = list(found)
    for _ in range(DEPTH_MAX):
        if not level:
            break
        children = children_of(db, units[0].site_id, *level)
        level = [child.sscc for child in children if child.sscc not in found]
        found.update((child.sscc, child) for child in children if child.sscc not in found)
    return list(found.values())


def units_in_zone(db: Reader, zone_id: str) -> list[Unit]:
    """Return the units that stand in a zone now, carriers of others included."""
    return db.all(_IN_ZONE, zone=zone_id)


def units_at(db: Reader, zone_id: str, location_id: str) -> list[Unit]:
    """Return the units that stand at one location of a zone."""
    return db.all(_AT, zone=zone_id, location=location_id)


def units_of_lot(db: Reader, lot_id: str) -> list[Unit]:
    """Return every unit that holds, or held, goods of a lot."""
    return db.all(_OF_LOT, lot=lot_id)


def sellable_totals(db: Reader) -> list[SellableTotal]:
    """Return what may be sold, by bucket; one pass over the table, for loading the promisable index."""
    return db.all(_TOTALS)


def site_totals(db: Reader) -> list[SiteTotal]:
    """Return the goods of every site that has any."""
    return db.all(_BY_SITE)


def lots_in_zones(db: Reader, zone_ids: Sequence[str]) -> list[LotInZone]:
    """Return the lots in some zones, by zone, product and expiry."""
    return db.all(_BY_ZONE, zones=list(zone_ids)) if zone_ids else []


def zone_units(db: Reader, zone_id: str, after: str, most: int) -> list[Unit]:
    """Return a zone's units by SSCC, those behind `after`: one page of them."""
    return db.all(_PAGE, zone=zone_id, after=after, most=most)
