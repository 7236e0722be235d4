"""Admission: which sites are told of a person, so that they sign in there while the line is down. Pure.

Whoever is called at two in the morning may never have signed in at that site before: their password's hash is
there beforehand, where they are assigned. Who acts at all sites, as admins do, has no hash at any: a shop's
stolen computer must not be good for attacking the whole network.
"""

from __future__ import annotations

from collections.abc import Collection

from coldgrid.kernel.audience import EVERY_SITE


def told_of(*assignments: Collection[str] | None) -> tuple[str, ...]:
    """Return which sites hear of a person who is, or was, assigned so. None: to all of them."""
    if any(sites is None for sites in assignments):
        return (EVERY_SITE,)
    return tuple(sorted({site_id for sites in assignments for site_id in sites or ()}))


def told_hash_of(sites: Collection[str] | None) -> tuple[str, ...]:
    """Return which sites may have a person's password hash: those named, none where it is all of them."""
    return () if sites is None else tuple(sorted(sites))


def gained(before: Collection[str] | None, after: Collection[str] | None) -> tuple[str, ...]:
    """Return which sites must learn who a person is: those that did not know, or had no hash."""
    if after is None:
        return () if before is None else (EVERY_SITE,)
    return tuple(sorted(set(after) - set(before or ())))
