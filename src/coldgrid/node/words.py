"""Words to the person who started the process."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write a line to the terminal at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
