"""One flush of readings, grouped by sensor: the form in which rules and storage look at it."""

from __future__ import annotations

import msgspec
import numpy as np

from coldgrid.telemetry.quantities import Flags, Ints


class Grouped(msgspec.Struct, frozen=True, gc=False):
    """Readings grouped by sensor; in a group strictly increasing in event time.

    `starts[g]` is the index of group g's first reading, `ends[g]` that of its last, and `rows[g]` its
    sensor's row in the memory; `group` names the group of each reading; `pos` is its place in the order of
    arrival.
    """

    starts: Ints
    ends: Ints
    rows: Ints
    group: Ints
    at_us: Ints
    value_e4: Ints
    bad: Flags
    pos: Ints

    def __len__(self) -> int:
        return len(self.at_us)

    @property
    def counts(self) -> Ints:
        """How many readings each group has."""
        return self.ends - self.starts + 1

    @property
    def row(self) -> Ints:
        """The sensor's row of each reading."""
        return self.rows[self.group]

    def only(self, keep: Flags) -> Grouped:
        """Return the readings that are kept; groups without any vanish."""
        if keep.all():
            return self
        group = self.group[keep]
        starts, ends = _runs(group)
        return Grouped(
            starts=starts,
            ends=ends,
            rows=self.rows[group[starts]],
            group=np.repeat(np.arange(len(starts)), ends - starts + 1),
            at_us=self.at_us[keep],
            value_e4=self.value_e4[keep],
            bad=self.bad[keep],
            pos=self.pos[keep],
        )


def group_by_sensor(rows: Ints, at_us: Ints, value_e4: Ints, bad: Flags, pos: Ints) -> Grouped:
    """Group readings that are already in order: by sensor, and in event time within each."""
    starts, ends = _runs(rows)
    return Grouped(
        starts=starts,
        ends=ends,
        rows=rows[starts],
        group=np.repeat(np.arange(len(starts)), ends - starts + 1),
        at_us=at_us,
        value_e4=value_e4,
        bad=bad,
        pos=pos,
    )


def _runs(numbers: Ints) -> tuple[Ints, Ints]:
    """Return where each run of equal numbers begins, and where it ends."""
    last = np.flatnonzero(numbers[1:] != numbers[:-1])
    count = len(last) + 1 if len(numbers) else 0
    starts, ends = np.zeros(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    starts[1:] = last + 1
    ends[:-1] = last
    ends[-1:] = len(numbers) - 1
    return starts, ends


def stable_order(rows: Ints) -> Ints:
    """Return the order that groups rows and keeps the order within each: linear for up to 65,536 rows."""
    small = len(rows) > 0 and int(rows.max()) < 2**16
    order: Ints = np.argsort(rows.astype(np.uint16) if small else rows, kind="stable")
    return order


def shifted(values: Ints, starts: Ints, carried: Ints) -> Ints:
    """Return each reading's predecessor in its group; a group's first one follows what was carried."""
    before = np.empty_like(values)
    before[1:] = values[:-1]
    before[starts] = carried
    return before
