"""Telling customers: when a notice is drafted, who must agree, how it goes out. Facts are in `notices`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from coldgrid.catalog.products import get_product
from coldgrid.kernel import log
from coldgrid.kernel.events import Command
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.outbox import Effect, EffectDelivered, EffectDied
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, on_timer, reacts
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.network_flows.notices import (
    CustomerNotified,
    Notice,
    NoticeDrafted,
    NoticeDropped,
    NoticeFailed,
    NoticeQueued,
    NoticeStatus,
    find_notice,
    notices_of,
    waiting_notices,
)
from coldgrid.network_flows.wording import NoticeKind, NoticeLine, compose
from coldgrid.orchestration.approval_rules import (
    ApprovalDecided,
    ApprovalLapsed,
    ApprovalNotFound,
    RequestApproval,
)
from coldgrid.orchestration.approvals import get_approval
from coldgrid.orchestration.decisions import Alternative, Decision
from coldgrid.orchestration.incidents import open_incident_of
from coldgrid.orders.intake import Customer, subject_of
from coldgrid.orders.orders import (
    LineUnsourceable,
    Order,
    OrderCanceled,
    OrderResourced,
    find_order,
    get_order,
)
from coldgrid.orders.sourcing import Unsourceable
from coldgrid.stock.shortfalls import Shortfall

POLICY = "notices-1"
ROLE = "customer_care"
TELL, KEEP_QUIET = "tell", "keep_quiet"
# A parcel that comes a little later is no news: what was promised is a delivery, not a minute.
LATER_BY = timedelta(minutes=30)
CHUNK = 50
TIMER = "network_flows.notices"
_UNTOLD = (NoticeStatus.WAITING,)
_TOLD = (NoticeStatus.QUEUED, NoticeStatus.DELIVERED)


class DraftNotice(Command, frozen=True, tag="network_flows.draft_notice"):
    """Tell an order's customer something: at once, or once `approval_id` was agreed to."""

    notice_id: str
    order_id: str
    kind: NoticeKind
    lines: list[NoticeLine]
    approval_id: str = ""


class SettleNotices(Command, frozen=True, tag="network_flows.settle_notices"):
    """Send, or drop, the notices that waited for an approval."""

    approval_id: str
    tell: bool
    why: str


class DropNotices(Command, frozen=True, tag="network_flows.drop_notices"):
    """Drop what was not yet said about an order (W3)."""

    order_id: str
    why: str


class MarkNotice(Command, frozen=True, tag="network_flows.mark_notice"):
    """What became of a message: delivered, or dead with the reason."""

    notice_id: str
    channel: str
    delivered: bool
    reference: str = ""
    why: str = ""


# --- Decisions (pure) -----------------------------------------------------------


def is_later(event: OrderResourced) -> bool:
    """Whether the promised arrival moved back far enough to be told."""
    before, after = event.before.arrives_at, event.offer.arrives_at
    return before is not None and after is not None and after - before >= LATER_BY


def channel_of(customer: Customer) -> tuple[str, str] | None:
    """How to reach a customer: (channel, address), what bothers least first; None when there is no way."""
    options = (("email", customer.email), ("sms", customer.phone), ("webhook", customer.webhook))
    return next(((channel, address) for channel, address in options if address), None)


def decision_to_tell(approval_id: str, shortfall: Shortfall) -> Decision:
    """What customer care is asked, once for all customers of a cause."""
    return Decision(
        decision_id=f"tell/{approval_id}",
        kind="customer_notice",
        inputs=[shortfall.cause_id],
        facts={
            "site_id": shortfall.site_id,
            "zone_id": shortfall.zone_id,
            "product_id": shortfall.product_id,
        },
        policy=POLICY,
        alternatives=[
            Alternative(TELL, why="customers can still make other plans"),
            Alternative(KEEP_QUIET, why="replacements are expected before they would notice"),
        ],
        outcome=TELL,
        why="promised goods are held and nobody else has them in time",
    )


# --- Commands -------------------------------------------------------------------


@handles(DraftNotice, action="network_flows.draft_notice", owner=Owner.NETWORK)
def draft_notice(tx: Tx, command: DraftNotice) -> None:
    """Draft a notice once (W1), and send it where nobody has to agree (W2)."""
    if find_notice(tx, command.notice_id) is not None:
        return
    order = get_order(tx, command.order_id)
    event = NoticeDrafted(
        notice_id=command.notice_id,
        order_id=command.order_id,
        kind=command.kind,
        arrives_at=order.arrives_at if order.sites else None,
        lines=command.lines,
        approval_id=command.approval_id,
    )
    tx.record(f"notice/{command.notice_id}", event)
    if not command.approval_id:
        _send(tx, _drafted(tx, command.notice_id), order)


@handles(SettleNotices, action="network_flows.settle_notices", owner=Owner.NETWORK)
def settle_notices(tx: Tx, command: SettleNotices) -> None:
    """Send or drop what waited, `CHUNK` at a time."""
    waiting = waiting_notices(tx, command.approval_id, CHUNK + 1)
    for notice in waiting[:CHUNK]:
        order = get_order(tx, notice.order_id)
        if command.tell and _still_lost(order, notice):
            _send(tx, notice, order)
        else:
            _drop(tx, notice, "it was made good" if command.tell else command.why)
    if len(waiting) > CHUNK:
        payload = {"approval_id": command.approval_id, "tell": command.tell, "why": command.why}
        tx.set_timer(f"notices/{command.approval_id}", TIMER, tx.now, payload)


@on_timer(TIMER)
def settle_the_rest(tx: Tx, timer: Timer) -> None:
    """Take the next notices of an approval."""
    tx.run(SettleNotices(**timer.payload))


@handles(DropNotices, action="network_flows.drop_notices", owner=Owner.NETWORK)
def drop_notices(tx: Tx, command: DropNotices) -> None:
    """Drop what was not yet said about an order (W3)."""
    for notice in notices_of(tx, command.order_id):
        if notice.status in _UNTOLD:
            _drop(tx, notice, command.why)


@handles(MarkNotice, action="network_flows.mark_notice", owner=Owner.NETWORK)
def mark_notice(tx: Tx, command: MarkNotice) -> None:
    """Record what became of a message (W4)."""
    notice = find_notice(tx, command.notice_id)
    if notice is None or notice.status is NoticeStatus.DELIVERED:
        return
    stream, names = f"notice/{notice.notice_id}", {"notice_id": notice.notice_id, "order_id": notice.order_id}
    if command.delivered:
        tx.record(
            stream,
            CustomerNotified(kind=notice.kind, channel=command.channel, reference=command.reference, **names),
        )
    else:
        tx.record(stream, NoticeFailed(why=command.why, **names))


def _drafted(db: Reader, notice_id: str) -> Notice:
    notice = find_notice(db, notice_id)
    assert notice is not None, "drafted in this very transaction"
    return notice


def _still_lost(order: Order, notice: Notice) -> bool:
    return notice.kind is not NoticeKind.LOSS or bool(order.unsourced and order.live)


def _drop(tx: Tx, notice: Notice, why: str) -> None:
    event = NoticeDropped(notice_id=notice.notice_id, order_id=notice.order_id, why=why)
    tx.record(f"notice/{notice.notice_id}", event)


def _send(tx: Tx, notice: Notice, order: Order) -> None:
    """Put the message into the outbox under the notice's id (W1); the payload is sealed for the customer."""
    text = tx.open(order.request.customer)
    customer = None if text is None else msgspec.json.decode(text, type=Customer)
    way = None if customer is None else channel_of(customer)
    if customer is None or way is None:
        _drop(tx, notice, "the customer left no address, or was erased")
        return
    told = order.request.channel_order_id
    message = compose(notice.kind, told, customer.name, notice.arrives_at, notice.lines, customer.language)
    channel, address = way
    payload = {
        "to": address,
        "type": "order.notice",
        "subject": message.subject,
        "text": message.text,
        "kind": notice.kind.value,
        "order_id": order.order_id,
        "channel_order_id": told,
    }
    subject = subject_of(order.order_id, order.request.customer_id)
    about = f"order/{order.order_id}"
    tx.emit(Effect(channel=channel, key=notice.notice_id, payload=payload, subject=subject, about=about))
    event = NoticeQueued(notice_id=notice.notice_id, order_id=notice.order_id, channel=channel)
    tx.record(f"notice/{notice.notice_id}", event)


# --- Reactions: what makes a notice ---------------------------------------------


@reacts(OrderResourced, name="network_flows.tell_of_new_source")
def tell_of_new_source(tx: Tx, event: OrderResourced) -> None:
    """Tell of a delay, or that what was lost is there again; drop a loss that was never told (W2, W3)."""
    told_loss = False
    if not event.unsourced:
        losses = [one for one in notices_of(tx, event.order_id) if one.kind is NoticeKind.LOSS]
        told_loss = bool(losses) and losses[-1].status in _TOLD
        if losses and losses[-1].status in _UNTOLD:
            tx.run(DropNotices(order_id=event.order_id, why="it was made good"))
    kind = NoticeKind.RESTORED if told_loss else NoticeKind.DELAY if is_later(event) else None
    if kind is not None:
        notice_id = derive_id("notice", event.order_id, kind, tx.cause)
        tx.run(DraftNotice(notice_id=notice_id, order_id=event.order_id, kind=kind, lines=[]))


@reacts(LineUnsourceable, name="network_flows.tell_of_loss", cursor=True)
def tell_of_loss(tx: Tx, event: LineUnsourceable) -> None:
    """Draft the news that promised goods do not come, for customer care to agree to (W2)."""
    shortfall = _shortfall_behind(tx, event.cause_id)
    order = find_order(tx, event.order_id)
    if shortfall is None or order is None or not order.live or not order.unsourced:
        return
    last = [one for one in notices_of(tx, event.order_id) if one.kind is not NoticeKind.DELAY][-1:]
    if last and last[0].kind is NoticeKind.LOSS and last[0].status is not NoticeStatus.DROPPED:
        return  # it is being told, or was
    approval_id, choice = _approval_for(tx, shortfall)
    tx.run(
        DraftNotice(
            notice_id=derive_id("notice", event.order_id, NoticeKind.LOSS, tx.cause),
            order_id=event.order_id,
            kind=NoticeKind.LOSS,
            lines=_named(tx, event.lines),
            approval_id=approval_id,
        )
    )
    if choice is not None:
        _follow(tx, approval_id, choice)


def _shortfall_behind(db: Reader, cause_id: str) -> Shortfall | None:
    entry = log.find(db, cause_id)
    event = None if entry is None else log.decode_entry(entry)
    return event if isinstance(event, Shortfall) else None


def _named(db: Reader, lines: Sequence[Unsourceable]) -> list[NoticeLine]:
    return [NoticeLine(get_product(db, line.product_id).name, line.qty) for line in lines]


def _approval_for(tx: Tx, shortfall: Shortfall) -> tuple[str, str | None]:
    """The one approval for everything that a fact of a site takes from customers (W2), and what was chosen.

    Where the site has a node, the question is on its way there, and the approval is not here yet.
    """
    approval_id = derive_id("approval", "customers", shortfall.site_id, shortfall.cause_id)
    try:
        return approval_id, get_approval(tx, approval_id).choice
    except ApprovalNotFound:
        incident = open_incident_of(tx, shortfall.site_id, shortfall.zone_id)
        tx.run(
            RequestApproval(
                site_id=shortfall.site_id,
                approval_id=approval_id,
                incident_id="" if incident is None else incident.incident_id,
                role=ROLE,
                subject="Tell the customers whose goods are lost",
                decision=decision_to_tell(approval_id, shortfall),
                options=[TELL, KEEP_QUIET],
            )
        )
        return approval_id, None


@reacts(OrderCanceled, name="network_flows.drop_after_cancel")
def drop_after_cancel(tx: Tx, event: OrderCanceled) -> None:
    """Nobody waits for the goods any more."""
    tx.run(DropNotices(order_id=event.order_id, why="the order was cancelled"))


# --- Reactions: what becomes of it ----------------------------------------------


@reacts(ApprovalDecided, name="network_flows.after_approval", cursor=True)
def after_approval(tx: Tx, event: ApprovalDecided) -> None:
    """Do what customer care decided."""
    _follow(tx, event.approval_id, event.choice)


@reacts(ApprovalLapsed, name="network_flows.after_lapse", cursor=True)
def after_lapse(tx: Tx, event: ApprovalLapsed) -> None:
    """Nobody decided in time: nothing is said."""
    tx.run(SettleNotices(approval_id=event.approval_id, tell=False, why="nobody decided in time"))


def _follow(tx: Tx, approval_id: str, choice: str) -> None:
    tx.run(SettleNotices(approval_id=approval_id, tell=choice == TELL, why="customer care keeps quiet"))


@reacts(EffectDelivered, name="network_flows.notice_delivered")
def notice_delivered(tx: Tx, event: EffectDelivered) -> None:
    """The other side took the message (W4)."""
    if event.about.startswith("order/"):
        tx.run(
            MarkNotice(notice_id=event.key, channel=event.channel, delivered=True, reference=event.reference)
        )


@reacts(EffectDied, name="network_flows.notice_failed")
def notice_failed(tx: Tx, event: EffectDied) -> None:
    """The message is a dead letter."""
    if event.about.startswith("order/"):
        tx.run(MarkNotice(notice_id=event.key, channel=event.channel, delivered=False, why=event.why))
