"""The authorizer: Cedar policies, asked once for each set of roles, action and scope, then remembered.

Invariants
    Z1  The same roles, action and scope get the same answer: the policies depend on nothing else.
    Z2  An action that no policy permits is refused.
    Z3  A refusal names the roles that would do.

A question costs one dictionary look-up after the first time (Cedar itself takes some tens of microseconds).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import cedarpy

from coldgrid.access.roles import Role
from coldgrid.kernel.authorize import Principal, Resource
from coldgrid.kernel.rejections import Forbidden

POLICIES = Path(__file__).parent / "policies.cedar"
MACHINES = frozenset({Role.INTEGRATOR, Role.GATEWAY, "system"})
REMEMBERED_MAX = 20_000


class NotAllowed(Forbidden):
    """Your role may not do this."""

    todo = "Ask somebody with one of the roles named, or an admin for the role."


class OtherSite(Forbidden):
    """This site is outside what you are responsible for."""

    todo = "Ask somebody of that site, or an admin to add the site to yours."


class CedarAuthorizer:
    """Implements the kernel's `Authorizer`. Thread-safe: a race costs a second evaluation, nothing else."""

    def __init__(self, text: str | None = None) -> None:
        self._policies = cedarpy.PolicySet.from_str(text or POLICIES.read_text())
        self._known: dict[tuple[frozenset[str], str, str], bool] = {}

    def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
        """Return when it is allowed.

        Raises:
            OtherSite: it would be allowed at the principal's own sites.
            NotAllowed: none of the principal's roles may do it; `needs` says which would.
        """
        site_id, sites = resource.site_id, principal.sites
        scope = "network" if site_id is None else "own" if sites is None or site_id in sites else "other"
        known = self._known.get((principal.roles, action, scope))
        if known is None:
            known = self._ask(principal.roles, action, scope)
        if not known:
            self._refuse(principal, action, resource)

    def _refuse(self, principal: Principal, action: str, resource: Resource) -> None:
        if resource.site_id is not None and self.allows(principal.roles, action, "own"):
            raise OtherSite(action=action, site_id=resource.site_id, yours=sorted(principal.sites or ()))
        raise NotAllowed(action=action, needs=self.roles_for(action))

    def allows(self, roles: Iterable[str], action: str, scope: str = "own") -> bool:
        """Tell whether a set of roles may do an action in a scope: own, other or network."""
        key = frozenset(roles)
        known = self._known.get((key, action, scope))
        return self._ask(key, action, scope) if known is None else known

    def roles_for(self, action: str) -> list[str]:
        """Return the roles that alone would be allowed an action at an own site."""
        return [role.value for role in Role if self.allows((role.value,), action)]

    def _ask(self, roles: frozenset[str], action: str, scope: str) -> bool:
        kinds = sorted(roles) + ([] if roles <= MACHINES else ["human"])
        parents = [{"type": "Role", "id": name} for name in kinds]
        entity = {"uid": {"type": "Caller", "id": "caller"}, "attrs": {}, "parents": parents}
        answer = cedarpy.is_authorized(
            {
                "principal": 'Caller::"caller"',
                "action": f"Action::{json.dumps(action)}",
                "resource": 'Place::"place"',
                "context": {"action": action, "scope": scope},
            },
            self._policies,
            [entity],
        )
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[roles, action, scope] = answer.allowed
        return answer.allowed
