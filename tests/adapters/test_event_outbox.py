"""The table for Debezium: each entry once, in the commit that appends it, in the log's order."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from coldgrid.kernel import event_outbox, log
from coldgrid.kernel.driver import DriverError
from coldgrid.kernel.tx import Tx
from coldgrid.webkit.events_feed import told
from tests.conftest import Kernel, postgres_kernel, postgres_url, sqlite_kernel
from tests.network.master import small_network


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with postgres_kernel() as made:
        event_outbox.settle(made.decider.connection, on=True)
        try:
            yield made
        finally:
            event_outbox.settle(made.decider.connection, on=False)
            made.decider.connection.command("DROP TABLE IF EXISTS event_outbox")


def rows(columns: str = "*") -> list[Any]:
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        text = f"SELECT {columns} FROM event_outbox ORDER BY position"
        return connection.execute(text.encode()).fetchall()


def test_every_entry_is_a_row_as_the_feed_tells_it(kernel: Kernel) -> None:
    small_network(kernel)
    entries = list(log.read_all(kernel.reader()))
    found = rows("id, aggregatetype, aggregateid, type, origin, payload")
    assert [row[0] for row in found] == [entry.id for entry in entries]
    for row, entry in zip(found, entries, strict=True):
        assert row[1] + "/" + row[2] == entry.stream
        assert row[3:5] == (entry.type, entry.origin)
        payload, expected = msgspec.json.decode(row[5]), msgspec.json.decode(msgspec.json.encode(told(entry)))
        for name in ("occurred_at", "recorded_at"):
            assert msgspec.convert(payload.pop(name), datetime) == getattr(entry, name)
            expected.pop(name)
        assert payload == expected


def test_what_is_taken_back_leaves_no_row_and_what_comes_from_a_node_does(kernel: Kernel) -> None:
    small_network(kernel)
    before = len(rows())
    fact = log.read(kernel.reader(), -1, 1)[0]

    def take(tx: Tx, seqs: range) -> None:
        for seq in seqs:
            log.append_verbatim(tx.batch, msgspec.structs.replace(fact, origin="N1", seq=seq))

    def fail(tx: Tx) -> None:
        take(tx, range(5))
        tx.batch.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kernel.decider.take("N1", fail, "test")
    assert len(rows()) == before
    kernel.decider.take("N1", lambda tx: take(tx, range(300)), "test")
    assert [row[0] for row in rows("id")[before:]] == [f"N1/1/{seq}" for seq in range(300)]


def test_switched_off_no_row_is_added_and_none_is_lost(kernel: Kernel) -> None:
    small_network(kernel)
    before = rows()
    event_outbox.settle(kernel.decider.connection, on=False)
    fact = log.read(kernel.reader(), -1, 1)[0]
    entry = msgspec.structs.replace(fact, origin="N1", seq=0)
    kernel.decider.take("N1", lambda tx: log.append_verbatim(tx.batch, entry), "test")
    assert rows() == before
    event_outbox.settle(kernel.decider.connection, on=True)
    event_outbox.settle(kernel.decider.connection, on=True)


def test_settling_it_again_waits_for_no_reader(kernel: Kernel) -> None:
    """A dump holds the log open for hours; a host that starts meanwhile must not wait for it."""
    small_network(kernel)
    with psycopg.connect(postgres_url()) as reader:
        reader.execute("SELECT count(*) FROM event_log")
        kernel.decider.connection.command("SET lock_timeout = '2s'")
        event_outbox.settle(kernel.decider.connection, on=True)
        with pytest.raises(DriverError, match="lock timeout"):
            event_outbox.settle(kernel.decider.connection, on=False)
    event_outbox.settle(kernel.decider.connection, on=False)
    with psycopg.connect(postgres_url()) as reader:
        reader.execute("SELECT count(*) FROM event_log")
        event_outbox.settle(kernel.decider.connection, on=False)
        event_outbox.settle(kernel.decider.connection, on=True)


def test_old_rows_are_deleted(kernel: Kernel) -> None:
    small_network(kernel)
    kernel.decider.connection.command(
        "UPDATE event_outbox SET written_at = now() - interval '73 hours' WHERE position < 3"
    )
    before = len(rows())
    event_outbox.trim(kernel.decider.connection)
    assert [row[0] for row in rows("position")] == list(range(3, before))


def test_the_connector_of_the_documents_asks_for_columns_that_are_there(kernel: Kernel) -> None:
    """Debezium's router takes no plain number for a message's time, and expanding drops nulls."""
    text = (Path(__file__).parents[2] / "docs/stream.md").read_text()
    [found] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    config = json.loads(found)
    with psycopg.connect(postgres_url()) as connection:
        shown = connection.execute("SELECT * FROM event_outbox").description or ()
    columns = {column.name for column in shown}
    placed = config["transforms.outbox.table.fields.additional.placement"].split(",")
    assert {"id", "aggregatetype", "aggregateid", "type", "payload"} <= columns
    assert {one.split(":")[0] for one in placed} <= columns
    assert config["value.converter"].endswith("StringConverter")
    unwanted = {"table.field.event.timestamp", "table.expand.json.payload"}
    assert not {f"transforms.outbox.{name}" for name in unwanted} & set(config)
    assert f"CREATE PUBLICATION {config['publication.name']} FOR TABLE event_outbox;" in text


def test_a_file_has_no_such_table() -> None:
    with sqlite_kernel() as kernel:
        event_outbox.settle(kernel.decider.connection, on=False)
        with pytest.raises(event_outbox.OutboxNeedsPostgres, match="needs PostgreSQL"):
            event_outbox.settle(kernel.decider.connection, on=True)


def test_the_write_ahead_log_has_the_rows_in_order(kernel: Kernel) -> None:
    """What Debezium follows. Where the server keeps no logical log, the rows themselves are looked at."""
    slot = f"cold_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        [level] = connection.execute("SHOW wal_level").fetchone() or ("",)
        if level == "logical":
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", (slot,))
        try:
            small_network(kernel)
            expected = [entry.id for entry in log.read_all(kernel.reader())]
            if level != "logical":
                assert [row[0] for row in rows("id")] == expected
                return
            # Tests commit asynchronously; one synchronous commit makes all before it readable.
            connection.execute("SET synchronous_commit = on")
            connection.execute("SELECT pg_logical_emit_message(true, 'test', 'flush')")
            changes = connection.execute(
                "SELECT data FROM pg_logical_slot_get_changes(%s, NULL, NULL)", (slot,)
            ).fetchall()
            added = [data for (data,) in changes if "event_outbox: INSERT" in data]
            assert [data.split(" id[text]:'")[1].split("'")[0] for data in added] == expected
            # Each commit has the entry and its row.
            commits = "\n".join(data for (data,) in changes).split("COMMIT")
            for commit in commits:
                assert commit.count("event_log: INSERT") == commit.count("event_outbox: INSERT")
        finally:
            if level == "logical":
                connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
