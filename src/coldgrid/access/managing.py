"""Managing people: who is let in, with which roles and at which sites, and who is kept out.

The invariants are those of `people`. A fact about a person goes to the sites where they act, so that they
sign in there while the line is down.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from coldgrid.access import people
from coldgrid.access.admission import gained, told_hash_of, told_of
from coldgrid.access.authority import check_fields, decide_grant, decide_revoke, decide_suspend
from coldgrid.access.degrees import ReadUnit, UnitChosen, unit_of
from coldgrid.access.passwords import is_hash
from coldgrid.access.people import anybody, get_person, working_admins
from coldgrid.access.roles import Role, conflicting
from coldgrid.access.words import (
    AddPerson,
    AdmitPeople,
    AssignSites,
    GrantRole,
    LoginTaken,
    NotYourPassword,
    OwnAuthority,
    PasswordSet,
    PersonAdded,
    PersonAdmitted,
    PersonExists,
    PersonReinstated,
    ReinstatePerson,
    RevokeRole,
    RoleGranted,
    RolesApart,
    SetPassword,
    SetUpDone,
    SetUpFirstAdmin,
    SitesAssigned,
    SuspendPerson,
)
from coldgrid.kernel import log
from coldgrid.kernel.audience import EVERY_SITE
from coldgrid.kernel.events import Entry, tag_of
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.tx import Tx

# The facts that say who somebody is, not only what changed.
INTRODUCING = frozenset({tag_of(PersonAdded), tag_of(PersonAdmitted)})


@handles(AddPerson, action="access.add_person", owner=Owner.NETWORK)
def add_person(tx: Tx, command: AddPerson) -> dict[str, str]:
    """Add a person with roles and, where given, a first password."""
    check_fields(command.name, command.login, command.password_hash)
    apart = conflicting(command.roles)
    if apart is not None:
        raise RolesApart(roles=sorted(apart))
    if people.knows(tx, command.person_id):
        raise PersonExists(person_id=command.person_id)
    if people.credentials_of(tx, command.login) is not None:
        raise LoginTaken()
    stream = f"person/{command.person_id}"
    name, login = (tx.seal(command.person_id, text.strip()) for text in (command.name, command.login))
    told = told_of(command.sites)
    added = PersonAdded(person_id=command.person_id, name=name, login=login, sites=command.sites)
    tx.record(stream, added, audience=told)
    for role in sorted(set(command.roles)):
        tx.record(stream, RoleGranted(person_id=command.person_id, role=role), audience=told)
    if command.password_hash:
        password = PasswordSet(
            person_id=command.person_id, password_hash=command.password_hash, temporary=command.temporary
        )
        tx.record(stream, password, audience=told_hash_of(command.sites))
    return {"person_id": command.person_id}


@handles(SetUpFirstAdmin, action="session.set_up", owner=Owner.NETWORK)
def set_up_first_admin(tx: Tx, command: SetUpFirstAdmin) -> dict[str, str]:
    """Add the first person, as an admin (P6)."""
    if anybody(tx):
        raise SetUpDone()
    first = AddPerson(
        person_id=command.person_id,
        name=command.name,
        login=command.login,
        roles=[Role.ADMIN],
        password_hash=command.password_hash,
        temporary=False,
    )
    add_person(tx, first)
    return {"person_id": command.person_id}


@handles(GrantRole, action="access.grant_role", owner=Owner.NETWORK)
def grant_role(tx: Tx, command: GrantRole) -> None:
    """Give a role."""
    person = get_person(tx, command.person_id)
    for event in decide_grant(tx.actor, person, command.role):
        tx.record(f"person/{command.person_id}", event, audience=told_of(person.sites))


@handles(RevokeRole, action="access.revoke_role", owner=Owner.NETWORK)
def revoke_role(tx: Tx, command: RevokeRole) -> None:
    """Take a role."""
    person = get_person(tx, command.person_id)
    for event in decide_revoke(tx.actor, person, command.role, working_admins(tx)):
        tx.record(f"person/{command.person_id}", event, audience=told_of(person.sites))


@handles(AssignSites, action="access.assign_sites", owner=Owner.NETWORK)
def assign_sites(tx: Tx, command: AssignSites) -> None:
    """Say at which sites a person acts (P3); those that gain them are told who it is (P7)."""
    person = get_person(tx, command.person_id)
    if tx.actor == command.person_id:
        raise OwnAuthority(person_id=tx.actor)
    sites = None if command.sites is None else sorted(set(command.sites))
    if sites != (None if person.sites is None else list(person.sites)):
        event = SitesAssigned(person_id=command.person_id, sites=sites)
        tx.record(f"person/{command.person_id}", event, audience=told_of(person.sites, sites))
        admit(tx, command.person_id, gained(person.sites, sites))


@handles(SetPassword, action="access.use_account", owner=Owner.NETWORK)
def set_password(tx: Tx, command: SetPassword) -> None:
    """Set one's own password, or as an admin a temporary one for somebody else."""
    person = get_person(tx, command.person_id)
    own = tx.actor == command.person_id
    if not own and tx.roles.isdisjoint({Role.ADMIN, "system"}):
        raise NotYourPassword()
    if not is_hash(command.password_hash):
        raise Invalid([Problem(field="password_hash", message="is no Argon2id hash in PHC form")])
    event = PasswordSet(person_id=command.person_id, password_hash=command.password_hash, temporary=not own)
    tx.record(f"person/{command.person_id}", event, audience=told_hash_of(person.sites))


@handles(SuspendPerson, action="access.suspend_person", owner=Owner.NETWORK)
def suspend_person(tx: Tx, command: SuspendPerson) -> None:
    """Keep a person out."""
    person = get_person(tx, command.person_id)
    for event in decide_suspend(tx.actor, person, command.reason, working_admins(tx)):
        tx.record(f"person/{command.person_id}", event, audience=told_of(person.sites))


@handles(ReinstatePerson, action="access.reinstate_person", owner=Owner.NETWORK)
def reinstate_person(tx: Tx, command: ReinstatePerson) -> None:
    """Let a person in again. Who was erased stays out."""
    person = get_person(tx, command.person_id)
    if person.suspended and person.login is not None:
        event = PersonReinstated(person_id=command.person_id, reason=command.reason)
        tx.record(f"person/{command.person_id}", event, audience=told_of(person.sites))


def admit(tx: Tx, person_id: str, sites: Sequence[str]) -> None:
    """Tell sites who a person is, as they are now; of everyone's (`*`) without the password's hash (P7)."""
    if sites:
        event = people.snapshot(tx, person_id)
        if not told_hash_of(event.sites):
            event = structs.replace(event, password_hash="")
        tx.record(f"person/{person_id}", event, audience=sites)
        unit = unit_of(tx, person_id)
        if unit:
            tx.record(
                f"person/{person_id}", UnitChosen(person_id=person_id, unit=ReadUnit(unit)), audience=sites
            )


@handles(AdmitPeople, action="access.admit_people", owner=Owner.NETWORK)
def admit_people(tx: Tx, command: AdmitPeople) -> None:
    """Tell a site of those who act there and of whom it was never told, as when it gets its own node."""
    for person in people.list_people(tx):
        acts = person.login is not None and (person.sites is None or command.site_id in person.sites)
        stream = log.read_stream(tx, f"person/{person.person_id}") if acts else []
        if acts and not any(_introduces(entry, command.site_id) for entry in stream):
            admit(tx, person.person_id, (command.site_id,))


def _introduces(entry: Entry, site_id: str) -> bool:
    """Whether an entry told a site who somebody is."""
    named = entry.audience.split(",")
    return entry.type in INTRODUCING and (site_id in named or EVERY_SITE in named)
