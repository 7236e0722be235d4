"""Choices: a person says which copy of a site's log is kept, and by that ends its quarantine.

Invariants
    C1  Only a log in quarantine has a choice, one at a time; a later one replaces one not carried out.
    C2  The quarantine ends when the choice was carried out: both sides then tell the same history.
    C3  What is not kept is set aside verbatim (`kernel.set_aside`), and nothing of it that others were told.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.evidence import forks
from coldgrid.evidence.forks import ForkSettled
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

TOWER, NODE = "tower", "node"
REASON_LEAST, REASON_MAX = 3, 2_000
FEED_EPOCH = 0  # under which a feed that the tower does not know is reported

# --- Vocabulary -------------------------------------------------------------------


class CopyChosen(Event, frozen=True, tag="sync.copy_chosen"):
    """A person chose which copy of a site's log is kept: `tower` or `node`."""

    site_id: str
    keep: str
    reason: str


class CopySettled(Event, frozen=True, tag="sync.copy_settled"):
    """The choice was carried out. Both copies were the same up to `size` entries of `epoch`, `leaf` the last.

    `entries`: how many the tower set aside; the node tells of its own when it sends copies of them.
    """

    site_id: str
    keep: str
    epoch: int
    size: int
    leaf: str
    entries: int


class ChoiceFailed(Event, frozen=True, tag="sync.choice_failed"):
    """The choice cannot be carried out: a person has to choose again."""

    site_id: str
    keep: str
    why: str


class ChooseCopy(Command, frozen=True, tag="sync.choose_copy"):
    """Choose which copy of a quarantined site's log is kept: `tower` or `node`, and why."""

    site_id: str
    keep: str
    reason: str


class NotQuarantined(NotFound):
    """The site's log is not in quarantine: there is nothing to choose."""

    todo = (
        "Look at the page of nodes. A node that is refused as a copy (node_cloned) is let in first: coldgrid "
        "tower code SITE --node NODE, join with the code, start it, then choose. Where all is well, nothing "
        "was sent since the copy, and nothing is to be done."
    )


class FeedDiffers(Conflict):
    """The node was told what the tower does not know: of the network's log it has parts only."""

    todo = "Keep the tower's copy; what the node was told is set aside and sent to the tower to be read."


class Choice(msgspec.Struct, frozen=True):
    """A choice as it stands. `state`: open, settled, or failed with `told` saying why; else what was done."""

    site_id: str
    keep: str
    reason: str
    chosen_at: datetime
    chosen_by: str
    state: str
    told: str


# --- Table and projections --------------------------------------------------------

sync_choice = sa.Table(
    "sync_choice",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("keep", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("chosen_at", Instant, nullable=False),
    sa.Column("chosen_by", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("told", sa.Text, nullable=False),
    info={"origin": "network"},
)
_CHOSEN = Statement(
    upsert(
        sync_choice,
        keys=["site_id"],
        set_=["keep", "reason", "chosen_at", "chosen_by", "state", "told"],
    )
)
_ENDED = Statement(
    sync_choice.update()
    .where(sync_choice.c.site_id == sa.bindparam("whose"))
    .values(state=sa.bindparam("now_state"), told=sa.bindparam("now_told"))
)
_ONE = Statement(sa.select(sync_choice).where(sync_choice.c.site_id == sa.bindparam("site_id")), into=Choice)


@projects(CopyChosen)
def _chosen(tx: Tx, event: CopyChosen) -> None:
    tx.write(
        _CHOSEN,
        site_id=event.site_id,
        keep=event.keep,
        reason=event.reason,
        chosen_at=tx.now,
        chosen_by=tx.actor,
        state="open",
        told="",
    )


@projects(CopySettled)
def _settled(tx: Tx, event: CopySettled) -> None:
    told = f"the same up to entry {event.size} of epoch {event.epoch}; {event.entries} set aside at the tower"
    tx.write(_ENDED, whose=event.site_id, now_state="settled", now_told=told)


@projects(ChoiceFailed)
def _failed(tx: Tx, event: ChoiceFailed) -> None:
    tx.write(_ENDED, whose=event.site_id, now_state="failed", now_told=event.why)


# --- Commands ---------------------------------------------------------------------


@handles(ChooseCopy, action="sync.choose_copy", owner=Owner.NETWORK)
def choose_copy(tx: Tx, command: ChooseCopy) -> None:
    """Write the choice down; the node hears of it with its next greeting, and carries it out (C1, C2)."""
    problems = []
    if command.keep not in (TOWER, NODE):
        problems.append(Problem(field="keep", message="choose `tower` or `node`"))
    if not REASON_LEAST <= len(command.reason.strip()) <= REASON_MAX:
        problems.append(Problem(field="reason", message="say what you found, and why this copy is kept"))
    if problems:
        raise Invalid(problems)
    barred = [fork for fork in forks.open_forks(tx) if fork.origin == command.site_id]
    if not barred:
        raise NotQuarantined(site_id=command.site_id)
    if command.keep == NODE and any(fork.epoch == FEED_EPOCH for fork in barred):
        raise FeedDiffers(site_id=command.site_id)
    chosen = CopyChosen(site_id=command.site_id, keep=command.keep, reason=command.reason.strip())
    tx.record(f"origin/{command.site_id}", chosen)


def settle(tx: Tx, choice: Choice, epoch: int, size: int, leaf: bytes, entries: int) -> None:
    """Record that a choice was carried out, and end the quarantine of every log of the site (C2)."""
    done = CopySettled(
        site_id=choice.site_id, keep=choice.keep, epoch=epoch, size=size, leaf=leaf.hex(), entries=entries
    )
    tx.record(f"origin/{choice.site_id}", done)
    reason = f"The {choice.keep}'s copy is kept: {choice.reason}"
    for fork in forks.open_forks(tx):
        if fork.origin == choice.site_id:
            ended = ForkSettled(log_origin=fork.origin, log_epoch=fork.epoch, reason=reason)
            tx.record(f"origin/{fork.origin}", ended)


# --- Queries ----------------------------------------------------------------------


def choice_of(db: Reader, site_id: str) -> Choice | None:
    """Return what was chosen last for a site's log; None where there never was a choice."""
    return db.one(_ONE, site_id=site_id)


def open_choice(db: Reader, site_id: str) -> Choice | None:
    """Return the choice that waits to be carried out, or None."""
    choice = choice_of(db, site_id)
    return choice if choice is not None and choice.state == "open" else None
