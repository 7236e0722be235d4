"""Passwords: Argon2id hashes (RFC 9106), and what a password must at least be.

A named exception: it draws salts.

Source: OWASP Password Storage Cheat Sheet (19 MiB, 2 passes, 1 lane); NIST SP 800-63B (length, no
composition rules).
"""

from __future__ import annotations

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from coldgrid.kernel.rejections import Problem

LENGTH_MIN = 12
LENGTH_MAX = 256
AT_ONCE = 4
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_turn = threading.BoundedSemaphore(AT_ONCE)
_COMMON = frozenset(
    {
        "123456789012",
        "1234567890123",
        "passwordpassword",
        "password1234",
        "password12345",
        "qwertyuiopas",
        "qwerty123456",
        "letmeinletmein",
        "administrator",
        "changemechangeme",
        "iloveyouiloveyou",
        "welcome12345",
        "correcthorsebatterystaple",
    }
)


def hash_password(password: str) -> str:
    """Return the Argon2id hash, with its salt and parameters, in PHC form.

    Takes some 20 ms: never on the decider.
    """
    with _turn:
        return _hasher.hash(password)


@cache
def _nobody() -> str:
    """What is verified when there is no such person: the answer takes as long as for a wrong password."""
    return _hasher.hash("nobody has this password")


def verify_password(hash_: str | None, password: str) -> bool:
    """Tell whether a password fits a hash; without a hash it never does, and takes as long."""
    if len(password) > LENGTH_MAX:
        return False
    with _turn:
        try:
            return _hasher.verify(hash_ or _nobody(), password) and hash_ is not None
        except (VerificationError, InvalidHashError):
            return False


def is_hash(text: str) -> bool:
    """Tell whether a text is a hash that `verify_password` understands."""
    return text.startswith("$argon2id$") and len(text) <= 200


def problems_of(password: str, *known: str, field: str = "password") -> list[Problem]:
    """Return what is wrong with a new password.

    `known`: the person's name and login, which it must not be.
    """
    if len(password) < LENGTH_MIN:
        message = f"has {len(password)} characters, {LENGTH_MIN} are needed"
        return [
            Problem(
                field=field, message=message, fix="Three or four words that do not belong together are fine"
            )
        ]
    if len(password) > LENGTH_MAX:
        return [
            Problem(field=field, message=f"has more than {LENGTH_MAX} characters", fix="Send a shorter one")
        ]
    plain = "".join(password.casefold().split())
    near = [word.casefold() for word in known if len(word) >= 4]
    if plain in _COMMON or len(set(plain)) < 5 or any(plain == w or plain == w * 2 for w in near):
        return [
            Problem(field=field, message="is among the first that others would try", fix="Choose other words")
        ]
    return []
