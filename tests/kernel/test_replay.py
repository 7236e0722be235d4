"""What a rebuild, or a batch that gathers, adds up in memory leaves the rows that single writes leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldgrid.kernel import held_rows
from coldgrid.kernel.driver import Connection
from coldgrid.kernel.gathering import GatheringBatch
from coldgrid.kernel.replay import ReplayBatch
from coldgrid.kernel.statements import ROWS_IN_BLOCK, Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.writes import Write, write_of
from tests.conftest import KERNELS, Kernel

part = sa.Table(
    "toy_part",
    metadata,
    sa.Column("k", sa.Text, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("place", sa.Text),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("grams", sa.BigInteger),
    sa.Column("gone", sa.BigInteger),
    sa.Index("ix_toy_part_place", "place"),
    info={"service": True},
)
_C = part.c
_KEY = (_C.k == sa.bindparam("of_k"), _C.n == sa.bindparam("of_n"))
_OPEN = (_C.k == sa.bindparam("of_k"), _C.gone.is_(None))
_MORE: sa.BindParameter[int] = sa.bindparam("more")
_PUT = upsert(part, keys=["k", "n"], set_=["place", "gone"], add=["qty", "grams"])

STATEMENTS: dict[str, Statement[Any]] = {
    "insert": Statement(part.insert()),
    "put": Statement(_PUT),
    "keep": Statement(upsert(part, keys=["k", "n"])),
    "add": Statement(part.update().where(*_KEY).values(qty=_C.qty + _MORE, grams=_C.grams - _MORE)),
    "resize": Statement(part.update().where(*_OPEN).values(qty=_C.qty + _MORE)),
    "close": Statement(part.update().where(*_OPEN).values(gone=sa.bindparam("at"), grams=sa.null())),
    "fix": Statement(part.update().where(*_KEY).values(qty=0)),
    "move": Statement(
        part.update().where(_C.place == sa.bindparam("from_place")).values(place=sa.bindparam("to_place"))
    ),
    "drop": Statement(part.delete().where(_C.place == sa.bindparam("from_place"))),
    "drop one": Statement(part.delete().where(*_KEY)),
    "cap": Statement(part.update().where(_C.qty > sa.bindparam("most")).values(qty=1)),
}
_ALL = Statement(sa.select(part).order_by(_C.k, _C.n))

Step = tuple[str, dict[str, Any]]
Seen = list[list[tuple[Any, ...]]]
places, amounts = st.sampled_from(["p", "q", None]), st.integers(0, 9)
values = st.fixed_dictionaries(
    {
        "k": st.sampled_from("ab"),
        "n": st.integers(0, 2),
        "place": places,
        "qty": amounts,
        "grams": st.none() | amounts,
        "gone": st.none() | amounts,
        "to_place": places,
        "more": amounts,
    }
)
programs = st.lists(st.tuples(st.sampled_from([*STATEMENTS, "read", "flush"]), values), max_size=40)


def row_of(name: str, values: dict[str, Any], dialect: str) -> tuple[Any, ...]:
    given_ = {"of_k": values["k"], "of_n": values["n"], "from_place": values["place"], "at": values["more"]}
    given_ |= values | {"most": values["more"]}
    fixed = {"qty"} if name in ("fix", "cap") else set()
    statement = STATEMENTS[name]
    return statement.bind(dialect, {name: given_[name] for name in statement.names if name not in fixed})


def everything(run: Callable[[Statement[Any], tuple[()]], list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in run(_ALL, ())), key=repr)


def one_by_one(connection: Connection, program: list[Step]) -> tuple[list[Step], Seen]:
    """Run each write at once; leave out the inserts of rows that are there."""
    kept, seen = [], []
    for name, values in program:
        rows = everything(connection.query)
        if name == "insert" and (values["k"], values["n"]) in {row[:2] for row in rows}:
            continue
        kept.append((name, values))
        if name == "read":
            seen.append(rows)
        elif name in STATEMENTS:
            connection.run_many(STATEMENTS[name], [row_of(name, values, connection.dialect)])
    return kept, [*seen, everything(connection.query)]


def replayed(connection: Connection, program: list[Step]) -> Seen:
    batch, seen = ReplayBatch(connection), []
    for name, values in program:
        if name == "read":
            seen.append(everything(batch.query))
        elif name == "flush":
            batch.flush_large()
        else:
            batch.write_row(STATEMENTS[name], row_of(name, values, connection.dialect))
    return [*seen, everything(batch.query)]


def gathered(connection: Connection, program: list[Step]) -> Seen:
    """Do some of the steps, so that the table has rows, then the others gathered."""
    batch, seen = GatheringBatch(connection, {}, 0), []
    for place, (name, values) in enumerate(program):
        if name == "read":
            seen.append(everything(batch.query))
        elif name == "flush":
            batch.flush()
        elif place < len(program) // 3:
            batch.flush()
            connection.run_many(STATEMENTS[name], [row_of(name, values, connection.dialect)])
        else:
            batch.write_row(STATEMENTS[name], row_of(name, values, connection.dialect))
    return [*seen, everything(batch.query)]


@pytest.mark.parametrize("dialect", list(KERNELS))
@pytest.mark.parametrize("held_max", [0, 3, 1000])
def test_a_replay_leaves_the_rows_that_single_writes_leave(
    dialect: str, held_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_rows, "ROWS_HELD_MAX", held_max)
    monkeypatch.setattr(held_rows, "FINAL_ROWS_HELD_MAX", held_max)
    with KERNELS[dialect]() as kernel:
        run_on(kernel.decider.connection)


def run_on(connection: Connection) -> None:
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(programs)
    def law(program: list[Step]) -> None:
        connection.command("BEGIN")
        try:
            program, wanted = one_by_one(connection, program)
            connection.command("ROLLBACK")
            connection.command("BEGIN")
            assert replayed(connection, program) == wanted
            connection.command("ROLLBACK")
            connection.command("BEGIN")
            assert gathered(connection, program) == wanted
        finally:
            connection.command("ROLLBACK")

    law()


def test_what_a_write_does_is_read_off_its_construct() -> None:
    known = {name: write_of(statement) for name, statement in STATEMENTS.items()}
    assert known["insert"] == Write(kind="insert")
    assert known["put"] == Write(
        kind="upsert", match=((0, 0), (1, 1)), set_=((2, 2), (5, 5)), plus=((3, 3), (4, 4))
    )
    assert known["keep"] == Write(kind="upsert", match=((0, 0), (1, 1)))
    assert known["resize"] == Write(kind="update", match=((0, 1),), empty=(5,), plus=((3, 0),))
    assert known["close"] == Write(kind="update", match=((0, 1),), empty=(5,), set_=((5, 0), (4, -1)))
    assert known["drop"] == Write(kind="delete", match=((2, 0),))


def test_a_write_that_only_the_database_can_tell_is_left_to_it() -> None:
    assert write_of(STATEMENTS["cap"]) is None
    capped = part.update().where(_C.k == sa.bindparam("of_k")).values(qty=sa.func.abs(_C.qty))
    assert write_of(Statement(capped)) is None
    assert write_of(Statement(part.delete().where(sa.or_(_C.k == "a", _C.k == "b")))) is None


def test_a_block_of_rows_is_inserted_like_rows_one_by_one(kernel: Kernel) -> None:
    connection = kernel.decider.connection
    for count in (1, ROWS_IN_BLOCK, 2 * ROWS_IN_BLOCK, 2 * ROWS_IN_BLOCK + 7):
        rows = [("a", n, None, n, None, None) for n in range(count)]
        connection.command("BEGIN")
        connection.run_many(STATEMENTS["insert"], rows)
        connection.run_many(STATEMENTS["put"], rows)
        assert [row[3] for row in connection.query(_ALL, ())] == [2 * n for n in range(count)]
        connection.command("ROLLBACK")
