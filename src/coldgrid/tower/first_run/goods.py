"""Products to begin with, with limits that name their source: families, which one's own articles replace."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from coldgrid.network.imports import SourceFile, load_items
from coldgrid.webkit.formats import band

Raw = dict[str, Any]
DATA = Path(__file__).parent / "data"
FILES = ("products.yaml", "limits.csv")


class Goods(msgspec.Struct, frozen=True):
    """One product to choose: what it is kept at, and which document says so."""

    product_id: str
    name: str
    temperature_class: str
    low_c: float | None
    high_c: float | None
    source: str

    def told(self, unit: str) -> str:
        """Return the range and its source, in a reader's unit."""
        return f"{band(self.low_c, self.high_c, unit)} · {self.source}"


@cache
def _items() -> tuple[Raw, ...]:
    return tuple(load_items([SourceFile(name, (DATA / name).read_bytes()) for name in FILES]))


def choices() -> list[Goods]:
    """Return what may be chosen."""
    ranges = {item["product_id"]: item for item in _items() if item.get("limit_kind") == "range"}
    return [
        Goods(
            item["product_id"],
            item["name"],
            item["temperature_class"],
            ranges[item["product_id"]].get("low_c"),
            ranges[item["product_id"]].get("high_c"),
            ranges[item["product_id"]]["source"],
        )
        for item in _items()
        if item["kind"] == "product"
    ]


def items_of(product_ids: Collection[str]) -> list[Raw]:
    """Return the items of the chosen products with all their limits."""
    return [dict(item) for item in _items() if item["product_id"] in product_ids]
