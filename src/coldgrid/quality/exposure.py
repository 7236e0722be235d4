"""Exposure: turn the temperature that goods saw into what quality must decide on.

Pure functions only. Nothing here knows about databases, sensors or HTTP.

Invariants
    X1  Cutting a stay in two never changes its minutes, and its peak is the higher of the two.
    X2  Missing data is never good data: a gap beyond the grace makes a stay `unknown`, never `within_limits`.
    X3  Proof of harm beats missing data: a broken limit is `assess` whatever is missing.

Units: instants in microseconds since 1970 UTC (`_us`), temperatures in degrees Celsius, times in minutes.
Between two known points the temperature is taken as linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import inf, isfinite

import msgspec
import numpy as np

from coldgrid.quality.curves import Curve, Floats
from coldgrid.quality.grid import Grid, Level, Pieces
from coldgrid.quality.kinetic import ACTIVATION_TEMPERATURE_K, Kinetics
from coldgrid.quality.limits import Limit, LimitKind, StorageLimits

# Below what floating point can tell apart from nothing.
_ROUNDING_MIN = 1e-6
_ROUNDING_C = 1e-9

_KINETIC = "mean kinetic temperature"

# --- Vocabulary -----------------------------------------------------------------


class Verdict(StrEnum):
    """What the readings say. What becomes of the goods is a signed human decision (a disposition)."""

    WITHIN_LIMITS = "within_limits"
    ASSESS = "assess"
    UNKNOWN = "unknown"


class Stay(msgspec.Struct, frozen=True):
    """A handling unit while it stood in one place. `prior_min`: minutes beyond limits before, by limit id."""

    sscc: str
    arrived_at: datetime
    left_at: datetime
    prior_min: Mapping[str, float] = {}


class Finding(msgspec.Struct, frozen=True):
    """One limit row and what the stay made of it: minutes beyond it, or a mean kinetic temperature in °C.

    `value` is None where nothing is known to work it out from.
    """

    limit_id: str
    broken: bool
    value: float | None
    why: str
    source: str


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with the numbers that justify it, for the evidence file.

    `peak_c` and `coldest_c` are the warm and cold edges of what the goods may have had, None where nothing is
    known; `mkt_c` is the worst window's, None where it does not apply; `unknown_min` are the minutes nobody
    knows the temperature of, `gap_longest_min` the longest piece of them.
    """

    sscc: str
    verdict: Verdict
    why: str
    outside_min: float
    outside_longest_min: float
    peak_c: float | None
    coldest_c: float | None
    mkt_c: float | None
    unknown_min: float
    gap_longest_min: float
    thawed_at: datetime | None
    findings: tuple[Finding, ...]


# --- The verdict ----------------------------------------------------------------


def assess_stays(
    curve: Curve,
    stays: Sequence[Stay],
    limits: StorageLimits,
    *,
    activation_temperature_k: float = ACTIVATION_TEMPERATURE_K,
) -> list[Exposure]:
    """Decide what one place's temperature says about each of the units that stood there, all at once.

    Rules apply in this order; the first that matches names the reason, and X3 holds throughout.

    1. A freeze row crossed, either way: `assess`, with the moment it thawed.
    2. Longer beyond a single-excursion row than it allows, or beyond a cumulative row `prior_min` included:
       `assess`.
    3. Beyond the range on a side that no row of rule 2 covers: `assess`.
    4. A window's mean kinetic temperature above its row: `assess`. A stay shorter than the window is
       one window. It comes last because a mean hides a spike.
    5. Minutes that nobody knows: `unknown` (X2).
    6. Otherwise `within_limits`.

    Args:
        curve: What the goods had: an estimate's band, or a probe's readings. It need not span every stay;
            what it does not span is unknown.
        stays: Each with `left_at` after `arrived_at`.
        limits: The product's rows. Bounds are inclusive.
        activation_temperature_k: Activation energy over gas constant, kelvin.

    Returns:
        One exposure for each stay, in their order.

    Raises:
        ValueError: a stay does not end after it begins.
    """
    if not stays:
        return []
    bounds = _bounds(limits)
    spanned = curve.spanning(min(stay.arrived_at for stay in stays), max(stay.left_at for stay in stays))
    grid = Grid.of(spanned, [bound.level for bound in bounds])
    times = _Times(
        grid,
        grid.minutes_of([stay.arrived_at for stay in stays]),
        grid.minutes_of([stay.left_at for stay in stays]),
    )
    if bool((times.end_min <= times.start_min).any()):
        raise ValueError("a stay must end after it begins")
    findings = [_judge(bound, times, stays) for bound in bounds]
    findings += _judge_mkt(limits, times, activation_temperature_k)
    numbers = _numbers(bounds, times)
    return [
        _exposure(stay, numbers.row(i), [column[i] for column in findings]) for i, stay in enumerate(stays)
    ]


def assess_exposure(
    curve: Curve, limits: StorageLimits, *, activation_temperature_k: float = ACTIVATION_TEMPERATURE_K
) -> Exposure:
    """Judge goods that saw the whole of a curve, by the rules of `assess_stays`."""
    grid = Grid.of(curve, [])
    whole = Stay("", grid.instant_at(0.0), grid.instant_at(float(grid.at_min[-1])))
    return assess_stays(curve, [whole], limits, activation_temperature_k=activation_temperature_k)[0]


@dataclass(frozen=True)
class _Times:
    """The stays on the grid."""

    grid: Grid
    start_min: Floats
    end_min: Floats

    def minutes(self, pieces: Pieces) -> Floats:
        return pieces.minutes(self.start_min, self.end_min)

    def longest_min(self, pieces: Pieces) -> Floats:
        return pieces.longest_min(self.start_min, self.end_min)


@dataclass(frozen=True)
class _Bound:
    """One side of one limit row. `allowed_min`: minutes beyond it that need no look, None: not bounded."""

    row: Limit
    level: Level
    allowed_min: float | None


def _bounds(limits: StorageLimits) -> list[_Bound]:
    """Every side of every row but the kinetic ones, in the order in which they are judged."""
    order = (LimitKind.FREEZE, LimitKind.SINGLE_EXCURSION, LimitKind.CUMULATIVE, LimitKind.RANGE)
    sided = [
        _Bound(row, Level(hot, bound_c), row.minutes or 0.0)
        for kind in order
        for row in limits.rows
        if row.kind is kind
        for hot, bound_c in ((False, row.low_c), (True, row.high_c))
        if bound_c is not None
    ]
    covered = {bound.level.hot for bound in sided if bound.row.kind in order[1:3]}
    return [
        _Bound(bound.row, bound.level, None)
        if bound.row.kind is LimitKind.RANGE and bound.level.hot in covered
        else bound
        for bound in sided
    ]


def _judge(bound: _Bound, times: _Times, stays: Sequence[Stay]) -> list[Finding]:
    """What one bound makes of every stay."""
    pieces = Pieces(times.grid, times.grid.beyond(bound.level))
    if bound.row.kind is LimitKind.CUMULATIVE:
        prior_min = np.array([stay.prior_min.get(bound.row.limit_id, 0.0) for stay in stays])
        spent_min = times.minutes(pieces) + prior_min
    elif bound.row.kind is LimitKind.RANGE:
        spent_min = times.minutes(pieces)
    else:
        spent_min = times.longest_min(pieces)
    return [_finding(bound, minutes) for minutes in spent_min.tolist()]


_SPENT = {
    LimitKind.RANGE: "in all",
    LimitKind.SINGLE_EXCURSION: "in one go",
    LimitKind.CUMULATIVE: "over its life",
    LimitKind.FREEZE: "in one go",
}


def _finding(bound: _Bound, spent_min: float) -> Finding:
    broken = bound.allowed_min is not None and spent_min > bound.allowed_min + _ROUNDING_MIN
    side = "above" if bound.level.hot else "below"
    why = f"{side} {bound.level.bound_c:g} °C for {spent_min:.0f} min {_SPENT[bound.row.kind]}"
    if bound.allowed_min:
        why += f", {bound.allowed_min:g} min allowed"
    return Finding(bound.row.limit_id, broken, spent_min, why, bound.row.source)


def _judge_mkt(limits: StorageLimits, times: _Times, activation_temperature_k: float) -> list[list[Finding]]:
    rows = [row for row in limits.rows if row.kind is LimitKind.MKT and row.high_c is not None]
    if not rows:
        return []
    kinetics = Kinetics(times.grid, activation_temperature_k)
    stays = list(zip(times.start_min.tolist(), times.end_min.tolist(), strict=True))
    # Most units came and went together, so each distinct stay is worked out once.
    return [
        [worst[stay] for stay in stays]
        for row in rows
        for worst in [
            {stay: _mkt_finding(row, kinetics.worst_c(*stay, row.minutes or inf)) for stay in set(stays)}
        ]
    ]


def _mkt_finding(row: Limit, mkt_c: float) -> Finding:
    assert row.high_c is not None
    if not isfinite(mkt_c):
        return Finding(row.limit_id, False, None, _KINETIC + " unknown", row.source)
    why = f"{_KINETIC} {mkt_c:.2f} °C, {row.high_c:g} °C allowed"
    return Finding(row.limit_id, mkt_c > row.high_c + _ROUNDING_C, mkt_c, why, row.source)


@dataclass(frozen=True)
class _Row:
    outside_min: float
    outside_longest_min: float
    unknown_min: float
    gap_longest_min: float
    peak_c: float | None
    coldest_c: float | None
    thawed_at: datetime | None


@dataclass(frozen=True)
class _Numbers:
    """The numbers of every stay, a column each."""

    grid: Grid
    outside_min: Floats
    outside_longest_min: Floats
    unknown_min: Floats
    gap_longest_min: Floats
    peak_c: Floats
    coldest_c: Floats
    thawed_min: Floats

    def row(self, i: int) -> _Row:
        """The numbers of one stay; a peak that nobody can know is None."""
        thawed_min = float(self.thawed_min[i])
        return _Row(
            float(self.outside_min[i]),
            float(self.outside_longest_min[i]),
            float(self.unknown_min[i]),
            float(self.gap_longest_min[i]),
            float(self.peak_c[i]) if isfinite(self.peak_c[i]) else None,
            float(self.coldest_c[i]) if isfinite(self.coldest_c[i]) else None,
            self.grid.instant_at(thawed_min) if isfinite(thawed_min) else None,
        )


def _numbers(bounds: Sequence[_Bound], times: _Times) -> _Numbers:
    grid = times.grid
    none = np.zeros(len(grid.known), dtype=np.bool_)
    out, thawed = none, none
    for bound in bounds:
        if bound.row.kind is LimitKind.RANGE:
            out = out | grid.beyond(bound.level)
        if bound.row.kind is LimitKind.FREEZE and bound.level.hot:
            thawed = thawed | (grid.beyond(bound.level) & grid.known)
    known_min = times.minutes(Pieces(grid, ~none))
    unknown_min = times.end_min - times.start_min - known_min
    nothing = known_min <= 0
    hot_c = grid.highest(grid.hot_c, times.start_min, times.end_min)
    cold_c = -grid.highest(-grid.cold_c, times.start_min, times.end_min)
    return _Numbers(
        grid,
        times.minutes(Pieces(grid, out)),
        times.longest_min(Pieces(grid, out)),
        np.where(unknown_min > _ROUNDING_MIN, unknown_min, 0.0),
        _gap_longest_min(times),
        np.where(nothing, np.nan, hot_c),
        np.where(nothing, np.nan, cold_c),
        Pieces(grid, thawed).first_min(times.start_min, times.end_min),
    )


def _gap_longest_min(times: _Times) -> Floats:
    """The longest unknown piece of each stay."""
    silent = replace(times.grid, known=~times.grid.known)
    return times.longest_min(Pieces(silent, silent.known))


def _exposure(stay: Stay, row: _Row, findings: Sequence[Finding]) -> Exposure:
    broken = [finding for finding in findings if finding.broken]
    if broken:
        verdict, why = Verdict.ASSESS, broken[0].why
    elif row.unknown_min > 0:
        verdict, why = Verdict.UNKNOWN, f"no data for {row.gap_longest_min:.0f} min"
    else:
        verdict, why = Verdict.WITHIN_LIMITS, "within limits"
    kinetic_c = [each.value for each in findings if each.why.startswith(_KINETIC) and each.value is not None]
    return Exposure(
        sscc=stay.sscc,
        verdict=verdict,
        why=why,
        outside_min=row.outside_min,
        outside_longest_min=row.outside_longest_min,
        peak_c=row.peak_c,
        coldest_c=row.coldest_c,
        mkt_c=max(kinetic_c, default=None),
        unknown_min=row.unknown_min,
        gap_longest_min=row.gap_longest_min,
        thawed_at=row.thawed_at,
        findings=tuple(findings),
    )
