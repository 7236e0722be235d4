"""People: who may sign in, with which roles and at which sites.

Invariants
    P1  A person is an opaque id; name and login are personal data, sealed in the log, gone when erased.
    P2  One login names at most one person. Logins differ by more than case.
    P3  Nobody changes their own roles, sites or standing: authority comes from somebody else.
    P4  There is always an admin who can sign in: the last one is neither revoked nor suspended.
    P5  Roles that must be apart are not given to one person (`roles.APART`).
    P6  The first person is set up while there is none, and is an admin.
    P7  A site is told of the people who act there, and of nobody else; of their password's hash only where
        they are assigned to that site. Who acts at all sites has no hash at any (`admission`).

A person has one set of sites for all their roles: see the decision record on roles.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from hashlib import sha256

import msgspec
import sqlalchemy as sa

from coldgrid.access.admission import told_hash_of
from coldgrid.access.authority import Person
from coldgrid.access.roles import Role
from coldgrid.access.words import (
    Granted,
    PasswordSet,
    PersonAdded,
    PersonAdmitted,
    PersonNotFound,
    PersonReinstated,
    PersonSuspended,
    RoleGranted,
    RoleRevoked,
    SitesAssigned,
)
from coldgrid.kernel.personal import Personal, PersonErased
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement, upsert
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
# Where the person is known it changes nothing that is not so already: at the tower, nothing at all.
_ADMIT = Statement(
    upsert(
        access_person,
        keys=["person_id"],
        set_=["name", "login", "login_key", "sites", "temporary", "suspended"],
    )
)
_REVOKE_ALL = Statement(access_role.delete().where(access_role.c.person_id == sa.bindparam("whose")))
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


@projects(PersonAdmitted)
def _admit_row(tx: Tx, event: PersonAdmitted) -> None:
    login = tx.open(event.login)
    tx.write(
        _ADMIT,
        person_id=event.person_id,
        name=event.name,
        login=event.login,
        login_key=None if login is None else login_key(login),
        sites=event.sites,
        password_hash=event.password_hash,
        temporary=event.temporary,
        suspended=event.suspended,
        added_at=event.added_at,
    )
    if event.password_hash:
        tx.write(_PASSWORD, whose=event.person_id, new_hash=event.password_hash, is_temporary=event.temporary)
    tx.write(_REVOKE_ALL, whose=event.person_id)
    for one in event.roles:
        tx.write(
            _GRANT,
            person_id=event.person_id,
            role=one.role,
            granted_by=one.granted_by,
            granted_at=one.granted_at,
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
_GRANTS = Statement(
    sa.select(access_role.c.role, access_role.c.granted_by, access_role.c.granted_at)
    .where(access_role.c.person_id == sa.bindparam("whose"))
    .order_by(access_role.c.role),
    into=lambda role, by, at: Granted(Role(role), by, at),
)
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


def credentials_of(db: Reader, login: str, home: str = "") -> tuple[str, str, bool] | None:
    """Return (person id, password hash, suspended) of a login, or None: what a sign-in is checked against.

    At the node of site `home` the hash of somebody who is not assigned to it is empty: it fits nothing (P7).
    """
    row = db.one(_BY_LOGIN, key=login_key(login))
    if row is None:
        return None
    hash_ = row.password_hash if not home or home in told_hash_of(row.sites) else ""
    return row.person_id, hash_, row.suspended


def acts_everywhere(db: Reader, login: str) -> bool:
    """Tell whether a login is somebody's who acts at all sites."""
    row = db.one(_BY_LOGIN, key=login_key(login))
    return row is not None and row.sites is None and not row.suspended


def knows(db: Reader, person_id: str) -> bool:
    """Tell whether there is, or was, a person with this id."""
    return db.one(_BY_ID, which=person_id) is not None


def snapshot(db: Reader, person_id: str) -> PersonAdmitted:
    """Return a person as they are now, with the password's hash.

    Raises:
        PersonNotFound: there is none with this id.
    """
    row = db.one(_BY_ID, which=person_id)
    if row is None:
        raise PersonNotFound(person_id=person_id)
    return PersonAdmitted(
        person_id=person_id,
        name=row.name,
        login=row.login,
        sites=row.sites,
        roles=db.all(_GRANTS, whose=person_id),
        password_hash=row.password_hash,
        temporary=row.temporary,
        suspended=row.suspended,
        added_at=row.added_at,
    )


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
