"""Seeding: master data comes in as a draft by one person and an approval by another, as anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.events import Command
from coldgrid.network.change_rules import ApproveChange, DraftChange
from coldgrid.tower.demo.master import load_demo_master

PLANNER = Principal("dana", frozenset({"planner"}))
ADMIN = Principal("ada", frozenset({"admin"}))
CHANGE_ID = "chg-demo-network"


def seed_master(do: Callable[[Command, Principal], Any]) -> int:
    """Draft and approve the demo network; return how many items it has."""
    items = load_demo_master()
    do(DraftChange(change_id=CHANGE_ID, items=items, reason="the demo network as it opens"), PLANNER)
    do(ApproveChange(change_id=CHANGE_ID, reason="checked against the site plans"), ADMIN)
    return len(items)
