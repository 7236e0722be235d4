"""Hold facts: why goods are blocked, what ends it, and the events that say so. `holds` decides, see there."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

import msgspec

from coldgrid.kernel.events import Event
from coldgrid.kernel.rejections import NotFound
from coldgrid.stock.units import UnitStatus

# --- Vocabulary -----------------------------------------------------------------


class HoldReason(StrEnum):
    """Why goods are blocked."""

    TEMPERATURE_EXCURSION = "temperature_excursion"
    RECALL = "recall"
    DAMAGE = "damage"
    CUSTOMS = "customs"
    INSURER = "insurer"
    QUALITY = "quality"


class Disposition(StrEnum):
    """What becomes of the goods: the decision that ends a hold."""

    RELEASE = "release"
    REDUCED_LIFE = "reduced_life"
    REWORK = "rework"
    RETURN = "return"
    DONATE = "donate"
    DESTROY = "destroy"


class HeldState(StrEnum):
    """A unit's part in a hold."""

    OPEN = "open"
    RELEASED = "released"
    LEFT = "left"


class HeldUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that a hold blocks, as it was then. `was_sellable`: whether it could be sold until now."""

    sscc: str
    owner: str
    product_id: str
    lot_id: str
    expires_on: date
    qty: int
    location_id: str
    zone_id: str
    was_sellable: bool


class GoneUnit(msgspec.Struct, frozen=True, kw_only=True):
    """Goods that stood in the held place in its time and had left: nobody can hold them here any more."""

    sscc: str
    product_id: str
    lot_id: str
    qty: int
    left_at: datetime
    gone_to: str
    gone_by: str
    order_id: str = ""


class CarriedHold(msgspec.Struct, frozen=True, kw_only=True):
    """An open hold that goes with a unit, with all that its next site must know of it."""

    hold_id: str
    reason: HoldReason
    cause_id: str
    releasing_role: str
    placed_by: str
    placed_at: datetime


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A place over a time. `location_id` "" is the whole zone; `to_at` None: until the hold is released."""

    zone_id: str
    location_id: str = ""
    from_at: datetime
    to_at: datetime | None = None


class ReleasedUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that leaves a hold. `status`, `expires_on` and `is_sellable` are those from now on."""

    sscc: str
    owner: str
    product_id: str
    lot_id: str
    expires_on: date
    qty: int
    zone_id: str
    status: UnitStatus
    is_sellable: bool


# --- Events ---------------------------------------------------------------------


class HoldPlaced(Event, frozen=True, tag="stock.hold_placed"):
    """Units were blocked from allocation and from dispatch to customers. `cause_id`: what it answers.

    `zone_id`: the zone of all units, or "" where they stand in several. `releasing_role`: who may end it.
    """

    hold_id: str
    site_id: str
    zone_id: str
    units: list[HeldUnit]
    reason: HoldReason
    cause_id: str
    releasing_role: str
    gone: list[GoneUnit] = msgspec.field(default_factory=list)
    window: Window | None = None


class HoldExtended(Event, frozen=True, tag="stock.hold_extended"):
    """Units joined an open hold: they arrived where it is, split from a held unit, or came held."""

    hold_id: str
    site_id: str
    zone_id: str
    units: list[HeldUnit]
    reason: HoldReason
    cause_id: str
    releasing_role: str
    placed_by: str
    placed_at: datetime
    why: str


class HoldReleased(Event, frozen=True, tag="stock.hold_released"):
    """A person decided what becomes of held units. `ended`: nothing is left in it, its place is free."""

    hold_id: str
    site_id: str
    zone_id: str
    units: list[ReleasedUnit]
    disposition: Disposition
    evidence_id: str
    released_by: str
    ended: bool


class HoldNotFound(NotFound):
    """There is no such hold at this site."""
