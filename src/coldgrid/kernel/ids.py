"""Identifiers: derived, never drawn, so that a retry or a replay names the same thing."""

from __future__ import annotations

from base64 import b32encode
from hashlib import blake2b


def derive_id(prefix: str, *parts: object) -> str:
    """Return `prefix-` and 16 base-32 characters (80 bits) that depend on the parts alone.

    The parts are joined with the unit separator, so ("a", "bc") and ("ab", "c") differ.
    """
    told = "\x1f".join(map(str, parts)).encode()
    digest = blake2b(told, digest_size=10, person=prefix.encode()[:16]).digest()
    return f"{prefix}-{b32encode(digest).decode().lower()}"
