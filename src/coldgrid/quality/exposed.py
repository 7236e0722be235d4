"""Exposed goods: units that stood in air out of its band, and what had left, as events hold them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from coldgrid.quality.exposure import Verdict


class ExposedUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A handling unit that stood there, with what that did to it. `left_at` None: it stands there now.

    `peak_c`, `coldest_c`: the warm and cold edge of its estimate, None where nothing is known. `spent_min`:
    minutes of its life budgets, by limit id, spent in this excursion.
    """

    sscc: str
    product_id: str
    lot_id: str
    owner: str
    qty: int
    location_id: str
    arrived_at: datetime
    left_at: datetime | None = None
    verdict: Verdict
    why: str
    outside_min: float
    outside_longest_min: float
    peak_c: float | None
    coldest_c: float | None
    mkt_c: float | None = None
    unknown_min: float = 0.0
    thawed_at: datetime | None = None
    spent_min: dict[str, float] = msgspec.field(default_factory=dict)
    value_cents: int


class ShippedUnit(msgspec.Struct, frozen=True, kw_only=True):
    """Goods that left after the last good reading: with a dispatch for an order, or with a transfer."""

    sscc: str
    product_id: str
    lot_id: str
    qty: int
    dispatch_id: str = ""
    transfer_id: str = ""
    order_id: str = ""
    at: datetime
    verdict: Verdict
    why: str
    peak_c: float | None = None


class Assessed(msgspec.Struct, frozen=True):
    """What readings and stays say of a place: the units still in the building, and those gone."""

    units: tuple[ExposedUnit, ...]
    shipped: tuple[ShippedUnit, ...]


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What an excursion is about. `locations`: what the alarmed sensor covers; empty for the whole zone."""

    site_id: str
    zone_id: str
    locations: tuple[str, ...] = ()
    from_at: datetime
