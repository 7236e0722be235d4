"""Copied nodes: two hosts with the key of one node become an incident of the network, until a person decides.

The port refused the later one already (`gate`); who answers for the network is paged (`network.groups`, G4).
The incident is over when the node was given a new code and used it, or was revoked.
"""

from __future__ import annotations

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import (
    AdvanceIncident,
    OpenIncident,
    Severity,
    Status,
    open_incident_of,
)
from coldgrid.sync.node_words import CloneSuspected, NodeEnrolled, NodeRevoked

PLAYBOOK = "log-forked"
NEXT_STEP = (
    "Find both hosts; a new code for the real one shuts the other out, revoking the node shuts out both"
)


def _asset(node_id: str) -> str:
    return f"node {node_id}"


@reacts(CloneSuspected, name="sync.open_clone_incident", cursor=True)
def open_incident(tx: Tx, event: CloneSuspected) -> None:
    """Open an incident, or join the one that is open for this node."""
    tx.run(
        OpenIncident(
            site_id=NETWORK_ORIGIN,
            incident_id=derive_id("incident", tx.cause),
            severity=Severity.OPERATOR_ACTIONABLE,
            title=f"Two hosts have the key of {event.node_id}",
            asset_id=_asset(event.node_id),
            facts={"fault": event.why, "next_step": NEXT_STEP, "undecided_units": 0},
            cause_id=tx.cause,
            playbook=PLAYBOOK,
        )
    )


@reacts(NodeEnrolled, name="sync.close_clone_incident_of_new_code", cursor=True)
def _enrolled(tx: Tx, event: NodeEnrolled) -> None:
    _close(tx, event.node_id, "the node joined again with a new code")


@reacts(NodeRevoked, name="sync.close_clone_incident_of_revoked", cursor=True)
def _revoked(tx: Tx, event: NodeRevoked) -> None:
    _close(tx, event.node_id, "the node was revoked")


def _close(tx: Tx, node_id: str, reason: str) -> None:
    incident = open_incident_of(tx, NETWORK_ORIGIN, "", _asset(node_id))
    if incident is not None:
        closed = AdvanceIncident(
            site_id=NETWORK_ORIGIN, incident_id=incident.incident_id, status=Status.CLOSED, reason=reason
        )
        tx.run(closed)
