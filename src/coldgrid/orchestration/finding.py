"""Finding: incidents by the beginning or the end of their number, for the search."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.incidents import INCIDENT_NAMES, get_incident
from coldgrid.webkit.hits import Hit, register_finder


def find_incidents(db: Reader, sites: Collection[str] | None, text: str, most: int) -> list[Hit]:
    """Return incidents of some sites (None: any), closed ones too."""
    found = [get_incident(db, one.thing_id) for one in INCIDENT_NAMES.find(db, sites, text, most)]
    return [
        Hit(
            "Incident",
            one.incident_id,
            f"{one.title} · {one.status.value.replace('_', ' ')}",
            f"/incidents/{quote(one.incident_id, safe='')}",
        )
        for one in found
    ]


register_finder("orchestration.incidents", find_incidents, order=50)
