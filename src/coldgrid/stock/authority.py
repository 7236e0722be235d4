"""Authority: which person stands behind an act. Automatic holds are ended by people, never by policy.

A reaction may carry out what a person signed in another room (a disposition). It then runs as the system and
names the signer; a person who calls directly can sign for nobody else.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from coldgrid.kernel.rejections import Forbidden

SYSTEM = "system"


class SignedForAnother(Forbidden):
    """Nobody signs for somebody else."""


class PersonNeeded(Forbidden):
    """This is decided by a person, not by the program."""


class Signer(msgspec.Struct, frozen=True):
    """The person behind an act, and the roles in which they act."""

    actor: str
    roles: frozenset[str]


def is_system(actor: str) -> bool:
    """Tell whether the program acted by itself."""
    return actor == SYSTEM or actor.startswith(f"{SYSTEM}:")


def signer_of(actor: str, roles: Collection[str], signed_by: str, signed_roles: Collection[str]) -> Signer:
    """Return the person behind a command.

    Raises:
        PersonNeeded: the program acts and names no signer.
        SignedForAnother: a person names somebody else, or roles of their own choosing.
    """
    if is_system(actor):
        if not signed_by or is_system(signed_by):
            raise PersonNeeded(actor=actor)
        return Signer(signed_by, frozenset(signed_roles))
    if signed_by not in ("", actor) or not set(signed_roles) <= set(roles):
        raise SignedForAnother(actor=actor, signed_by=signed_by)
    return Signer(actor, frozenset(roles))
