"""Finding: products by the beginning or the end of what they are called, for the search."""

from __future__ import annotations

from collections.abc import Collection

from coldgrid.catalog.products import PRODUCT_NAMES, get_product
from coldgrid.kernel.reading import Reader
from coldgrid.webkit.hits import Hit, register_finder


def find_products(db: Reader, sites: Collection[str] | None, text: str, most: int) -> list[Hit]:
    """Return products by their id, a word of their name, or a GTIN of theirs: everybody may see them."""
    found = []
    for product_id in dict.fromkeys(one.thing_id for one in PRODUCT_NAMES.find(db, None, text, most)):
        one = get_product(db, product_id)
        note = f"{one.name} · {one.temperature_class.value}"
        found.append(Hit("Product", product_id, note, f"/catalog/{product_id}"))
    return found


register_finder("catalog.products", find_products, order=40)
