"""The rules of a change: what is said about it, who may decide it when. Pure; `changes` lists C1 to C5."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, NotFound, Problem

# --- Vocabulary -----------------------------------------------------------------

ITEMS_MAX = 5_000
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
ChangeId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class ChangeStatus(StrEnum):
    """How far a change got."""

    DRAFTED = "drafted"
    APPROVED = "approved"
    REJECTED = "rejected"


class DraftItem(msgspec.Struct, frozen=True):
    """One item of a change: what it shall be, and the change that made it what it is (C4)."""

    kind: str
    key: str
    base: str
    body: dict[str, Any]


class ItemRef(msgspec.Struct, frozen=True):
    """An item by kind and key."""

    kind: str
    key: str


# --- Events ---------------------------------------------------------------------


class ChangeDrafted(Event, frozen=True, tag="network.change_drafted"):
    """Somebody proposed a change. Personal data in the bodies is sealed."""

    change_id: str
    items: list[DraftItem]
    reason: str


class ChangeApproved(Event, frozen=True, tag="network.change_approved"):
    """Somebody else agreed (or the only admin); what each item now is follows in the same transaction."""

    change_id: str
    items: list[ItemRef]
    reason: str


class ChangeRejected(Event, frozen=True, tag="network.change_rejected"):
    """Somebody refused a change, or its drafter withdrew it."""

    change_id: str
    reason: str


# --- Rejections -----------------------------------------------------------------


class ChangeNotFound(NotFound):
    """There is no such change."""


class ChangeExists(Conflict):
    """There is already a change with this id."""

    todo = "Draft it under a new id."


class ChangeAlreadyDecided(Conflict):
    """The change was approved or rejected before (C3)."""


class ApproverDrafted(Forbidden):
    """A change must be approved by someone other than the person who drafted it (C2)."""

    todo = "Ask a colleague who may approve changes."


class NotTheDrafter(Forbidden):
    """A change is taken back by the person who drafted it."""


class ChangeStale(Conflict):
    """Another change touched the same items since this one was drafted (C4)."""

    todo = "Reject this change and draft it again on what is in force now."


class NothingChanges(Conflict):
    """Every item already is what the change asks for (C5)."""


# --- Decisions ------------------------------------------------------------------


class Change(msgspec.Struct, frozen=True):
    """A change as readers see it, without its items."""

    change_id: str
    status: ChangeStatus
    reason: str
    drafted_by: str
    drafted_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    item_count: int


class DraftChange(Command, frozen=True, tag="network.draft_change"):
    """Propose a change. An item is an object with `kind` and the fields of that kind, all of them."""

    change_id: ChangeId
    items: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]
    reason: Reason


class ApproveChange(Command, frozen=True, tag="network.approve_change"):
    """Agree to a change that somebody else drafted."""

    change_id: ChangeId
    reason: Reason


class RejectChange(Command, frozen=True, tag="network.reject_change"):
    """Refuse a change."""

    change_id: ChangeId
    reason: Reason


class WithdrawChange(Command, frozen=True, tag="network.withdraw_change"):
    """Take back a change that one drafted oneself."""

    change_id: ChangeId
    reason: Reason


class Drafted(msgspec.Struct, frozen=True):
    """The answer to a draft: how many items differ from what is in force, and how many do not."""

    change_id: str
    items: int
    unchanged: int


def decide_approve(
    change: Change,
    items: Sequence[DraftItem],
    in_force: Sequence[str],
    actor: str,
    reason: str,
    *,
    alone: bool = False,
) -> ChangeApproved:
    """Return the event that approves a change, or reject (C2, C3, C4).

    `in_force`: each item's base now. `alone`: nobody else could approve anything.
    """
    _still_open(change)
    if change.drafted_by == actor and not alone:
        raise ApproverDrafted(change_id=change.change_id, drafted_by=change.drafted_by)
    stale = [
        f"{item.kind} {item.key}" for item, base in zip(items, in_force, strict=True) if item.base != base
    ]
    if stale:
        raise ChangeStale(change_id=change.change_id, items=stale)
    refs = [ItemRef(item.kind, item.key) for item in items]
    return ChangeApproved(change_id=change.change_id, items=refs, reason=reason)


def decide_reject(change: Change, reason: str) -> ChangeRejected:
    """Return the event that refuses a change, or reject (C3)."""
    _still_open(change)
    return ChangeRejected(change_id=change.change_id, reason=reason)


def decide_withdraw(change: Change, actor: str, reason: str) -> ChangeRejected:
    """Return the event that takes a change back, or reject (C3)."""
    if change.drafted_by != actor:
        raise NotTheDrafter(change_id=change.change_id, drafted_by=change.drafted_by)
    return decide_reject(change, reason)


def _still_open(change: Change) -> None:
    if change.status is not ChangeStatus.DRAFTED:
        raise ChangeAlreadyDecided(
            change_id=change.change_id, status=change.status, decided_by=change.decided_by
        )


def said_why(reason: str) -> None:
    """Reject a reason that says nothing.

    Raises:
        Invalid: it is empty or blank.
    """
    if not reason.strip():
        raise Invalid(
            [Problem(field="reason", message="is empty", fix="say why, for whoever reads it later")]
        )
