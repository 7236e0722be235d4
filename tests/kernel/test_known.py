"""Known ids: whoever was added is never denied, and few others are suspected."""

from __future__ import annotations

from coldgrid.kernel.known import KnownIds

MANY = 300_000


def test_an_id_that_was_added_is_never_denied() -> None:
    known = KnownIds()
    for number in range(MANY):
        known.add(f"web-{number}")

    assert all(known.perhaps(f"web-{number}") for number in range(MANY))


def test_few_ids_that_were_never_added_are_suspected() -> None:
    known = KnownIds()
    for number in range(MANY):
        known.add(f"web-{number}")

    suspected = sum(known.perhaps(f"app-{number}") for number in range(MANY))

    assert suspected < MANY / 1_000  # at 1.6 million ids it is one in 380


def test_nobody_is_suspected_before_the_first() -> None:
    known = KnownIds()

    assert not any(known.perhaps(f"web-{number}") for number in range(1_000))
