"""Network: the sites, what they consist of, how they are connected, and who answers for them."""

from __future__ import annotations

from coldgrid.network import changes, groups, known_sites, lanes, profile, sites, zones

__all__ = ["changes", "groups", "known_sites", "lanes", "profile", "sites", "zones"]
