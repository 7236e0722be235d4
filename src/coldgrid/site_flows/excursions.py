"""Excursions: what follows from goods that were out of their limits.

opened, widened       → the exposed units are held, medicines for the Responsible Person (safety)
opened                → the zone stops promising (safety)
opened, right after   → the incident says what is exposed and shipped, its playbook hears of it
goods arrive there    → they are named and held as well (safety)
closed                → the incident's numbers
a logger tells of harm → the goods that travelled with it are held (safety)
"""

from __future__ import annotations

from collections.abc import Iterable

from coldgrid.catalog.products import Regime, get_product
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import get_zone
from coldgrid.orchestration.incidents import (
    OpenIncident,
    Status,
    UpdateIncident,
    get_incident,
    open_incident_of,
)
from coldgrid.orchestration.playbooks import SignalRuns
from coldgrid.orchestration.severity import Severity
from coldgrid.quality.dispositions import dispositions_of, undecided_units_of_incident
from coldgrid.quality.excursions import (
    ExcursionClosed,
    ExcursionOpened,
    ExcursionUpdated,
    ExposedUnit,
    LinkExcursion,
    UpdateExcursion,
    exposed_units,
    get_excursion,
    open_excursion_of,
    shipped_units,
)
from coldgrid.quality.exposure import Verdict
from coldgrid.quality.journeys import JourneyRecorded
from coldgrid.quality.zone_air import is_out_of_band
from coldgrid.quality.zone_now import zone_now
from coldgrid.site_flows.pausing import pause
from coldgrid.site_flows.situation import PLAYBOOKS, goods_at_stake, told_of_alarm
from coldgrid.site_flows.watch import watch_zone
from coldgrid.stock.hold_facts import HoldExtended, HoldReason
from coldgrid.stock.holds import HoldAlreadyOpen, NothingToHold, PlaceHold
from coldgrid.stock.movements import UnitMoved, UnitReceived
from coldgrid.stock.pauses import PauseReason
from coldgrid.stock.transfers import TransferReceived


@reacts(ExcursionOpened, name="site_flows.hold_exposed", safety=True)
def hold_exposed(tx: Tx, event: ExcursionOpened) -> None:
    """Hold the units that an excursion names and that still are in the building."""
    _hold(tx, event.site_id, event.excursion_id, event.units)


@reacts(ExcursionUpdated, name="site_flows.hold_added", safety=True)
def hold_added(tx: Tx, event: ExcursionUpdated) -> None:
    """Hold the units that an excursion names for the first time."""
    _hold(tx, event.site_id, event.excursion_id, [unit for unit in event.units if unit.sscc in event.added])


def _hold(tx: Tx, site_id: str, excursion_id: str, units: Iterable[ExposedUnit]) -> None:
    """Place one hold for medicines and one for other goods: different people end them."""
    by_regime: dict[bool, list[str]] = {}
    # A part that was just decided is named under its own label, and held no more.
    decided = {one.sscc for one in dispositions_of(tx, excursion_id)}
    for unit in units:
        if unit.sscc in decided:
            continue
        pharma = get_product(tx, unit.product_id).regime is Regime.PHARMA
        by_regime.setdefault(pharma, []).append(unit.sscc)
    for pharma, ssccs in sorted(by_regime.items()):
        try:
            tx.run(
                PlaceHold(
                    site_id=site_id,
                    hold_id=derive_id("hold", excursion_id, "pharma" if pharma else "goods", tx.cause),
                    reason=HoldReason.TEMPERATURE_EXCURSION,
                    cause_id=excursion_id,
                    sscc=tuple(ssccs),
                )
            )
        except (HoldAlreadyOpen, NothingToHold):
            # They joined the hold when they were split from a held unit, or left before anybody knew.
            continue


@reacts(ExcursionOpened, name="site_flows.pause_excursion", safety=True)
def pause_excursion(tx: Tx, event: ExcursionOpened) -> None:
    """Stop new promises from the zone while goods are exposed there; late news of cold air stops nothing."""
    if event.over:
        return
    zone = get_zone(tx, event.zone_id)
    if is_out_of_band(tx, zone, tx.now) or zone_now(tx, event.zone_id, tx.now).in_range is not True:
        pause(tx, event.site_id, event.zone_id, PauseReason.EXCURSION, event.excursion_id)


@reacts(ExcursionOpened, name="site_flows.tell_excursion", later=True)
def tell_excursion(tx: Tx, event: ExcursionOpened) -> None:
    """Put into the incident what is exposed and what was shipped; without one, open it."""
    # By now its units were judged, and those that were shipped are named.
    exposed = len(exposed_units(tx, event.excursion_id))
    shipped = len(shipped_units(tx, event.excursion_id))
    facts = {
        "excursion_id": event.excursion_id,
        "exposed_units": exposed,
        "shipped_units": shipped,
        "at_stake_cents": get_excursion(tx, event.excursion_id).at_stake_cents,
        "currency": event.currency,
        "undecided_units": exposed,
    }
    incident_id = event.incident_id
    if incident_id:
        facts |= goods_at_stake(tx, event.zone_id, incident_id)
    if not incident_id:
        incident_id = _incident(tx, event, facts)
    else:
        tx.run(
            UpdateIncident(
                site_id=event.site_id,
                incident_id=incident_id,
                facts=facts,
                severity=Severity.EXCURSION_RISK if _speaks_of_harm(event, exposed + shipped) else None,
            )
        )
    tx.run(
        SignalRuns(
            site_id=event.site_id,
            incident_id=incident_id,
            signal="excursion_opened",
            data={
                "excursion_id": event.excursion_id,
                "units": exposed,
                "shipped": shipped,
            },
            signal_id=f"{tx.cause}/excursion_opened",
        )
    )


def _speaks_of_harm(event: ExcursionOpened, named: int) -> bool:
    """Whether something measured is behind it: an alarm of the air, or goods that were beyond a limit.

    Goods are held as well when nobody could say in time how warm they are, but silence is no evidence.
    """
    if event.alarm_id:
        return named > 0
    beyond = any(unit.outside_min > 0 for unit in event.units)
    verdicts = [unit.verdict for unit in event.units] + [gone.verdict for gone in event.shipped]
    return beyond or Verdict.ASSESS in verdicts


def _incident(tx: Tx, event: ExcursionOpened, facts: dict[str, object]) -> str:
    """Open an incident for goods that no alarm of a zone speaks for, and link the excursion to it."""
    zone = get_zone(tx, event.zone_id)
    opened = tx.run(
        OpenIncident(
            site_id=event.site_id,
            incident_id=derive_id("incident", event.excursion_id),
            severity=Severity.EXCURSION_RISK,
            title=f"Goods of {zone.name} may be harmed",
            zone_id=event.zone_id,
            asset_id=zone.asset_id,
            facts=facts
            | told_of_alarm(event.why, open_incident_of(tx, event.site_id, event.zone_id))
            | {"next_step": "Quality decides what becomes of the goods"},
            cause_id=event.excursion_id,
            # What is over needs signatures, nobody at the doors.
            playbook="" if event.over else PLAYBOOKS[zone.temperature_class],
        )
    )
    incident_id: str = opened.incident_id
    tx.run(LinkExcursion(site_id=event.site_id, excursion_id=event.excursion_id, incident_id=incident_id))
    watch_zone(tx, event.site_id, event.zone_id, incident_id)
    return incident_id


@reacts(UnitReceived, name="site_flows.name_received", safety=True)
def name_received(tx: Tx, event: UnitReceived) -> None:
    """Name and hold goods that were received into a zone in excursion."""
    _arrived(tx, event.zone_id)


@reacts(UnitMoved, name="site_flows.name_moved", safety=True)
def name_moved(tx: Tx, event: UnitMoved) -> None:
    """Name and hold goods that were moved into a zone in excursion."""
    if event.zone_id != event.from_zone_id:
        _arrived(tx, event.zone_id)


@reacts(TransferReceived, name="site_flows.name_transferred", safety=True)
def name_transferred(tx: Tx, event: TransferReceived) -> None:
    """Name and hold goods that came from another site into a zone in excursion."""
    _arrived(tx, event.zone_id)


@reacts(
    HoldExtended,
    name="site_flows.name_split",
    safety=True,
    scope=lambda event: event.zone_id or event.site_id,
)
def name_split(tx: Tx, event: HoldExtended) -> None:
    """Name what joined an excursion's hold by being split from a held unit."""
    if event.reason is HoldReason.TEMPERATURE_EXCURSION and event.zone_id:
        excursion = open_excursion_of(tx, event.zone_id)
        if excursion is not None and excursion.excursion_id == event.cause_id:
            _arrived(tx, event.zone_id)


def _arrived(tx: Tx, zone_id: str) -> None:
    excursion = open_excursion_of(tx, zone_id)
    if excursion is not None:
        why = "goods arrived while the zone was in excursion"
        tx.run(UpdateExcursion(site_id=excursion.site_id, excursion_id=excursion.excursion_id, why=why))


@reacts(ExcursionUpdated, name="site_flows.tell_update")
def tell_update(tx: Tx, event: ExcursionUpdated) -> None:
    """Keep the incident's numbers in step."""
    _tell_numbers(tx, event)


@reacts(ExcursionClosed, name="site_flows.tell_closed")
def tell_closed(tx: Tx, event: ExcursionClosed) -> None:
    """Put an excursion's last numbers into the incident."""
    _tell_numbers(tx, event)


def _tell_numbers(tx: Tx, event: ExcursionUpdated | ExcursionClosed) -> None:
    incident_id = get_excursion(tx, event.excursion_id).incident_id
    if not incident_id or get_incident(tx, incident_id).status is Status.CLOSED:
        return
    facts = {
        **goods_at_stake(tx, event.zone_id, incident_id),
        "exposed_units": len(exposed_units(tx, event.excursion_id)),
        "shipped_units": len(shipped_units(tx, event.excursion_id)),
        "undecided_units": len(undecided_units_of_incident(tx, incident_id)),
    }
    tx.run(UpdateIncident(site_id=event.site_id, incident_id=incident_id, facts=facts))


@reacts(JourneyRecorded, name="site_flows.hold_travelled", safety=True, scope=lambda event: event.site_id)
def hold_travelled(tx: Tx, event: JourneyRecorded) -> None:
    """Hold goods whose logger tells of harm on the way, or cannot tell."""
    doubtful = [unit.sscc for unit in event.units if unit.verdict is not Verdict.WITHIN_LIMITS]
    if not doubtful:
        return
    tx.run(
        PlaceHold(
            site_id=event.site_id,
            hold_id=derive_id("hold", event.journey_id),
            reason=HoldReason.QUALITY,
            cause_id=event.journey_id,
            sscc=tuple(doubtful),
        )
    )
