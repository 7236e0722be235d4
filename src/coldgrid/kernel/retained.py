"""What of the kernel's own rows may go after a time: delivered messages, and answers kept for retries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from coldgrid.kernel import command_log, log, outbox
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.retention import Kind, Spared, Thing, register_kind
from coldgrid.kernel.tx import Tx

MESSAGES, ANSWERS = "messages", "answers"
MARK = "\x1f"  # between the parts of a name: no key or caller has it


def _find_messages(db: Reader, before: datetime, spared: Spared, most: int) -> list[Thing]:
    return [Thing(*found) for found in outbox.delivered_before(db, before, most)]


def _drop_messages(tx: Tx, names: Sequence[str]) -> None:
    outbox.drop_effects(tx, names)


def _find_answers(db: Reader, before: datetime, spared: Spared, most: int) -> list[Thing]:
    position = first_since(db, before)
    found = command_log.answered_before(db, position, most)
    return [Thing(f"{key}{MARK}{caller}", size, None) for key, caller, size in found]


def _drop_answers(tx: Tx, names: Sequence[str]) -> None:
    for name in names:
        key, _, caller = name.partition(MARK)
        command_log.drop_answer(tx, key, caller)


def first_since(db: Reader, instant: datetime) -> int:
    """Return the position of the first entry that was recorded at an instant or later, by halving."""
    low, high = 0, log.last_position(db) + 1
    while low < high:
        middle = (low + high) // 2
        found = log.read(db, middle - 1, 1)
        if found and found[0].recorded_at < instant:
            low = found[0].position + 1
        else:
            high = middle
    return low


register_kind(
    Kind(
        MESSAGES,
        "delivered messages; the facts that they were stay",
        _find_messages,
        _drop_messages,
    )
)
register_kind(
    Kind(ANSWERS, "answers kept for retries of requests; what they did stays", _find_answers, _drop_answers)
)
