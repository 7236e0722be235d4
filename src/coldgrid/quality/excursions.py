"""Excursions on the log: goods are named, judged again and let go.

The rules E1 to E4 are in `excursion_rules`, the tables and queries in `excursion_book`.
"""

from __future__ import annotations

import msgspec

from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles
from coldgrid.kernel.tx import Tx
from coldgrid.quality.assessing import assess, currency_of, named_units
from coldgrid.quality.excursion_book import (
    Exposed,
    excursions_of_incident,
    excursions_of_lot,
    excursions_of_unit,
    exposed_unit,
    exposed_units,
    find_excursion,
    get_excursion,
    list_excursions,
    open_excursion_of,
    open_excursions,
    shipped_units,
    unit_counts,
    waiting_units,
)
from coldgrid.quality.excursion_rules import (
    CloseExcursion,
    Excursion,
    ExcursionAlreadyClosed,
    ExcursionClosed,
    ExcursionHasIncident,
    ExcursionIdTaken,
    ExcursionLinked,
    ExcursionNotFound,
    ExcursionOpened,
    ExcursionStatus,
    ExcursionUpdated,
    Known,
    LinkExcursion,
    OpenExcursion,
    UpdateExcursion,
    check_opening,
    decide_close,
    decide_open,
    decide_update,
    shipped_key,
    widened,
)
from coldgrid.quality.exposed import Assessed, ExposedUnit, Scope, ShippedUnit

__all__ = [
    "CloseExcursion",
    "Excursion",
    "ExcursionAlreadyClosed",
    "ExcursionClosed",
    "ExcursionHasIncident",
    "ExcursionIdTaken",
    "ExcursionLinked",
    "ExcursionNotFound",
    "ExcursionOpened",
    "ExcursionStatus",
    "ExcursionUpdated",
    "Exposed",
    "ExposedUnit",
    "LinkExcursion",
    "OpenExcursion",
    "Opened",
    "ShippedUnit",
    "UpdateExcursion",
    "excursions_of_incident",
    "excursions_of_lot",
    "excursions_of_unit",
    "exposed_unit",
    "exposed_units",
    "get_excursion",
    "list_excursions",
    "open_assessed",
    "open_excursion_of",
    "open_excursions",
    "shipped_units",
    "unit_counts",
    "waiting_units",
]

# --- Commands -------------------------------------------------------------------


class Opened(msgspec.Struct, frozen=True):
    """Which excursion a request ended up in; `joined`: it was open before."""

    excursion_id: str
    joined: bool


@handles(OpenExcursion, action="quality.open_excursion", owner=Owner.SITE)
def open_excursion(tx: Tx, command: OpenExcursion) -> Opened:
    """Name what stood in a zone since the last good reading, or widen the zone's open excursion (E1, E2)."""
    check_opening(command, tx.now)
    current = open_excursion_of(tx, command.zone_id)
    if current is not None:
        scope = widened(current, command.from_at, command.locations)
        _update(tx, current, scope, command.why, judged_later=command.judged_later)
        return Opened(current.excursion_id, joined=True)
    scope = Scope(
        site_id=command.site_id,
        zone_id=command.zone_id,
        locations=command.locations,
        from_at=command.from_at,
    )
    if command.judged_later:
        return open_assessed(tx, command, Assessed(named_units(tx, scope, tx.now), ()))
    assessed = assess(tx, scope, tx.now, besides=command.excursion_id)
    return open_assessed(tx, command, assessed)


def open_assessed(tx: Tx, command: OpenExcursion, assessed: Assessed, *, over: bool = False) -> Opened:
    """Open an excursion of goods that were judged already. `over`: they are no longer exposed.

    Raises:
        ExcursionIdTaken: there is one of this id.
    """
    if find_excursion(tx, command.excursion_id) is not None:
        raise ExcursionIdTaken(excursion_id=command.excursion_id)
    event = decide_open(command, assessed, tx.now, currency_of(tx, assessed), over=over)
    tx.record(f"excursion/{event.excursion_id}", event, occurred_at=command.from_at)
    return Opened(event.excursion_id, joined=False)


@handles(UpdateExcursion, action="quality.update_excursion", owner=Owner.SITE)
def update_excursion(tx: Tx, command: UpdateExcursion) -> None:
    """Judge an open excursion's units again, up to now."""
    current = get_excursion(tx, command.excursion_id)
    _update(tx, current, current.scope, command.why)


def _update(tx: Tx, current: Excursion, scope: Scope, why: str, *, judged_later: bool = False) -> None:
    known = _known(tx, current.excursion_id)
    if judged_later:
        new = [unit for unit in named_units(tx, scope, tx.now) if unit.sscc not in known.units]
        assessed = Assessed(tuple(new), ())
    else:
        assessed = assess(tx, scope, tx.now, besides=current.excursion_id, named=known.units)
    event = decide_update(current, scope, known, assessed, tx.now, why)
    if event is not None:
        tx.record(f"excursion/{current.excursion_id}", event)


@handles(CloseExcursion, action="quality.close_excursion", owner=Owner.SITE)
def close_excursion(tx: Tx, command: CloseExcursion) -> None:
    """End an excursion with a last look at its units."""
    current = get_excursion(tx, command.excursion_id)
    known = _known(tx, current.excursion_id)
    assessed = assess(tx, current.scope, tx.now, besides=current.excursion_id, named=known.units)
    tx.record(f"excursion/{current.excursion_id}", decide_close(command, current, known, assessed, tx.now))


@handles(LinkExcursion, action="quality.link_excursion", owner=Owner.SITE)
def link_excursion(tx: Tx, command: LinkExcursion) -> None:
    """Link an excursion to the incident that answers it."""
    current = get_excursion(tx, command.excursion_id)
    if current.incident_id:
        raise ExcursionHasIncident(excursion_id=current.excursion_id, incident_id=current.incident_id)
    event = ExcursionLinked(
        excursion_id=current.excursion_id,
        site_id=current.site_id,
        zone_id=current.zone_id,
        incident_id=command.incident_id,
    )
    tx.record(f"excursion/{current.excursion_id}", event)


def _known(db: Reader, excursion_id: str) -> Known:
    return Known(
        {row.numbers.sscc: row.numbers for row in exposed_units(db, excursion_id)},
        frozenset(shipped_key(gone) for gone in shipped_units(db, excursion_id)),
    )
