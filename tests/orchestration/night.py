"""A site with people to page, and the facts and actions of other rooms as plain values: for tests of runs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration import actions, run_driver
from coldgrid.orchestration.decisions import Alternative, Decision
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.orchestration.playbooks import AnswerStep, SignalRuns
from coldgrid.orchestration.runs import Run
from tests.conftest import Kernel
from tests.network.master import group, put_in_force, site, zone

ZONE = "ATL1-FRZ1"


class NoColdSpace(Conflict):
    """There is no cold space left."""


def contact(person: str, channel: str, address: str) -> dict[str, str]:
    return {"person_id": person, "channel": channel, "address": address}


SITE_STEPS = [
    {
        "after_min": 0,
        "contacts": [
            contact("owner", "sms", "+14045550101"),
            contact("owner", "voice", "+14045550101"),
            contact("owner", "email", "owner@example.com"),
            contact("floor", "siren", "sirens/ATL1"),
        ],
    },
    {"after_min": 5, "contacts": [contact("backup", "sms", "+14045550102")]},
    {"after_min": 15, "contacts": [contact("manager", "voice", "+14045550103")]},
]
OPS_STEPS = [
    {"after_min": 0, "contacts": [contact("dispatcher", "sms", "+14045550201")]},
    {"after_min": 10, "contacts": [contact("head-of-ops", "voice", "+14045550202")]},
]


def advice(outcome: str, *, moves: bool) -> Decision:
    return Decision(
        decision_id="decision-advice",
        kind="stay_or_move",
        facts={"moves": moves, "crosses_min": 47},
        policy="stay-or-move@1",
        alternatives=[
            Alternative("ATL1-FRZ2", 1_200, {"moves": True}, "keeps everything within its limit"),
            Alternative("stay, doors shut", 480_000, {"moves": False}, "loses 3 of 3 products"),
        ],
        score_unit="cents",
        outcome=outcome,
        why="the product crosses its limit before the repair",
    )


class World:
    """What the other rooms would say and do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.facts: dict[str, Any] = {
            "goods": {"units": 12, "at_stake_cents": 4_128_000, "currency": "USD", "high_c": -18.0},
            "stay_or_move": msgspec.to_builtins(advice("ATL1-FRZ2", moves=True)),
            "zone_now": {"in_range": False},
            "undecided": {"units": 12},
            "bridge": {"covered": False},
            "grace": {"min": 45},
        }
        self.done: list[tuple[str, dict[str, Any]]] = []
        self.refuse: set[str] = set()
        facts: dict[str, run_driver.Fact] = {name: self._fact(name) for name in self.facts}
        monkeypatch.setattr(run_driver, "_facts", {**facts, "incident": actions.incident_fact})
        own = {name: take for name, take in vars(actions).items() if name in run_driver.registered_actions()}
        others = ("rescue_transfer", "release_zone", "hold_unknown", "hand_reading")
        monkeypatch.setattr(run_driver, "_actions", {**own, **{name: self._action(name) for name in others}})

    def _fact(self, name: str) -> run_driver.Fact:
        return lambda db, run: self.facts[name]

    def _action(self, name: str) -> run_driver.Action:
        def take(tx: Tx, run: Run, args: dict[str, Any]) -> None:
            if name in self.refuse:
                raise NoColdSpace(zone_id=run.zone_id)
            self.done.append((name, args))

        return take


def people_of_the_night(kernel: Kernel) -> None:
    """Put a site, its zones and the groups that are paged for them in force."""
    put_in_force(
        kernel,
        group(steps=SITE_STEPS),
        group("GRP-OPS", steps=OPS_STEPS),
        site(),
        zone(),
        zone("ATL1-FRZ2"),
    )


def open_incident(
    kernel: Kernel,
    severity: Severity = Severity.OPERATOR_ACTIONABLE,
    playbook: str = "freezer-excursion",
    **fields: Any,
) -> Any:
    command = OpenIncident(
        site_id="ATL1",
        zone_id=ZONE,
        asset_id="compressor-3",
        severity=severity,
        title="ATL1-FRZ1 warms",
        playbook=playbook,
        **{"incident_id": "i1", "cause_id": "alarm-1", "facts": {"trend_c_per_h": 4.5}, **fields},
    )
    return kernel.do(command, actor="system:test")


def answer(kernel: Kernel, step: str, told: str, role: str, run_id: str, **values: Any) -> None:
    command = AnswerStep(site_id="ATL1", run_id=run_id, step=step, answer=told, values=values)
    kernel.do(command, actor=f"{role}-1", roles={role})


def tell(kernel: Kernel, signal: str, **data: Any) -> None:
    command = SignalRuns(site_id="ATL1", zone_id=ZONE, signal=signal, data=data, signal_id=f"fact/{signal}")
    kernel.do(command, actor="system:test")
