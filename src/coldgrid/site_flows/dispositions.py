"""Dispositions: what quality signed is carried out on the goods.

    signed           → a part gets its label, the excursion's holds on the unit end, condemned goods go
    all are signed   → the playbook hears of it, and an excursion that is still open ends

The person who signed is named in everything that follows: automatic holds are ended by people. Goods that
were rescued to another site are decided here and freed there, once this fact has reached it.
"""

from __future__ import annotations

from coldgrid.kernel.registry import reacts
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
from coldgrid.stock.dispatch import RemoveGoods
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.holds import ReleaseHold
from coldgrid.stock.inventory import units_by_sscc
from coldgrid.stock.splits import SplitUnit
from coldgrid.stock.units import Unit


@reacts(DispositionSigned, name="site_flows.carry_out", safety=True)
def carry_out(tx: Tx, event: DispositionSigned) -> None:
    """Carry a decision out where the goods stand, if that is this site."""
    unit = _unit(tx, event)
    if unit is not None and unit.site_id == event.site_id:
        _carry_out(tx, event, unit)


@reacts(DispositionSigned, name="site_flows.carry_out_elsewhere", cursor=True)
def carry_out_elsewhere(tx: Tx, event: DispositionSigned) -> None:
    """Carry a decision out on goods that were moved to another site under hold."""
    unit = _unit(tx, event)
    if unit is not None and unit.site_id != event.site_id:
        _carry_out(tx, event, unit)


def _unit(tx: Tx, event: DispositionSigned) -> Unit | None:
    """The unit, or the one that a part is taken from, where it stands now."""
    sscc = event.from_sscc or event.sscc
    return next((unit for unit in units_by_sscc(tx, sscc) if unit.present), None)


def _carry_out(tx: Tx, event: DispositionSigned, unit: Unit) -> None:
    signed = _signed(tx, event)
    if event.from_sscc:
        tx.run(SplitUnit(site_id=unit.site_id, sscc=event.from_sscc, new_sscc=event.sscc, qty=event.qty))
    for hold in open_holds_of(tx, unit.site_id, [event.sscc]):
        if hold.cause_id == event.excursion_id:
            tx.run(
                ReleaseHold(
                    site_id=unit.site_id,
                    hold_id=hold.hold_id,
                    disposition=event.outcome,
                    evidence_id=event.disposition_id,
                    sscc=(event.sscc,),
                    reduced_life_until=event.reduced_life_until,
                    signed_by=signed.signed_by,
                    signed_roles=(event.signed_as,),
                )
            )
    if event.outcome is Outcome.DESTROY and not open_holds_of(tx, unit.site_id, [event.sscc]):
        tx.run(
            RemoveGoods(
                site_id=unit.site_id,
                sscc=event.sscc,
                evidence_id=event.disposition_id,
                witness=event.witness,
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
    facts = {"undecided_units": left}
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
