"""Stock: what we hold, where, whether it may move, and what may be promised of it."""

from coldgrid.stock import index, promises

__all__ = ["index", "promises"]
