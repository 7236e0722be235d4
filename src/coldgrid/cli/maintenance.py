"""Maintenance on a stopped database: rebuild, export, and what the settings are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from coldgrid.cli.output import Output
from coldgrid.cli.present import present
from coldgrid.kernel import log, rebuild, set_aside
from coldgrid.kernel.authorize import AllowAll
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.settings import load_settings, setting_docs
from coldgrid.kernel.tables import EPOCH
from coldgrid.node.host import LiveHost
from coldgrid.node.restore import begun_anew
from coldgrid.telemetry.export import csv_parts, write_parquet
from coldgrid.telemetry.sensors import list_sensors
from coldgrid.tower import recovery
from coldgrid.tower.rooms import load_rooms


def rebuild_database(environment: Mapping[str, str], database: str | None, out: Output) -> None:
    """Rebuild the projections and say where they differed from the live ones."""
    settings = present(load_settings(environment, database=database))
    load_rooms()
    decider = Decider(open_database(settings.database), LiveHost(AllowAll()))
    try:
        found = rebuild.rebuild(decider, lambda done: out.progress(f"{done:,} entries replayed"))
    finally:
        decider.close()
    if out.json:
        out.report(_Differences(differences=found))
    elif found:
        out.table(
            ["table", "only live", "only rebuilt"], [(d.table, d.only_live, d.only_rebuilt) for d in found]
        )
    else:
        out.say("[ok]●[/] the rebuilt tables equal the live ones")


def recover_tower(environment: Mapping[str, str], database: str | None, out: Output) -> None:
    """Open the next epochs of a tower that was put back, and say what a person has to look at."""
    settings = present(load_settings(environment, database=database))
    load_rooms()
    decider = Decider(open_database(settings.database), LiveHost(AllowAll()))
    try:
        done = recovery.recover(decider)
    finally:
        decider.close()
    begun_anew(settings.database)
    for origin, epoch in done.epochs.items():
        out.say(f"[ok]●[/] {origin} goes on in epoch {epoch}")
    out.say(f"{done.messages:,} messages that may have been sent are left to a person, on the health page")
    out.say(
        "A site that was told more than this copy has is in quarantine when it comes: keep the tower's copy"
    )


class _Differences(msgspec.Struct):
    differences: list[rebuild.Difference]


def export_history(environment: Mapping[str, str], database: str | None, target: Path, out: Output) -> None:
    """Write every entry as one JSON line, its body as an object, also those set aside, and the readings."""
    settings = present(load_settings(environment, database=database))
    load_rooms()
    target.mkdir(parents=True, exist_ok=True)
    with closing(open_database(settings.database)) as opened, opened.reader() as connection:
        reads = Reads(connection)
        count = _export_events(reads, target / "events.jsonl")
        out.say(f"[ok]●[/] {count:,} events in {target / 'events.jsonl'}")
        aside = _export_set_aside(reads, target / "set_aside.jsonl")
        out.say(f"[ok]●[/] {aside:,} entries that were set aside in {target / 'set_aside.jsonl'}")
        sensors = list_sensors(reads)
        span = _span(reads)
        for sensor in sensors:
            _export_readings(reads, sensor.sensor_id, span, target / "readings")
        out.say(f"[ok]●[/] readings of {len(sensors):,} sensors in {target / 'readings'}")


def _export_events(reads: Reads, path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for entry in log.read_all(reads):
            file.write(msgspec.json.encode(_line(entry)) + b"\n")
            count += 1
    return count


def _line(entry: Entry) -> dict[str, Any]:
    return msgspec.structs.asdict(entry) | {"body": msgspec.Raw(entry.body), "leaf": entry.leaf.hex()}


def _export_set_aside(reads: Reads, path: Path) -> int:
    """Entries of copies of logs that a person decided against: when each was set aside, why, and itself."""
    kept = set_aside.everything(reads)
    with path.open("wb") as file:
        for one in kept:
            line = {"set_aside_at": one.at, "why": one.why, "entry": _line(one.entry)}
            file.write(msgspec.json.encode(line) + b"\n")
    return len(kept)


def _span(reads: Reads) -> tuple[datetime, datetime]:
    """From a year before the log's first entry, for what loggers brought along, to a day after its last."""
    first = log.read(reads, -1, 1)
    last = log.read(reads, log.last_position(reads) - 1, 1)
    if not first or not last:
        return EPOCH, EPOCH
    return first[0].recorded_at - timedelta(days=366), last[0].recorded_at + timedelta(days=1)


def _export_readings(reads: Reads, sensor_id: str, span: tuple[datetime, datetime], folder: Path) -> None:
    """Parquet where pyarrow is installed, else CSV: the same columns."""
    folder.mkdir(exist_ok=True)
    if find_spec("pyarrow") is not None:
        with (folder / f"{sensor_id}.parquet").open("wb") as sink:
            write_parquet(reads, [sensor_id], *span, sink)
        return
    with (folder / f"{sensor_id}.csv").open("w") as file:
        file.writelines(csv_parts(reads, [sensor_id], *span))


def show_settings(environment: Mapping[str, str], out: Output) -> None:
    """List the settings."""
    settings = load_settings(environment)
    rows = []
    for name, type_, _, told in setting_docs():
        value = getattr(settings, name.removeprefix("COLDGRID_").lower())
        rows.append((name, type_, told.shown(value), told.text))
    out.table(["setting", "type", "value", "what it is for"], rows)
