"""Time above the limit in all, over the last 24 hours: many short spikes harm goods as one long one does.

The time between two readings counts when the earlier one was above the high limit, but never more than
the sensor's gap: what nobody measured is unknown, not warm. It is kept by the hour in which it began.
"""

from __future__ import annotations

import msgspec
import numpy as np

from coldgrid.telemetry.flush import Grouped
from coldgrid.telemetry.memory import NEVER, OFF, Draft, Memory
from coldgrid.telemetry.quantities import Flags, Ints
from coldgrid.telemetry.rules import COLUMN, CUMULATIVE_WINDOW_H, HOUR_US, Rule
from coldgrid.telemetry.runs import Condition, Turn, track


def follow_hours_above(memory: Memory, draft: Draft, condition: Condition, was_e4: Ints) -> list[Turn]:
    """Follow the time above the high limit.

    Args:
        memory: Its `hours_above` holds, for sensors that were above lately, the µs of each hour.
        draft: Takes the new hours and state.
        condition: All air readings, with the time before each; `on` is set here.
        was_e4: The value before each reading.
    """
    air = condition.readings
    high_e4 = memory.tuned["high_e4"][air.rows]
    carried = memory.state[air.rows, COLUMN[Rule.CUMULATIVE]] != OFF
    some = carried | (np.maximum.reduceat(air.value_e4, air.starts) > high_e4)
    if memory.hours_above:
        some |= np.isin(air.rows, list(memory.hours_above))
    # The reading before a group's first may be above with all of the group below.
    some |= (was_e4[air.starts] > high_e4) & (condition.before_us[air.starts] > NEVER)
    if not some.any():
        return []
    keep = some[air.group]
    readings = air.only(keep)
    before_us, was_e4 = condition.before_us[keep], was_e4[keep]
    on = np.zeros(len(readings), dtype=np.bool_)
    first_us = before_us.copy()
    for group in range(len(readings.rows)):
        part = slice(int(readings.starts[group]), int(readings.ends[group]) + 1)
        hours = _follow_one(memory, readings, group, before_us[part], was_e4[part])
        on[part], first_us[part], draft.hours_above[int(readings.rows[group])] = hours
    some_lasts_us = condition.lasts_us[some]
    blocked = None if condition.blocked is None else condition.blocked[keep]
    followed = msgspec.structs.replace(
        condition, readings=readings, on=on, before_us=first_us, lasts_us=some_lasts_us, blocked=blocked
    )
    return track(memory, draft, Rule.CUMULATIVE, followed).turns


def _follow_one(
    memory: Memory, readings: Grouped, group: int, before_us: Ints, was_e4: Ints
) -> tuple[Flags, Ints, dict[int, int]]:
    """Return where the sum is reached, when the oldest hour in it began, and the hours at the end."""
    row = int(readings.rows[group])
    at_us = readings.at_us[readings.starts[group] : readings.ends[group] + 1]
    limit_us, gap_us = int(memory.tuned["cumulative_us"][row]), int(memory.tuned["gap_us"][row])
    above = (was_e4 > memory.tuned["high_e4"][row]) & (before_us > NEVER)
    took_us = np.where(above, np.minimum(at_us - before_us, gap_us), 0)
    began = np.where(before_us > NEVER, before_us, at_us) // HOUR_US
    hours = dict(memory.hours_above.get(row, {}))
    reached, oldest_us = np.zeros(len(at_us), dtype=np.bool_), np.zeros(len(at_us), dtype=np.int64)
    heads = np.flatnonzero(np.diff(began, prepend=-1)).tolist()
    for head, end in zip(heads, [*heads[1:], len(at_us)], strict=True):
        hour = int(began[head])
        hours = {known: spent for known, spent in hours.items() if known > hour - CUMULATIVE_WINDOW_H}
        sums = sum(hours.values()) + np.cumsum(took_us[head:end])
        reached[head:end] = sums >= limit_us
        oldest_us[head:end] = min(hours, default=hour) * HOUR_US
        spent_us = int(took_us[head:end].sum())
        if spent_us:
            hours[hour] = hours.get(hour, 0) + spent_us
    return reached, oldest_us, hours
