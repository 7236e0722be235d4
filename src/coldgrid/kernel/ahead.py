"""Compiling ahead: the statements that a bad reading goes through, before the first one comes.

An alarm, its pause, incident, excursion and hold are sixty statements. Compiled as they are first asked for
they hold the first alarm of a process up by 8 ms. They are those on tables of sites' facts; a person who asks
for any other waits for a page anyway, and compiling them all would keep another 1.2 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from coldgrid.kernel.statements import all_statements

# Each takes a fifth of a millisecond: whoever has work goes first.
REST_S = 0.002


def compile_ahead(dialect: str, rest: Callable[[float], bool]) -> int:
    """Compile the statements on tables of sites' facts; return how many were not compiled yet.

    `rest` waits for some seconds after each, and tells whether to leave the others.
    """
    compiled = 0
    for statement in all_statements():
        if dialect not in statement.sql and _is_about_sites(statement.construct):
            statement.compile(dialect)
            compiled += 1
            if rest(REST_S):
                break
    return compiled


def _is_about_sites(construct: Any) -> bool:
    tables = [part for part in sa.sql.visitors.iterate(construct) if isinstance(part, sa.Table)]
    if not construct.is_select:
        tables.append(construct.table)
    return any(table.info.get("origin") == "site" for table in tables)
