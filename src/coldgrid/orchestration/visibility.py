"""Who sees what of a site's incidents, and the time zone it is told in."""

from __future__ import annotations

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.network.sites import get_site
from coldgrid.orchestration.incidents import Incident, IncidentNotFound, get_incident
from coldgrid.webkit.visitors import Visitor


def visible(visitor: Visitor, site_id: str) -> bool:
    """Tell whether a visitor is responsible for a site."""
    sites = visitor.principal.sites
    return sites is None or site_id in sites


def incident_for(visitor: Visitor, db: Reader, incident_id: str) -> Incident:
    """Return an incident that the visitor may see.

    Raises:
        IncidentNotFound: there is none, or none for them.
    """
    found = get_incident(db, incident_id)
    if not visible(visitor, found.site_id):
        raise IncidentNotFound(incident_id=incident_id)
    return found


def timezone_of(db: Reader, site_id: str) -> str:
    """The time zone that a site's instants are told in."""
    try:
        return get_site(db, site_id).timezone
    except Rejected:  # an incident outlives its site
        return "UTC"
