"""Alarms, their states and the decisions on them. Pure; tables and commands are in `alarms`.

Invariants
    A1  A run of a rule (`runs`) is one alarm, whose id depends on sensor, rule and the run's beginning alone.
    A2  An alarm ends when its condition has ended *and* somebody acknowledged it, in either order.
    A3  Shelving is bounded, says why, and never hides an excursion: that one holds goods.
    A4  What a shelf, a door, a defrost or a sensor out of service kept from being raised is recorded, and is
        raised when they no longer do and the condition still holds.

States and their names follow ANSI/ISA-18.2 (IEC 62682): unacknowledged, acknowledged, returned (to normal,
unacknowledged), normal; shelved, suppressed by design, out of service.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.rejections import Conflict, NotFound
from coldgrid.kernel.tables import from_micros
from coldgrid.telemetry.devices import BY_DEFROST, BY_DOOR
from coldgrid.telemetry.quantities import to_value
from coldgrid.telemetry.rules import HOUR_US, STAGE, Rule, Stage, Tuning
from coldgrid.telemetry.runs import Turn

SHELVE_MAX = timedelta(hours=8)
OUT_OF_SERVICE_MAX = timedelta(days=14)

Reason = Annotated[str, msgspec.Meta(min_length=3, max_length=500)]

# --- Vocabulary -----------------------------------------------------------------


class AlarmState(StrEnum):
    """The state of an alarm, after ANSI/ISA-18.2."""

    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"
    NORMAL = "normal"
    SHELVED = "shelved"
    SUPPRESSED = "suppressed_by_design"
    OUT_OF_SERVICE = "out_of_service"


# The condition holds and people are told.
STANDING = frozenset({AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED})
# The condition was not raised.
QUIET = frozenset({AlarmState.SHELVED, AlarmState.SUPPRESSED, AlarmState.OUT_OF_SERVICE})
OPEN = frozenset({*STANDING, *QUIET, AlarmState.RETURNED})


class By(StrEnum):
    """What kept an alarm from being raised."""

    DOOR = "door"
    DEFROST = "defrost"
    SHELF = "shelf"
    OUT_OF_SERVICE = "out_of_service"


BY_CODE = {BY_DOOR: By.DOOR, BY_DEFROST: By.DEFROST}
STATE_BY = {
    By.DOOR: AlarmState.SUPPRESSED,
    By.DEFROST: AlarmState.SUPPRESSED,
    By.SHELF: AlarmState.SHELVED,
    By.OUT_OF_SERVICE: AlarmState.OUT_OF_SERVICE,
}


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as readers see it. Times but the last two are event times."""

    alarm_id: str
    site_id: str
    zone_id: str
    sensor_id: str
    rule: Rule
    stage: Stage
    state: AlarmState
    since_at: datetime
    raised_at: datetime
    returned_at: datetime | None
    last_good_at: datetime | None
    value_c: float | None
    rate_c_per_h: float | None
    why: str
    backfilled: bool
    acknowledged_by: str | None
    acknowledged_at: datetime | None


# --- Events ---------------------------------------------------------------------


class AlarmRaised(Event, frozen=True, tag="telemetry.alarm_raised"):
    """A rule held for its duration. `last_good_at`: the last good reading before the trouble, if any.

    `backfilled`: found in readings that came late. `value_c` is in the sensor's stored unit.
    """

    alarm_id: str
    site_id: str
    zone_id: str
    sensor_id: str
    rule: Rule
    stage: Stage
    at: datetime
    since_at: datetime
    last_good_at: datetime | None
    value_c: float | None
    rate_c_per_h: float | None
    why: str
    backfilled: bool = False


class AlarmReturned(Event, frozen=True, tag="telemetry.alarm_returned"):
    """The condition of a raised alarm ended."""

    alarm_id: str
    site_id: str
    zone_id: str
    sensor_id: str
    rule: Rule
    stage: Stage
    at: datetime
    value_c: float | None


class AlarmSuppressed(Event, frozen=True, tag="telemetry.alarm_suppressed"):
    """A rule held for its duration and was not raised, because something explains it or somebody asked so."""

    alarm_id: str
    site_id: str
    zone_id: str
    sensor_id: str
    rule: Rule
    stage: Stage
    at: datetime
    since_at: datetime
    value_c: float | None
    by: By
    why: str


class AlarmAcknowledged(Event, frozen=True, tag="telemetry.alarm_acknowledged"):
    """A person took note of an alarm."""

    alarm_id: str
    site_id: str
    zone_id: str
    sensor_id: str
    note: str = ""


class AlarmShelved(Event, frozen=True, tag="telemetry.alarm_shelved"):
    """A rule of a sensor is not raised until then: somebody works on it."""

    site_id: str
    zone_id: str
    sensor_id: str
    rule: Rule
    until: datetime
    reason: str


class AlarmUnshelved(Event, frozen=True, tag="telemetry.alarm_unshelved"):
    """A rule of a sensor is raised again: by a person, or because its time was over."""

    site_id: str
    zone_id: str
    sensor_id: str
    rule: Rule


class SensorOutOfService(Event, frozen=True, tag="telemetry.sensor_out_of_service"):
    """No rule of a sensor is raised until then; its readings are kept."""

    site_id: str
    zone_id: str
    sensor_id: str
    until: datetime
    reason: str


class SensorInService(Event, frozen=True, tag="telemetry.sensor_in_service"):
    """The rules of a sensor are raised again."""

    site_id: str
    zone_id: str
    sensor_id: str


class SensorSilent(Event, frozen=True, tag="telemetry.sensor_silent"):
    """Nothing came from a sensor for longer than its gap: what it covers is unknown, not condemned.

    Until `grace_until`, from the goods' lag, a second sensor or a hand reading may bridge the gap.
    """

    site_id: str
    zone_id: str
    sensor_id: str
    last_at: datetime
    silent_since: datetime
    grace_until: datetime


class SensorRestored(Event, frozen=True, tag="telemetry.sensor_restored"):
    """A silent sensor was heard again."""

    site_id: str
    zone_id: str
    sensor_id: str
    at: datetime


# --- Commands -------------------------------------------------------------------


class AcknowledgeAlarm(Command, frozen=True, tag="telemetry.acknowledge_alarm"):
    """Take note of an alarm."""

    site_id: str
    alarm_id: str
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ShelveAlarm(Command, frozen=True, tag="telemetry.shelve_alarm"):
    """Ask that a rule of a sensor is not raised for a while: at most 8 hours."""

    site_id: str
    sensor_id: str
    rule: Rule
    minutes: Annotated[float, msgspec.Meta(gt=0)]
    reason: Reason


class UnshelveAlarm(Command, frozen=True, tag="telemetry.unshelve_alarm"):
    """Ask that a shelved rule is raised again."""

    site_id: str
    sensor_id: str
    rule: Rule


class TakeOutOfService(Command, frozen=True, tag="telemetry.take_out_of_service"):
    """Ask that no rule of a sensor is raised for a while: at most 14 days."""

    site_id: str
    sensor_id: str
    hours: Annotated[float, msgspec.Meta(gt=0)]
    reason: Reason


class PutInService(Command, frozen=True, tag="telemetry.put_in_service"):
    """Ask that the rules of a sensor are raised again."""

    site_id: str
    sensor_id: str


# --- Rejections -----------------------------------------------------------------


class AlarmNotFound(NotFound):
    """There is no such alarm."""


class AlarmAlreadyAcknowledged(Conflict):
    """The alarm was acknowledged before."""


class AlarmNotRaised(Conflict):
    """The alarm was not raised, so there is nothing to acknowledge."""


class ExcursionNotShelvable(Conflict):
    """An excursion alarm cannot be shelved, because goods are held on it (A3)."""

    todo = "Acknowledge it; where the sensor is wrong, take it out of service and measure by hand."


class ShelvedTooLong(Conflict):
    """An alarm is shelved for at most 8 hours (A3)."""


class OutOfServiceTooLong(Conflict):
    """A sensor is out of service for at most 14 days; after that it is repaired or deactivated."""


class NotShelved(Conflict):
    """This rule of the sensor is not shelved."""


class NotOutOfService(Conflict):
    """The sensor is in service."""


# --- Decisions ------------------------------------------------------------------


def alarm_id_of(sensor_id: str, rule: Rule, since_us: int) -> str:
    """Return an alarm's id (A1)."""
    return derive_id("alarm", sensor_id, rule, since_us)


def explain(turn: Turn, tuning: Tuning) -> str:
    """Say in one sentence what a rule saw."""
    value = "" if turn.value_e4 is None else f"{to_value(turn.value_e4):.1f} °C"
    lasted_min = (turn.at_us - turn.since_us) / 60_000_000
    rate = "" if turn.rate_e4_per_h is None else f", {to_value(turn.rate_e4_per_h):+.1f} °C/h"
    high = f"{to_value(tuning.high_e4):.1f} °C"
    told = {
        Rule.BAND_HIGH: f"{value}, above {high} for {lasted_min:.0f} min{rate}",
        Rule.BAND_LOW: f"{value}, below {to_value(tuning.low_e4):.1f} °C for {lasted_min:.0f} min",
        Rule.APPROACHING: f"{value}, close to {high} for {lasted_min:.0f} min{rate}",
        Rule.RATE: f"{value}{rate}, due at {high}",
        Rule.RATE_SLOW: f"{value}{rate} over 3 h, due at {high}",
        Rule.CUMULATIVE: f"{tuning.cumulative_us / HOUR_US * 60:.0f} min above {high} in 24 h",
        Rule.COMPRESSOR: f"compressor fault, {value} and rising{rate}",
        # It counts as stuck from then on, and had been the same for as long as that takes.
        Rule.STUCK: f"exactly {value} for {lasted_min + tuning.stuck_us / 60_000_000:.0f} min",
        Rule.OUT_OF_RANGE: f"reports {value}, which its probe cannot measure",
        Rule.GAP: f"no reading for {lasted_min:.0f} min",
    }
    return told[turn.rule]


def decide_acknowledge(command: AcknowledgeAlarm, alarm: Alarm) -> AlarmAcknowledged:
    """Return the event by which a person takes note, or reject."""
    if alarm.acknowledged_by is not None:
        raise AlarmAlreadyAcknowledged(alarm_id=alarm.alarm_id, by=alarm.acknowledged_by)
    if alarm.state in QUIET:
        raise AlarmNotRaised(alarm_id=alarm.alarm_id, state=alarm.state)
    return AlarmAcknowledged(
        alarm_id=alarm.alarm_id,
        site_id=alarm.site_id,
        zone_id=alarm.zone_id,
        sensor_id=alarm.sensor_id,
        note=command.note,
    )


def decide_shelve(command: ShelveAlarm, zone_id: str, now: datetime) -> AlarmShelved:
    """Return the event that shelves a rule, or reject (A3)."""
    if STAGE[command.rule] is Stage.EXCURSION:
        raise ExcursionNotShelvable(rule=command.rule)
    if command.minutes > SHELVE_MAX / timedelta(minutes=1):
        raise ShelvedTooLong(minutes=command.minutes)
    return AlarmShelved(
        site_id=command.site_id,
        zone_id=zone_id,
        sensor_id=command.sensor_id,
        rule=command.rule,
        until=now + timedelta(minutes=command.minutes),
        reason=command.reason,
    )


def decide_out_of_service(command: TakeOutOfService, zone_id: str, now: datetime) -> SensorOutOfService:
    """Return the event that takes a sensor out of service, or reject."""
    if command.hours > OUT_OF_SERVICE_MAX / timedelta(hours=1):
        raise OutOfServiceTooLong(hours=command.hours)
    return SensorOutOfService(
        site_id=command.site_id,
        zone_id=zone_id,
        sensor_id=command.sensor_id,
        until=now + timedelta(hours=command.hours),
        reason=command.reason,
    )


def kept_quiet(
    sensor_id: str, rule: Rule, quiet: Mapping[tuple[str, str], datetime], now: datetime
) -> By | None:
    """Return what a person arranged that keeps a rule from being raised; an excursion only by the sensor."""
    if quiet.get((sensor_id, ""), now) > now:
        return By.OUT_OF_SERVICE
    if STAGE[rule] is not Stage.EXCURSION and quiet.get((sensor_id, rule), now) > now:
        return By.SHELF
    return None


def instant(at_us: int) -> datetime | None:
    """Return an instant of the rules; None where there is none."""
    return from_micros(at_us) if at_us > 0 else None
