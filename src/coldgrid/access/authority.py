"""Authority: the pure decisions about roles and standing. Arguments in, events or a rejection out."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from coldgrid.access.passwords import is_hash
from coldgrid.access.roles import Role, conflicting
from coldgrid.access.words import (
    LastAdmin,
    OwnAuthority,
    PersonSuspended,
    RoleGranted,
    RoleRevoked,
    RolesApart,
)
from coldgrid.kernel.rejections import Invalid, Problem


class Person(msgspec.Struct, frozen=True):
    """A person as readers see them.

    `name` and `login` are None once erased; `roles` in alphabetical order.
    """

    person_id: str
    name: str | None
    login: str | None
    roles: tuple[str, ...]
    sites: tuple[str, ...] | None
    has_password: bool
    temporary: bool
    suspended: bool
    added_at: datetime


def decide_grant(actor: str, person: Person, role: Role) -> list[RoleGranted]:
    """Return what giving a role records: nothing where the person has it, or reject (P3, P5)."""
    if actor == person.person_id:
        raise OwnAuthority(person_id=actor)
    if role in person.roles:
        return []
    apart = conflicting([*person.roles, role])
    if apart is not None:
        raise RolesApart(roles=sorted(apart), person_id=person.person_id)
    return [RoleGranted(person_id=person.person_id, role=role)]


def decide_revoke(actor: str, person: Person, role: Role, admins: Collection[str]) -> list[RoleRevoked]:
    """Return what taking a role records: nothing where the person lacks it, or reject (P3, P4)."""
    if actor == person.person_id:
        raise OwnAuthority(person_id=actor)
    if role not in person.roles:
        return []
    if role is Role.ADMIN and set(admins) <= {person.person_id}:
        raise LastAdmin(person_id=person.person_id)
    return [RoleRevoked(person_id=person.person_id, role=role)]


def decide_suspend(actor: str, person: Person, reason: str, admins: Collection[str]) -> list[PersonSuspended]:
    """Return what suspending records, or reject (P3, P4)."""
    if actor == person.person_id:
        raise OwnAuthority(person_id=actor)
    if Role.ADMIN in person.roles and set(admins) <= {person.person_id}:
        raise LastAdmin(person_id=person.person_id)
    return [] if person.suspended else [PersonSuspended(person_id=person.person_id, reason=reason)]


def field_problems(name: str, login: str) -> list[Problem]:
    """Return what is wrong with a person's name and login."""
    problems = []
    if not name.strip():
        problems.append(Problem(field="name", message="is empty", fix="Give the name people know"))
    if len(login.strip()) < 2 or any(c.isspace() for c in login.strip()):
        problems.append(Problem(field="login", message="needs two characters and no spaces"))
    return problems


def check_fields(name: str, login: str, password_hash: str) -> None:
    """Reject a person without a name or login, or with something that is no hash; all problems at once."""
    problems = field_problems(name, login)
    if password_hash and not is_hash(password_hash):
        problems.append(Problem(field="password_hash", message="is no Argon2id hash in PHC form"))
    if problems:
        raise Invalid(problems)
