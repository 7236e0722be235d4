"""`coldgrid doctor`: what was found, what it means, what to do."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from rich.markup import escape

from coldgrid.cli.output import Output, results
from coldgrid.cli.roles import load_rooms_of
from coldgrid.kernel.rejections import Invalid
from coldgrid.kernel.settings import PREFIX, Settings, load_settings
from coldgrid.node import doctor_data, doctor_edges, doctor_host, doctor_people
from coldgrid.node.doctor import Finding, Report, check_serving, examine, fail, patient_of
from coldgrid.node.folder import settings_in
from coldgrid.node.parts import system_now
from coldgrid.tower.workers.doctor import check_workers

MARKS = {"ok": "[ok]●[/]", "warn": "[warn]▲[/]", "fail": "[crit]◆[/]"}
CHECKS = (
    check_serving,
    check_workers,
    doctor_host.check_versions,
    doctor_edges.check_settings,
    doctor_host.check_clock,
    doctor_host.check_time_zones,
    doctor_host.check_disk,
    doctor_data.check_database,
    doctor_data.check_readings,
    doctor_data.check_signing_key,
    doctor_data.check_certificates,
    doctor_people.check_on_call,
    doctor_edges.check_ports,
    doctor_edges.check_broker,
    doctor_edges.check_gateways,
)


def see_doctor(
    environment: Mapping[str, str], *, deep: bool, data: Path | None, database: str | None, out: Output
) -> int:
    """Look at a host and print what was found; return the exit code."""
    role = "tower" if data is None else "node"
    load_rooms_of(role)
    now = system_now()
    settings, wrong = _settings(environment, data, database)
    report = examine(patient_of(role, settings, data, now, deep=deep), CHECKS)
    if wrong:
        report = msgspec.structs.replace(report, ok=False, findings=[*wrong, *report.findings])
    if out.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _print(report, now)
    return 0 if report.ok else 1


def _settings(
    environment: Mapping[str, str], data: Path | None, database: str | None
) -> tuple[Settings, list[Finding]]:
    """Read the settings; those that are wrong are findings, and left out: the rest can be looked at."""

    def read(usable: Mapping[str, str]) -> Settings:
        if data is None:
            return load_settings(usable, database=database)
        return settings_in(data, usable)

    try:
        return read(environment), []
    except Invalid as invalid:
        wrong = [
            fail(f"settings: {one.field}", one.message, "The host does not start.", one.fix or "Correct it.")
            for one in invalid.problems
        ]
        named = {one.field for one in invalid.problems}
        usable = {name: value for name, value in environment.items() if name not in named}
    try:
        return read(usable), wrong
    except Invalid:  # they are in the node's own file
        bare = {name: value for name, value in usable.items() if not name.startswith(PREFIX)}
        assert data is not None
        own = {"database": str(data / "node.db"), "signing_key": str(data / "signing.key")}
        return load_settings(bare, **own), wrong


def _print(report: Report, now: datetime) -> None:
    for one in report.findings:
        results().print(
            f"{MARKS[one.level]} [dim]{escape(one.name):<34}[/] {escape(one.found)}", soft_wrap=True
        )
        for text, style in ((one.means, "default"), (one.todo, "accent")):
            if text:
                results().print(f"  {'':<34} [{style}]{escape(text)}[/]", soft_wrap=True)
    count = {level: sum(one.level == level for one in report.findings) for level in MARKS}
    results().print(
        f"\n{count['fail']} fail, {count['warn']} to look at, {count['ok']} ok"
        f" [dim]· {report.role} · {now:%Y-%m-%d %H:%M:%S} UTC[/]"
    )
