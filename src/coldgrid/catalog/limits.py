"""Storage limits: what a product tolerates, row by row, each with the document that says so.

Invariants
    M1  Every row names its source document; there is no default and no row of unknown origin.
    M2  Mean kinetic temperature is for pharmaceuticals above freezing, never for food or frozen goods.
    M3  A row has exactly the bounds that its kind needs.

Kinds
    range              what the label or the law asks for; low_c, high_c or both.
    single_excursion   beyond the bound for at most `minutes` in one go (without minutes: not at all).
    cumulative         beyond the bound for at most `minutes` in all its life.
    freeze             colder than low_c it freezes, warmer than high_c it thaws: at once, and for good.
    mkt                mean kinetic temperature at most high_c over every window of `minutes`.

Bounds are inclusive, in degrees Celsius.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.catalog.products import Product, Regime, get_product
from coldgrid.kernel.events import Event
from coldgrid.kernel.kept import Kept
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.rejections import NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.changes import known
from coldgrid.network.items import Batch, register_item
from coldgrid.network.names import Standard
from coldgrid.network.sites import EVERY_SITE, TemperatureClass

# --- Vocabulary -----------------------------------------------------------------


class LimitKind(StrEnum):
    """What a row bounds."""

    RANGE = "range"
    SINGLE_EXCURSION = "single_excursion"
    CUMULATIVE = "cumulative"
    FREEZE = "freeze"
    MKT = "mkt"


CODES = {
    LimitKind.RANGE: "RANGE",
    LimitKind.SINGLE_EXCURSION: "SINGLE",
    LimitKind.CUMULATIVE: "CUMUL",
    LimitKind.FREEZE: "FREEZE",
    LimitKind.MKT: "MKT",
}
LIMIT = Standard(
    "limit",
    rf"[A-Z]{{2,6}}(?:-[A-Z0-9]{{1,6}}){{1,4}}\.(?:{'|'.join(CODES.values())})(?:-[2-9])?",
    "ICE-VAN-1L.RANGE",
    f"the product, a dot, one of {', '.join(CODES.values())}, then -2 to -9 for a second row of the kind",
    rf"(?P<product>.+)-(?P<code>{'|'.join(CODES.values())})(?P<again>-[2-9])?",
    lambda match: f"{match['product']}.{match['code']}{match['again'] or ''}",
)

Degrees = Annotated[float, msgspec.Meta(ge=-200, le=100)]


class StorageLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One row of what a product tolerates. `source`: document and section; `note`: what it says there.

    An inactive row no longer counts.
    """

    limit_id: str
    product_id: str
    kind: LimitKind = msgspec.field(name="limit_kind")
    low_c: Degrees | None = None
    high_c: Degrees | None = None
    minutes: Annotated[float, msgspec.Meta(gt=0, le=5_300_000)] | None = None
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    note: Annotated[str, msgspec.Meta(max_length=400)] = ""
    active: bool = True


# --- Events ---------------------------------------------------------------------


class LimitDefined(Event, frozen=True, tag="catalog.limit_defined"):
    """A row of a product's limits was written, or changed."""

    limit: StorageLimit


class LimitNotFound(NotFound):
    """There is no such storage limit."""


# --- Table and projection -------------------------------------------------------

catalog_limit = sa.Table(
    "catalog_limit",
    metadata,
    sa.Column("limit_id", sa.Text, primary_key=True),
    sa.Column("product_id", sa.Text, nullable=False, index=True),
    sa.Column("kind", Named(LimitKind), nullable=False),
    sa.Column("low_c", sa.Float),
    sa.Column("high_c", sa.Float),
    sa.Column("minutes", sa.Float),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    info={"origin": "network"},
)
_DEFINE = Statement(upsert(catalog_limit, keys=["limit_id"], set_=StorageLimit.__struct_fields__[1:]))


@hot_state
class KeptLimits(Kept[list[StorageLimit]]):
    """The rows that count of each product that the decider asked for."""


@projects(LimitDefined)
def _keep_limit(tx: Tx, event: LimitDefined) -> None:
    KeptLimits.drop(tx, event.limit.product_id)
    tx.write(_DEFINE, **msgspec.structs.asdict(event.limit))


# --- Decisions (pure) -----------------------------------------------------------


def problems_of(limit: StorageLimit, product: Product | None) -> list[Problem]:
    """Return what is wrong with a row for a product (M1 to M3); without a product, on its own."""
    problems = LIMIT.check("limit_id", limit.limit_id)
    if not problems and not limit.limit_id.startswith(f"{limit.product_id}.{CODES[limit.kind]}"):
        fix = f"did you mean {limit.product_id}.{CODES[limit.kind]}?"
        problems.append(Problem(field="limit_id", message="is not named after product and kind", fix=fix))
    if not limit.source.strip():
        problems.append(
            Problem(field="source", message="is empty", fix="the document and section it is from")
        )
    if product is not None and limit.kind is LimitKind.MKT:
        problems += _mkt_problems(product)
    return [*problems, *_bound_problems(limit)]


def _mkt_problems(product: Product) -> Iterator[Problem]:
    if product.regime is Regime.PHARMA and product.temperature_class is not TemperatureClass.FROZEN:
        return
    told = f"{product.temperature_class} {product.regime}"
    message = f"mean kinetic temperature does not apply to {told}"
    yield Problem(field="limit_kind", message=message, fix="a single_excursion or cumulative row")


def _bound_problems(limit: StorageLimit) -> Iterator[Problem]:
    low_c, high_c, kind = limit.low_c, limit.high_c, limit.kind
    if low_c is None and high_c is None:
        yield Problem(field="high_c", message="a limit has low_c, high_c or both")
    elif low_c is not None and high_c is not None and low_c >= high_c:
        yield Problem(field="low_c", message=f"{low_c:g} °C is not below high_c {high_c:g} °C")
    if kind is LimitKind.MKT and (high_c is None or low_c is not None):
        yield Problem(field="high_c", message="mkt has high_c alone")
    needs_minutes = kind in {LimitKind.CUMULATIVE, LimitKind.MKT}
    refuses_minutes = kind in {LimitKind.RANGE, LimitKind.FREEZE}
    if needs_minutes and limit.minutes is None:
        yield Problem(field="minutes", message=f"is missing: {kind} is a time")
    if refuses_minutes and limit.minutes is not None:
        fix = "write the tolerated time as a single_excursion or cumulative row"
        yield Problem(field="minutes", message=f"{kind} has no minutes", fix=fix)


def fits_band(limits: Sequence[StorageLimit], low_c: float, high_c: float) -> bool:
    """Tell whether goods with these limits may be kept in a zone of this band: it lies within every range.

    A zone whose band reaches beyond a freeze row does not fit either. Goods without a range fit nowhere:
    nobody said what they tolerate.
    """
    bounds = [limit for limit in limits if limit.kind in {LimitKind.RANGE, LimitKind.FREEZE}]
    if all(limit.kind is not LimitKind.RANGE for limit in bounds):
        return False
    return all(
        (limit.low_c is None or limit.low_c <= low_c) and (limit.high_c is None or high_c <= limit.high_c)
        for limit in bounds
    )


# --- Items ----------------------------------------------------------------------


def _check(db: Reader, limit: StorageLimit, batch: Batch) -> list[Problem]:
    product: Product | None = batch.get("product", limit.product_id)
    if product is None and not batch.has("product", limit.product_id):
        if not known(db, batch, "product", limit.product_id):
            message = f"there is no product {limit.product_id!r}"
            return [*problems_of(limit, None), Problem(field="product_id", message=message)]
        product = get_product(db, limit.product_id)
    return problems_of(limit, product)


def _define(tx: Tx, limit: StorageLimit) -> None:
    tx.record(f"limit/{limit.limit_id}", LimitDefined(limit=limit), audience=EVERY_SITE)


register_item("limit", StorageLimit, _check, _define)

# --- Queries --------------------------------------------------------------------


def _limit(*row: object) -> StorageLimit:
    return StorageLimit(**dict(zip(StorageLimit.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_LIMITS = sa.select(*(catalog_limit.c[name] for name in StorageLimit.__struct_fields__))
_GET = Statement(_LIMITS.where(catalog_limit.c.limit_id == sa.bindparam("limit_id")), into=_limit)
_OF_PRODUCT = Statement(
    _LIMITS.where(catalog_limit.c.product_id == sa.bindparam("product_id"))
    .where(catalog_limit.c.active.is_(True))
    .order_by(catalog_limit.c.limit_id),
    into=_limit,
)
_RANGES = Statement(
    sa.select(catalog_limit.c.product_id, catalog_limit.c.low_c, catalog_limit.c.high_c)
    .where(catalog_limit.c.product_id.in_(sa.bindparam("product_ids", expanding=True)))
    .where(catalog_limit.c.kind == LimitKind.RANGE.value, catalog_limit.c.active.is_(True))
)


def get_limit(db: Reader, limit_id: str) -> StorageLimit:
    """Return one row, active or not.

    Raises:
        LimitNotFound: there is none of this id.
    """
    limit = db.one(_GET, limit_id=limit_id)
    if limit is None:
        raise LimitNotFound(limit_id=limit_id)
    return limit


def limits_of(db: Reader, product_id: str) -> list[StorageLimit]:
    """Return a product's rows that count, by id."""
    return KeptLimits.row(db, product_id, lambda: db.all(_OF_PRODUCT, product_id=product_id))


def ranges_of(db: Reader, product_ids: Sequence[str]) -> dict[str, tuple[float | None, float | None]]:
    """Return the range in which each product is kept, the strictest of its rows; none: left out."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for product_id, low_c, high_c in db.all(_RANGES, product_ids=list(product_ids)):
        low_before_c, high_before_c = found.get(product_id, (None, None))
        lows_c = [value for value in (low_c, low_before_c) if value is not None]
        highs_c = [value for value in (high_c, high_before_c) if value is not None]
        found[product_id] = (max(lows_c, default=None), min(highs_c, default=None))
    return found
