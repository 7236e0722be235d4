"""Forms: from urlencoded text to a command with every wrong field named, and back with the values kept.

A form's names are the command's field names; `lines[0].qty` and `lines[1].qty` make a list of structs.
Text is turned into what the field's type says and then decoded by the same road as JSON, so that a form
and the API refuse the same input with the same words.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.webkit.form_words import about_a_field, in_words, refusal_in_words

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
# Thousands in groups of three, apart by commas or spaces; and a comma that can only stand before decimals.
_GROUPED = re.compile(r"-?\d{1,3}(?:(?:,\d{3})+|(?:[ \u00a0\u202f]\d{3})+)(?:\.\d+)?")
_DECIMAL_COMMA = re.compile(r"-?\d+,(?:\d{1,2}|\d{4,})")
# The place of one of several that a single field holds.
_ITEM = re.compile(r"\[\d+\].*$")
_TRUE = {"on", "true", "yes", "1"}
INDEX_MAX = 500
# Names of the fields that this form shows in °F; kept are °C.
IN_F = "_f"
HIDDEN = ("_csrf", "_key", IN_F)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One control of a form. `options`: (value, label); in radio groups and check lists also a hint."""

    name: str
    label: str
    kind: str = "text"
    value: str | Sequence[str] = ""
    hint: str = ""
    unit: str = ""
    required: bool = False
    options: Sequence[tuple[str, ...]] = ()
    autocomplete: str = ""
    placeholder: str = ""
    rows: int = 3


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What came back from a refused form: the values to keep, errors by field, and the refusal as a whole."""

    values: Mapping[str, Sequence[str]] = {}
    problems: Sequence[Problem] = ()
    title: str = ""
    todo: str = ""
    status: int = 200

    @property
    def refused(self) -> bool:
        """Whether the form was refused."""
        return bool(self.title)

    def value(self, name: str, default: str = "") -> str:
        """Return the text that was typed, else the default."""
        values = self.values.get(name)
        return values[-1] if values else default

    def error(self, name: str) -> str:
        """Return what is wrong with a field, or ""."""
        own = [p for p in self.problems if p.field == name] or [
            p for p in self.problems if _ITEM.sub("", p.field) == name
        ]
        return " ".join(_sentence(text) for p in own for text in (p.message, p.fix) if text)

    def others(self, names: Iterable[str]) -> list[Problem]:
        """Return the problems of fields that the page does not show."""
        shown = set(names)
        return [p for p in self.problems if p.field not in shown and _ITEM.sub("", p.field) not in shown]


NO_FORM = Form()


def refused_form(rejected: Rejected, values: Mapping[str, Sequence[str]], status: int) -> Form:
    """Return the form to show again after a refusal."""
    in_f = values.get(IN_F, ())
    if isinstance(rejected, Invalid):
        problems = [_in_words(one, in_f) for one in rejected.problems]
    else:
        named = about_a_field(rejected, values)
        problems = [named] if named is not None else []
    kept = {name: value for name, value in values.items() if name not in HIDDEN and "password" not in name}
    title, todo = refusal_in_words(rejected)
    return Form(values=kept, problems=problems, title=title, todo=todo, status=status)


def _in_words(problem: Problem, in_f: Sequence[str]) -> Problem:
    """What is wrong with a field, for whoever typed it; a bound that was broken is in °C."""
    if problem.field in in_f and problem.message.startswith("must be "):
        return msgspec.structs.replace(problem, message=f"{problem.message} °C")
    return in_words(problem)


def field_of(name: str, label: str, kind: str = "text", **more: Any) -> Field:
    """Return a field; for templates."""
    return Field(name=name, label=label, kind=kind, **more)


def form_bytes(values: Mapping[str, Sequence[str]], into: type[msgspec.Struct], /, **fixed: Any) -> bytes:
    """Return the JSON that a form's texts mean for a struct: ready for `decode_all`. `fixed` values win."""
    tree: dict[str, Any] = {}
    for name, texts in in_celsius(values).items():
        if name not in HIDDEN:
            _place(tree, _path_of(name), list(texts))
    shaped = _shape(tree, into)
    shaped.update(fixed)
    return msgspec.json.encode(shaped, enc_hook=str)


def in_celsius(values: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return a form's texts with the fields that it showed in °F turned into °C; what is no number stays."""
    in_f = values.get(IN_F, ())
    return {
        name: [_celsius(text) for text in texts] if name in in_f else list(texts)
        for name, texts in values.items()
    }


def _celsius(text: str) -> str:
    try:
        value_c = (number_of(text) - 32) * 5 / 9
    except ValueError:
        return text
    return f"{value_c:.2f}" if abs(value_c) < float("inf") else text


def _path_of(name: str) -> list[str | int]:
    return [int(index) if index else word for word, index in _STEP.findall(name)] or [name]


def _place(tree: dict[str, Any], path: list[str | int], texts: list[str]) -> None:
    """Put texts into nested dictionaries; list places are integer keys until `_shape` knows the type."""
    node: dict[Any, Any] = tree
    for step in path[:-1]:
        inner = node.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        node = inner
    last = path[-1]
    if not (isinstance(last, int) and last > INDEX_MAX):
        node[last] = texts


def _shape(node: Mapping[Any, Any], into: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(into)
    shaped: dict[str, Any] = {}
    for name, value in node.items():
        hint = hints.get(str(name), str)
        converted = _value(value, hint)
        if converted is not msgspec.UNSET:
            shaped[str(name)] = converted
    for name, hint in hints.items():  # an unticked box sends nothing
        if name not in node and _plain_type(hint)[0] is bool:
            shaped[name] = False
    return shaped


def _plain_type(hint: Any) -> tuple[Any, bool]:
    """Return a hint without `| None`, and whether it had it."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [arg for arg in get_args(hint) if arg is not type(None)]
        return (inner[0] if len(inner) == 1 else str), len(inner) < len(get_args(hint))
    return hint, False


def _value(value: Any, hint: Any) -> Any:
    plain, optional = _plain_type(hint)
    if get_origin(plain) in (list, tuple, Sequence, set, frozenset):
        return _items(value, get_args(plain)[0] if get_args(plain) else str)
    if isinstance(value, Mapping):
        return (
            _shape(value, plain)
            if isinstance(plain, type) and issubclass(plain, msgspec.Struct)
            else dict(value)
        )
    text = value[-1].strip() if value else ""
    if not text:
        return None if optional else "" if plain is str else msgspec.UNSET
    return _scalar(text, plain)


def _items(value: Any, inner: Any) -> list[Any]:
    """A list is numbered fields, a field sent several times, or one text with a line for each item."""
    if isinstance(value, Mapping):
        return [_value(value[key], inner) for key in sorted(value, key=str)]
    texts = [line.strip() for text in value for line in text.splitlines()]
    return [_scalar(text, inner) for text in texts if text]


def _scalar(text: str, plain: Any) -> Any:
    """Turn text into a JSON value; what does not fit stays text, and the decoder says what is wrong."""
    if plain is bool:
        return text.lower() in _TRUE
    if plain in (int, float):
        try:
            return int(_bare(text)) if plain is int else _float(_bare(text, decimals=True))
        except ValueError:
            return text
    if plain is datetime and len(text) == len("2026-03-01T08:00"):
        return f"{text}:00Z"
    return text


def number_of(text: str) -> float:
    """A number as people type it: `4,5` is four and a half, and a minus may be the typographer's.

    Raises:
        ValueError: it is none, or may be meant two ways.
    """
    return float(_bare(text.strip(), decimals=True))


def _bare(text: str, *, decimals: bool = False) -> str:
    """A number without what groups its thousands, and with a point. `4,5` is never 45, nor `18 5` 185."""
    bare = text.replace("−", "-")
    if decimals and _DECIMAL_COMMA.fullmatch(bare):
        return bare.replace(",", ".")
    grouped = _GROUPED.fullmatch(bare)
    if grouped and not (decimals and "," in bare and "." not in bare):  # 1,284 may mean both
        return bare.replace(",", "").replace(" ", "").replace("\u00a0", "").replace("\u202f", "")
    if "_" in bare:
        raise ValueError(bare)
    return bare


def _float(text: str) -> float | str:
    number = float(text)
    return number if abs(number) < float("inf") else text


def _sentence(text: str) -> str:
    text = text.strip().removesuffix("..")
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
