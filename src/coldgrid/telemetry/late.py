"""Late readings: told from repeated ones, stored, and still evaluated, so that a backfilled alarm fires.

A reading is late when its sensor already sent a newer one. Rules cannot go back, so a while after the last of
them all that came late of a sensor is evaluated in one go: the stored readings around it run through the same
rules from a fresh memory, and what they raise is raised now, marked `backfilled`, unless an alarm of that
sensor and rule stood at the time anyway. Each sensor waits for itself: one whose readings come late without
end is evaluated all the same, and keeps no other waiting. Faults of the sensor are not raised in hindsight:
but where a site goes on with another copy of its log, all that this log does not tell of is raised, holes too
(`look_again`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import on_timer
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import from_micros, metadata, to_micros
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import alarms, annunciate, landing, store
from coldgrid.telemetry.alarm_rules import STANDING, AlarmState
from coldgrid.telemetry.engine import evaluate
from coldgrid.telemetry.flush import Grouped, group_by_sensor
from coldgrid.telemetry.memory import Memory
from coldgrid.telemetry.rules import HOUR_US, STAGE, Stage
from coldgrid.telemetry.runs import Kind, Turn
from coldgrid.telemetry.screening import Fate, Screened, sort_out
from coldgrid.telemetry.watch import Watch

# What the rules must see before the first late reading to know the trend, and after the last to see the end.
BEFORE_US = 6 * HOUR_US
AFTER_US = HOUR_US
WAIT = timedelta(seconds=5)
LONGEST = timedelta(minutes=10)

WAIT_US, LONGEST_US = (span // timedelta(microseconds=1) for span in (WAIT, LONGEST))

telemetry_late = sa.Table(
    "telemetry_late",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("from_us", sa.BigInteger, nullable=False),
    sa.Column("to_us", sa.BigInteger, nullable=False),
    # Since when it waits, and until when. A row of the release before, which had neither, is due at once.
    sa.Column("since_us", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("due_us", sa.BigInteger, nullable=False, server_default="0"),
    info={"service": True, "carried_by": "site_id"},
)
_PUT = Statement(upsert(telemetry_late, keys=["sensor_id"], set_=["from_us", "to_us", "since_us", "due_us"]))
_DROP = Statement(telemetry_late.delete().where(telemetry_late.c.sensor_id == sa.bindparam("whose")))


class Waiting(msgspec.Struct, frozen=True):
    """A sensor and the range of its late readings that wait to be evaluated, both ends included."""

    sensor_id: str
    from_us: int
    to_us: int
    since_us: int = 0
    due_us: int = 0


_COLUMNS = sa.select(*(telemetry_late.c[name] for name in Waiting.__struct_fields__))
_GET = Statement(_COLUMNS.where(telemetry_late.c.sensor_id == sa.bindparam("sensor_id")), into=Waiting)
_NEXT = Statement(
    _COLUMNS.where(telemetry_late.c.site_id == sa.bindparam("site_id"))
    .order_by(telemetry_late.c.due_us, telemetry_late.c.since_us, telemetry_late.c.sensor_id)
    .limit(sa.bindparam("most")),
    into=Waiting,
)

# --- As they come in ------------------------------------------------------------


def tell_apart(tx: Tx, screened: Screened, counts: Counter[tuple[str, Fate]]) -> Grouped:
    """Return the late readings that are new, in the order of time; count them all."""
    late = screened.late
    if not len(late):
        return late
    watch = tx.hot(Watch)
    flushes = landing.flushes_between(tx, tx.origin, int(late.at_us.min()), int(late.at_us.max()) + 1)
    keep = np.zeros(len(late), dtype=np.bool_)
    for group, row in enumerate(late.rows.tolist()):
        part = slice(int(late.starts[group]), int(late.ends[group]) + 1)
        sensor_id = watch.memory.sensor_ids[row]
        first_us, last_us = int(late.at_us[part].min()), int(late.at_us[part].max())
        stored = store.readings_of(tx, tx.origin, sensor_id, first_us, last_us + 1, flushes)
        same = screened.live.row == row
        known_us = np.concatenate([stored.at_us, screened.live.at_us[same]])
        known_e4 = np.concatenate([stored.value_e4, screened.live.value_e4[same]])
        keep[part], duplicate, conflicting = sort_out(late, group, known_us, known_e4)
        for fate, number in (
            (Fate.DUPLICATE, duplicate),
            (Fate.CONFLICTING, conflicting),
            (Fate.LATE, int(keep[part].sum())),
        ):
            if number:
                counts[sensor_id, fate] += number
    new = late.only(keep)
    order = np.lexsort((new.at_us, new.row))
    return group_by_sensor(
        new.row[order], new.at_us[order], new.value_e4[order], new.bad[order], new.pos[order]
    )


def evaluate_later(tx: Tx, late: Grouped) -> None:
    """Remember the range of each sensor's late readings and set the timer that evaluates them."""
    watch, now_us = tx.hot(Watch), to_micros(tx.now)
    for group, row in enumerate(late.rows.tolist()):
        at_us = late.at_us[int(late.starts[group]) : int(late.ends[group]) + 1]
        sensor_id, first_us, last_us = watch.memory.sensor_ids[row], int(at_us.min()), int(at_us.max())
        since_us, known = now_us, tx.one(_GET, sensor_id=sensor_id)
        if known is not None:
            first_us, last_us = min(first_us, known.from_us), max(last_us, known.to_us)
            since_us = known.since_us
        due_us = min(now_us + WAIT_US, since_us + LONGEST_US)
        range_us = {"from_us": first_us, "to_us": last_us}
        tx.write(_PUT, sensor_id=sensor_id, site_id=tx.origin, since_us=since_us, due_us=due_us, **range_us)
    _wait_for(tx, tx.all(_NEXT, site_id=tx.origin, most=1))


# --- A while later --------------------------------------------------------------


@on_timer("telemetry.late")
def evaluate_late(tx: Tx, timer: Timer) -> None:
    """Evaluate what came late of one sensor of the site: hours run through the rules while all else waits."""
    waiting = tx.all(_NEXT, site_id=tx.origin, most=2)
    if waiting and waiting[0].due_us <= to_micros(tx.now):
        one = waiting.pop(0)
        annunciate.record_turns(tx, _missed(tx, one), backfilled=True)
        tx.write(_DROP, whose=one.sensor_id)
    _wait_for(tx, waiting)


def _wait_for(tx: Tx, waiting: Sequence[Waiting]) -> None:
    """Set the timer to when the first of these has its turn."""
    if waiting:
        due_at = max(tx.now, from_micros(waiting[0].due_us))
        tx.set_timer(f"telemetry.late/{tx.origin}", "telemetry.late", due_at, {})


def look_again(tx: Tx, sensor_id: str, from_us: int) -> None:
    """Raise what the log does not tell of a sensor since an instant: its site goes on with another log.

    What its alarms were raised in may be set aside, and the readings of a hole are nowhere. What is over is
    raised and returned, a fault too; what stands is raised by the rules' memory, which no log holds.
    """
    now_us = to_micros(tx.now)
    over = _missed(tx, Waiting(sensor_id, from_us, now_us), faults=True)
    annunciate.record_turns(tx, over, backfilled=True)
    annunciate.raise_standing(tx, sensor_id)


def _missed(tx: Tx, waiting: Waiting, *, faults: bool = False) -> list[Turn]:
    """Return the turns that the rules make of stored readings and that no alarm says yet.

    `faults`: those of the sensor too, and nothing that still stands: the range ends now.
    """
    watch = tx.hot(Watch)
    row = watch.memory.row_of.get(waiting.sensor_id)
    if row is None:
        return []
    from_us, to_us = waiting.from_us - BEFORE_US, waiting.to_us + AFTER_US
    replayed = _replay(tx, watch, row, from_us, to_us)
    found: list[Turn] = []
    for raised in (
        turn
        for turn in replayed
        if turn.kind is Kind.RAISED and (faults or STAGE[turn.rule] is not Stage.FAULT)
    ):
        ended = next(
            (
                turn
                for turn in replayed
                if turn.rule is raised.rule
                and turn.kind is Kind.RETURNED
                and turn.since_us == raised.since_us
            ),
            None,
        )
        if ended is None and faults:
            continue
        if ended is None:  # still on at the end of the range: the rules saw what came next, it was not late
            ended = msgspec.structs.replace(raised, kind=Kind.RETURNED, at_us=min(to_us, to_micros(tx.now)))
        concerns = raised.since_us <= waiting.to_us and ended.at_us >= waiting.from_us
        if concerns and not _stood(tx, waiting.sensor_id, raised, ended.at_us):
            found += [raised, ended]
    return found


def _stood(db: Reader, sensor_id: str, raised: Turn, ended_us: int) -> bool:
    """Tell whether an alarm of the same rule stood at some time between."""
    known = alarms.alarms_of_sensor(db, sensor_id, from_micros(raised.since_us), from_micros(ended_us + 1))
    met = STANDING | {AlarmState.RETURNED, AlarmState.NORMAL}
    return any(alarm.rule is raised.rule and alarm.state in met for alarm in known)


def _replay(db: Reader, watch: Watch, row: int, from_us: int, to_us: int) -> Sequence[Turn]:
    """Run a sensor's stored readings, and its zone's devices', through the rules from a fresh memory."""
    memory, site_id = watch.memory, watch.sensors[row].site_id
    zone_id = memory.zone_ids[row]
    rows = [device for device in memory.devices_of.get(zone_id, ()) if device != row]
    flushes = landing.flushes_between(db, site_id, from_us, to_us)
    scratch = Memory()
    if zone_id in memory.schedules:
        scratch.schedule(zone_id, memory.schedules[zone_id])
    columns = []
    for place, source in enumerate([row, *rows]):
        name = memory.sensor_ids[source]
        scratch.define(name, zone_id, memory.tuning[source])
        readings = store.readings_of(db, site_id, name, from_us, to_us, flushes)
        columns.append((np.full(len(readings), place), readings.at_us, readings.value_e4, readings.bad))
    joined = [np.concatenate([column[index] for column in columns]) for index in range(4)]
    # In the order of time, as if nothing had been late.
    pos = np.argsort(np.argsort(joined[1], kind="stable"), kind="stable")
    if not len(pos):
        return []
    outcome = evaluate(scratch, group_by_sensor(joined[0], joined[1], joined[2], joined[3], pos), to_us)
    return [msgspec.structs.replace(turn, row=row) for turn in outcome.turns if turn.row == 0]
