"""Values that a type allows and no room can use: refused once for every road from HTTP to the decider.

An instant without an offset could mean any hour; one at the edge of what Python counts overflows with the
first minute added or taken; PostgreSQL stores no NUL in text. Other characters that nobody sees steer a
terminal, or turn the text around them: a name must not read as another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from coldgrid.kernel.events import Command
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import PROBLEMS_MAX

# Controls but tab and the ends of lines, and what overrides the direction of writing.
_STEERING = re.compile("[\\0-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def check_values(command: Command) -> None:
    """Refuse instants without an offset or outside the years 1900 to 8999, and text that steers its reader.

    Raises:
        Invalid: each such value with its place.
    """
    problems = list(_wrong(command, ""))
    if problems:
        raise Invalid(problems[:PROBLEMS_MAX])


def _wrong(value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, str):
        # Nearly all text is printable, and asking that costs less than searching.
        if not value.isprintable() and (found := _STEERING.search(value)):
            name = "NUL" if found[0] == "\0" else f"U+{ord(found[0]):04X}, which nobody sees,"
            yield Problem(field=path, message=f"has the character {name} in it", fix="leave it out")
    elif isinstance(value, datetime):
        yield from _wrong_instant(value, path)
    else:
        for place, one in _parts(value, path):
            yield from _wrong(one, place)


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield what a value holds, each part with its place."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f"{path}.{name}" if path else name, getattr(value, name)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield path, name
            yield f"{path}.{name}", one
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield f"{path}[{index}]", one


def _wrong_instant(instant: datetime, path: str) -> Iterator[Problem]:
    if instant.tzinfo is None:
        fix = "add the offset from UTC, as in 2026-03-01T08:00:00Z"
        yield Problem(field=path, message="has no offset from UTC", fix=fix)
    elif not EARLIEST <= instant < LATEST:
        yield Problem(field=path, message="is not between the years 1900 and 8999", fix="send a real instant")
