"""Escalation: people are paged step by step until one of them takes the incident on.

Invariants
    E1  A chain pages each step of its group once a round, in order, until somebody has the incident.
    E2  One chain at a time pages a group for an incident; a more serious page starts it afresh.
    E3  Who takes an incident on, in whatever way, has acknowledged it: every chain stops. One that begins
        while somebody has it tells its first step that wakes anybody, once, no siren, and chases nobody.
    E4  Whoever took the incident on before is paged with the first step.
    E5  Addresses leave only in sealed effects; the log names people by their opaque ids.
    E6  A siren that chains share, of one incident or of several, falls silent with the last of them.
    E7  An owner who answers a page with no gives the incident back: paging goes on with the next step.

Chains of several groups run side by side (the site's keyholder and operations). The alarm budget of a person
is the number of calls that led to action over the calls made.
"""

from __future__ import annotations

from typing import Any

from coldgrid.kernel.events import Command
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.outbox import Effect
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, on_timer, reacts
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.network.groups import get_group, group_of
from coldgrid.network.rotas import Channel, Contact, EscalationGroup, EscalationStep, at_instant
from coldgrid.orchestration.incidents import (
    AcknowledgeIncident,
    IncidentAcknowledged,
    IncidentAdvanced,
    IncidentGivenBack,
    Status,
    get_incident,
)
from coldgrid.orchestration.page_book import (
    Budget,
    Chain,
    ChainStatus,
    EscalationEnded,
    EscalationNotFound,
    EscalationStarted,
    Page,
    PageAnswered,
    PageNotFound,
    PageSent,
    alarm_budgets,
    chains_of,
    get_chain,
    get_page,
    page_of_code,
    pages_of,
    paging_chains,
)
from coldgrid.orchestration.paging import (
    WAKING,
    Place,
    contacts_for,
    page_text,
    place_after,
    reply_code,
    wakes,
    with_owner,
)
from coldgrid.orchestration.severity import Severity, worse

__all__ = [
    "AcknowledgePage",
    "Budget",
    "Chain",
    "ChainStatus",
    "EscalationEnded",
    "EscalationNotFound",
    "EscalationStarted",
    "Page",
    "PageAnswered",
    "PageNotFound",
    "PageSent",
    "StartEscalation",
    "StopEscalation",
    "alarm_budgets",
    "chains_of",
    "get_page",
    "page_of_code",
    "pages_of",
]

TIMER = "orchestration.page"


class StartEscalation(Command, frozen=True, tag="orchestration.start_escalation"):
    """Page a group for an incident; without a group the one that answers for the zone or the site."""

    site_id: str
    escalation_id: str
    incident_id: str
    message: str
    group_id: str = ""
    severity: Severity | None = None


class AcknowledgePage(Command, frozen=True, tag="orchestration.acknowledge_page"):
    """Answer a page: `takes_it`, or not. A gateway answers for the person; the page knows who that is."""

    site_id: str
    page_id: str
    takes_it: bool = True
    via: str = "screen"


class StopEscalation(Command, frozen=True, tag="orchestration.stop_escalation"):
    """Stop all paging for an incident."""

    site_id: str
    incident_id: str
    why: str


# --- Commands -------------------------------------------------------------------


@handles(StartEscalation, action="orchestration.start_escalation", owner=Owner.SITE)
def start_escalation(tx: Tx, command: StartEscalation) -> dict[str, str]:
    """Start a chain, unless the group is being paged for this incident as seriously already (E2)."""
    incident = get_incident(tx, command.incident_id)
    group = _group(tx, command.group_id, incident.site_id, incident.zone_id)
    severity = worse(command.severity or incident.severity, incident.severity)
    for chain in chains_of(tx, command.incident_id):
        if chain.group_id != group.group_id or chain.status is not ChainStatus.PAGING:
            continue
        if worse(chain.severity, severity) is chain.severity:
            return {"escalation_id": chain.escalation_id}
        _end(tx, chain, ChainStatus.STOPPED, "paged again, more seriously")
    started = EscalationStarted(
        escalation_id=command.escalation_id,
        site_id=incident.site_id,
        zone_id=incident.zone_id,
        incident_id=incident.incident_id,
        group_id=group.group_id,
        severity=severity,
        message=command.message,
    )
    tx.record(f"page/{command.escalation_id}", started)
    _go_on(tx, get_chain(tx, command.escalation_id), None)
    return {"escalation_id": command.escalation_id}


@handles(AcknowledgePage, action="orchestration.acknowledge_page", owner=Owner.SITE)
def acknowledge_page(tx: Tx, command: AcknowledgePage) -> None:
    """Take a person's answer to a page; the same answer again changes nothing."""
    page = get_page(tx, command.page_id)
    if page.takes_it is command.takes_it:
        return
    chain = get_chain(tx, page.escalation_id)
    answered = PageAnswered(
        page_id=page.page_id,
        escalation_id=page.escalation_id,
        site_id=page.site_id,
        zone_id=chain.zone_id,
        incident_id=page.incident_id,
        person_id=page.person_id,
        takes_it=command.takes_it,
        via=command.via,
    )
    tx.record(f"page/{page.escalation_id}", answered)
    if command.takes_it:
        if chain.status is ChainStatus.PAGING:
            _end(tx, chain, ChainStatus.ACKNOWLEDGED, f"{page.person_id} takes it")
        if get_incident(tx, page.incident_id).status is not Status.CLOSED:
            tx.run(
                AcknowledgeIncident(
                    site_id=page.site_id,
                    incident_id=page.incident_id,
                    person_id=page.person_id,
                    page_id=page.page_id,
                )
            )
    elif get_incident(tx, page.incident_id).owner == page.person_id:
        _give_back(tx, page, chain)
    elif chain.status is ChainStatus.PAGING and _all_declined(tx, chain):
        _go_on(tx, chain, Place(chain.round, chain.step), at_once=True)


@handles(StopEscalation, action="orchestration.stop_escalation", owner=Owner.SITE)
def stop_escalation(tx: Tx, command: StopEscalation) -> None:
    """Stop every chain of an incident (E3)."""
    for chain in chains_of(tx, command.incident_id):
        if chain.status is ChainStatus.PAGING:
            _end(tx, chain, ChainStatus.STOPPED, command.why)


@on_timer(TIMER)
def _nobody_answered(tx: Tx, timer: Timer) -> None:
    chain = get_chain(tx, timer.payload["escalation_id"])
    if chain.status is not ChainStatus.PAGING:
        return
    owner = get_incident(tx, chain.incident_id).owner
    if owner is not None and chain.step >= 0:
        _end(tx, chain, ChainStatus.ACKNOWLEDGED, f"{owner} has the incident")
    else:
        _page(tx, chain, Place(timer.payload["round"], timer.payload["step"]))


@reacts(IncidentAcknowledged, name="orchestration.stop_paging_when_taken")
def _taken(tx: Tx, event: IncidentAcknowledged) -> None:
    why = f"{event.owner} took the incident on"
    tx.run(StopEscalation(site_id=event.site_id, incident_id=event.incident_id, why=why))


@reacts(IncidentAdvanced, name="orchestration.stop_paging_when_over")
def _over(tx: Tx, event: IncidentAdvanced) -> None:
    if event.status in {Status.RECOVERED, Status.CLOSED}:
        why = f"the incident is {event.status}"
        tx.run(StopEscalation(site_id=event.site_id, incident_id=event.incident_id, why=why))


# --- One step -------------------------------------------------------------------


def _group(tx: Tx, group_id: str, site_id: str, zone_id: str) -> EscalationGroup:
    if group_id:
        return at_instant(get_group(tx, group_id), tx.now)
    return group_of(tx, site_id, zone_id or None, tx.now)


def _go_on(tx: Tx, chain: Chain, place: Place | None, *, at_once: bool = False) -> None:
    """Set the timer of the next place, or page it now; after the last one nobody came (E1).

    `at_once` hurries on to the next step, never into the next round.
    """
    steps = _group(tx, chain.group_id, chain.site_id, chain.zone_id).steps
    due = place_after(steps, place)
    if due is None:
        _end(tx, chain, ChainStatus.EXHAUSTED, "nobody acknowledged")
        return
    due_at = chain.started_at + due.after
    same_round = place is None or due.place.round == place.round
    if (at_once and same_round) or due_at <= tx.now:
        _page(tx, chain, due.place)
        return
    told = {"escalation_id": chain.escalation_id, "round": due.place.round, "step": due.place.step}
    tx.set_timer(_timer(chain), TIMER, due_at, told)


def _page(tx: Tx, chain: Chain, place: Place) -> None:
    """Page everybody of one step, then go on; at once where the step wakes nobody."""
    steps = _group(tx, chain.group_id, chain.site_id, chain.zone_id).steps
    step = steps[place.step] if place.step < len(steps) else EscalationStep(0, [])
    owner = get_incident(tx, chain.incident_id).owner
    if place == Place(0, 0):
        step = with_owner(steps, owner)
    contacts = contacts_for(step, chain.severity)
    if owner is not None:
        contacts = [contact for contact in contacts if contact.channel is not Channel.SIREN]
    for n, contact in enumerate(contacts):
        _send(tx, chain, place, n, contact)
    if chain.severity is Severity.INFORMATIONAL:
        _end(tx, chain, ChainStatus.STOPPED, "for information only")
    elif owner is not None and (wakes(contacts) or place.step + 1 >= len(steps)):
        _end(tx, chain, ChainStatus.ACKNOWLEDGED, f"{owner} has the incident")
    else:
        _go_on(tx, chain, place, at_once=not wakes(contacts))


def _give_back(tx: Tx, page: Page, chain: Chain) -> None:
    """Take the incident from an owner who cannot, and page who comes after them (E7)."""
    incident = get_incident(tx, page.incident_id)
    given_back = IncidentGivenBack(
        incident_id=incident.incident_id,
        site_id=incident.site_id,
        zone_id=incident.zone_id,
        owner=page.person_id,
        page_id=page.page_id,
    )
    tx.record(f"incident/{incident.incident_id}", given_back)
    if incident.status not in {Status.OPEN, Status.MITIGATED}:
        return
    started = EscalationStarted(
        escalation_id=derive_id("escalation", page.page_id, tx.cause),
        site_id=chain.site_id,
        zone_id=chain.zone_id,
        incident_id=chain.incident_id,
        group_id=chain.group_id,
        severity=worse(chain.severity, incident.severity),
        message=chain.message,
    )
    tx.record(f"page/{started.escalation_id}", started)
    steps = _group(tx, chain.group_id, chain.site_id, chain.zone_id).steps
    last = page.step + 1 >= len(steps)
    _go_on(tx, get_chain(tx, started.escalation_id), None if last else Place(0, page.step), at_once=True)


def _send(tx: Tx, chain: Chain, place: Place, n: int, contact: Contact) -> None:
    call_id = derive_id("call", chain.escalation_id, place.round, place.step, contact.person_id)
    page_id = derive_id("page", call_id, n)  # never from the address: it could be guessed back
    code = reply_code(page_id)
    sent = PageSent(
        page_id=page_id,
        call_id=call_id,
        escalation_id=chain.escalation_id,
        site_id=chain.site_id,
        zone_id=chain.zone_id,
        incident_id=chain.incident_id,
        round=place.round,
        step=place.step,
        person_id=contact.person_id,
        channel=contact.channel,
        code=code,
        wakes=contact.channel in WAKING,
    )
    tx.record(f"page/{chain.escalation_id}", sent)
    payload = {
        "to": contact.address,
        "subject": chain.message,
        "text": page_text(chain.message, code),
        "code": code,
        "page_id": page_id,
        "escalation_id": chain.escalation_id,
        "incident_id": chain.incident_id,
        "site_id": chain.site_id,
        "zone_id": chain.zone_id,
        "severity": chain.severity.value,
    }
    if contact.channel is Channel.SIREN:
        payload["state"] = "on"
    _emit(tx, page_id, chain, contact, payload)


def _emit(tx: Tx, key: str, chain: Chain, contact: Contact, payload: dict[str, Any]) -> None:
    about = f"incident/{chain.incident_id}"
    tx.emit(
        Effect(
            channel=contact.channel.value, key=key, payload=payload, subject=contact.person_id, about=about
        )
    )


def _end(tx: Tx, chain: Chain, status: ChainStatus, why: str) -> None:
    ended = EscalationEnded(
        escalation_id=chain.escalation_id,
        site_id=chain.site_id,
        zone_id=chain.zone_id,
        incident_id=chain.incident_id,
        status=status,
        why=why,
    )
    tx.record(f"page/{chain.escalation_id}", ended)
    tx.cancel_timer(_timer(chain))
    _silence(tx, chain)


def _silence(tx: Tx, chain: Chain) -> None:
    """Turn the sirens of a chain off, and name the chains that still need them (E6)."""
    sirens = _sounding(tx, chain)
    if not sirens:
        return
    others = {
        other.escalation_id: {contact.address for _, contact in _sounding(tx, other)}
        for other in paging_chains(tx)
    }
    for n, contact in sirens:
        payload = {
            "to": contact.address,
            "state": "off",
            "incident_id": chain.incident_id,
            "escalation_id": chain.escalation_id,
            "needed_by": [other for other, addresses in others.items() if contact.address in addresses],
        }
        _emit(tx, derive_id("quiet", chain.escalation_id, n), chain, contact, payload)


def _sounding(tx: Tx, chain: Chain) -> list[tuple[int, Contact]]:
    """The sirens that a chain has switched on, each with its place among those of its group."""
    sounding = {page.person_id for page in _pages(tx, chain) if page.channel is Channel.SIREN}
    if not sounding:
        return []
    steps = _group(tx, chain.group_id, chain.site_id, chain.zone_id).steps
    sirens = [contact for step in steps for contact in step.contacts if contact.channel is Channel.SIREN]
    return [(n, one) for n, one in enumerate(sirens) if one.person_id in sounding and one.address]


def _pages(tx: Tx, chain: Chain) -> list[Page]:
    return [page for page in pages_of(tx, chain.incident_id) if page.escalation_id == chain.escalation_id]


def _all_declined(tx: Tx, chain: Chain) -> bool:
    """Everybody paged in the current step said that they cannot come."""
    here = [page for page in _pages(tx, chain) if (page.round, page.step) == (chain.round, chain.step)]
    declined = {page.person_id for page in here if page.takes_it is False}
    return {page.person_id for page in here if page.channel is not Channel.SIREN} <= declined


def _timer(chain: Chain) -> str:
    return f"page/{chain.escalation_id}"
