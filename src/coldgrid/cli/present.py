"""Commands that work on a database want one that is there: made by mistake, an empty one looks sound."""

from __future__ import annotations

from contextlib import closing

from coldgrid.kernel.database import SqliteDatabase, open_database
from coldgrid.kernel.rejections import NotFound
from coldgrid.kernel.settings import Settings


class NoDatabase(NotFound):
    """There is no database at this address."""

    todo = "Name it: --database FILE at a tower, --data FOLDER at a node; or go to its folder."


def present(settings: Settings) -> Settings:
    """Return the settings whose database is there; a server's is asked when it is opened.

    Raises:
        NoDatabase: there is no such file; none is made.
    """
    with closing(open_database(settings.database)) as database:
        if isinstance(database, SqliteDatabase) and not database.path.is_file():
            raise NoDatabase(database=str(database.path))
    return settings
