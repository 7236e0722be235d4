"""Recovery: a tower whose database was put back from a copy begins anew behind what it still knows.

Invariants
    R1  The network's log, and that of every site hosted here, goes on in its next epoch: what is decided from
        now on never has the name of an entry that was lost.
    R2  What waits to be sent may have been sent: it is left to a person, as dead letters that say so.
    R3  Nodes that were told more are found at their greeting; what they were told is set aside, and sent here
        to be read, when a person has chosen this tower's copy. The others just go on: their tickets are
        younger than the copy, and are asked for anew.
"""

from __future__ import annotations

from functools import partial

import msgspec

from coldgrid.kernel.decider import Decider
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.outbox import EffectStatus, ReportEffect, effects_of_status
from coldgrid.kernel.reading import Reads
from coldgrid.sync.receiving import forget_link, links

CAUSE = "tower.recovery"
WHY = "the tower was put back from a copy: it may have been sent already"


class Recovered(msgspec.Struct, frozen=True):
    """What was done: the new epoch of each origin, and how many messages were left to a person."""

    epochs: dict[str, int]
    messages: int


def recover(decider: Decider) -> Recovered:
    """Begin the next epochs, and leave what waits to be sent to a person. Once, before the tower serves."""
    hosting: Hosting = decider.shared.hot[Hosting]
    epochs = {}
    for origin in sorted(decider.heads):
        if hosting.here(origin):
            epochs[origin] = decider.reopen(origin).epoch
    decider.reload()
    for link in links(Reads(decider.connection)):
        decider.take(link.site_id, partial(forget_link, site_id=link.site_id), CAUSE)
    messages = 0
    for effect in effects_of_status(Reads(decider.connection), EffectStatus.PENDING):
        if hosting.here(effect.origin):
            told = ReportEffect(
                origin=effect.origin, key=effect.key, delivered=False, why=WHY, permanent=True
            )
            decider.do(told)
            messages += 1
    return Recovered(epochs, messages)
