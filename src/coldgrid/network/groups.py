"""Escalation groups: who answers for a site or a zone, in which order, and how they are reached.

Invariants
    G1  Addresses are personal data: in the log and in the tables they are sealed for their person.
    G2  Steps come in the order of their delays; every rota a step names exists, every member can be reached.
    G3  A zone's own group answers for it; without one its site's does.
    G4  `NETWORK_GROUP` answers for the network itself: a log that forked, a node that was copied. No site is
        told of it.

After a person was erased their address reads as "": the step stays, and whoever pages skips it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.personal import Personal
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.rejections import NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network import names
from coldgrid.network.calendars import timezone_problems
from coldgrid.network.form_examples import GROUP_HELP
from coldgrid.network.items import Batch, Privacy, register_item
from coldgrid.network.rotas import (
    Channel,
    Contact,
    EscalationGroup,
    EscalationStep,
    OnDuty,
    Rota,
    at_instant,
    duties_at,
    member_on_duty,
)
from coldgrid.network.sites import EVERY_SITE, get_site
from coldgrid.network.zones import get_zone

# Who is called when something is wrong that no single site answers for (G4).
NETWORK_GROUP = "GRP-NET"
# What an address of a channel looks like. Numbers are E.164: a plus, the country code, no spaces.
ADDRESS_FORMS = {
    Channel.EMAIL: (r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address like ana@example.com"),
    Channel.SMS: (r"\+[1-9]\d{7,14}", "a number like +14045550142"),
    Channel.VOICE: (r"\+[1-9]\d{7,14}", "a number like +14045550142"),
    Channel.SIREN: (r"[A-Za-z0-9_/-]+", "a topic like sirens/ATL1"),
    Channel.WEBHOOK: (r"https?://\S+", "an address like https://example.com/hook"),
}

# --- Events ---------------------------------------------------------------------


class SealedContact(msgspec.Struct, frozen=True):
    """A contact as it is kept: the address is ciphertext for its person (G1)."""

    person_id: str
    channel: Channel
    address: Personal
    drive_min: int | None = None


class SealedStep(msgspec.Struct, frozen=True):
    """An escalation step as it is kept."""

    after_min: int
    contacts: list[SealedContact] = []
    rota: str = ""


class SealedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """An escalation group as it is kept."""

    group_id: str
    name: str
    timezone: str
    steps: list[SealedStep]
    rotas: list[Rota] = []
    people: list[SealedContact] = []


class GroupDefined(Event, frozen=True, tag="network.group_defined"):
    """An escalation group was set up, or changed."""

    group: SealedGroup


class GroupNotFound(NotFound):
    """There is no such escalation group."""


# --- Table and projection -------------------------------------------------------

network_group = sa.Table(
    "network_group",
    metadata,
    sa.Column("group_id", sa.Text, primary_key=True),
    sa.Column("body", Json(SealedGroup), nullable=False),
    info={"origin": "network"},
)
_DEFINE = Statement(upsert(network_group, keys=["group_id"], set_=["body"]))


@projects(GroupDefined)
def _keep_group(tx: Tx, event: GroupDefined) -> None:
    tx.write(_DEFINE, group_id=event.group.group_id, body=event.group)


# --- Decisions (pure) -----------------------------------------------------------


def problems_of(group: EscalationGroup) -> list[Problem]:
    """Return what is wrong with a group (G2)."""
    problems = names.GROUP.check("group_id", group.group_id)
    problems += timezone_problems("timezone", group.timezone)
    problems += _step_problems(group)
    problems += _rota_problems(group)
    problems += _contact_problems("people", group.people)
    return problems


def _step_problems(group: EscalationGroup) -> Iterator[Problem]:
    rotas = {rota.name for rota in group.rotas}
    for index, step in enumerate(group.steps):
        field = f"steps[{index}]"
        yield from _contact_problems(f"{field}.contacts", step.contacts)
        if step.rota and step.rota not in rotas:
            yield Problem(field=f"{field}.rota", message=f"there is no rota {step.rota!r} in this group")
        if not step.contacts and not step.rota:
            yield Problem(field=field, message="pages nobody", fix="give it contacts or a rota")
    for index, (before, after) in enumerate(pairwise(group.steps), start=1):
        if after.after_min < before.after_min:
            yield Problem(field=f"steps[{index}].after_min", message="comes before the step above it")


def _rota_problems(group: EscalationGroup) -> Iterator[Problem]:
    reachable = {contact.person_id for contact in group.people}
    for name, count in Counter(rota.name for rota in group.rotas).items():
        if count > 1:
            yield Problem(field="rotas", message=f"{name!r} is there {count} times")
    for index, rota in enumerate(group.rotas):
        field = f"rotas[{index}]"
        for person_id in dict.fromkeys([*rota.members, *(swap.person_id for swap in rota.swaps)]):
            if person_id not in reachable:
                message = f"{person_id!r} cannot be reached"
                yield Problem(field=f"{field}.members", message=message, fix="add them to people")
        for number, swap in enumerate(rota.swaps):
            if swap.from_at >= swap.until_at:
                yield Problem(field=f"{field}.swaps[{number}].until_at", message="is not after from_at")


def _contact_problems(field: str, contacts: Sequence[Contact]) -> Iterator[Problem]:
    for index, contact in enumerate(contacts):
        at = f"{field}[{index}]"
        yield from names.PERSON.check(f"{at}.person_id", contact.person_id)
        pattern, example = ADDRESS_FORMS[contact.channel]
        if re.fullmatch(pattern, contact.address, re.ASCII):
            continue
        spelt = re.sub(r"[\s().-]", "", contact.address)
        right = re.fullmatch(pattern, spelt, re.ASCII) is not None
        yield Problem(
            field=f"{at}.address",
            message=f"is no address for {contact.channel}",
            fix=f"did you mean {spelt}?" if right else example,
        )


# --- Items ----------------------------------------------------------------------


def _seal(tx: Tx, group: EscalationGroup) -> SealedGroup:
    def sealed(contacts: Sequence[Contact]) -> list[SealedContact]:
        return [
            SealedContact(c.person_id, c.channel, tx.seal(c.person_id, c.address), c.drive_min)
            for c in contacts
        ]

    return SealedGroup(
        group_id=group.group_id,
        name=group.name,
        timezone=group.timezone,
        steps=[SealedStep(step.after_min, sealed(step.contacts), step.rota) for step in group.steps],
        rotas=group.rotas,
        people=sealed(group.people),
    )


def _open(db: Reader, group: SealedGroup) -> EscalationGroup:
    def opened(contacts: Sequence[SealedContact]) -> list[Contact]:
        return [Contact(c.person_id, c.channel, db.open(c.address) or "", c.drive_min) for c in contacts]

    return EscalationGroup(
        group_id=group.group_id,
        name=group.name,
        timezone=group.timezone,
        steps=[EscalationStep(step.after_min, opened(step.contacts), step.rota) for step in group.steps],
        rotas=group.rotas,
        people=opened(group.people),
    )


def _check(db: Reader, group: EscalationGroup, batch: Batch) -> list[Problem]:
    return problems_of(group)


def _define(tx: Tx, group: SealedGroup) -> None:
    audience = () if group.group_id == NETWORK_GROUP else EVERY_SITE
    tx.record(f"group/{group.group_id}", GroupDefined(group=group), audience=audience)


_PRIVACY = Privacy(SealedGroup, _seal, _open)
register_item("group", EscalationGroup, _check, _define, privacy=_PRIVACY, form_help=GROUP_HELP)

# --- Queries --------------------------------------------------------------------

_GET = Statement(sa.select(network_group.c.body).where(network_group.c.group_id == sa.bindparam("group_id")))
_SOME = Statement(
    sa.select(network_group.c.body).where(
        network_group.c.group_id.in_(sa.bindparam("group_ids", expanding=True))
    )
)
_LIST = Statement(sa.select(network_group.c.body).order_by(network_group.c.group_id))


def has_group(db: Reader, group_id: str) -> bool:
    """Tell whether there is a group of this id."""
    return db.value(_GET, group_id=group_id) is not None


def has_network_group(db: Reader) -> bool:
    """Tell whether somebody answers for the network itself (G4)."""
    return has_group(db, NETWORK_GROUP)


def get_group(db: Reader, group_id: str) -> EscalationGroup:
    """Return one escalation group with readable addresses.

    Raises:
        GroupNotFound: there is none of this id.
    """
    sealed: SealedGroup | None = db.value(_GET, group_id=group_id)
    if sealed is None:
        raise GroupNotFound(group_id=group_id)
    return _open(db, sealed)


def list_groups(db: Reader) -> list[EscalationGroup]:
    """Return every escalation group, by id."""
    return [_open(db, row[0]) for row in db.all(_LIST)]


def group_names(db: Reader) -> list[tuple[str, str]]:
    """Return id and name of every escalation group, without anybody's address."""
    return [(row[0].group_id, row[0].name) for row in db.all(_LIST)]


def duty_ids(db: Reader, group_ids: Sequence[str], at: datetime) -> dict[str, dict[str, str]]:
    """Return who is on duty at an instant, by group and rota, without anybody's address."""
    sealed: list[SealedGroup] = [row[0] for row in db.all(_SOME, group_ids=sorted(set(group_ids)))]
    return {
        group.group_id: {
            rota.name: person_id
            for rota in group.rotas
            if (person_id := member_on_duty(rota, group.timezone, at)) is not None
        }
        for group in sealed
    }


def group_of(
    db: Reader, site_id: str, zone_id: str | None = None, at: datetime | None = None
) -> EscalationGroup:
    """Return the group that answers for a zone, or for its site (G3); for the network's own origin G4's.

    With `at`, each step's rota is replaced by the contacts of who is on duty then.

    Raises:
        SiteNotFound, ZoneNotFound, GroupNotFound: there is none of this id.
    """
    if site_id == NETWORK_ORIGIN:
        group = get_group(db, NETWORK_GROUP)
        return group if at is None else at_instant(group, at)
    own = get_zone(db, zone_id).escalation_group if zone_id is not None else None
    group = get_group(db, own if own is not None else get_site(db, site_id).escalation_group)
    return group if at is None else at_instant(group, at)


def on_duty(db: Reader, group_id: str, at: datetime) -> list[OnDuty]:
    """Return who is on duty in each rota of a group at an instant, with the keyholder's drive time.

    Raises:
        GroupNotFound: there is none of this id.
    """
    return duties_at(get_group(db, group_id), at)
