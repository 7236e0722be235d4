"""Device clocks: when a reading was taken, where its device has a clock of its own. A pure rule and its book.

Invariants
    C1  A device's clock is believed while it is within `TOLERANCE_US` of the gateway's; beyond that its times
        are corrected by the offset that was measured; beyond `CORRECTED_MAX_US`, unset, or set more than
        `STEPS_MAX` times within a day, it is distrusted and the gateway's time counts.
    C2  A reading never counts as taken later than it was heard, but for the tolerance.
    C3  What was kept by a device with a distrusted clock is refused: nobody knows when it was taken.
    C4  Every change of an offset or a standing is a fact; of one sensor at most `STEPS_MAX` + 2 in a day.

Rule. The skew of a reading is when it was heard minus its device's time: the device's error plus the time on
the way, which is never negative. So a skew *below* the offset in use, by more than the tolerance, proves that
the clock runs ahead of what was believed, and the offset becomes that skew at once. A skew *above* it may as
well be a message that waited: only when `SETTLE_COUNT` readings in a row, over at least `SETTLE_SPAN_US`,
have the same skew within the tolerance, is it the clock, and the least of them the new offset; until then the
device is believed. Offsets within the tolerance count as none. What a device kept and sends later teaches
nothing. A distrusted clock is followed again when its skew settled within bounds, and, after too many steps,
when a day has passed since the first of them.

Source: of several one-way differences the least bounds a clock's offset best (RFC 5905, section 10, the clock
filter picks the sample of the least delay). The bounds are ours: probes report to the second, and rules of
temperature work in minutes.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Named, from_micros, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.quantities import Ints
from coldgrid.telemetry.screening import YEAR_2000_US

TOLERANCE_US = 2_000_000
CORRECTED_MAX_US = 24 * 3_600 * 1_000_000
SETTLE_COUNT = 3
SETTLE_SPAN_US = 30 * 1_000_000
STEPS_MAX = 6
DAY_US = 86_400_000_000
MS_US = 1_000
# The time of a reading of which nobody knows when it was taken: screening refuses it (`CLOCK_UNSET`).
NOWHEN_US = -1
# How a reading's time came: the gateway's, the device's, the device's and sent later.
GATEWAY_TIME, DEVICE_TIME, KEPT_TIME = 0, 1, 2
T = TypeVar("T")

# --- Vocabulary -----------------------------------------------------------------


class Standing(StrEnum):
    """How far a device's clock is believed."""

    TRUSTED = "trusted"
    CORRECTED = "corrected"
    DISTRUSTED = "distrusted"


class ClockState(msgspec.Struct, frozen=True):
    """What is known of a device's clock. Its time plus `offset_us` is the gateway's.

    `steps`: how often it was found changed since `steps_from_us`, heard time.
    """

    standing: Standing = Standing.TRUSTED
    offset_us: int = 0
    steps: int = 0
    steps_from_us: int = 0


class Trial(msgspec.Struct, frozen=True):
    """A skew that may become the offset: since when, within which bounds, how often."""

    since_us: int
    least_us: int
    most_us: int
    count: int = 1


class Placed(msgspec.Struct, frozen=True):
    """Where in time a reading belongs: its time minus its device's is `offset_us`."""

    at_us: int
    offset_us: int
    state: ClockState
    trial: Trial | None


# --- Event ----------------------------------------------------------------------


class DeviceClockJudged(Event, frozen=True, tag="telemetry.device_clock_judged"):
    """A device's clock was found right, wrong by `offset_ms`, or not to be trusted, by a reading of a sensor.

    `offset_ms`: the gateway's time minus the device's. `device_ms`: the device's time, ms since 1970.
    """

    site_id: str
    zone_id: str
    sensor_id: str
    standing: Standing
    offset_ms: int
    device_ms: int
    heard_at: datetime
    steps: int
    steps_from_us: int


# --- The rule (pure) --------------------------------------------------------------


def place(state: ClockState, trial: Trial | None, device_us: int, heard_us: int, *, kept: bool) -> Placed:
    """Say when a reading of a device with a clock was taken, and what is known of that clock now."""
    if kept:
        return _placed_kept(state, trial, device_us, heard_us)
    if device_us < YEAR_2000_US:
        if state.standing is not Standing.DISTRUSTED:
            state = _counted(state, heard_us, Standing.DISTRUSTED, 0)
        return _by_gateway(state, None, device_us, heard_us)
    if state.standing is Standing.DISTRUSTED:
        return _placed_distrusted(state, trial, device_us, heard_us)
    return _placed_live(state, trial, device_us, heard_us)


def _placed_live(state: ClockState, trial: Trial | None, device_us: int, heard_us: int) -> Placed:
    skew_us = heard_us - device_us
    if abs(skew_us - state.offset_us) <= TOLERANCE_US:
        return Placed(device_us + state.offset_us, state.offset_us, state, None)
    if skew_us < state.offset_us:
        return _stepped(state, skew_us, device_us, heard_us)
    trial = _tried(trial, skew_us, heard_us)
    if _settled(trial, heard_us):
        return _stepped(state, trial.least_us, device_us, heard_us)
    return Placed(device_us + state.offset_us, state.offset_us, state, trial)


def _placed_kept(state: ClockState, trial: Trial | None, device_us: int, heard_us: int) -> Placed:
    at_us = device_us + state.offset_us
    known = state.standing is not Standing.DISTRUSTED and device_us >= YEAR_2000_US
    if not known or at_us > heard_us + TOLERANCE_US:
        return Placed(NOWHEN_US, 0, state, trial)
    return Placed(at_us, state.offset_us, state, trial)


def _placed_distrusted(state: ClockState, trial: Trial | None, device_us: int, heard_us: int) -> Placed:
    trial = _tried(trial, heard_us - device_us, heard_us)
    rested = state.steps <= STEPS_MAX or heard_us - state.steps_from_us >= DAY_US
    if _settled(trial, heard_us) and abs(trial.least_us) <= CORRECTED_MAX_US and rested:
        return _stepped(state, trial.least_us, device_us, heard_us)
    return _by_gateway(state, trial, device_us, heard_us)


def _tried(trial: Trial | None, skew_us: int, heard_us: int) -> Trial:
    if trial is not None:
        least_us, most_us = min(trial.least_us, skew_us), max(trial.most_us, skew_us)
        if most_us - least_us <= TOLERANCE_US:
            return Trial(trial.since_us, least_us, most_us, trial.count + 1)
    return Trial(heard_us, skew_us, skew_us)


def _settled(trial: Trial, heard_us: int) -> bool:
    return trial.count >= SETTLE_COUNT and heard_us - trial.since_us >= SETTLE_SPAN_US


def _stepped(state: ClockState, skew_us: int, device_us: int, heard_us: int) -> Placed:
    """The clock is another than was believed: correct it, or distrust it."""
    # Whole milliseconds, so that what is kept beside a reading gives its device's time back exactly.
    offset_us = 0 if abs(skew_us) <= TOLERANCE_US else skew_us // MS_US * MS_US
    standing = Standing.CORRECTED if offset_us else Standing.TRUSTED
    found = _counted(state, heard_us, standing, offset_us)
    if abs(offset_us) > CORRECTED_MAX_US or found.steps > STEPS_MAX:
        found = msgspec.structs.replace(found, standing=Standing.DISTRUSTED, offset_us=0)
        return _by_gateway(found, None, device_us, heard_us)
    return Placed(device_us + offset_us, offset_us, found, None)


def _counted(state: ClockState, heard_us: int, standing: Standing, offset_us: int) -> ClockState:
    """Return a new state, one step on."""
    if heard_us - state.steps_from_us < DAY_US:
        return ClockState(standing, offset_us, state.steps + 1, state.steps_from_us)
    return ClockState(standing, offset_us, 1, heard_us)


def _by_gateway(state: ClockState, trial: Trial | None, device_us: int, heard_us: int) -> Placed:
    offset_us = (heard_us - device_us) // MS_US * MS_US
    return Placed(device_us + offset_us, offset_us, state, trial)


# --- Table, projection, hot state ---------------------------------------------------

telemetry_device_clock = sa.Table(
    "telemetry_device_clock",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("standing", Named(Standing), nullable=False),
    sa.Column("offset_us", sa.BigInteger, nullable=False),
    sa.Column("steps", sa.BigInteger, nullable=False),
    sa.Column("steps_from_us", sa.BigInteger, nullable=False),
    sa.Column("judged_at", Instant, nullable=False),
    info={"origin": "site"},
)
_PUT = Statement(
    upsert(
        telemetry_device_clock,
        keys=["sensor_id"],
        set_=["site_id", "standing", "offset_us", "steps", "steps_from_us", "judged_at"],
    )
)


class DeviceClock(msgspec.Struct, frozen=True):
    """A sensor's device clock as it was judged last."""

    sensor_id: str
    standing: Standing
    offset_us: int
    steps: int
    steps_from_us: int
    judged_at: datetime


_COLUMNS = [telemetry_device_clock.c[name] for name in DeviceClock.__struct_fields__]
_ALL = Statement(sa.select(*_COLUMNS), into=DeviceClock)
_OF_SITE = Statement(
    sa.select(*_COLUMNS).where(telemetry_device_clock.c.site_id == sa.bindparam("site_id")), into=DeviceClock
)


@hot_state
class DeviceClocks:
    """What is known of each sensor's device clock, and the skews on trial, which a restart forgets."""

    def __init__(self) -> None:
        self.states: dict[str, ClockState] = {}
        self.trials: dict[str, Trial] = {}

    @classmethod
    def load(cls, reader: Reader) -> DeviceClocks:
        """Read the table."""
        clocks = cls()
        for row in reader.all(_ALL):
            clocks.states[row.sensor_id] = ClockState(
                row.standing, row.offset_us, row.steps, row.steps_from_us
            )
        return clocks


@projects(DeviceClockJudged)
def _keep(tx: Tx, event: DeviceClockJudged) -> None:
    state = ClockState(event.standing, event.offset_ms * MS_US, event.steps, event.steps_from_us)
    _swap(tx, tx.hot(DeviceClocks).states, event.sensor_id, state)
    tx.write(
        _PUT,
        sensor_id=event.sensor_id,
        site_id=event.site_id,
        judged_at=event.heard_at,
        **msgspec.structs.asdict(state),
    )


def _swap(tx: Tx, rows: dict[str, T], key: str, value: T | None) -> None:
    """Change a row of hot state so that it can be taken back."""
    before = rows.get(key)

    def put(one: T | None) -> None:
        if one is None:
            rows.pop(key, None)
        else:
            rows[key] = one

    put(value)
    tx.undo(lambda: put(before))


# --- For ingest -----------------------------------------------------------------


class Claimed(msgspec.Struct, frozen=True):
    """Readings as a driver claims them, columns in order of arrival: `how` is one of `GATEWAY_TIME`, ….

    `sensor_no` points into `sensor_ids` and `zone_ids`; a sensor that is not listened to is None.
    """

    sensor_ids: list[str | None]
    zone_ids: list[str]
    sensor_no: Ints
    claimed_us: Ints
    heard_us: Ints
    how: Ints


def place_all(tx: Tx, claimed: Claimed) -> tuple[Ints, Ints]:
    """Return when readings were taken (`NOWHEN_US`: nobody knows) and the offset applied to each."""
    at_us, offset_us = claimed.heard_us.copy(), np.zeros(len(claimed.heard_us), dtype=np.int64)
    clocks = tx.hot(DeviceClocks)
    for index in np.flatnonzero(claimed.how != GATEWAY_TIME).tolist():
        sensor_no, device_us = int(claimed.sensor_no[index]), int(claimed.claimed_us[index])
        sensor_id = claimed.sensor_ids[sensor_no]
        if sensor_id is None:
            continue
        heard_us = int(claimed.heard_us[index])
        before = clocks.states.get(sensor_id, ClockState())
        trial = clocks.trials.get(sensor_id)
        placed = place(before, trial, device_us, heard_us, kept=int(claimed.how[index]) == KEPT_TIME)
        at_us[index], offset_us[index] = placed.at_us, placed.offset_us
        if placed.trial is not trial:
            _swap(tx, clocks.trials, sensor_id, placed.trial)
        if placed.state != before:
            _record(tx, sensor_id, claimed.zone_ids[sensor_no], placed.state, (device_us, heard_us))
    return at_us, offset_us


def _record(tx: Tx, sensor_id: str, zone_id: str, state: ClockState, times_us: tuple[int, int]) -> None:
    device_us, heard_us = times_us
    event = DeviceClockJudged(
        site_id=tx.origin,
        zone_id=zone_id,
        sensor_id=sensor_id,
        standing=state.standing,
        offset_ms=state.offset_us // MS_US,
        device_ms=device_us // MS_US,
        heard_at=from_micros(heard_us),
        steps=state.steps,
        steps_from_us=state.steps_from_us,
    )
    tx.record(f"sensor/{sensor_id}", event)


# --- Queries --------------------------------------------------------------------


def clocks_of_site(db: Reader, site_id: str) -> dict[str, DeviceClock]:
    """Return how the device clocks of a site's sensors were judged last; who is not in it was never wrong."""
    return {row.sensor_id: row for row in db.all(_OF_SITE, site_id=site_id)}
