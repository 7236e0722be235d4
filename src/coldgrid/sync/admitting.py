"""Admitting: a node that enrols finds the people of its site in its feed, whenever they were added."""

from __future__ import annotations

from coldgrid.access.words import AdmitPeople
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.sync.node_words import NodeEnrolled


@reacts(NodeEnrolled, name="sync.admit_people")
def admit_people(tx: Tx, event: NodeEnrolled) -> None:
    """Tell the site of those who act there and of whom it was never told."""
    tx.run(AdmitPeople(site_id=event.site_id))
