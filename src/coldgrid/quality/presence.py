"""Presence: whether what an excursion names still stands there, and where it is now. Reads only.

An excursion stays open while its zone is not proven cold, so that goods that arrive are named; that alone
does not say that anything still is exposed.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.quality.excursions import Excursion, exposed_units
from coldgrid.quality.zone_now import zone_now
from coldgrid.stock.inventory import units_by_sscc, units_in_zone
from coldgrid.stock.transfer_book import on_the_way


class Exposing(StrEnum):
    """What is true of an excursion now."""

    EXPOSED = "exposed"
    COOLING = "cooling"
    LEFT = "left"
    OVER = "over"


class Presence(msgspec.Struct, frozen=True):
    """`here`: how many of the `named` units stand in the zone of the excursion while it is open."""

    exposing: Exposing
    here: int
    named: int


# The state, in shape and colour, and the words of each.
WORDS = {
    Exposing.EXPOSED: ("crit", "still exposed"),
    Exposing.COOLING: ("warn", "cold again, goods not yet"),
    Exposing.LEFT: ("warn", "goods have left"),
    Exposing.OVER: ("off", "exposure over"),
}


def presence_of(db: Reader, excursion: Excursion, now: datetime) -> Presence:
    """Look where the units of an excursion are, and whether the air there is in its band again."""
    if excursion.closed_at is not None:
        return Presence(Exposing.OVER, here=0, named=0)
    named = {row.numbers.sscc for row in exposed_units(db, excursion.excursion_id)}
    here = sum(unit.qty > 0 and unit.sscc in named for unit in units_in_zone(db, excursion.zone_id))
    if named and not here:
        return Presence(Exposing.LEFT, here=0, named=len(named))
    is_cold = zone_now(db, excursion.zone_id, now).in_range is True
    return Presence(Exposing.COOLING if is_cold else Exposing.EXPOSED, here, len(named))


def places_now(db: Reader, zone_id: str, ssccs: list[str]) -> dict[str, str]:
    """Return in words where units are that are not in a zone any more."""
    found: dict[str, str] = {}
    for sscc in ssccs:
        here = next((unit for unit in units_by_sscc(db, sscc) if unit.present), None)
        if here is None:
            sent = on_the_way(db, sscc)
            found[sscc] = f"on its way to {sent.to_site_id}" if sent is not None else "gone"
        elif here.zone_id != zone_id:
            found[sscc] = f"now in {here.zone_id}"
    return found
