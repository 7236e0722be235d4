"""How serious an alarm is: a matrix of what the sensors say and what stands there. Pure."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """What an incident asks for, mildest first."""

    INFORMATIONAL = "informational"
    OPERATOR_ACTIONABLE = "operator_actionable"
    EXCURSION_RISK = "excursion_risk"

    @property
    def word(self) -> str:
        """What people are told, in the words of docs/glossary.md."""
        return _WORDS[self]

    @property
    def state(self) -> str:
        """The kit's state of it: a shape and a colour beside the word."""
        return _STATES[self]


_WORDS = {
    Severity.INFORMATIONAL: "Information",
    Severity.OPERATOR_ACTIONABLE: "To be acted on",
    Severity.EXCURSION_RISK: "Excursion risk",
}
_STATES = {
    Severity.INFORMATIONAL: "info",
    Severity.OPERATOR_ACTIONABLE: "warn",
    Severity.EXCURSION_RISK: "crit",
}


class Stage(StrEnum):
    """What the alarm says: the measuring failed, the air drifts, the product is out of its limits."""

    FAULT = "fault"
    PRE_ALARM = "pre_alarm"
    EXCURSION = "excursion"


class Goods(StrEnum):
    """What is exposed: nothing, goods with time left, goods whose time is short or unknown."""

    NONE = "none"
    TIME_LEFT = "time_left"
    TIME_SHORT = "time_short"


_INFORMATIONAL, _ACTIONABLE, _RISK = Severity
MATRIX: dict[Stage, dict[Goods, Severity]] = {
    Stage.FAULT: {
        Goods.NONE: _INFORMATIONAL,
        Goods.TIME_LEFT: _ACTIONABLE,
        Goods.TIME_SHORT: _ACTIONABLE,
    },
    Stage.PRE_ALARM: {
        Goods.NONE: _INFORMATIONAL,
        Goods.TIME_LEFT: _ACTIONABLE,
        Goods.TIME_SHORT: _RISK,
    },
    Stage.EXCURSION: {Goods.NONE: _ACTIONABLE, Goods.TIME_LEFT: _RISK, Goods.TIME_SHORT: _RISK},
}


def goods_at(units: int, time_left_min: float | None, response_min: float) -> Goods:
    """Classify what stands in a zone.

    Args:
        units: Handling units in the zone.
        time_left_min: Minutes until the first product crosses its limit; None when it cannot be told, which
            counts as short (missing data is never good data).
        response_min: Minutes that people need to come and to act.
    """
    if units <= 0:
        return Goods.NONE
    if time_left_min is None or time_left_min <= response_min:
        return Goods.TIME_SHORT
    return Goods.TIME_LEFT


def severity_of(stage: Stage, goods: Goods) -> Severity:
    """Look the severity up in the matrix."""
    return MATRIX[stage][goods]


def worse(one: Severity, other: Severity) -> Severity:
    """The more serious of two."""
    order = list(Severity)
    return max(one, other, key=order.index)
