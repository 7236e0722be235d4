"""Who acts on an incident that nobody has takes it on: somebody is there and does what was asked.

Invariants
    O1  Answering a task or deciding an approval makes its person the owner, where there is none.
    O2  Saying that one cannot takes nothing on, and neither does the work of those who do not look after the
        place: who informs customers, who judges goods.
"""

from __future__ import annotations

from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import AcknowledgeIncident, IncidentNotFound, Status, get_incident

LOOK_AFTER = frozenset({"operator", "technician", "supervisor", "admin"})
CANNOT = frozenset({"cannot", "impossible"})


def takes_on(role: str, answer: str = "") -> bool:
    """Tell whether this answer of a role to a task, or its decision, takes the incident on (O2)."""
    return role in LOOK_AFTER and answer not in CANNOT


def take_on(tx: Tx, incident_id: str, role: str, answer: str = "") -> None:
    """Make the actor the owner of an open incident that has none (O1)."""
    if not incident_id or tx.actor.startswith("system") or not takes_on(role, answer):
        return
    try:
        incident = get_incident(tx, incident_id)
    except IncidentNotFound:  # an approval may be about something that is no incident
        return
    if incident.owner is None and incident.status is not Status.CLOSED:
        tx.run(AcknowledgeIncident(site_id=incident.site_id, incident_id=incident_id))
