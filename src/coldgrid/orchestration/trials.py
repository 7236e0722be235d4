"""Trials: a message to one contact that says it is a trial, before a night shows that a number is wrong.

A trial goes through the outbox like a page. It is no page: nobody is asked to come, and it counts in no alarm
budget. What came of it stands in the outbox under `trial/GROUP`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.outbox import Effect
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict, NotFound
from coldgrid.kernel.tx import Tx
from coldgrid.network.groups import get_group
from coldgrid.network.rotas import Channel, Contact, EscalationGroup

TrialId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
TEXT = "This is a trial of Coldgrid's messages. Nothing is wrong; nobody has to come."


class ContactTried(Event, frozen=True, tag="orchestration.contact_tried"):
    """A trial message to a contact went to the outbox, with the trial's id as its key."""

    trial_id: str
    group_id: str
    person_id: str
    channel: Channel


class ContactNotFound(NotFound):
    """The group does not reach this person that way."""


class SirenNotTried(Conflict):
    """A siren is tried at the siren: it would empty the floor."""


class TryContact(Command, frozen=True, tag="orchestration.try_contact"):
    """Send a trial message to somebody of an escalation group by one channel."""

    trial_id: TrialId
    group_id: str
    person_id: str
    channel: Channel


def contacts_in(group: EscalationGroup) -> list[Contact]:
    """Return every way in which a group reaches somebody, each once; erased people have none."""
    named = [*group.people, *(contact for step in group.steps for contact in step.contacts)]
    return list({(c.person_id, c.channel, c.address): c for c in named if c.address}.values())


def decide_trial(command: TryContact, group: EscalationGroup) -> Contact:
    """Return the contact to send to, or reject."""
    if command.channel is Channel.SIREN:
        raise SirenNotTried(group_id=command.group_id)
    for contact in contacts_in(group):
        if (contact.person_id, contact.channel) == (command.person_id, command.channel):
            return contact
    raise ContactNotFound(
        group_id=command.group_id, person_id=command.person_id, channel=command.channel.value
    )


@handles(TryContact, action="orchestration.try_contact", owner=Owner.NETWORK)
def try_contact(tx: Tx, command: TryContact) -> dict[str, str]:
    """Put the trial in the outbox; its key is the trial's id."""
    contact = decide_trial(command, get_group(tx, command.group_id))
    tried = ContactTried(
        trial_id=command.trial_id,
        group_id=command.group_id,
        person_id=contact.person_id,
        channel=contact.channel,
    )
    tx.record(f"trial/{command.trial_id}", tried)
    payload = {
        "to": contact.address,
        "type": "trial",
        "subject": "Trial of Coldgrid's messages",
        "text": TEXT,
        "code": "",
    }
    tx.emit(
        Effect(
            channel=contact.channel.value,
            key=command.trial_id,
            payload=payload,
            subject=contact.person_id,
            about=about_trials(command.group_id),
        )
    )
    return {"trial_id": command.trial_id}


def about_trials(group_id: str) -> str:
    """Return what a group's trials stand under in the outbox."""
    return f"trial/{group_id}"
