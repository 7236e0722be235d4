"""Opaque tokens of sessions, API clients and forms: drawn here, shown once, stored as hashes.

A named exception: it draws randomness. A token has 256 bits, so a plain SHA-256 is a safe hash for it.
"""

from __future__ import annotations

import secrets
from hashlib import sha256

API_PREFIX = "cgt_"
BYTES = 32


def draw() -> str:
    """Return a new opaque token."""
    return secrets.token_urlsafe(BYTES)


def draw_api_token() -> str:
    """Return a new API token; the prefix lets scanners find one that leaked."""
    return API_PREFIX + draw()


def draw_id(prefix: str) -> str:
    """Return a new opaque identifier that says nothing about whom it names."""
    return f"{prefix}-{secrets.token_hex(8)}"


def draw_password() -> str:
    """Return a first password: 16 letters and digits that nobody mistakes for one another."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


def hash_token(token: str) -> str:
    """Return what is stored of a token."""
    return sha256(token.encode()).hexdigest()


def form_token(token: str) -> str:
    """Return the form token (CSRF) that belongs to a session or visit: derived, so nothing more is stored."""
    return sha256(b"form\x00" + token.encode()).hexdigest()[:32]


def same(one: str, other: str) -> bool:
    """Compare in constant time."""
    return secrets.compare_digest(one.encode(), other.encode())
