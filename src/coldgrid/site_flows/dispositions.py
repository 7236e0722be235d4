"""Dispositions: what quality signed is carried out on the goods.

    signed           → a part gets its label, the excursion's holds on the unit end, condemned goods go
    all are signed   → the playbook hears of it, and an excursion that is still open ends

The person who signed is named in everything that follows: automatic holds are ended by people. Goods that
were rescued to another site are decided here and freed there: that site is asked to carry it out, as a whole,
when its own host next hears of it.
"""

from __future__ import annotations

from datetime import date

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, reacts
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import AdvanceIncident, Status, UpdateIncident, get_incident
from coldgrid.orchestration.playbooks import SignalRuns
from coldgrid.orchestration.runs import live_runs
from coldgrid.quality.dispositions import (
    Disposition,
    DispositionSigned,
    Outcome,
    dispositions_of_unit,
    undecided_units,
    undecided_units_of_incident,
)
from coldgrid.quality.excursions import CloseExcursion, get_excursion
from coldgrid.site_flows.closing import zone_released
from coldgrid.site_flows.situation import goods_at_stake
from coldgrid.stock.dispatch import RemoveGoods
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.holds import ReleaseHold
from coldgrid.stock.inventory import units_by_sscc
from coldgrid.stock.splits import SplitUnit
from coldgrid.stock.units import Unit, UnitNotFound


class CarryOutDisposition(Command, frozen=True, tag="site_flows.carry_out_disposition"):
    """Ask to carry out at `site_id`, where the goods stand, what was signed about them at another site."""

    site_id: str
    disposition_id: str
    excursion_id: str
    sscc: str
    from_sscc: str
    qty: int
    outcome: Outcome
    reduced_life_until: date | None
    witness: str
    signed_by: str
    signed_as: str


@reacts(DispositionSigned, name="site_flows.carry_out", safety=True)
def carry_out(tx: Tx, event: DispositionSigned) -> None:
    """Carry a decision out where the goods stand, if that is this site."""
    unit = _unit(tx, event.from_sscc or event.sscc)
    if unit is not None and unit.site_id == event.site_id:
        _carry_out(tx, _order(tx, event, unit))


@reacts(DispositionSigned, name="site_flows.carry_out_elsewhere", cursor=True)
def carry_out_elsewhere(tx: Tx, event: DispositionSigned) -> None:
    """Carry a decision out on goods that were moved to another site under hold."""
    unit = _unit(tx, event.from_sscc or event.sscc)
    if unit is not None and unit.site_id != event.site_id:
        tx.run(_order(tx, event, unit))


@handles(CarryOutDisposition, action="site_flows.carry_out_disposition", owner=Owner.SITE)
def carry_out_here(tx: Tx, command: CarryOutDisposition) -> None:
    """Carry out what another site's quality signed, if the goods still stand here."""
    unit = _unit(tx, command.from_sscc or command.sscc)
    if unit is None or unit.site_id != command.site_id:
        raise UnitNotFound(sscc=command.sscc, site_id=command.site_id)
    _carry_out(tx, command)


def _order(tx: Tx, event: DispositionSigned, unit: Unit) -> CarryOutDisposition:
    return CarryOutDisposition(
        site_id=unit.site_id,
        disposition_id=event.disposition_id,
        excursion_id=event.excursion_id,
        sscc=event.sscc,
        from_sscc=event.from_sscc,
        qty=event.qty,
        outcome=event.outcome,
        reduced_life_until=event.reduced_life_until,
        witness=event.witness,
        signed_by=_signed(tx, event).signed_by,
        signed_as=event.signed_as,
    )


def _unit(tx: Tx, sscc: str) -> Unit | None:
    """The unit, or the one that a part is taken from, where it stands now."""
    return next((unit for unit in units_by_sscc(tx, sscc) if unit.present), None)


def _carry_out(tx: Tx, order: CarryOutDisposition) -> None:
    if order.from_sscc:
        tx.run(SplitUnit(site_id=order.site_id, sscc=order.from_sscc, new_sscc=order.sscc, qty=order.qty))
    for hold in open_holds_of(tx, order.site_id, [order.sscc]):
        if hold.cause_id == order.excursion_id:
            tx.run(
                ReleaseHold(
                    site_id=order.site_id,
                    hold_id=hold.hold_id,
                    disposition=order.outcome,
                    evidence_id=order.disposition_id,
                    sscc=(order.sscc,),
                    reduced_life_until=order.reduced_life_until,
                    signed_by=order.signed_by,
                    signed_roles=(order.signed_as,),
                )
            )
    if order.outcome is Outcome.DESTROY and not open_holds_of(tx, order.site_id, [order.sscc]):
        tx.run(
            RemoveGoods(
                site_id=order.site_id,
                sscc=order.sscc,
                evidence_id=order.disposition_id,
                witness=order.witness,
            )
        )


def _signed(tx: Tx, event: DispositionSigned) -> Disposition:
    """The decision with who signed it, which the event leaves to its entry."""
    return next(
        one for one in dispositions_of_unit(tx, event.sscc) if one.disposition_id == event.disposition_id
    )


@reacts(DispositionSigned, name="site_flows.tell_decided")
def tell_decided(tx: Tx, event: DispositionSigned) -> None:
    """Count what is still undecided, and say when nothing is."""
    excursion = get_excursion(tx, event.excursion_id)
    if not undecided_units(tx, event.excursion_id) and excursion.closed_at is None:
        reason = "every unit is decided"
        tx.run(CloseExcursion(site_id=event.site_id, excursion_id=event.excursion_id, reason=reason))
    incident_id = excursion.incident_id
    if not incident_id or get_incident(tx, incident_id).status is Status.CLOSED:
        return
    left = len(undecided_units_of_incident(tx, incident_id))
    facts = {"undecided_units": left, **goods_at_stake(tx, event.zone_id, incident_id)}
    tx.run(UpdateIncident(site_id=event.site_id, incident_id=incident_id, facts=facts))
    if left:
        return
    if live_runs(tx, incident_id=incident_id):
        tx.run(
            SignalRuns(
                site_id=event.site_id,
                incident_id=incident_id,
                signal="units_decided",
                signal_id=f"{tx.cause}/units_decided",
            )
        )
    elif zone_released(tx, event.zone_id):
        # No playbook drives it: with the last signature nothing is left to do.
        tx.run(AdvanceIncident(site_id=event.site_id, incident_id=incident_id, status=Status.CLOSED))
