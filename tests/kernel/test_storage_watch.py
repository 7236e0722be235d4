"""Whether the storage refuses what is written: told at once, and not taken back by a small write."""

from __future__ import annotations

from datetime import datetime, timedelta

from coldgrid.kernel.rejections import Conflict, StorageFailed, StorageFull
from coldgrid.kernel.storage_watch import HOLDS, StorageWatch
from tests.conftest import T0

SECOND = timedelta(seconds=1)


def told(watch: StorageWatch) -> tuple[datetime | None, bool]:
    return watch.since, watch.is_full


def test_a_refusal_of_the_storage_is_told_with_its_beginning() -> None:
    watch = StorageWatch()
    watch.see(["done", Conflict()], T0)
    assert told(watch)[0] is None
    watch.see([StorageFull(), "done"], T0 + SECOND)
    watch.see([StorageFull()], T0 + 9 * SECOND)
    assert told(watch) == (T0 + SECOND, True)
    watch.see([StorageFailed()], T0 + 10 * SECOND)
    assert told(watch) == (T0 + SECOND, False)


def test_it_is_over_when_something_is_written_and_nothing_was_refused_for_a_while() -> None:
    watch = StorageWatch()
    watch.see([StorageFull()], T0)
    watch.see(["small"], T0 + HOLDS)
    assert told(watch)[0] == T0
    watch.see(["done"], T0 + HOLDS + SECOND)
    assert told(watch)[0] is None
    watch.see([StorageFull()], T0 + 5 * HOLDS)
    assert told(watch)[0] == T0 + 5 * HOLDS
