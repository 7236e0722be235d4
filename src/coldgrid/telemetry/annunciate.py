"""Annunciation: from the rules' turns to alarms in the log, and what persons do about alarms.

The decisions and their invariants (A1 to A4) are in `alarm_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, on_timer
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.alarm_rules import (
    BY_CODE,
    QUIET,
    STANDING,
    AcknowledgeAlarm,
    AlarmNotFound,
    AlarmRaised,
    AlarmReturned,
    AlarmSuppressed,
    AlarmUnshelved,
    By,
    NotOutOfService,
    NotShelved,
    PutInService,
    SensorInService,
    SensorRestored,
    SensorSilent,
    ShelveAlarm,
    TakeOutOfService,
    UnshelveAlarm,
    alarm_id_of,
    decide_acknowledge,
    decide_out_of_service,
    decide_shelve,
    explain,
    instant,
    kept_quiet,
)
from coldgrid.telemetry.alarms import Quiet, find_alarm, get_alarm
from coldgrid.telemetry.memory import RAISED
from coldgrid.telemetry.quantities import to_value
from coldgrid.telemetry.rules import COLUMN, RULES, STAGE, Rule
from coldgrid.telemetry.runs import Kind, Turn
from coldgrid.telemetry.sensors import Sensor, SensorNotFound, get_sensor
from coldgrid.telemetry.watch import Watch

# Of the goods' lag: in a fifth of it they follow less than a fifth of what the air did.
GRACE_OF_LAG = 0.2
GRACE_MIN, GRACE_MAX = timedelta(minutes=15), timedelta(hours=4)

# --- From the rules to the log --------------------------------------------------


def record_turns(tx: Tx, turns: Sequence[Turn], *, backfilled: bool = False) -> None:
    """Record what the rules decided: an event for each turn, at its time (A1, A4)."""
    watch = tx.hot(Watch)
    for turn in turns:
        if turn.kind is Kind.RETURNED:
            _record_return(tx, watch, turn)
        else:
            _record_raise(tx, watch, turn, backfilled)


def _record_raise(tx: Tx, watch: Watch, turn: Turn, backfilled: bool) -> None:
    sensor = watch.sensors[turn.row]
    by: By | None = BY_CODE.get(turn.by) if turn.kind is Kind.SUPPRESSED else None
    by = by or kept_quiet(sensor.sensor_id, turn.rule, tx.hot(Quiet).until, tx.now)
    alarm_id = alarm_id_of(sensor.sensor_id, turn.rule, turn.since_us)
    same: dict[str, Any] = {
        "alarm_id": alarm_id,
        "site_id": sensor.site_id,
        "zone_id": sensor.zone_id,
        "sensor_id": sensor.sensor_id,
        "rule": turn.rule,
        "stage": STAGE[turn.rule],
        "at": from_micros(turn.at_us),
        "since_at": from_micros(turn.since_us),
        "value_c": None if turn.value_e4 is None else to_value(turn.value_e4),
        "why": explain(turn, watch.memory.tuning[turn.row]),
    }
    if turn.rule is Rule.GAP and not backfilled:
        tx.record(f"sensor/{sensor.sensor_id}", _silent(tx, watch, turn), occurred_at=same["at"])
    event = (
        AlarmSuppressed(by=by, **same)
        if by is not None
        else AlarmRaised(
            last_good_at=instant(turn.last_good_us),
            rate_c_per_h=None if turn.rate_e4_per_h is None else to_value(turn.rate_e4_per_h),
            backfilled=backfilled,
            **same,
        )
    )
    tx.record(f"alarm/{alarm_id}", event, occurred_at=same["at"])


def _silent(tx: Tx, watch: Watch, turn: Turn) -> SensorSilent:
    sensor = watch.sensors[turn.row]
    zone = watch.zones.get(sensor.zone_id)
    grace = timedelta(minutes=zone.lag_min * GRACE_OF_LAG) if zone is not None else GRACE_MIN
    since = from_micros(turn.since_us)
    return SensorSilent(
        site_id=sensor.site_id,
        zone_id=sensor.zone_id,
        sensor_id=sensor.sensor_id,
        last_at=from_micros(turn.last_good_us or turn.since_us),
        silent_since=since,
        grace_until=since + min(max(grace, GRACE_MIN), GRACE_MAX),
    )


def _record_return(tx: Tx, watch: Watch, turn: Turn) -> None:
    sensor = watch.sensors[turn.row]
    at = from_micros(turn.at_us)
    alarm = find_alarm(tx, alarm_id_of(sensor.sensor_id, turn.rule, turn.since_us))
    if alarm is not None and alarm.state in STANDING | QUIET:
        returned = AlarmReturned(
            alarm_id=alarm.alarm_id,
            site_id=alarm.site_id,
            zone_id=alarm.zone_id,
            sensor_id=alarm.sensor_id,
            rule=alarm.rule,
            stage=alarm.stage,
            at=at,
            value_c=None if turn.value_e4 is None else to_value(turn.value_e4),
        )
        tx.record(f"alarm/{alarm.alarm_id}", returned, occurred_at=at)
    if turn.rule is Rule.GAP:
        restored = SensorRestored(
            site_id=sensor.site_id, zone_id=sensor.zone_id, sensor_id=sensor.sensor_id, at=at
        )
        tx.record(f"sensor/{sensor.sensor_id}", restored, occurred_at=at)


# --- Commands -------------------------------------------------------------------


@handles(AcknowledgeAlarm, action="telemetry.acknowledge_alarm", owner=Owner.SITE)
def acknowledge_alarm(tx: Tx, command: AcknowledgeAlarm) -> None:
    """Take note of an alarm."""
    alarm = get_alarm(tx, command.alarm_id)
    if alarm.site_id != command.site_id:
        raise AlarmNotFound(alarm_id=command.alarm_id, site_id=command.site_id)
    tx.record(f"alarm/{alarm.alarm_id}", decide_acknowledge(command, alarm))


@handles(ShelveAlarm, action="telemetry.shelve_alarm", owner=Owner.SITE)
def shelve_alarm(tx: Tx, command: ShelveAlarm) -> None:
    """Keep a rule of a sensor from being raised for a while."""
    sensor = _sensor_here(tx, command.site_id, command.sensor_id)
    event = decide_shelve(command, sensor.zone_id, tx.now)
    tx.record(f"sensor/{sensor.sensor_id}", event)
    _set_end(tx, sensor, command.rule, command.minutes)


@handles(UnshelveAlarm, action="telemetry.shelve_alarm", owner=Owner.SITE)
def unshelve_alarm(tx: Tx, command: UnshelveAlarm) -> None:
    """Let a shelved rule be raised again."""
    sensor = _sensor_here(tx, command.site_id, command.sensor_id)
    if (sensor.sensor_id, command.rule) not in tx.hot(Quiet).until:
        raise NotShelved(sensor_id=sensor.sensor_id, rule=command.rule)
    _end(tx, sensor, command.rule)


@handles(TakeOutOfService, action="telemetry.take_out_of_service", owner=Owner.SITE)
def take_out_of_service(tx: Tx, command: TakeOutOfService) -> None:
    """Keep all rules of a sensor from being raised for a while."""
    sensor = _sensor_here(tx, command.site_id, command.sensor_id)
    event = decide_out_of_service(command, sensor.zone_id, tx.now)
    tx.record(f"sensor/{sensor.sensor_id}", event)
    _set_end(tx, sensor, "", command.hours * 60)


@handles(PutInService, action="telemetry.take_out_of_service", owner=Owner.SITE)
def put_in_service(tx: Tx, command: PutInService) -> None:
    """Let the rules of a sensor be raised again."""
    sensor = _sensor_here(tx, command.site_id, command.sensor_id)
    if (sensor.sensor_id, "") not in tx.hot(Quiet).until:
        raise NotOutOfService(sensor_id=sensor.sensor_id)
    _end(tx, sensor, "")


def _sensor_here(tx: Tx, site_id: str, sensor_id: str) -> Sensor:
    sensor = get_sensor(tx, sensor_id)
    if sensor.site_id != site_id:
        raise SensorNotFound(sensor_id=sensor_id, site_id=site_id)
    return sensor


def _set_end(tx: Tx, sensor: Sensor, rule: str, minutes: float) -> None:
    tx.set_timer(
        _timer_id(sensor, rule),
        "telemetry.quiet_over",
        tx.now + timedelta(minutes=minutes),
        {"sensor_id": sensor.sensor_id, "rule": rule},
    )


def _timer_id(sensor: Sensor, rule: str) -> str:
    return f"telemetry.quiet/{sensor.sensor_id}/{rule}"


@on_timer("telemetry.quiet_over")
def quiet_over(tx: Tx, timer: Timer) -> None:
    """The time of a shelf, or of a sensor out of service, is over."""
    sensor, rule = get_sensor(tx, timer.payload["sensor_id"]), timer.payload["rule"]
    if (sensor.sensor_id, rule) in tx.hot(Quiet).until:
        _end(tx, sensor, rule)


def _end(tx: Tx, sensor: Sensor, rule: str) -> None:
    """Be loud again, and raise what stands (A4)."""
    same = {"site_id": sensor.site_id, "zone_id": sensor.zone_id, "sensor_id": sensor.sensor_id}
    ended = AlarmUnshelved(rule=Rule(rule), **same) if rule else SensorInService(**same)
    tx.record(f"sensor/{sensor.sensor_id}", ended)
    tx.cancel_timer(_timer_id(sensor, rule))
    record_turns(tx, list(_standing(tx, sensor, [Rule(rule)] if rule else RULES)))


def raise_standing(tx: Tx, sensor_id: str) -> None:
    """Raise what the rules hold raised for a sensor and the log does not say."""
    record_turns(tx, list(_standing(tx, get_sensor(tx, sensor_id), RULES)))


def _standing(tx: Tx, sensor: Sensor, rules: Iterable[Rule]) -> Iterable[Turn]:
    """Yield what the rules hold raised for a sensor and no alarm says so yet."""
    memory = tx.hot(Watch).memory
    row = memory.row_of[sensor.sensor_id]
    for rule in rules:
        column = COLUMN[rule]
        since_us = int(memory.since[row, column])
        alarm = find_alarm(tx, alarm_id_of(sensor.sensor_id, rule, since_us))
        if memory.state[row, column] & RAISED and (alarm is None or alarm.state in QUIET):
            yield Turn(
                row=row,
                rule=rule,
                kind=Kind.RAISED,
                at_us=to_micros(tx.now),
                pos=-1,
                value_e4=int(memory.good_e4[row]),
                since_us=since_us,
                last_good_us=int(memory.before[row, column]),
            )
