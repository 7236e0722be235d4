"""Actions that playbooks take on the goods and the zones of a site.

pause_zone        stop new promises from the zone: `reason`
hold_exposed      name and hold what stands in the zone since the last good reading: `why`
hold_unknown      the same, when nobody could say in time how warm the goods are: `why`
hand_reading      put a probed temperature on record: `product_c`
rescue_transfer   carry an approved move out, once people or the truck are there: `choice`, `approval_id`
release_zone      let the zone promise again, in the name of who released it
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from coldgrid.catalog.products import get_product
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import on_timer
from coldgrid.kernel.rejections import Conflict, NotFound
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import LocationKind, locations_of_zone
from coldgrid.orchestration.approvals import get_approval
from coldgrid.orchestration.decisions import alternatives_of
from coldgrid.orchestration.incidents import Status, UpdateIncident, get_incident
from coldgrid.orchestration.playbooks import register_action
from coldgrid.orchestration.runs import Run
from coldgrid.orchestration.tasks import Task, tasks_of
from coldgrid.quality.excursions import OpenExcursion
from coldgrid.quality.hand_readings import RecordHandReading, Target
from coldgrid.site_flows.pausing import pause
from coldgrid.site_flows.watch import last_good_at
from coldgrid.stock.inventory import units_in_zone, with_nested
from coldgrid.stock.movements import MoveUnit
from coldgrid.stock.pauses import PASSING, PauseReason, ResumeZone, open_pauses
from coldgrid.stock.transfers import ShipTransfer
from coldgrid.stock.units import Unit

TIMER = "site_flows.rescue"


class NothingChosen(NotFound):
    """The approved choice is none that a move can be made of."""


class NothingToMove(Conflict):
    """Nothing stands in the zone any more."""


class NoPlace(Conflict):
    """The chosen zone has no location that takes goods in."""


class NobodyReleased(Conflict):
    """A zone that was in excursion is released by a person; nobody is on record."""


def pause_zone(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Stop new promises from the zone."""
    reason = PauseReason(args.get("reason") or PauseReason.PRE_ALARM)
    pause(tx, run.site_id, run.zone_id, reason, run.incident_id)


def hold_exposed(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Name what stood in the zone since the last good reading; what follows holds it."""
    incident = get_incident(tx, run.incident_id)
    tx.run(
        OpenExcursion(
            site_id=run.site_id,
            excursion_id=derive_id("excursion", run.run_id, args["key"]),
            zone_id=run.zone_id,
            from_at=last_good_at(incident),
            why=str(args.get("why") or incident.title),
            cause_id=incident.cause_id,
            incident_id=run.incident_id,
        )
    )


def hand_reading(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Put on record what a person measured in the zone."""
    tx.run(
        RecordHandReading(
            site_id=run.site_id,
            reading_id=derive_id("reading", run.run_id, args["key"]),
            zone_id=run.zone_id,
            value_c=float(args["product_c"]),
            probe_id=str(args.get("probe_id") or "not named"),
            target=Target.PRODUCT,
            note=str(args.get("note") or ""),
        )
    )


def release_zone(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Lift what this incident's alarms and excursions paused, in the name of who released the zone."""
    del args
    for one in open_pauses(tx, run.zone_id):
        if one.reason not in (PauseReason.PRE_ALARM, PauseReason.EXCURSION):
            continue
        released = None if one.reason in PASSING else _released_by(tx, run)
        tx.run(
            ResumeZone(
                site_id=run.site_id,
                zone_id=run.zone_id,
                pause_id=one.pause_id,
                reason=released.title if released else "the air is in its band again",
                signed_by=(released.answered_by or "") if released else "",
                signed_roles=(released.role,) if released else (),
            )
        )


def _released_by(tx: Tx, run: Run) -> Task:
    """The task by whose answer a person released the zone."""
    for task in reversed(tasks_of(tx, run.incident_id)):
        if task.run_id == run.run_id and task.answer == "released" and task.answered_by:
            return task
    raise NobodyReleased(zone_id=run.zone_id)


# --- The rescue -----------------------------------------------------------------


def rescue_transfer(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Order what was approved; it is carried out when the people, or the truck, are there."""
    approval = get_approval(tx, str(args["approval_id"]))
    chosen = next((one for one in alternatives_of(approval.decision) if one.name == args["choice"]), None)
    if chosen is None:
        raise NothingChosen(choice=args["choice"])
    if not units_in_zone(tx, run.zone_id):
        raise NothingToMove(zone_id=run.zone_id)
    ready_min = float(chosen.facts.get("ready_min", 0.0))
    told = {
        "next_step": f"{chosen.name}, under hold",
        "rescue": chosen.name,
        "rescue_approval_id": approval.approval_id,
    }
    tx.run(UpdateIncident(site_id=run.site_id, incident_id=run.incident_id, facts=told))
    if "to_zone_id" not in chosen.facts:
        return
    payload = {
        "site_id": run.site_id,
        "zone_id": run.zone_id,
        "incident_id": run.incident_id,
        "to_site_id": chosen.facts["to_site_id"],
        "to_zone_id": chosen.facts["to_zone_id"],
        "pallets": chosen.facts["pallets"],
        "transfer_id": derive_id("transfer", run.run_id, args["key"]),
        "reason": str(args.get("reason") or chosen.name),
    }
    tx.set_timer(f"{TIMER}/{run.run_id}/{args['key']}", TIMER, tx.now + timedelta(minutes=ready_min), payload)


@on_timer(TIMER)
def carry_out(tx: Tx, timer: Timer) -> None:
    """Move the goods on the floor of the zone, with all that stands on them, as far as there is room."""
    told = timer.payload
    units = _most_valuable(tx, told["zone_id"])[: max(int(told["pallets"]), 0)]
    if not units:
        return
    _tell_moved(tx, told["incident_id"])
    if told["to_site_id"] != told["site_id"]:
        tx.run(
            ShipTransfer(
                site_id=told["site_id"],
                transfer_id=told["transfer_id"],
                to_site_id=told["to_site_id"],
                sscc=tuple(unit.sscc for unit in units),
                reason=told["reason"],
            )
        )
        return
    place = _place_in(tx, told["to_zone_id"])
    for unit in units:
        tx.run(
            MoveUnit(
                site_id=told["site_id"],
                sscc=unit.sscc,
                to_location_id=place,
                reason=told["reason"],
                other_class=True,  # a person agreed to this zone for all that stands here
            )
        )


def _tell_moved(tx: Tx, incident_id: str) -> None:
    """The order to move was carried out: what is left is the repair."""
    incident = get_incident(tx, incident_id)
    if incident.status is not Status.CLOSED:
        facts = {"next_step": f"Follow the repair of {incident.asset_id or incident.zone_id}"}
        tx.run(UpdateIncident(site_id=incident.site_id, incident_id=incident_id, facts=facts))


def _most_valuable(tx: Tx, zone_id: str) -> list[Unit]:
    """The units on the floor of a zone, each of which takes a pallet's place, the most valuable first."""
    floor = [unit for unit in units_in_zone(tx, zone_id) if not unit.parent_sscc]
    prices = {
        pid: get_product(tx, pid).value_cents
        for pid in {one.product_id for one in with_nested(tx, floor)}
        if pid
    }
    worth = {
        unit.sscc: sum(one.qty * prices.get(one.product_id, 0) for one in with_nested(tx, [unit]))
        for unit in floor
    }
    return sorted(floor, key=lambda unit: (-worth[unit.sscc], unit.sscc))


def _place_in(tx: Tx, zone_id: str) -> str:
    for kind in (LocationKind.STAGE, LocationKind.BULK, LocationKind.PICK):
        for location in locations_of_zone(tx, zone_id):
            if location.kind is kind and location.active:
                return location.location_id
    raise NoPlace(zone_id=zone_id)


for _name, _take in (
    ("pause_zone", pause_zone),
    ("hold_exposed", hold_exposed),
    ("hold_unknown", hold_exposed),
    ("hand_reading", hand_reading),
    ("rescue_transfer", rescue_transfer),
    ("release_zone", release_zone),
):
    register_action(_name, _take)
