"""Wording: what a customer reads when their order changes. Pure; through gettext, in the customer's language.

Only what concerns them: when it comes, what does not, and what they may do. No site, no fault, no blame.
"""

from __future__ import annotations

import gettext
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path

import msgspec

_DOMAIN = "coldgrid"
_LOCALE = Path(__file__).parent / "locale"


class NoticeKind(StrEnum):
    """What is told: it comes later, some of it does not come, or it comes after all."""

    DELAY = "delay"
    LOSS = "loss"
    RESTORED = "restored"


class NoticeLine(msgspec.Struct, frozen=True):
    """Goods that a notice is about."""

    product: str
    qty: int


class Message(msgspec.Struct, frozen=True):
    """Subject line and text."""

    subject: str
    text: str


@cache
def _catalog(language: str) -> gettext.NullTranslations:
    return gettext.translation(_DOMAIN, _LOCALE, languages=[language, language[:2]], fallback=True)


def compose(
    kind: NoticeKind,
    order_id: str,
    name: str,
    arrives_at: datetime | None,
    lines: Sequence[NoticeLine],
    language: str = "en",
) -> Message:
    """Return what a customer is told.

    Args:
        kind: What it is about.
        order_id: The order as the customer knows it.
        name: How to address the customer; empty for nobody by name.
        arrives_at: When the (rest of the) order arrives, None when nothing is promised.
        lines: The goods that do not come.
        language: Two letters, with or without a region. English where there is no translation.
    """
    _ = _catalog(language).gettext
    hello = _("Hello {name},").format(name=name) if name else _("Hello,")
    body = [hello, "", *_body(_, kind, order_id, arrives_at, lines), "", _("Thank you for your patience.")]
    subjects = {
        NoticeKind.DELAY: _("Your order {order_id} arrives later"),
        NoticeKind.LOSS: _("Part of your order {order_id} cannot be delivered"),
        NoticeKind.RESTORED: _("Your order {order_id} is complete again"),
    }
    return Message(subjects[kind].format(order_id=order_id), "\n".join(body))


def _body(  # type: ignore[no-untyped-def]
    _, kind: NoticeKind, order_id: str, arrives_at: datetime | None, lines: Sequence[NoticeLine]
) -> list[str]:
    arrival = _("It now arrives by {when}.").format(when=told(arrives_at)) if arrives_at else ""
    if kind is NoticeKind.DELAY:
        return [_("your order {order_id} will be later than we promised.").format(order_id=order_id), arrival]
    if kind is NoticeKind.RESTORED:
        return [_("all goods of your order {order_id} are on hand again.").format(order_id=order_id), arrival]
    missing = [f"- {line.qty} × {line.product}" for line in lines]
    rest = _("Everything else arrives by {when}.").format(when=told(arrives_at)) if arrives_at else ""
    return [
        _("to be safe we keep some goods of your order {order_id} back:").format(order_id=order_id),
        *missing,
        _("You are not charged for them. We go on looking for replacements and write again if we find some."),
        *([rest] if rest else []),
    ]


def told(at: datetime) -> str:
    """An instant as customers read it, in UTC: where they are is not stored in the open."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
