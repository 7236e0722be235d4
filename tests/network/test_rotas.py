"""Rotas: exactly one person on duty, handovers by the wall clock, and who is paged when."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.network import rotas
from coldgrid.network.calendars import local_instant
from coldgrid.network.rotas import Channel, Contact, EscalationGroup, EscalationStep, Rota, Swap

NEW_YORK = "America/New_York"
WEEKLY = Rota(name="keyholder", starts_on=date(2026, 1, 5), members=["ana", "ben", "cid"])


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "person"),
    [
        ("2026-01-05T12:59", None),  # before the first turn
        ("2026-01-05T13:00", "ana"),  # 08:00 in New York
        ("2026-01-12T12:59", "ana"),
        ("2026-01-12T13:00", "ben"),
        ("2026-01-26T13:00", "ana"),  # after the last member the first again
        ("2026-03-09T11:59", "cid"),  # the handover moved with the clocks the day before
        ("2026-03-09T12:00", "ana"),
    ],
)
def test_turns_change_at_the_handover(at: str, person: str | None) -> None:
    assert rotas.member_on_duty(WEEKLY, NEW_YORK, utc(at)) == person


@pytest.mark.parametrize(
    ("at", "person"),
    [
        ("2026-01-06T02:59", None),  # 21:59
        ("2026-01-06T03:00", "ana"),  # 22:00
        ("2026-01-06T10:59", "ana"),  # 05:59
        ("2026-01-06T11:00", None),  # 06:00
    ],
)
def test_a_night_window_runs_over_midnight(at: str, person: str | None) -> None:
    nights = Rota(
        name="night",
        starts_on=date(2026, 1, 5),
        turn_days=1,
        members=["ana"],
        window_from="22:00",
        window_to="06:00",
    )
    assert rotas.member_on_duty(nights, NEW_YORK, utc(at)) == person


def test_a_swap_beats_the_turn_and_the_later_swap_the_earlier() -> None:
    swapped = Rota(
        name="keyholder",
        starts_on=date(2026, 1, 5),
        members=["ana", "ben"],
        swaps=[
            Swap(utc("2026-01-06T00:00"), utc("2026-01-08T00:00"), "ben", "dentist"),
            Swap(utc("2026-01-07T00:00"), utc("2026-01-07T12:00"), "cid"),
        ],
    )
    on = [rotas.member_on_duty(swapped, NEW_YORK, utc(f"2026-01-{day}T06:00")) for day in ("06", "07", "08")]
    assert on == ["ben", "cid", "ana"]


def night_group() -> EscalationGroup:
    return EscalationGroup(
        group_id="GRP-ATL1",
        name="Atlanta",
        timezone=NEW_YORK,
        steps=[
            EscalationStep(0, [Contact("site", Channel.SIREN, "sirens/ATL1")], "keyholder"),
            EscalationStep(10, [Contact("boss", Channel.VOICE, "+14045550199")]),
        ],
        rotas=[WEEKLY],
        people=[
            Contact("ana", Channel.VOICE, "+14045550101", 18),
            Contact("ana", Channel.SMS, "+14045550101", 25),
            Contact("ben", Channel.VOICE, "+14045550102"),
        ],
    )


def test_who_is_on_duty_comes_with_their_addresses_and_the_drive_to_the_door() -> None:
    (duty,) = rotas.duties_at(night_group(), utc("2026-01-06T07:00"))
    assert (duty.person_id, duty.drive_min, len(duty.contacts)) == ("ana", 18, 2)
    (duty,) = rotas.duties_at(night_group(), utc("2026-01-13T07:00"))
    assert (duty.person_id, duty.drive_min) == ("ben", None)


def test_a_step_pages_its_own_contacts_and_who_its_rota_names() -> None:
    steps = rotas.at_instant(night_group(), utc("2026-01-06T07:00")).steps
    assert [contact.person_id for contact in steps[0].contacts] == ["site", "ana", "ana"]
    assert [contact.person_id for contact in steps[1].contacts] == ["boss"]


@given(
    st.dates(date(2026, 1, 6), date(2030, 1, 1)),
    st.sampled_from(["00:30", "07:59", "08:00", "23:30"]),
    st.integers(1, 30),
    st.integers(1, 5),
    st.sampled_from([NEW_YORK, "America/Phoenix", "Europe/Riga"]),
)
def test_someone_is_always_on_duty_and_everyone_for_the_same_number_of_days(
    first: date, local_time: str, turn_days: int, count: int, timezone: str
) -> None:
    members = [f"p-{number}" for number in range(count)]
    rota = Rota(name="all", starts_on=date(2026, 1, 4), turn_days=turn_days, members=members)
    days = [first + timedelta(days=number) for number in range(turn_days * count)]
    on = [rotas.member_on_duty(rota, timezone, local_instant(day, local_time, timezone)) for day in days]
    assert Counter(on) == dict.fromkeys(members, turn_days)
