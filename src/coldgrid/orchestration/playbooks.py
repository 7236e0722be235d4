"""Playbooks at work: runs started, moved by what happens, and their actions taken, all on the log.

Invariants
    W3  What happens reaches a run through these commands alone, so that a backtest can replay it.
    W4  A run goes on under the playbook it began with until a person moves it to another version.
"""

from __future__ import annotations

from typing import Any

import msgspec

from coldgrid.kernel.events import Command
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict, Invalid, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration import run_rules, runs
from coldgrid.orchestration.incidents import get_incident
from coldgrid.orchestration.playbook_library import (
    PlaybookNotFound,
    current_playbook,
    kept,
    parsed,
    playbook_of,
    source_of,
)
from coldgrid.orchestration.playbook_model import Playbook
from coldgrid.orchestration.playbook_state import Happening, Kind
from coldgrid.orchestration.playbook_step import advance, facts_needed, step
from coldgrid.orchestration.run_driver import (
    drive,
    register_action,
    register_fact,
    registered_actions,
    registered_facts,
)
from coldgrid.orchestration.runs import Run
from coldgrid.orchestration.taking_on import take_on

__all__ = [
    "AdvanceRun",
    "AnswerStep",
    "MoveRun",
    "PlaybookNotFound",
    "PublishPlaybook",
    "Run",
    "SignalRuns",
    "StartRun",
    "advance",
    "current_playbook",
    "facts_needed",
    "playbook_of",
    "register_action",
    "register_fact",
    "registered_actions",
    "registered_facts",
    "run_id_of",
    "step",
]

# --- Rejections -----------------------------------------------------------------


class PlaybookVersionTaken(Conflict):
    """Another playbook has this name and version already; raise the version."""


class RunAlreadyLive(Conflict):
    """A run of this playbook drives the incident already."""


class RunOver(Conflict):
    """The run is over."""


class NotANewVersion(Conflict):
    """A run moves to another version of its own playbook."""


# --- Commands -------------------------------------------------------------------


class StartRun(Command, frozen=True, tag="orchestration.start_run"):
    """Let a playbook drive an incident. `policy`: numbers of the playbook that this site has otherwise."""

    site_id: str
    run_id: str
    incident_id: str
    playbook: str
    policy: dict[str, Any] = msgspec.field(default_factory=dict)


class AdvanceRun(Command, frozen=True, tag="orchestration.advance_run"):
    """Tell a run what happened."""

    site_id: str
    run_id: str
    happening: Happening


class SignalRuns(Command, frozen=True, tag="orchestration.signal_runs"):
    """Tell every run of an incident, or of a zone, what happened. `signal_id`: the fact behind it."""

    site_id: str
    signal: str
    zone_id: str = ""
    incident_id: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    signal_id: str = ""


class AnswerStep(Command, frozen=True, tag="orchestration.answer_step"):
    """Answer a task: done, declined, or what else it offers, with the values it asks for."""

    site_id: str
    run_id: str
    step: str
    answer: str
    values: dict[str, Any] = msgspec.field(default_factory=dict)


class MoveRun(Command, frozen=True, tag="orchestration.move_run"):
    """Let another version of its playbook go on with a run."""

    site_id: str
    run_id: str
    to_hash: str
    reason: str


class PublishPlaybook(Command, frozen=True, tag="orchestration.publish_playbook"):
    """Put a playbook on record at a site; new runs of its name use it if its version is the highest."""

    site_id: str
    source: str


@handles(PublishPlaybook, action="orchestration.publish_playbook", owner=Owner.SITE)
def publish_playbook(tx: Tx, command: PublishPlaybook) -> dict[str, Any]:
    """Check a playbook and keep it."""
    playbook = parsed(command.source)
    current = current_playbook(tx, command.site_id, playbook.name)
    if current is not None and current.version == playbook.version and current.hash != playbook.hash:
        raise PlaybookVersionTaken(name=playbook.name, version=playbook.version)
    tx.record(f"run/{playbook.name}", kept(playbook, command.source, current=True))
    return {"name": playbook.name, "version": playbook.version, "hash": playbook.hash}


@handles(StartRun, action="orchestration.start_run", owner=Owner.SITE)
def start_run(tx: Tx, command: StartRun) -> dict[str, str]:
    """Start a run with the newest version of its playbook and take its first steps."""
    incident = get_incident(tx, command.incident_id)
    playbook = current_playbook(tx, command.site_id, command.playbook)
    if playbook is None:
        raise PlaybookNotFound(playbook=command.playbook)
    earlier = [run for run in runs.runs_of(tx, command.incident_id) if run.playbook == playbook.name]
    if any(run.ended_at is None for run in earlier):
        raise RunAlreadyLive(incident_id=command.incident_id, playbook=playbook.name)
    told = {"run_id": command.run_id, "title": incident.title, "cause_id": incident.cause_id}
    told |= {name: getattr(incident, name) for name in ("site_id", "zone_id", "asset_id", "incident_id")}
    told |= {"severity": incident.severity.value}
    if not runs.keeps(tx, tx.origin, playbook.hash):
        tx.record(f"run/{command.run_id}", kept(playbook, source_of(tx, playbook.hash), current=False))
    started = runs.RunStarted(
        run_id=command.run_id,
        site_id=incident.site_id,
        zone_id=incident.zone_id,
        incident_id=incident.incident_id,
        playbook=playbook.name,
        version=playbook.version,
        hash=playbook.hash,
        policy=_policy_values(playbook, command.policy),
        run=told,
    )
    tx.record(f"run/{command.run_id}", started)
    drive(tx, runs.get_run(tx, command.run_id), Happening(Kind.START))
    return {"run_id": command.run_id}


@handles(AdvanceRun, action="orchestration.advance_run", owner=Owner.SITE)
def advance_run(tx: Tx, command: AdvanceRun) -> None:
    """Move a run; what no longer concerns it is no fault."""
    drive(tx, runs.get_run(tx, command.run_id), command.happening)


@handles(SignalRuns, action="orchestration.signal_runs", owner=Owner.SITE)
def signal_runs(tx: Tx, command: SignalRuns) -> None:
    """Move every live run that the signal concerns."""
    happening = Happening(Kind.SIGNAL, command.signal, data=command.data, id=command.signal_id)
    for run in runs.live_runs(tx, incident_id=command.incident_id, zone_id=command.zone_id):
        drive(tx, run, happening)


@handles(AnswerStep, action="orchestration.answer_step", owner=Owner.SITE)
def answer_step(tx: Tx, command: AnswerStep) -> None:
    """Take a person's answer."""
    run = runs.get_run(tx, command.run_id)
    asked = playbook_of(tx, run.hash).step(command.step)
    values = run_rules.check_answer(asked, run.state, command.answer, command.values, tx.roles)
    if asked is not None and asked.ask is not None:
        # Before what follows from the answer: it pages differently where somebody has the incident.
        take_on(tx, run.incident_id, asked.ask.role, command.answer)
    drive(tx, run, Happening(Kind.ANSWER, command.step, command.answer, data=values))


@handles(MoveRun, action="orchestration.move_run", owner=Owner.SITE)
def move_run(tx: Tx, command: MoveRun) -> None:
    """Go on with another version: what happened stays happened, and new steps may start."""
    run = runs.get_run(tx, command.run_id)
    to = playbook_of(tx, command.to_hash)
    if run.ended_at is not None:
        raise RunOver(run_id=run.run_id, outcome=run.outcome)
    if to.name != run.playbook or to.hash == run.hash:
        raise NotANewVersion(run_id=run.run_id, playbook=to.name, version=to.version)
    if not command.reason.strip():
        raise Invalid(problems=[Problem(field="reason", message="a change of rules says why")])
    if not runs.keeps(tx, tx.origin, to.hash):
        tx.record(f"run/{run.run_id}", kept(to, source_of(tx, to.hash), current=False))
    moved = runs.RunMovedToVersion(
        run_id=run.run_id,
        site_id=run.site_id,
        zone_id=run.zone_id,
        incident_id=run.incident_id,
        from_hash=run.hash,
        to_hash=to.hash,
        version=to.version,
        policy={**to.policy, **{name: value for name, value in run.policy.items() if name in to.policy}},
        reason=command.reason.strip(),
    )
    tx.record(f"run/{run.run_id}", moved)
    drive(tx, runs.get_run(tx, run.run_id), Happening(Kind.MOVED))


def _policy_values(playbook: Playbook, otherwise: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(otherwise.keys() - playbook.policy)
    if unknown:
        problems = [
            Problem(field=f"policy.{name}", message="is no number of this playbook") for name in unknown
        ]
        raise Invalid(problems=problems)
    return {**playbook.policy, **otherwise}


def run_id_of(incident_id: str, playbook: str, n: int) -> str:
    """The id of the nth run of a playbook for an incident."""
    return derive_id("run", incident_id, playbook, n)
