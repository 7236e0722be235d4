"""Splits: the cheapest set of boxes that together serve an order. Pure, integers only.

A box is what one site sends in one temperature class. Given a set of boxes, every line fills from the box
with the lowest freight first, which is optimal because lines share nothing but the boxes. So the search is
over sets of boxes: by size, depth first over the boxes from the lowest base up, cut off by the lower bound

    bases paid so far + as many times the next base as boxes are still to come + the least possible freight.

It ends when the lowest bases of the next size and the least freight reach the best plan, which then is the
optimum, or after `nodes_max` sets, when that same sum bounds how far off the best plan can be. If no set was
found by then, boxes are added greedily by what they still cover per base.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Box(msgspec.Struct, frozen=True, gc=False):
    """What a site could send in one class: per line, at most its quantity; 0 for other classes."""

    site: int
    base_mcents: int
    kg_cents: int
    available: tuple[int, ...]


class Split(msgspec.Struct, frozen=True):
    """The best set found: `(line, box, qty)`; `bound_mcents`: no set scores lower."""

    takes: list[tuple[int, int, int]]
    score_mcents: int
    bound_mcents: int
    proven: bool


class Lines(msgspec.Struct, frozen=True):
    """Quantity and unit weight of each line."""

    qtys: tuple[int, ...]
    unit_g: tuple[int, ...]


def cheapest_split(
    boxes: Sequence[Box],
    lines: Lines,
    split_mcents: int,
    limit_mcents: int | None,
    nodes_max: int,
) -> Split | None:
    """Return the set of boxes with the lowest score below `limit_mcents`, None when there is none.

    Args:
        boxes: In any order; together they must cover every line when there is no limit.
        lines: Quantities (positive) and unit weights in grams.
        split_mcents: What each site after the first costs.
        limit_mcents: The score to beat, None to take any.
        nodes_max: How many partial sets to look at before settling for the best so far.
    """
    ordered = sorted(range(len(boxes)), key=lambda i: (boxes[i].base_mcents, i))
    search = _Search([boxes[i] for i in ordered], lines, split_mcents, nodes_max, limit_mcents)
    bound_mcents = search.run()
    if search.best is None and limit_mcents is None:
        search.greedy()
    if search.best is None or search.best_mcents is None:
        return None
    takes = [(line, ordered[box], qty) for line, box, qty in search.allocate(search.best)]
    proven = bound_mcents >= search.best_mcents
    return Split(takes, search.best_mcents, min(bound_mcents, search.best_mcents), proven)


class _Search:
    """State of one search: the best set so far and the sets still allowed."""

    def __init__(
        self,
        boxes: Sequence[Box],
        lines: Lines,
        split_mcents: int,
        nodes_max: int,
        limit_mcents: int | None,
    ) -> None:
        self.boxes = boxes
        self.lines = lines
        self.split_mcents = split_mcents
        self.nodes_left = nodes_max
        self.best_mcents = limit_mcents
        self.best: tuple[int, ...] | None = None
        self.freight_min = sum(
            qty * unit_g * min((box.kg_cents for box in boxes if box.available[i]), default=0)
            for i, (qty, unit_g) in enumerate(zip(lines.qtys, lines.unit_g, strict=True))
        )

    def run(self) -> int:
        """Search by size; return what no set can score below."""
        bound_mcents = self.freight_min
        for size in range(1, len(self.boxes) + 1):
            bound_mcents = self.freight_min + sum(box.base_mcents for box in self.boxes[:size])
            if self._hopeless(bound_mcents):
                break
            self._extend(0, size, (), 0, self.lines.qtys)
            if self.nodes_left <= 0:
                break
        else:
            bound_mcents = self.best_mcents if self.best_mcents is not None else bound_mcents
        return bound_mcents

    def _hopeless(self, bound_mcents: int) -> bool:
        return self.best_mcents is not None and bound_mcents >= self.best_mcents

    def _extend(self, start: int, size: int, chosen: tuple[int, ...], paid: int, left: Sequence[int]) -> None:
        for i in range(start, len(self.boxes) - size + 1):
            box = self.boxes[i]
            if self._hopeless(paid + size * box.base_mcents + self.freight_min):
                return
            self.nodes_left -= 1
            if self.nodes_left <= 0:
                return
            now_left = [max(0, want - has) for want, has in zip(left, box.available, strict=True)]
            cost_mcents = paid + box.base_mcents + self._splits(chosen, box)
            if size > 1:
                self._extend(i + 1, size - 1, (*chosen, i), cost_mcents, now_left)
            elif not any(now_left):
                self._offer((*chosen, i))

    def _splits(self, chosen: tuple[int, ...], box: Box) -> int:
        new_site = bool(chosen) and all(self.boxes[j].site != box.site for j in chosen)
        return self.split_mcents if new_site else 0

    def _offer(self, chosen: tuple[int, ...]) -> None:
        score_mcents = self.score(chosen)
        if self.best_mcents is None or score_mcents < self.best_mcents:
            self.best_mcents, self.best = score_mcents, chosen

    def greedy(self) -> None:
        """Add the box that covers the largest share of what is left per base until nothing is left."""
        chosen: list[int] = []
        left = list(self.lines.qtys)
        while any(left):
            i = max(
                (i for i in range(len(self.boxes)) if i not in chosen),
                key=lambda i: self._share(self.boxes[i], left) / (1 + self.boxes[i].base_mcents),
            )
            chosen.append(i)
            left = [max(0, want - has) for want, has in zip(left, self.boxes[i].available, strict=True)]
        needed = {box for _, box, _ in self.allocate(tuple(sorted(chosen)))}
        self.best = tuple(sorted(needed))
        self.best_mcents = self.score(self.best)

    def _share(self, box: Box, left: Sequence[int]) -> float:
        return sum(
            min(want, has) / qty for want, has, qty in zip(left, box.available, self.lines.qtys, strict=True)
        )

    def score(self, chosen: tuple[int, ...]) -> int:
        """The score of a set that covers the lines."""
        sites = {self.boxes[i].site for i in chosen}
        freight = sum(
            qty * self.lines.unit_g[line] * self.boxes[i].kg_cents for line, i, qty in self.allocate(chosen)
        )
        bases = sum(self.boxes[i].base_mcents for i in chosen)
        return bases + (len(sites) - 1) * self.split_mcents + freight

    def allocate(self, chosen: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """Fill every line from the chosen boxes, the lowest freight first: (line, box, qty)."""
        takes = []
        by_freight = sorted(chosen, key=lambda i: (self.boxes[i].kg_cents, i))
        for line, want in enumerate(self.lines.qtys):
            left = want
            for i in by_freight:
                qty = min(left, self.boxes[i].available[line])
                if qty:
                    takes.append((line, i, qty))
                    left -= qty
        return takes
