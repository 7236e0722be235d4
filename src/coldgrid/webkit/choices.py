"""Choices: words of an address that are one of a few. An unknown word is never taken for "nothing found".

The API refuses it with the words that it knows. A page shows everything instead, and says so: an old bookmark
is not a reason to show nobody anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from litestar import Request

from coldgrid.kernel.rejections import Problem, Rejected
from coldgrid.webkit.notices import Notice, say_here

SHOWN_MAX = 60
# Where there are more words than these, a refusal names the nearest alone.
WORDS_MAX = 250


class Malformed(Rejected):
    """The request cannot be read."""

    problems: tuple[Problem, ...] = ()


def malformed(field: str, message: str, fix: str) -> Malformed:
    """Return the refusal of a request for one thing beside its body."""
    rejected = Malformed(detail=f"{field} {message}")
    rejected.problems = (Problem(field=field, message=message, fix=fix),)
    return rejected


def unknown_word(name: str, value: str, words: Iterable[str]) -> Problem:
    """Return what is wrong with a parameter that names none of the words: itself, its value and the words."""
    known = sorted(words)
    near = [f"did you mean {one}?" for one in get_close_matches(value, known, n=1)]
    told = f"one of: {', '.join(known)}" if len(known) <= WORDS_MAX else f"one of {len(known)} that there are"
    return Problem(field=name, message=f"may not be {value[:SHOWN_MAX]!r}", fix=" ".join([*near, told]))


def check_word(name: str, value: str, words: Collection[str]) -> None:
    """Refuse a parameter of the API that names none of the words; left out or empty it names all.

    Raises:
        Malformed: with the parameter, its value, and the words.
    """
    check_words(name, [value] if value else [], words)


def check_words(name: str, values: Iterable[str], words: Collection[str]) -> None:
    """Refuse a parameter of the API of which one part names none of the words; see `check_word`."""
    problems = tuple(unknown_word(name, value, words) for value in sorted(values) if value not in words)
    if problems:
        rejected = Malformed(parameters=name)
        rejected.problems = problems
        raise rejected


def word_or_all(
    request: Request[Any, Any, Any], value: str, words: Collection[str], otherwise: str = ""
) -> str:
    """Return a page's parameter; where it names none of the words `otherwise`, and the page says so."""
    if value == otherwise or value in words:
        return value
    told = f"There is no {value[:SHOWN_MAX]!r} to show here, so nothing was left out."
    say_here(request, Notice(told, "warn"))
    return otherwise


def words_of(annotation: object) -> list[str]:
    """Return the words that a parameter's type allows; none where it is no choice."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(one.value) for one in annotation]
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    return [word for part in get_args(annotation) for word in words_of(part)]
