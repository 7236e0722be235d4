"""Key figures of the control tower, each with what it is compared with and how it was before. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coldgrid.kernel.money import Money
from coldgrid.node.overview import Picture, SiteState, incidents_of
from coldgrid.orchestration.page_book import Budget
from coldgrid.tower.order_counts import WAITING
from coldgrid.webkit.formats import money_short


class Kpi(msgspec.Struct, frozen=True):
    """One figure: its value and unit, and a note that says what it means.

    `past`: what it was over the last six hours, oldest first, as far as this tower has seen it.
    """

    label: str
    value: str
    unit: str
    note: str
    state: str
    past: list[float] = []


def figures(picture: Picture, sites: Sequence[SiteState], held: int, budgets: Sequence[Budget]) -> list[Kpi]:
    """Return the figures of the sites that a reader sees. `held`: holds that are open there."""
    shown = {site.site.site_id for site in sites}
    points = [*picture.past, picture.point]
    in_range = sum(site.state == "ok" for site in sites)
    critical = sum(site.state == "crit" for site in sites)
    watched = sum(site.state == "warn" for site in sites)
    silent = sum(site.state == "off" for site in sites)
    opened = len(incidents_of(sites))
    waiting = sum(count for site_id, count in picture.point.waiting.items() if site_id in shown)
    at_stake_cents = sum(cents for site_id, cents in picture.point.at_stake_cents.items() if site_id in shown)
    return [
        Kpi(
            "Sites in range",
            str(in_range),
            f"of {len(sites)}",
            _joined((critical, "critical"), (watched, "to watch"), (silent, "silent"))
            or "every zone within its band",
            "crit" if critical else "ok",
            [float(len(point.in_range & shown)) for point in points],
        ),
        Kpi(
            "Decisions waiting",
            str(waiting),
            "",
            f"{_counted(opened, 'incident')} open" if opened else "no incident open",
            "crit" if waiting else "ok",
            [float(_of(point.waiting, shown)) for point in points],
        ),
        Kpi(
            "Goods at stake",
            money_short(Money(at_stake_cents, "USD")),
            "",
            f"{_counted(held, 'hold')} open" if held else "nothing on hold",
            "warn" if at_stake_cents else "ok",
            [_of(point.at_stake_cents, shown) / 100 for point in points],
        ),
        *_orders(picture, [float(point.orders) for point in points]),
        _budget(budgets),
    ]


def _orders(picture: Picture, past: list[float]) -> list[Kpi]:
    placed, gone = sum(picture.orders.values()), picture.orders.get("dispatched", 0)
    wanted, waiting = placed - picture.orders.get("canceled", 0), picture.orders.get(WAITING, 0)
    return [
        Kpi("Orders", f"{placed:,}", "", f"{gone:,} dispatched", "ok", past),
        Kpi(
            "Promised in full",
            _share(wanted - waiting, wanted),
            "%" if wanted else "",
            f"{waiting:,} waiting for goods"
            if waiting
            else "every line promised"
            if wanted
            else "no order yet",
            "warn" if waiting else "ok",
        ),
    ]


def _share(part: int, whole: int) -> str:
    """A share in percent, in which nothing that is missing is rounded away."""
    if not whole:
        return "—"
    return f"{100.0 if part == whole else min(100 * part / whole, 99.9):.1f}"


def _budget(budgets: Sequence[Budget]) -> Kpi:
    calls, acted = sum(b.calls for b in budgets), sum(b.acted for b in budgets)
    return Kpi(
        "Alarm budget",
        "—" if not calls else f"{100 * acted / calls:.0f}",
        "%" if calls else "",
        f"{acted} of {_counted(calls, 'call')} acted on" if calls else "no calls in 28 days",
        "ok" if acted * 2 >= calls else "warn",
    )


def _of(counts: dict[str, int], shown: set[str]) -> int:
    return sum(count for site_id, count in counts.items() if site_id in shown)


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _joined(*parts: tuple[int, str]) -> str:
    return ", ".join(f"{count} {word}" for count, word in parts if count)
