"""People, in words: the events, commands and rejections about who may sign in.

`people.py` carries them out.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from coldgrid.access.roles import Role
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.personal import Personal
from coldgrid.kernel.rejections import Conflict, Forbidden, NotFound

# --- Events -----------------------------------------------------------------------


class PersonAdded(Event, frozen=True, tag="access.person_added"):
    """Somebody may sign in from now on. `sites` None: all of them."""

    person_id: str
    name: Personal
    login: Personal
    sites: list[str] | None


class RoleGranted(Event, frozen=True, tag="access.role_granted"):
    """A person was given a role."""

    person_id: str
    role: Role


class RoleRevoked(Event, frozen=True, tag="access.role_revoked"):
    """A role was taken from a person."""

    person_id: str
    role: Role


class SitesAssigned(Event, frozen=True, tag="access.sites_assigned"):
    """The sites a person is responsible for were changed. None: all of them."""

    person_id: str
    sites: list[str] | None


class PasswordSet(Event, frozen=True, tag="access.password_set"):
    """A password was set; only its Argon2id hash is kept.

    `temporary`: it must be changed at the next sign-in.
    """

    person_id: str
    password_hash: str
    temporary: bool


class Granted(Struct, frozen=True):
    """A role that a person has, since when and from whom."""

    role: Role
    granted_by: str
    granted_at: datetime


class PersonAdmitted(Event, frozen=True, tag="access.person_admitted"):
    """A person as they are now, told to sites that have not heard of them: nobody is told old facts again.

    `password_hash` goes to sites that the person is assigned to, never to all of them: "" otherwise.
    """

    person_id: str
    name: Personal | None
    login: Personal | None
    sites: list[str] | None
    roles: list[Granted]
    password_hash: str
    temporary: bool
    suspended: bool
    added_at: datetime


class PersonSuspended(Event, frozen=True, tag="access.person_suspended"):
    """A person may not sign in any more; their sessions ended."""

    person_id: str
    reason: str


class PersonReinstated(Event, frozen=True, tag="access.person_reinstated"):
    """A suspended person may sign in again."""

    person_id: str
    reason: str


# --- Rejections ---------------------------------------------------------------------


class LoginTaken(Conflict):
    """Somebody else has this login (P2)."""

    todo = "Choose another login."


class PersonExists(Conflict):
    """There is already a person with this id."""


class PersonNotFound(NotFound):
    """There is no such person."""


class OwnAuthority(Forbidden):
    """Nobody changes their own roles, sites or standing (P3)."""

    todo = "Ask another admin."


class LastAdmin(Conflict):
    """This is the last admin who can sign in (P4)."""

    todo = "Make somebody else an admin first."


class RolesApart(Conflict):
    """These two roles are not given to one person (P5)."""


class SetUpDone(Conflict):
    """The first admin is already set up (P6)."""

    todo = "Sign in, or ask an admin to add you."


class NotYourPassword(Forbidden):
    """Only the person or an admin sets a password."""


# --- Commands ---------------------------------------------------------------------------


class AddPerson(Command, frozen=True, tag="access.add_person"):
    """Let somebody sign in.

    The id is opaque; `password_hash` is a first password, changed at the first sign-in.
    """

    person_id: str
    name: str
    login: str
    roles: list[Role]
    sites: list[str] | None = None
    password_hash: str = ""
    temporary: bool = True


class SetUpFirstAdmin(Command, frozen=True, tag="access.set_up_first_admin"):
    """Make the first admin, while there is nobody (P6)."""

    person_id: str
    name: str
    login: str
    password_hash: str


class GrantRole(Command, frozen=True, tag="access.grant_role"):
    """Give a person a role."""

    person_id: str
    role: Role


class RevokeRole(Command, frozen=True, tag="access.revoke_role"):
    """Take a role from a person."""

    person_id: str
    role: Role


class AssignSites(Command, frozen=True, tag="access.assign_sites"):
    """Say at which sites a person acts. None: at all."""

    person_id: str
    sites: list[str] | None


class SetPassword(Command, frozen=True, tag="access.set_password"):
    """Set a password by its hash. An admin's choice for somebody else is temporary."""

    person_id: str
    password_hash: str


class SuspendPerson(Command, frozen=True, tag="access.suspend_person"):
    """Keep a person from signing in, from now on."""

    person_id: str
    reason: str


class ReinstatePerson(Command, frozen=True, tag="access.reinstate_person"):
    """Let a suspended person sign in again."""

    person_id: str
    reason: str


class AdmitPeople(Command, frozen=True, tag="access.admit_people"):
    """Ask to tell a site of the people who act there, where it was not told yet."""

    site_id: str
