"""The map of a Sparkplug gateway. Pure; needs no extra.

    groups: [Stores]           # which groups of edge nodes are this site's; left out: every one
    nodes: [rack-1, rack-2]    # which edge nodes of them; left out: every one
    host_id: coldgrid-ATL1     # what edge nodes call their primary host; left out: coldgrid-GATEWAY
    client_id: coldgrid-ATL1   # this host's session at the broker; left out: as host_id
    session: kept              # clean: the broker forgets what came while this host was away
    broker: plain              # aware: it keeps the last births ($sparkplug/certificates)

A point is GROUP/NODE/DEVICE/METRIC; a metric of the edge node itself has an empty DEVICE: GROUP/NODE//METRIC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from coldgrid.adapters.device_map import Fields, Sheet
from coldgrid.kernel.rejections import Problem

FILTERS_MAX = 50
WILD = "+"


class SparkplugMap(msgspec.Struct, frozen=True, kw_only=True):
    """What a map says; empty: as the gateway is named."""

    groups: tuple[str, ...] = (WILD,)
    nodes: tuple[str, ...] = (WILD,)
    host_id: str = ""
    client_id: str = ""
    session: str = "kept"
    broker: str = "plain"

    def filters(self) -> list[str]:
        """Return the topics to subscribe to: no commands, which are for edge nodes."""
        kinds = (
            ("NBIRTH", ""),
            ("NDATA", ""),
            ("NDEATH", ""),
            ("DBIRTH", "/+"),
            ("DDATA", "/+"),
            ("DDEATH", "/+"),
        )
        return [
            f"spBv1.0/{group}/{kind}/{node}{rest}"
            for group in self.groups
            for node in self.nodes
            for kind, rest in kinds
        ]


def read_map(text: str) -> tuple[SparkplugMap, list[Problem]]:
    """Read a map; total on any text."""
    if not text.strip():
        return SparkplugMap(), []
    sheet = Sheet(text)
    top = sheet.top
    found = SparkplugMap(
        groups=_ids(top, "groups"),
        nodes=_ids(top, "nodes"),
        host_id=_id(top, "host_id"),
        client_id=_id(top, "client_id"),
        session=top.choice("session", ("kept", "clean"), "kept"),
        broker=top.choice("broker", ("plain", "aware"), "plain"),
    )
    top.done()
    if len(found.groups) * len(found.nodes) > FILTERS_MAX:
        message = f"{len(found.groups)} groups times {len(found.nodes)} nodes are too many subscriptions"
        top.wrong("nodes", message, f"at most {FILTERS_MAX}, or share them out to two gateways")
    return found, sheet.problems


def problems_of_map(text: str) -> Sequence[Problem]:
    """Return what is wrong with a map."""
    return read_map(text)[1]


class _Ids(Collection[str]):
    """Every name that can stand in a topic."""

    def __contains__(self, text: object) -> bool:
        return (
            isinstance(text, str)
            and 0 < len(text) <= 60
            and text.isprintable()
            and not set(text) & set("+#/")
        )

    def __iter__(self) -> Iterator[str]:
        return iter(("1 to 60 characters without +, # and /",))

    def __len__(self) -> int:
        return 1


def _id(fields: Fields, name: str) -> str:
    return fields.choice(name, _Ids(), "")


def _ids(fields: Fields, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fields.names(name, _Ids()))) or (WILD,)
