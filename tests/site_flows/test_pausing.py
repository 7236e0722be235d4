"""A zone that a person let go is stopped again when late readings raise the same alarm once more."""

from __future__ import annotations

from coldgrid.kernel.authorize import SYSTEM
from coldgrid.site_flows.pausing import pause
from coldgrid.stock.pauses import PauseReason, ResumeZone, open_pauses
from tests.conftest import Kernel, sqlite_kernel
from tests.stock.world import FREEZER, SITE, open_world


def alarm(kernel: Kernel, cause: str) -> list[str]:
    """Stop the zone for an alarm; return the open pauses."""
    kernel.decider.within(
        SYSTEM, SITE, lambda tx: pause(tx, SITE, FREEZER, PauseReason.PRE_ALARM, "alarm-1"), cause
    )
    return [one.pause_id for one in open_pauses(kernel.reader(), FREEZER)]


def test_an_alarm_that_is_raised_again_stops_the_zone_again() -> None:
    with sqlite_kernel() as kernel:
        open_world(kernel)
        [first] = alarm(kernel, "ATL1/1/10")
        assert alarm(kernel, "ATL1/1/11") == [first], "it stops already"
        kernel.do(
            ResumeZone(site_id=SITE, zone_id=FREEZER, pause_id=first, reason="it is cold"),
            "quinn",
            {"quality"},
        )
        [second] = alarm(kernel, "ATL1/1/12")
        assert second != first
        kernel.rebuild()
