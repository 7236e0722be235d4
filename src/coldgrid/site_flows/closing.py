"""Closing: what an incident's end rests on at its site, and what ends with it.

a zone promises again   → the playbook hears of it
an incident is closed   → its zone is no longer watched
a safety reaction fails → its zone stops promising until a person looked (fails closed)
"""

from __future__ import annotations

from typing import Any

from coldgrid.kernel.parking import ReactionParked
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import list_zones
from coldgrid.orchestration.incidents import (
    Incident,
    IncidentAdvanced,
    Status,
    register_settlement,
)
from coldgrid.orchestration.playbooks import SignalRuns
from coldgrid.site_flows.pausing import pause
from coldgrid.site_flows.watch import stop_watching
from coldgrid.stock.pauses import PauseReason, ZoneResumed, open_pauses

# A zone that people closed for other reasons does not keep an incident open.
UNRELATED = frozenset({PauseReason.MAINTENANCE, PauseReason.MANUAL})


def zone_released(db: Reader, zone_id: str) -> bool:
    """Whether nothing of an incident keeps a zone from promising."""
    return all(pause.reason in UNRELATED for pause in open_pauses(db, zone_id))


def _settled(db: Reader, incident: Incident) -> dict[str, Any]:
    return {"zone_released": not incident.zone_id or zone_released(db, incident.zone_id)}


register_settlement("site_flows.zone", _settled)


@reacts(ZoneResumed, name="site_flows.tell_resumed")
def tell_resumed(tx: Tx, event: ZoneResumed) -> None:
    """Let the playbook know when a zone promises again."""
    if not event.still_paused:
        tx.run(
            SignalRuns(
                site_id=event.site_id,
                zone_id=event.zone_id,
                signal="zone_resumed",
                data={"resumed_by": event.resumed_by},
                signal_id=f"{tx.cause}/zone_resumed",
            )
        )


@reacts(IncidentAdvanced, name="site_flows.end_watch")
def end_watch(tx: Tx, event: IncidentAdvanced) -> None:
    """Stop looking at the zone of a closed incident."""
    if event.status is Status.CLOSED:
        stop_watching(tx, event.zone_id)


@reacts(ReactionParked, name="site_flows.fail_closed", scope=lambda event: event.scope)
def fail_closed(tx: Tx, event: ReactionParked) -> None:
    """Stop promising from what a parked safety reaction was about: its zone, or all zones of its site."""
    if not event.safety:
        return
    for zone in list_zones(tx):
        if zone.site_id == tx.origin and event.scope in (zone.zone_id, zone.site_id):
            pause(tx, zone.site_id, zone.zone_id, PauseReason.SAFETY, event.entry_id)
