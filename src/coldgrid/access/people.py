"""People: who may sign in, with which roles and at which sites.

Invariants
    P1  A person is an opaque id; name and login are personal data, sealed in the log, gone when erased.
    P2  One login names at most one person. Logins differ by more than case.
    P3  Nobody changes their own roles, sites or standing: authority comes from somebody else.
    P4  There is always an admin who can sign in: the last one is neither revoked nor suspended.
    P5  Roles that must be apart are not given to one person (`roles.APART`).
    P6  The first person is set up while there is none, and is an admin.

A person has one set of sites for all their roles: see the decision record on roles.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from hashlib import sha256

import msgspec
import sqlalchemy as sa

from coldgrid.access.authority import Person, check_fields, decide_grant, decide_revoke, decide_suspend
from coldgrid.access.passwords import is_hash
from coldgrid.access.roles import Role, conflicting
from coldgrid.access.words import (
    AddPerson,
    AssignSites,
    GrantRole,
    LoginTaken,
    NotYourPassword,
    OwnAuthority,
    PasswordSet,
    PersonAdded,
    PersonExists,
    PersonNotFound,
    PersonReinstated,
    PersonSuspended,
    ReinstatePerson,
    RevokeRole,
    RoleGranted,
    RoleRevoked,
    RolesApart,
    SetPassword,
    SetUpDone,
    SetUpFirstAdmin,
    SitesAssigned,
    SuspendPerson,
)
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.personal import Personal, PersonErased
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx

# --- Table and projections ------------------------------------------------------------

access_person = sa.Table(
    "access_person",
    metadata,
    sa.Column("person_id", sa.Text, primary_key=True),
    sa.Column("name", Json(Personal)),
    sa.Column("login", Json(Personal)),
    sa.Column("login_key", sa.Text),
    sa.Column("sites", Json(list[str])),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("temporary", sa.Boolean, nullable=False),
    sa.Column("suspended", sa.Boolean, nullable=False),
    sa.Column("added_at", Instant, nullable=False),
    info={"origin": "network"},
)
sa.Index("ix_access_person_login", access_person.c.login_key)
access_role = sa.Table(
    "access_role",
    metadata,
    sa.Column("person_id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("granted_by", sa.Text, nullable=False),
    sa.Column("granted_at", Instant, nullable=False),
    info={"origin": "network"},
)

_ADD = Statement(access_person.insert())
_GRANT = Statement(access_role.insert())
_REVOKE = Statement(
    access_role.delete().where(
        access_role.c.person_id == sa.bindparam("whose"), access_role.c.role == sa.bindparam("which")
    )
)
_THIS = access_person.c.person_id == sa.bindparam("whose")
_SITES = Statement(
    access_person.update().where(_THIS).values(sites=sa.bindparam("new_sites", type_=Json(list[str])))
)
_PASSWORD = Statement(
    access_person.update()
    .where(_THIS)
    .values(password_hash=sa.bindparam("new_hash"), temporary=sa.bindparam("is_temporary", type_=sa.Boolean))
)
_SUSPEND = Statement(
    access_person.update().where(_THIS).values(suspended=sa.bindparam("is_suspended", type_=sa.Boolean))
)
_ERASE = Statement(
    access_person.update()
    .where(_THIS)
    .values(name=sa.null(), login=sa.null(), login_key=sa.null(), password_hash="", suspended=sa.true())
)


def login_key(login: str) -> str:
    """Return what a login is looked up by.

    It lives in the projection only, and goes when the person is erased.
    """
    return sha256(login.strip().casefold().encode()).hexdigest()


@projects(PersonAdded)
def _add_row(tx: Tx, event: PersonAdded) -> None:
    login = tx.open(event.login)
    tx.write(
        _ADD,
        person_id=event.person_id,
        name=event.name,
        login=event.login,
        login_key=None if login is None else login_key(login),
        sites=event.sites,
        password_hash="",
        temporary=False,
        suspended=False,
        added_at=tx.now,
    )


@projects(RoleGranted)
def _grant_row(tx: Tx, event: RoleGranted) -> None:
    tx.write(_GRANT, person_id=event.person_id, role=event.role, granted_by=tx.actor, granted_at=tx.now)


@projects(RoleRevoked)
def _revoke_row(tx: Tx, event: RoleRevoked) -> None:
    tx.write(_REVOKE, whose=event.person_id, which=event.role)


@projects(SitesAssigned)
def _sites_row(tx: Tx, event: SitesAssigned) -> None:
    tx.write(_SITES, whose=event.person_id, new_sites=event.sites)


@projects(PasswordSet)
def _password_row(tx: Tx, event: PasswordSet) -> None:
    tx.write(_PASSWORD, whose=event.person_id, new_hash=event.password_hash, is_temporary=event.temporary)


@projects(PersonSuspended)
def _suspend_row(tx: Tx, event: PersonSuspended) -> None:
    tx.write(_SUSPEND, whose=event.person_id, is_suspended=True)


@projects(PersonReinstated)
def _reinstate_row(tx: Tx, event: PersonReinstated) -> None:
    tx.write(_SUSPEND, whose=event.person_id, is_suspended=False)


@projects(PersonErased)
def _erase_row(tx: Tx, event: PersonErased) -> None:
    tx.write(_ERASE, whose=event.subject)


# --- Commands (read, decide, record) --------------------------------------------------


@handles(AddPerson, action="access.add_person", owner=Owner.NETWORK)
def add_person(tx: Tx, command: AddPerson) -> dict[str, str]:
    """Add a person with roles and, where given, a first password."""
    check_fields(command.name, command.login, command.password_hash)
    apart = conflicting(command.roles)
    if apart is not None:
        raise RolesApart(roles=sorted(apart))
    if tx.one(_BY_ID, which=command.person_id) is not None:
        raise PersonExists(person_id=command.person_id)
    if tx.one(_BY_LOGIN, key=login_key(command.login)) is not None:
        raise LoginTaken()
    stream = f"person/{command.person_id}"
    name, login = (tx.seal(command.person_id, text.strip()) for text in (command.name, command.login))
    tx.record(stream, PersonAdded(person_id=command.person_id, name=name, login=login, sites=command.sites))
    for role in sorted(set(command.roles)):
        tx.record(stream, RoleGranted(person_id=command.person_id, role=role))
    if command.password_hash:
        password = PasswordSet(
            person_id=command.person_id, password_hash=command.password_hash, temporary=command.temporary
        )
        tx.record(stream, password)
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
    for event in decide_grant(tx.actor, get_person(tx, command.person_id), command.role):
        tx.record(f"person/{command.person_id}", event)


@handles(RevokeRole, action="access.revoke_role", owner=Owner.NETWORK)
def revoke_role(tx: Tx, command: RevokeRole) -> None:
    """Take a role."""
    person = get_person(tx, command.person_id)
    for event in decide_revoke(tx.actor, person, command.role, working_admins(tx)):
        tx.record(f"person/{command.person_id}", event)


@handles(AssignSites, action="access.assign_sites", owner=Owner.NETWORK)
def assign_sites(tx: Tx, command: AssignSites) -> None:
    """Say at which sites a person acts (P3)."""
    person = get_person(tx, command.person_id)
    if tx.actor == command.person_id:
        raise OwnAuthority(person_id=tx.actor)
    sites = None if command.sites is None else sorted(set(command.sites))
    if sites != (None if person.sites is None else list(person.sites)):
        tx.record(f"person/{command.person_id}", SitesAssigned(person_id=command.person_id, sites=sites))


@handles(SetPassword, action="access.use_account", owner=Owner.NETWORK)
def set_password(tx: Tx, command: SetPassword) -> None:
    """Set one's own password, or as an admin a temporary one for somebody else."""
    get_person(tx, command.person_id)
    own = tx.actor == command.person_id
    if not own and tx.roles.isdisjoint({Role.ADMIN, "system"}):
        raise NotYourPassword()
    if not is_hash(command.password_hash):
        raise Invalid([Problem(field="password_hash", message="is no Argon2id hash in PHC form")])
    event = PasswordSet(person_id=command.person_id, password_hash=command.password_hash, temporary=not own)
    tx.record(f"person/{command.person_id}", event)


@handles(SuspendPerson, action="access.suspend_person", owner=Owner.NETWORK)
def suspend_person(tx: Tx, command: SuspendPerson) -> None:
    """Keep a person out."""
    person = get_person(tx, command.person_id)
    for event in decide_suspend(tx.actor, person, command.reason, working_admins(tx)):
        tx.record(f"person/{command.person_id}", event)


@handles(ReinstatePerson, action="access.reinstate_person", owner=Owner.NETWORK)
def reinstate_person(tx: Tx, command: ReinstatePerson) -> None:
    """Let a person in again. Who was erased stays out."""
    person = get_person(tx, command.person_id)
    if person.suspended and person.login is not None:
        event = PersonReinstated(person_id=command.person_id, reason=command.reason)
        tx.record(f"person/{command.person_id}", event)


# --- Queries ----------------------------------------------------------------------------


class _Row(msgspec.Struct, frozen=True):
    person_id: str
    name: Personal | None
    login: Personal | None
    sites: list[str] | None
    password_hash: str
    temporary: bool
    suspended: bool
    added_at: datetime


_COLUMNS = sa.select(*(access_person.c[name] for name in _Row.__struct_fields__))
_BY_ID = Statement(_COLUMNS.where(access_person.c.person_id == sa.bindparam("which")), into=_Row)
_BY_LOGIN = Statement(_COLUMNS.where(access_person.c.login_key == sa.bindparam("key")), into=_Row)
_EVERYBODY = Statement(_COLUMNS.order_by(access_person.c.added_at, access_person.c.person_id), into=_Row)
_ANYBODY = Statement(sa.select(sa.func.count()).select_from(access_person))
_ALL_ROLES = Statement(sa.select(access_role.c.person_id, access_role.c.role))
_ROLES = Statement(sa.select(access_role.c.role).where(access_role.c.person_id == sa.bindparam("whose")))
_ADMINS = Statement(
    sa.select(access_role.c.person_id)
    .join(access_person, access_person.c.person_id == access_role.c.person_id)
    .where(access_role.c.role == Role.ADMIN.value, access_person.c.suspended.is_(False))
)


def anybody(db: Reader) -> bool:
    """Tell whether there is any person: without one, the first admin is set up."""
    return bool(db.value(_ANYBODY))


def working_admins(db: Reader) -> list[str]:
    """Return the admins who can sign in."""
    return [person_id for (person_id,) in db.all(_ADMINS)]


def get_person(db: Reader, person_id: str) -> Person:
    """Return a person.

    Raises:
        PersonNotFound: there is none with this id.
    """
    row = db.one(_BY_ID, which=person_id)
    if row is None:
        raise PersonNotFound(person_id=person_id)
    return _person(db, row, [role for (role,) in db.all(_ROLES, whose=person_id)])


def list_people(db: Reader) -> list[Person]:
    """Return everybody, in the order they were added."""
    roles: dict[str, list[str]] = {}
    for person_id, role in db.all(_ALL_ROLES):
        roles.setdefault(person_id, []).append(role)
    return [_person(db, row, roles.get(row.person_id, [])) for row in db.all(_EVERYBODY)]


def credentials_of(db: Reader, login: str) -> tuple[str, str, bool] | None:
    """Return (person id, password hash, suspended) of a login, or None: what a sign-in is checked against."""
    row = db.one(_BY_LOGIN, key=login_key(login))
    return None if row is None else (row.person_id, row.password_hash, row.suspended)


def name_of(db: Reader, person_id: str) -> str:
    """Return a person's name to show; the id where the person is unknown or was erased."""
    row = db.one(_BY_ID, which=person_id)
    return (db.open(row.name) if row is not None else None) or person_id


def _person(db: Reader, row: _Row, roles: Collection[str]) -> Person:
    return Person(
        person_id=row.person_id,
        name=db.open(row.name),
        login=db.open(row.login),
        roles=tuple(sorted(roles)),
        sites=None if row.sites is None else tuple(row.sites),
        has_password=bool(row.password_hash),
        temporary=row.temporary,
        suspended=row.suspended,
        added_at=row.added_at,
    )


def names(db: Reader) -> dict[str, str]:
    """Return the name to show of every person who was not erased, by id."""
    opened = {row.person_id: db.open(row.name) for row in db.all(_EVERYBODY)}
    return {person_id: name for person_id, name in opened.items() if name}
