"""Alarms: what the rules raised, who took note, what is shelved. Rules and decisions: `alarm_rules`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.alarm_rules import (
    OPEN,
    STATE_BY,
    Alarm,
    AlarmAcknowledged,
    AlarmNotFound,
    AlarmRaised,
    AlarmReturned,
    AlarmShelved,
    AlarmState,
    AlarmSuppressed,
    AlarmUnshelved,
    SensorInService,
    SensorOutOfService,
)
from coldgrid.telemetry.rules import Rule, Stage

# --- Tables and projections -----------------------------------------------------

telemetry_alarm = sa.Table(
    "telemetry_alarm",
    metadata,
    sa.Column("alarm_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False, index=True),
    sa.Column("sensor_id", sa.Text, nullable=False, index=True),
    sa.Column("rule", Named(Rule), nullable=False),
    sa.Column("stage", Named(Stage), nullable=False),
    sa.Column("state", Named(AlarmState), nullable=False),
    sa.Column("since_at", Instant, nullable=False),
    sa.Column("raised_at", Instant, nullable=False),
    sa.Column("returned_at", Instant),
    sa.Column("last_good_at", Instant),
    sa.Column("value_c", sa.Float),
    sa.Column("rate_c_per_h", sa.Float),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("backfilled", sa.Boolean, nullable=False),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("acknowledged_at", Instant),
    info={"origin": "site"},
)
sa.Index("ix_telemetry_alarm_state", telemetry_alarm.c.site_id, telemetry_alarm.c.state)
# What a person keeps from being raised. Rule "": all of them, the sensor is out of service.
telemetry_quiet = sa.Table(
    "telemetry_quiet",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("until", Instant, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    info={"origin": "site"},
)


_PUT = Statement(
    upsert(
        telemetry_alarm,
        keys=["alarm_id"],
        set_=["state", "raised_at", "last_good_at", "value_c", "rate_c_per_h", "why", "backfilled"],
    )
)
_RETURN = Statement(
    telemetry_alarm.update()
    .where(telemetry_alarm.c.alarm_id == sa.bindparam("which"))
    .values(
        returned_at=sa.bindparam("returned_at"),
        # Acknowledged or never raised: that is the end of it (A2). Else somebody must still take note.
        state=sa.case(
            (
                telemetry_alarm.c.state == sa.literal(AlarmState.UNACKNOWLEDGED, Named(AlarmState)),
                sa.literal(AlarmState.RETURNED, Named(AlarmState)),
            ),
            else_=sa.literal(AlarmState.NORMAL, Named(AlarmState)),
        ),
    )
)
_ACKNOWLEDGE = Statement(
    telemetry_alarm.update()
    .where(telemetry_alarm.c.alarm_id == sa.bindparam("which"))
    .values(
        acknowledged_by=sa.bindparam("acknowledged_by"),
        acknowledged_at=sa.bindparam("acknowledged_at"),
        state=sa.case(
            (
                telemetry_alarm.c.state == sa.literal(AlarmState.RETURNED, Named(AlarmState)),
                sa.literal(AlarmState.NORMAL, Named(AlarmState)),
            ),
            else_=sa.literal(AlarmState.ACKNOWLEDGED, Named(AlarmState)),
        ),
    )
)
_QUIET = Statement(upsert(telemetry_quiet, keys=["sensor_id", "rule"], set_=["until", "reason", "asked_by"]))
_LOUD = Statement(
    telemetry_quiet.delete().where(
        telemetry_quiet.c.sensor_id == sa.bindparam("whose"), telemetry_quiet.c.rule == sa.bindparam("which")
    )
)
_ALL_QUIET = Statement(
    sa.select(telemetry_quiet.c.sensor_id, telemetry_quiet.c.rule, telemetry_quiet.c.until)
)


@hot_state
class Quiet:
    """What persons keep from being raised: (sensor, rule or "") → until."""

    def __init__(self) -> None:
        self.until: dict[tuple[str, str], datetime] = {}

    @classmethod
    def load(cls, reader: Reader) -> Quiet:
        """Build the state from the table."""
        quiet = cls()
        quiet.until = {(sensor_id, rule): until for sensor_id, rule, until in reader.all(_ALL_QUIET)}
        return quiet

    def put(self, sensor_id: str, rule: str, until: datetime | None) -> Callable[[], None]:
        """Set or end a silence; return the inverse."""
        key = (sensor_id, rule)
        old = self.until.get(key)
        if until is None:
            self.until.pop(key, None)
        else:
            self.until[key] = until

        def undo() -> None:
            self.put(sensor_id, rule, old)

        return undo


@projects(AlarmRaised)
def _put_raised(tx: Tx, event: AlarmRaised) -> None:
    tx.write(
        _PUT,
        **_row(event, AlarmState.UNACKNOWLEDGED),
        last_good_at=event.last_good_at,
        rate_c_per_h=event.rate_c_per_h,
        backfilled=event.backfilled,
    )


@projects(AlarmSuppressed)
def _put_suppressed(tx: Tx, event: AlarmSuppressed) -> None:
    tx.write(_PUT, **_row(event, STATE_BY[event.by]), last_good_at=None, rate_c_per_h=None, backfilled=False)


def _row(event: AlarmRaised | AlarmSuppressed, state: AlarmState) -> dict[str, Any]:
    same = ("alarm_id", "site_id", "zone_id", "sensor_id", "rule", "stage", "since_at", "value_c", "why")
    return {name: getattr(event, name) for name in same} | {
        "state": state,
        "raised_at": event.at,
        "returned_at": None,
        "acknowledged_by": None,
        "acknowledged_at": None,
    }


@projects(AlarmReturned)
def _put_returned(tx: Tx, event: AlarmReturned) -> None:
    tx.write(_RETURN, which=event.alarm_id, returned_at=event.at)


@projects(AlarmAcknowledged)
def _put_acknowledged(tx: Tx, event: AlarmAcknowledged) -> None:
    tx.write(_ACKNOWLEDGE, which=event.alarm_id, acknowledged_by=tx.actor, acknowledged_at=tx.now)


@projects(AlarmShelved)
def _put_shelved(tx: Tx, event: AlarmShelved) -> None:
    _silence(tx, event, event.rule)


@projects(SensorOutOfService)
def _put_out(tx: Tx, event: SensorOutOfService) -> None:
    _silence(tx, event, "")


def _silence(tx: Tx, event: AlarmShelved | SensorOutOfService, rule: str) -> None:
    tx.write(
        _QUIET,
        sensor_id=event.sensor_id,
        rule=rule,
        site_id=event.site_id,
        until=event.until,
        reason=event.reason,
        asked_by=tx.actor,
    )
    tx.undo(tx.hot(Quiet).put(event.sensor_id, rule, event.until))


@projects(AlarmUnshelved)
def _put_unshelved(tx: Tx, event: AlarmUnshelved) -> None:
    tx.write(_LOUD, whose=event.sensor_id, which=event.rule)
    tx.undo(tx.hot(Quiet).put(event.sensor_id, event.rule, None))


@projects(SensorInService)
def _put_in(tx: Tx, event: SensorInService) -> None:
    tx.write(_LOUD, whose=event.sensor_id, which="")
    tx.undo(tx.hot(Quiet).put(event.sensor_id, "", None))


# --- Queries --------------------------------------------------------------------


def _alarm(*row: Any) -> Alarm:
    return Alarm(**dict(zip(Alarm.__struct_fields__, row, strict=True)))


_ALARMS = sa.select(*(telemetry_alarm.c[name] for name in Alarm.__struct_fields__))
_GET = Statement(_ALARMS.where(telemetry_alarm.c.alarm_id == sa.bindparam("alarm_id")), into=_alarm)
_OPEN_OF_SITE = Statement(
    _ALARMS.where(
        telemetry_alarm.c.site_id == sa.bindparam("site_id"),
        telemetry_alarm.c.state.in_(sa.bindparam("states", expanding=True)),
    ).order_by(telemetry_alarm.c.raised_at.desc(), telemetry_alarm.c.alarm_id),
    into=_alarm,
)
_OPEN_OF_ZONE = Statement(
    _ALARMS.where(
        telemetry_alarm.c.zone_id == sa.bindparam("zone_id"),
        telemetry_alarm.c.state.in_(sa.bindparam("states", expanding=True)),
    ).order_by(telemetry_alarm.c.raised_at.desc(), telemetry_alarm.c.alarm_id),
    into=_alarm,
)
_OF_SENSOR = Statement(
    _ALARMS.where(
        telemetry_alarm.c.sensor_id == sa.bindparam("sensor_id"),
        telemetry_alarm.c.raised_at < sa.bindparam("to_at", type_=Instant),
        sa.or_(
            telemetry_alarm.c.returned_at.is_(None),
            telemetry_alarm.c.returned_at >= sa.bindparam("from_at", type_=Instant),
        ),
    ).order_by(telemetry_alarm.c.raised_at, telemetry_alarm.c.alarm_id),
    into=_alarm,
)


def find_alarm(db: Reader, alarm_id: str) -> Alarm | None:
    """Return one alarm, or None."""
    return db.one(_GET, alarm_id=alarm_id)


def get_alarm(db: Reader, alarm_id: str) -> Alarm:
    """Return one alarm.

    Raises:
        AlarmNotFound: there is none of this id.
    """
    alarm = find_alarm(db, alarm_id)
    if alarm is None:
        raise AlarmNotFound(alarm_id=alarm_id)
    return alarm


def open_alarms_of_site(db: Reader, site_id: str) -> list[Alarm]:
    """Return a site's alarms that are not over, newest first."""
    return db.all(_OPEN_OF_SITE, site_id=site_id, states=sorted(OPEN))


def open_alarms_of_zone(db: Reader, zone_id: str) -> list[Alarm]:
    """Return a zone's alarms that are not over, newest first."""
    return db.all(_OPEN_OF_ZONE, zone_id=zone_id, states=sorted(OPEN))


def alarms_of_sensor(db: Reader, sensor_id: str, from_at: datetime, to_at: datetime) -> list[Alarm]:
    """Return the alarms of a sensor that stood within a range of event time, in order."""
    return db.all(_OF_SENSOR, sensor_id=sensor_id, from_at=from_at, to_at=to_at)
