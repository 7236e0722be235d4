"""Drills: a node is made to fail on purpose, by errands of its operator; only where it was started so."""

from __future__ import annotations

from datetime import timedelta

from coldgrid.node.errands import Asked, Doing
from coldgrid.node.host import WALL
from coldgrid.node.parts import Parts

# The most pages that SQLite allows, and fewer than there are: then what is there is all there may be.
ROOM, NO_ROOM = 1_073_741_823, 1
TOLD_WITHIN_S = 10.0


def drills_of(parts: Parts) -> Doing:
    """Return the drills of a node on SQLite: its clock goes wrong, its disk is full, or all is well."""

    def skew(asked: Asked) -> str:
        WALL.wrong_by = timedelta(seconds=float(asked["seconds"]))
        wrong_s = WALL.wrong_by.total_seconds()
        return f"the clock is wrong by {wrong_s:g} s" if wrong_s else "the clock is right"

    def fill(asked: Asked) -> str:
        pages = NO_ROOM if asked["full"] == "yes" else ROOM
        room = f"PRAGMA max_page_count={pages}"
        parts.service.call(lambda decider: decider.connection.command(room)).result(TOLD_WITHIN_S)
        return "the disk is full" if pages == NO_ROOM else "there is room again"

    return {"skew": skew, "fill": fill}
