"""Validation: bytes to a typed value, or every wrong field at once.

The fast path is one typed decode. Only when it fails is the input walked field by field, so that
the answer names all problems, not the first, each with its place and how to put it right.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from coldgrid.kernel.rejections import Invalid, Problem

T = TypeVar("T")

SIZE_MAX_BYTES = 4 * 1024 * 1024
DEPTH_MAX = 64
PROBLEMS_MAX = 100

_FIXES = (
    (r"^is empty", "fill it in"),
    (r"^is shorter", "it is too short"),
    (r"^is longer", "shorten it"),
    (r"matching regex", "keep to that form"),
    (r"^must be (at least|more)", "send a larger value"),
    (r"^must be (at most|less)", "send a smaller value"),
    (r"Expected `int", "send a whole number without quotes"),
    (r"Expected `float", "send a finite number without quotes"),
    (r"Expected `str", "send text in quotes"),
    (r"Expected `bool", "send true or false"),
    (r"Expected `array", "send a list in [ ]"),
    (r"Expected `object", "send an object in { }"),
    (r"^may not be", "use one of the documented values"),
    (r"Invalid RFC3339|Expected `datetime", "send an instant with its offset, as 2026-03-01T08:00:00Z"),
    (r"timezone", "add the offset from UTC, as in 2026-03-01T08:00:00Z"),
)
MISSING = "is missing"
_ENUM = "Invalid enum value "
_LENGTH = re.compile(r"Expected `\w+` of length (>=|<=) (\d+)")
_VALUE = re.compile(r"Expected `\w+` (>=|<=|>|<) (-?[\d.]+)")
_COMPARED = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_PATH = re.compile(r" - at `\$(.*)`$")


class TooLarge(Invalid):
    """The input is larger than this endpoint takes; nothing was stored."""


def decode_all(data: bytes, type_: type[T], *, size_max_bytes: int = SIZE_MAX_BYTES) -> T:
    """Decode JSON to `type_`.

    Refuses more than `size_max_bytes`, text that is not UTF-8, NaN and Infinity, and nesting deeper
    than 64 levels.

    Raises:
        TooLarge: too many bytes.
        Invalid: every problem found, at most 100 of them.
    """
    if len(data) > size_max_bytes:
        message = f"{len(data)} bytes are more than {size_max_bytes}"
        raise TooLarge([Problem(field="body", message=message, fix="send smaller batches")])
    try:
        return msgspec.json.decode(data, type=type_)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        raw = decode_raw(data)
        raise Invalid(problems_of(raw, type_) or [_problem("", str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid([_broken(data, error)]) from None


def convert_all(raw: Any, type_: type[T], *, line: int | None = None) -> T:
    """Convert decoded data (YAML, CSV fields) to `type_`; `line` goes into every problem.

    Raises:
        Invalid: every problem found.
    """
    try:
        return msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        found = problems_of(raw, type_) or [_problem("", str(error))]
        raise Invalid([msgspec.structs.replace(problem, line=line) for problem in found]) from None


def decode_raw(data: bytes) -> Any:
    """Decode JSON to plain Python values.

    Raises:
        Invalid: it is not JSON, or nested too deep.
    """
    try:
        raw = msgspec.json.decode(data)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid([_broken(data, error)]) from None
    if _depth(raw) > DEPTH_MAX:
        raise _too_deep()
    return raw


def problems_of(raw: Any, type_: Any, path: str = "") -> list[Problem]:
    """Return everything wrong with `raw` as a `type_`, in document order."""
    found: list[Problem] = []
    _walk(raw, type_, path, found)
    return found[:PROBLEMS_MAX]


def _walk(raw: Any, type_: Any, path: str, found: list[Problem]) -> None:
    origin, arguments = get_origin(type_), get_args(type_)
    options = [option for option in arguments if option is not type(None)]
    if origin is Annotated:
        before = len(found)
        _walk(raw, arguments[0], path, found)
        if len(found) == before:  # what is inside is right: its own bounds remain
            _check_leaf(raw, type_, path, found)
    elif isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        _walk_struct(raw, type_, path, found)
    elif arguments and _is_container(raw, origin):
        members = enumerate(raw) if isinstance(raw, list) else raw.items()
        for name, member in members:
            place = f"[{name}]" if isinstance(raw, list) else f".{name}"
            _walk(member, arguments[-1 if isinstance(raw, dict) else 0], path + place, found)
        _check_leaf(raw, type_, path, found, only_if_clean=True)
    elif origin in (Union, types.UnionType) and raw is not None and len(options) == 1:
        _walk(raw, options[0], path, found)
    else:
        _check_leaf(raw, type_, path, found)


def _is_container(raw: Any, origin: Any) -> bool:
    if isinstance(raw, dict):
        return origin in (dict, Mapping)
    return isinstance(raw, list) and origin in (list, tuple, Sequence, set, frozenset)


def _walk_struct(raw: Any, type_: type[msgspec.Struct], path: str, found: list[Problem]) -> None:
    if not isinstance(raw, dict):
        found.append(_problem(path, f"Expected `object`, got `{_kind(raw)}`"))
        return
    config = type_.__struct_config__
    fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
    before = len(found)
    for name, field in fields.items():
        here = f"{path}.{name}" if path else name
        if name in raw:
            _walk(raw[name], field.type, here, found)
        elif field.required:
            found.append(Problem(field=here, message=MISSING, fix=f"add {name}"))
    if config.forbid_unknown_fields:
        found += [
            Problem(
                field=f"{path}.{name}" if path else str(name),
                message="is not a field here",
                fix=_nearest(str(name), fields),
            )
            for name in raw
            if name not in fields and name != config.tag_field
        ]
    if len(found) == before:
        _check_leaf(raw, type_, path, found)


def _check_leaf(
    raw: Any, type_: Any, path: str, found: list[Problem], *, only_if_clean: bool = False
) -> None:
    if only_if_clean and any(problem.field.startswith(path) for problem in found):
        return
    try:
        msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        problem = _problem(path, str(error))
        if isinstance(type_, type) and issubclass(type_, Enum):
            fix = f"one of {', '.join(str(one.value) for one in type_)}"
            problem = msgspec.structs.replace(problem, fix=fix)
        found.append(problem)


def _problem(path: str, message: str) -> Problem:
    where = _PATH.search(message)
    if where:
        message = message[: where.start()]
        path = (path + where[1]).lstrip(".")
    message = _bound_in_words(message)
    fix = next((fix for pattern, fix in _FIXES if re.search(pattern, message)), "")
    return Problem(field=path or "body", message=message[:300], fix=fix)


def _bound_in_words(message: str) -> str:
    """Say a broken bound or a word that is no choice as people do; anything else as the decoder says it."""
    if message.startswith(_ENUM):
        return f"may not be {message.removeprefix(_ENUM)}"
    if (length := _LENGTH.fullmatch(message)) is not None:
        bound, least = int(length[2]), length[1] == ">="
        return "is empty" if least and bound == 1 else f"is {'shorter' if least else 'longer'} than {bound}"
    if (value := _VALUE.fullmatch(message)) is not None:
        return f"must be {_COMPARED[value[1]]} {value[2].removesuffix('.0')}"
    return message


def _broken(data: bytes, error: Exception) -> Problem:
    if isinstance(error, UnicodeDecodeError) or not _is_utf8(data):
        return Problem(field="body", message="is not UTF-8", fix="encode the text as UTF-8")
    where = re.search(r"byte (\d+)", str(error))
    line = data.count(b"\n", 0, int(where[1])) + 1 if where else None
    if re.search(rb"\b(NaN|-?Infinity)\b", data):
        return Problem(
            field="body", message="NaN and Infinity are no JSON numbers", fix="leave the value out", line=line
        )
    return Problem(field="body", message=str(error), fix="send well-formed JSON", line=line)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _too_deep() -> Invalid:
    return Invalid(
        [Problem(field="body", message=f"nested deeper than {DEPTH_MAX} levels", fix="flatten it")]
    )


def _depth(raw: Any) -> int:
    level, depth = [raw], 0
    while level and depth <= DEPTH_MAX:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def _kind(raw: Any) -> str:
    return {dict: "object", list: "array", type(None): "null"}.get(type(raw), type(raw).__name__)


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"known fields: {', '.join(sorted(known))}"
