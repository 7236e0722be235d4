"""Vouching: who acts at all sites signs in at a site's node by the tower's word; no node has their hash.

The password goes through the node, as it must: its page asked for it. The tower counts refusals by login and
by site, so that a stolen node guesses no faster than a stranger.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from coldgrid.access import people
from coldgrid.access.door import AccessDoor
from coldgrid.access.passwords import verify_password
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Unavailable


class TowerSilent(Unavailable):
    """Only the tower can check this sign-in, and it does not answer."""

    todo = "People of this site sign in as ever; try again when the line is back."


class Asked(msgspec.Struct, frozen=True):
    """A sign-in that a node asks the tower about."""

    login: str
    password: str


class Vouched(msgspec.Struct, frozen=True):
    """Whose login and password these are; "": nobody's. `wait_s`: too many tries, again after so long."""

    person_id: str = ""
    wait_s: int = 0


Vouch = Callable[[Asked], Vouched]


def vouch(door: AccessDoor, db: Reader, site_id: str, asked: Asked) -> Vouched:
    """Check the sign-in of somebody who acts at all sites, for the node of one; it counts as one address."""
    key, address = people.login_key(asked.login), f"node/{site_id}"
    wait_s = door.wait_s(key, address)
    if wait_s:
        return Vouched(wait_s=wait_s)
    person_id = check(db, asked.login, asked.password)
    if person_id is None or not people.acts_everywhere(db, asked.login):
        door.refused(key, address)
        return Vouched()
    door.signed_in(key)
    return Vouched(person_id)


def check(db: Reader, login: str, password: str, home: str = "") -> str | None:
    """Return whose login and password these are; takes as long for nobody's as for somebody's.

    `home`: the site whose node this is; "" at the tower.
    """
    found = people.credentials_of(db, login, home)
    fits = verify_password(found[1] if found else None, password)
    return found[0] if found is not None and fits and not found[2] else None
