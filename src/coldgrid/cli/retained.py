"""`coldgrid retention`: what went and what proves it, what would go, and letting it go now."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from coldgrid.cli.output import Output, words
from coldgrid.cli.present import present
from coldgrid.cli.roles import load_rooms_of
from coldgrid.evidence import tiles
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel import retention
from coldgrid.kernel.database import open_database
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.settings import Settings, load_settings
from coldgrid.node import errands
from coldgrid.node.folder import settings_in
from coldgrid.node.parts import system_now
from coldgrid.node.retention import Would, look, spared_of

RETENTION = "retention"
WITHIN_S = 600.0


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """What went, the entry that says so, and the signed checkpoint that covers it; None: not signed yet."""

    kind: str
    recorded_at: datetime
    before: datetime
    things: int
    bytes: int
    first_at: datetime | None
    last_at: datetime | None
    digest: str
    entry: str
    checkpoint: int | None


class WhatWent(msgspec.Struct, frozen=True):
    """Everything that went from a host."""

    facts: list[Proven]


class WhatWould(msgspec.Struct, frozen=True):
    """What would go, by class, and the sites whose readings are spared, with from when on."""

    classes: list[Would]
    spared: dict[str, datetime]


def show_what_went(
    environment: Mapping[str, str], *, data: Path | None, database: str | None, out: Output
) -> None:
    """Print the facts of retention, each with what proves it."""
    settings = _settings(environment, data, database)
    with _reading(settings, data) as db:
        facts = [_proven(db, one) for one in retention.went(db)]
    if out.json:
        out.report(WhatWent(facts))
        return
    headers = ["when", "class", "things", "bytes", "up to", "entry", "in checkpoint"]
    rows = [
        (f"{f.recorded_at:%Y-%m-%d %H:%M}", f.kind, f.things, f.bytes, f.last_at, f.entry, f.checkpoint)
        for f in facts
    ]
    if rows:
        out.table(headers, rows)
    else:
        out.say("nothing went: everything was kept")


def show_what_would_go(
    environment: Mapping[str, str], *, data: Path | None, database: str | None, out: Output
) -> None:
    """Print what would go now; nothing is changed."""
    settings = _settings(environment, data, database)
    with _reading(settings, data) as db:
        classes, spared = look(db, settings, system_now()), spared_of(db)
    if out.json:
        out.report(WhatWould(classes, spared.since))
        return
    rows = [
        (
            one.kind,
            f"{one.days} days" if one.days else "for ever",
            one.things,
            one.bytes,
            one.waits or one.told,
        )
        for one in classes
    ]
    out.table(["class", "kept", "would go", "bytes", ""], rows)
    for site_id, since in sorted(spared.since.items()):
        out.say(f"readings of {site_id} are spared from {since:%Y-%m-%d} on: something is open there")


def let_go_now(
    environment: Mapping[str, str], *, data: Path | None, database: str | None, out: Output
) -> None:
    """Ask the running host for a round now, and print what it says; exit 1 where none serves."""
    settings = _settings(environment, data, database)
    try:
        answer = errands.ask(errands.errands_folder(settings), RETENTION, {}, within_s=WITHIN_S)
    except errands.NobodyThere as nobody:
        words().print(f"[crit]{nobody}[/]", soft_wrap=True)
        sys.exit(1)
    sys.stdout.write(f"{answer.text}\n")
    sys.exit(0 if answer.ok else 1)


def _settings(environment: Mapping[str, str], data: Path | None, database: str | None) -> Settings:
    return load_settings(environment, database=database) if data is None else settings_in(data, environment)


@contextmanager
def _reading(settings: Settings, data: Path | None) -> Iterator[Reads]:
    load_rooms_of("tower" if data is None else "node")
    opened = open_database(present(settings).database)
    try:
        with opened.reader() as connection:
            yield Reads(connection)
    finally:
        opened.close()


def _proven(db: Reader, one: retention.Went) -> Proven:
    origin, epoch, seq = one.entry_id.rsplit("/", 2)
    covering = tiles.first_covering(db, LogId(origin, int(epoch)), int(seq))
    return Proven(
        **{name: getattr(one.dropped, name) for name in retention.Dropped.__struct_fields__},
        recorded_at=one.recorded_at,
        entry=one.entry_id,
        checkpoint=None if covering is None else covering.size,
    )
