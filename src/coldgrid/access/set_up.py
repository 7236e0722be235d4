"""The secret of the first set-up: who reads the server's terminal becomes the first admin, nobody else.

Invariants
    W1  It is drawn at every start, shown in the terminal alone, and good for `GOOD_FOR`; a new one ends
        the one before.
    W2  Wrong ones are counted by address: after `GUESSES` of them the address waits, right or wrong.
    W3  Once there is a person it opens nothing (`people` P6).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from coldgrid.access.refusals import address_key
from coldgrid.access.throttle import Throttle
from coldgrid.access.tokens import draw, same
from coldgrid.kernel.rejections import Forbidden

GOOD_FOR = timedelta(hours=1)
GUESSES, GUESSES_WINDOW = 5, timedelta(minutes=15)


class WrongSetUpToken(Forbidden):
    """This set-up link is not the one that the server printed."""

    todo = "Copy the address from the server's output; it changes at each start."


class SetUpTokenExpired(Forbidden):
    """This set-up link is too old."""

    todo = "Run `coldgrid tower setup` on the server for a new one, or start the server again."


class SetUpSecret:
    """The secret of one running host. `system_now`: it lives by the system clock."""

    def __init__(self, system_now: Callable[[], datetime]) -> None:
        self._now = system_now
        self._guesses = Throttle(GUESSES, GUESSES_WINDOW)
        self._value, self._ends_at = "", system_now()

    @property
    def value(self) -> str:
        """The secret; drawn when it is first asked for."""
        return self._value or self.renew()

    def renew(self) -> str:
        """Draw another secret and return it; the one before opens nothing any more (W1)."""
        self._value, self._ends_at = draw(), self._now() + GOOD_FOR
        return self._value

    def wait_s(self, address: str) -> int:
        """Return for how many seconds an address must wait after wrong guesses; 0 when it may try (W2)."""
        return self._guesses.wait_s(address_key(address), self._now())

    def check(self, given: str, address: str) -> None:
        """Return when it is the secret.

        Raises:
            WrongSetUpToken: it is not; the guess is counted.
            SetUpTokenExpired: it was.
        """
        if not same(given, self.value):
            self._guesses.failed(address_key(address), self._now())
            raise WrongSetUpToken()
        if self._now() >= self._ends_at:
            raise SetUpTokenExpired()
