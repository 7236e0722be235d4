"""Kinds of master data: what a change may hold, and how a raw item becomes a checked one.

Invariants
    I1  Every kind is registered once, with its struct, its check and the function that makes it so.
    I2  Reading an item reports every wrong field at once, with the fix where one can be told.

A room registers its kinds when it is imported; this room knows none but its own. On the wire an item is its
struct's fields and `kind`, so no struct may have a field of that wire name: a site's own kind is `site_kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Problem
from coldgrid.kernel.tx import Tx
from coldgrid.kernel.validation import problems_of
from coldgrid.network.names import STANDARDS
from coldgrid.network.quantities import unit_fix

KIND_FIELD = "kind"
Raw = Mapping[str, Any]
T = TypeVar("T")


class Batch:
    """The items of one change, by kind and key: they may refer to each other.

    `unread`: kinds and keys of items with problems of their own, so that what refers to them has none.
    """

    def __init__(
        self, items: Iterable[tuple[str, str, Any]] = (), unread: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._items = {(kind, key): item for kind, key, item in items}
        self._unread = frozenset(unread)
        self._memos: dict[str, Any] = {}

    def get(self, kind: str, key: str) -> Any | None:
        """Return one item of this change, or None."""
        return self._items.get((kind, key))

    def has(self, kind: str, key: str) -> bool:
        """Tell whether this change has an item, be it one that could not be read."""
        return (kind, key) in self._items or (kind, key) in self._unread

    def of(self, kind: str) -> list[Any]:
        """Return all items of one kind."""
        return [item for (of_kind, _), item in self._items.items() if of_kind == kind]

    def memo(self, name: str, compute: Callable[[], T]) -> T:
        """Return what was computed once for all of this change's checks."""
        if name not in self._memos:
            self._memos[name] = compute()
        found: T = self._memos[name]
        return found


Check = Callable[[Reader, Any, Batch], Sequence[Problem]]
Define = Callable[[Tx, Any], None]


class Privacy(msgspec.Struct, frozen=True):
    """How a kind with personal data is stored: its struct with ciphertext, and the way there and back."""

    stored: type[msgspec.Struct]
    seal: Callable[[Tx, Any], Any]
    open: Callable[[Reader, Any], Any]


class Example(msgspec.Struct, frozen=True):
    """What fields of an item may look like, for who fills in its form. `fields`: texts, by wire name."""

    title: str
    about: str
    fields: Mapping[str, str]


class FormHelp(msgspec.Struct, frozen=True, kw_only=True):
    """How a form asks for a kind's fields. `choices`: (value, label) of fields with few values, by name."""

    choices: Callable[[], Mapping[str, Sequence[tuple[str, str]]]] = dict
    hints: Mapping[str, str] = {}
    examples: Callable[[], Sequence[Example]] = lambda: ()


class ItemKind(msgspec.Struct, frozen=True):
    """One kind of master data. `key_field` is the wire name of what identifies an item."""

    kind: str
    struct: type[msgspec.Struct]
    check: Check
    define: Define
    key_field: str
    privacy: Privacy | None
    form_help: FormHelp | None = None

    @property
    def stored(self) -> type[msgspec.Struct]:
        """The struct in which items are kept in the log."""
        return self.struct if self.privacy is None else self.privacy.stored


class Item(msgspec.Struct, frozen=True):
    """A raw item that could be read."""

    kind: str
    key: str
    value: Any


_kinds: dict[str, ItemKind] = {}


def register_item(
    kind: str,
    struct: type[msgspec.Struct],
    check: Check,
    define: Define,
    *,
    privacy: Privacy | None = None,
    form_help: FormHelp | None = None,
) -> None:
    """Register a kind of master data (I1). Its first field identifies an item.

    Args:
        kind: The wire name of the kind, such as `zone`.
        struct: The fields of an item; unknown ones are refused.
        check: Returns what is wrong with a read item: names, bounds, references. Reads, never writes.
        define: Records the event that makes an approved item so. It gets the stored form.
        privacy: How personal data in it is stored; None where there is none.
        form_help: What its form offers besides its fields.
    """
    fields = msgspec.structs.fields(struct)
    assert kind not in _kinds, f"item kind {kind} is already registered"
    assert all(field.encode_name != KIND_FIELD for field in fields), f"{kind}: rename the field `kind`"
    _kinds[kind] = ItemKind(kind, struct, check, define, fields[0].encode_name, privacy, form_help)


def item_kinds() -> Mapping[str, ItemKind]:
    """Return every registered kind by name."""
    return _kinds


def read_items(raws: Sequence[Any]) -> tuple[list[Item | None], list[Problem]]:
    """Read the items of a change. One that cannot be read is None; its problems begin with `items[n]`."""
    read: list[Item | None] = []
    problems: list[Problem] = []
    seen: dict[tuple[str, str], int] = {}
    for index, raw in enumerate(raws):
        item, wrong = read_item(raw)
        if item is not None and (first := seen.setdefault((item.kind, item.key), index)) != index:
            message = f"{item.kind} {item.key} is in this change twice, first as items[{first}]"
            wrong = [Problem(field=_kinds[item.kind].key_field, message=message, fix="keep one of them")]
        read.append(item)
        problems += within(f"items[{index}]", wrong)
    return read, problems


def names_of(raws: Sequence[Any]) -> list[tuple[str, str]]:
    """Return kind and key of raw items as far as they tell them, readable or not."""
    return [
        (kind.kind, str(raw[kind.key_field])[:256])
        for raw in raws
        if isinstance(raw, Mapping)
        and (kind := _kinds.get(str(raw.get(KIND_FIELD)))) is not None
        and kind.key_field in raw
    ]


def read_item(raw: Any) -> tuple[Item | None, list[Problem]]:
    """Read one raw item; with every problem when it is None."""
    if not isinstance(raw, Mapping):
        return None, [Problem(field="", message="an item is an object with a kind and its fields")]
    kind = _kinds.get(str(raw.get(KIND_FIELD, "")))
    if kind is None:
        return None, [_unknown_kind(raw.get(KIND_FIELD))]
    values = {name: value for name, value in raw.items() if name != KIND_FIELD}
    value, problems = read_fields(values, kind.struct)
    if problems:
        return None, [*_name_problems(kind, values), *problems]
    return Item(kind.kind, getattr(value, msgspec.structs.fields(kind.struct)[0].name), value), []


def _name_problems(kind: ItemKind, values: Raw) -> list[Problem]:
    """What else is wrong must not hide a wrong name."""
    name, standard = values.get(kind.key_field), STANDARDS.get(kind.kind)
    return standard.check(kind.key_field, name) if standard is not None and isinstance(name, str) else []


def _unknown_kind(name: Any) -> Problem:
    if name is None:
        return Problem(field=KIND_FIELD, message="is missing", fix=f"one of {', '.join(sorted(_kinds))}")
    close = get_close_matches(str(name)[:64], list(_kinds), n=1)
    fix = f"did you mean {close[0]}?" if close else f"one of {', '.join(sorted(_kinds))}"
    return Problem(field=KIND_FIELD, message=f"there is no kind {str(name)[:64]!r}", fix=fix)


def read_fields(values: Raw, struct: type[msgspec.Struct]) -> tuple[Any, list[Problem]]:
    """Convert values to a struct; report every wrong, missing and unknown field, at any depth (I2)."""
    problems = [
        *_unknown_fields(values, _shape(struct), ""),
        *_not_finite(values, ""),
        *(_with_unit_fix(problem, values) for problem in problems_of(values, struct)),
    ]
    return (None, problems) if problems else (msgspec.convert(values, struct), [])


def _with_unit_fix(problem: Problem, values: Raw) -> Problem:
    """Answer "41 °F" for a field in °C with the number to write."""
    given = values.get(problem.field)
    if not isinstance(given, str) or not (fix := unit_fix(problem.field, given)):
        return problem
    return msgspec.structs.replace(problem, message=f"{given!r} is text, not a number", fix=fix)


@cache
def _shape(struct: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(struct)


def _unknown_fields(raw: Any, shape: inspect.Type, path: str) -> Iterator[Problem]:
    """Structs in events must decode what later releases add; what people write now is checked here."""
    if isinstance(shape, inspect.UnionType):
        for option in shape.types:
            yield from _unknown_fields(raw, option, path)
    elif isinstance(shape, inspect.StructType) and isinstance(raw, Mapping):
        fields = {field.encode_name: field.type for field in shape.fields}
        for name, value in raw.items():
            here = f"{path}.{name}" if path else str(name)
            if name in fields:
                yield from _unknown_fields(value, fields[name], here)
            else:
                yield _unknown_field(here[:128], str(name)[:64], list(fields))
    elif isinstance(shape, inspect.ListType) and isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _unknown_fields(value, shape.item_type, f"{path}[{index}]")


def _unknown_field(path: str, name: str, known: list[str]) -> Problem:
    close = get_close_matches(name, known, n=1)
    fix = f"did you mean {close[0]}?" if close else f"known fields: {', '.join(known)}"
    return Problem(field=path, message="is not a field here", fix=fix)


def _not_finite(raw: Any, path: str) -> Iterator[Problem]:
    if isinstance(raw, float) and not isfinite(raw):
        yield Problem(field=path, message="NaN and infinity are no values", fix="leave the value out")
    elif isinstance(raw, Mapping):
        for name, value in raw.items():
            yield from _not_finite(value, f"{path}.{name}" if path else str(name))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _not_finite(value, f"{path}[{index}]")


def within(prefix: str, problems: Iterable[Problem]) -> list[Problem]:
    """Put a path before the problems' fields."""
    return [
        msgspec.structs.replace(problem, field=f"{prefix}.{problem.field}" if problem.field else prefix)
        for problem in problems
    ]
