"""Asking the tower that serves at this machine. It needs nothing of what the tower loads, so it is quick."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import NoReturn

from coldgrid.cli.output import words
from coldgrid.kernel.settings import load_settings
from coldgrid.node import errands


def ask_tower(environment: Mapping[str, str], errand: str, **asked: str) -> None:
    """Ask the tower that serves with these settings, and print its answer; exit 1 where it did not do it."""
    folder = errands.errands_folder(load_settings(environment))
    try:
        answer = errands.ask(folder, errand, asked)
    except errands.NobodyThere as nobody:
        end(str(nobody))
    if not answer.ok:
        end(answer.text)
    sys.stdout.write(answer.text + "\n")


def end(why: str) -> NoReturn:
    """Say why it was not done, and exit with 1."""
    words().print(why, style="crit", markup=False, soft_wrap=True)
    sys.exit(1)
