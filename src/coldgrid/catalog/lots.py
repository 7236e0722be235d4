"""Lots: what was made together, known by the traceability lot code that came with it.

Invariants
    T1  The traceability lot code (TLC) and its source are kept exactly as received and never change.
    T2  A lot is registered where it arrives; the same lot at another site has the same facts. Goods sent to
        another site take what is known of their lots along.
    T3  Every lot has a day on which it expires.

A lot is not a serial and not a handling unit. Shipping never assigns a new code: only growing, packing, first
land-based receiving or transforming does (21 CFR 1.1320); the code's source is who assigned it, as the
shipper's records name them (21 CFR 1.1310, "traceability lot code source").
"""

from __future__ import annotations

import unicodedata
from datetime import date, timedelta
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.catalog.products import Product, get_product
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, NotFound, Problem
from coldgrid.kernel.sought import Names
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Day, metadata
from coldgrid.kernel.tx import Tx

# --- Vocabulary -----------------------------------------------------------------

LotId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Received = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """A lot as it was received. `produced_on` None: the supplier did not say."""

    lot_id: str
    product_id: str
    tlc: str
    tlc_source: str
    produced_on: date | None
    expires_on: date


# --- Events ---------------------------------------------------------------------


class LotRegistered(Event, frozen=True, tag="catalog.lot_registered"):
    """A lot arrived at a site for the first time."""

    site_id: str
    lot: Lot


# --- Rejections -----------------------------------------------------------------


class LotNotFound(NotFound):
    """There is no such lot."""


class LotDiffers(Conflict):
    """The lot was registered before with other facts; a lot code and its source never change (T1, T2)."""

    todo = "Check the label; goods of another lot get another lot id."


# --- Table and projection -------------------------------------------------------

# By site, so that two sites' facts never overwrite each other whatever order they arrive in.
catalog_lot = sa.Table(
    "catalog_lot",
    metadata,
    sa.Column("lot_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("product_id", sa.Text, nullable=False, index=True),
    sa.Column("tlc", sa.Text, nullable=False, index=True),
    sa.Column("tlc_source", sa.Text, nullable=False),
    sa.Column("produced_on", Day),
    sa.Column("expires_on", Day, nullable=False),
    info={"origin": "site"},
)
_REGISTER = Statement(upsert(catalog_lot, keys=["lot_id", "site_id"]))
LOT_NAMES = Names("catalog_lot_name", "site")


@projects(LotRegistered)
def _keep_lot(tx: Tx, event: LotRegistered) -> None:
    learn_lot(tx, event.site_id, event.lot)


def learn_lot(tx: Tx, site_id: str, lot: Lot) -> None:
    """Keep a lot as a site told it, alone or with goods it sent; from projections of that site's facts."""
    tx.write(_REGISTER, site_id=site_id, **msgspec.structs.asdict(lot))
    LOT_NAMES.keep(tx, lot.lot_id, lot.lot_id)


# --- Decisions (pure) -----------------------------------------------------------


class RegisterLot(Command, frozen=True, tag="catalog.register_lot"):
    """Make a lot known at a site. Without `expires_on` it is the production day plus the shelf life."""

    site_id: str
    lot_id: LotId
    product_id: str
    tlc: Received
    tlc_source: Received
    produced_on: date | None = None
    expires_on: date | None = None


def decide_register(
    command: RegisterLot, product: Product, here: Lot | None, elsewhere: Lot | None
) -> Lot | None:
    """Return the lot to register, or None when this site knows it; or reject (T1 to T3).

    `here`: the lot as this site knows it; `elsewhere`: as any site does.
    """
    problems = [
        Problem(
            field=field, message="has control characters or blanks at its ends", fix="scan the label again"
        )
        for field in ("tlc", "tlc_source")
        if not _printable(getattr(command, field))
    ]
    expires_on = command.expires_on
    if expires_on is None and command.produced_on is not None:
        expires_on = command.produced_on + timedelta(days=product.shelf_life_days)
    if expires_on is None:
        problems.append(Problem(field="expires_on", message="is missing", fix="this day or produced_on"))
    elif command.produced_on is not None and expires_on <= command.produced_on:
        message = f"{expires_on} is not after produced_on {command.produced_on}"
        problems.append(Problem(field="expires_on", message=message))
    if problems or expires_on is None:
        raise Invalid(problems)
    lot = Lot(
        lot_id=command.lot_id,
        product_id=command.product_id,
        tlc=command.tlc,
        tlc_source=command.tlc_source,
        produced_on=command.produced_on,
        expires_on=expires_on,
    )
    known = here or elsewhere
    if known is not None and known != lot:
        raise LotDiffers(lot_id=lot.lot_id, known=msgspec.to_builtins(known))
    return lot if here is None else None


def _printable(text: str) -> bool:
    return text == text.strip() and not any(unicodedata.category(character) == "Cc" for character in text)


# --- Commands -------------------------------------------------------------------


@handles(RegisterLot, action="catalog.register_lot", owner=Owner.SITE)
def register_lot(tx: Tx, command: RegisterLot) -> Lot:
    """Make a lot known; once more with the same facts changes nothing."""
    product = get_product(tx, command.product_id)
    here = tx.one(_AT_SITE, lot_id=command.lot_id, site_id=command.site_id)
    lot = decide_register(command, product, here, tx.one(_GET, lot_id=command.lot_id))
    if lot is None:
        return get_lot(tx, command.lot_id)
    tx.record(f"lot/{command.lot_id}", LotRegistered(site_id=command.site_id, lot=lot))
    return lot


# --- Queries --------------------------------------------------------------------


def _lot(*row: object) -> Lot:
    return Lot(**dict(zip(Lot.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_COLUMNS = [catalog_lot.c[name] for name in Lot.__struct_fields__]
_LOTS = sa.select(*_COLUMNS)
# Should sites ever disagree, every database answers with the first site's facts.
_GET = Statement(
    _LOTS.where(catalog_lot.c.lot_id == sa.bindparam("lot_id")).order_by(catalog_lot.c.site_id).limit(1),
    into=_lot,
)
_AT_SITE = Statement(
    _LOTS.where(catalog_lot.c.lot_id == sa.bindparam("lot_id")).where(
        catalog_lot.c.site_id == sa.bindparam("site_id")
    ),
    into=_lot,
)
_OF_PRODUCT = Statement(
    _LOTS.where(catalog_lot.c.product_id == sa.bindparam("product_id"))
    .distinct()
    .order_by(catalog_lot.c.expires_on, catalog_lot.c.lot_id),
    into=_lot,
)
_BY_TLC = Statement(
    _LOTS.where(catalog_lot.c.tlc == sa.bindparam("tlc")).distinct().order_by(catalog_lot.c.lot_id), into=_lot
)


def get_lot(db: Reader, lot_id: str) -> Lot:
    """Return one lot.

    Raises:
        LotNotFound: there is none of this id.
    """
    lot = db.one(_GET, lot_id=lot_id)
    if lot is None:
        raise LotNotFound(lot_id=lot_id)
    return lot


def lots_of(db: Reader, product_id: str) -> list[Lot]:
    """Return a product's lots, the first to expire first."""
    return db.all(_OF_PRODUCT, product_id=product_id)


def lots_by_tlc(db: Reader, tlc: str) -> list[Lot]:
    """Return the lots with a traceability lot code; two sources may use the same one."""
    return db.all(_BY_TLC, tlc=tlc)
