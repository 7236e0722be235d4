"""Hits: what a searched text may mean, found by each room among its own things.

Invariants
    H1  A room looks things up by the beginning or the end of what they are called, and finds at most as many
        as it is asked for, among those that the visitor may see.
    H2  Two letters mean everything: less than `LETTERS_MIN` are not looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from coldgrid.kernel.reading import Reader

LETTERS_MIN = 3
LETTERS_MAX = 64
OF_A_KIND = 8


class Hit(msgspec.Struct, frozen=True):
    """Something that was found: its kind, what it is called, what tells it from others, its page."""

    kind: str
    name: str
    note: str
    href: str


# From the reader, the visitor's sites (None: all), the text and how many at most.
Finder = Callable[[Reader, Collection[str] | None, str, int], list[Hit]]
_finders: dict[str, tuple[int, Finder]] = {}


def register_finder(name: str, find: Finder, order: int = 100) -> None:
    """Let a room find its things when somebody searches."""
    _finders[name] = (order, find)


def hits(db: Reader, sites: Collection[str] | None, text: str) -> list[Hit]:
    """Return what a text may mean to somebody responsible for some sites, kind by kind (H1, H2)."""
    sought = text.strip().lower()
    if not LETTERS_MIN <= len(sought) <= LETTERS_MAX:
        return []
    ordered = [find for _, find in sorted(_finders.values(), key=lambda one: one[0])]
    return [hit for find in ordered for hit in find(db, sites, sought, OF_A_KIND)]
