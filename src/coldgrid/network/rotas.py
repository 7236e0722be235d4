"""Rotas: who is on duty at an instant, and who is paged when. Pure.

Invariants
    R1  At every instant of a rota's window exactly one member is on duty; outside it nobody is.
    R2  Turns change at the handover's local wall-clock time, summer and winter.
    R3  A swap beats the turn; of two that overlap, the later one in the list.

The member of turn n is members[n mod len], turn 0 begins at the handover on `starts_on`; before that day
nobody is on duty. A window such as 22:00 to 06:00 runs over midnight; without one the rota is always on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from coldgrid.network.calendars import LocalTime

Minutes = Annotated[int, msgspec.Meta(ge=0, le=1_440)]


class Channel(StrEnum):
    """How somebody is reached. E-mail wakes nobody."""

    EMAIL = "email"
    SMS = "sms"
    VOICE = "voice"
    SIREN = "siren"
    WEBHOOK = "webhook"


class Contact(msgspec.Struct, frozen=True):
    """One way to reach one person. `drive_min`: a keyholder's minutes to the door; None without a key."""

    person_id: str
    channel: Channel
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    drive_min: Minutes | None = None


class EscalationStep(msgspec.Struct, frozen=True):
    """Who is paged when nobody acknowledged within so many minutes: people, or who a rota names, or both."""

    after_min: Minutes
    contacts: list[Contact] = []
    rota: str = ""


class Swap(msgspec.Struct, frozen=True):
    """Somebody takes over a part of a rota: from an instant (included) until another (excluded)."""

    from_at: Annotated[datetime, msgspec.Meta(tz=True)]
    until_at: Annotated[datetime, msgspec.Meta(tz=True)]
    person_id: str
    why: str = ""


class Rota(msgspec.Struct, frozen=True, kw_only=True):
    """Turns of duty among members, who are named by person and found among the group's people."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    starts_on: date
    handover: LocalTime = "08:00"
    turn_days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 7
    members: Annotated[list[str], msgspec.Meta(min_length=1, max_length=100)]
    window_from: LocalTime = "00:00"
    window_to: LocalTime = "00:00"
    swaps: list[Swap] = []


class EscalationGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers for a place: the steps of an escalation, the rotas behind them, and how to reach people."""

    group_id: str
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    timezone: str
    steps: Annotated[list[EscalationStep], msgspec.Meta(min_length=1, max_length=20)]
    rotas: list[Rota] = []
    people: list[Contact] = []


class OnDuty(msgspec.Struct, frozen=True):
    """Who is on duty in a rota. `drive_min`: the keyholder's minutes to the door, None without a key."""

    rota: str
    person_id: str
    contacts: list[Contact]
    drive_min: int | None


def member_on_duty(rota: Rota, timezone: str, at: datetime) -> str | None:
    """Return the person on duty in a rota at an instant, or None outside it (R1 to R3)."""
    local = at.astimezone(ZoneInfo(timezone))
    wall = f"{local:%H:%M}"
    if not _in_window(rota, wall):
        return None
    for swap in reversed(rota.swaps):
        if swap.from_at <= at < swap.until_at:
            return swap.person_id
    days = (local.date() - rota.starts_on).days - (wall < rota.handover)
    return rota.members[days // rota.turn_days % len(rota.members)] if days >= 0 else None


def _in_window(rota: Rota, wall: str) -> bool:
    if rota.window_from == rota.window_to:
        return True
    if rota.window_from < rota.window_to:
        return rota.window_from <= wall < rota.window_to
    return wall >= rota.window_from or wall < rota.window_to


def duties_at(group: EscalationGroup, at: datetime) -> list[OnDuty]:
    """Return who is on duty in each rota of a group at an instant; a rota outside its window is left out."""
    duties = []
    for rota in group.rotas:
        person_id = member_on_duty(rota, group.timezone, at)
        if person_id is not None:
            contacts = contacts_of(group, person_id)
            duties.append(OnDuty(rota.name, person_id, contacts, _drive_min(contacts)))
    return duties


def contacts_of(group: EscalationGroup, person_id: str) -> list[Contact]:
    """Return every way to reach one of a group's people."""
    return [contact for contact in group.people if contact.person_id == person_id]


def _drive_min(contacts: Sequence[Contact]) -> int | None:
    return min((contact.drive_min for contact in contacts if contact.drive_min is not None), default=None)


def at_instant(group: EscalationGroup, at: datetime) -> EscalationGroup:
    """Return the group with each step's rota replaced by the contacts of who is on duty then."""
    on = {duty.rota: duty.contacts for duty in duties_at(group, at)}
    steps = [
        EscalationStep(step.after_min, [*step.contacts, *on.get(step.rota, [])], step.rota)
        for step in group.steps
    ]
    return msgspec.structs.replace(group, steps=steps)
