"""Catalog: products, how they are packed, what they tolerate, and the lots they come in."""

from __future__ import annotations

from coldgrid.catalog import finding, limits, lots, products

__all__ = ["finding", "limits", "lots", "products"]
