"""Stock: what we hold, where, whether it may move, and what may be promised of it."""

from coldgrid.stock import (
    conditions,
    counts,
    dispatch,
    feeds,
    holds,
    index,
    movements,
    pack,
    pauses,
    promises,
    reserves,
    shortfalls,
    splits,
    trace,
    transfers,
)

__all__ = [
    "conditions",
    "counts",
    "dispatch",
    "feeds",
    "holds",
    "index",
    "movements",
    "pack",
    "pauses",
    "promises",
    "reserves",
    "shortfalls",
    "splits",
    "trace",
    "transfers",
]
