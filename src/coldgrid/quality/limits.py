"""Storage limits: what a product tolerates, row by row, each with the document that says so.

Pure. The rows come from the catalog; a product without them is never judged by a default made up here.

Invariants
    L1  Every product that is judged has a range.
    L2  Mean kinetic temperature is for pharmaceuticals above freezing, never for food or frozen goods.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class LimitKind(StrEnum):
    """What a row of a product's storage limits bounds."""

    RANGE = "range"
    SINGLE_EXCURSION = "single_excursion"
    CUMULATIVE = "cumulative"
    FREEZE = "freeze"
    MKT = "mkt"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One row of what a product tolerates, with the document that says so. Bounds are inclusive.

    range: what the label asks for. Time beyond it counts as outside; with no allowance row on that side,
        any time beyond it must be assessed.
    single_excursion: may stand beyond the bound for `minutes` in one go (None: not at all).
    cumulative: may stand beyond the bound for `minutes` in all its life, earlier places included.
    freeze: colder than `low_c` it freezes, warmer than `high_c` it thaws: at once, and for good.
    mkt: mean kinetic temperature at most `high_c` over every window of `minutes`.
    """

    limit_id: str
    kind: LimitKind
    low_c: float | None = None
    high_c: float | None = None
    minutes: float | None = None
    source: str


class StorageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one product tolerates. From its label and stability file, never a default here."""

    product_id: str
    rows: tuple[Limit, ...]
    pharma: bool = False

    def __post_init__(self) -> None:
        if not any(row.kind is LimitKind.RANGE for row in self.rows):
            raise ValueError(f"{self.product_id} has no range limit (L1)")
        has_mkt = any(row.kind is LimitKind.MKT for row in self.rows)
        if has_mkt and (not self.pharma or self.range_high_c <= 0):
            raise ValueError(f"mean kinetic temperature does not apply to {self.product_id} (L2)")

    @property
    def range_high_c(self) -> float:
        """The warmest the label allows; infinite where it names none."""
        highs_c = [row.high_c for row in self.rows if row.kind is LimitKind.RANGE and row.high_c is not None]
        return min(highs_c, default=float("inf"))

    @property
    def range_low_c(self) -> float:
        """The coldest the label allows; minus infinity where it names none."""
        lows_c = [row.low_c for row in self.rows if row.kind is LimitKind.RANGE and row.low_c is not None]
        return max(lows_c, default=float("-inf"))
