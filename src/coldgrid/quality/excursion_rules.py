"""Excursions: goods that were out of their limits, or may have been. Words, events and pure rules.

Invariants
    E1  A zone has at most one open excursion; a further alarm widens it.
    E2  An excursion names every unit that stood there since the last good reading, those gone since included.
    E3  Once a unit is named it stays named, whatever later readings say; its numbers change until the end.
    E4  An excursion that is closed never changes; goods that come later belong to a new one.

An excursion is the product's; an alarm is a sensor's, a deviation quality's record, an incident the organised
response. They are four objects with links.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.rejections import Conflict, Invalid, NotFound, Problem
from coldgrid.quality.exposed import Assessed, ExposedUnit, Scope, ShippedUnit

# --- Vocabulary -----------------------------------------------------------------


class ExcursionStatus(StrEnum):
    """Whether goods are still being exposed."""

    OPEN = "open"
    CLOSED = "closed"


class Excursion(msgspec.Struct, frozen=True, kw_only=True):
    """An excursion as readers see it. `cause_id`: the alarm, calibration or person's act behind it."""

    excursion_id: str
    site_id: str
    zone_id: str
    locations: tuple[str, ...]
    alarm_id: str
    cause_id: str
    incident_id: str
    from_at: datetime
    until_at: datetime
    why: str
    at_stake_cents: int
    currency: str
    opened_at: datetime
    closed_at: datetime | None

    @property
    def scope(self) -> Scope:
        """What it is about."""
        return Scope(
            site_id=self.site_id, zone_id=self.zone_id, locations=self.locations, from_at=self.from_at
        )

    @property
    def status(self) -> ExcursionStatus:
        """Whether goods are still being exposed."""
        return ExcursionStatus.OPEN if self.closed_at is None else ExcursionStatus.CLOSED


# --- Events ---------------------------------------------------------------------


class ExcursionOpened(Event, frozen=True, kw_only=True, tag="quality.excursion_opened"):
    """Goods were, or may have been, out of their limits. `locations` empty: the whole zone.

    `over`: they no longer are exposed, it was found out afterwards.
    """

    excursion_id: str
    site_id: str
    zone_id: str
    locations: tuple[str, ...] = ()
    alarm_id: str = ""
    cause_id: str = ""
    incident_id: str = ""
    from_at: datetime
    until_at: datetime
    why: str
    units: tuple[ExposedUnit, ...]
    shipped: tuple[ShippedUnit, ...]
    at_stake_cents: int
    currency: str
    over: bool = False


class ExcursionUpdated(Event, frozen=True, kw_only=True, tag="quality.excursion_updated"):
    """More units, longer, or wider: `why`, beside what opened it.

    `units`: those whose numbers changed; `added`: those that are new.
    """

    excursion_id: str
    site_id: str
    zone_id: str
    locations: tuple[str, ...] = ()
    from_at: datetime
    until_at: datetime
    why: str
    units: tuple[ExposedUnit, ...]
    added: tuple[str, ...]
    shipped: tuple[ShippedUnit, ...]
    at_stake_cents: int


class ExcursionClosed(Event, frozen=True, kw_only=True, tag="quality.excursion_closed"):
    """The goods are within their limits again, or gone. `units`: final numbers of those that changed."""

    excursion_id: str
    site_id: str
    zone_id: str
    from_at: datetime
    until_at: datetime
    units: tuple[ExposedUnit, ...]
    shipped: tuple[ShippedUnit, ...]
    at_stake_cents: int
    reason: str


class ExcursionLinked(Event, frozen=True, kw_only=True, tag="quality.excursion_linked"):
    """An incident answers an excursion that had none."""

    excursion_id: str
    site_id: str
    zone_id: str
    incident_id: str


# --- Rejections -----------------------------------------------------------------


class ExcursionNotFound(NotFound):
    """There is no such excursion."""


class ExcursionAlreadyClosed(Conflict):
    """The excursion is closed; goods that come later belong to a new one (E4)."""


class ExcursionIdTaken(Conflict):
    """Another excursion has this id."""


class ExcursionHasIncident(Conflict):
    """Another incident answers this excursion."""


# --- Commands -------------------------------------------------------------------


class OpenExcursion(Command, frozen=True, kw_only=True, tag="quality.open_excursion"):
    """Ask to name what stood in a zone since `from_at`; widens the zone's open excursion where there is one.

    `locations`: what the alarmed sensor covers; empty for the whole zone. `judged_later`: only name the
    units, so that they are held at once; whoever asks so has them judged (`UpdateExcursion`) right after.
    """

    site_id: str
    excursion_id: str
    zone_id: str
    from_at: datetime
    why: str
    alarm_id: str = ""
    cause_id: str = ""
    incident_id: str = ""
    locations: tuple[str, ...] = ()
    judged_later: bool = False


class UpdateExcursion(Command, frozen=True, kw_only=True, tag="quality.update_excursion"):
    """Ask to judge an open excursion again, up to now; saying the same again is not recorded."""

    site_id: str
    excursion_id: str
    why: str = ""


class LinkExcursion(Command, frozen=True, kw_only=True, tag="quality.link_excursion"):
    """Say which incident answers an excursion that was found without one."""

    site_id: str
    excursion_id: str
    incident_id: str


class CloseExcursion(Command, frozen=True, kw_only=True, tag="quality.close_excursion"):
    """Ask to end an excursion, with a last look at its units."""

    site_id: str
    excursion_id: str
    reason: str


# --- Decisions (pure) -----------------------------------------------------------


def check_opening(command: OpenExcursion, now: datetime) -> None:
    """Reject an excursion that begins after now, or says nothing.

    Raises:
        Invalid: with all that is wrong.
    """
    problems = []
    if command.from_at >= now:
        problems.append(Problem(field="from_at", message="an excursion begins before now"))
    if not command.why.strip():
        problems.append(Problem(field="why", message="say what was seen"))
    if problems:
        raise Invalid(problems=problems)


def decide_open(
    command: OpenExcursion, assessed: Assessed, until_at: datetime, currency: str, *, over: bool = False
) -> ExcursionOpened:
    """Return the event that opens an excursion of goods that were judged."""
    return ExcursionOpened(
        excursion_id=command.excursion_id,
        site_id=command.site_id,
        zone_id=command.zone_id,
        locations=tuple(sorted(command.locations)),
        alarm_id=command.alarm_id,
        cause_id=command.cause_id or command.alarm_id,
        incident_id=command.incident_id,
        from_at=command.from_at,
        until_at=until_at,
        why=command.why.strip(),
        units=assessed.units,
        shipped=assessed.shipped,
        at_stake_cents=at_stake_cents(assessed.units),
        currency=currency,
        over=over,
    )


def widened(current: Excursion, from_at: datetime, locations: Sequence[str]) -> Scope:
    """What an excursion is about once a further alarm joined: the earlier start, all the places (E1)."""
    whole = not current.locations or not locations
    return Scope(
        site_id=current.site_id,
        zone_id=current.zone_id,
        locations=() if whole else tuple(sorted({*current.locations, *locations})),
        from_at=min(current.from_at, from_at),
    )


def decide_update(
    current: Excursion, scope: Scope, known: Known, assessed: Assessed, until_at: datetime, why: str = ""
) -> ExcursionUpdated | None:
    """Return the event that says what is new, or None when nothing is (E3)."""
    if current.closed_at is not None:
        raise ExcursionAlreadyClosed(excursion_id=current.excursion_id, closed_at=current.closed_at)
    changed, shipped = known.news(assessed)
    same_scope = (scope.from_at, scope.locations) == (current.from_at, current.locations)
    if not changed and not shipped and same_scope:
        return None
    return ExcursionUpdated(
        excursion_id=current.excursion_id,
        site_id=current.site_id,
        zone_id=current.zone_id,
        locations=scope.locations,
        from_at=scope.from_at,
        until_at=until_at,
        why=why.strip() or current.why,
        units=changed,
        added=tuple(unit.sscc for unit in changed if unit.sscc not in known.units),
        shipped=shipped,
        at_stake_cents=at_stake_cents(known.after(changed)),
    )


def decide_close(
    command: CloseExcursion, current: Excursion, known: Known, assessed: Assessed, until_at: datetime
) -> ExcursionClosed:
    """Return the event that ends an excursion, or reject (E4)."""
    if current.closed_at is not None:
        raise ExcursionAlreadyClosed(excursion_id=current.excursion_id, closed_at=current.closed_at)
    if not command.reason.strip():
        raise Invalid(problems=[Problem(field="reason", message="say why the goods are safe again")])
    changed, shipped = known.news(assessed, final=True)
    return ExcursionClosed(
        excursion_id=current.excursion_id,
        site_id=current.site_id,
        zone_id=current.zone_id,
        from_at=current.from_at,
        until_at=until_at,
        units=changed,
        shipped=shipped,
        at_stake_cents=at_stake_cents(known.after(changed)),
        reason=command.reason.strip(),
    )


class Known(msgspec.Struct, frozen=True):
    """What an excursion has named so far: its units by SSCC, and what was shipped with what."""

    units: Mapping[str, ExposedUnit]
    shipped: frozenset[tuple[str, str]]

    def news(
        self, assessed: Assessed, *, final: bool = False
    ) -> tuple[tuple[ExposedUnit, ...], tuple[ShippedUnit, ...]]:
        """The units whose numbers changed enough to say so (at all when final), and what was shipped."""
        changed = tuple(unit for unit in assessed.units if self._is_news(unit, final))
        shipped = tuple(gone for gone in assessed.shipped if shipped_key(gone) not in self.shipped)
        return changed, shipped

    def _is_news(self, unit: ExposedUnit, final: bool) -> bool:
        old = self.units.get(unit.sscc)
        return old is None or (unit != old if final else differs(unit, old))

    def after(self, changed: Sequence[ExposedUnit]) -> list[ExposedUnit]:
        """Every unit named, with its newest numbers."""
        return list({**self.units, **{unit.sscc: unit for unit in changed}}.values())


# Smaller changes are not worth an event; the last look at the end takes in everything.
_TELLING_MIN = 5.0
_TELLING_C = 0.5


def differs(new: ExposedUnit, old: ExposedUnit) -> bool:
    """Whether a unit's numbers changed so much that it should be said."""
    if (new.verdict, new.qty, new.left_at, new.thawed_at) != (
        old.verdict,
        old.qty,
        old.left_at,
        old.thawed_at,
    ):
        return True
    if new.peak_c is None or old.peak_c is None:
        return new.peak_c is not old.peak_c
    return abs(new.peak_c - old.peak_c) >= _TELLING_C or new.outside_min - old.outside_min >= _TELLING_MIN


def shipped_key(gone: ShippedUnit) -> tuple[str, str]:
    """What tells one departure from another: the unit, and what it left with."""
    return gone.sscc, gone.dispatch_id or gone.transfer_id


def at_stake_cents(units: Sequence[ExposedUnit]) -> int:
    """The value of the goods named that are still in the building."""
    return sum(unit.value_cents for unit in units)
