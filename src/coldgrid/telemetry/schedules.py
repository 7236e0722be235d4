"""When defrost is due: local wall-clock times as instants. Pure.

A zone without a sensor in its coil says when it defrosts; warm air is explained from each start for as long
as the plan says, never longer than a sensor's rules let a defrost explain it. It depends on event time alone:
a stream gives the same turns however it is cut, and late readings are judged like the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.network.calendars import WEEKDAYS, Weekday, local_instant
from coldgrid.telemetry.quantities import Flags, Ints

DAYS_KEPT = 64
ONE_DAY = timedelta(days=1)


class Schedule:
    """One zone's defrosts. The instants of a day are kept: flushes ask for the same few days."""

    def __init__(self, timezone: str, times: Sequence[str], days: Sequence[Weekday], lasts_us: int) -> None:
        self._timezone = timezone
        self._times = tuple(times)
        self._days = frozenset(days)
        self._lasts_us = lasts_us
        self._known: dict[date, tuple[int, ...]] = {}

    def covers(self, at_us: Ints, longest_us: int, recovery_us: int) -> Flags | None:
        """Tell for instants in ascending order whether a defrost explains warm air then; None: for none.

        `longest_us`: the most that a defrost may explain; `recovery_us`: the time to recover that is added.
        """
        explains_us = min(self._lasts_us, longest_us) + recovery_us
        starts = self._starts(int(at_us[0]) - explains_us, int(at_us[-1]))
        if not len(starts):
            return None
        newest = np.searchsorted(starts, at_us, side="right") - 1
        inside: Flags = (newest >= 0) & (at_us - starts[np.maximum(newest, 0)] < explains_us)
        return inside if inside.any() else None

    def _starts(self, from_us: int, to_us: int) -> Ints:
        zone = ZoneInfo(self._timezone)
        day, last = (from_micros(us).astimezone(zone).date() for us in (from_us, to_us))
        found: list[int] = []
        while day <= last:
            found += [us for us in self._of_day(day) if from_us <= us <= to_us]
            day += ONE_DAY
        return np.array(found, dtype=np.int64)

    def _of_day(self, day: date) -> tuple[int, ...]:
        known = self._known.get(day)
        if known is None:
            if len(self._known) >= DAYS_KEPT:
                self._known.clear()
            due = WEEKDAYS[day.weekday()] in self._days
            instants = (local_instant(day, time, self._timezone) for time in self._times) if due else ()
            known = self._known[day] = tuple(sorted({to_micros(_utc(at)) for at in instants}))
        return known


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
