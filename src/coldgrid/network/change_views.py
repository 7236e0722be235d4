"""What the page of a change shows: its items field by field, of one kind or of all, a page at a time.

Invariants
    V1  Every item is on exactly one page of its kind, and the page says how many there are.
    V2  Whether a draft is stale is said of all of its items, not of those on the page.
    V3  Personal data is in clear for who may approve it only; others see that it changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.network.change_rules import Change, ChangeStatus, DraftItem
from coldgrid.network.changes import base_of, body_at, items_of, opened
from coldgrid.network.diffs import FieldChange, changed_fields
from coldgrid.network.items import item_kinds

ITEMS_PER_PAGE = 50
OPEN_MAX = 5  # so many items are shown whole; of more each is a line that opens
FIELDS_TOLD = 2


class Asked(msgspec.Struct, frozen=True):
    """What of a change somebody asks to see: from which item on, of which kind, and whether all lie open."""

    first: int = 0
    kind: str = ""
    opened: bool = False


EVERYTHING = Asked()


class ItemRow(msgspec.Struct, frozen=True):
    """An item: what of it changes. `told`: the first of the fields that change, for its line."""

    item: DraftItem
    new: bool
    stale: bool
    fields: list[FieldChange]
    told: list[FieldChange]


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a change's items. `count`: of those that are asked for, `total`: of all.

    `kinds`: the address, the kind and how many of it there are; the first is of all kinds, and has no name.
    Addresses are empty where there is nothing: `older`, `newer` of the pages beside it, `openly` of the same
    page with everything open, or folded again.
    """

    rows: list[ItemRow]
    first: int
    count: int
    total: int
    kinds: list[tuple[str, str, int]]
    here: str
    older: str
    newer: str
    openly: str
    opened: bool
    stale: list[str]
    personal: bool


def review_of(db: Reader, change: Change, asked: Asked, *, readable: bool) -> Review:
    """Return the items that somebody asks for. `readable`: they may read personal data (V3)."""
    items = items_of(db, change.change_id)
    counts = Counter(item.kind for item in items)
    kind = asked.kind if asked.kind in counts else ""
    wanted = [item for item in items if kind in ("", item.kind)]
    first = min(max(0, asked.first), max(0, len(wanted) - 1)) // ITEMS_PER_PAGE * ITEMS_PER_PAGE
    shown, rest = wanted[first : first + ITEMS_PER_PAGE], len(wanted) - first - ITEMS_PER_PAGE
    stale = _stale(db, change, items)
    folds = len(shown) > OPEN_MAX
    return Review(
        rows=[_row(db, item, (item.kind, item.key) in stale, readable) for item in shown],
        first=first,
        count=len(wanted),
        total=len(items),
        kinds=[
            (_address(change, Asked(0, one, asked.opened)), one, counts[one] if one else len(items))
            for one in ("", *sorted(counts))
        ],
        here=_address(change, Asked(0, kind, asked.opened)),
        older=_address(change, Asked(first + ITEMS_PER_PAGE, kind, asked.opened)) if rest > 0 else "",
        newer=_address(change, Asked(first - ITEMS_PER_PAGE, kind, asked.opened)) if first else "",
        openly=_address(change, Asked(first, kind, not asked.opened)) if folds else "",
        opened=asked.opened or not folds,
        stale=sorted(key for _, key in stale),
        personal=any(_is_personal(item.kind) for item in shown),
    )


def _address(change: Change, asked: Asked) -> str:
    query = {"kind": asked.kind, "first": asked.first or "", "show": "all" if asked.opened else ""}
    told = urlencode({name: value for name, value in query.items() if value != ""})
    return f"/network/changes/{change.change_id}" + (f"?{told}" if told else "")


def _stale(db: Reader, change: Change, items: Sequence[DraftItem]) -> set[tuple[str, str]]:
    if change.status is not ChangeStatus.DRAFTED:
        return set()
    return {(item.kind, item.key) for item in items if base_of(db, item.kind, item.key) != item.base}


def _is_personal(kind: str) -> bool:
    known = item_kinds().get(kind)
    return known is not None and known.privacy is not None


def _row(db: Reader, item: DraftItem, stale: bool, readable: bool) -> ItemRow:
    before = body_at(db, item.base, item.kind, item.key)
    fields = changed_fields(
        None if before is None else _plain(db, item.kind, before, readable),
        _plain(db, item.kind, item.body, readable),
    )
    told = [] if before is None else [one for one in fields if "\n" not in f"{one.before}{one.after}"]
    return ItemRow(item, before is None, stale, fields, told[:FIELDS_TOLD])


def _plain(db: Reader, kind: str, body: dict[str, Any], readable: bool) -> dict[str, Any]:
    """A body as people read it (V3)."""
    if not _is_personal(kind):
        return body
    if readable:
        stored = msgspec.convert(body, item_kinds()[kind].stored)
        fields: dict[str, Any] = msgspec.to_builtins(opened(db, kind, stored))
        return fields
    return {name: _hidden(value) for name, value in body.items()}


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"subject", "cipher"}:
            return f"sealed {str(value['cipher'])[:8]}"
        return {name: _hidden(inner) for name, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list) else value
