"""Care: a sign that a device is failing becomes somebody's task, long before it is an alarm.

found              → an incident of the device, informational, with a task for a technician
gone               → the incident ends by itself
looked for         → every hour while readings come, and as soon as a device says something new of itself
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import OpenIncident, UpdateIncident, open_incident_of
from coldgrid.orchestration.playbooks import SignalRuns
from coldgrid.orchestration.severity import Severity
from coldgrid.telemetry.device_clocks import DeviceClockJudged
from coldgrid.telemetry.flaws import (
    Flaw,
    FlawEnded,
    FlawFound,
    LookAfterDevices,
    StandingFlaw,
    flaws_of_site,
)
from coldgrid.telemetry.heard import DevicesTold
from coldgrid.telemetry.manifests import BlocksManifested, Why
from coldgrid.telemetry.sensors import SensorDefined

PLAYBOOK = "device-care"
NEXT_STEPS = {
    Flaw.BATTERY: "Change the battery of {subject}",
    Flaw.SIGNAL: "Move {subject}, its antenna or the gateway, so that it is heard better",
    Flaw.CLOCK: "Set the clock of {subject}: nobody knows when its readings were taken",
    Flaw.DRIFT: "Check {subject} against a reference, and have it calibrated",
    Flaw.CALIBRATION: "Have {subject} calibrated, and put the new certificate on record",
}


def sign_of(flaw: Flaw, value: float | None) -> str:
    """Say what is wrong with it."""
    if flaw is Flaw.BATTERY:
        return f"its battery is at {value:.0f} %"
    if flaw is Flaw.SIGNAL:
        return f"it is hardly heard, at {value:.0f} dBm"
    if flaw is Flaw.CLOCK:
        return "its clock cannot be trusted"
    if flaw is Flaw.DRIFT:
        return f"it moved {value:+.1f} °C away from the other sensors of its zone"
    assert value is not None, "a certificate has a day on which it ends"
    if value < 0:
        return f"its calibration is overdue since {-value:.0f} days"
    return f"its calibration is due in {value:.0f} days"


def told_of(subject: str, standing: Sequence[StandingFlaw]) -> str:
    """Say everything that is wrong with a device, in a sentence."""
    return f"{subject}: " + "; ".join(sign_of(one.flaw, one.value) for one in standing)


def _facts(subject: str, standing: Sequence[StandingFlaw]) -> dict[str, Any]:
    steps = [NEXT_STEPS[one.flaw].format(subject=subject) for one in standing]
    return {"fault": told_of(subject, standing), "next_step": ". ".join(steps)}


def _flaws_of(tx: Tx, site_id: str, subject: str) -> list[StandingFlaw]:
    standing = [one for one in flaws_of_site(tx, site_id) if one.subject == subject]
    return sorted(standing, key=lambda one: list(Flaw).index(one.flaw))


@reacts(FlawFound, name="site_flows.open_care")
def open_care(tx: Tx, event: FlawFound) -> None:
    """Open the device's incident, or let the flaw join it: it says all that stand."""
    current = open_incident_of(tx, event.site_id, "", event.subject)
    standing = _flaws_of(tx, event.site_id, event.subject)
    facts = _facts(event.subject, standing) | {
        "flaw": event.flaw,
        "sensors": event.sensors,
        "undecided_units": 0,
        "zone_released": True,
    }
    opened = tx.run(
        OpenIncident(
            site_id=event.site_id,
            incident_id=derive_id("incident", event.flaw_id),
            severity=Severity.INFORMATIONAL,
            title=facts["fault"],
            asset_id=event.subject,
            facts=facts,
            cause_id=event.flaw_id,
            playbook=PLAYBOOK if current is None else "",
        )
    )
    if current is not None:
        _say(tx, event.site_id, opened.incident_id, event.subject, standing)


def _say(tx: Tx, site_id: str, incident_id: str, subject: str, standing: Sequence[StandingFlaw]) -> None:
    facts = _facts(subject, standing)
    tx.run(UpdateIncident(site_id=site_id, incident_id=incident_id, facts=facts, title=facts["fault"]))


@reacts(FlawEnded, name="site_flows.end_care")
def end_care(tx: Tx, event: FlawEnded) -> None:
    """Let the playbook know when nothing is wrong with the device any more; else say what still is."""
    incident = open_incident_of(tx, event.site_id, "", event.subject)
    if incident is None:
        return
    standing = _flaws_of(tx, event.site_id, event.subject)
    if standing:
        _say(tx, event.site_id, incident.incident_id, event.subject, standing)
        return
    tx.run(
        SignalRuns(
            site_id=event.site_id,
            incident_id=incident.incident_id,
            signal="care_over",
            data={"flaw": event.flaw},
            signal_id=f"{tx.cause}/care_over",
        )
    )


@reacts(DevicesTold, name="site_flows.look_after_told", later=True)
def look_after_told(tx: Tx, event: DevicesTold) -> None:
    """Look as soon as a device says something new of itself."""
    tx.run(LookAfterDevices(site_id=event.site_id))


@reacts(DeviceClockJudged, name="site_flows.look_after_clock", later=True)
def look_after_clock(tx: Tx, event: DeviceClockJudged) -> None:
    """Look as soon as a clock is found wrong, or right again."""
    tx.run(LookAfterDevices(site_id=event.site_id))


@reacts(BlocksManifested, name="site_flows.look_after_hour", later=True)
def look_after_hour(tx: Tx, event: BlocksManifested) -> None:
    """Look every hour while readings come."""
    if event.why is Why.HOURLY:
        tx.run(LookAfterDevices(site_id=event.site_id))


@reacts(SensorDefined, name="site_flows.look_after_change", cursor=True)
def look_after_change(tx: Tx, event: SensorDefined) -> None:
    """Look when a sensor's settings change: a new certificate, or it is out of use."""
    if any(one.subject == event.sensor.sensor_id for one in flaws_of_site(tx, event.site_id)):
        tx.run(LookAfterDevices(site_id=event.site_id))
