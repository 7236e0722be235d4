"""Python's collector of cycles, kept from work that makes many rows and next to no cycles.

It looks again and again at all that was made since it last looked: of a thousand rows that wait for their
commit, it frees none.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting: list[bool] = []  # for each piece of work under way, whether the collector ran before the first


@contextmanager
def resting_collector() -> Iterator[None]:
    """Let the collector rest until the last of the pieces of work under way is done; from any thread."""
    with _lock:
        _resting.append(_resting[0] if _resting else gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            ran = _resting.pop()
            if ran and not _resting:
                gc.enable()
