"""History: the duty that writes each sealed day into the archive, and takes up what was interrupted.

A round looks at the log, plans what is ready, and writes it: planned in one commit, noted in another.
Blocks are opened and files are written on a reader's connection, so the decider is never held up by it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from coldgrid.adapters.history_store import HistoryStore, address_of
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.settings import Settings
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import history
from coldgrid.telemetry.history import Planned
from coldgrid.telemetry.history_files import (
    Claims,
    Opened,
    claims_of,
    open_planned,
    path_of,
    sensor_rows,
    write_readings,
    write_sensors,
)

if TYPE_CHECKING:
    from coldgrid.node.parts import Parts

EVERY_S = 30.0
DAYS_AT_ONCE = 50
DONE_WITHIN_S = 60.0
# Entries without a manifest that are looked at again rather than noted: a commit every round would be waste.
FAR_BEHIND = 10_000
CAUSE = "telemetry.history"


class ForeignFile(Exception):
    """A file lies where ours should, with other blocks: two installations share one history."""


def open_store(settings: Settings) -> HistoryStore | None:
    """Open the history that the settings name; None where none is set.

    Raises:
        ValueError: the setting is no address.
        HistoryMissing: pyarrow is not installed.
    """
    if not settings.history:
        return None
    return HistoryStore(address_of(settings.history), settings.history_key)


class Means(msgspec.Struct, frozen=True):
    """What the duty works with. `do` runs a function on the decider; `home`: the origin of the host."""

    reader: Callable[[], AbstractContextManager[Reader]]
    do: Callable[[Callable[[Decider], Any]], Any]
    now: Callable[[], datetime]
    network: str
    home: str


def means_of(parts: Parts, home: str) -> Means:
    """Return what the duty works with in a serving host."""

    def do(work: Callable[[Decider], Any]) -> Any:
        return parts.service.call(work).result(DONE_WITHIN_S)

    return Means(parts.reader, do, parts.host.now, parts.settings.network, home)


class HistoryDuty:
    """Writes the history of a host, round by round."""

    def __init__(self, store: HistoryStore, means: Means) -> None:
        self._store = store
        self._means = means
        self._name = store.address.name
        self._written = 0
        self._left_out = 0

    def round(self) -> str:
        """Write what is ready; return how it stands.

        Raises:
            ForeignFile: see there.
            OSError: the store cannot be reached, or is full.
        """
        self._look()
        with self._means.reader() as db:
            begun = history.unwritten(db, self._name)
            ready = history.ready(db, self._name, self._means.now(), DAYS_AT_ONCE)
        foreign: list[ForeignFile] = []
        for planned in begun:
            self._try(planned, foreign)
        for site_id, day in ready:
            planned = self._take(partial(history.plan, store=self._name, site_id=site_id, day=day))
            if planned.blocks:
                self._try(planned, foreign)
        if foreign:
            raise foreign[0]
        with self._means.reader() as db:
            waiting = history.waiting(db, self._name)
        told = f"{self._written:,} files written, {waiting:,} blocks wait for the end of their day"
        return told + (
            f", {self._left_out:,} are left out: their bytes were changed or are gone"
            if self._left_out
            else ""
        )

    def _look(self) -> None:
        while True:
            with self._means.reader() as db:
                seen = history.look(db, self._name)
            if not seen.blocks and seen.upto - seen.after < FAR_BEHIND:
                return
            self._take(partial(history.note, store=self._name, seen=seen))

    def _try(self, planned: Planned, foreign: list[ForeignFile]) -> None:
        """Write a file; one whose place is taken keeps no other from being written."""
        try:
            self._write(planned)
        except ForeignFile as error:
            foreign.append(error)

    def _write(self, planned: Planned) -> None:
        with self._means.reader() as db:
            opened = open_planned(db, planned, self._means.network)
            put = put_files(self._store, db, planned, opened)
        self._take(partial(note_written, store=self._name, planned=planned, put=put))
        self._written += put.new
        self._left_out += len(put.claims.left_out)

    def _take(self, work: Callable[[Tx], Any]) -> Any:
        return self._means.do(lambda decider: decider.take(self._means.home, work, CAUSE))


class PutFiles(msgspec.Struct, frozen=True):
    """The files of a plan as they lie in the store. `claims`: what they say; `new`: they were not there."""

    claims: Claims
    bytes: int
    sha256: str
    new: bool


def put_files(store: HistoryStore, db: Reader, planned: Planned, opened: Opened) -> PutFiles:
    """Put the two files of a plan into a store, the readings last: where they are, both are.

    A file that is there already stays, where it holds blocks of the plan and no others: it was written
    before an interruption, or before this host's database was put back from a copy. Where a compact file has
    that number, what it holds of the plan is written, and the rest waits for the next number.

    Raises:
        ForeignFile: see there.
    """
    name = path_of(planned, "readings")
    replaced_by = store.replaced_by(name)
    if replaced_by is not None:
        return _in_compact(store, replaced_by, planned, opened.claims)
    rows = sensor_rows(db, opened)
    store.put(path_of(planned, "sensors"), partial(write_sensors, rows, opened.claims))
    put = store.put(name, partial(write_readings, opened))
    claims = opened.claims if put.new else _claims_there(store, name, opened.claims)
    return PutFiles(claims, put.bytes, put.sha256, put.new)


def _in_compact(store: HistoryStore, name: str, planned: Planned, ours: Claims) -> PutFiles:
    """Return what a compact file holds of a plan.

    Raises:
        ForeignFile: it is another installation's.
    """
    claims, put = _claims_of(store, name), store.measure(name)
    if claims is None or (claims.network, claims.site_id) != (ours.network, planned.site_id):
        raise _foreign(store, name)
    held = set(claims.blocks)
    kept = [block for block in ours.blocks if block in held]
    return PutFiles(msgspec.structs.replace(ours, blocks=kept, left_out=[]), put.bytes, put.sha256, new=False)


def note_written(tx: Tx, store: str, planned: Planned, put: PutFiles) -> None:
    """Note that a plan's files lie in the store; what they do not hold goes on waiting."""
    settled = {(one.sensor_id, one.block_no) for one in put.claims.blocks}
    settled |= {(one.sensor_id, one.block_no) for one in put.claims.left_out}
    rest = [one for one in planned.blocks if (one.sensor_id, one.block_no) not in settled]
    readings = sum(block.readings for block in put.claims.blocks)
    history.written(tx, store, planned, history.Size(readings, put.bytes, put.sha256), rest)


def _claims_there(store: HistoryStore, name: str, ours: Claims) -> Claims:
    """Return what a file that was there already says of itself.

    Raises:
        ForeignFile: it holds anything that was not planned.
    """
    claims = _claims_of(store, name)
    if claims is None or claims.network != ours.network or not set(claims.blocks) <= set(ours.blocks):
        raise _foreign(store, name)
    return claims


def _claims_of(store: HistoryStore, name: str) -> Claims | None:
    """Return what a file says of itself; None: it is no history's."""
    from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 (an extra: only when used)

    try:
        with store.open(name) as file:
            return claims_of(parquet.read_schema(file).metadata)
    except ArrowInvalid:
        return None


def _foreign(store: HistoryStore, name: str) -> ForeignFile:
    return ForeignFile(
        f"{store.path(name)} is there with other blocks: give each installation a history of its own "
        "(COLDGRID_HISTORY), or move that file away"
    )
