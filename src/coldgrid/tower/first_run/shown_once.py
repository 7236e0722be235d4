"""Secrets that a page shows once, made from the form's own key: pressed twice, it shows the same one."""

from __future__ import annotations

import secrets
from hashlib import sha256
from hmac import new as hmac

from coldgrid.access.tokens import API_PREFIX

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
# Of this process alone: after a restart the key of an old form makes another secret.
_OWN = secrets.token_bytes(32)


def token_for(key: str) -> str:
    """Return the API token of a form: 256 bits that nobody without this process's secret can tell."""
    return API_PREFIX + _drawn("token", key).hex()


def password_for(key: str) -> str:
    """Return the first password of a form: 16 letters and digits that nobody mistakes for one another."""
    letters = "".join(LETTERS[byte % len(LETTERS)] for byte in _drawn("password", key)[:16])
    return "-".join(letters[at : at + 4] for at in range(0, 16, 4))


def _drawn(what: str, key: str) -> bytes:
    return hmac(_OWN, f"{what}\0{key}".encode(), sha256).digest()
