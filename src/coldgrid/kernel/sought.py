"""Sought: names by which things are found from the beginning or the end of what they are called.

Invariants
    S1  A name is kept in small letters, as it is read and from its end: what begins so is a range of an
        index, on both databases, and no table is read through.
    S2  The range is by bytes, whatever order of letters a PostgreSQL database has.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx

# PostgreSQL orders by the letters of a language unless it is told otherwise; SQLite by bytes (S2).
_Bytewise = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


class Named(msgspec.Struct, frozen=True):
    """A thing of this name. `site_id`: whose it is; "" where it is no site's."""

    thing_id: str
    site_id: str


class Names:
    """The names of one kind of thing, in a table of their own. From projections: `keep` and `drop`."""

    def __init__(self, table_name: str, origin: str, *, renamed: bool = False) -> None:
        """Define the table. `origin`: whose facts fill it; `renamed`: its things may get other names."""
        table = sa.Table(
            table_name,
            metadata,
            sa.Column("site_id", sa.Text, primary_key=True),
            sa.Column("ahead", _Bytewise, primary_key=True),
            sa.Column("thing_id", sa.Text, primary_key=True),
            sa.Column("back", _Bytewise, nullable=False),
            sa.Index(f"ix_{table_name}_ahead", "ahead"),
            sa.Index(f"ix_{table_name}_back", "back"),
            info={"origin": origin},
        )
        if renamed:
            sa.Index(f"ix_{table_name}_thing", table.c.thing_id)
        self._keep = Statement(upsert(table, keys=["site_id", "ahead", "thing_id"]))
        self._drop = Statement(table.delete().where(table.c.thing_id == sa.bindparam("which")))
        self._ahead = _both(table, table.c.ahead)
        self._back = _both(table, table.c.back)

    def keep(self, tx: Tx, thing_id: str, *names: str, site_id: str = "") -> None:
        """Keep what a thing is called."""
        for name in sorted({name.lower() for name in names if name}):
            tx.write(self._keep, thing_id=thing_id, site_id=site_id, ahead=name, back=name[::-1])

    def drop(self, tx: Tx, thing_id: str) -> None:
        """Forget what a thing was called."""
        tx.write(self._drop, which=thing_id)

    def find(self, db: Reader, sites: Collection[str] | None, text: str, most: int) -> list[Named]:
        """Return things of some sites (None: any) with a name that begins or ends so."""
        found: dict[Named, None] = {}
        for statements, sought in ((self._ahead, text.lower()), (self._back, text.lower()[::-1])):
            wanted: dict[str, Any] = {"low": sought, "high": _behind(sought), "most": most}
            if sites is None:
                rows = db.all(statements[0], **wanted)
            else:
                rows = db.all(statements[1], sites=sorted(sites), **wanted) if sites else []
            found.update(dict.fromkeys(rows))
        return list(found)[:most]


def _both(table: sa.Table, column: sa.Column[Any]) -> tuple[Statement[Named], Statement[Named]]:
    wanted = (
        sa.select(table.c.thing_id, table.c.site_id)
        .where(column >= sa.bindparam("low", type_=sa.Text), column < sa.bindparam("high", type_=sa.Text))
        .limit(sa.bindparam("most", type_=sa.Integer))
    )
    own = wanted.where(table.c.site_id.in_(sa.bindparam("sites", expanding=True)))
    # Some sites' names are a range in each of them; in the order of all names others' would be stepped over.
    return Statement(wanted.order_by(column), into=Named), Statement(own, into=Named)


def _behind(text: str) -> str:
    """The first text that comes behind all that begin so."""
    return text[:-1] + chr(min(ord(text[-1]) + 1, 0x10FFFF))
