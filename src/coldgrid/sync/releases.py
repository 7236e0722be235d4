"""Releases: which nodes a tower serves. A tower is upgraded first, its nodes one after the other behind it.

Invariants
    E1  A tower serves nodes of its own minor release and of the one before; patches do not matter.
    E2  Any other node is answered precisely and nothing of it is taken: it keeps its facts and readings, goes
        on by itself, and asks again, at least each minute, until one of the two was upgraded.
    E3  A greeting is written in version 1 of the protocol for ever, whatever both go on to speak: each side
        can read what the other one is.
"""

from __future__ import annotations

from coldgrid.kernel.schema import numbers_of
from coldgrid.sync.messages import Code
from coldgrid.sync.wire import Refusal

# This minor release, and the one before; a release changes both, and adds its frozen frames to the tests.
SERVES = ("0.1", "0.0")


def decide_release(node: str, tower: str, serves: tuple[str, ...] = SERVES) -> None:
    """Accept or refuse a node by its release; one that is no number, as in tests, is accepted.

    Raises:
        Refusal: version: the node is newer than the tower, or older than what it serves.
    """
    numbers = numbers_of(node)[:2]
    if not numbers or numbers in {numbers_of(one) for one in serves}:
        return
    facts = {"node": node, "tower": tower, "serves": list(serves)}
    if numbers > numbers_of(tower)[:2]:
        why = (
            f"the node's release {node} is newer than this tower's {tower}: upgrade the tower;"
            " the node keeps what it has until then"
        )
    else:
        why = (
            f"the node's release {node} is older than this tower's {tower} serves ({', '.join(serves)}):"
            " upgrade the node; it keeps what it has until then"
        )
    raise Refusal(Code.VERSION, why, **facts)
