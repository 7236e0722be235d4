"""Ways out: a line to the world that goes down is told at its site, by how much is left of the ways out.

the primary is down, a backup carries  → an incident for the record, which pages nobody
no way out works                       → somebody should act; the site itself works on
the primary is back                    → the incident ends by itself
"""

from __future__ import annotations

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import (
    AdvanceIncident,
    OpenIncident,
    Status,
    UpdateIncident,
    open_incident_of,
)
from coldgrid.orchestration.severity import Severity
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.signals import SignalChanged, signals_of_site

WAYS = frozenset({Role.WAN_PRIMARY, Role.WAN_BACKUP})


def asset_of(site_id: str) -> str:
    """The name under which a site's ways out stand in an incident."""
    return f"WAN of {site_id}"


def left_of(up: dict[Role, bool]) -> Severity | None:
    """Say how serious the state of the ways out is; None: the primary works. `up`: those that were heard."""
    if up.get(Role.WAN_PRIMARY, Role.WAN_BACKUP not in up or up[Role.WAN_BACKUP]):
        return None
    return Severity.INFORMATIONAL if up.get(Role.WAN_BACKUP) else Severity.OPERATOR_ACTIONABLE


@reacts(SignalChanged, name="site_flows.wan_changed")
def wan_changed(tx: Tx, event: SignalChanged) -> None:
    """Open, change or end the incident of the ways out."""
    if event.role not in WAYS:
        return
    up: dict[Role, bool] = {}
    for signal in signals_of_site(tx, event.site_id):
        if signal.role in WAYS:  # of several of a kind, one that works is enough
            up[signal.role] = up.get(signal.role, False) or signal.good
    severity = left_of(up)
    current = open_incident_of(tx, event.site_id, "", asset_of(event.site_id))
    if severity is None:
        if current is not None:
            closing = AdvanceIncident(
                site_id=event.site_id,
                incident_id=current.incident_id,
                status=Status.CLOSED,
                reason="the primary line is back",
            )
            tx.run(closing)
        return
    carried = severity is Severity.INFORMATIONAL
    told = "runs on its backup line" if carried else "has no way out: the site works on by itself"
    title = f"{event.site_id} {told}"
    facts = {"fault": title, "undecided_units": 0, "next_step": "Call the provider of the line"}
    if current is None:
        tx.run(
            OpenIncident(
                site_id=event.site_id,
                incident_id=derive_id("incident", tx.cause),
                severity=severity,
                title=title,
                asset_id=asset_of(event.site_id),
                facts=facts,
                cause_id=tx.cause,
            )
        )
        return
    reason = "the backup line carries again" if carried else ""
    tx.run(
        UpdateIncident(
            site_id=event.site_id,
            incident_id=current.incident_id,
            facts=facts,
            title=title,
            severity=severity,
            reason=reason,
        )
    )
