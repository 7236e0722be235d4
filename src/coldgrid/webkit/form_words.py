"""What the decoder and the rules say of JSON, said again for whoever filled in a form. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from coldgrid.kernel.rejections import Invalid, KeyReused, NotFound, Problem, Rejected, fact_in_words

_MADE = re.compile(r"(person|change|session|trial|request|form)-[a-z0-9]{12,}")
# What a message holds, what it then says of a field, and how to put that right. The first that fits counts.
_SAID = (
    ("Expected `int`", "is no whole number", "write it like 12"),
    ("Expected `float`", "is no number", "write it like 18.5"),
    ("Expected `array`", "is no list", "begin each line with a hyphen, as in the example"),
    ("Expected `object`", "is not written as names and values", "write each as name: value"),
    ("encoded datetime", "is no time", "write it like 2026-12-31 18:30"),
    ("encoded date", "is no day", "write it like 2026-12-31"),
    ("matching regex '^[A-Z]{2}$'", "is not two capital letters", "write it like US"),
    ("matching regex '^[A-Z]{3}$'", "is not three capital letters", "write it like USD"),
    ("[0-9a-f]{64}", "is no SHA-256", "it has 64 characters, 0 to 9 and a to f"),
    (
        "A-Za-z0-9._-]",
        "has other characters than letters, digits and . _ -",
        "leave out spaces and other marks",
    ),
    ("matching regex", "is not written in the form asked for", ""),
    ("beyond 64 bits", "is too large a number", "write a smaller one"),
)


def _is_opaque(fact: object) -> bool:
    """Tell whether a fact is an id that the program made: nobody knows a thing by it."""
    return isinstance(fact, str) and _MADE.fullmatch(fact) is not None


def in_words(problem: Problem) -> Problem:
    """Return what is wrong with a field, for whoever typed it. A rule's own words stay."""
    if problem.message == "is missing" and problem.fix.startswith("add "):
        return msgspec.structs.replace(problem, message="is empty", fix="fill it in")
    for told, message, fix in _SAID:
        if told in problem.message:
            return msgspec.structs.replace(problem, message=message, fix=fix)
    return problem


def about_a_field(rejected: Rejected, values: Mapping[str, Sequence[str]]) -> Problem | None:
    """Return what to say at the field that named something which is not there; None where no field did."""
    if not isinstance(rejected, NotFound) or len(rejected.facts) != 1:
        return None
    name, fact = next(iter(rejected.facts.items()))
    typed = values.get(name) or [""]
    return (
        Problem(field=name, message=rejected.title, fix=rejected.todo)
        if typed[-1].strip() == str(fact)
        else None
    )


def refusal_in_words(rejected: Rejected) -> tuple[str, str]:
    """Return why a form was refused as a whole, and what to do."""
    if isinstance(rejected, KeyReused):
        return "This form was sent before, with something else in it.", (
            "What you see here was not sent. Look at what the first one did; send this too if it is meant."
        )
    told = {name: fact_in_words(fact) for name, fact in rejected.facts.items() if not _is_opaque(fact)}
    if isinstance(rejected, Invalid) or not told:
        return rejected.title, rejected.todo
    facts = ", ".join(f"{name.replace('_', ' ')}: {fact}" for name, fact in told.items())
    return f"{rejected.title} {facts[:1].upper()}{facts[1:]}.", rejected.todo
