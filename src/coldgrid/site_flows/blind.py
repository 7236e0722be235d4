"""Blind: a sensor that is silent for want of mains is left to the mains' incident, for its goods' grace only.

the grace is over and nobody sees the goods  → the sensor's alarm opens the zone's incident after all
the mains are back and it is silent still    → the same: then it is the sensor
"""

from __future__ import annotations

from datetime import timedelta

from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import get_zone
from coldgrid.orchestration.incidents import open_incident_of
from coldgrid.site_flows.supply import look_at_supply
from coldgrid.stock.inventory import units_in_zone
from coldgrid.telemetry.alarm_rules import STANDING, Alarm, AlarmRaised
from coldgrid.telemetry.alarms import find_alarm
from coldgrid.telemetry.annunciate import GRACE_MAX, GRACE_MIN, GRACE_OF_LAG
from coldgrid.telemetry.sensors import get_sensor

TIMER = "site_flows.blind"
AGAIN = timedelta(minutes=5)


def leave_to_mains(tx: Tx, event: AlarmRaised) -> None:
    """Look at this alarm again when the grace of its goods is over, and every few minutes until it ends."""
    told = {"site_id": event.site_id, "alarm_id": event.alarm_id}
    tx.set_timer(f"{TIMER}/{event.alarm_id}", TIMER, tx.now + AGAIN, told)


def still_explained(tx: Tx, alarm: Alarm) -> bool:
    """Tell whether the mains still explain an alarm, and its goods can wait."""
    if not look_at_supply(tx, alarm.site_id).explains(get_sensor(tx, alarm.sensor_id)):
        return False
    zone = get_zone(tx, alarm.zone_id)
    grace = min(max(timedelta(minutes=zone.lag_min * GRACE_OF_LAG), GRACE_MIN), GRACE_MAX)
    goods = any(unit.qty > 0 for unit in units_in_zone(tx, alarm.zone_id))
    return not goods or tx.now < alarm.since_at + grace


def alarm_again(tx: Tx, timer: Timer) -> AlarmRaised | None:
    """Return the alarm that needs an incident of its own now, or look again later."""
    alarm = find_alarm(tx, timer.payload["alarm_id"])
    if alarm is None or alarm.state not in STANDING:
        return None
    if open_incident_of(tx, alarm.site_id, alarm.zone_id) is not None:
        return None
    event = _raised(alarm)
    if still_explained(tx, alarm):
        leave_to_mains(tx, event)
        return None
    return event


def _raised(alarm: Alarm) -> AlarmRaised:
    return AlarmRaised(
        alarm_id=alarm.alarm_id,
        site_id=alarm.site_id,
        zone_id=alarm.zone_id,
        sensor_id=alarm.sensor_id,
        rule=alarm.rule,
        stage=alarm.stage,
        at=alarm.raised_at,
        since_at=alarm.since_at,
        last_good_at=alarm.last_good_at,
        value_c=alarm.value_c,
        rate_c_per_h=alarm.rate_c_per_h,
        why=alarm.why,
    )
