"""Topics of Sparkplug B, as far as a host application reads them. Pure."""

from __future__ import annotations

import msgspec

NAMESPACE = "spBv1.0"
NODE_KINDS = frozenset({"NBIRTH", "NDEATH", "NDATA"})
DEVICE_KINDS = frozenset({"DBIRTH", "DDEATH", "DDATA"})


class Topic(msgspec.Struct, frozen=True):
    """A message's place. `device` empty: the edge node's own."""

    kind: str
    group: str
    node: str
    device: str = ""

    @property
    def place(self) -> str:
        """GROUP/NODE."""
        return f"{self.group}/{self.node}"

    @property
    def name(self) -> str:
        """GROUP/NODE or GROUP/NODE/DEVICE."""
        return f"{self.place}/{self.device}" if self.device else self.place


def topic_of(topic: str) -> Topic | None:
    """Return what a topic names; None: nothing of Sparkplug B that a host reads."""
    levels = topic.split("/")
    if not 4 <= len(levels) <= 5 or levels[0] != NAMESPACE or not all(levels):
        return None
    kinds = NODE_KINDS if len(levels) == 4 else DEVICE_KINDS
    if levels[2] not in kinds:
        return None
    return Topic(levels[2], levels[1], levels[3], *levels[4:])
