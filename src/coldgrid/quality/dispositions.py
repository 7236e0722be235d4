"""Dispositions on the log: their table, the command, and what others may ask.

The rules D1 to D7 are in `disposition_rules`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
import sqlalchemy as sa

from coldgrid.catalog.products import Regime, get_product
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Day, Instant, Json, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.approvals import Approval, approvers_of, register_involvement
from coldgrid.orchestration.incidents import Incident, register_settlement
from coldgrid.quality.disposition_rules import (
    Disposition,
    DispositionIdTaken,
    DispositionSigned,
    ExposureNotOver,
    SignDisposition,
    SignerInvolved,
    SignerIsNoPerson,
    SignerLacksRole,
    Standing,
    UnitAlreadyDecided,
    UnitNotExposed,
    decide_sign,
    undecided,
)
from coldgrid.quality.excursions import (
    Excursion,
    ExposedUnit,
    excursions_of_incident,
    exposed_unit,
    exposed_units,
    get_excursion,
)
from coldgrid.quality.zone_now import zone_now
from coldgrid.stock.hold_book import holds_of_unit
from coldgrid.stock.hold_facts import Disposition as Outcome
from coldgrid.stock.inventory import units_by_sscc
from coldgrid.stock.transfer_book import sent_under_hold

__all__ = [
    "Disposition",
    "DispositionIdTaken",
    "DispositionSigned",
    "ExposureNotOver",
    "Outcome",
    "SignDisposition",
    "SignerInvolved",
    "SignerIsNoPerson",
    "SignerLacksRole",
    "UnitAlreadyDecided",
    "UnitNotExposed",
    "dispositions_of",
    "dispositions_of_unit",
    "undecided_units",
    "undecided_units_of_incident",
]

# --- Table and projection -------------------------------------------------------

quality_disposition = sa.Table(
    "quality_disposition",
    metadata,
    sa.Column("disposition_id", sa.Text, primary_key=True),
    sa.Column("excursion_id", sa.Text, nullable=False),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("sscc", sa.Text, nullable=False),
    sa.Column("product_id", sa.Text, nullable=False),
    sa.Column("lot_id", sa.Text, nullable=False),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("outcome", Named(Outcome), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("reduced_life_until", Day),
    sa.Column("evidence", Json(tuple[str, ...]), nullable=False),
    sa.Column("witness", sa.Text, nullable=False),
    sa.Column("inspection", sa.Text, nullable=False),
    sa.Column("from_sscc", sa.Text, nullable=False),
    sa.Column("signed_by", sa.Text, nullable=False),
    sa.Column("signed_as", sa.Text, nullable=False),
    sa.Column("signed_at", Instant, nullable=False),
    sa.UniqueConstraint("excursion_id", "sscc", name="uq_quality_disposition_unit"),
    sa.Index("ix_quality_disposition_sscc", "sscc"),
    info={"origin": "site"},
)
_SIGN = Statement(quality_disposition.insert())


@projects(DispositionSigned)
def _sign_row(tx: Tx, event: DispositionSigned) -> None:
    fields = {name: value for name, value in msgspec.structs.asdict(event).items() if name in _FIELDS}
    tx.write(_SIGN, **fields, signed_by=tx.actor, signed_at=tx.now)


_FIELDS = frozenset(Disposition.__struct_fields__)


# --- Command --------------------------------------------------------------------


@handles(SignDisposition, action="quality.sign_disposition", owner=Owner.SITE)
def sign_disposition(tx: Tx, command: SignDisposition) -> DispositionSigned:
    """Sign for a unit, or a part of it."""
    if tx.one(_GET, which=command.disposition_id) is not None:
        raise DispositionIdTaken(disposition_id=command.disposition_id)
    excursion = get_excursion(tx, command.excursion_id)
    unit = _undecided_unit(tx, command.excursion_id, command.sscc)
    standing = _standing(tx, excursion, unit)
    event = decide_sign(command, unit, excursion.zone_id, excursion.incident_id, standing)
    tx.record(f"disposition/{command.disposition_id}", event)
    return event


def _undecided_unit(db: Reader, excursion_id: str, sscc: str) -> ExposedUnit:
    exposed = exposed_unit(db, excursion_id, sscc)
    if exposed is None:
        raise UnitNotExposed(excursion_id=excursion_id, sscc=sscc)
    signed = dispositions_of(db, excursion_id)
    for one in signed:
        if one.sscc == sscc:
            raise UnitAlreadyDecided(sscc=sscc, disposition_id=one.disposition_id, signed_by=one.signed_by)
    named = {row.numbers.sscc for row in exposed_units(db, excursion_id)}
    return _rest(exposed.numbers, signed, named)


def _rest(unit: ExposedUnit, signed: Iterable[Disposition], named: Collection[str]) -> ExposedUnit:
    """What is left of a unit beside the parts that were decided by themselves (D7).

    A part that the excursion names under its own label is no longer counted in the unit.
    """
    taken = sum(one.qty for one in signed if one.from_sscc == unit.sscc and one.sscc not in named)
    if not taken:
        return unit
    return msgspec.structs.replace(
        unit, qty=unit.qty - taken, value_cents=unit.value_cents * (unit.qty - taken) // unit.qty
    )


def _standing(tx: Tx, excursion: Excursion, unit: ExposedUnit) -> Standing:
    here = next((one for one in units_by_sscc(tx, unit.sscc) if one.present), None)
    holds = [hold for hold in holds_of_unit(tx, unit.sscc) if hold.cause_id == excursion.excursion_id]
    approved_by = approvers_of(tx, excursion.incident_id) if excursion.incident_id else set()
    sent_by = sent_under_hold(tx, unit.sscc, excursion.excursion_id)
    stands_there = here is not None and here.zone_id == excursion.zone_id
    return Standing(
        actor=tx.actor,
        roles=tx.roles,
        pharma=get_product(tx, unit.product_id).regime is Regime.PHARMA,
        placed_by=frozenset(hold.placed_by for hold in holds),
        authorised_by=frozenset(approved_by | sent_by),
        exposed=stands_there and zone_now(tx, excursion.zone_id, tx.now).in_range is not True,
        today=tx.now.date(),
        expires_on=here.expires_on if here is not None else None,
    )


def _signed_for(db: Reader, approval: Approval, person: str) -> str | None:
    """Who signed for goods of an incident does not authorise their rescue afterwards (D2)."""
    for excursion in excursions_of_incident(db, approval.incident_id) if approval.incident_id else ():
        for signed in dispositions_of(db, excursion.excursion_id):
            if signed.signed_by == person:
                return f"signed the disposition of {signed.sscc}"
    return None


def _settled(db: Reader, incident: Incident) -> dict[str, int]:
    return {"undecided_units": len(undecided_units_of_incident(db, incident.incident_id))}


register_involvement("quality.dispositions", _signed_for)
register_settlement("quality.dispositions", _settled)

# --- Queries --------------------------------------------------------------------


def _disposition(*row: object) -> Disposition:
    return Disposition(**dict(zip(Disposition.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_SELECT = sa.select(*(quality_disposition.c[name] for name in Disposition.__struct_fields__)).order_by(
    quality_disposition.c.signed_at, quality_disposition.c.disposition_id
)
_GET = Statement(
    _SELECT.where(quality_disposition.c.disposition_id == sa.bindparam("which")), into=_disposition
)
_OF_EXCURSION = Statement(
    _SELECT.where(quality_disposition.c.excursion_id == sa.bindparam("of")), into=_disposition
)
_OF_UNIT = Statement(_SELECT.where(quality_disposition.c.sscc == sa.bindparam("sscc")), into=_disposition)


def dispositions_of(db: Reader, excursion_id: str) -> list[Disposition]:
    """Return what was signed for an excursion's units, oldest first."""
    return db.all(_OF_EXCURSION, of=excursion_id)


def dispositions_of_unit(db: Reader, sscc: str) -> list[Disposition]:
    """Return every decision about a unit, oldest first."""
    return db.all(_OF_UNIT, sscc=sscc)


def undecided_units(db: Reader, excursion_id: str) -> list[ExposedUnit]:
    """Return the units of an excursion that somebody still has to decide about, with what is left of each."""
    signed = dispositions_of(db, excursion_id)
    exposed = [row.numbers for row in exposed_units(db, excursion_id)]
    named = {unit.sscc for unit in exposed}
    units = [_rest(unit, signed, named) for unit in exposed]
    return undecided(units, {one.sscc for one in signed})


def undecided_units_of_incident(db: Reader, incident_id: str) -> list[ExposedUnit]:
    """Return the units that keep an incident open."""
    return [
        unit
        for excursion in excursions_of_incident(db, incident_id)
        for unit in undecided_units(db, excursion.excursion_id)
    ]
