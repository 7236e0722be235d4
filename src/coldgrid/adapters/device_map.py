"""Maps of devices: a driver's YAML, read field by field, so that every problem is named with its line.

Pure and total: any text gives a value or problems, never an exception. Anchors, aliases, tags, keys that come
twice and deep nesting are refused by the reader of YAML (`network/yaml_files.py`). Whole numbers may be
written in hexadecimal (`0x7FFF`), as manuals of devices do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from coldgrid.adapters.driving import reading_value
from coldgrid.kernel.rejections import Problem
from coldgrid.network.yaml_files import read_lines
from coldgrid.telemetry.gateways import MAP_CHARS_MAX
from coldgrid.telemetry.quantities import SPELLINGS
from coldgrid.telemetry.rules import Role

PROBLEMS_MAX = 50
LIST_MAX = 5_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", re.ASCII)
NAME_FIX = "up to 60 letters, digits, - _ and ., beginning with a letter or digit"
_HEX = re.compile(r"[-+]?0x[0-9A-Fa-f]{1,16}", re.ASCII)
_ABSENT = object()


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """What a map says of a number that a device tells, beside where it is read.

    `unavailable`: numbers by which the device says that it has none. `states`: the state that each number
    stands for; empty: it is measured. `low` and `high`: what may be, in its unit.
    """

    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    unavailable: frozenset[int] = frozenset()
    states: dict[int, int] = {}
    low: float | None = None
    high: float | None = None
    role: str = ""

    def value_of(self, raw: int | float) -> tuple[float | None, str]:
        """Return a raw number in its unit; None, and why: it is unknown, never a value."""
        if math.isnan(raw) or raw in self.unavailable:
            return None, "the device says that it is not available"
        if self.states:
            state = self.states.get(int(raw)) if math.isfinite(raw) and raw == int(raw) else None
            return (None, f"the map names no state {raw:g}") if state is None else (float(state), "")
        value = reading_value(raw * self.scale + self.offset)
        if value is None:
            return None, "is too large to be kept"
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            return None, f"{value:g} lies outside what the map allows"
        return value, ""


class Sheet:
    """A text that is being read, and what is wrong with it."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self.root: Any = None
        self._lines: dict[str, int] = {}
        if len(text) > MAP_CHARS_MAX:
            self._form(f"is longer than {MAP_CHARS_MAX} characters", "share the devices out to two gateways")
            return
        try:
            text.encode()
        except UnicodeEncodeError:
            self._form("holds half of a character", "save it as UTF-8")
            return
        self.root, self._lines, self.problems = read_lines(text)

    def _form(self, message: str, fix: str) -> None:
        self.problems.append(Problem(field="", message=message, fix=fix, line=1))

    @property
    def top(self) -> Fields:
        """The fields at the top of the text."""
        if not isinstance(self.root, dict):
            if not self.problems:
                self._form("is not a mapping of fields", "write fields as name: value")
            return Fields(self, "", {})
        return Fields(self, "", self.root)

    def wrong(self, path: str, message: str, fix: str = "") -> None:
        """Note a problem; of many the first `PROBLEMS_MAX` are told."""
        if len(self.problems) < PROBLEMS_MAX:
            problem = Problem(field=path, message=message, fix=fix, line=self.line(path))
            self.problems.append(problem)

    def line(self, path: str) -> int:
        """Return the line of a path; of one that is absent, that of what it should stand in."""
        while path and path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines.get(path, 1)


class Fields:
    """A mapping: each field is taken once, what was not taken is unknown."""

    def __init__(self, sheet: Sheet, path: str, values: dict[str, Any]) -> None:
        self.sheet = sheet
        self.path = path
        self._values = values
        self._taken: set[str] = set()

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, message: str, fix: str = "") -> None:
        """Note a problem of a field."""
        self.sheet.wrong(self.at(name) if name else self.path, message, fix)

    def has(self, name: str) -> bool:
        """Tell whether a field is there."""
        return name in self._values

    def done(self) -> None:
        """Name the fields that nobody asked for."""
        for name in self._values:
            if name not in self._taken:
                known = ", ".join(sorted(self._taken))
                self.wrong(name, f"there is no field {name[:60]!r} here", f"one of {known}")

    def name(self, name: str, default: str | None = None) -> str:
        """Take a name that can stand in a point's address."""
        text = self.text(name, default)
        if text and NAME.fullmatch(text) is None:
            self.wrong(name, f"{text[:60]!r} is no name", NAME_FIX)
            return ""
        return text

    def text(self, name: str, default: str | None = None, chars_max: int = 200) -> str:
        """Take a text. A default of None: it must be there."""
        value = self._take(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value:g}" if isinstance(value, float) else str(value)
        if not isinstance(value, str) or len(value) > chars_max or (default is None and not value):
            if value is not _ABSENT:
                self.wrong(name, "is no text", f"write 1 to {chars_max} characters")
            return default or ""
        return value

    def choice(self, name: str, known: Collection[str], default: str | None = None) -> str:
        """Take one of some words."""
        value = self._take(name, default)
        if isinstance(value, str) and (value in known or value == default):
            return value
        if value is not _ABSENT:
            self.wrong(name, f"{str(value)[:60]!r} is not known", f"one of {', '.join(sorted(known))}")
        return default or ""

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Take a whole number within bounds, both inclusive."""
        value = whole_of(self._take(name, default))
        if value is None or not low <= value <= high:
            if name in self._values:
                self.wrong(name, "is no such whole number", f"from {low} to {high}")
            return low if default is None else default
        return value

    def number(self, name: str, default: float, low: float = -1e12, high: float = 1e12) -> float:
        """Take a finite number within bounds, both inclusive."""
        value = self._take(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            self.wrong(name, "is no such number", f"from {low:g} to {high:g}")
            return default
        return float(value)

    def maybe_number(self, name: str) -> float | None:
        """Take a number that may be absent."""
        if self._values.get(name) is None:
            self._taken.add(name)
            return None
        return self.number(name, 0.0)

    def unit(self, name: str = "unit") -> str:
        """Take a unit of telemetry, as any device spells it; empty: the sensor's own."""
        value = self.choice(name, SPELLINGS, "")
        return SPELLINGS[value].value if value else ""

    def role(self, name: str = "role") -> str:
        """Take the role that is suggested for a sensor; empty: none."""
        return self.choice(name, {role.value for role in Role}, "")

    def wholes(self, name: str) -> list[int]:
        """Take a list of whole numbers; absent: none."""
        found = []
        for index, value in enumerate(self._list(name)):
            number = whole_of(value)
            if number is None:
                self.wrong(f"{name}[{index}]", "is no whole number", "write it as 32767 or 0x7FFF")
            else:
                found.append(number)
        return found

    def names(self, name: str, known: Collection[str]) -> list[str]:
        """Take a list of known words; absent: none."""
        found = []
        for index, value in enumerate(self._list(name)):
            if isinstance(value, str) and value in known:
                found.append(value)
            else:
                message = f"{str(value)[:60]!r} is not known"
                self.wrong(f"{name}[{index}]", message, f"one of {', '.join(sorted(known))}")
        return found

    def table(self, name: str) -> dict[int, int]:
        """Take a mapping of whole numbers to whole numbers, such as `{0: 1, 4: 2}`; absent: empty."""
        value = self._take(name, {})
        if not isinstance(value, dict):
            self.wrong(name, "is no table", "write it as {0: 1, 1: 0}")
            return {}
        found = {}
        for key, told in value.items():
            raw, state = whole_of(key), whole_of(told)
            if raw is None or state is None:
                self.wrong(f"{name}.{key}", "is no pair of whole numbers", "write it as 4: 2")
            else:
                found[raw] = state
        return found

    def group(self, name: str) -> Fields:
        """Take a mapping; absent: an empty one."""
        value = self._take(name, {})
        if not isinstance(value, dict):
            self.wrong(name, "is no mapping", "write fields as name: value")
            value = {}
        return Fields(self.sheet, self.at(name), value)

    def groups(self, name: str) -> Iterator[Fields]:
        """Take a list of mappings; absent: none."""
        for index, value in enumerate(self._list(name)):
            path = f"{name}[{index}]"
            if isinstance(value, dict):
                yield Fields(self.sheet, self.at(path), value)
            else:
                self.wrong(path, "is no mapping", "write fields as name: value")

    def _list(self, name: str) -> list[Any]:
        value = self._take(name, [])
        if not isinstance(value, list):
            self.wrong(name, "is no list", "begin each item with -")
            return []
        if len(value) > LIST_MAX:
            self.wrong(name, f"has {len(value)} entries", f"at most {LIST_MAX}")
            return []
        return value

    def _take(self, name: str, default: Any) -> Any:
        self._taken.add(name)
        value = self._values.get(name, _ABSENT)
        if value is _ABSENT and default is None:
            self.wrong("", f"has no {name}", f"add {name}:")
            return _ABSENT
        return default if value is _ABSENT else value


def whole_of(value: Any) -> int | None:
    """Return a whole number, decimal or hexadecimal; None: it is none."""
    if isinstance(value, str) and _HEX.fullmatch(value):
        return int(value, 16)
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,18}", value, re.ASCII):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
