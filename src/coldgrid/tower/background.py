"""Background work of a serving tower: that of every host, over the orders of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.node.background import BaseBackground, open_notary
from coldgrid.tower.order_counts import order_counts

if TYPE_CHECKING:
    from coldgrid.tower.application import Tower

SIGNER = "coldgrid"


class Background(BaseBackground):
    """All background work of a tower."""

    def __init__(self, tower: Tower, channels: Mapping[str, Channel]) -> None:
        notary = open_notary(tower.settings, SIGNER, NETWORK_ORIGIN)
        super().__init__(tower, channels, notary, order_counts)
