"""Calendars and cut-offs: when a site works, and until when an order still leaves today. Pure.

Invariants
    K1  A cut-off is a carrier's local wall-clock time at the site; its instant depends on the day.
    K2  A wall-clock time that a spring night skips means the instant at which the clocks jump.
    K3  A wall-clock time that an autumn night repeats means the first of the two.

K2 and K3 choose the earlier reading wherever there are two: goods ready too early wait, goods ready too late
stay behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from coldgrid.kernel.rejections import Problem

# A search for the next cut-off ends here: a site closed for longer has none.
CUTOFF_SEARCH_DAYS = 30
DAY_ENDS = "24:00"

LocalTime = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
ClosingTime = Annotated[str, msgspec.Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]


class Weekday(StrEnum):
    """A day of the week, Monday first as in ISO 8601."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


WEEKDAYS = tuple(Weekday)


class Hours(msgspec.Struct, frozen=True):
    """Working hours on some weekdays, local time. A shift over midnight is two rows."""

    days: list[Weekday]
    opens: LocalTime = "00:00"
    closes: ClosingTime = DAY_ENDS


class Closure(msgspec.Struct, frozen=True):
    """A day on which the site does not work: a holiday, a stocktake."""

    on: date
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Calendar(msgspec.Struct, frozen=True):
    """When a site works. Without hours it never does."""

    hours: list[Hours] = []
    closures: list[Closure] = []


class Cutoff(msgspec.Struct, frozen=True):
    """The local time until which goods must be ready for a carrier's pick-up on some weekdays."""

    carrier: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    local_time: LocalTime
    days: list[Weekday]


class Departure(msgspec.Struct, frozen=True):
    """One cut-off of one day, as an instant."""

    carrier: str
    on: date
    cutoff_at: datetime


def local_instant(day: date, local_time: str, timezone: str) -> datetime:
    """Return the UTC instant of a wall-clock time, by K2 and K3. "24:00" is the end of the day.

    Raises:
        ValueError: `local_time` is not HH:MM.
        zoneinfo.ZoneInfoNotFoundError: no such time zone.
    """
    zone = ZoneInfo(timezone)
    if local_time == DAY_ENDS:
        day, local_time = day + timedelta(days=1), "00:00"
    wall = datetime.combine(day, time.fromisoformat(local_time))
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return first  # exists once, or twice and this is the earlier (K3)
    return _jump_between(second, first, zone)


def _jump_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The instant, to the second, at which the zone's offset changes (K2)."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after


def local_day(at: datetime, timezone: str) -> date:
    """Return the calendar day at a site at an instant."""
    return at.astimezone(ZoneInfo(timezone)).date()


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


def timezone_problems(field: str, name: str) -> list[Problem]:
    """Return what is wrong with the name of a time zone, with the nearest right one."""
    if name in _timezones():
        return []
    close = get_close_matches(name[:64], _timezones(), n=1, cutoff=0.7)
    fix = f"did you mean {close[0]}?" if close else "an IANA name like America/New_York"
    return [Problem(field=field, message=f"{name[:64]!r} is no IANA time zone", fix=fix)]


def calendar_problems(field: str, calendar: Calendar) -> Iterator[Problem]:
    """Yield what is wrong with a calendar: hours without days or of no length, a day closed twice."""
    for index, hours in enumerate(calendar.hours):
        if not hours.days:
            yield Problem(field=f"{field}.hours[{index}].days", message="names no day")
        if hours.opens >= hours.closes:
            yield Problem(
                field=f"{field}.hours[{index}].closes",
                message=f"closes at {hours.closes}, before it opens at {hours.opens}",
                fix="write a shift over midnight as two rows, one to 24:00 and one from 00:00",
            )
    days = [closure.on for closure in calendar.closures]
    for day in sorted({day for day in days if days.count(day) > 1}):
        yield Problem(field=f"{field}.closures", message=f"{day} is listed twice")


def works_on(calendar: Calendar, day: date) -> bool:
    """Tell whether the site works at all on a day."""
    if any(closure.on == day for closure in calendar.closures):
        return False
    return any(WEEKDAYS[day.weekday()] in hours.days for hours in calendar.hours)


def is_open(calendar: Calendar, timezone: str, at: datetime) -> bool:
    """Tell whether the site works at an instant. Opening is included, closing is not."""
    day = local_day(at, timezone)
    if not works_on(calendar, day):
        return False
    return any(
        local_instant(day, hours.opens, timezone) <= at < local_instant(day, hours.closes, timezone)
        for hours in calendar.hours
        if WEEKDAYS[day.weekday()] in hours.days
    )


def departures(
    cutoffs: Sequence[Cutoff], calendar: Calendar, timezone: str, first: date, days: int
) -> Iterator[Departure]:
    """Yield the departures of `days` calendar days from `first` on, each day's in time order."""
    for offset in range(days):
        day = first + timedelta(days=offset)
        if not works_on(calendar, day):
            continue
        weekday = WEEKDAYS[day.weekday()]
        yield from sorted(
            (
                Departure(cutoff.carrier, day, local_instant(day, cutoff.local_time, timezone))
                for cutoff in cutoffs
                if weekday in cutoff.days
            ),
            key=lambda departure: (departure.cutoff_at, departure.carrier),
        )


def next_departure(
    cutoffs: Sequence[Cutoff], calendar: Calendar, timezone: str, after: datetime, carrier: str | None = None
) -> Departure | None:
    """Return the first departure whose cut-off is at or after an instant, of one carrier or of any.

    None when the site has none within `CUTOFF_SEARCH_DAYS`.
    """
    wanted = [cutoff for cutoff in cutoffs if carrier in (None, cutoff.carrier)]
    days = departures(wanted, calendar, timezone, local_day(after, timezone), CUTOFF_SEARCH_DAYS)
    return next((departure for departure in days if departure.cutoff_at >= after), None)


def last_departure(
    cutoffs: Sequence[Cutoff], calendar: Calendar, timezone: str, after: datetime, until: datetime
) -> Departure | None:
    """Return the last departure with its cut-off in [after, until]: the last workable; None without one."""
    first = local_day(after, timezone)
    days = (local_day(until, timezone) - first).days + 1
    workable = [
        departure
        for departure in departures(cutoffs, calendar, timezone, first, max(0, days))
        if after <= departure.cutoff_at <= until
    ]
    return max(workable, key=lambda departure: departure.cutoff_at, default=None)
