"""Who was paged, when, and what came of it: the events and tables of escalation."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.rejections import NotFound
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.rotas import Channel
from coldgrid.orchestration.approvals import ApprovalDecided
from coldgrid.orchestration.incidents import IncidentAdvanced
from coldgrid.orchestration.runs import RunAdvanced
from coldgrid.orchestration.severity import Severity

# --- Vocabulary -----------------------------------------------------------------


class ChainStatus(StrEnum):
    """Where a chain of pages stands."""

    PAGING = "paging"
    ACKNOWLEDGED = "acknowledged"
    STOPPED = "stopped"
    EXHAUSTED = "exhausted"


class Chain(msgspec.Struct, frozen=True):
    """A chain of pages to one group for one incident."""

    escalation_id: str
    site_id: str
    zone_id: str
    incident_id: str
    group_id: str
    severity: Severity
    message: str
    started_at: datetime
    round: int
    step: int
    status: ChainStatus


class Page(msgspec.Struct, frozen=True):
    """One message to one person. `call_id` is shared by the channels of one waking."""

    page_id: str
    call_id: str
    escalation_id: str
    site_id: str
    incident_id: str
    round: int
    step: int
    person_id: str
    channel: Channel
    code: str
    sent_at: datetime
    answered_at: datetime | None
    takes_it: bool | None
    acted_at: datetime | None


class Budget(msgspec.Struct, frozen=True):
    """A person's alarm budget over a time: calls made, and those that led to action."""

    person_id: str
    calls: int
    acted: int

    @property
    def share(self) -> float:
        """The part of the calls that led to action; a person who was never called has a whole budget."""
        return self.acted / self.calls if self.calls else 1.0


# --- Events ---------------------------------------------------------------------


class EscalationStarted(Event, frozen=True, tag="orchestration.escalation_started"):
    """A group is being paged."""

    escalation_id: str
    site_id: str
    zone_id: str
    incident_id: str
    group_id: str
    severity: Severity
    message: str


class PageSent(Event, frozen=True, tag="orchestration.page_sent"):
    """A page to a person went to the outbox. `wakes`: it goes by a channel that wakes."""

    page_id: str
    call_id: str
    escalation_id: str
    site_id: str
    zone_id: str
    incident_id: str
    round: int
    step: int
    person_id: str
    channel: Channel
    code: str
    wakes: bool


class PageAnswered(Event, frozen=True, tag="orchestration.page_answered"):
    """A person answered a page. `via`: how, such as `sms` or `screen`."""

    page_id: str
    escalation_id: str
    site_id: str
    zone_id: str
    incident_id: str
    person_id: str
    takes_it: bool
    via: str


class EscalationEnded(Event, frozen=True, tag="orchestration.escalation_ended"):
    """A chain is over: acknowledged, stopped with a reason, or nobody came."""

    escalation_id: str
    site_id: str
    zone_id: str
    incident_id: str
    status: ChainStatus
    why: str


class PageNotFound(NotFound):
    """There is no such page."""


class EscalationNotFound(NotFound):
    """There is no such chain of pages."""


# --- Tables and projections -----------------------------------------------------

orchestration_escalation = sa.Table(
    "orchestration_escalation",
    metadata,
    sa.Column("escalation_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("incident_id", sa.Text, nullable=False),
    sa.Column("group_id", sa.Text, nullable=False),
    sa.Column("severity", Named(Severity), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("round", sa.BigInteger, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("status", Named(ChainStatus), nullable=False),
    sa.Index("ix_orchestration_escalation_incident", "incident_id"),
    info={"origin": "site"},
)
orchestration_page = sa.Table(
    "orchestration_page",
    metadata,
    sa.Column("page_id", sa.Text, primary_key=True),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("escalation_id", sa.Text, nullable=False),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("incident_id", sa.Text, nullable=False),
    sa.Column("round", sa.BigInteger, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("person_id", sa.Text, nullable=False),
    sa.Column("channel", Named(Channel), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("sent_at", Instant, nullable=False),
    sa.Column("answered_at", Instant),
    sa.Column("takes_it", sa.Boolean),
    sa.Column("acted_at", Instant),
    sa.Index("ix_orchestration_page_incident", "incident_id"),
    sa.Index("ix_orchestration_page_code", "code"),
    sa.Index("ix_orchestration_page_person", "person_id", "sent_at"),
    info={"origin": "site"},
)

_START = Statement(orchestration_escalation.insert())
_PLACE = Statement(
    orchestration_escalation.update()
    .where(orchestration_escalation.c.escalation_id == sa.bindparam("which"))
    .values(round=sa.bindparam("to_round"), step=sa.bindparam("to_step"))
)
_END = Statement(
    orchestration_escalation.update()
    .where(orchestration_escalation.c.escalation_id == sa.bindparam("which"))
    .values(status=sa.bindparam("to_status", type_=Named(ChainStatus)))
)
_SEND = Statement(orchestration_page.insert())
_ANSWER = Statement(
    orchestration_page.update()
    .where(orchestration_page.c.page_id == sa.bindparam("which"))
    .values(answered_at=sa.bindparam("at", type_=Instant), takes_it=sa.bindparam("yes"))
)
# A page led to action when its person took it and something was then done about the incident.
_ACTED = Statement(
    orchestration_page.update()
    .where(
        orchestration_page.c.incident_id == sa.bindparam("of"),
        orchestration_page.c.takes_it.is_(sa.true()),
        orchestration_page.c.acted_at.is_(None),
    )
    .values(acted_at=sa.bindparam("at", type_=Instant))
)


@projects(EscalationStarted)
def _start_row(tx: Tx, event: EscalationStarted) -> None:
    tx.write(
        _START,
        **msgspec.structs.asdict(event),
        started_at=tx.now,
        round=0,
        step=-1,
        status=ChainStatus.PAGING,
    )


@projects(PageSent)
def _send_row(tx: Tx, event: PageSent) -> None:
    fields = {name: getattr(event, name) for name in Page.__struct_fields__ if hasattr(event, name)}
    tx.write(_SEND, **fields, sent_at=tx.now, answered_at=None, takes_it=None, acted_at=None)
    tx.write(_PLACE, which=event.escalation_id, to_round=event.round, to_step=event.step)


@projects(PageAnswered)
def _answer_row(tx: Tx, event: PageAnswered) -> None:
    tx.write(_ANSWER, which=event.page_id, at=tx.now, yes=event.takes_it)


@projects(EscalationEnded)
def _end_row(tx: Tx, event: EscalationEnded) -> None:
    tx.write(_END, which=event.escalation_id, to_status=event.status)


@projects(RunAdvanced)
def _act_by_task(tx: Tx, event: RunAdvanced) -> None:
    if any(task.answer for task in event.closed):
        tx.write(_ACTED, of=event.incident_id, at=tx.now)


@projects(ApprovalDecided)
def _act_by_approval(tx: Tx, event: ApprovalDecided) -> None:
    tx.write(_ACTED, of=event.incident_id, at=tx.now)


@projects(IncidentAdvanced)
def _act_by_step(tx: Tx, event: IncidentAdvanced) -> None:
    if not tx.actor.startswith("system"):
        tx.write(_ACTED, of=event.incident_id, at=tx.now)


# --- Queries --------------------------------------------------------------------

_CHAIN = sa.select(*(orchestration_escalation.c[name] for name in Chain.__struct_fields__))
_PAGE = sa.select(*(orchestration_page.c[name] for name in Page.__struct_fields__))
_PAGE_ORDER = tuple(orchestration_page.c[name] for name in ("sent_at", "round", "step", "page_id"))
_GET_CHAIN = Statement(
    _CHAIN.where(orchestration_escalation.c.escalation_id == sa.bindparam("which")), into=Chain
)
_CHAINS_OF = Statement(
    _CHAIN.where(orchestration_escalation.c.incident_id == sa.bindparam("incident_id")).order_by(
        orchestration_escalation.c.started_at, orchestration_escalation.c.escalation_id
    ),
    into=Chain,
)
_PAGING = Statement(
    _CHAIN.where(
        orchestration_escalation.c.status == sa.bindparam("status", type_=Named(ChainStatus))
    ).order_by(orchestration_escalation.c.escalation_id),
    into=Chain,
)
_GET_PAGE = Statement(_PAGE.where(orchestration_page.c.page_id == sa.bindparam("which")), into=Page)
_BY_CODE = Statement(
    _PAGE.where(orchestration_page.c.code == sa.bindparam("code")).order_by(
        orchestration_page.c.sent_at.desc(), orchestration_page.c.page_id
    ),
    into=Page,
)
_PAGES_OF = Statement(
    _PAGE.where(orchestration_page.c.incident_id == sa.bindparam("incident_id")).order_by(*_PAGE_ORDER),
    into=Page,
)
_acted_call = sa.case((orchestration_page.c.acted_at.is_not(None), orchestration_page.c.call_id), else_=None)
_BUDGETS = Statement(
    sa.select(
        orchestration_page.c.person_id,
        sa.func.count(sa.distinct(orchestration_page.c.call_id)),
        sa.func.count(
            sa.distinct(
                sa.case(
                    (orchestration_page.c.acted_at.is_not(None), orchestration_page.c.call_id), else_=None
                )
            )
        ),
    )
    .where(
        orchestration_page.c.sent_at >= sa.bindparam("from_at", type_=Instant),
        orchestration_page.c.sent_at < sa.bindparam("to_at", type_=Instant),
    )
    .group_by(orchestration_page.c.person_id)
    .order_by(orchestration_page.c.person_id),
    into=Budget,
)


def get_chain(db: Reader, escalation_id: str) -> Chain:
    """Return one chain.

    Raises:
        EscalationNotFound: no such chain.
    """
    found = db.one(_GET_CHAIN, which=escalation_id)
    if found is None:
        raise EscalationNotFound(escalation_id=escalation_id)
    return found


def chains_of(db: Reader, incident_id: str) -> list[Chain]:
    """The chains of an incident, oldest first."""
    return db.all(_CHAINS_OF, incident_id=incident_id)


def paging_chains(db: Reader) -> list[Chain]:
    """The chains of every incident that page people now."""
    return db.all(_PAGING, status=ChainStatus.PAGING)


def get_page(db: Reader, page_id: str) -> Page:
    """Return one page.

    Raises:
        PageNotFound: no such page.
    """
    found = db.one(_GET_PAGE, which=page_id)
    if found is None:
        raise PageNotFound(page_id=page_id)
    return found


def page_of_code(db: Reader, code: str) -> Page:
    """Return the newest page with a reply code.

    Raises:
        PageNotFound: no page has it.
    """
    found = db.one(_BY_CODE, code=code)
    if found is None:
        raise PageNotFound(code=code)
    return found


def pages_of(db: Reader, incident_id: str) -> list[Page]:
    """Who was paged for an incident, in order."""
    return db.all(_PAGES_OF, incident_id=incident_id)


def alarm_budgets(db: Reader, from_at: datetime, to_at: datetime) -> list[Budget]:
    """Everybody's alarm budget over a time: calls that led to action over calls made."""
    return db.all(_BUDGETS, from_at=from_at, to_at=to_at)
