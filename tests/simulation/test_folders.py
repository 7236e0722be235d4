"""Folders of histories: each run has its own, takes away what killed ones left, and nothing else."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.simulation import folders
from tests.simulation.__main__ import attempt
from tests.simulation.faults import Faults
from tests.simulation.folders import FOLDER, FolderGone, of_history, of_run

HOLD = """
import sys, time
from pathlib import Path
from tests.simulation.folders import of_run
with of_run(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""

TOLD = """
import sys
def made(event, facts):
    if event == "tempfile.mkdtemp":
        print(*facts, file=sys.stderr, flush=True)
sys.addaudithook(made)
from tests.simulation.__main__ import main
main()
"""


def look_where_nothing_is(folder: Path) -> None:
    folder.rmdir()
    (folder / "nothing").read_bytes()


@contextmanager
def run_elsewhere(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Begin a run in a process of its own; yield its folder, too."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        try:
            yield run, Path(run.stdout.readline().strip())
        finally:
            run.kill()


def test_a_run_takes_away_what_a_killed_one_left_and_nothing_of_one_at_work(tmp_path: Path) -> None:
    with run_elsewhere(tmp_path) as (_, its), run_elsewhere(tmp_path) as (killed, left):
        strange = tmp_path / f"{folders.PREFIX}of-somebody"
        strange.mkdir()
        killed.kill()
        killed.wait(30)
        assert left.is_dir()
        with of_run(tmp_path) as own:
            assert its.is_dir()
            assert not left.exists()
            assert strange.is_dir(), "it has no lock: nobody knows whether it is in use"
            assert own not in (its, left)
        assert not own.exists()


@pytest.mark.timeout(300)
def test_a_history_whose_folder_somebody_removed_is_played_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begin = Faults.begin
    removed: list[Path] = []

    def swept(faults: Faults, seconds: float) -> None:
        if not removed:
            removed.append(faults.world.folder)
            shutil.rmtree(tmp_path / "run")
        begin(faults, seconds)

    monkeypatch.setattr(Faults, "begin", swept)
    monkeypatch.setenv(FOLDER, str(tmp_path / "run"))
    with warnings.catch_warnings():
        # What the history that ended in the middle had open is closed by the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        _, counts, why = attempt(3)
        gc.collect()
    assert removed
    assert not why
    assert counts["acknowledged"] > 0


def test_what_goes_wrong_in_a_folder_that_is_there_is_told_as_it_is() -> None:
    with pytest.raises(FileNotFoundError), of_history() as folder:
        (folder / "nothing").read_bytes()
    with pytest.raises(FolderGone), of_history() as folder:
        look_where_nothing_is(folder)


@pytest.mark.timeout(300)
def test_all_folders_of_a_run_are_in_its_own() -> None:
    """Those too that are made beside the tables, as for a rebuild: others clean up where everybody writes."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD, "--seed", "3"],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    made = [Path(line) for line in done.stderr.splitlines() if line.startswith("/")]
    own = made[0]
    assert own.name.startswith(folders.PREFIX)
    assert len(made) > 3
    assert all(own in one.parents for one in made[1:]), made
    assert not own.exists()
