"""Holds: goods that may not be allocated or shipped to customers until someone with authority says so.

Invariants
    O1  A hold names handling units, or a place over a time; what nests in a held unit is held with it.
    O2  Held goods may move within the building and to another site; they stay held wherever they go.
    O3  A hold is ended by a person in the role that its reason names, never by who placed it (four eyes);
        automatic holds have no person behind them, so for them the role is what counts.
    O4  Whatever does not go back to stock keeps a status that no customer's order accepts.

The temperature of medicines is the Responsible Person's to judge (EU GDP 2013/C 343/01, 2.2), of other goods
quality's. O3 is a house rule; a site may only tighten it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta

from coldgrid.catalog.products import Regime, get_product
from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.stock.authority import Signer, signer_of
from coldgrid.stock.hold_book import (
    Hold,
    UnitHold,
    find_hold,
    get_hold,
    open_holds_of,
    units_of_hold,
)
from coldgrid.stock.hold_facts import (
    Disposition,
    GoneUnit,
    HeldState,
    HoldPlaced,
    HoldReason,
    HoldReleased,
    ReleasedUnit,
    Window,
)
from coldgrid.stock.hold_joins import held_unit
from coldgrid.stock.inventory import get_units, with_nested
from coldgrid.stock.stays import Stay, stays_at, stays_of, units_present
from coldgrid.stock.units import Unit, UnitStatus, Virtual, may_sell, require

RESPONSIBLE = "responsible_person"
CUSTOMER = Virtual.CUSTOMER.value
TRANSIT = Virtual.TRANSIT.value
INSTANT = timedelta(microseconds=1)
RELEASING_ROLE = {
    HoldReason.TEMPERATURE_EXCURSION: "quality",
    HoldReason.RECALL: "recall_coordinator",
    HoldReason.DAMAGE: "supervisor",
    HoldReason.CUSTOMS: "supervisor",
    HoldReason.INSURER: "quality",
    HoldReason.QUALITY: "quality",
}
STATUS_AFTER = {
    Disposition.REWORK: UnitStatus.REWORK,
    Disposition.RETURN: UnitStatus.RETURN,
    Disposition.DONATE: UnitStatus.DONATE,
    Disposition.DESTROY: UnitStatus.CONDEMNED,
}


# --- Rejections -----------------------------------------------------------------


class HoldAlreadyOpen(Conflict):
    """The hold was placed before, or every unit is already held for this reason and cause."""


class NothingToHold(Conflict):
    """Nothing that the hold names is in the building."""


class NotInHold(Conflict):
    """The hold does not block that unit, or no longer does."""


class ReleaserPlacedHold(Forbidden):
    """A hold is ended by someone other than the person who placed it (O3)."""


class ReleaserLacksRole(Forbidden):
    """Only the role that the hold's reason names may end it (O3)."""


# --- Decisions (pure) -----------------------------------------------------------


class PlaceHold(Command, frozen=True, tag="stock.place_hold"):
    """Ask to hold units, by SSCC, or whatever stands in a zone or at a location from an instant on.

    `to_at`: when the place's time ends; None means until the hold is released. `releasing_role` may only
    tighten what the reason says: the Responsible Person in place of quality.
    """

    site_id: str
    hold_id: str
    reason: HoldReason
    cause_id: str
    sscc: tuple[str, ...] = ()
    zone_id: str = ""
    location_id: str = ""
    from_at: datetime | None = None
    to_at: datetime | None = None
    releasing_role: str = ""


class ReleaseHold(Command, frozen=True, tag="stock.release_hold"):
    """Ask to end a hold of some units (none named: of all), citing the evidence behind the decision.

    `signed_by`, `signed_roles`: for reactions, the person whose signed act in another room it carries out.
    """

    site_id: str
    hold_id: str
    disposition: Disposition
    evidence_id: str
    sscc: tuple[str, ...] = ()
    reduced_life_until: date | None = None
    signed_by: str = ""
    signed_roles: tuple[str, ...] = ()


def decide_place(
    command: PlaceHold,
    units: Sequence[Unit],
    gone: Sequence[GoneUnit],
    held: Sequence[UnitHold],
    *,
    pharma: bool,
    window: Window | None = None,
) -> HoldPlaced:
    """Return the event that holds units (O1), or reject. `held`: the open holds of these units.

    Units that this reason and cause already hold are left as they are.
    """
    same = {hold.sscc: hold.hold_id for hold in held if (hold.reason, hold.cause_id) == _why(command)}
    fresh = [unit for unit in units if unit.sscc not in same]
    if units and not fresh:
        raise HoldAlreadyOpen(hold_id=", ".join(sorted(set(same.values()))), reason=command.reason)
    if not fresh and window is None:
        raise NothingToHold(hold_id=command.hold_id, gone=[unit.sscc for unit in gone])
    zones = {unit.zone_id for unit in fresh} | ({window.zone_id} if window else set())
    return HoldPlaced(
        hold_id=command.hold_id,
        site_id=command.site_id,
        zone_id=zones.pop() if len(zones) == 1 else "",
        units=[held_unit(unit) for unit in fresh],
        reason=HoldReason(command.reason),
        cause_id=command.cause_id,
        releasing_role=decide_role(command.reason, command.releasing_role, pharma=pharma),
        gone=list(gone),
        window=window,
    )


def decide_role(reason: HoldReason, asked: str, *, pharma: bool) -> str:
    """Return who may end a hold: the reason's role, or the Responsible Person where that is stricter.

    Raises:
        Invalid: another role was asked for.
    """
    role = RELEASING_ROLE[HoldReason(reason)]
    if asked not in ("", role, RESPONSIBLE):
        raise Invalid(problems=[Problem(field="releasing_role", message=f"must be {role} or {RESPONSIBLE}")])
    if role == "quality" and (pharma or asked == RESPONSIBLE):
        return RESPONSIBLE
    return asked or role


def decide_release(
    command: ReleaseHold,
    hold: Hold,
    parts: Mapping[str, Unit],
    chosen: Collection[str],
    signer: Signer,
    today: date,
) -> HoldReleased:
    """Return the event that ends a hold of the chosen units (O3, O4), or reject.

    Args:
        command: What is asked.
        hold: The hold.
        parts: The units that it blocks now, by SSCC.
        chosen: Those that are decided upon.
        signer: The person who decides.
        today: The day, for the life that is left.
    """
    strangers = sorted(set(chosen) - set(parts))
    if strangers or hold.ended_at is not None:
        raise NotInHold(hold_id=hold.hold_id, sscc=", ".join(strangers) or "all", ended_at=hold.ended_at)
    if hold.placed_by == signer.actor:
        raise ReleaserPlacedHold(hold_id=hold.hold_id, actor=signer.actor)
    accepted = {hold.releasing_role} | ({RESPONSIBLE} if hold.releasing_role == "quality" else set())
    if not accepted & signer.roles:
        raise ReleaserLacksRole(hold_id=hold.hold_id, needs=hold.releasing_role)
    units = [parts[sscc] for sscc in parts if sscc in set(chosen)]
    require(_release_problems(command, units, today))
    zones = {unit.zone_id for unit in units}
    return HoldReleased(
        hold_id=hold.hold_id,
        site_id=hold.site_id,
        zone_id=zones.pop() if len(zones) == 1 else hold.window_zone,
        units=[_released(command, unit) for unit in units],
        disposition=Disposition(command.disposition),
        evidence_id=command.evidence_id,
        released_by=signer.actor,
        # A hold of a place ends when all of it is decided at once; unit by unit it stays open for arrivals.
        ended=len(units) == len(parts) and (not hold.window_zone or not command.sscc),
    )


def _release_problems(command: ReleaseHold, units: Sequence[Unit], today: date) -> list[Problem]:
    problems = []
    if not command.evidence_id.strip():
        problems.append(Problem(field="evidence_id", message="cite what the decision rests on"))
    until = command.reduced_life_until
    if (until is not None) != (command.disposition == Disposition.REDUCED_LIFE):
        problems.append(Problem(field="reduced_life_until", message="goes with the disposition reduced_life"))
    elif until is not None and not all(today <= until < unit.expires_on for unit in units):
        message = "must be a day from today on, before the goods expire anyway"
        problems.append(Problem(field="reduced_life_until", message=message))
    return problems


def _released(command: ReleaseHold, unit: Unit) -> ReleasedUnit:
    status = STATUS_AFTER.get(Disposition(command.disposition), unit.status)
    return ReleasedUnit(
        sscc=unit.sscc,
        owner=unit.owner,
        product_id=unit.product_id,
        lot_id=unit.lot_id,
        expires_on=command.reduced_life_until or unit.expires_on,
        qty=unit.qty,
        zone_id=unit.zone_id,
        status=status,
        is_sellable=may_sell(status, unit.open_holds - 1, unit.place),
    )


def _why(command: PlaceHold) -> tuple[str, str]:
    return (command.reason, command.cause_id)


# --- Commands -------------------------------------------------------------------


@handles(PlaceHold, action="stock.place_hold", owner=Owner.SITE, lapses=False)
def place_hold(tx: Tx, command: PlaceHold) -> HoldPlaced:
    """Hold units, or a place over a time; the answer names the units, and the goods that had left."""
    require(_place_problems(command, tx.now))
    if find_hold(tx, command.site_id, command.hold_id) is not None:
        raise HoldAlreadyOpen(hold_id=command.hold_id)
    found, gone = _named(tx, command) if command.sscc else _stood_there(tx, command)
    units = [unit for unit in with_nested(tx, found) if unit.present] if found else []
    held = open_holds_of(tx, command.site_id, [unit.sscc for unit in units])
    pharma = any(
        get_product(tx, product_id).regime is Regime.PHARMA
        for product_id in sorted({unit.product_id for unit in units if unit.product_id})
    )
    window = _window_of(command, tx.now)
    event = decide_place(command, units, gone, held, pharma=pharma, window=window)
    tx.record(f"hold/{command.hold_id}", event)
    return event


@handles(ReleaseHold, action="stock.release_hold", owner=Owner.SITE)
def release_hold(tx: Tx, command: ReleaseHold) -> HoldReleased:
    """Decide what becomes of held units."""
    hold = get_hold(tx, command.site_id, command.hold_id)
    signer = signer_of(tx.actor, tx.roles, command.signed_by, command.signed_roles)
    held = [
        part for part in units_of_hold(tx, command.site_id, command.hold_id) if part.state is HeldState.OPEN
    ]
    parts = {unit.sscc: unit for unit in get_units(tx, command.site_id, [part.sscc for part in held])}
    chosen = set(command.sscc) if command.sscc else set(parts)
    if command.sscc:
        nested = with_nested(
            tx, [unit for sscc, unit in parts.items() if sscc in chosen] or list(parts.values())
        )
        chosen |= {unit.sscc for unit in nested if unit.sscc in parts} if chosen & set(parts) else set()
    event = decide_release(command, hold, parts, chosen, signer, tx.now.date())
    tx.record(f"hold/{command.hold_id}", event)
    return event


def _place_problems(command: PlaceHold, now: datetime) -> list[Problem]:
    problems = []
    if bool(command.sscc) == bool(command.zone_id):
        message = "name handling units, or a zone with the instant from which its goods are held"
        problems.append(Problem(field="sscc", message=message))
    if command.location_id and not command.zone_id:
        problems.append(Problem(field="zone_id", message="is the zone of the location"))
    if command.zone_id and command.from_at is None:
        problems.append(Problem(field="from_at", message="a place is held from an instant on"))
    if command.from_at and command.from_at > (command.to_at or now):
        problems.append(Problem(field="from_at", message="lies after the end of the hold's time"))
    if not command.cause_id.strip():
        problems.append(Problem(field="cause_id", message="name what the hold answers"))
    return problems


def _window_of(command: PlaceHold, now: datetime) -> Window | None:
    """A place whose time is over holds what stood there, and nothing that comes."""
    if not command.zone_id or command.from_at is None or (command.to_at is not None and command.to_at <= now):
        return None
    return Window(
        zone_id=command.zone_id,
        location_id=command.location_id,
        from_at=command.from_at,
        to_at=command.to_at,
    )


def _named(db: Reader, command: PlaceHold) -> tuple[list[Unit], list[GoneUnit]]:
    """Part the named units into those in the building and those that left it."""
    units = get_units(db, command.site_id, command.sscc)
    gone = []
    for unit in units:
        if not unit.present:
            stays = [stay for stay in stays_of(db, unit.sscc) if stay.site_id == command.site_id]
            gone += _gone(stays[-1:])
    return [unit for unit in units if unit.present], gone


def _stood_there(tx: Tx, command: PlaceHold) -> tuple[list[Unit], list[GoneUnit]]:
    """Part what stood in a place in its time into units still in the building and goods that left it.

    A part that was shipped from a unit still here is among the goods that left.
    """
    assert command.from_at is not None, "checked before"
    # An instant later, so that goods which arrived this very instant are among them.
    to_at = min(command.to_at or tx.now, tx.now) + INSTANT
    if command.location_id:
        stays = stays_at(tx, command.zone_id, command.location_id, command.from_at, to_at)
    else:
        stays = units_present(tx, command.zone_id, command.from_at, to_at)
    units = get_units(tx, command.site_id, sorted({stay.sscc for stay in stays}))
    here = {unit.sscc for unit in units if unit.present}
    left = [s for s in stays if s.gone_to == CUSTOMER or (s.gone_to == TRANSIT and s.sscc not in here)]
    return [unit for unit in units if unit.present], _gone(left)


def _gone(stays: Sequence[Stay]) -> list[GoneUnit]:
    return [
        GoneUnit(
            sscc=stay.sscc,
            product_id=stay.product_id,
            lot_id=stay.lot_id,
            qty=stay.qty,
            left_at=stay.left_at,
            gone_to=stay.gone_to,
            gone_by=stay.gone_by,
            order_id=stay.order_id,
        )
        for stay in stays
        if stay.left_at is not None
    ]
