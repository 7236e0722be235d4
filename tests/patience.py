"""How tests wait: for a fact, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

FIRST_S, LAST_S = 0.02, 0.25


def eventually(look: Callable[[], Any], what: str = "it did not happen", within_s: float = 90.0) -> Any:
    """Look until there is something, and return it; ever less often, for looking takes the processor too."""
    ends_s = time.monotonic() + within_s
    every_s = FIRST_S
    while not (found := look()):
        assert time.monotonic() < ends_s, f"not within {within_s:g} s: {what}"
        time.sleep(every_s)
        every_s = min(every_s * 1.25, LAST_S)
    return found
