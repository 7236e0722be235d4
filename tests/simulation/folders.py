"""Where histories keep their disks: a folder of each run's own, in memory where there is room for it.

Invariants
    F1  All that a run writes is in its folder, whose name says what it is: nobody takes it for litter.
    F2  A run that was killed leaves its folder; the next one takes it away, and never one of a run at work.
    F3  A history whose folder somebody took away all the same says that, and not that a law is broken.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHM = Path("/dev/shm")
PREFIX = "coldgrid-simulation-"
LOCK = "run.lock"
# Set for the processes of a run: its folder.
FOLDER = "COLDGRID_SIMULATED_IN"


class FolderGone(Exception):
    """Somebody removed the folder of a history under way."""


def memory() -> Path:
    """Return where folders of runs are made."""
    return SHM if SHM.is_dir() else Path(tempfile.gettempdir())


@contextmanager
def of_run(parent: Path | None = None) -> Iterator[Path]:
    """Make the folder of a run, and remove it at its end. It is locked while a process of the run lives."""
    parent = parent or memory()
    with open(parent / f"{PREFIX}{os.getuid()}.lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # a folder that was just made has no lock yet
        _take_away_left(parent)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        held = open(folder / LOCK, "w")  # noqa: SIM115 (held until the end of the run)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        held.close()


def _take_away_left(parent: Path) -> None:
    """Remove folders of runs of which no process lives any more."""
    for folder in parent.glob(f"{PREFIX}*/"):
        try:
            with open(folder / LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # at work, or another's
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def of_history() -> Iterator[Path]:
    """Make a folder for one history, in that of its run where there is one.

    Raises:
        FolderGone: F3.
    """
    parent = Path(os.environ.get(FOLDER) or memory())
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as name:
        try:
            yield Path(name)
        except Exception as error:
            if not os.path.isdir(name):
                raise FolderGone(f"somebody removed {name} meanwhile") from error
            raise
