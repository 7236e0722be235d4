"""Key figures of the control tower, each with what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.approvals import waiting_approvals
from coldgrid.orchestration.page_book import alarm_budgets
from coldgrid.orders.orders import count_by_status
from coldgrid.stock.hold_book import open_holds
from coldgrid.tower.overview import Picture, SiteState

BUDGET_OVER = timedelta(days=28)


class Kpi(msgspec.Struct, frozen=True):
    """One figure: its value and unit, and a note that says what it means."""

    label: str
    value: str
    unit: str
    note: str
    state: str


def figures(db: Reader, picture: Picture, sites: Sequence[SiteState], now: datetime) -> list[Kpi]:
    """Return the figures of the sites that a reader sees."""
    in_range = sum(site.state == "ok" for site in sites)
    critical = sum(site.state == "crit" for site in sites)
    silent = sum(site.state == "off" for site in sites)
    incidents = [incident for site in sites for incident in site.incidents]
    waiting = waiting_approvals(db, None, [site.site.site_id for site in sites])
    at_stake_cents = sum(incident.picture.at_stake_cents or 0 for incident in incidents)
    held = sum(len(open_holds(db, site.site.site_id)) for site in sites if site.incidents)
    orders = count_by_status(db)
    placed = sum(orders.values())
    gone = orders.get("dispatched", 0)
    budgets = alarm_budgets(db, now - BUDGET_OVER, now)
    calls, acted = sum(b.calls for b in budgets), sum(b.acted for b in budgets)
    return [
        Kpi(
            "Sites in range",
            str(in_range),
            f"of {len(sites)}",
            _joined((critical, "critical"), (silent, "silent")) or "every zone within its band",
            "crit" if critical else "ok",
        ),
        Kpi(
            "Decisions waiting",
            str(len(waiting)),
            f"of {len(incidents)} open" if incidents else "",
            "approve or override" if waiting else "nobody waits for you",
            "crit" if waiting else "ok",
        ),
        Kpi(
            "Goods at stake",
            f"${at_stake_cents / 100:,.0f}",
            "",
            f"{held} holds open" if held else "nothing on hold",
            "warn" if at_stake_cents else "ok",
        ),
        Kpi("Orders", f"{placed:,}", "", f"{gone:,} dispatched", "ok"),
        Kpi(
            "Promised in full",
            "—" if not placed else f"{100 * (placed - orders.get('unsourceable', 0)) / placed:.1f}",
            "%" if placed else "",
            "orders with every line promised",
            "ok",
        ),
        Kpi(
            "Alarm budget",
            "—" if not calls else f"{100 * acted / calls:.0f}",
            "%" if calls else "",
            f"{acted} of {calls} calls led to action" if calls else "no calls in 28 days",
            "ok" if acted * 2 >= calls else "warn",
        ),
    ]


def _joined(*parts: tuple[int, str]) -> str:
    return ", ".join(f"{count} {word}" for count, word in parts if count)
