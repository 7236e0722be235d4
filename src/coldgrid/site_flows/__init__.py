"""Site flows: reactions between rooms at one site, from the alarm to the released zone."""

from __future__ import annotations

from coldgrid.site_flows import (
    alarms,
    calibration,
    care,
    closing,
    dispositions,
    excursions,
    losses,
    mains,
    playbook_actions,
    playbook_facts,
    wan,
    watch,
)

__all__ = [
    "alarms",
    "calibration",
    "care",
    "closing",
    "dispositions",
    "excursions",
    "losses",
    "mains",
    "playbook_actions",
    "playbook_facts",
    "wan",
    "watch",
]
