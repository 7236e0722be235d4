"""Alarms: what a sensor's alarm sets going at its site.

    pre-alarm or excursion   → the zone stops promising (safety: fails closed)
    any                      → an incident with asset, goods and money at stake, time left and next step
    excursion                → the goods that stood there since the last good reading are named (safety)
    excursion, right after   → what the readings say of those goods, and how much time is left
    returned                 → the incident's playbook hears of it once nothing else stands

A fault (a silent or stuck sensor) opens an incident whose temperature is unknown and holds nothing: missing
data is never good data, and never bad data either. What a door or a defrost explains never gets here.

An excursion that is told as it happens is urgent: its commit does what is safe (no promises, an incident,
the goods held) and nothing that needs the zone's history. That follows in the next commit, before anybody is
paged.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import on_timer, reacts
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import Zone, get_zone
from coldgrid.orchestration.incidents import Incident, OpenIncident, UpdateIncident, open_incident_of
from coldgrid.orchestration.playbooks import SignalRuns
from coldgrid.orchestration.severity import Severity, goods_at, severity_of
from coldgrid.orchestration.severity import Stage as Seriousness
from coldgrid.quality.excursions import OpenExcursion, UpdateExcursion, open_excursion_of
from coldgrid.site_flows import blind, mains
from coldgrid.site_flows.pausing import pause
from coldgrid.site_flows.situation import (
    FAULT_PLAYBOOK,
    PLAYBOOKS,
    RESPONSE_MIN,
    Situation,
    bridges,
    goods_at_stake,
    situation,
    told_of_alarm,
    wants_first_moves,
)
from coldgrid.site_flows.watch import watch_zone
from coldgrid.stock.pauses import PauseReason
from coldgrid.telemetry.alarm_rules import STANDING, AlarmRaised, AlarmReturned, SensorRestored
from coldgrid.telemetry.alarms import open_alarms_of_zone
from coldgrid.telemetry.rules import Role, Rule, Stage
from coldgrid.telemetry.sensors import get_sensor, sensors_of_zone

REASONS = {Stage.PRE_ALARM: PauseReason.PRE_ALARM, Stage.EXCURSION: PauseReason.EXCURSION}
# A backfilled alarm tells of the past; its incident watches the zone only if it still is warm.
WARM = (Stage.PRE_ALARM, Stage.EXCURSION)


@reacts(AlarmRaised, name="site_flows.pause_zone", safety=True)
def pause_zone(tx: Tx, event: AlarmRaised) -> None:
    """Stop new promises from a zone that warms up; late news of a zone that is cold again stops nothing."""
    reason = REASONS.get(event.stage)
    if reason is None:
        return
    if event.backfilled and situation(tx, get_zone(tx, event.zone_id), tx.now).now.in_range:
        return
    pause(tx, event.site_id, event.zone_id, reason, event.alarm_id)


@reacts(AlarmRaised, name="site_flows.open_incident")
def open_incident(tx: Tx, event: AlarmRaised) -> None:
    """Open the zone's incident, or let the alarm join it; what the mains explain is left to theirs."""
    if mains.explained(tx, event) and open_incident_of(tx, event.site_id, event.zone_id) is None:
        blind.leave_to_mains(tx, event)
        return
    _open_or_join(tx, event)


@on_timer(blind.TIMER)
def look_at_blind(tx: Tx, timer: Timer) -> None:
    """Open the incident of a silent sensor that the mains explain no longer, or whose goods cannot wait."""
    event = blind.alarm_again(tx, timer)
    if event is not None:
        _open_or_join(tx, event)


def _open_or_join(tx: Tx, event: AlarmRaised) -> None:
    zone, current = get_zone(tx, event.zone_id), open_incident_of(tx, event.site_id, event.zone_id)
    look = _first_look if is_urgent(event) else _whole_look
    facts, severity = look(tx, event, zone, current)
    facts |= told_of_alarm(event.why, current, sensor_id=event.sensor_id) | {"alarm_id": event.alarm_id}
    opened = tx.run(
        OpenIncident(
            site_id=event.site_id,
            incident_id=derive_id("incident", event.alarm_id),
            severity=severity,
            title=_TITLES[event.stage].format(zone=zone.name, sensor=event.sensor_id),
            zone_id=event.zone_id,
            asset_id=zone.asset_id,
            facts=facts,
            cause_id=event.alarm_id,
            playbook=_playbook(event, zone, current),
        )
    )
    if opened.joined and event.stage in WARM:
        _retitle(tx, zone, event.site_id, {over: now for now, over in _OVER.items()})
    watch_zone(tx, event.site_id, event.zone_id, opened.incident_id)


_TITLES = {
    Stage.PRE_ALARM: "{zone} is warming up",
    Stage.EXCURSION: "{zone} is too warm",
    Stage.FAULT: "{sensor} cannot be trusted",
}
# What an incident is called once its zone is cold again.
_OVER = {
    _TITLES[Stage.PRE_ALARM]: "{zone} warmed up",
    _TITLES[Stage.EXCURSION]: "{zone} was too warm",
}


def _retitle(tx: Tx, zone: Zone, site_id: str, titles: Mapping[str, str]) -> None:
    """Call a zone's incident by what is true now; a title that a person or another cause gave stays."""
    current = open_incident_of(tx, site_id, zone.zone_id)
    if current is None:
        return
    named = {before.format(zone=zone.name): after.format(zone=zone.name) for before, after in titles.items()}
    if current.title in named:
        update = UpdateIncident(site_id=site_id, incident_id=current.incident_id, title=named[current.title])
        tx.run(update)


def is_urgent(event: AlarmRaised) -> bool:
    """Tell whether goods are being harmed now: what is safe comes first, what explains it right after."""
    return event.stage is Stage.EXCURSION and not event.backfilled


def _first_look(
    tx: Tx, event: AlarmRaised, zone: Zone, current: Incident | None
) -> tuple[dict[str, Any], Severity]:
    """What an urgent alarm and the stock say, without the zone's history; `tell_picture` adds the rest."""
    facts = goods_at_stake(tx, zone.zone_id, current.incident_id if current else "")
    facts |= {"value_c": event.value_c, "temperature_known": True, "zone_released": False}
    facts |= {"trend_c_per_h": event.rate_c_per_h, "last_good_at": event.last_good_at}
    if wants_first_moves(current):
        facts["next_step"] = _first_moves(zone)
    # How much time is left does not matter any more: in an excursion goods are at risk, where there are any.
    goods = goods_at(facts["units"], None, RESPONSE_MIN)
    return facts, severity_of(Seriousness.EXCURSION, goods)


def _whole_look(
    tx: Tx, event: AlarmRaised, zone: Zone, current: Incident | None
) -> tuple[dict[str, Any], Severity]:
    seen = situation(tx, zone, tx.now, current.incident_id if current else "")
    facts, fault = seen.facts(), event.stage is Stage.FAULT
    if wants_first_moves(current):
        facts["next_step"] = _check_sensor(tx, event, seen) if fault else _first_moves(zone)
    if not fault:
        facts["trend_c_per_h"] = facts["trend_c_per_h"] or event.rate_c_per_h
    if not fault or not seen.known:
        facts["last_good_at"] = event.last_good_at
    return facts, seen.severity(Seriousness(event.stage.value))


def _playbook(event: AlarmRaised, zone: Zone, current: Incident | None) -> str:
    """A fault in a zone that somebody looks after already needs no response of its own."""
    if event.stage is not Stage.FAULT:
        return PLAYBOOKS[zone.temperature_class]
    return FAULT_PLAYBOOK if current is None else ""


def _first_moves(zone: Zone) -> str:
    asset = f" for {zone.asset_id}" if zone.asset_id else ""
    return f"Shut the doors of {zone.name} and call the technician{asset}"


def _check_sensor(tx: Tx, event: AlarmRaised, seen: Situation) -> str:
    others = sorted(bridges(tx, seen.zone, tx.now))
    if others:
        return f"Look at {event.sensor_id}; {', '.join(others)} still watches {seen.zone.name}"
    since = event.last_good_at or event.since_at
    left = since + timedelta(minutes=seen.now.grace_min) - tx.now
    if left <= timedelta():
        return f"Measure a product in {seen.zone.name} by hand now"
    return f"Measure a product in {seen.zone.name} by hand within {left.total_seconds() / 60:.0f} min"


@reacts(AlarmRaised, name="site_flows.open_excursion", safety=True)
def open_excursion(tx: Tx, event: AlarmRaised) -> None:
    """Name what stood in the air that was out of its band, since the last good reading."""
    if event.stage is not Stage.EXCURSION:
        return
    incident = open_incident_of(tx, event.site_id, event.zone_id)
    tx.run(
        OpenExcursion(
            site_id=event.site_id,
            excursion_id=derive_id("excursion", event.alarm_id),
            zone_id=event.zone_id,
            from_at=event.last_good_at or event.since_at,
            why=event.why,
            alarm_id=event.alarm_id,
            incident_id=incident.incident_id if incident is not None else "",
            locations=tuple(sorted(_covers(tx, event))),
            judged_later=is_urgent(event),
        )
    )


def _covers(tx: Tx, event: AlarmRaised) -> list[str]:
    sensors = sensors_of_zone(tx, event.zone_id)
    return next((one.covers for one in sensors if one.sensor_id == event.sensor_id), [])


@reacts(AlarmRaised, name="site_flows.judge_exposed", later=True)
def judge_exposed(tx: Tx, event: AlarmRaised) -> None:
    """Judge the goods that an urgent alarm named, and name those that were shipped meanwhile."""
    if not is_urgent(event):
        return
    excursion = open_excursion_of(tx, event.zone_id)
    if excursion is not None:
        tx.run(UpdateExcursion(site_id=excursion.site_id, excursion_id=excursion.excursion_id))


@reacts(AlarmRaised, name="site_flows.tell_picture", later=True)
def tell_picture(tx: Tx, event: AlarmRaised) -> None:
    """Put into the incident of an urgent alarm what the zone's history says: trend, estimate, time left."""
    if not is_urgent(event):
        return
    incident = open_incident_of(tx, event.site_id, event.zone_id)
    if incident is not None:
        facts, _ = _whole_look(tx, event, get_zone(tx, event.zone_id), incident)
        update = UpdateIncident(site_id=event.site_id, incident_id=incident.incident_id, facts=facts)
        tx.run(update)


@reacts(AlarmReturned, name="site_flows.tell_returned")
def tell_returned(tx: Tx, event: AlarmReturned) -> None:
    """Let the playbook know when the last warm alarm of a zone is over."""
    if event.stage not in WARM:
        return
    if not _standing(tx, event.zone_id, WARM, besides=event.alarm_id):
        _retitle(tx, get_zone(tx, event.zone_id), event.site_id, _OVER)
        _signal(tx, event, "alarm_returned", {"alarm_id": event.alarm_id, "value_c": event.value_c})


@reacts(SensorRestored, name="site_flows.tell_restored")
def tell_restored(tx: Tx, event: SensorRestored) -> None:
    """Let the playbook know when the last silent sensor of a zone that is not warm speaks again."""
    if not _standing(tx, event.zone_id, tuple(Stage)) and open_excursion_of(tx, event.zone_id) is None:
        _signal(tx, event, "sensor_restored", {"sensor_id": event.sensor_id})


def _standing(tx: Tx, zone_id: str, stages: tuple[Stage, ...], besides: str = "") -> bool:
    """Whether anything is wrong with the air now.

    The sum of warm minutes of a day stands long after it is cold again, and a product probe warms and cools
    as slowly as the goods do: those are judged by their excursion, not by the zone's recovery.
    """
    return any(
        alarm.stage in stages
        and alarm.state in STANDING
        and alarm.alarm_id != besides
        and alarm.rule is not Rule.CUMULATIVE
        and get_sensor(tx, alarm.sensor_id).role is not Role.PRODUCT_PROBE
        for alarm in open_alarms_of_zone(tx, zone_id)
    )


def _signal(tx: Tx, event: AlarmReturned | SensorRestored, signal: str, data: dict[str, object]) -> None:
    tx.run(
        SignalRuns(
            site_id=event.site_id,
            zone_id=event.zone_id,
            signal=signal,
            data=data,
            signal_id=f"{tx.cause}/{signal}",
        )
    )
