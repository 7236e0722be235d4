"""Screening: what becomes of each reading of a flush, before any rule sees it. Pure, in columns.

    unknown        no sensor of this site has this name: kept in a bounded quarantine and counted
    wrong_unit     the reading names a unit that its sensor does not measure in: quarantined and counted
    future         more than `FUTURE_MAX_US` after the business clock: refused with the reason
    clock_unset    before the year 2000, a device that does not know the time: refused with the reason
    out_of_range   the probe cannot have measured it: stored, flagged, never used as good data
    late           not newer than what the sensor has sent: stored and evaluated apart (`late`)

Whatever is refused is counted per sensor and told in the answer; nothing is dropped in silence.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from coldgrid.telemetry.flush import Grouped, group_by_sensor, stable_order
from coldgrid.telemetry.quantities import OWN_UNIT, UNIT_CODES, Flags, Floats, Ints, Unit, to_e4

FUTURE_MAX_US = 5 * 60_000_000
YEAR_2000_US = 946_684_800_000_000


class Fate(StrEnum):
    """What a reading was counted as."""

    UNKNOWN = "unknown"
    WRONG_UNIT = "wrong_unit"
    FUTURE = "future"
    CLOCK_UNSET = "clock_unset"
    OUT_OF_RANGE = "out_of_range"
    DUPLICATE = "duplicate"
    CONFLICTING = "conflicting"
    LATE = "late"


class Columns(msgspec.Struct, frozen=True):
    """Readings as columns, in order of arrival. `sensor_no` points into `sensor_ids`.

    Values are of magnitude below `VALUE_E4_MAX` ten-thousandths.
    """

    sensor_ids: list[str]
    sensor_no: Ints
    at_us: Ints
    value: Floats
    unit: NDArray[np.uint8] | None


class Bounds(msgspec.Struct, frozen=True):
    """What is known when a flush comes in.

    `row` is each named sensor's row, −1 where this site has none that is listened to. The other columns are
    by row: the probe's range, whether the sensor reports °F, the units it may report in (a bit for each
    code), its newest reading.
    """

    now_us: int
    row: Ints
    valid_low_e4: Ints
    valid_high_e4: Ints
    fahrenheit: Flags
    units: Ints
    last_at: Ints


class Screened(msgspec.Struct, frozen=True):
    """A flush after screening. `refused` maps why to indexes of readings; `late` is in order of arrival."""

    live: Grouped
    late: Grouped
    refused: dict[Fate, Ints]


def screen(columns: Columns, bounds: Bounds) -> Screened:
    """Decide what becomes of each reading.

    A flush in which all is as it should be costs a look at its extremes; only another one is taken apart.
    """
    row, at_us = bounds.row[columns.sensor_no], columns.at_us
    told = _refused(columns, bounds, row)
    value_e4 = to_e4(columns.value, _fahrenheit(columns, bounds, row))
    pos = np.arange(len(row))
    if told:
        keep = np.ones(len(row), dtype=np.bool_)
        for indexes in told.values():
            keep[indexes] = False
        row, at_us, value_e4, pos = row[keep], at_us[keep], value_e4[keep], pos[keep]
    if not bool((row[1:] >= row[:-1]).all()):
        order = stable_order(row)
        row, at_us, value_e4, pos = row[order], at_us[order], value_e4[order], pos[order]
    grouped = group_by_sensor(row, at_us, value_e4, _bad(row, value_e4, bounds), pos)
    is_late = _late(grouped, bounds.last_at)
    if is_late is None:
        return Screened(grouped, _NONE, told)
    return Screened(grouped.only(~is_late), grouped.only(is_late), told)


_INTS = np.zeros(0, dtype=np.int64)
_NONE = group_by_sensor(_INTS, _INTS, _INTS, np.zeros(0, dtype=np.bool_), _INTS)


def _refused(columns: Columns, bounds: Bounds, row: Ints) -> dict[Fate, Ints]:
    """Return the indexes of readings that are not stored, by why."""
    at_us, unit = columns.at_us, columns.unit
    if not len(row):
        return {}
    latest_us = bounds.now_us + FUTURE_MAX_US
    known = row >= 0
    all_known = bool((bounds.row >= 0).all()) or bool(known.all())
    if all_known and unit is None and int(at_us.max()) <= latest_us and int(at_us.min()) >= YEAR_2000_US:
        return {}
    refused = {Fate.UNKNOWN: ~known}
    if unit is not None:
        refused[Fate.WRONG_UNIT] = known & (unit != OWN_UNIT) & ((bounds.units[row] >> unit) & 1 == 0)
    refused[Fate.FUTURE] = known & (at_us > latest_us)
    refused[Fate.CLOCK_UNSET] = known & (at_us < YEAR_2000_US)
    return {fate: np.flatnonzero(mask) for fate, mask in refused.items() if mask.any()}


def _fahrenheit(columns: Columns, bounds: Bounds, row: Ints) -> Flags | None:
    """Return which readings are in °F; None: none is."""
    own = bounds.fahrenheit[bounds.row]
    if columns.unit is None:
        return own[columns.sensor_no] if own.any() else None
    named = columns.unit != OWN_UNIT
    return np.where(named, columns.unit == UNIT_CODES[Unit.FAHRENHEIT], bounds.fahrenheit[row])


def _bad(row: Ints, value_e4: Ints, bounds: Bounds) -> Flags:
    """Return which readings the probe cannot have measured."""
    if len(row):
        rows = bounds.row[bounds.row >= 0]
        narrowest = int(bounds.valid_low_e4[rows].max()), int(bounds.valid_high_e4[rows].min())
        if narrowest[0] <= int(value_e4.min()) and int(value_e4.max()) <= narrowest[1]:
            return np.zeros(len(row), dtype=np.bool_)
    return (value_e4 < bounds.valid_low_e4[row]) | (value_e4 > bounds.valid_high_e4[row])


def _late(grouped: Grouped, last_at: Ints) -> Flags | None:
    """Return which readings are not newer than all before them of their sensor; None: all are."""
    if not len(grouped):
        return None
    before = np.empty_like(grouped.at_us)
    before[1:] = grouped.at_us[:-1]
    before[grouped.starts] = last_at[grouped.rows]
    behind = grouped.at_us <= before
    if not behind.any():
        return None
    late = np.zeros(len(grouped), dtype=np.bool_)
    ends = grouped.ends
    for group in np.unique(grouped.group[behind]).tolist():
        part = slice(int(grouped.starts[group]), int(ends[group]) + 1)
        at_us = grouped.at_us[part]
        newest = np.maximum.accumulate(np.append(last_at[grouped.rows[group]], at_us[:-1]))
        late[part] = at_us <= newest
    return late


def sort_out(late: Grouped, group: int, known_us: Ints, known_e4: Ints) -> tuple[Flags, int, int]:
    """Tell late readings of one sensor from repeated ones.

    Args:
        late: The late readings of a flush.
        group: Which sensor's.
        known_us: Times of that sensor's readings which are stored or came before in this flush, ascending.
        known_e4: Their values.

    Returns:
        Which readings of the group are new (the first of a time stays), how many repeat a known reading,
        and how many contradict one.
    """
    part = slice(int(late.starts[group]), int(late.ends[group]) + 1)
    at_us, value_e4 = late.at_us[part], late.value_e4[part]
    seen = dict(zip(known_us.tolist(), known_e4.tolist(), strict=True))
    new = np.zeros(len(at_us), dtype=np.bool_)
    duplicate = conflicting = 0
    for index, (at, value) in enumerate(zip(at_us.tolist(), value_e4.tolist(), strict=True)):
        if at not in seen:
            seen[at] = value
            new[index] = True
        elif seen[at] == value:
            duplicate += 1
        else:
            conflicting += 1
    return new, duplicate, conflicting
