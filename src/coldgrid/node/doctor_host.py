"""What the doctor looks at in the machine: clock, time zones, disk, versions."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sqlite3
import statistics
import time
import zoneinfo
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from coldgrid.kernel import clock, log
from coldgrid.kernel.database import database_size_bytes, open_database
from coldgrid.kernel.events import tag_of
from coldgrid.node.doctor import Finding, Patient, database_of, fail, ok, warn
from coldgrid.node.parts import VERSION

OFFSET_WARN_S, OFFSET_FAIL_S = 5.0, 60.0
AHEAD_OF_LOG = timedelta(minutes=5)
FREE_WARN, FREE_FAIL_BYTES = 0.1, 256 * 1024 * 1024
INODES_WARN = 0.05
SYNC_WARN_MS, SYNC_FAIL_MS = 50.0, 1_000.0
SYNCS = 9
TIME_ERROR = 5
ZONES = ("America/New_York", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata")
CLOCK_TODO = "Set the machine's clock by NTP (systemd-timesyncd, chrony), then accept it on the health page."


# --- Clock --------------------------------------------------------------------------


def check_clock(patient: Patient) -> Iterator[Finding]:
    """Hold the clock against the kernel's discipline, the tower's clock, and the log's last entry."""
    yield _disciplined()
    health = patient.health
    if health is not None and health.tower_ahead_s is not None:
        yield _offset(health.tower_ahead_s)
    if health is not None and health.frozen_why:
        yield fail(
            "clock: timers",
            health.frozen_why,
            "Timers stand still: no escalation, no lapse of time is acted on.",
            "Set the clock right and accept it on the health page.",
        )
    yield from _against_log(patient)


def _disciplined() -> Finding:
    """Ask the operating system whether something keeps its clock right (adjtimex)."""

    class Timex(ctypes.Structure):
        _fields_ = [
            ("modes", ctypes.c_uint),
            *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_char * 256),
        ]

    found = Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found))
    except (OSError, AttributeError):
        state = -1
    if state == -1:
        return warn(
            "clock: discipline",
            "the operating system does not say whether its clock is kept right",
            "Nothing here shows whether NTP runs.",
            "Look yourself: timedatectl, chronyc tracking.",
        )
    if state == TIME_ERROR:
        return warn(
            "clock: discipline",
            "no NTP service keeps this clock right",
            "It drifts by seconds a day; times of readings and of decisions drift with it.",
            "Run systemd-timesyncd or chrony; in a container, on the machine that runs it.",
        )
    return ok("clock: discipline", f"kept right, to within {found.maxerror / 1e6:.2f} s as it says itself")


def _offset(tower_ahead_s: float) -> Finding:
    told = f"the tower's clock is {abs(tower_ahead_s):.1f} s {'ahead' if tower_ahead_s > 0 else 'behind'}"
    means = "Times in this site's log do not compare with those of the network."
    if abs(tower_ahead_s) > OFFSET_FAIL_S:
        return fail("clock: against the tower", told, means, CLOCK_TODO)
    if abs(tower_ahead_s) > OFFSET_WARN_S:
        return warn("clock: against the tower", told, means, CLOCK_TODO)
    return ok("clock: against the tower", told)


def _against_log(patient: Patient) -> Iterator[Finding]:
    path = patient.database
    if path is not None and not path.is_file():
        return
    with database_of(patient) as db:
        last = log.read(db, log.last_position(db) - 1, 1)
        accepted = log.read(db, -1, 1_000, [tag_of(clock.ClockAccepted)])
    if last and last[0].recorded_at > patient.now + AHEAD_OF_LOG:
        yield fail(
            "clock: against the log",
            f"the log's last entry is of {last[0].recorded_at:%Y-%m-%d %H:%M:%S} UTC, it is now"
            f" {patient.now:%Y-%m-%d %H:%M:%S}",
            "The clock went back, or was ahead when that was recorded.",
            CLOCK_TODO,
        )
    elif last:
        yield ok("clock: against the log", f"last entry of {last[0].recorded_at:%Y-%m-%d %H:%M:%S} UTC")
    if accepted:
        body = log.decode_entry(accepted[-1])
        yield warn(
            "clock: jumps on record",
            f"{len(accepted)}, the last on {accepted[-1].recorded_at:%Y-%m-%d %H:%M} UTC: {body.why}",
            "This machine's clock jumped while it served, and a person accepted it.",
            "If it happens again, look for what sets the clock: a battery, a hypervisor, two NTP services.",
        )


def check_time_zones(patient: Patient) -> Iterator[Finding]:
    """Load the zones that sites are in."""
    missing = []
    for name in ZONES:
        try:
            zoneinfo.ZoneInfo.no_cache(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            missing.append(name)
    try:
        data = version("tzdata")
    except PackageNotFoundError:
        data = "the system's"
    if missing:
        yield fail(
            "time zones",
            f"{', '.join(missing)} cannot be loaded",
            "Sites in these zones have no calendars: cut-offs and rotas do not work.",
            "Install the package tzdata.",
        )
    elif data != "the system's" and patient.now.year - int(data.split(".")[0]) > 1:
        yield warn(
            "time zones",
            f"data of {data}",
            "Zones may have changed their rules since.",
            "Update the package tzdata.",
        )
    else:
        yield ok("time zones", f"data of {data}")


# --- Disk ---------------------------------------------------------------------------


def check_disk(patient: Patient) -> Iterator[Finding]:
    """Look at room, files, whether the disk can be written, and how fast it confirms."""
    path = patient.database
    folder = (path or Path(patient.settings.signing_key)).resolve().parent
    while not folder.exists():
        folder = folder.parent
    yield _room(folder, patient)
    yield _inodes(folder)
    yield _sync(folder)


def _room(folder: Path, patient: Patient) -> Finding:
    space = shutil.disk_usage(folder)
    told = f"{space.free / 1e9:,.1f} GB free of {space.total / 1e9:,.1f} at {folder}"
    means = "On a full disk nothing is stored: readings are refused, gateways keep them for a while."
    todo = "Free disk space or enlarge the disk; `coldgrid retention` says what may go."
    size = database_size_bytes(open_database(patient.settings.database)) if patient.database else 0
    if space.free < FREE_FAIL_BYTES:
        return fail("disk: room", told, means, todo)
    if space.free < FREE_WARN * space.total or space.free < (size or 0):
        return warn("disk: room", told, f"{means} A copy of the database needs its size again.", todo)
    return ok("disk: room", told)


def _inodes(folder: Path) -> Finding:
    found = os.statvfs(folder)
    if found.f_files and found.f_favail < INODES_WARN * found.f_files:
        return warn(
            "disk: inodes",
            f"{found.f_favail:,} of {found.f_files:,} left",
            "Soon no file can be made, though there is room.",
            "Remove what makes many small files on this disk.",
        )
    return ok("disk: inodes", f"{found.f_favail:,} left" if found.f_files else "not counted here")


def _sync(folder: Path) -> Finding:
    probe = folder / f".doctor-{os.getpid()}"
    took_ms = []
    try:
        with open(probe, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            for _ in range(SYNCS):
                began_s = time.perf_counter()
                file.write(b"\0" * 4096)
                file.flush()
                os.fsync(file.fileno())
                took_ms.append(1_000 * (time.perf_counter() - began_s))
    except OSError as error:
        return fail(
            "disk: writing",
            f"{error.strerror} at {folder}",
            "Nothing can be stored here.",
            "Look at how the disk is mounted, who owns the folder, and at the machine's log.",
        )
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    middle = statistics.median(took_ms)
    told = f"writes are confirmed in {middle:.1f} ms (median of {SYNCS}, slowest {max(took_ms):.0f})"
    if middle > SYNC_WARN_MS:
        means = "Every command waits for the disk at least so long."
        todo = "Use a disk of its own, an SSD; look for other programs that write much."
        return (fail if middle > SYNC_FAIL_MS else warn)("disk: writing", told, means, todo)
    return ok("disk: writing", told)


# --- Versions -----------------------------------------------------------------------


def check_versions(patient: Patient) -> Iterator[Finding]:
    """Name what runs, and which extras are there."""
    yield ok(
        "versions",
        f"coldgrid {VERSION}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
    )
    extras: dict[str, dict[str, str]] = {}
    for line in requires("coldgrid") or ():
        need, mark, extra = line.partition("; extra == ")
        if mark:
            name = need.split("[")[0].split(">")[0].split("<")[0].split("=")[0].strip()
            extras.setdefault(extra.strip("'\""), {})[name] = _installed(name)
    for extra, found in sorted(extras.items()):
        missing = [name for name, there in found.items() if not there]
        told = ", ".join(f"{name} {there}" if there else f"{name} missing" for name, there in found.items())
        needed = extra == "postgres" and patient.database is None
        if missing and needed:
            means = "The database cannot be reached."
            yield fail(f"extra: {extra}", told, means, f"pip install 'coldgrid[{extra}]'")
        else:
            yield ok(f"extra: {extra}", told)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
