"""Products: what can be stocked, how it is counted and packed, and what it must be kept away from.

Invariants
    P1  Quantities are counted in the base unit; every pack level is a whole number of the level below it.
    P2  A GTIN has a right check digit and names one product at one pack level.
    P3  Who owns the goods is part of every product: a 3PL's client keeps its own.

Weight, volume and value are of one base unit: grams with its retail packaging, millilitres, minor units of
the currency. A catch-weight product is counted in pieces and weighed each time; `weight_g` is then nominal.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.catalog.gtins import gtin_14, gtin_problems
from coldgrid.kernel.events import Event
from coldgrid.kernel.kept import Kept
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.rejections import NotFound, Problem
from coldgrid.kernel.sought import Names
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Json, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network import names
from coldgrid.network.items import Batch, FormHelp, register_item
from coldgrid.network.sites import EVERY_SITE, TemperatureClass

# --- Vocabulary -----------------------------------------------------------------


class BaseUnit(StrEnum):
    """What one of a product is."""

    EACH = "each"
    GRAM = "gram"
    MILLILITRE = "millilitre"


class PackName(StrEnum):
    """Levels of packaging, from the inside out."""

    EACH = "each"
    INNER = "inner"
    CASE = "case"
    LAYER = "layer"
    PALLET = "pallet"


class Regime(StrEnum):
    """Which rules govern the goods. Mean kinetic temperature is for pharma alone."""

    FOOD = "food"
    PHARMA = "pharma"
    GENERAL = "general"


class Allergen(StrEnum):
    """Allergens that must be declared: 21 U.S.C. 321(qq) and Annex II of Regulation (EU) 1169/2011."""

    CELERY = "celery"
    CRUSTACEANS = "crustaceans"
    EGG = "egg"
    FISH = "fish"
    GLUTEN = "gluten"
    LUPIN = "lupin"
    MILK = "milk"
    MOLLUSCS = "molluscs"
    MUSTARD = "mustard"
    PEANUT = "peanut"
    SESAME = "sesame"
    SOY = "soy"
    SULPHITES = "sulphites"
    TREE_NUTS = "tree_nuts"
    WHEAT = "wheat"


class Segregation(StrEnum):
    """What a product is to its neighbours."""

    RAW = "raw"
    READY_TO_EAT = "ready_to_eat"
    ODOUR_SOURCE = "odour_source"
    ODOUR_SENSITIVE = "odour_sensitive"
    DRY_ICE = "dry_ice"


# Pairs that must not stand together, and why.
APART = {
    frozenset({Segregation.RAW, Segregation.READY_TO_EAT}): (
        "raw food is kept apart from ready-to-eat food, and never above it (FDA Food Code 3-302.11(A))"
    ),
    frozenset({Segregation.ODOUR_SOURCE, Segregation.ODOUR_SENSITIVE}): "the odour taints its neighbour",
}

Units = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Gtin = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]


class PackLevel(msgspec.Struct, frozen=True):
    """One level of packaging. `qty`: base units in it; `gtin`: its own number, "" without one."""

    name: PackName
    qty: Units
    gtin: Annotated[str, msgspec.Meta(max_length=32)] = ""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product: one trade item of one owner. An inactive one is no longer received."""

    product_id: str
    gtin: Gtin
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
    owner: str
    regime: Regime = Regime.FOOD
    temperature_class: TemperatureClass
    base_unit: BaseUnit = BaseUnit.EACH
    pack_levels: list[PackLevel]
    catch_weight: bool = False
    shelf_life_days: Annotated[int, msgspec.Meta(ge=1, le=3_660)]
    weight_g: Annotated[int, msgspec.Meta(ge=1, le=50_000_000)]
    volume_ml: Annotated[int, msgspec.Meta(ge=1, le=50_000_000)]
    value_cents: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "USD"
    allergens: list[Allergen] = []
    segregation: list[Segregation] = []
    active: bool = True


# --- Events ---------------------------------------------------------------------


class ProductDefined(Event, frozen=True, tag="catalog.product_defined"):
    """A product was listed, or changed. GTINs are in 14 digits."""

    product: Product


class ProductNotFound(NotFound):
    """There is no such product."""


# --- Tables and projection ------------------------------------------------------

catalog_product = sa.Table(
    "catalog_product",
    metadata,
    sa.Column("product_id", sa.Text, primary_key=True),
    sa.Column("gtin", sa.Text, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("regime", Named(Regime), nullable=False),
    sa.Column("temperature_class", Named(TemperatureClass), nullable=False),
    sa.Column("base_unit", Named(BaseUnit), nullable=False),
    sa.Column("pack_levels", Json(list[PackLevel]), nullable=False),
    sa.Column("catch_weight", sa.Boolean, nullable=False),
    sa.Column("shelf_life_days", sa.BigInteger, nullable=False),
    sa.Column("weight_g", sa.BigInteger, nullable=False),
    sa.Column("volume_ml", sa.BigInteger, nullable=False),
    sa.Column("value_cents", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("allergens", Json(list[Allergen]), nullable=False),
    sa.Column("segregation", Json(list[Segregation]), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    info={"origin": "network"},
)
# Every GTIN of a product, its pack levels' too: a scan finds the product.
catalog_gtin = sa.Table(
    "catalog_gtin",
    metadata,
    sa.Column("gtin", sa.Text, primary_key=True),
    sa.Column("product_id", sa.Text, nullable=False, index=True),
    info={"origin": "network"},
)
_DEFINE = Statement(upsert(catalog_product, keys=["product_id"], set_=Product.__struct_fields__[1:]))
_DROP_GTINS = Statement(catalog_gtin.delete().where(catalog_gtin.c.product_id == sa.bindparam("whose")))
_ADD_GTIN = Statement(upsert(catalog_gtin, keys=["gtin"], set_=["product_id"]))
PRODUCT_NAMES = Names("catalog_product_name", "network", renamed=True)


@hot_state
class KeptProducts(Kept[Product]):
    """Products that the decider asked for."""


@projects(ProductDefined)
def _keep_product(tx: Tx, event: ProductDefined) -> None:
    product = event.product
    KeptProducts.drop(tx, product.product_id)
    tx.write(_DEFINE, **msgspec.structs.asdict(product))
    tx.write(_DROP_GTINS, whose=product.product_id)
    gtins = gtins_of(product)
    for gtin in gtins:
        tx.write(_ADD_GTIN, gtin=gtin, product_id=product.product_id)
    PRODUCT_NAMES.drop(tx, product.product_id)
    printed = [gtin.lstrip("0") for gtin in gtins]
    words = words_of(product.name)
    PRODUCT_NAMES.keep(tx, product.product_id, product.product_id, *gtins, *printed, *words)


# --- Decisions (pure) -----------------------------------------------------------


def words_of(name: str) -> list[str]:
    """Return what a product is looked up by: its name, and what begins at each of its words."""
    words = name.split()
    return [" ".join(words[place:]) for place in range(len(words))]


def gtins_of(product: Product) -> list[str]:
    """Return the GTINs of a product and of its pack levels."""
    return [product.gtin, *(level.gtin for level in product.pack_levels if level.gtin)]


def keep_apart(one: Product, other: Product) -> list[str]:
    """Return why two products must not stand together; nothing where they may."""
    return [
        why
        for pair, why in APART.items()
        if any({a, b} == pair for a in one.segregation for b in other.segregation)
    ]


def problems_of(product: Product) -> list[Problem]:
    """Return what is wrong with a product, whatever else exists (P1, P2)."""
    problems = names.PRODUCT.check("product_id", product.product_id)
    problems += names.OWNER.check("owner", product.owner)
    problems += gtin_problems("gtin", product.gtin)
    for index, level in enumerate(product.pack_levels):
        if level.gtin:
            problems += gtin_problems(f"pack_levels[{index}].gtin", level.gtin)
    return [*problems, *_pack_problems(product)]


def _pack_problems(product: Product) -> Iterator[Problem]:
    order = list(PackName)
    for index, (inner, outer) in enumerate(pairwise(product.pack_levels), start=1):
        field = f"pack_levels[{index}]"
        if order.index(outer.name) <= order.index(inner.name):
            yield Problem(field=f"{field}.name", message=f"{outer.name} does not come after {inner.name}")
        if outer.qty % inner.qty or outer.qty <= inner.qty:
            message = f"{outer.qty} in a {outer.name} is no multiple of {inner.qty} in a {inner.name}"
            yield Problem(field=f"{field}.qty", message=message, fix="count base units at every level")
    if (
        product.pack_levels
        and product.pack_levels[0].name is PackName.EACH
        and product.pack_levels[0].qty != 1
    ):
        yield Problem(field="pack_levels[0].qty", message="an each is one base unit")
    numbers = gtins_of(product)
    if len(set(numbers)) < len(numbers):
        yield Problem(field="pack_levels", message="two pack levels have the same GTIN")


def _normal(product: Product) -> Product:
    levels = [
        msgspec.structs.replace(level, gtin=gtin_14(level.gtin)) if level.gtin else level
        for level in product.pack_levels
    ]
    return msgspec.structs.replace(product, gtin=gtin_14(product.gtin), pack_levels=levels)


# --- Items ----------------------------------------------------------------------


def _check(db: Reader, product: Product, batch: Batch) -> list[Problem]:
    problems = problems_of(product)
    if problems:
        return problems
    numbers = batch.memo("product.gtins", lambda: _products_by_gtin(batch))
    for gtin in gtins_of(_normal(product)):
        if twins := sorted(numbers[gtin] - {product.product_id}):
            message = f"{gtin} is also product {', '.join(twins)} in this change"
            problems.append(Problem(field="gtin", message=message))
        taken = db.value(_BY_GTIN, gtin=gtin)
        # A product that the same change redefines keeps only the numbers that it has there.
        if taken not in {None, product.product_id} and batch.get("product", taken) is None:
            problems.append(Problem(field="gtin", message=f"{gtin} already is product {taken}"))
    return problems


def _products_by_gtin(batch: Batch) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for product in batch.of("product"):
        if not problems_of(product):
            for gtin in gtins_of(_normal(product)):
                found.setdefault(gtin, set()).add(product.product_id)
    return found


def _define(tx: Tx, product: Product) -> None:
    event = ProductDefined(product=_normal(product))
    tx.record(f"product/{product.product_id}", event, audience=EVERY_SITE)


register_item(
    "product",
    Product,
    _check,
    _define,
    form_help=FormHelp(
        hints={
            "gtin": "The number below the bar code, 8 to 14 digits.",
            "pack_levels": "How many base units a case or a pallet holds. Each on a line that begins with -, "
            "like - {name: case, qty: 12}",
            "value_cents": "Of one base unit.",
            "weight_g": "Of one base unit.",
            "volume_ml": "Of one base unit.",
        }
    ),
)

# --- Queries --------------------------------------------------------------------


def _product(*row: object) -> Product:
    return Product(**dict(zip(Product.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_PRODUCTS = sa.select(*(catalog_product.c[name] for name in Product.__struct_fields__))
_GET = Statement(_PRODUCTS.where(catalog_product.c.product_id == sa.bindparam("product_id")), into=_product)
_LIST = Statement(_PRODUCTS.order_by(catalog_product.c.product_id), into=_product)
_BY_GTIN = Statement(sa.select(catalog_gtin.c.product_id).where(catalog_gtin.c.gtin == sa.bindparam("gtin")))


def get_product(db: Reader, product_id: str) -> Product:
    """Return one product.

    Raises:
        ProductNotFound: there is none of this id.
    """
    return KeptProducts.row(db, product_id, lambda: _read(db, product_id))


def _read(db: Reader, product_id: str) -> Product:
    product = db.one(_GET, product_id=product_id)
    if product is None:
        raise ProductNotFound(product_id=product_id)
    return product


def product_by_gtin(db: Reader, gtin: str) -> Product:
    """Return the product that a GTIN of any length, of any pack level, names.

    Raises:
        ProductNotFound: none has it.
        biip.ParseError: it is no GTIN.
    """
    product_id = db.value(_BY_GTIN, gtin=gtin_14(gtin))
    if product_id is None:
        raise ProductNotFound(gtin=gtin)
    return get_product(db, product_id)


def list_products(db: Reader) -> list[Product]:
    """Return every product, by id, the inactive ones too."""
    return db.all(_LIST)
