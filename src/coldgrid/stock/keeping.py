"""Keeping: whether goods suit the zone that they are to stand in. Pure, but for reading what is known.

Invariants
    K1  Goods come to stand in a zone of their product's temperature class. Who knows better says so with the
        command (`other_class`), and the fact keeps that it was said.
    K2  Everything that moves is looked at: what nests in a unit as well as the unit.

Where goods would go is not where they are safe: a rescue, a dock or a freezer that serves as a chiller may be
meant. So nobody is kept from it, and nobody does it by a slip.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from coldgrid.catalog.products import ProductNotFound, get_product
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Problem
from coldgrid.network.sites import TemperatureClass
from coldgrid.network.zones import get_zone


class Keeping(msgspec.Struct, frozen=True):
    """A zone's temperature class, and how the products are kept that are to stand in it."""

    zone_id: str
    zone_class: TemperatureClass
    kept: Mapping[str, TemperatureClass]

    def misfits(self) -> dict[str, TemperatureClass]:
        """Return the products that are kept otherwise (K1)."""
        return {product_id: kept for product_id, kept in self.kept.items() if kept != self.zone_class}

    def problems(self, field: str, *, said: bool) -> list[Problem]:
        """Return what is wrong with a place; nothing where it was `said` that the goods must go there."""
        fix = "choose another place, or send other_class=true if the goods must go there"
        return [
            Problem(field=field, message=f"{self.zone_id} is {self.zone_class}, {told}", fix=fix)
            for told in ([] if said else self._in_words())
        ]

    def _in_words(self) -> list[str]:
        return [f"and {product_id} is kept {kept}" for product_id, kept in sorted(self.misfits().items())]


def keeping_of(db: Reader, zone_id: str, product_ids: Collection[str]) -> Keeping:
    """Return how a zone and some products are kept; what has no product, or one not known, is left out."""
    kept = {}
    for product_id in set(product_ids) - {""}:
        try:
            kept[product_id] = get_product(db, product_id).temperature_class
        except ProductNotFound:  # its master data has not come to this site yet
            continue
    return Keeping(zone_id, get_zone(db, zone_id).temperature_class, kept)
