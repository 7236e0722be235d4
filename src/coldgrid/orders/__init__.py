"""Orders: taken from channels, sourced from the sites that serve them best, promised, and handed over.

The network owns orders and promises; what a site does for them comes to it as released work.
"""

from __future__ import annotations

from coldgrid.orders import explain, facts, finding, handling, intake, orders, promising, resourcing, sourcing

__all__ = [
    "explain",
    "facts",
    "finding",
    "handling",
    "intake",
    "orders",
    "promising",
    "resourcing",
    "sourcing",
]
