"""Forks: a log that does not extend what was signed of it becomes an incident, until a person has settled it.

The incident is the network's: what the log of a site says is no matter of that site alone, and the site's own
log may be the one that was changed. Who answers for the network is paged (`network.groups`, G4).
"""

from __future__ import annotations

from coldgrid.evidence.forks import ForkFound, ForkSettled
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import (
    AdvanceIncident,
    NoteIncident,
    OpenIncident,
    Severity,
    Status,
    open_incident_of,
)

PLAYBOOK = "log-forked"
NEXT_STEP = "Compare both hashes, put the right copy in place, then settle the fork with a reason"


def _asset(event: ForkFound | ForkSettled) -> str:
    return f"log {event.log_origin}/{event.log_epoch}"


@reacts(ForkFound, name="network_flows.open_fork_incident", cursor=True)
def open_incident(tx: Tx, event: ForkFound) -> None:
    """Open an incident with both hashes."""
    opened = tx.run(
        OpenIncident(
            site_id=NETWORK_ORIGIN,
            incident_id=derive_id("incident", tx.cause),
            severity=Severity.OPERATOR_ACTIONABLE,
            title=f"The log of {event.log_origin} is not what was signed",
            asset_id=_asset(event),
            facts={
                "fault": event.why,
                "signed_hash": event.signed,
                "found_hash": event.found,
                "signed_entries": event.size,
                "next_step": NEXT_STEP,
                "undecided_units": 0,
            },
            cause_id=tx.cause,
            playbook=PLAYBOOK,
        )
    )
    told = f"{event.why}. Signed: {event.signed or 'nothing'}. Found: {event.found or 'nothing'}."
    tx.run(NoteIncident(site_id=NETWORK_ORIGIN, incident_id=opened.incident_id, text=told))


@reacts(ForkSettled, name="network_flows.close_fork_incident", cursor=True)
def close_incident(tx: Tx, event: ForkSettled) -> None:
    """Close it when a person settled the fork."""
    incident = open_incident_of(tx, NETWORK_ORIGIN, "", _asset(event))
    if incident is not None:
        tx.run(
            AdvanceIncident(
                site_id=NETWORK_ORIGIN,
                incident_id=incident.incident_id,
                status=Status.CLOSED,
                reason=event.reason,
            )
        )
