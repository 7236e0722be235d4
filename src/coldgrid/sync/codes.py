"""Enrolment codes: what a person carries from the tower's page to a new node.

A code is 32 letters and digits in eight groups: 75 bits of secret, 80 bits of the fingerprint of the
tower's authority, and 5 bits that find any one wrong letter before it costs an attempt. Letters are
Crockford's: I, L and O are read as 1, 1 and 0, and case does not matter.

Invariants
    D1  The tower keeps the secret's hash only; the code is shown once.
    D2  With the fingerprint in hand the first contact is as safe as the later ones: a node tells its secret
        to nobody but the authority that the code names.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SECRET_LENGTH, PIN_LENGTH = 15, 16
LENGTH = SECRET_LENGTH + PIN_LENGTH + 1
GROUP = 4
SECRET_ENTROPY_BYTES = 10
_READ_AS = str.maketrans("ILO", "110", " -\t\n\r–—.")


class BadCode(ValueError):
    """The text is no enrolment code; the message says why."""


class EnrolmentCode(msgspec.Struct, frozen=True):
    """A code in its two parts: the secret, and the pin that names the authority."""

    secret: str
    pin: str

    @property
    def secret_hash(self) -> str:
        """What the tower keeps of it (D1)."""
        return hash_of_secret(self.secret)

    def names(self, fingerprint: bytes) -> bool:
        """Tell whether the code was made for the authority with this SHA-256 (D2)."""
        return pin_of(fingerprint) == self.pin

    def encode(self) -> str:
        """Return the code as a person types it."""
        body = self.secret + self.pin
        text = body + _check_letter(body)
        return "-".join(text[at : at + GROUP] for at in range(0, LENGTH, GROUP))


def make_code(entropy: bytes, fingerprint: bytes) -> EnrolmentCode:
    """Make a code of `SECRET_ENTROPY_BYTES` random bytes for an authority."""
    return EnrolmentCode(_letters(entropy, SECRET_LENGTH), pin_of(fingerprint))


def parse_code(text: str) -> EnrolmentCode:
    """Read a code as typed.

    Raises:
        BadCode: it is none, or a letter is wrong.
    """
    plain = text[: 4 * LENGTH].upper().translate(_READ_AS)
    strange = sorted(set(plain) - set(ALPHABET))
    if strange:
        raise BadCode(f"an enrolment code has no {', '.join(map(repr, strange[:3]))}")
    if len(plain) != LENGTH:
        raise BadCode(f"an enrolment code has {LENGTH} letters and digits, this has {len(plain)}")
    if _check_letter(plain[:-1]) != plain[-1]:
        raise BadCode("a letter or digit of the code is wrong; compare it with the tower's page")
    return EnrolmentCode(plain[:SECRET_LENGTH], plain[SECRET_LENGTH:-1])


def hash_of_secret(secret: str) -> str:
    """Return what is stored of a code's secret."""
    return sha256(b"coldgrid enrolment\x00" + secret.encode()).hexdigest()


def pin_of(fingerprint: bytes) -> str:
    """Return the letters that name an authority."""
    return _letters(fingerprint, PIN_LENGTH)


def _letters(data: bytes, count: int) -> str:
    number = int.from_bytes(data[: (count * 5 + 7) // 8], "big")
    number >>= (-count * 5) % 8
    return "".join(ALPHABET[number >> shift & 31] for shift in range((count - 1) * 5, -1, -5))


def _check_letter(body: str) -> str:
    """Return the letter that finds every single wrong letter and every two that changed places.

    A weighted sum over the field of 32 elements (x⁵ + x² + 1): all 31 letters have weights of their own.
    """
    check = 0
    for letter in body:
        check = (check ^ ALPHABET.index(letter)) << 1
        check ^= 0b100101 if check > 31 else 0
    return ALPHABET[check]
