"""The values of a playbook: paths, texts that they fill in, comparisons that no unknown value passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from coldgrid.orchestration.playbook_model import PLACE, Condition, Minutes

UNKNOWN = "unknown"
Roots = Mapping[str, Mapping[str, Any]]


class Test(msgspec.Struct, frozen=True, omit_defaults=True):
    """A comparison as it came out: in words, with the value it saw."""

    __test__ = False  # not a class of tests

    said: str
    saw: Any
    ok: bool


def value_at(path: str, roots: Roots) -> Any:
    """The value at a path such as `fact.goods.units`; None when any part of it is missing."""
    value: Any = roots
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def fill(value: Any, roots: Roots) -> Any:
    """Fill in the paths in a value: `{path}` alone keeps the value's type, inside a text it becomes text."""
    if isinstance(value, dict):
        return {name: fill(inner, roots) for name, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, roots) for inner in value]
    if not isinstance(value, str):
        return value
    alone = PLACE.fullmatch(value)
    if alone:
        return value_at(alone[1], roots)
    return PLACE.sub(lambda match: words(value_at(match[1], roots)), value)


def words(value: Any) -> str:
    """A value as a person reads it in a sentence."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    if isinstance(value, list):
        return ", ".join(map(words, value))
    return str(value)


def minutes_of(told: Minutes, roots: Roots) -> float:
    """Minutes, given or at a path; of several the first known. What is unknown or negative is due at once."""
    for one in told if isinstance(told, list) else [told]:
        value = value_at(one[1:-1], roots) if isinstance(one, str) else one
        if _is_number(value):
            return max(0.0, float(value))
    return 0.0


def test_all(conditions: Sequence[Condition], roots: Roots) -> list[Test]:
    """Try every condition, so that the record shows all of them."""
    return [_test(condition, roots) for condition in conditions]


test_all.__test__ = False  # type: ignore[attr-defined]  # not a test


def _test(condition: Condition, roots: Roots) -> Test:
    saw = value_at(condition.value, roots)
    name, unset = condition.value, msgspec.UNSET
    if condition.known is not unset:
        told = "is known" if condition.known else "is not known"
        return Test(f"{name} {told}", saw, (saw is not None) is condition.known)
    if condition.any_of is not unset:
        told = words(list(condition.any_of))
        return Test(f"{name} is one of {told}", saw, _same(saw, condition.any_of))
    if condition.equals is not unset:
        return Test(f"{name} is {words(condition.equals)}", saw, _same(saw, [condition.equals]))
    if condition.differs is not unset:
        ok = saw is not None and not _same(saw, [condition.differs])
        return Test(f"{name} is not {words(condition.differs)}", saw, ok)
    return _test_bound(condition, saw, roots)


def _test_bound(condition: Condition, saw: Any, roots: Roots) -> Test:
    low = condition.at_least is not msgspec.UNSET
    told = condition.at_least if low else condition.at_most
    bound = value_at(told[1:-1], roots) if isinstance(told, str) else told
    ok = _is_number(saw) and _is_number(bound) and (saw >= bound if low else saw <= bound)
    return Test(f"{condition.value} is at {'least' if low else 'most'} {words(bound)}", saw, ok)


def _same(saw: Any, wanted: Sequence[Any]) -> bool:
    """Equality in which yes is not 1 and an unknown value equals nothing."""
    return saw is not None and any(
        saw == value and isinstance(saw, bool) is isinstance(value, bool) for value in wanted
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
