"""Batches: in whatever nesting of writes, reads and take-backs, the database says what a dict says."""

from __future__ import annotations

import copy

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldgrid.kernel.batch import Batch, Mark
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from tests.conftest import KERNELS, Kernel

pair = sa.Table(
    "toy_pair",
    metadata,
    sa.Column("k", sa.Text, primary_key=True),
    sa.Column("v", sa.BigInteger, nullable=False),
    info={"service": True},
)
other = sa.Table(
    "toy_other",
    metadata,
    sa.Column("k", sa.Text, primary_key=True),
    sa.Column("v", sa.BigInteger, nullable=False),
    info={"service": True},
)
_PUT = {table.name: Statement(upsert(table, keys=["k"], set_=["v"])) for table in (pair, other)}
_ADD = {table.name: Statement(upsert(table, keys=["k"], add=["v"])) for table in (pair, other)}
_DROP = {
    table.name: Statement(table.delete().where(table.c.k == sa.bindparam("which"))) for table in (pair, other)
}
_ALL = {table.name: Statement(sa.select(table.c.k, table.c.v)) for table in (pair, other)}

Model = dict[str, dict[str, int]]
tables = st.sampled_from(["toy_pair", "toy_other"])
keys = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), tables, keys, st.integers(0, 9)),
        st.tuples(st.just("add"), tables, keys, st.integers(1, 9)),
        st.tuples(st.just("drop"), tables, keys, st.just(0)),
        st.tuples(st.sampled_from(["read", "mark", "release", "back"]), tables, keys, st.just(0)),
    ),
    max_size=40,
)


class Play:
    """Runs steps on a batch and on plain dicts at once."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.model: Model = {"toy_pair": {}, "toy_other": {}}
        self.hot = 0
        self.marks: list[tuple[Mark, Model, int]] = []

    def step(self, what: str, table: str, key: str, value: int) -> None:
        rows = self.model[table]
        if what == "put":
            self.batch.write_row(_PUT[table], (key, value))
            rows[key] = value
        elif what == "add":
            self.batch.write_row(_ADD[table], (key, value))
            rows[key] = rows.get(key, 0) + value
        elif what == "drop":
            self.batch.write_row(_DROP[table], (key,))
            rows.pop(key, None)
        elif what == "read":
            assert dict(self.batch.query(_ALL[table], ())) == rows
        else:
            self.nest(what)

    def nest(self, what: str) -> None:
        if what == "mark":
            self.marks.append((self.batch.mark(), copy.deepcopy(self.model), self.hot))
            self.hot += 1
            self.batch.undo(lambda: setattr(self, "hot", self.hot - 1))
        elif self.marks and what == "release":
            self.batch.release(self.marks.pop()[0])
        elif self.marks:
            mark, model, hot = self.marks.pop()
            self.batch.take_back(mark)
            self.model = model
            assert self.hot == hot


@pytest.mark.parametrize("dialect", list(KERNELS))
def test_any_nesting_of_writes_reads_and_take_backs_equals_a_plain_dict(dialect: str) -> None:
    with KERNELS[dialect]() as kernel:
        run_on(kernel)


def run_on(kernel: Kernel) -> None:
    connection = kernel.decider.connection

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def law(program: list[tuple[str, str, str, int]]) -> None:
        connection.command("BEGIN")
        try:
            play = Play(Batch(connection, {}, 0))
            for step in program:
                play.step(*step)
            while play.marks:
                play.batch.release(play.marks.pop()[0])
            for table, rows in play.model.items():
                assert dict(play.batch.query(_ALL[table], ())) == rows
        finally:
            connection.command("ROLLBACK")

    law()


@pytest.mark.parametrize("dialect", list(KERNELS))
def test_what_an_inner_part_wrote_goes_with_it_though_others_writes_still_waited(dialect: str) -> None:
    with KERNELS[dialect]() as kernel:
        connection = kernel.decider.connection
        connection.command("BEGIN")
        play = Play(Batch(connection, {}, 0))
        for what in ("put", "mark", "mark", "drop", "read", "back", "read"):
            play.step(what, "toy_pair", "a", 7)
        connection.command("ROLLBACK")
