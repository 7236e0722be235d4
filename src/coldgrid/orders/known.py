"""Known ids: tells for certain that an id was never seen, without asking the database. Pure.

A Bloom filter: it never denies an id that was added. When it says "perhaps", the caller reads the table. With
`BITS` bits and three of them per id, one id in 400 is suspected in vain at 1.6 million ids and one in 40 at
4 million: each costs a read, never a wrong answer. Python's hash of a text differs from process to process,
so the bits never leave this one.
"""

from __future__ import annotations

BITS = 1 << 25  # 4 MB
_MASK = BITS - 1


class KnownIds:
    """Ids that were added, and few others."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray(BITS // 8)

    def add(self, id_: str) -> None:
        """Remember an id."""
        bits, told = self._bits, hash(id_)
        for place in (told & _MASK, told >> 20 & _MASK, told >> 38 & _MASK):
            bits[place >> 3] |= 1 << (place & 7)

    def perhaps(self, id_: str) -> bool:
        """Whether the id may have been added; False is certain."""
        bits, told = self._bits, hash(id_)
        for place in (told & _MASK, told >> 20 & _MASK, told >> 38 & _MASK):
            if not bits[place >> 3] >> (place & 7) & 1:
                return False
        return True
