"""Orchestration: the organised response. Decisions on record, incidents, playbooks, approvals and paging.

The rooms above bring the subject matter: they register facts, actions and timeline lines by name and never
appear here.
"""

from __future__ import annotations

from coldgrid.orchestration import (
    actions,
    approvals,
    decisions,
    escalation,
    finding,
    incidents,
    lines,
    pack,
    playbooks,
    reactions,
    tasks,
    timeline,
    trials,
)

__all__ = [
    "actions",
    "approvals",
    "decisions",
    "escalation",
    "finding",
    "incidents",
    "lines",
    "pack",
    "playbooks",
    "reactions",
    "tasks",
    "timeline",
    "trials",
]
