"""Money: minor units and a currency. Never a float."""

from __future__ import annotations

import msgspec


class Money(msgspec.Struct, frozen=True):
    """An amount in the currency's minor unit (ISO 4217), e.g. cents."""

    cents: int
    currency: str = "USD"

    def __add__(self, other: Money) -> Money:
        """Add two amounts of one currency.

        Raises:
            ValueError: the currencies differ.
        """
        if self.currency != other.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.cents + other.cents, self.currency)

    def __mul__(self, count: int) -> Money:
        return Money(self.cents * count, self.currency)
