"""Calendars and cut-offs, the daylight-saving nights above all."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.network import calendars
from coldgrid.network.calendars import Calendar, Closure, Cutoff, Hours, Weekday, local_instant

NEW_YORK = "America/New_York"
WEEK = list(Weekday)
ALWAYS = Calendar(hours=[Hours(days=WEEK)])


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "local_time", "timezone", "instant"),
    [
        (date(2026, 1, 15), "18:30", NEW_YORK, "2026-01-15T23:30"),  # winter: UTC-5
        (date(2026, 7, 15), "18:30", NEW_YORK, "2026-07-15T22:30"),  # summer: UTC-4
        (date(2026, 7, 15), "18:30", "America/Phoenix", "2026-07-16T01:30"),  # no summer time
        (date(2026, 3, 8), "01:59", NEW_YORK, "2026-03-08T06:59"),  # the last minute before the jump
        (date(2026, 3, 8), "02:00", NEW_YORK, "2026-03-08T07:00"),  # does not exist: the jump (K2)
        (date(2026, 3, 8), "02:30", NEW_YORK, "2026-03-08T07:00"),
        (date(2026, 3, 8), "03:00", NEW_YORK, "2026-03-08T07:00"),
        (date(2026, 11, 1), "01:30", NEW_YORK, "2026-11-01T05:30"),  # exists twice: the first (K3)
        (date(2026, 11, 1), "02:30", NEW_YORK, "2026-11-01T07:30"),
        (date(2026, 3, 8), "24:00", NEW_YORK, "2026-03-09T04:00"),
        (date(2026, 10, 4), "02:15", "Australia/Lord_Howe", "2026-10-03T15:30"),  # a jump of half an hour
    ],
)
def test_wall_clock_time_to_instant(day: date, local_time: str, timezone: str, instant: str) -> None:
    assert local_instant(day, local_time, timezone) == utc(instant)


def test_a_night_line_that_leaves_at_half_past_two_leaves_on_every_night() -> None:
    night = [Cutoff("nightline", "02:30", WEEK)]
    leaves = list(calendars.departures(night, ALWAYS, NEW_YORK, date(2026, 3, 7), 3))
    assert [departure.cutoff_at for departure in leaves] == [
        utc("2026-03-07T07:30"),
        utc("2026-03-08T07:00"),
        utc("2026-03-09T06:30"),
    ]


def test_each_carrier_has_its_own_cut_off() -> None:
    cutoffs = [Cutoff("reefer", "17:00", WEEK[:5]), Cutoff("parcel", "19:30", WEEK)]
    friday_noon = utc("2026-01-16T17:00")
    first = calendars.next_departure(cutoffs, ALWAYS, NEW_YORK, friday_noon)
    assert first is not None
    assert (first.carrier, first.cutoff_at) == ("reefer", utc("2026-01-16T22:00"))
    friday_evening = utc("2026-01-16T22:01")
    parcel = calendars.next_departure(cutoffs, ALWAYS, NEW_YORK, friday_evening)
    reefer = calendars.next_departure(cutoffs, ALWAYS, NEW_YORK, friday_evening, "reefer")
    assert parcel is not None
    assert reefer is not None
    assert (parcel.carrier, parcel.on) == ("parcel", date(2026, 1, 16))
    assert reefer.on == date(2026, 1, 19)


def test_a_cut_off_at_this_very_instant_still_counts() -> None:
    cutoffs = [Cutoff("reefer", "17:00", WEEK)]
    at = utc("2026-01-16T22:00")
    found = calendars.next_departure(cutoffs, ALWAYS, NEW_YORK, at)
    assert found is not None
    assert found.cutoff_at == at


def test_the_last_workable_cut_off_is_the_last_one_in_time() -> None:
    cutoffs = [Cutoff("reefer", "17:00", WEEK), Cutoff("parcel", "19:30", WEEK)]
    last = calendars.last_departure(
        cutoffs, ALWAYS, NEW_YORK, utc("2026-01-15T12:00"), utc("2026-01-16T23:00")
    )
    assert last is not None
    assert (last.carrier, last.on) == ("reefer", date(2026, 1, 16))
    assert (
        calendars.last_departure(cutoffs, ALWAYS, NEW_YORK, utc("2026-01-16T12:00"), utc("2026-01-15T12:00"))
        is None
    )


def test_a_closed_day_has_no_departure_and_a_closed_site_never_one() -> None:
    christmas = Calendar(hours=ALWAYS.hours, closures=[Closure(date(2026, 12, 25), "Christmas Day")])
    cutoffs = [Cutoff("reefer", "17:00", WEEK)]
    found = calendars.next_departure(cutoffs, christmas, NEW_YORK, utc("2026-12-25T12:00"))
    assert found is not None
    assert found.on == date(2026, 12, 26)
    assert calendars.next_departure(cutoffs, Calendar(), NEW_YORK, utc("2026-12-25T12:00")) is None


def test_hours_are_wall_clock_time_on_the_longest_day_too() -> None:
    shop = Calendar(hours=[Hours(days=WEEK, opens="07:00", closes="22:00")])
    assert not calendars.is_open(shop, NEW_YORK, utc("2026-11-01T11:59"))
    assert calendars.is_open(shop, NEW_YORK, utc("2026-11-01T12:00"))
    assert not calendars.is_open(shop, NEW_YORK, utc("2026-11-02T03:00"))


def test_the_nearest_time_zone_is_suggested() -> None:
    (problem,) = calendars.timezone_problems("timezone", "America/NewYork")
    assert problem.fix == "did you mean America/New_York?"
    assert calendars.timezone_problems("timezone", NEW_YORK) == []
    assert calendars.timezone_problems("timezone", "../etc/passwd")[0].fix.startswith("an IANA name")


@given(
    st.dates(date(2020, 1, 1), date(2035, 1, 1)),
    st.times(),
    st.sampled_from([NEW_YORK, "America/Phoenix", "Australia/Lord_Howe", "Europe/Riga", "Asia/Kolkata"]),
)
def test_an_instant_reads_back_as_its_wall_clock_time_or_is_the_jump_that_skips_it(
    day: date, wall: time, timezone: str
) -> None:
    zone = ZoneInfo(timezone)
    back = local_instant(day, f"{wall:%H:%M}", timezone).astimezone(zone)
    if f"{back:%H:%M}" != f"{wall:%H:%M}":
        before = (back.astimezone(UTC) - timedelta(seconds=1)).astimezone(zone)
        assert f"{before:%H:%M}" < f"{wall:%H:%M}" < f"{back:%H:%M}"
    assert back.date() == day
