"""Losses: sealed readings that no disk has any more become one incident of their site, until they are found.

told    → an incident of the site; further losses join it while it is open
found   → it ends by itself when nothing of the site is lost any more

It is to be acted on, whatever stands in the zones now: what stood there then has no proof of its cold, and
may have left. Nothing is held for it: the rules saw these readings when they were measured, and paged for
what was wrong. What is lost stays named on pages and in packs after the incident was closed.
"""

from __future__ import annotations

from collections.abc import Sequence

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import AdvanceIncident, OpenIncident, Status, open_incident_of
from coldgrid.orchestration.severity import Goods, Stage, severity_of
from coldgrid.telemetry.losses import Loss, LostReadingsFound, ReadingsLost, asset_of, losses_of_site

PLAYBOOK = "readings-lost"
NEXT_STEP = "Put back a disk or a copy that has them; else say so, and judge the goods without them"
NAMED_MAX = 8


@reacts(ReadingsLost, name="site_flows.open_loss", cursor=True)
def open_loss(tx: Tx, event: ReadingsLost) -> None:
    """Open the site's incident, or let the loss join it."""
    standing = losses_of_site(tx, event.site_id)
    if not standing:  # they came meanwhile
        return
    tx.run(
        OpenIncident(
            site_id=event.site_id,
            incident_id=derive_id("incident", tx.cause),
            severity=severity_of(Stage.FAULT, Goods.TIME_SHORT),
            title=f"Sealed readings of {event.site_id} are lost",
            asset_id=asset_of(event.site_id),
            facts={
                "fault": told_of(standing),
                "zones": sorted({one.zone_id for one in standing if one.zone_id}),
                "sensors": sorted({one.sensor_id for one in standing}),
                "lost_from": min(one.from_at for one in standing),
                "lost_to": max(one.to_at for one in standing),
                "lost_readings": sum(one.readings for one in standing),
                "next_step": NEXT_STEP,
                "undecided_units": 0,
                "zone_released": True,
            },
            cause_id=tx.cause,
            playbook=PLAYBOOK,
        )
    )


def told_of(standing: Sequence[Loss]) -> str:
    """Say what is lost, in a sentence."""
    sensors = sorted({one.sensor_id for one in standing})
    more = f" and {len(sensors) - NAMED_MAX} more" if len(sensors) > NAMED_MAX else ""
    since, until = min(one.from_at for one in standing), max(one.to_at for one in standing)
    when = f"between {since:%Y-%m-%d %H:%M} and {until:%Y-%m-%d %H:%M} UTC"
    count = sum(one.readings for one in standing)
    return f"{count:,} readings of {', '.join(sensors[:NAMED_MAX])}{more} {when} are lost"


@reacts(LostReadingsFound, name="site_flows.end_loss", cursor=True)
def end_loss(tx: Tx, event: LostReadingsFound) -> None:
    """Close the incident when all of it was found."""
    incident = open_incident_of(tx, event.site_id, "", asset_of(event.site_id))
    if incident is None or losses_of_site(tx, event.site_id):
        return
    closing = AdvanceIncident(
        site_id=event.site_id,
        incident_id=incident.incident_id,
        status=Status.CLOSED,
        reason="another disk had all of them",
    )
    tx.run(closing)
