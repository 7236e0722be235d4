"""The people who can sign in to the demo. Their password is no secret: the demo listens on loopback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coldgrid.access.passwords import hash_password
from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson
from coldgrid.kernel.authorize import SYSTEM, Principal
from coldgrid.kernel.events import Command

PASSWORD = "cold-chain-night"
# login, name, roles, what to do as this person
LOGINS: tuple[tuple[str, str, tuple[Role, ...], str], ...] = (
    ("dana", "Dana Ortiz", (Role.PLANNER,), "watch the network from the control tower"),
    ("sam", "Sam Okafor", (Role.SUPERVISOR,), "answer tasks, approve or override the rescue"),
    ("quinn", "Quinn Avery", (Role.QUALITY,), "sign what becomes of each unit"),
    ("cleo", "Cleo Hart", (Role.CUSTOMER_CARE, Role.RECALL_COORDINATOR), "inform customers, end recalls"),
    ("omar", "Omar Reyes", (Role.OPERATOR,), "shut the doors, call the technician, move goods"),
    ("ada", "Ada Lindgren", (Role.ADMIN,), "manage people, approve changes of the network"),
    ("avi", "Avi Stein", (Role.AUDITOR,), "read everything, check the evidence"),
)


def add_people(do: Callable[[Command, Principal], Any]) -> None:
    """Let them sign in; one password hash serves all of them."""
    hashed = hash_password(PASSWORD)
    for login, name, roles, _ in LOGINS:
        command = AddPerson(
            person_id=f"person-{login}",
            name=name,
            login=login,
            roles=list(roles),
            password_hash=hashed,
            temporary=False,
        )
        do(command, SYSTEM)


def shift_of(site_id: str) -> str:
    """The login of a site's own shift."""
    return f"shift-{site_id.lower()}"


def add_shift(do: Callable[[Command, Principal], Any], site_id: str) -> None:
    """Let a site's own shift sign in: the others act at all sites, so only the tower can check them."""
    command = AddPerson(
        person_id=f"person-{shift_of(site_id)}",
        name=f"Shift of {site_id}",
        login=shift_of(site_id),
        roles=[Role.OPERATOR, Role.SUPERVISOR],
        sites=[site_id],
        password_hash=hash_password(PASSWORD),
        temporary=False,
    )
    do(command, SYSTEM)
