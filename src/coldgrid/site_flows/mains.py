"""Mains: what a loss of power sets going at its site.

    a UPS says that its mains are lost, or several devices of an outlet or a room fall silent
                     → one incident for the site's mains, however many devices are silent
    while it lasts   → how far it reaches and how long the batteries last at their load, looked at every 30 s
    a battery ends   → the steps of its shutdown, in their order, while there is time for them all
    the mains return → the incident's playbook hears of it, and what was switched off is switched on again

A probe that is silent in a dead room is no faulty probe: its alarm opens no incident of its own. Nobody sees
its goods, though: when their grace is over, `blind` asks for a hand reading like for any other silence.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.outbox import Effect
from coldgrid.kernel.registry import on_timer, reacts
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import (
    AdvanceIncident,
    Incident,
    NoteIncident,
    OpenIncident,
    Status,
    UpdateIncident,
    get_incident,
    open_incident_of,
)
from coldgrid.orchestration.playbooks import SignalRuns
from coldgrid.orchestration.runs import live_runs
from coldgrid.orchestration.severity import Severity, Stage, goods_at, severity_of
from coldgrid.site_flows.power import Reach, decide_shutdown
from coldgrid.site_flows.situation import RESPONSE_MIN, goods_at_stake
from coldgrid.site_flows.supply import Battery, Supply, look_at_supply
from coldgrid.telemetry.alarm_rules import AlarmRaised
from coldgrid.telemetry.rules import Role, Rule
from coldgrid.telemetry.sensors import ShutdownStep, get_sensor
from coldgrid.telemetry.signals import SignalChanged

TIMER = "site_flows.mains"
LOOK_EVERY = timedelta(seconds=30)
# A step that is due within a moment is not worth a look at every instant until then.
LOOK_LEAST = timedelta(seconds=1)
PLAYBOOK = "mains-lost"
CHANNEL = "siren"
SHUTDOWN_BEGUN = "Shutdown begun: "


def asset_of(site_id: str) -> str:
    """The name under which a site's mains stand in an incident."""
    return f"mains of {site_id}"


@reacts(SignalChanged, name="site_flows.mains_changed")
def mains_changed(tx: Tx, event: SignalChanged) -> None:
    """Look at the mains as soon as a UPS says that they came or went."""
    if event.role is Role.UPS_MAINS:
        look(tx, event.site_id)


@on_timer(TIMER)
def look_again(tx: Tx, timer: Timer) -> None:
    """Look once more while mains are lost."""
    look(tx, timer.payload["site_id"])


def explained(tx: Tx, event: AlarmRaised) -> bool:
    """Tell whether a sensor is silent because its circuit is dead; then the mains' incident says so."""
    if event.rule is not Rule.GAP or event.backfilled:
        return False
    sensor = get_sensor(tx, event.sensor_id)
    if not sensor.circuit:
        return False
    supply = look_at_supply(tx, event.site_id)
    if not supply.explains(sensor):
        return False
    _follow(tx, event.site_id, supply)
    return True


def look(tx: Tx, site_id: str) -> None:
    """Look at a site's mains: open, go on with, or end their incident."""
    supply = look_at_supply(tx, site_id)
    if supply.dead:
        _follow(tx, site_id, supply)
        return
    incident = open_incident_of(tx, site_id, "", asset_of(site_id))
    if incident is not None:
        _returned(tx, incident)


# --- While they are lost --------------------------------------------------------


def _follow(tx: Tx, site_id: str, supply: Supply) -> None:
    current = open_incident_of(tx, site_id, "", asset_of(site_id))
    facts, severity = _picture(tx, supply, {} if current is None else current.facts)
    title = _title(site_id, supply)
    if current is None or current.status is not Status.OPEN or _worse(severity, current.severity):
        incident_id = _open(tx, site_id, title, severity, facts)
    else:
        incident_id = current.incident_id
        tx.run(UpdateIncident(site_id=site_id, incident_id=incident_id, facts=facts, title=title))
    next_at = _shut_down(tx, site_id, incident_id, supply)
    soonest, latest = tx.now + LOOK_LEAST, tx.now + LOOK_EVERY
    due_at = max(min(next_at or latest, latest), soonest)
    tx.set_timer(f"{TIMER}/{site_id}", TIMER, due_at, {"site_id": site_id})


def _open(tx: Tx, site_id: str, title: str, severity: Severity, facts: dict[str, Any]) -> str:
    opened = tx.run(
        OpenIncident(
            site_id=site_id,
            incident_id=derive_id("incident", asset_of(site_id), tx.now.isoformat()),
            severity=severity,
            title=title,
            asset_id=asset_of(site_id),
            facts=facts,
            cause_id=tx.cause,
            playbook=PLAYBOOK,
        )
    )
    incident_id: str = opened.incident_id
    return incident_id


def _worse(severity: Severity, than: Severity) -> bool:
    order = list(Severity)
    return order.index(severity) > order.index(than)


def _title(site_id: str, supply: Supply) -> str:
    loss = supply.loss
    assert loss is not None, "mains are lost somewhere"
    places = ", ".join(loss.places)
    if loss.reach is Reach.SITE:
        return f"Mains lost at {site_id}, the whole site"
    if loss.reach is Reach.ROOM:
        return f"Mains lost in room {places}"
    if loss.reach is Reach.OUTLET:
        return f"Mains lost at outlet {places}"
    return f"A UPS of {site_id} runs on its battery"


def _picture(tx: Tx, supply: Supply, before: dict[str, Any]) -> tuple[dict[str, Any], Severity]:
    """What is dead, what stands there, how long the batteries last; and how serious that is.

    Cold rooms without mains warm up, and nobody sees how fast: their goods' time counts as short.
    """
    loss = supply.loss
    assert loss is not None, "mains are lost somewhere"
    silent = [one for one in supply.silent if supply.explains(one)]
    zones = sorted({one.zone_id for one in silent})
    stakes = [goods_at_stake(tx, zone_id) for zone_id in zones]
    units = sum(one["units"] for one in stakes)
    wide = loss.reach in (Reach.ROOM, Reach.SITE)
    severity = severity_of(Stage.PRE_ALARM if wide else Stage.FAULT, goods_at(units, None, RESPONSE_MIN))
    if loss.reach is Reach.SITE:
        # The node runs on its battery: people must come, goods or not.
        severity = max(severity, Severity.OPERATOR_ACTIONABLE, key=list(Severity).index)
    facts: dict[str, Any] = {
        "fault": _title(tx.origin, supply),
        "reach": loss.reach.value,
        "places": [place for place in loss.places if place],
        "zones": zones,
        "silent_sensors": len(silent),
        "units": units,
        "products": sorted({product for one in stakes for product in one["products"]}),
        "at_stake_cents": sum(one["at_stake_cents"] for one in stakes),
        "currency": next((one["currency"] for one in stakes if one["units"]), "USD"),
        "temperature_known": False,
        "undecided_units": 0,
        "next_step": _next_step(supply, zones),
    }
    return facts | _battery_facts(supply, before), severity


def _next_step(supply: Supply, zones: list[str]) -> str:
    loss = supply.loss
    assert loss is not None
    if loss.reach is Reach.UNKNOWN:
        return "Look at the plug and the breaker of the UPS"
    doors = f"Keep the doors of {', '.join(zones)} shut; " if zones else ""
    step = "call the utility" if loss.reach is Reach.SITE else "look at the breakers"
    return f"{doors}{step}" if doors else step.capitalize()


def _battery_facts(supply: Supply, before: dict[str, Any]) -> dict[str, Any]:
    """How long the batteries in use last, told anew when a coarser figure changed; None: nobody knows."""
    if not supply.lost:
        return {"battery_min": None, "battery_load_w": None}
    known = [(one.left_s, one.load_w) for one in supply.lost if one.left_s is not None]
    if not known:
        return {"battery_min": None, "battery_load_w": None}
    left_s, load_w = min(known)
    if left_s == float("inf"):
        return {"battery_min": None, "battery_load_w": 0}
    left_min = _coarse_min(left_s / 60)
    if left_min == before.get("battery_min"):
        return {}
    return {"battery_min": left_min, "battery_load_w": None if load_w is None else round(load_w)}


def _coarse_min(minutes: float) -> int:
    step = 15 if minutes >= 60 else 5 if minutes >= 15 else 1
    return int(minutes // step * step)


# --- Shutting down --------------------------------------------------------------


def _shut_down(tx: Tx, site_id: str, incident_id: str, supply: Supply) -> datetime | None:
    """Begin what is due before a battery ends; return when the next step is."""
    next_at: list[datetime] = []
    for battery in supply.lost:
        begun = dict(get_incident(tx, incident_id).facts.get("shutdown_begun") or {})
        done = int(begun.get(battery.sensor_id, 0))
        schedule = decide_shutdown(battery.left_s, battery.order, tx.now, done)
        if schedule.next_at is not None:
            next_at.append(schedule.next_at)
        for step in schedule.due:
            _switch(tx, incident_id, battery, step, "off")
            text = f"{SHUTDOWN_BEGUN}{step.name}, needs {step.needs_s:g} s. {_lasts(battery)}"
            tx.run(NoteIncident(site_id=site_id, incident_id=incident_id, text=text))
        if schedule.due:
            begun[battery.sensor_id] = done + len(schedule.due)
            names = ", ".join(step.name for step in schedule.due)
            facts = {"shutdown_begun": begun, "next_step": f"Shut down now: {names}"}
            tx.run(UpdateIncident(site_id=site_id, incident_id=incident_id, facts=facts))
            _signal(tx, site_id, incident_id, "shutdown_begun", {"steps": names})
    return min(next_at, default=None)


def _lasts(battery: Battery) -> str:
    if battery.left_s is None or battery.load_w is None or battery.energy_wh is None:
        return "How long the battery lasts is not known."
    return (
        f"The battery lasts {battery.left_s / 60:.0f} min at {battery.load_w:.0f} W "
        f"({battery.energy_wh:.0f} Wh left)."
    )


def _switch(tx: Tx, incident_id: str, battery: Battery, step: ShutdownStep, to: str) -> None:
    """Tell a relay on a topic; a step without one is a person's."""
    if not step.to:
        return
    payload: dict[str, Any] = {
        "to": step.to,
        "state": "on" if to == "off" else "off",
        "incident_id": incident_id,
        "escalation_id": f"shutdown/{incident_id}",
        "needed_by": [],
    }
    key = derive_id("shutdown", incident_id, battery.sensor_id, step.name, to, tx.now.isoformat())
    tx.emit(Effect(channel=CHANNEL, key=key, payload=payload, about=f"incident/{incident_id}"))


# --- When they are back ---------------------------------------------------------


def _returned(tx: Tx, incident: Incident) -> None:
    """The mains are there again: switch on what was switched off, and let the playbook check the rooms."""
    site_id, incident_id = incident.site_id, incident.incident_id
    if incident.status is not Status.OPEN:
        return
    begun = dict(incident.facts.get("shutdown_begun") or {})
    for battery in look_at_supply(tx, site_id).batteries:
        for step in battery.order[: int(begun.get(battery.sensor_id, 0))]:
            _switch(tx, incident_id, battery, step, "on")
    facts: dict[str, Any] = {
        "shutdown_begun": {},
        "battery_min": None,
        "next_step": "Check that every room cools again",
    }
    tx.run(UpdateIncident(site_id=site_id, incident_id=incident_id, facts=facts))
    if any(run.playbook == PLAYBOOK for run in live_runs(tx, incident_id=incident_id)):
        _signal(tx, site_id, incident_id, "mains_back", {})
    else:
        reason = "the mains are back"
        tx.run(AdvanceIncident(site_id=site_id, incident_id=incident_id, status=Status.CLOSED, reason=reason))


def _signal(tx: Tx, site_id: str, incident_id: str, signal: str, data: dict[str, Any]) -> None:
    told = msgspec.to_builtins(data)
    tx.run(
        SignalRuns(
            site_id=site_id,
            incident_id=incident_id,
            signal=signal,
            data=told,
            signal_id=f"{tx.cause}/{signal}/{tx.now.isoformat()}",
        )
    )
