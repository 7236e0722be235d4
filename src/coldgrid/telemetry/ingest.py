"""Ingest: a flush of readings becomes durable, and what the rules make of it becomes events.

Invariants
    I1  A flush is stored, screened, evaluated and its alarms recorded in one commit, or nothing of it is.
    I2  The same flush again changes nothing but counts: times that are known are told from new ones.
    I3  A late reading is stored and evaluated too (`late`).
    I4  The rules run on the device's time, corrected where its clock is wrong; both times are kept beside it.

Columns cross from the adapters as bytes, little-endian, so that a command of ten thousand readings costs
as little as one: `sensor_no` 4 bytes pointing into `sensor_ids`, `at_us` 8 bytes, `value` an 8-byte float,
`unit` one byte (`quantities.UNIT_CODES`; empty: every sensor's own). What a driver hands over has two more:
`heard_us` 8 bytes, when this host heard it, and `how` one byte, whose clock `at_us` is of (`device_clocks`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import repeat
from typing import Annotated

import msgspec
import numpy as np

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import get_site
from coldgrid.telemetry import annunciate, chunks, health, landing, late, parcels, signals, silence
from coldgrid.telemetry.device_clocks import KEPT_TIME, Claimed, place_all
from coldgrid.telemetry.engine import evaluate
from coldgrid.telemetry.flush import Grouped
from coldgrid.telemetry.quantities import UNIT_CODES, VALUE_E4_MAX, Floats, Ints
from coldgrid.telemetry.reading_times import Times, series_beside
from coldgrid.telemetry.screening import YEAR_2000_US, Bounds, Columns, Fate, Screened, screen
from coldgrid.telemetry.watch import Watch

READINGS_MAX = 100_000
REFUSED_TOLD_MAX = 20
VALUE_MAX = VALUE_E4_MAX / 10_000
# Times that a device may claim lie within ±10,000 years.
_EVER_US = 315_360_000_000_000_000
LATEST_US = 253_370_764_800_000_000

# Flushes are rolled into chunks when so many, or so many readings, wait. Twice as many at once cost each the
# same, and hold whatever comes meanwhile up for twice as long, an alarm too.
ROLL_FLUSHES = 128
ROLL_READINGS = 400_000
HOUR = timedelta(hours=1)

# --- The command ----------------------------------------------------------------


class Poisoned(msgspec.Struct, frozen=True):
    """A message that could not be read: where it came from, its beginning, what is wrong with it."""

    source: Annotated[str, msgspec.Meta(max_length=200)]
    text: Annotated[str, msgspec.Meta(max_length=200)]
    why: Annotated[str, msgspec.Meta(max_length=200)]


class IngestReadings(Command, frozen=True, tag="telemetry.ingest_readings"):
    """Take in a flush of one site's readings. `strict`: a unit that does not fit a sensor refuses all."""

    site_id: str
    sensor_ids: Annotated[list[str], msgspec.Meta(max_length=READINGS_MAX)]
    sensor_no: bytes
    at_us: bytes
    value: bytes
    unit: bytes = b""
    batch_id: str = ""
    strict: bool = False
    poisoned: Annotated[tuple[Poisoned, ...], msgspec.Meta(max_length=1_000)] = ()
    heard_us: bytes = b""
    how: bytes = b""


class Refused(msgspec.Struct, frozen=True):
    """A reading that was not stored: its place in the flush, whose it is, why, and what its sender can do."""

    index: int
    sensor_id: str
    reason: Fate
    fix: str


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a flush. Of what was refused the first `REFUSED_TOLD_MAX` are told one by one."""

    received: int
    stored: int
    out_of_range: int = 0
    late: int = 0
    duplicate: int = 0
    conflicting: int = 0
    refused: dict[str, int] = {}
    told: list[Refused] = []


_NEEDED = {"sensor_no", "at_us", "value"}
FIXES = {
    Fate.UNKNOWN: "register the sensor at this site, or correct its name",
    Fate.WRONG_UNIT: "send the value in a unit that the sensor measures in",
    Fate.FUTURE: "set the device's clock: the reading is more than 5 minutes ahead",
    Fate.CLOCK_UNSET: "set the device's clock: nobody can tell when this was measured",
}


def columns_of(
    site_id: str, sensor_ids: list[str], sensor_no: Ints, at_us: Ints, value: Floats
) -> IngestReadings:
    """Return the command for columns: for benches, simulations and tests."""
    return IngestReadings(
        site_id=site_id,
        sensor_ids=sensor_ids,
        sensor_no=sensor_no.astype("<u4").tobytes(),
        at_us=at_us.astype("<i8").tobytes(),
        value=value.astype("<f8").tobytes(),
    )


def read_columns(command: IngestReadings) -> Columns:
    """Return the command's columns.

    Raises:
        Invalid: columns of different lengths, too many readings, a pointer to no sensor, no number.
    """
    count = len(command.at_us) // 8
    problems = [
        Problem(field=field, message=f"has {len(column)} bytes, not {width} for each of {count} readings")
        for field, column, width in (
            ("sensor_no", command.sensor_no, 4),
            ("at_us", command.at_us, 8),
            ("value", command.value, 8),
            ("unit", command.unit, 1),
            ("heard_us", command.heard_us, 8),
            ("how", command.how, 1),
        )
        if len(column) != width * count and (field in _NEEDED or column)
    ]
    if bool(command.heard_us) != bool(command.how):
        problems.append(Problem(field="how", message="comes with heard_us, and heard_us with it"))
    if count > READINGS_MAX:
        fix = f"send at most {READINGS_MAX} readings at once"
        problems.append(Problem(field="at_us", message=f"{count} readings are too many", fix=fix))
    if problems:
        raise Invalid(problems)
    columns = Columns(
        sensor_ids=command.sensor_ids,
        sensor_no=np.frombuffer(command.sensor_no, dtype="<u4").astype(np.int64),
        at_us=np.frombuffer(command.at_us, dtype="<i8").astype(np.int64),
        value=np.frombuffer(command.value, dtype="<f8"),
        unit=np.frombuffer(command.unit, dtype=np.uint8) if command.unit else None,
    )
    if count and int(columns.sensor_no.max()) >= len(command.sensor_ids):
        message = "points behind the last of `sensors`"
        raise Invalid([Problem(field="sensor", message=message, fix="count the names from 0")])
    if columns.unit is not None and count and int(columns.unit.max()) > max(UNIT_CODES.values()):
        raise Invalid([Problem(field="unit", message="is no code of a unit")])
    wrong = np.flatnonzero(~(np.abs(columns.value) < VALUE_MAX))
    if len(wrong):
        message = f"is not a number below {VALUE_MAX:.0f}"
        raise Invalid([Problem(field=f"value[{index}]", message=message) for index in wrong[:100].tolist()])
    return columns


# --- Carrying it out ------------------------------------------------------------


@handles(IngestReadings, action="telemetry.ingest", owner=Owner.SITE, direct=True)
def ingest_readings(tx: Tx, command: IngestReadings) -> Ingested:
    """Store a flush, run the rules over it and record what they say (I1)."""
    columns = read_columns(command)
    watch = tx.hot(Watch)
    if command.site_id not in watch.listening:
        get_site(tx, command.site_id)
    now_us = to_micros(tx.now)
    times = None
    if command.heard_us:
        columns, times = _timed(tx, watch, command, columns)
    screened = screen(columns, _bounds(watch, command, now_us))
    wrong_unit = screened.refused.get(Fate.WRONG_UNIT)
    if command.strict and wrong_unit is not None:
        raise Invalid([_unit_problem(columns, index) for index in wrong_unit[:100].tolist()])
    counts: Counter[tuple[str, Fate]] = Counter()
    new_late = late.tell_apart(tx, screened, counts)
    _store(tx, watch, (screened.live, new_late), times, now_us)
    _count(tx, watch, screened, columns, counts)
    _quarantine(tx, screened, columns, command.poisoned)
    return _answer(columns, screened, len(new_late), counts)


def _bounds(watch: Watch, command: IngestReadings, now_us: int) -> Bounds:
    row_of = watch.listening.get(command.site_id, {})
    rows = map(row_of.get, command.sensor_ids, repeat(-1))
    return Bounds(
        now_us=now_us,
        row=np.fromiter(rows, dtype=np.int64, count=len(command.sensor_ids)),
        valid_low_e4=watch.valid_low_e4,
        valid_high_e4=watch.valid_high_e4,
        fahrenheit=watch.fahrenheit,
        units=watch.units,
        last_at=watch.memory.last_at,
    )


def _timed(tx: Tx, watch: Watch, command: IngestReadings, columns: Columns) -> tuple[Columns, Times]:
    """Put what a driver heard to its time (I4); what cannot be placed gets a time that screening refuses."""
    heard_us = np.frombuffer(command.heard_us, dtype="<i8").astype(np.int64)
    how = np.frombuffer(command.how, dtype=np.uint8).astype(np.int64)
    if len(how):
        if int(how.max()) > KEPT_TIME:
            raise Invalid([Problem(field="how", message="is no code of a clock")])
        if int(columns.at_us.min()) < -_EVER_US or int(columns.at_us.max()) > _EVER_US:
            raise Invalid([Problem(field="at_us", message="lies beyond any time that a device may claim")])
        if int(heard_us.min()) < YEAR_2000_US or int(heard_us.max()) > LATEST_US:
            raise Invalid([Problem(field="heard_us", message="is no time of a host: the years 2000 to 9998")])
    row_of = watch.listening.get(command.site_id, {})
    rows = [row_of.get(name) for name in command.sensor_ids]
    zones = ["" if row is None else watch.sensors[row].zone_id for row in rows]
    known = [name if row is not None else None for name, row in zip(command.sensor_ids, rows, strict=True)]
    at_us, offset_us = place_all(tx, Claimed(known, zones, columns.sensor_no, columns.at_us, heard_us, how))
    return msgspec.structs.replace(columns, at_us=at_us), Times(heard_us, offset_us, how)


def _store(tx: Tx, watch: Watch, parts: tuple[Grouped, Grouped], times: Times | None, now_us: int) -> None:
    """Land what is new, live and late, follow it with the rules, and record their turns."""
    live, new_late = parts
    if not len(live) and not len(new_late):
        return
    ordered = bool(watch.memory.is_device[live.rows].any())
    body = landing.pack_flush(watch.memory.names, [live, new_late], now_us, ordered=ordered)
    head = landing.land(tx, watch.head(tx.origin), body, parts)
    if times is not None:
        beside = series_beside(parts, watch.memory.sensor_ids, times)
        told = landing.pack_beside(beside, now_us)
        head = landing.land(tx, head, told, [readings for _, readings in beside])
    watch.move_head(tx, head)
    turned = False
    if len(live):
        outcome = evaluate(watch.memory, live, now_us)
        tx.undo(watch.memory.apply(outcome.draft))
        annunciate.record_turns(tx, outcome.turns)
        turned = bool(outcome.turns)
        signals.note_signals(tx, live)
        silence.expect(tx, live.rows)
    if len(new_late):
        late.evaluate_later(tx, new_late)
    # An alarm, and the hold that follows in its commit, do not wait for a roll: the next flush does it.
    fill = max(head.flushes / ROLL_FLUSHES, head.readings / ROLL_READINGS)
    if fill >= (2 if turned else 1) and tx.origin not in watch.damaged:
        try:
            roll(tx)
        except landing.ChainBroken:
            # What comes in still counts; the hourly round goes on saying so until somebody looks.
            watch.damaged.add(tx.origin)
    if tx.origin not in watch.hourly:
        _set_hourly(tx, watch)


def roll(tx: Tx) -> None:
    """Move the site's flushes into chunks and write down what the rules remember."""
    watch = tx.hot(Watch)
    head = watch.head(tx.origin)
    if head.flushes:
        flushes = landing.flushes_of(tx, tx.origin)
        parcels.cut_parcel(tx, flushes, head.landed_no)
        chunks.roll_into_chunks(tx, flushes, head.landed_no)
        watch.move_head(tx, landing.clear_landing(tx, tx.origin, head))
    watch.checkpoint(tx, tx.origin)


def _set_hourly(tx: Tx, watch: Watch) -> None:
    site_id = tx.origin
    now_us = to_micros(tx.now)
    hour_us = HOUR // timedelta(microseconds=1)
    due_at = from_micros((now_us // hour_us + 1) * hour_us)
    tx.set_timer(f"telemetry.hourly/{site_id}", "telemetry.hourly", due_at, {})
    watch.hourly.add(site_id)
    tx.undo(lambda: watch.hourly.discard(site_id))


# --- Telling what became of it --------------------------------------------------


def _count(
    tx: Tx, watch: Watch, screened: Screened, columns: Columns, counts: Counter[tuple[str, Fate]]
) -> None:
    """Count what was refused and what no probe can measure."""
    for fate, indexes in screened.refused.items():
        counts.update((columns.sensor_ids[no], fate) for no in columns.sensor_no[indexes].tolist())
    for part in (screened.live, screened.late):
        if part.bad.any():
            rows, numbers = np.unique(part.row[part.bad], return_counts=True)
            for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
                counts[watch.memory.sensor_ids[row], Fate.OUT_OF_RANGE] += number
    if counts:
        health.count(tx, counts, to_micros(tx.now))


def _quarantine(tx: Tx, screened: Screened, columns: Columns, poisoned: Sequence[Poisoned]) -> None:
    """Keep what nobody can place, for a person to look into."""
    caught = [(poison.source, "unreadable", f"{poison.why}: {poison.text}") for poison in poisoned]
    for fate in (Fate.UNKNOWN, Fate.WRONG_UNIT):
        if fate in screened.refused:
            for index in screened.refused[fate][-health.QUARANTINE_MAX :].tolist():
                told = f"{columns.value[index]:g} at {from_micros(int(columns.at_us[index])).isoformat()}"
                caught.append((columns.sensor_ids[columns.sensor_no[index]], fate, told))
    if caught:
        health.quarantine(tx, caught)


def _answer(
    columns: Columns, screened: Screened, new_late: int, counts: Counter[tuple[str, Fate]]
) -> Ingested:
    by_fate: Counter[Fate] = Counter()
    for (_, fate), number in counts.items():
        by_fate[fate] += number
    told = [
        Refused(index, columns.sensor_ids[columns.sensor_no[index]], fate, FIXES[fate])
        for fate, indexes in screened.refused.items()
        for index in indexes[:REFUSED_TOLD_MAX].tolist()
    ]
    return Ingested(
        received=len(columns.at_us),
        stored=len(screened.live) + new_late,
        out_of_range=by_fate[Fate.OUT_OF_RANGE],
        late=new_late,
        duplicate=by_fate[Fate.DUPLICATE],
        conflicting=by_fate[Fate.CONFLICTING],
        refused={fate: len(indexes) for fate, indexes in screened.refused.items()},
        told=told[:REFUSED_TOLD_MAX],
    )


def _unit_problem(columns: Columns, index: int) -> Problem:
    sensor_id = columns.sensor_ids[columns.sensor_no[index]]
    message = f"{sensor_id} does not measure in this unit"
    return Problem(field=f"readings[{index}].unit", message=message, fix=FIXES[Fate.WRONG_UNIT])
