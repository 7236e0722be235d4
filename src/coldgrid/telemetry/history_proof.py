"""History proof: whether a file of the archive says what was sealed, and whether the log vouches for that.

Invariants
    P1  A block is proven when sealing the file's rows again gives the bytes whose hash the log's manifest
        names, and that manifest's leaf covers what it says.
    P2  A row that belongs to no block that is named, and a block that is named and not there, are findings.
    P3  What cannot be compared is never called proven.

A newer release may compress the same readings to other bytes; then the block that is held here decides, once
its own bytes match the hash.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from coldgrid.kernel import log
from coldgrid.kernel.events import decode, envelope_bytes, leaf_hash
from coldgrid.kernel.reading import Reader
from coldgrid.telemetry.archive import block_rows
from coldgrid.telemetry.blocks import Readings, block_hash, decode_block, encode_block
from coldgrid.telemetry.history_files import Claims, VouchedBlock, arrow, claims_of, date_of, lasts_us
from coldgrid.telemetry.manifests import BlocksManifested
from coldgrid.telemetry.quantities import E4, Ints


class Verdict(msgspec.Struct, frozen=True):
    """What was found of a file: `proven` of its `blocks` are proven by the log; problems, a sentence each."""

    ok: bool
    site_id: str
    date: str
    file_no: int
    readings: int
    blocks: int
    proven: int
    problems: list[str]


class NoHistoryFile(ValueError):
    """The file is none that Coldgrid wrote into a history."""


def verify_file(db: Reader | None, source: Any) -> Verdict:
    """Hold a file of readings against the log; without a log only against what it says of itself.

    Args:
        db: A reader of the log, or None.
        source: A path, or an open binary file.

    Raises:
        NoHistoryFile: it is no Parquet file with Coldgrid's metadata.
        HistoryMissing: pyarrow is not installed.
    """
    pa, pq = arrow()
    try:
        file = pq.ParquetFile(source)
        claims = claims_of(file.schema_arrow.metadata)
        table = file.read() if claims is not None else None
    except (pa.ArrowInvalid, OSError) as error:
        raise NoHistoryFile(f"no Parquet file can be read here: {error}") from error
    if claims is None or table is None:
        raise NoHistoryFile("the file says nothing of blocks: it was not written by a history")
    there = blocks_in(table)
    problems, proven = [], 0
    for block in claims.blocks:
        problem = _problem(db, claims, block, there.pop((block.sensor_id, block.block_no), None))
        if problem:
            problems.append(f"{block.sensor_id}, block {block.block_no}: {problem}")
        else:
            proven += db is not None
    problems += [f"{sensor}, block {number}: the file names no such block" for sensor, number in there]
    if not _sorted(table):
        problems.append("the rows are not in the order of sensor and time")
    elif not _lasting(table):
        problems.append("lasts_us is not what follows from the rows")
    return Verdict(
        not problems,
        claims.site_id,
        date_of(claims.day).isoformat(),
        claims.file_no,
        len(table),
        len(claims.blocks),
        proven,
        problems,
    )


def blocks_in(table: Any) -> dict[tuple[str, int], Readings]:
    """Return the readings of a table by sensor and version."""
    if not len(table):
        return {}
    encoded = table.column("sensor_id").unify_dictionaries().combine_chunks()
    names, index = encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
    version = table.column("version").to_numpy().astype(np.int64)
    at_us = _at_us(table)
    value_e4 = np.rint(table.column("value").to_numpy() * E4).astype(np.int64)
    bad = ~table.column("good").to_numpy().astype(np.bool_)
    order = np.lexsort((np.arange(len(index)), version, index))
    index, version = index[order], version[order]
    heads = np.flatnonzero(
        np.append(True, (index[1:] != index[:-1]) | (version[1:] != version[:-1]))
    ).tolist()
    found = {}
    for start, end in zip(heads, [*heads[1:], len(order)], strict=True):
        rows = order[start:end]
        found[names[index[start]], int(version[start])] = Readings(at_us[rows], value_e4[rows], bad[rows])
    return found


def _sorted(table: Any) -> bool:
    names = table.column("sensor_id").unify_dictionaries().combine_chunks()
    rank = np.argsort(np.argsort(np.array(names.dictionary.to_pylist(), dtype=object)))
    sensor = rank[names.indices.to_numpy()] if len(table) else np.zeros(0)
    at = table.column("measured_at").to_numpy()
    return bool(((sensor[1:] > sensor[:-1]) | ((sensor[1:] == sensor[:-1]) & (at[1:] >= at[:-1]))).all())


def _lasting(table: Any) -> bool:
    """Tell whether `lasts_us` of a sorted table is what follows from its other columns."""
    sensor = table.column("sensor_id").unify_dictionaries().combine_chunks().indices.to_numpy()
    at_us = _at_us(table)
    bad = ~table.column("good").to_numpy().astype(np.bool_)
    told = table.column("lasts_us").fill_null(-1).to_numpy()
    heads = [0, *(np.flatnonzero(sensor[1:] != sensor[:-1]) + 1).tolist(), len(table)]
    for start, end in pairwise(heads):
        if start == end:
            continue
        found, none = lasts_us(Readings(at_us[start:end], at_us[start:end], bad[start:end]))
        if not np.array_equal(told[start:end], np.where(none, -1, found)):
            return False
    return True


def _at_us(table: Any) -> Ints:
    found: Ints = table.column("measured_at").to_numpy().astype("datetime64[us]").astype(np.int64)
    return found


def _problem(db: Reader | None, claims: Claims, block: VouchedBlock, readings: Readings | None) -> str:
    """Return what is wrong with a block; empty: nothing (P1)."""
    if readings is None:
        return "its rows are missing"
    try:
        same = block_hash(encode_block(readings)) == block.hash
    except ValueError as error:
        return f"its rows are no block: {error}"
    if db is None:
        return "" if same else "its rows are not those that were sealed"
    vouched = _vouched(db, claims, block)
    if vouched or same:
        return vouched
    held = next(
        (row for row in block_rows(db, block.sensor_id, claims.day, claims.day) if row.hash == block.hash),
        None,
    )
    if held is None or block_hash(held.body) != block.hash:
        return "its rows are not those that were sealed, or this release seals them otherwise"
    sealed = decode_block(held.body)
    equal = all(
        np.array_equal(one, other)
        for one, other in (
            (sealed.at_us, readings.at_us),
            (sealed.value_e4, readings.value_e4),
            (sealed.bad, readings.bad),
        )
    )
    return "" if equal else "its rows are not those that were sealed"


def _vouched(db: Reader, claims: Claims, block: VouchedBlock) -> str:
    """Return why the log does not vouch for a block; empty: it does."""
    entry = log.find(db, block.manifest)
    if entry is None:
        return f"the log has no entry {block.manifest}"
    if leaf_hash(envelope_bytes(entry)) != entry.leaf:
        return f"the entry {block.manifest} was changed"
    event = decode(entry.type, entry.body)
    if not isinstance(event, BlocksManifested) or event.site_id != claims.site_id:
        return f"the entry {block.manifest} is no manifest of {claims.site_id}"
    named = {(one.sensor_id, one.day, one.block_no, one.hash) for one in event.blocks}
    if (block.sensor_id, claims.day, block.block_no, block.hash) not in named:
        return f"the manifest {block.manifest} does not name it"
    return ""
