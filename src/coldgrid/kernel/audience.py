"""Audience: which sites are told of which fact, for every type of event, in this one table.

Invariants
    A1  An audience is part of the fact: it is covered by the leaf and never changes.
    A2  What a site must learn later is said again, in a new event with its own audience.
    A3  No site is told of another site's customers: what names a customer goes to the sites that serve them.

A site's own facts always go up to the tower; an audience on them names other sites beside it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from coldgrid.kernel.events import Event, tag_of

EVERY_SITE = "*"


class Told(StrEnum):
    """Who is told of a fact that its recorder gave no audience. Any recorder may name sites instead."""

    NOBODY = "nobody"
    EVERYONE = "everyone"
    SITE = "the site in the event's own field"
    NAMED = "whom the recorder names"


_SITE_FIELDS = {
    "evidence.fork_found": "log_origin",
    "evidence.fork_settled": "log_origin",
    "network.site_defined": "site",
    "network.zone_defined": "zone",
    "network.location_defined": "location",
    "telemetry.sensor_defined": "sensor",
    "telemetry.gateway_defined": "gateway",
}

AUDIENCES: dict[str, Told] = {
    # every host's own book
    "origin.opened": Told.NOBODY,
    "origin.closed": Told.NOBODY,
    "kernel.effect_delivered": Told.NOBODY,
    "kernel.effect_died": Told.NOBODY,
    "kernel.effect_revived": Told.NOBODY,
    "kernel.reaction_parked": Told.NOBODY,
    "kernel.reaction_resumed": Told.NOBODY,
    "kernel.clock_accepted": Told.NOBODY,
    "kernel.dropped": Told.NOBODY,
    # what is asked of a site, and its answer, which goes up with its other facts
    "kernel.requested": Told.SITE,
    "kernel.answered": Told.NOBODY,
    "evidence.fork_found": Told.SITE,
    "evidence.fork_settled": Told.SITE,
    # people: those who act at a site can sign in there with the WAN down; an erasure reaches every copy
    "access.person_added": Told.NAMED,
    "access.role_granted": Told.NAMED,
    "access.role_revoked": Told.NAMED,
    "access.sites_assigned": Told.NAMED,
    "access.person_admitted": Told.NAMED,
    "access.password_set": Told.NAMED,
    "access.person_suspended": Told.NAMED,
    "access.unit_chosen": Told.NAMED,
    "access.person_reinstated": Told.NAMED,
    "access.token_issued": Told.NAMED,  # the sites that a machine is bound to: it goes on with the WAN down
    "access.token_revoked": Told.NAMED,
    "personal.erased": Told.EVERYONE,  # an opaque id; who never had the data learns nothing from it
    # master data
    "network.change_drafted": Told.NOBODY,
    "network.change_approved": Told.NOBODY,
    "network.change_rejected": Told.NOBODY,
    "network.named": Told.EVERYONE,  # every page shows temperatures in its unit
    "network.set_up_begun": Told.NOBODY,
    "network.set_up_step_skipped": Told.NOBODY,
    "network.set_up_finished": Told.NOBODY,
    "network.site_defined": Told.SITE,
    "network.site_mode_changed": Told.SITE,
    "network.zone_defined": Told.SITE,
    "network.location_defined": Told.SITE,
    "network.lane_defined": Told.NAMED,  # both ends
    "network.group_defined": Told.NAMED,  # every site, but for who answers for the network
    "catalog.product_defined": Told.EVERYONE,
    "catalog.limit_defined": Told.EVERYONE,
    "telemetry.sensor_defined": Told.SITE,
    "telemetry.defrost_planned": Told.SITE,
    "telemetry.gateway_defined": Told.SITE,
    "telemetry.readings_lost": Told.SITE,
    "telemetry.lost_readings_found": Told.SITE,
    # orders and promises: the sites that hold the goods, and of customers only those that serve them
    "orders.placed": Told.NOBODY,
    "orders.resourced": Told.NOBODY,
    "orders.dispatched": Told.NOBODY,
    "orders.line_unsourceable": Told.NOBODY,
    "orders.released": Told.NAMED,
    "orders.canceled": Told.NAMED,
    "orders.customer_notified": Told.NOBODY,
    "network_flows.notice_drafted": Told.NOBODY,
    "network_flows.notice_queued": Told.NOBODY,
    "network_flows.notice_dropped": Told.NOBODY,
    "network_flows.notice_failed": Told.NOBODY,
    "stock.promised": Told.NAMED,
    "stock.promise_released": Told.NAMED,
    "stock.promise_moved": Told.NAMED,
    "stock.promise_kept": Told.NAMED,
    "stock.shortfall": Told.SITE,
    "stock.stock_protected": Told.SITE,
    "stock.staleness_noted": Told.NOBODY,
    # who may sync, and who hosts what: the tower's book, but for what a node is asked to do
    "sync.code_issued": Told.NOBODY,
    "sync.code_withdrawn": Told.NOBODY,
    "sync.node_enrolled": Told.NOBODY,
    "sync.certificate_renewed": Told.NOBODY,
    "sync.certificate_taken_up": Told.NOBODY,
    "sync.certificate_recognised": Told.NOBODY,
    "sync.clone_suspected": Told.NOBODY,
    "sync.node_revoked": Told.NOBODY,
    "sync.authority_replaced": Told.EVERYONE,
    "sync.authority_ended": Told.EVERYONE,
    "sync.site_called_back": Told.SITE,
    "sync.copy_chosen": Told.SITE,
    "sync.copy_settled": Told.SITE,
    "sync.choice_failed": Told.SITE,
    # facts of sites: the tower hears them all; another site only of goods on their way between them
    "stock.transfer_shipped": Told.NAMED,
    "stock.transfer_received": Told.NAMED,
}
# Whose facts, where the table above does not say otherwise, concern nobody but their site and the tower.
SITES_OWN = ("catalog.lot_", "orchestration.", "quality.", "stock.", "telemetry.", "warehouse.")


def rule_of(tag: str) -> Told:
    """Return who is told of a type of event.

    Raises:
        KeyError: the table does not say: add the type there, with its audience.
    """
    told = AUDIENCES.get(tag)
    if told is None:
        if not tag.startswith(SITES_OWN):
            raise KeyError(tag)
        told = Told.NOBODY
    return told


_rules: dict[type[Event], str] = {}


def audience_of(event: Event) -> str:
    """Return the audience of a fact whose recorder named nobody: sites, comma-separated."""
    class_ = type(event)
    rule = _rules.get(class_)
    if rule is None:
        rule = _rules[class_] = _short(tag_of(class_))
    return rule if rule in ("", EVERY_SITE) else _site_in(getattr(event, rule))


def _short(tag: str) -> str:
    """The audience itself, or the field that holds it. A type of another house, as in tests: nobody."""
    told = AUDIENCES.get(tag, Told.NOBODY)
    if told is Told.SITE:
        return _SITE_FIELDS.get(tag, "site_id")
    return EVERY_SITE if told is Told.EVERYONE else ""


def _site_in(value: Any) -> str:
    return value if isinstance(value, str) else str(value.site_id)
