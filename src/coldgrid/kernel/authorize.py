"""Authorisation port: the kernel asks, an injected authorizer answers. It knows no roles itself."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """Who asks: an opaque id, its roles, and the sites it may act at (None: all of them).

    `channels`: those whose orders it may place and read; None: all of them.
    """

    actor_id: str
    roles: frozenset[str] = frozenset()
    sites: frozenset[str] | None = None
    channels: frozenset[str] | None = None


class Resource(msgspec.Struct, frozen=True):
    """What is asked about: the site (None: the network), and the kind of command."""

    site_id: str | None
    kind: str
    id: str = ""


# The network's own reactions, timers and imports: their authority is the policy that made them.
SYSTEM = Principal("system", frozenset({"system"}))


class Authorizer(Protocol):
    """Decides who may do what."""

    def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
        """Return when it is allowed.

        Raises:
            Forbidden: it is not; the facts say which role could.
        """


class AllowAll:
    """Allows everything: for tests of other rooms and for scenarios without people."""

    def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
        """Allow."""
