"""Doctor: looks at a host from its own machine, whether it serves or not, and says what to do.

Invariants
    F1  Looking changes nothing: no file of the host is written but a probe that is taken away, no message
        leaves, no session of the host's at a broker is touched.
    F2  A check that fails by a fault of its own is a finding too; the others go on.
    F3  `fail`: it does not work, or will lose or leak something. `warn`: it works and somebody should look.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from coldgrid.kernel.database import open_database
from coldgrid.kernel.driver import DriverError
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.settings import Settings
from coldgrid.kernel.sqlite import SqliteDatabase
from coldgrid.node import errands
from coldgrid.node.host_errands import HEALTH, HostHealth

Level = Literal["ok", "warn", "fail"]
HEALTH_WITHIN_S = 10.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found, what that means, and what to do; the last two are empty where all is well."""

    name: str
    level: Level
    found: str
    means: str = ""
    todo: str = ""


class Patient(msgspec.Struct, frozen=True, kw_only=True):
    """The host that is looked at. `folder`: a node's. `health`: what it says of itself while it serves."""

    role: str
    settings: Settings
    folder: Path | None
    now: datetime
    deep: bool
    serving: bool
    health: HostHealth | None

    @property
    def database(self) -> Path | None:
        """The database's file; None where it is on a server."""
        opened = open_database(self.settings.database)
        return opened.path if isinstance(opened, SqliteDatabase) else None


@contextmanager
def database_of(patient: Patient) -> Iterator[Reader]:
    """Read the host's database, and leave no connection behind.

    Raises:
        DriverError: it cannot be read.
    """
    database = open_database(patient.settings.database)
    try:
        with database.reader() as connection:
            yield Reads(connection)
    finally:
        database.close()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found. `ok`: nothing failed."""

    ok: bool
    role: str
    serving: bool
    looked_at: datetime
    findings: list[Finding]


Check = Callable[[Patient], Iterator[Finding]]


def ok(name: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(name=name, level="ok", found=found)


def warn(name: str, found: str, means: str, todo: str) -> Finding:
    """Return that somebody should look."""
    return Finding(name=name, level="warn", found=found, means=means, todo=todo)


def fail(name: str, found: str, means: str, todo: str) -> Finding:
    """Return that something does not work."""
    return Finding(name=name, level="fail", found=found, means=means, todo=todo)


def patient_of(role: str, settings: Settings, folder: Path | None, now: datetime, *, deep: bool) -> Patient:
    """Look whether the host serves, and ask it how it is."""
    opened = open_database(settings.database)
    serving = opened.in_use() if isinstance(opened, SqliteDatabase) else True
    health = None
    if serving:
        try:
            answer = errands.ask(errands.errands_folder(settings), HEALTH, {}, within_s=HEALTH_WITHIN_S)
            health = msgspec.json.decode(answer.text, type=HostHealth) if answer.ok else None
        except (errands.NobodyThere, msgspec.MsgspecError):
            health = None
    if health is None and not isinstance(opened, SqliteDatabase):
        serving = False
    return Patient(
        role=role,
        settings=settings,
        folder=folder,
        now=now,
        deep=deep,
        serving=serving,
        health=health,
    )


def examine(patient: Patient, checks: Sequence[Check]) -> Report:
    """Run every check (F2)."""
    findings: list[Finding] = []
    for check in checks:
        name = check.__name__.removeprefix("check_")
        try:
            findings += check(patient)
        except DriverError:
            means = "It needs the database, of which more is said here."
            findings.append(warn(name, "could not be looked at", means, "Mend the database, look again."))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            findings.append(fail(name, told, "This check itself did not work.", "Look at what it says."))
    return Report(
        ok=all(one.level != "fail" for one in findings),
        role=patient.role,
        serving=patient.serving,
        looked_at=patient.now,
        findings=findings,
    )


def check_serving(patient: Patient) -> Iterator[Finding]:
    """Tell whether the host serves, and how the parts of its background work are."""
    if not patient.serving:
        whose = "of this machine " if patient.database is None else ""
        yield ok("serving", f"no process {whose}is the decider of this database now")
        return
    if patient.health is None:
        yield warn(
            "serving",
            "a process holds the database and does not answer",
            "It is starting, stopping, stuck, or one of another release or of maintenance.",
            "Look at its log; a second look in a minute tells whether it is stuck.",
        )
        return
    yield ok("serving", f"release {patient.health.version}, at position {patient.health.position:,}")
    for name, well, told in patient.health.parts:
        if not well:
            yield fail(
                f"part: {name}",
                told,
                "This part of the host's background work does not succeed.",
                "The detail says why; it goes on by itself when the cause is gone.",
            )
