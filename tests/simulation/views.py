"""Which rooms a host runs: tower and nodes share this process, and a node has never heard of orders.

What rooms registered is kept in tables of the whole process; here they are changed over from one host's to
the other's before a host does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from coldgrid.kernel import registry
from coldgrid.tower.rooms import load_rooms

ONLY_TOWER = ("coldgrid.orders.", "coldgrid.network_flows.", "coldgrid.tower.", "tests.")
load_rooms()


def _at_node(function: Any) -> bool:
    return not str(function.__module__).startswith(ONLY_TOWER)


def _lists(
    table: dict[Any, list[Any]], inner: Callable[[Any], Any] = lambda one: one
) -> dict[Any, list[Any]]:
    return {key: kept for key, all_ in table.items() if (kept := [o for o in all_ if _at_node(inner(o))])}


_TABLES: tuple[dict[Any, Any], ...] = (
    registry.projections,
    registry.handlers,
    registry.reactions,
    registry.reactions_by_name,
    registry.timer_handlers,
)
_LISTS: tuple[list[Any], ...] = (registry.hot_states, registry.origin_checks)


@lru_cache(1)
def _kept() -> dict[bool, tuple[Any, ...]]:
    """Return what a tower (True) and a node runs: asked for once every room is loaded."""
    node = (
        _lists(registry.projections),
        {key: one for key, one in registry.handlers.items() if _at_node(one.run)},
        _lists(registry.reactions, lambda one: one.run),
        {key: one for key, one in registry.reactions_by_name.items() if _at_node(one.run)},
        {key: one for key, one in registry.timer_handlers.items() if _at_node(one)},
    )
    tower = tuple(dict(table) for table in _TABLES)
    lists = tuple(list(one) for one in _LISTS)
    return {
        True: (tower, lists),
        False: (node, tuple([one for one in all_ if _at_node(one)] for all_ in lists)),
    }


_at = [True]


def change_over(*, tower: bool) -> None:
    """Let the process be a tower, or a node, from now on."""
    if _at[0] is tower:
        return
    tables, lists = _kept()[tower]
    _at[0] = tower
    for table, kept in zip(_TABLES, tables, strict=True):
        table.clear()
        table.update(kept)
    for one, listed in zip(_LISTS, lists, strict=True):
        one[:] = listed
