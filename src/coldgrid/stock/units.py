"""Handling units: what a pallet, case or each is, and when its goods may be sold. Pure.

Invariants
    U1  An SSCC is 18 digits and its last digit checks the others (GS1 General Specifications, 7.9.1).
    U2  A unit nests in one parent, at most `DEPTH_MAX` deep, and stands where its parent stands.
    U3  Quantities are whole base units of the product; weight in grams where it varies (catch weight).
    U4  Goods may be sold when three separate things agree: status available, no open hold, a selling place.

The owner is part of a unit from its first movement: a 3PL's clients share the shelf, never the stock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum

import msgspec

from coldgrid.kernel.rejections import Conflict, Invalid, NotFound, Problem

# --- Vocabulary -----------------------------------------------------------------

DEPTH_MAX = 8
QTY_MAX = 1_000_000_000
# Goods that never expire still take their turn in first-expired-first-out order: last.
NEVER = date(9999, 12, 31)


class PackLevel(StrEnum):
    """How goods are packed, from the outside in."""

    PALLET = "pallet"
    LAYER = "layer"
    CASE = "case"
    TOTE = "tote"
    INNER = "inner"
    EACH = "each"


class UnitStatus(StrEnum):
    """What the goods are fit for, apart from holds and from where they stand."""

    AVAILABLE = "available"
    INSPECT = "inspect"
    REWORK = "rework"
    RETURN = "return"
    DONATE = "donate"
    CONDEMNED = "condemned"


class Virtual(StrEnum):
    """The places beyond the shelves. Goods come from one and go to one; nothing appears or vanishes."""

    SUPPLIER = "SUPPLIER"
    CUSTOMER = "CUSTOMER"
    TRANSIT = "TRANSIT"
    ADJUSTMENT = "ADJUSTMENT"
    DESTROYED = "DESTROYED"
    DONATED = "DONATED"
    PRODUCTION = "PRODUCTION"
    MERGED = "MERGED"


# Goods in these kinds of location are counted but not offered.
UNSOLD_KINDS = frozenset({"quarantine", "virtual"})


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where goods stand. `zone_id` is empty beyond the shelves; `kind` is the location's."""

    location_id: str
    zone_id: str = ""
    kind: str = "virtual"

    @property
    def real(self) -> bool:
        """Whether this is a place in the building."""
        return self.zone_id != ""


def beyond(virtual: Virtual) -> Place:
    """Return the place that a virtual location stands for."""
    return Place(virtual.value)


class Unit(msgspec.Struct, frozen=True):
    """A handling unit as readers see it. A gone unit stays on record with `qty` 0 and a virtual place.

    `arrived_at`: since when it stands at its location. `expires_on`: the lot's, or earlier when quality
    reduced it. A unit that only carries others has no product and `qty` 0.
    """

    site_id: str
    sscc: str
    parent_sscc: str | None
    owner: str
    product_id: str
    lot_id: str
    expires_on: date
    pack_level: PackLevel
    qty: int
    weight_g: int | None
    status: UnitStatus
    location_id: str
    zone_id: str
    location_kind: str
    arrived_at: datetime
    received_at: datetime
    open_holds: int
    sellable: bool

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.location_id, self.zone_id, self.location_kind)

    @property
    def present(self) -> bool:
        """Whether it is in the building."""
        return self.zone_id != ""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One movement of goods: from one place to another, both named.

    `qty`: base units, above 0, or 0 for a unit that only carries others. `whole`: the unit went with its
    goods; otherwise a part left it. `since`: from when the goods stood at `origin` (None for virtual places).
    `parent_sscc`: what the unit stands on afterwards. `was_sellable` and `is_sellable`: whether the goods
    could be sold, before and after.
    """

    sscc: str
    owner: str
    product_id: str
    lot_id: str
    expires_on: date
    qty: int
    weight_g: int | None = None
    origin: Place
    target: Place
    since: datetime | None = None
    whole: bool = True
    parent_sscc: str | None = None
    was_sellable: bool = False
    is_sellable: bool = False


# --- Rejections -----------------------------------------------------------------


class UnitNotFound(NotFound):
    """There is no such handling unit at this site."""


class UnitNotPresent(Conflict):
    """The handling unit has left the building."""

    todo = "Look on the unit's page where it went; what is on its way is taken in where it arrives."


class UnitAlreadyPresent(Conflict):
    """A handling unit with this SSCC is in the building already."""

    todo = "Scan the label again; an SSCC is used once."


class UnitCarriesOthers(Conflict):
    """Other units nest in this one; take them off first, or take it with all that it carries."""


class TooFewGoods(Conflict):
    """The handling unit holds less than that."""


# --- Decisions (pure) -----------------------------------------------------------


def check_digit(digits: str) -> int:
    """Return the GS1 check digit of the digits before it: weights 3 and 1 from the right, up to the next ten.

    Raises:
        ValueError: something else than the digits 0 to 9.
    """
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"not digits: {digits!r}")
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return -total % 10


def make_sscc(prefix: str, serial: int) -> str:
    """Return the SSCC of a serial number under an extension digit and company prefix.

    Raises:
        ValueError: they do not fit into 17 digits.
    """
    body = f"{prefix}{serial:0{max(0, 17 - len(prefix))}d}"
    if len(body) != 17:
        raise ValueError(f"serial {serial} does not fit behind {prefix}")
    return f"{body}{check_digit(body)}"


def sscc_problems(sscc: str, field: str = "sscc") -> list[Problem]:
    """Return what is wrong with an SSCC (U1); nothing when it is right."""
    if len(sscc) != 18 or not (sscc.isascii() and sscc.isdigit()):
        return [
            Problem(field=field, message="an SSCC has 18 digits", fix="Scan the label with AI (00) left out.")
        ]
    expected = check_digit(sscc[:-1])
    if int(sscc[-1]) != expected:
        return [
            Problem(field=field, message=f"the check digit must be {expected}", fix="Scan the label again.")
        ]
    return []


def qty_problems(qty: int, field: str = "qty") -> list[Problem]:
    """Return what is wrong with a quantity of goods: 1 to `QTY_MAX` base units (U3)."""
    if 1 <= qty <= QTY_MAX:
        return []
    return [Problem(field=field, message=f"must be between 1 and {QTY_MAX} base units")]


def require(problems: Sequence[Problem]) -> None:
    """Reject with all the problems, if there are any."""
    if problems:
        raise Invalid(problems=problems)


def may_sell(status: UnitStatus, open_holds: int, place: Place) -> bool:
    """Tell whether goods may be offered (U4); expiry, pauses and the site's mode weigh in when promising."""
    return (
        status is UnitStatus.AVAILABLE and open_holds == 0 and place.real and place.kind not in UNSOLD_KINDS
    )


def share_of_weight_g(unit: Unit, qty: int) -> int | None:
    """Return the grams that go with a part of a unit: in proportion, rounded down."""
    if unit.weight_g is None or unit.qty == 0:
        return None
    return unit.weight_g * qty // unit.qty


def line_of(unit: Unit, target: Place, qty: int | None = None) -> Line:
    """Return the movement of a unit, or of a part of it, to another place. It stands on nothing there.

    Raises:
        UnitNotPresent: it is no longer in the building.
        TooFewGoods: it holds less than `qty`.
    """
    if not unit.present:
        raise UnitNotPresent(sscc=unit.sscc, site_id=unit.site_id, gone_to=unit.location_id)
    moved = unit.qty if qty is None else qty
    if moved > unit.qty:
        raise TooFewGoods(sscc=unit.sscc, wanted=moved, holds=unit.qty)
    return Line(
        sscc=unit.sscc,
        owner=unit.owner,
        product_id=unit.product_id,
        lot_id=unit.lot_id,
        expires_on=unit.expires_on,
        qty=moved,
        weight_g=share_of_weight_g(unit, moved),
        origin=unit.place,
        target=target,
        since=unit.arrived_at,
        whole=moved == unit.qty,
        was_sellable=unit.sellable,
        is_sellable=may_sell(unit.status, unit.open_holds, target),
    )


def where_now(rows: Sequence[Unit]) -> Unit:
    """Return the row of the site where a unit is; else of the one that it left last."""
    return next((row for row in rows if row.present), max(rows, key=lambda row: row.arrived_at))


def depth_below(sscc: str, children: Mapping[str, Sequence[str]]) -> int:
    """Return how many levels nest below a unit."""
    return max((1 + depth_below(child, children) for child in children.get(sscc, ())), default=0)
