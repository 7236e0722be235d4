"""How orchestration's own events, and the delivery of messages, read in a timeline."""

from __future__ import annotations

from coldgrid.kernel.outbox import EffectDelivered, EffectDied
from coldgrid.orchestration import page_book
from coldgrid.orchestration.approvals import ApprovalDecided, ApprovalLapsed, ApprovalRequested
from coldgrid.orchestration.incidents import (
    IncidentAcknowledged,
    IncidentAdvanced,
    IncidentGivenBack,
    IncidentJoined,
    IncidentNoted,
    IncidentOpened,
    IncidentUpdated,
    Status,
)
from coldgrid.orchestration.playbook_state import Kind
from coldgrid.orchestration.runs import RunAdvanced, RunMovedToVersion
from coldgrid.orchestration.timeline import Line, Tone, timeline_line

_STATUS_TEXTS = {
    Status.MITIGATED: "Under control: the goods are looked after",
    Status.RECOVERED: "Recovered: the cause is gone",
    Status.DISPOSITION_PENDING: "Quality has to decide on goods",
    Status.CLOSED: "Closed: every unit is decided and the zone is released",
}
_CHANNEL_TEXTS = {
    "sms": "Text message delivered",
    "voice": "Call delivered",
    "email": "E-mail delivered",
    "siren": "Siren switched",
    "webhook": "Message delivered to a connected system",
}
RECOVERED_TEXT = _STATUS_TEXTS[Status.RECOVERED]
_PAGED_TEXT = "{person} paged by {channel}, step {step}"
# What repeats while nobody answers: pages show a run of these as one moment that can be opened.
ROUTINE = frozenset({_PAGED_TEXT, *_CHANNEL_TEXTS.values()})


def _opened(event: IncidentOpened) -> Line:
    facts = {"title": event.title, "severity": event.severity.value}
    alarm = _alarm(event)
    text = "Incident opened: {title}. {sensor}: {fault}" if "sensor" in alarm else "Incident opened: {title}"
    return Line(text=text, facts=facts | alarm, tone=Tone.ALARM, incident_id=event.incident_id)


def _alarm(event: IncidentOpened | IncidentJoined) -> dict[str, str]:
    """What an alarm saw, by which sensor; another cause has none."""
    told = {"fault": event.facts.get("alarm") or event.facts.get("fault") or event.title}
    sensor_id = event.facts.get("sensor_id") if event.facts.get("alarm") else None
    return told | ({"sensor": sensor_id} if sensor_id else {})


def _joined(event: IncidentJoined) -> Line:
    alarm = _alarm(event)
    text = "Another alarm, the incident is open again" if event.relapsed else "Another alarm"
    text += ", {sensor}: {fault}" if "sensor" in alarm else ": {fault}"
    return Line(text=text, facts=alarm, tone=Tone.ALARM, incident_id=event.incident_id)


def _updated(event: IncidentUpdated) -> Line | None:
    """Only what changes the response is worth a line; the rest is in the picture."""
    if event.raised:
        text, tone = "More serious now: {severity}", Tone.ALARM
    elif event.reason:
        text, tone = "Less serious: {severity}. {reason}", Tone.PEOPLE
    elif "repair_at" in event.changed:
        text, tone = "Repair expected at {repair_at}", Tone.PEOPLE
    else:
        return None
    facts = {
        "severity": event.severity.word.lower(),
        "reason": event.reason,
        "repair_at": event.facts.get("repair_at"),
    }
    return Line(text=text, facts=facts, tone=tone, incident_id=event.incident_id)


def _acknowledged(event: IncidentAcknowledged) -> Line:
    return Line(
        text="{owner} took the incident on",
        facts={"owner": event.owner},
        tone=Tone.PEOPLE,
        incident_id=event.incident_id,
    )


def _given_back(event: IncidentGivenBack) -> Line:
    return Line(
        text="{owner} cannot after all: nobody has the incident",
        facts={"owner": event.owner},
        tone=Tone.ALARM,
        incident_id=event.incident_id,
    )


def _noted(event: IncidentNoted) -> Line:
    facts = {"text": event.text, "attachments": len(event.attachments)}
    text = "{text} ({attachments} attached)" if event.attachments else "{text}"
    return Line(text=text, facts=facts, tone=Tone.PEOPLE, incident_id=event.incident_id)


def _advanced(event: IncidentAdvanced) -> Line:
    return Line(text=_STATUS_TEXTS[event.status], tone=Tone.DONE, incident_id=event.incident_id)


def _requested(event: ApprovalRequested) -> Line:
    return Line(
        text="{subject}: waits for {role}, {outcome} is recommended",
        facts={"subject": event.subject, "role": event.role, "outcome": event.decision.outcome},
        tone=Tone.DECISION,
        incident_id=event.incident_id,
    )


def _decided(event: ApprovalDecided) -> Line:
    text = (
        "{subject}: {choice}, against the advice: {reason}"
        if event.override
        else "{subject}: {choice} agreed"
    )
    facts = {"subject": event.subject, "choice": event.choice, "reason": event.reason}
    return Line(text=text, facts=facts, tone=Tone.DECISION, incident_id=event.incident_id)


def _lapsed(event: ApprovalLapsed) -> Line:
    return Line(
        text="{subject}: nobody decided in time",
        facts={"subject": event.subject},
        tone=Tone.DECISION,
        incident_id=event.incident_id,
    )


def _run_advanced(event: RunAdvanced) -> list[Line]:
    """Tasks answered, and actions that were refused."""
    lines = [
        Line(
            text="{title}: {answer}",
            facts={"title": task.title, "answer": task.answer.replace("_", " ")},
            tone=Tone.PEOPLE,
            incident_id=event.incident_id,
        )
        for task in event.closed
        if task.answer
    ]
    refused = event.happening.data.get("refused", {}) if event.happening.kind is Kind.ACTED else {}
    lines += [
        Line(
            text="Could not {action}: {why}",
            facts={"action": action.replace("_", " "), "why": why},
            tone=Tone.ALARM,
            incident_id=event.incident_id,
        )
        for action, why in refused.items()
    ]
    return lines


def _run_moved(event: RunMovedToVersion) -> Line:
    facts = {"version": event.version, "reason": event.reason}
    return Line(
        text="The playbook goes on as version {version}: {reason}",
        facts=facts,
        tone=Tone.DECISION,
        incident_id=event.incident_id,
    )


def _paged(event: page_book.PageSent) -> Line:
    facts = {"person": event.person_id, "channel": event.channel.value, "step": event.step + 1}
    return Line(
        text=_PAGED_TEXT,
        facts=facts,
        tone=Tone.PEOPLE,
        incident_id=event.incident_id,
    )


def _answered(event: page_book.PageAnswered) -> Line:
    text = "{person} answered by {via}: takes it" if event.takes_it else "{person} answered by {via}: cannot"
    facts = {"person": event.person_id, "via": event.via}
    return Line(text=text, facts=facts, tone=Tone.PEOPLE, incident_id=event.incident_id)


def _paging_ended(event: page_book.EscalationEnded) -> Line | None:
    if event.status is not page_book.ChainStatus.EXHAUSTED:
        return None
    return Line(
        text="Everybody was paged, nobody acknowledged", tone=Tone.ALARM, incident_id=event.incident_id
    )


def _delivered(event: EffectDelivered) -> Line | None:
    kind, _, incident_id = event.about.partition("/")
    if kind != "incident" or event.channel not in _CHANNEL_TEXTS:
        return None
    return Line(text=_CHANNEL_TEXTS[event.channel], tone=Tone.PEOPLE, incident_id=incident_id)


def _died(event: EffectDied) -> Line | None:
    kind, _, incident_id = event.about.partition("/")
    if kind != "incident":
        return None
    facts = {"channel": event.channel, "why": event.why, "attempts": event.attempts}
    text = "A message by {channel} could not be delivered after {attempts} attempts: {why}"
    return Line(text=text, facts=facts, tone=Tone.ALARM, incident_id=incident_id)


timeline_line(IncidentOpened, _opened)
timeline_line(IncidentJoined, _joined)
timeline_line(IncidentUpdated, _updated)
timeline_line(IncidentAcknowledged, _acknowledged)
timeline_line(IncidentGivenBack, _given_back)
timeline_line(IncidentNoted, _noted)
timeline_line(IncidentAdvanced, _advanced)
timeline_line(ApprovalRequested, _requested)
timeline_line(ApprovalDecided, _decided)
timeline_line(ApprovalLapsed, _lapsed)
timeline_line(RunAdvanced, _run_advanced)
timeline_line(RunMovedToVersion, _run_moved)
timeline_line(page_book.PageSent, _paged)
timeline_line(page_book.PageAnswered, _answered)
timeline_line(page_book.EscalationEnded, _paging_ended)
timeline_line(EffectDelivered, _delivered)
timeline_line(EffectDied, _died)
