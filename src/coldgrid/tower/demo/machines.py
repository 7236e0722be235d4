"""The machines of the network demo: processes of this program that can be killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from coldgrid.adapters.gateway import is_serving
from coldgrid.kernel.settings import PREFIX
from coldgrid.node import errands
from coldgrid.node.errands import Answered, Asked

READY_WITHIN_S = 120.0
COMMAND_WITHIN_S = 300.0


class MachineFailed(Exception):
    """A process of the demo ended, or did not do what it was asked; the message has the end of its log."""


class Machine:
    """One process. `settings`: its own COLDGRID_ variables; `folder`: where its errands and its log are."""

    def __init__(self, name: str, arguments: list[str], settings: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self._arguments = arguments
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        self._environment = inherited | dict(settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Tell whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, address: str) -> None:
        """Start it, and wait until it serves at an address.

        Raises:
            MachineFailed: it ended, or does not serve in time.
        """
        if not self.runs:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(self._arguments), env=self._environment, stdout=log, stderr=log
                )
        ends_s = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < ends_s:
            if not self.runs:
                break
            if is_serving(address):
                return
            time.sleep(0.1)
        raise MachineFailed(f"{self.name}: {self._end_of_log()}")

    def kill(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def do(self, *arguments: str) -> str:
        """Run a command of this program with the machine's settings; return what it printed.

        Raises:
            MachineFailed: it did not do it.
        """
        done = subprocess.run(
            self._command(list(arguments)),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise MachineFailed(f"{self.name}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def ask(self, errand: str, asked: Asked) -> Answered:
        """Ask the process to do something (`node.errands`)."""
        try:
            return errands.ask(self.folder / "errands", errand, asked, within_s=10.0)
        except errands.NobodyThere as nobody:
            return Answered(False, str(nobody))

    def _command(self, arguments: list[str]) -> list[str]:
        return [sys.executable, "-m", "coldgrid.cli", *arguments]

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "no log"
