"""What an incident adds to its evidence pack: timeline, who was told when, approvals, decision records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coldgrid.evidence.parts import (
    PackFile,
    PackMoment,
    PackStreams,
    PackSubject,
    PackTable,
    Part,
    State,
    register_contributor,
)
from coldgrid.kernel.events import encode
from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.approval_rules import ApprovalStatus
from coldgrid.orchestration.approvals import approvals_of
from coldgrid.orchestration.decisions import Decision, decisions_about
from coldgrid.orchestration.incidents import Incident, IncidentNotFound, get_incident
from coldgrid.orchestration.page_book import chains_of, pages_of
from coldgrid.orchestration.runs import runs_of
from coldgrid.orchestration.timeline import Tone, in_words, timeline_of
from coldgrid.orchestration.visibility import timezone_of

TONES: dict[Tone, State] = {
    Tone.ALARM: "crit",
    Tone.GOODS: "warn",
    Tone.PEOPLE: "info",
    Tone.DECISION: "info",
    Tone.ORDERS: "info",
    Tone.DONE: "ok",
}


def contribute(db: Reader, subject: PackSubject) -> Sequence[Part]:
    """Return an incident's parts; nothing for other subjects."""
    if subject.kind != "incident":
        return []
    try:
        incident = get_incident(db, subject.id)
    except IncidentNotFound:
        return []
    return [
        _streams(db, incident),
        *_moments(db, incident),
        *_tables(db, incident),
        *_decisions(db, incident),
    ]


def _streams(db: Reader, incident: Incident) -> PackStreams:
    of = incident.incident_id
    return PackStreams(
        streams=[
            *(f"run/{run.run_id}" for run in runs_of(db, of)),
            *(f"approval/{approval.approval_id}" for approval in approvals_of(db, of)),
            *(f"page/{chain.escalation_id}" for chain in chains_of(db, of)),
        ]
    )


def _moments(db: Reader, incident: Incident) -> Iterable[PackMoment]:
    timezone = timezone_of(db, incident.site_id)
    for line in timeline_of(db, incident, incident.closed_at or incident.changed_at):
        words = in_words(line.text, line.facts, "c", timezone)
        yield PackMoment(line.occurred_at, words, "", TONES[line.tone], line.actor, line.entry_id)


def _tables(db: Reader, incident: Incident) -> Iterable[PackTable]:
    yield PackTable(
        "The incident",
        ["What", "Where", "Severity", "State", "Opened", "Closed", "Owner"],
        [
            [
                incident.title,
                incident.zone_id or incident.site_id,
                incident.severity.value,
                incident.status.value,
                incident.opened_at,
                incident.closed_at,
                incident.owner,
            ]
        ],
    )
    pages = pages_of(db, incident.incident_id)
    if pages:
        yield PackTable(
            "Who was told when",
            ["Person", "By", "Sent", "Answered", "Takes it", "Acted"],
            [
                [
                    page.person_id,
                    page.channel,
                    page.sent_at,
                    page.answered_at,
                    None if page.takes_it is None else "yes" if page.takes_it else "no",
                    page.acted_at,
                ]
                for page in pages
            ],
            "Addresses are personal data and stand nowhere.",
        )
    approvals = approvals_of(db, incident.incident_id)
    if approvals:
        yield PackTable(
            "Approvals",
            ["About", "Asked", "Role", "State", "Since", "By", "Choice", "Reason"],
            [
                [
                    approval.decision.kind.replace("_", " "),
                    approval.requested_at,
                    approval.role,
                    approval.status.value,
                    approval.decided_at,
                    "" if approval.status is ApprovalStatus.LAPSED else approval.decided_by,
                    approval.choice,
                    approval.reason,
                ]
                for approval in approvals
            ],
        )


def _decisions(db: Reader, incident: Incident) -> Iterable[PackFile]:
    """Yield every decision record: what was known, what else there was, what was chosen and why."""
    found: dict[str, Decision] = {
        approval.decision.decision_id: approval.decision
        for approval in approvals_of(db, incident.incident_id)
    }
    for kept in decisions_about(db, f"incident/{incident.incident_id}"):
        found[kept.decision_id] = kept.decision
    for decision_id in sorted(found):
        decision = found[decision_id]
        yield PackFile(f"decisions/{decision_id}.json", encode(decision), f"Decision: {decision.kind}")


register_contributor("orchestration", contribute)
