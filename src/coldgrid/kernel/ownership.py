"""Who owns which stream: one owner for each stream type, in this one table.

A site's facts must stay writable with the WAN down, so what is done or measured at a site belongs
to the site's origin. What must be decided once for the network belongs to the network's origin.
"""

from __future__ import annotations

from enum import StrEnum

NETWORK_ORIGIN = "network"


class Owner(StrEnum):
    """Which kind of origin may extend a stream.

    HOST is for commands that extend none: they write rows of whichever host carries them out.
    """

    SITE = "site"
    NETWORK = "network"
    ANY = "any"
    HOST = "host"


# The members by themselves, for what every command and event is asked: looking one up in its enumeration
# costs more than the rest of the question.
OF_NETWORK, OF_ANY, OF_HOST = Owner.NETWORK, Owner.ANY, Owner.HOST

STREAM_OWNERS: dict[str, Owner] = {
    # the kernel's own: each origin keeps its own book
    "origin": Owner.ANY,
    "kernel": Owner.ANY,
    "effect": Owner.ANY,
    "decision": Owner.ANY,
    "answer": Owner.SITE,
    # the network's
    "subject": Owner.NETWORK,
    "request": Owner.NETWORK,
    "person": Owner.NETWORK,
    "token": Owner.NETWORK,
    "change": Owner.NETWORK,
    "profile": Owner.NETWORK,
    "site": Owner.NETWORK,
    "zone": Owner.NETWORK,
    "location": Owner.NETWORK,
    "lane": Owner.NETWORK,
    "group": Owner.NETWORK,
    "rota": Owner.NETWORK,
    "product": Owner.NETWORK,
    "limit": Owner.NETWORK,
    "defrost": Owner.NETWORK,
    "loss": Owner.NETWORK,  # who receives a site's readings knows that no host has them
    "order": Owner.NETWORK,
    "shortfall": Owner.NETWORK,
    "notice": Owner.NETWORK,
    "trial": Owner.NETWORK,
    "enrolment": Owner.NETWORK,
    "node": Owner.NETWORK,
    "authority": Owner.NETWORK,
    "handover": Owner.NETWORK,
    # a site's
    "lot": Owner.SITE,
    "unit": Owner.SITE,
    "transfer": Owner.SITE,
    "dispatch": Owner.SITE,
    "pick": Owner.SITE,
    "hold": Owner.SITE,
    "pause": Owner.SITE,
    "gateway": Owner.NETWORK,
    "device": Owner.SITE,  # what a site's gateways hear
    "sensor": Owner.ANY,  # declared by the network, its health and readings are the site's
    "block": Owner.SITE,
    "alarm": Owner.SITE,
    "excursion": Owner.SITE,
    "deviation": Owner.SITE,
    "disposition": Owner.SITE,
    "measurement": Owner.SITE,  # by hand, or by a supplier's logger
    "incident": Owner.ANY,  # a site's; the network's own are about what no single site answers for
    "run": Owner.ANY,  # of an incident, and so are its approvals and pages: whose the incident is
    "approval": Owner.ANY,
    "page": Owner.ANY,
}


def owner_of(stream: str) -> Owner:
    """Return who owns a stream named `kind/id`.

    Raises:
        KeyError: the kind is not in the table: add it there, with its owner.
    """
    return STREAM_OWNERS[stream.partition("/")[0]]


def may_extend(origin: str, stream: str) -> bool:
    """Tell whether an origin may append to a stream."""
    owner = STREAM_OWNERS[stream.partition("/")[0]]
    return owner is OF_ANY or (origin == NETWORK_ORIGIN) == (owner is OF_NETWORK)
