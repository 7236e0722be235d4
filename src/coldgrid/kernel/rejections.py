"""Rejections: a command broke a rule. Typed, with a stable code, the facts and what to do.

Subclasses state the rule in their docstring, which is also the message, without the number that the rule has
in its module. `code` is stable and goes to clients. The HTTP status is chosen once, in `webkit/problems.py`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

# What a docstring says for those who read the code: which invariant of its module the rule is.
_RULE_NUMBERS = re.compile(r"\s*\([A-Z]\d+(?:, [A-Z]\d+)*\)(?=\.|$)")


class Rejected(Exception):
    """The command broke a rule."""

    code: ClassVar[str] = "rejected"
    # What the caller can do about it, one sentence; subclasses override it where it helps.
    todo: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(self.title)

    @property
    def title(self) -> str:
        """The rule, as one sentence."""
        rule = (inspect.getdoc(type(self)) or type(self).__name__).split("\n\n", maxsplit=1)[0]
        return _RULE_NUMBERS.sub("", rule.replace("\n", " "))

    def __str__(self) -> str:
        told = ", ".join(f"{name}={fact_in_words(value)}" for name, value in self.facts.items())
        return f"{self.title} ({told})" if told else self.title


def fact_in_words(fact: object) -> str:
    """A fact as people read it: no brackets and quotes of the language that the program is written in."""
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {fact_in_words(value)}" for name, value in fact.items())
    if isinstance(fact, list | tuple):
        apart = "; " if any(isinstance(one, Mapping) for one in fact) else ", "
        return apart.join(fact_in_words(one) for one in fact)
    return str(fact)


class Conflict(Rejected):
    """The current state forbids the command."""


class Forbidden(Rejected):
    """The actor may not do this."""


class NotFound(Rejected):
    """No such thing."""


class Unavailable(Rejected):
    """The service cannot do this now; nothing was stored."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One wrong field: where, what is wrong, how to put it right. `line` counts from 1 in `file`."""

    field: str
    message: str
    fix: str = ""
    line: int | None = None
    file: str = ""


class Invalid(Rejected):
    """The input is not valid; every problem is listed and nothing was stored."""

    def __init__(self, problems: Sequence[Problem], **facts: object) -> None:
        self.problems = tuple(problems)
        super().__init__(**facts)

    def __str__(self) -> str:
        told = "; ".join(
            (f"line {p.line}: " if p.line is not None else "") + f"{p.field}: {p.message}"
            for p in self.problems[:5]
        )
        return f"{self.title} ({told})"


class KeyReused(Conflict):
    """The same idempotency key was used before for another request body."""

    todo = "Send a new key for a new request, or the same body to get the same answer."


class StorageFull(Unavailable):
    """The disk is full; the fact was not stored and nothing is half done."""

    todo = "Free disk space; the service goes on by itself."


class StorageFailed(Unavailable):
    """The database refused the write; the fact was not stored and nothing is half done."""

    todo = "Try again; if it persists look at the health page."


class OriginElsewhere(Unavailable):
    """This process does not host the origin that owns the stream."""


class InternalFault(Unavailable):
    """The command failed by a fault of ours; it was rolled back and logged."""
