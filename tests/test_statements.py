"""Every statement of the product: compiled at its first use, so that a mistake in one is found here."""

from __future__ import annotations

import gc
import pkgutil
from importlib import import_module
from typing import Any

import pytest
import sqlalchemy as sa

import coldgrid
from coldgrid.kernel.ahead import compile_ahead
from coldgrid.kernel.driver import schema_statements
from coldgrid.kernel.statements import DIALECTS, POSTGRESQL, SQLITE, Statement
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.writes import write_of

NO_MODULES = ("coldgrid.cli.__main__",)


def statements() -> list[Statement[Any]]:
    for module in pkgutil.walk_packages(coldgrid.__path__, "coldgrid."):
        if module.name not in NO_MODULES:
            import_module(module.name)
    return [one for one in gc.get_objects() if isinstance(one, Statement)]


def test_every_statement_compiles_in_both_dialects_and_a_write_has_the_same_parameters_in_both() -> None:
    found = statements()
    assert len(found) > 400
    for statement in found:
        forms = {dialect: statement.sql[dialect] for dialect in DIALECTS}
        if statement.is_write:
            assert forms[SQLITE].names == forms[POSTGRESQL].names, statement.construct
            write_of(statement)
        assert statement.rows([]) == []


def test_a_host_on_sqlite_compiles_nothing_for_postgresql() -> None:
    """What is not used costs no memory, and no time at the start."""
    fresh = Statement(statements()[0].construct)
    assert fresh.sql == {}
    assert fresh.sql[SQLITE].text
    assert set(fresh.sql) == {SQLITE}


PARTIAL = {
    "ix_orders_order_unsourced": "orders_order (placed_no) WHERE unsourced IS NOT NULL",
    "ix_quality_exposed_waiting": "quality_exposed (site_id) WHERE decided IS {false}",
    "ix_stock_hold_open": "stock_hold (site_id, placed_at) WHERE ended_at IS NULL",
    "ix_stock_promise_open": "stock_promise (epoch, seq, zone_id) WHERE open_qty > 0",
    "uq_orchestration_incident_open": "orchestration_incident (site_id, place) WHERE closed_at IS NULL",
    "uq_quality_excursion_open": "quality_excursion (zone_id) WHERE closed_at IS NULL",
}


@pytest.mark.parametrize(("dialect", "false"), [(SQLITE, "0"), (POSTGRESQL, "false")])
def test_an_index_of_some_rows_is_made_for_the_same_rows_on_both_backends(dialect: str, false: str) -> None:
    """The texts are frozen: a changed one would have every database made by this release brought up again."""
    statements()
    texts = schema_statements(list(metadata.sorted_tables), dialect)
    made = [text for text in texts if " WHERE " in text]
    assert sorted(made) == sorted(
        f"CREATE {'UNIQUE ' * name.startswith('uq_')}INDEX IF NOT EXISTS {name} ON {told.format(false=false)}"
        for name, told in PARTIAL.items()
    )


def test_statements_on_tables_of_sites_are_compiled_ahead_and_others_are_left() -> None:
    statements()
    sites_own, others = metadata.tables["stock_pause"], metadata.tables["orders_order"]
    reading, writing = Statement(sa.select(sites_own)), Statement(sites_own.delete())
    left = Statement(sa.select(others))
    rests: list[float] = []

    def rest(seconds: float) -> bool:
        rests.append(seconds)
        return False

    compiled = compile_ahead(SQLITE, rest)
    assert set(reading.sql) == set(writing.sql) == {SQLITE}
    assert left.sql == {}
    assert compiled == len(rests) >= 2
    assert compile_ahead(SQLITE, rest) == 0, "what is compiled is not compiled again"


def test_compiling_ahead_ends_when_it_is_told_to() -> None:
    statements()
    first, second = (Statement(sa.select(metadata.tables["stock_pause"])) for _ in range(2))
    while compile_ahead(SQLITE, lambda seconds: True) == 1 and not first.sql:
        assert second.sql == {}, "one at a time"
    assert second.sql == {}
