"""Whom to wake, how and when: the pure part of escalation.

Invariants
    G1  E-mail wakes nobody: a page that must wake goes out by siren, voice or SMS where there is one.
    G2  A step that nobody can be woken by is passed on at once to the next one.
    G3  After the last step the chain begins again, a bounded number of times; then it says that nobody came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from coldgrid.kernel.ids import derive_id
from coldgrid.network.rotas import Channel, Contact, EscalationStep
from coldgrid.orchestration.severity import Severity

WAKING = frozenset({Channel.SIREN, Channel.SMS, Channel.VOICE})
# What each severity may use. A siren empties a floor, so it takes goods about to be lost.
CHANNELS: dict[Severity, frozenset[Channel]] = {
    Severity.INFORMATIONAL: frozenset({Channel.EMAIL, Channel.WEBHOOK}),
    Severity.OPERATOR_ACTIONABLE: frozenset({Channel.SMS, Channel.EMAIL, Channel.WEBHOOK}),
    Severity.EXCURSION_RISK: frozenset(Channel),
}
ROUNDS = 3
ROUND_PAUSE_MIN = 10
CODE = re.compile(r"[2-9][A-Z2-9]{4}")


class Place(msgspec.Struct, frozen=True):
    """Where a chain stands: which round of its steps, which step."""

    round: int
    step: int


class Due(msgspec.Struct, frozen=True):
    """The next place of a chain, and how long after its start it is due."""

    place: Place
    after: timedelta


def contacts_for(step: EscalationStep, severity: Severity) -> list[Contact]:
    """The contacts that a step pages at a severity; when none of them may be used, all that can be reached.

    Erased people have no address any more and are passed over.
    """
    reachable = list({(c.person_id, c.channel, c.address): c for c in step.contacts if c.address}.values())
    allowed = [contact for contact in reachable if contact.channel in CHANNELS[severity]]
    return allowed or reachable


def with_owner(steps: Sequence[EscalationStep], owner: str | None) -> EscalationStep:
    """The first step, with whoever took the incident on added to it: they know it and are awake."""
    first = steps[0]
    own = [contact for step in steps[1:] for contact in step.contacts if contact.person_id == owner]
    return EscalationStep(first.after_min, [*own, *first.contacts], first.rota)


def wakes(contacts: Sequence[Contact]) -> bool:
    """Tell whether any of these contacts wakes a person (G1)."""
    return any(contact.channel in WAKING for contact in contacts)


def place_after(steps: Sequence[EscalationStep], place: Place | None, rounds: int = ROUNDS) -> Due | None:
    """Where a chain goes when nobody acknowledged; None when it is over (G3).

    The delays of the steps count from the start of their round; a round ends one pause after its last step.
    """
    if not steps:
        return None
    if place is None:
        return Due(Place(0, 0), timedelta(minutes=steps[0].after_min))
    following = Place(place.round, place.step + 1)
    if following.step >= len(steps):
        following = Place(place.round + 1, 0)
    if following.round >= rounds:
        return None
    round_min = steps[-1].after_min + ROUND_PAUSE_MIN
    return Due(following, timedelta(minutes=following.round * round_min + steps[following.step].after_min))


def reply_code(page_id: str) -> str:
    """The short code by which a reply names its page: a digit and four letters that nobody mixes up."""
    letters = derive_id("code", page_id).removeprefix("code-").upper().replace("O", "8").replace("I", "9")
    return f"{'23456789'[ord(letters[0]) % 8]}{letters[1:5]}"


def page_text(message: str, code: str) -> str:
    """What a page says, with how to answer it."""
    return f"{message} Reply YES {code} to take it, NO {code} if you cannot."


def read_reply(text: str) -> tuple[str, bool] | None:
    """Read a reply: its code and whether the person takes it; None when it names no code.

    A keypad sends `1` or `2` for yes and no; people forget the word and send the code alone.
    """
    words = re.findall(r"[A-Z0-9']+", text.upper())
    codes = [word for word in words if CODE.fullmatch(word)]
    if not codes:
        return None
    refused = any(word in {"NO", "N", "2", "CANNOT", "CAN'T", "CANT"} for word in words)
    return codes[-1], not refused
