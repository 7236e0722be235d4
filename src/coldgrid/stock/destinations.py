"""Destinations: the sites that a site's goods may be sent to, and what speaks against each.

Invariants
    D1  Goods go by a lane that keeps their temperature class, to a site that has room for it. Who knows
        better says so with the command (`other_class`), and the fact keeps that it was said.
    D2  A site that takes nothing in is sent nothing. What was approved before it closed is carried out.
    D3  What this host was not told is no reason to refuse: a site's own node knows the lanes that leave it,
        not the sites that they lead to, and goods may go where no lane was ever planned.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from coldgrid.catalog.products import ProductNotFound, get_product
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Problem
from coldgrid.network.lanes import Lane, lanes_from
from coldgrid.network.sites import Site, TemperatureClass, get_site, some_sites
from coldgrid.network.zones import zones_of

FIELD = "to_site_id"
CLASS_FIX = "choose another site, or send other_class=true if the goods must go there"


class Destination(msgspec.Struct, frozen=True):
    """A site that goods may go to. `lanes`: to it, the quickest first; `site`: None where it is not known."""

    site_id: str
    lanes: list[Lane]
    site: Site | None
    misfits: list[Problem]
    closed: list[Problem]

    @property
    def suits(self) -> bool:
        """Whether nothing speaks against it."""
        return not (self.misfits or self.closed)

    def lane(self, classes: Collection[TemperatureClass]) -> Lane | None:
        """Return the quickest lane that keeps the classes, else the quickest."""
        fit = [one for one in self.lanes if set(classes) <= set(one.classes)] or self.lanes
        return fit[0] if fit else None


# --- Decisions (pure) -----------------------------------------------------------


def lane_problems(
    site_id: str, lanes: Sequence[Lane], classes: Collection[TemperatureClass]
) -> list[Problem]:
    """Return that no lane keeps goods of some classes on their way; nothing where there is none (D1, D3)."""
    if not lanes or any(set(classes) <= set(lane.classes) for lane in lanes):
        return []
    kept = ", ".join(sorted({one.value for lane in lanes for one in lane.classes}))
    wanted = " and ".join(sorted(one.value for one in classes))
    told = f"no lane to {site_id} keeps {wanted}{' together' * (len(classes) > 1)}: what is kept is {kept}"
    return [Problem(field=FIELD, message=told, fix=CLASS_FIX)]


def room_problems(
    site_id: str, room: Collection[TemperatureClass], classes: Collection[TemperatureClass]
) -> list[Problem]:
    """Return the classes that a site has no room for (D1)."""
    return [
        Problem(field=FIELD, message=f"{site_id} has no place for {one.value} goods", fix=CLASS_FIX)
        for one in sorted(classes)
        if one not in room
    ]


def closed_problems(site: Site) -> list[Problem]:
    """Return why a site takes nothing in now (D2)."""
    if site.receives:
        return []
    why = f", because: {site.mode_reason}" if site.mode_reason else ""
    told = f"{site.site_id} takes no goods in: it is {site.mode.value.replace('_', ' ')}{why}"
    return [Problem(field=FIELD, message=told, fix="choose another site")]


# --- Queries --------------------------------------------------------------------


def classes_of(db: Reader, product_ids: Collection[str]) -> set[TemperatureClass]:
    """Return how some products are kept; what has no product, or one not known here, is left out."""
    classes = set()
    for product_id in set(product_ids) - {""}:
        try:
            classes.add(get_product(db, product_id).temperature_class)
        except ProductNotFound:
            continue
    return classes


def destinations(db: Reader, site_id: str, classes: Collection[TemperatureClass]) -> list[Destination]:
    """Return where the lanes of a site lead: first what suits goods of some classes, the nearest first."""
    ways = _lanes_by_site(db, site_id)
    known = {site.site_id: site for site in some_sites(db, sorted(ways))}
    found = [_judged(db, to, lanes, known.get(to), classes) for to, lanes in ways.items()]
    return sorted(found, key=lambda one: (not one.suits, one.lanes[0].transit_min, one.site_id))


def destination(
    db: Reader, site_id: str, to_site_id: str, classes: Collection[TemperatureClass]
) -> Destination:
    """Return a site that goods of some classes are to be sent to, and what speaks against it.

    Raises:
        SiteNotFound: no lane leads there, and no site of this name is known.
    """
    lanes = _lanes_by_site(db, site_id).get(to_site_id, [])
    known = some_sites(db, [to_site_id]) or ([] if lanes else [get_site(db, to_site_id)])
    return _judged(db, to_site_id, lanes, known[0] if known else None, classes)


def _lanes_by_site(db: Reader, site_id: str) -> dict[str, list[Lane]]:
    ways: dict[str, list[Lane]] = {}
    for lane in sorted(lanes_from(db, site_id), key=lambda lane: (lane.transit_min, lane.lane_id)):
        ways.setdefault(lane.to_site, []).append(lane)
    return ways


def _judged(
    db: Reader, to: str, lanes: list[Lane], site: Site | None, classes: Collection[TemperatureClass]
) -> Destination:
    misfits = lane_problems(to, lanes, classes)
    if site is not None:
        misfits += room_problems(to, _room(db, site, classes), classes)
    return Destination(to, lanes, site, misfits, closed_problems(site) if site is not None else [])


def _room(db: Reader, site: Site, classes: Collection[TemperatureClass]) -> set[TemperatureClass]:
    """The classes that a site has room for: by its settings, else by its zones."""
    room = {one for one, pallets in site.capacity.items() if pallets}
    if not set(classes) <= room:
        room |= {zone.temperature_class for zone in zones_of(db, site.site_id)}
    return room
