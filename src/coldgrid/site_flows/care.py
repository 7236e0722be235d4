"""Care: a sign that a device is failing becomes somebody's task, long before it is an alarm.

found              → an incident of the device, informational, with a task for a technician
gone               → the incident ends by itself
looked for         → every hour while readings come, and as soon as a device says something new of itself
"""

from __future__ import annotations

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import OpenIncident, open_incident_of
from coldgrid.orchestration.playbooks import SignalRuns
from coldgrid.orchestration.severity import Severity
from coldgrid.telemetry.device_clocks import DeviceClockJudged
from coldgrid.telemetry.flaws import Flaw, FlawEnded, FlawFound, LookAfterDevices, flaws_of_site
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


def told_of(event: FlawFound) -> str:
    """Say what is wrong, in a sentence."""
    value = event.value
    if event.flaw is Flaw.BATTERY:
        return f"{event.subject}: its battery is at {value:.0f} %"
    if event.flaw is Flaw.SIGNAL:
        return f"{event.subject}: it is hardly heard, at {value:.0f} dBm"
    if event.flaw is Flaw.CLOCK:
        return f"{event.subject}: its clock cannot be trusted"
    if event.flaw is Flaw.DRIFT:
        return f"{event.subject}: it moved {value:+.1f} °C away from the other sensors of its zone"
    assert value is not None, "a certificate has a day on which it ends"
    if value < 0:
        return f"{event.subject}: its calibration is overdue since {-value:.0f} days"
    return f"{event.subject}: its calibration is due in {value:.0f} days"


@reacts(FlawFound, name="site_flows.open_care")
def open_care(tx: Tx, event: FlawFound) -> None:
    """Open the device's incident, or let the flaw join it."""
    told = told_of(event)
    facts = {
        "fault": told,
        "flaw": event.flaw,
        "sensors": event.sensors,
        "next_step": NEXT_STEPS[event.flaw].format(subject=event.subject),
        "undecided_units": 0,
        "zone_released": True,
    }
    tx.run(
        OpenIncident(
            site_id=event.site_id,
            incident_id=derive_id("incident", event.flaw_id),
            severity=Severity.INFORMATIONAL,
            title=told,
            asset_id=event.subject,
            facts=facts,
            cause_id=event.flaw_id,
            playbook=PLAYBOOK if open_incident_of(tx, event.site_id, "", event.subject) is None else "",
        )
    )


@reacts(FlawEnded, name="site_flows.end_care")
def end_care(tx: Tx, event: FlawEnded) -> None:
    """Let the playbook know when nothing is wrong with the device any more."""
    incident = open_incident_of(tx, event.site_id, "", event.subject)
    if incident is None or any(one.subject == event.subject for one in flaws_of_site(tx, event.site_id)):
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
