"""Choices: words of an address that are one of a few. An unknown word is never taken for "nothing found".

The API refuses it with the words that it knows. A page shows everything instead, and says so: an old bookmark
is not a reason to show nobody anything.

So it is with the names of parameters: a misspelt filter of the API would filter nothing. Pages pass over
names that they do not know: what brings people to a page decorates its address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from coldgrid.kernel.rejections import Problem, Rejected
from coldgrid.webkit.notices import Notice, say_here

API = "/api/v1/"
ANY_NAMES = {"any_names": True}
SHOWN_MAX = 60
UNKNOWN_MAX = 20
# Where there are more words than these, a refusal names the nearest alone.
WORDS_MAX = 250


Connection = ASGIConnection[Any, Any, Any, Any]


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


def check_names(connection: Connection, handler: BaseRouteHandler) -> None:
    """Litestar guard: refuse parameters of the API that this address does not have, each with those it has.

    One that passes on what others send it says so (`ANY_NAMES`).

    Raises:
        Malformed: with the parameters.
    """
    if not connection.scope["path"].startswith(API) or handler.opt.get("any_names"):
        return
    given = sorted({name for name, _ in connection.query_params.multi_items()})
    known = names_of(handler) if given else []
    unknown = [name for name in given if name not in known]
    if unknown:
        rejected = Malformed(parameters=", ".join(_shown(name) for name in unknown[:UNKNOWN_MAX]))
        rejected.problems = tuple(_no_name(name, known) for name in unknown[:UNKNOWN_MAX])
        raise rejected


def names_of(handler: BaseRouteHandler) -> list[str]:
    """Return the names of the parameters that an address takes."""
    fields = handler.parsed_fn_signature.parameters.values()
    return sorted(
        field.kwarg_definition.name or field.name
        for field in fields
        if isinstance(field.kwarg_definition, QueryParameter)
    )


def _no_name(name: str, known: list[str]) -> Problem:
    near = [f"did you mean {one}?" for one in get_close_matches(name, known, n=1)]
    told = f"one of: {', '.join(known)}" if known else "this address takes none"
    return Problem(field=_shown(name), message="is no parameter of this address", fix=" ".join([*near, told]))


def _shown(name: str) -> str:
    return name[:SHOWN_MAX] or "(empty)"


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
