"""Schema: the tables that this release makes, and how those of a database that an older one made differ.

Invariants
    S1  A database says which release made its tables and from which definitions (`Stamp`). One that this
        release did not make as it is now is brought up before it is decided on, never used as it is.
    S2  Projections are disposable: one whose definition changed is made anew from the log. Service tables
        only gain columns: what they hold is in no log.
    S3  A database of a newer release is refused: its tables may mean what this release does not know.
"""

from __future__ import annotations

import re
from hashlib import sha256

import msgspec
import sqlalchemy as sa

from coldgrid.kernel import log
from coldgrid.kernel.driver import Connection, schema_statements
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.statements import POSTGRESQL, SQLITE, Statement, upsert
from coldgrid.kernel.tables import is_projection, metadata

RELEASE = "0.1.0"
LOG = "event_log"
STAMP = "stamp"

kernel_schema = sa.Table(
    "kernel_schema",
    metadata,
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("told", sa.Text, nullable=False),
    info={"service": True},
)
_PUT = Statement(upsert(kernel_schema, keys=["what"], set_=["told"]))
_GET = Statement(sa.select(kernel_schema.c.told).where(kernel_schema.c.what == sa.bindparam("what")))
_master = sa.table("sqlite_master", sa.column("name"), sa.column("type"))
_info = sa.func.pragma_table_info(_master.c.name).table_valued("name")
_columns = sa.table(
    "columns",
    *(sa.column(name) for name in ("table_schema", "table_name", "column_name")),
    schema="information_schema",
)
_PRESENT = {
    SQLITE: Statement(
        sa.select(_master.c.name, _info.c.name)
        .select_from(_master.join(_info, sa.true()))
        .where(_master.c.type == sa.literal_column("'table'"))
    ),
    POSTGRESQL: Statement(
        sa.select(_columns.c.table_name, _columns.c.column_name).where(
            _columns.c.table_schema == sa.func.current_schema()
        )
    ),
}


class Stamp(msgspec.Struct, frozen=True):
    """Which release made a database's tables, and a hash of each table's definition."""

    release: str
    tables: dict[str, str]


class Gap(msgspec.Struct, frozen=True):
    """A table whose columns are not those of this release."""

    table: str
    projection: bool
    missing: list[str]
    beyond: list[str]


class Needed(msgspec.Struct, frozen=True):
    """What a database needs to be one of this release. `made_by`: the release before; empty: not known.

    `changed`: tables whose definition is new or another one; `gaps`: those that lack columns.
    """

    made_by: str
    changed: list[str]
    gaps: list[Gap]


class DatabaseIsOlder(Conflict):
    """This database was made by an older release; it is not used as it is."""

    todo = "Run `coldgrid upgrade`; serving does it by itself, after a copy."


class DatabaseIsNewer(Conflict):
    """This database was made by a newer release than this one."""

    todo = "Install that release, or put back the copy that was made before the upgrade."


class NotUpgradable(Conflict):
    """This database lacks what this release cannot add by itself."""

    todo = "Upgrade to the releases between first, one after the other."


def make(connection: Connection) -> None:
    """Make what tables there are not. Where the log is empty, it is stamped as made by this release.

    Raises:
        DatabaseIsOlder, DatabaseIsNewer: it was made by another release, and needs `bring_up` or a newer one.
    """
    there = present(connection)
    empty = _is_empty(connection, there)
    if not empty:
        check_not_newer(find_stamp(connection, there))
        lacking = [gap.table for gap in gaps(there) if gap.missing]
        if lacking:
            raise DatabaseIsOlder(tables=", ".join(lacking))
    texts = schema_statements(list(metadata.sorted_tables), connection.dialect)
    # A server takes them all in one round trip: a worker that takes over waits for them.
    for text in [";\n".join(texts)] if connection.dialect == POSTGRESQL else texts:
        connection.command(text)
    if empty:
        put_stamp(connection)


def _is_empty(connection: Connection, there: dict[str, set[str]]) -> bool:
    """Tell whether there is nothing to project: then it does not matter what the tables were."""
    return LOG not in there or log.last_position(Reads(connection)) < 0


def present(connection: Connection) -> dict[str, set[str]]:
    """Return the columns of each table that there is."""
    found: dict[str, set[str]] = {}
    for table, column in connection.query(_PRESENT[connection.dialect], ()):
        found.setdefault(table, set()).add(column)
    return found


def gaps(there: dict[str, set[str]]) -> list[Gap]:
    """Return the tables whose columns differ from this release's; those that are missing whole are none."""
    found = []
    for table in metadata.sorted_tables:
        columns = {str(column.name) for column in table.columns}
        if table.name in there and there[table.name] != columns:
            missing, beyond = columns - there[table.name], there[table.name] - columns
            found.append(Gap(str(table.name), is_projection(table), sorted(missing), sorted(beyond)))
    return found


def needed(connection: Connection) -> Needed | None:
    """Return what a database needs; None where it is new, or as this release makes it.

    Raises:
        DatabaseIsNewer: a newer release made it (S3).
    """
    there = present(connection)
    if _is_empty(connection, there):
        return None
    stamp = find_stamp(connection, there)
    check_not_newer(stamp)
    found = gaps(there)
    hashes = definitions()
    if stamp is None:
        return Needed("", sorted(hashes), found)
    changed = sorted(name for name, hash_ in hashes.items() if stamp.tables.get(name) != hash_)
    if not changed and not found and stamp.release == RELEASE:
        return None
    return Needed(stamp.release, changed, found)


def check_not_newer(stamp: Stamp | None) -> None:
    """Demand that no newer release made the database.

    Raises:
        DatabaseIsNewer: one did.
    """
    if stamp is not None and numbers_of(stamp.release) > numbers_of(RELEASE):
        raise DatabaseIsNewer(made_by=stamp.release, this=RELEASE)


def prepare(connection: Connection, need: Needed) -> None:
    """Take away projections that changed, and give service tables their new columns (S2).

    Nothing is stamped: until the projections are made anew it needs the same again.

    Raises:
        NotUpgradable: a service table lacks a column that has no value for rows that are there.
    """
    added = []
    for gap in need.gaps:
        table = metadata.tables[gap.table]
        if gap.projection:
            continue
        for name in gap.missing:
            column = table.columns[name]
            if not column.nullable and column.server_default is None:
                raise NotUpgradable(table=gap.table, column=name, made_by=need.made_by or "unknown")
            added.append((gap.table, column))
    for table_name, column in added:
        connection.command(f'ALTER TABLE "{table_name}" ADD COLUMN {_definition(column, connection.dialect)}')
    for gap in need.gaps:
        if gap.projection:
            connection.command(f'DROP TABLE "{gap.table}"')


def _definition(column: sa.Column[object], dialect: str) -> str:
    """Return a column as CREATE TABLE would say it."""
    default = column.server_default
    given = default.arg if isinstance(default, sa.DefaultClause) else None
    same = sa.Column(column.name, column.type, nullable=column.nullable, server_default=given)  # type: ignore[arg-type]
    alone = sa.Table("alone", sa.MetaData(), sa.Column("key", sa.Text, primary_key=True), same)
    text = schema_statements([alone], dialect)[0]
    lines = (line.strip().rstrip(", ") for line in text.splitlines())
    return next(line for line in lines if line.startswith(column.name))


def definitions() -> dict[str, str]:
    """Return a hash of the definition of each table of this release, the same for every backend."""
    return {
        str(table.name): sha256("\n".join(schema_statements([table], SQLITE)).encode()).hexdigest()[:16]
        for table in metadata.sorted_tables
    }


def find_stamp(connection: Connection, there: dict[str, set[str]]) -> Stamp | None:
    """Return what a database says of itself; None where it was made before databases said so."""
    if kernel_schema.name not in there:
        return None
    rows = connection.query(_GET, _GET.bind(connection.dialect, {"what": STAMP}))
    return msgspec.json.decode(rows[0][0], type=Stamp) if rows else None


def put_stamp(connection: Connection) -> None:
    """Say that this release made the tables as they are now."""
    told = msgspec.json.encode(Stamp(RELEASE, definitions())).decode()
    connection.run_many(_PUT, [_PUT.bind(connection.dialect, {"what": STAMP, "told": told})])


def numbers_of(release: str) -> tuple[int, ...]:
    """Return a release's numbers, to compare; what is none sorts before all."""
    found = re.match(r"\d+(\.\d+)*", release)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
