"""Known sites: hot state by which the kernel tells a site of the network from a name that was mistyped.

Invariants
    W1  The log of a site begins only where the site is defined (`registry.checks_origins`), or is the one
        that this database was made for: a node may begin before it was told of the network.
    W2  It changes only in a projection, with its undo; loading it afresh gives the same.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial

from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import checks_origins, hot_state, projects
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import SiteDefined, SiteNotFound, site_labels

CLOSE_MAX = 3
ID_MAX = 64  # a longer name is compared by its beginning: matching takes time by length


@hot_state
class KnownSites:
    """The ids of every site that was defined."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    @classmethod
    def load(cls, reader: Reader) -> KnownSites:
        """Read the sites from the table."""
        state = cls()
        state.ids = {label.site_id for label in site_labels(reader)}
        return state


@projects(SiteDefined)
def _know(tx: Tx, event: SiteDefined) -> None:
    if tx.rebuilding:
        return
    ids = tx.hot(KnownSites).ids
    if event.site_id not in ids:
        ids.add(event.site_id)
        tx.undo(partial(ids.discard, event.site_id))


def close_to(site_id: str, among: set[str]) -> list[str]:
    """Return the ids that were probably meant, the likeliest first; at most three."""
    return get_close_matches(site_id[:ID_MAX].upper(), sorted(among), n=CLOSE_MAX)


@checks_origins
def refuse_unknown_site(tx: Tx, origin: str) -> None:
    """Refuse to begin the log of a site that was never defined (W1).

    Raises:
        SiteNotFound: with the close ones among the sites that the caller may know of.
    """
    ids = tx.hot(KnownSites).ids
    if origin in ids or tx.hot(Hosting).told.get(origin):
        return
    own = tx.principal.sites
    raise SiteNotFound(site_id=origin, close=close_to(origin, ids if own is None else ids & own))
