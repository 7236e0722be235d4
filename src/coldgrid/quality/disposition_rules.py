"""Dispositions: what becomes of goods that were exposed. The words, the event and the pure rules.

Invariants
    D1  Goods are decided by a person, unit by unit, once: by quality, medicines by the Responsible Person.
    D2  Four eyes: never by who authorised their rescue, nor by who placed the hold.
    D3  Goods of which the temperature is unknown are released only on evidence that is named.
    D4  What thawed goes back to stock with a new, earlier expiry or not at all.
    D5  Goods are destroyed before a witness, after the insurer's inspection (or its waiver).
    D6  Goods go back to stock only when their exposure is over: the air is cold again, or they left the zone.
    D7  A part is decided by itself: it gets a label of its own, and the rest stays undecided.

Readings give a verdict; this is the signed human act. Source of D1 for medicines: EU GDP 2013/C 343/01, 2.2.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import Annotated

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, NotFound, Problem
from coldgrid.quality.exposed import ExposedUnit
from coldgrid.quality.exposure import Verdict
from coldgrid.stock.authority import is_system
from coldgrid.stock.hold_facts import Disposition as Outcome
from coldgrid.stock.units import sscc_problems

QUALITY, RESPONSIBLE = "quality", "responsible_person"
BACK_TO_STOCK = frozenset({Outcome.RELEASE, Outcome.REDUCED_LIFE})


# --- Vocabulary -----------------------------------------------------------------


class Disposition(msgspec.Struct, frozen=True, kw_only=True):
    """A signed decision as readers see it. `from_sscc`: what a part was taken from, "" for a whole unit."""

    disposition_id: str
    excursion_id: str
    site_id: str
    zone_id: str
    sscc: str
    product_id: str
    lot_id: str
    qty: int
    outcome: Outcome
    reason: str
    reduced_life_until: date | None
    evidence: tuple[str, ...]
    witness: str
    inspection: str
    from_sscc: str
    signed_by: str
    signed_as: str
    signed_at: datetime


# --- Event ----------------------------------------------------------------------


class DispositionSigned(Event, frozen=True, kw_only=True, tag="quality.disposition_signed"):
    """A person decided what becomes of a unit, or of a part of it.

    `sscc`: the unit decided upon; where it is a part, its new label, and `from_sscc` with `rest_qty` the unit
    it is taken from and what stays in it undecided. `signed_as`: the role.
    """

    disposition_id: str
    excursion_id: str
    incident_id: str = ""
    site_id: str
    zone_id: str
    sscc: str
    product_id: str
    lot_id: str
    qty: int
    outcome: Outcome
    reason: str
    reduced_life_until: date | None = None
    evidence: tuple[str, ...] = ()
    witness: str = ""
    inspection: str = ""
    from_sscc: str = ""
    rest_qty: int = 0
    verdict: Verdict
    signed_as: str


# --- Rejections -----------------------------------------------------------------


class UnitNotExposed(NotFound):
    """The excursion does not name this unit."""


class UnitAlreadyDecided(Conflict):
    """The unit was decided before (D1)."""


class DispositionIdTaken(Conflict):
    """Another disposition has this id."""


class SignerIsNoPerson(Forbidden):
    """What becomes of goods is decided by a person, never by the program (D1)."""


class SignerLacksRole(Forbidden):
    """Only quality may sign; for medicines only the Responsible Person (D1)."""


class SignerInvolved(Forbidden):
    """Who authorised the rescue or placed the hold does not also sign for the goods (D2)."""

    todo = "Let a second person of the role sign."


class ExposureNotOver(Conflict):
    """Goods go back to stock only when the air is cold again or they left the zone (D6)."""


# --- Decisions (pure) -----------------------------------------------------------


class SignDisposition(Command, frozen=True, kw_only=True, tag="quality.sign_disposition"):
    """Sign for a unit of an excursion. `qty` with `part_sscc` decides a part of it, under a label of its own.

    `evidence`: hand readings, hashes of photos and papers. `witness`: who saw the destruction, by person id.
    `inspection`: the insurer's report, or its waiver.
    """

    site_id: str
    disposition_id: str
    excursion_id: str
    sscc: str
    outcome: Outcome
    reason: Annotated[str, msgspec.Meta(max_length=1000)]
    reduced_life_until: date | None = None
    evidence: tuple[str, ...] = ()
    witness: str = ""
    inspection: str = ""
    qty: int | None = None
    part_sscc: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature is judged by, beside the unit itself.

    `placed_by`: who placed its holds; `authorised_by`: who approved anything in its incident, or sent the
    unit to another site under hold; `exposed`: whether it still stands in air that is out of its band;
    `expires_on`: None where the unit is gone.
    """

    actor: str
    roles: frozenset[str]
    pharma: bool
    placed_by: frozenset[str]
    authorised_by: frozenset[str]
    exposed: bool
    today: date
    expires_on: date | None


def decide_sign(
    command: SignDisposition, unit: ExposedUnit, zone_id: str, incident_id: str, standing: Standing
) -> DispositionSigned:
    """Return the event that decides about a unit or a part, or reject (D1 to D7)."""
    signed_as = _role(standing)
    if standing.actor in standing.placed_by | standing.authorised_by:
        did = "authorised the rescue" if standing.actor in standing.authorised_by else "placed the hold"
        raise SignerInvolved(actor=standing.actor, did=did)
    outcome = Outcome(command.outcome)
    if standing.exposed and outcome in BACK_TO_STOCK:
        raise ExposureNotOver(sscc=unit.sscc, outcome=outcome)
    problems = [
        *_reason_problems(command, unit),
        *_life_problems(command, unit, standing),
        *_destroy_problems(command, standing.actor),
        *_part_problems(command, unit),
    ]
    if problems:
        raise Invalid(problems=problems)
    part = command.qty is not None
    return DispositionSigned(
        disposition_id=command.disposition_id,
        excursion_id=command.excursion_id,
        incident_id=incident_id,
        site_id=command.site_id,
        zone_id=zone_id,
        sscc=command.part_sscc if part else unit.sscc,
        product_id=unit.product_id,
        lot_id=unit.lot_id,
        qty=unit.qty if command.qty is None else command.qty,
        outcome=outcome,
        reason=command.reason.strip(),
        reduced_life_until=command.reduced_life_until,
        evidence=command.evidence,
        witness=command.witness.strip(),
        inspection=command.inspection.strip(),
        from_sscc=unit.sscc if part else "",
        rest_qty=0 if command.qty is None else unit.qty - command.qty,
        verdict=unit.verdict,
        signed_as=signed_as,
    )


def _role(standing: Standing) -> str:
    if is_system(standing.actor):
        raise SignerIsNoPerson(actor=standing.actor)
    accepted = [RESPONSIBLE] if standing.pharma else [QUALITY, RESPONSIBLE]
    for role in accepted:
        if role in standing.roles:
            return role
    raise SignerLacksRole(actor=standing.actor, needs=accepted[0])


def _reason_problems(command: SignDisposition, unit: ExposedUnit) -> list[Problem]:
    problems = []
    if not command.reason.strip():
        problems.append(Problem(field="reason", message="say what the decision rests on"))
    back = command.outcome in BACK_TO_STOCK
    if back and unit.verdict is Verdict.UNKNOWN and not command.evidence:
        fix = "probe the goods by hand and name the reading"
        problems.append(
            Problem(field="evidence", message="the readings do not tell what the goods had (D3)", fix=fix)
        )
    if unit.thawed_at is not None and command.outcome == Outcome.RELEASE:
        fix = "release with reduced life, or rework, return, donate, destroy"
        problems.append(Problem(field="outcome", message="thawed goods get a new expiry (D4)", fix=fix))
    return problems


def _life_problems(command: SignDisposition, unit: ExposedUnit, standing: Standing) -> list[Problem]:
    until, field = command.reduced_life_until, "reduced_life_until"
    if (until is not None) != (command.outcome == Outcome.REDUCED_LIFE):
        return [Problem(field=field, message="goes with a release with reduced life, and only with it")]
    if until is not None and until < standing.today:
        return [Problem(field=field, message="is over already")]
    if until is not None and standing.expires_on is not None and until >= standing.expires_on:
        message = f"is not earlier than the day they expire anyway, {standing.expires_on.isoformat()}"
        return [Problem(field=field, message=message)]
    return []


def _destroy_problems(command: SignDisposition, actor: str) -> list[Problem]:
    if command.outcome != Outcome.DESTROY:
        return []
    problems = []
    witness = command.witness.strip()
    if not witness or witness == actor:
        problems.append(Problem(field="witness", message="destruction has a witness beside who signs (D5)"))
    if not command.inspection.strip():
        fix = "name the insurer's report, or its waiver"
        problems.append(Problem(field="inspection", message="the insurer inspects first (D5)", fix=fix))
    return problems


def _part_problems(command: SignDisposition, unit: ExposedUnit) -> list[Problem]:
    if command.qty is None:
        message = "goes with qty"
        return [Problem(field="part_sscc", message=message)] if command.part_sscc else []
    problems = sscc_problems(command.part_sscc, "part_sscc")
    if not 0 < command.qty < unit.qty:
        message = f"a part of {unit.qty} is 1 to {unit.qty - 1}"
        problems.append(Problem(field="qty", message=message, fix="leave qty out to decide the whole unit"))
    if command.part_sscc == unit.sscc:
        problems.append(Problem(field="part_sscc", message="is the whole unit's own label"))
    return problems


def undecided(units: Collection[ExposedUnit], decided: Collection[str]) -> list[ExposedUnit]:
    """The units that somebody still has to decide about."""
    return [unit for unit in units if unit.sscc not in decided and unit.qty > 0]
