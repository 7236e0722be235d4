"""Roles: what a person or a machine is trusted with. What each may do is in `policies.cedar`, not here."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class Role(StrEnum):
    """A role of the network. Values are wire names."""

    ADMIN = "admin"
    PLANNER = "planner"
    SUPERVISOR = "supervisor"
    OPERATOR = "operator"
    QUALITY = "quality"
    RESPONSIBLE_PERSON = "responsible_person"
    RECALL_COORDINATOR = "recall_coordinator"
    TECHNICIAN = "technician"
    CUSTOMER_CARE = "customer_care"
    INTEGRATOR = "integrator"
    GATEWAY = "gateway"
    AUDITOR = "auditor"


DUTIES: dict[Role, str] = {
    Role.ADMIN: "Manages people and tokens, approves master data and playbooks; signs nothing for quality",
    Role.PLANNER: "Drafts changes of the network, sources orders again, protects stock",
    Role.SUPERVISOR: "Runs a site: approves rescues and overrides at own sites, resumes zones",
    Role.OPERATOR: "Receives, moves, counts and dispatches goods at own sites; may place a hold",
    Role.QUALITY: "Judges exposed goods, signs dispositions, releases temperature holds",
    Role.RESPONSIBLE_PERSON: "Releases pharma goods, as the Responsible Person of the licence",
    Role.RECALL_COORDINATOR: "Opens and ends recalls and their holds",
    Role.TECHNICIAN: "Acknowledges and repairs: incidents, sensors, calibration",
    Role.CUSTOMER_CARE: "Sees orders and cancels them for customers",
    Role.INTEGRATOR: "A machine: posts orders, readings and movements by token, and reads its orders back",
    Role.GATEWAY: "A machine: posts uplinks of devices by token, and may do nothing else",
    Role.AUDITOR: "Reads everything, changes nothing",
}

# Who judges the goods must not be who hands out the roles (EU GDP 2.3, 21 CFR 211.22: an independent
# quality unit).
APART: tuple[tuple[Role, Role], ...] = (
    (Role.ADMIN, Role.QUALITY),
    (Role.ADMIN, Role.RESPONSIBLE_PERSON),
    (Role.AUDITOR, Role.ADMIN),
)
# A signature needs a person: these roles are never given to a token.
PERSONAL = frozenset({Role.ADMIN, Role.QUALITY, Role.RESPONSIBLE_PERSON, Role.RECALL_COORDINATOR})


def label(role: str) -> str:
    """Return a role as people say it: "recall coordinator"."""
    return role.replace("_", " ")


def conflicting(roles: Collection[str]) -> tuple[Role, Role] | None:
    """Return two of the roles that one person may not have together, or None."""
    return next((pair for pair in APART if pair[0] in roles and pair[1] in roles), None)
