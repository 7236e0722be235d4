"""Maintenance on a stopped database: rebuild, export, and what the settings are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from coldgrid.cli.output import Output
from coldgrid.kernel import log, rebuild
from coldgrid.kernel.authorize import AllowAll
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.settings import load_settings, setting_docs
from coldgrid.tower.host import LiveHost
from coldgrid.tower.rooms import load_rooms


def rebuild_database(environment: Mapping[str, str], database: str | None, out: Output) -> None:
    """Rebuild the projections and say where they differed from the live ones."""
    settings = load_settings(environment, database=database)
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


class _Differences(msgspec.Struct):
    differences: list[rebuild.Difference]


def export_history(environment: Mapping[str, str], database: str | None, target: Path, out: Output) -> None:
    """Write every entry as one JSON line, with its body as an object."""
    settings = load_settings(environment, database=database)
    load_rooms()
    target.mkdir(parents=True, exist_ok=True)
    with (
        open_database(settings.database).reader() as connection,
        (target / "events.jsonl").open("wb") as file,
    ):
        count = 0
        for entry in log.read_all(Reads(connection)):
            line = msgspec.structs.asdict(entry) | {"body": msgspec.Raw(entry.body), "leaf": entry.leaf.hex()}
            file.write(msgspec.json.encode(line) + b"\n")
            count += 1
    out.say(f"[ok]●[/] {count:,} events in {target / 'events.jsonl'}")


def show_settings(environment: Mapping[str, str], out: Output) -> None:
    """List the settings."""
    settings = load_settings(environment)
    rows = []
    for name, type_, _, told in setting_docs():
        value = getattr(settings, name.removeprefix("COLDGRID_").lower())
        rows.append((name, type_, "(set)" if told.secret and value else value, told.text))
    out.table(["setting", "type", "value", "what it is for"], rows)
