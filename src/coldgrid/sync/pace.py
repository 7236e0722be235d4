"""Pace: how fast a node may send, and when it tries again. Pure."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from coldgrid.sync.messages import ENTRIES_MAX, Pace

SECOND_US = 1_000_000
BACKOFF_FIRST_US = 500_000
BACKOFF_MAX_US = 60 * SECOND_US
# So many at the decider are one group, and no sign that it has too much to do.
QUEUE_FREE = 20
COMMAND_MS, BATCH_MS, WAIT_MAX_MS = 1, 20, 2_000
ENTRIES_LEAST = 200


class Bucket(msgspec.Struct, frozen=True):
    """A cap on the bytes sent: `bytes_per_s`, 0 for none. It may be overdrawn by one message, and then waits.

    At most one second's worth is saved up, so that a pause does not become a burst.
    """

    bytes_per_s: int = 0
    saved: float = 0.0
    at_us: int = 0

    def filled(self, now_us: int) -> Bucket:
        """Return the bucket as it is now."""
        if not self.bytes_per_s:
            return self
        gained = max(0, now_us - self.at_us) * self.bytes_per_s / SECOND_US
        return Bucket(self.bytes_per_s, min(self.saved + gained, float(self.bytes_per_s)), now_us)

    def spent(self, count: int, now_us: int) -> Bucket:
        """Return the bucket after so many bytes were sent."""
        if not self.bytes_per_s:
            return self
        full = self.filled(now_us)
        return Bucket(full.bytes_per_s, full.saved - count, full.at_us)

    def wait_us(self, now_us: int) -> int:
        """Return how long to wait until something may be sent."""
        if not self.bytes_per_s:
            return 0
        missing = -self.filled(now_us).saved
        return 0 if missing < 0 else int(missing * SECOND_US / self.bytes_per_s) + 1


def pace_of(commands: int, batches: int, *, behind: bool = False) -> Pace:
    """Return how a node that drains a backlog goes on, by what waits at the tower's decider.

    Args:
        commands: Commands and other work that wait there.
        batches: Batches of other nodes' backlogs that wait for their turn.
        behind: What follows from a backlog has rested for as long as it may.
    """
    if behind:
        return Pace(WAIT_MAX_MS, ENTRIES_MAX)
    if commands <= QUEUE_FREE and not batches:
        return Pace()
    wait_ms = min(WAIT_MAX_MS, commands * COMMAND_MS + batches * BATCH_MS)
    return Pace(wait_ms, max(ENTRIES_LEAST, ENTRIES_MAX // (1 + batches)))


def backoff_us(failures: int, seed: str) -> int:
    """Return how long to wait after so many failures in a row: doubling, at most a minute.

    Between half of that and all of it, by `seed` and count: nodes that lost the tower together do not come
    back together.
    """
    if failures <= 0:
        return 0
    whole = min(BACKOFF_FIRST_US * 2 ** min(failures - 1, 20), BACKOFF_MAX_US)
    share = int.from_bytes(sha256(f"{seed}/{failures}".encode()).digest()[:2], "big") / 65_536
    return int(whole * (0.5 + share / 2))
