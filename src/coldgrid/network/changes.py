"""Changes to master data: somebody drafts, somebody else approves, and both say why.

Invariants
    C1  Master data changes only by an approved change, which applies all of its items or none.
    C2  Who drafted a change never approves it, unless nobody else could: the network's only admin agrees with
        themselves, and the log says so (same actor twice). With a second admin that is over.
    C3  A change is decided once: approved or rejected.
    C4  A change is approved only on the base it was drafted on: when another change touched one of its items
        since, it is stale and must be drafted again.
    C5  Items that equal what is in force are left out; a change of nothing is refused.

An item's revision is the change that last defined it, so a base is a change's id, or "" for a new item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.access.people import working_admins
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.change_rules import (
    ApproveChange,
    Change,
    ChangeApproved,
    ChangeDrafted,
    ChangeExists,
    ChangeNotFound,
    ChangeRejected,
    ChangeStatus,
    DraftChange,
    Drafted,
    DraftItem,
    NothingChanges,
    RejectChange,
    WithdrawChange,
    decide_approve,
    decide_reject,
    decide_withdraw,
    said_why,
)
from coldgrid.network.items import Batch, Item, item_kinds, names_of, read_items, within

# --- Tables and projections -----------------------------------------------------

network_change = sa.Table(
    "network_change",
    metadata,
    sa.Column("change_id", sa.Text, primary_key=True),
    sa.Column("status", Named(ChangeStatus), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("drafted_by", sa.Text, nullable=False),
    sa.Column("drafted_at", Instant, nullable=False, index=True),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", Instant),
    sa.Column("decision_reason", sa.Text),
    sa.Column("item_count", sa.BigInteger, nullable=False),
    info={"origin": "network"},
)
network_change_item = sa.Table(
    "network_change_item",
    metadata,
    sa.Column("change_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("ordinal", sa.BigInteger, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("body", Json(dict[str, Any]), nullable=False),
    sa.Index("ix_network_change_item_key", "kind", "key"),
    info={"origin": "network"},
)
# What is in force: the change that last defined each item.
network_master = sa.Table(
    "network_master",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("change_id", sa.Text, nullable=False),
    info={"origin": "network"},
)

_NEW_CHANGE = Statement(network_change.insert())
_NEW_ITEM = Statement(network_change_item.insert())
_IN_FORCE = Statement(upsert(network_master, keys=["kind", "key"], set_=["change_id"]))
_DECIDE = Statement(
    network_change.update()
    .where(network_change.c.change_id == sa.bindparam("whose"))
    .values(
        status=sa.bindparam("status"),
        decided_by=sa.bindparam("decided_by"),
        decided_at=sa.bindparam("decided_at"),
        decision_reason=sa.bindparam("decision_reason"),
    )
)


@projects(ChangeDrafted)
def _keep_draft(tx: Tx, event: ChangeDrafted) -> None:
    tx.write(
        _NEW_CHANGE,
        change_id=event.change_id,
        status=ChangeStatus.DRAFTED,
        reason=event.reason,
        drafted_by=tx.actor,
        drafted_at=tx.now,
        decided_by=None,
        decided_at=None,
        decision_reason=None,
        item_count=len(event.items),
    )
    for ordinal, item in enumerate(event.items):
        fields = msgspec.structs.asdict(item)
        tx.write(_NEW_ITEM, change_id=event.change_id, ordinal=ordinal, **fields)


@projects(ChangeApproved)
def _put_in_force(tx: Tx, event: ChangeApproved) -> None:
    for ref in event.items:
        tx.write(_IN_FORCE, kind=ref.kind, key=ref.key, change_id=event.change_id)
    _keep_decision(tx, event.change_id, ChangeStatus.APPROVED, event.reason)


@projects(ChangeRejected)
def _put_aside(tx: Tx, event: ChangeRejected) -> None:
    _keep_decision(tx, event.change_id, ChangeStatus.REJECTED, event.reason)


def _keep_decision(tx: Tx, change_id: str, status: ChangeStatus, reason: str) -> None:
    tx.write(
        _DECIDE,
        whose=change_id,
        status=status,
        decided_by=tx.actor,
        decided_at=tx.now,
        decision_reason=reason,
    )


# --- Commands -------------------------------------------------------------------


@handles(DraftChange, action="network.draft_change", owner=Owner.NETWORK)
def draft_change(tx: Tx, command: DraftChange) -> Drafted:
    """Check every item and keep the change for somebody else to approve."""
    said_why(command.reason)
    if tx.one(_GET, change_id=command.change_id) is not None:
        raise ChangeExists(change_id=command.change_id)
    items, problems = check_items(tx, command.items)
    if problems:
        raise Invalid(problems)
    drafts = [_draft_item(tx, item) for item in items]
    changed = [draft for draft in drafts if draft.body != body_in_force(tx, draft.kind, draft.key)]
    if not changed:
        raise NothingChanges(items=len(drafts))
    tx.record(
        f"change/{command.change_id}",
        ChangeDrafted(change_id=command.change_id, items=changed, reason=command.reason),
    )
    return Drafted(command.change_id, len(changed), len(drafts) - len(changed))


def _draft_item(tx: Tx, item: Item) -> DraftItem:
    privacy = item_kinds()[item.kind].privacy
    stored = item.value if privacy is None else privacy.seal(tx, item.value)
    return DraftItem(item.kind, item.key, base_of(tx, item.kind, item.key), msgspec.to_builtins(stored))


@handles(ApproveChange, action="network.approve_change", owner=Owner.NETWORK)
def approve_change(tx: Tx, command: ApproveChange) -> None:
    """Put a change in force: its items are checked once more, then each is defined."""
    said_why(command.reason)
    change = get_change(tx, command.change_id)
    drafts = items_of(tx, command.change_id)
    bases = [base_of(tx, draft.kind, draft.key) for draft in drafts]
    alone = works_alone(tx, tx.actor)
    event = decide_approve(change, drafts, bases, tx.actor, command.reason, alone=alone)
    stored = [msgspec.convert(draft.body, item_kinds()[draft.kind].stored) for draft in drafts]
    items = [
        Item(draft.kind, draft.key, opened(tx, draft.kind, value))
        for draft, value in zip(drafts, stored, strict=True)
    ]
    problems = _checked(tx, list(items))
    if problems:
        raise Invalid(problems)
    tx.record(f"change/{command.change_id}", event)
    for draft, value in zip(drafts, stored, strict=True):
        item_kinds()[draft.kind].define(tx, value)


@handles(RejectChange, action="network.reject_change", owner=Owner.NETWORK)
def reject_change(tx: Tx, command: RejectChange) -> None:
    """Put a change aside."""
    said_why(command.reason)
    event = decide_reject(get_change(tx, command.change_id), command.reason)
    tx.record(f"change/{command.change_id}", event)


@handles(WithdrawChange, action="network.draft_change", owner=Owner.NETWORK)
def withdraw_change(tx: Tx, command: WithdrawChange) -> None:
    """Take back one's own change."""
    said_why(command.reason)
    event = decide_withdraw(get_change(tx, command.change_id), tx.actor, command.reason)
    tx.record(f"change/{command.change_id}", event)


# --- Queries --------------------------------------------------------------------


def _waiting(change_id: str, *row: Any) -> tuple[str, DraftItem]:
    return change_id, DraftItem(*row)


_COLUMNS = [network_change.c[name] for name in Change.__struct_fields__]
_GET = Statement(
    sa.select(*_COLUMNS).where(network_change.c.change_id == sa.bindparam("change_id")), into=Change
)
_LIST = Statement(
    sa.select(*_COLUMNS)
    .where(network_change.c.status.in_(sa.bindparam("statuses", expanding=True)))
    .order_by(network_change.c.drafted_at.desc(), network_change.c.change_id)
    .limit(sa.bindparam("most")),
    into=Change,
)
_COUNT = Statement(
    sa.select(sa.func.count())
    .select_from(network_change)
    .where(network_change.c.status.in_(sa.bindparam("statuses", expanding=True)))
)
_ITEM_COLUMNS = [network_change_item.c[name] for name in DraftItem.__struct_fields__]
_ITEMS = Statement(
    sa.select(*_ITEM_COLUMNS)
    .where(network_change_item.c.change_id == sa.bindparam("change_id"))
    .order_by(network_change_item.c.ordinal),
    into=DraftItem,
)
_WAITING = Statement(
    sa.select(network_change_item.c.change_id, *_ITEM_COLUMNS)
    .join(network_change, network_change.c.change_id == network_change_item.c.change_id)
    .where(
        network_change.c.status == ChangeStatus.DRAFTED, network_change_item.c.kind == sa.bindparam("kind")
    )
    .order_by(network_change_item.c.change_id, network_change_item.c.ordinal),
    into=_waiting,
)
_BASE = Statement(
    sa.select(network_master.c.change_id).where(
        network_master.c.kind == sa.bindparam("kind"), network_master.c.key == sa.bindparam("key")
    )
)
_BODY = Statement(
    sa.select(network_change_item.c.body).where(
        network_change_item.c.change_id == sa.bindparam("change_id"),
        network_change_item.c.kind == sa.bindparam("kind"),
        network_change_item.c.key == sa.bindparam("key"),
    )
)
_HISTORY = Statement(
    sa.select(*_COLUMNS)
    .join(network_change_item, network_change_item.c.change_id == network_change.c.change_id)
    .where(
        network_change_item.c.kind == sa.bindparam("kind"), network_change_item.c.key == sa.bindparam("key")
    )
    .order_by(network_change.c.drafted_at.desc(), network_change.c.change_id)
    .limit(sa.bindparam("most")),
    into=Change,
)


def check_items(db: Reader, raws: Sequence[Any]) -> tuple[list[Item], list[Problem]]:
    """Read and check the items of a change as a whole; list every problem, each under `items[n].field`."""
    read, problems = read_items(raws)
    problems += _checked(db, read, names_of(raws))
    return [item for item in read if item is not None], problems


def _checked(
    db: Reader, items: Sequence[Item | None], named: Sequence[tuple[str, str]] = ()
) -> list[Problem]:
    batch = Batch(((item.kind, item.key, item.value) for item in items if item is not None), named)
    problems: list[Problem] = []
    for index, item in enumerate(items):
        if item is not None:
            wrong = item_kinds()[item.kind].check(db, item.value, batch)
            problems += within(f"items[{index}]", wrong)
    return problems


def works_alone(db: Reader, actor: str) -> bool:
    """Tell whether a person is the only one who could approve a change (C2)."""
    return working_admins(db) == [actor]


def known(db: Reader, batch: Batch, kind: str, key: str) -> bool:
    """Tell whether an item is in force or comes with the same change."""
    return batch.has(kind, key) or base_of(db, kind, key) != ""


def base_of(db: Reader, kind: str, key: str) -> str:
    """Return the change that last defined an item, or "" where there is none."""
    return db.value(_BASE, kind=kind, key=key) or ""


def body_in_force(db: Reader, kind: str, key: str) -> dict[str, Any] | None:
    """Return an item as it is stored now, or None."""
    return body_at(db, base_of(db, kind, key), kind, key)


def body_at(db: Reader, change_id: str, kind: str, key: str) -> dict[str, Any] | None:
    """Return an item as a change stored it, or None."""
    row = db.one(_BODY, change_id=change_id, kind=kind, key=key)
    return None if row is None else row[0]


def opened(db: Reader, kind: str, stored: Any) -> Any:
    """Return an item with its personal data readable; blank where the person was erased."""
    privacy = item_kinds()[kind].privacy
    return stored if privacy is None else privacy.open(db, stored)


def get_change(db: Reader, change_id: str) -> Change:
    """Return one change.

    Raises:
        ChangeNotFound: there is none of this id.
    """
    change = db.one(_GET, change_id=change_id)
    if change is None:
        raise ChangeNotFound(change_id=change_id)
    return change


def waiting_items(db: Reader, kind: str) -> list[tuple[str, DraftItem]]:
    """Return the items of a kind that are drafted and not decided, each with its change."""
    return db.all(_WAITING, kind=kind)


def list_changes(db: Reader, status: ChangeStatus | None = None, limit: int = 100) -> list[Change]:
    """Return the newest changes, of one status or of all."""
    return db.all(_LIST, statuses=[status] if status else list(ChangeStatus), most=limit)


def count_changes(db: Reader, status: ChangeStatus | None = None) -> int:
    """Return how many changes there are, of one status or of all."""
    return int(db.value(_COUNT, statuses=[status] if status else list(ChangeStatus)))


def items_of(db: Reader, change_id: str) -> list[DraftItem]:
    """Return a change's items as they are stored, in order."""
    return db.all(_ITEMS, change_id=change_id)


def history_of(db: Reader, kind: str, key: str, limit: int = 50) -> list[Change]:
    """Return the changes that touched an item, newest first: who wanted what, who agreed, and why."""
    return db.all(_HISTORY, kind=kind, key=key, most=limit)
