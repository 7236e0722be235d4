"""Site flows: reactions between rooms at one site, from the alarm to the released zone."""

from __future__ import annotations

from coldgrid.site_flows import alarms, closing, dispositions, excursions, watch

__all__ = ["alarms", "closing", "dispositions", "excursions", "watch"]
