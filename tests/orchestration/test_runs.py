"""Playbook runs on the log: the whole night through one playbook, and what may go wrong in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from coldgrid.kernel import log
from coldgrid.kernel.rejections import Invalid
from coldgrid.orchestration import approvals, decisions, incidents, playbooks, run_driver, tasks
from coldgrid.orchestration.approvals import ApprovalStatus, DecideApproval
from coldgrid.orchestration.backtest import exogenous, recorded_facts, refused_in, replay
from coldgrid.orchestration.escalation import AcknowledgePage, chains_of, pages_of
from coldgrid.orchestration.incidents import AdvanceIncident, Severity, Status
from coldgrid.orchestration.playbook_library import parsed, shipped
from coldgrid.orchestration.playbook_state import Policy
from coldgrid.orchestration.playbooks import AnswerStep, MoveRun, PublishPlaybook, SignalRuns, StartRun
from coldgrid.orchestration.run_rules import TaskNeedsRole, TaskNotOpen
from coldgrid.orchestration.runs import RunAdvanced, RunMovedToVersion, RunStarted, get_run, live_runs
from coldgrid.orchestration.timeline import in_words, timeline_of
from tests.conftest import KERNELS, T0, Kernel
from tests.network.master import group, put_in_force, site, zone
from tests.orchestration.night import (
    SITE_STEPS,
    ZONE,
    World,
    advice,
    answer,
    open_incident,
    people_of_the_night,
    tell,
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def night(kernel: Kernel, world: World) -> Kernel:
    people_of_the_night(kernel)
    return kernel


@pytest.fixture
def sqlite_night(world: World) -> Iterator[Kernel]:
    with KERNELS["sqlite"]() as kernel:
        people_of_the_night(kernel)
        yield kernel


def run_of(kernel: Kernel) -> str:
    return live_runs(kernel.reader(), zone_id=ZONE)[0].run_id


def waiting(kernel: Kernel) -> list[str]:
    return [task.step for task in tasks.open_tasks(kernel.reader())]


def paged(kernel: Kernel) -> list[tuple[str, str]]:
    return [(page.person_id, page.channel.value) for page in pages_of(kernel.reader(), "i1")]


def lines(kernel: Kernel) -> list[str]:
    incident = incidents.get_incident(kernel.reader(), "i1")
    return [
        in_words(line.text, line.facts) for line in timeline_of(kernel.reader(), incident, kernel.host.now())
    ]


def spend_the_night(kernel: Kernel, world: World) -> None:
    """Pre-alarm, nobody comes, excursion, rescue, recovery, signatures, close."""
    open_incident(kernel)
    answer(kernel, "doors", "shut", "operator", run_of(kernel))
    answer(
        kernel,
        "technician",
        "called",
        "operator",
        run_of(kernel),
        repair_eta_min=90,
        fault="compressor trips",
    )
    kernel.advance(6)
    tell(kernel, "excursion_opened", excursion_id="x1")
    approval = approvals.waiting_approvals(kernel.reader())[0]
    kernel.advance(3)
    kernel.do(
        DecideApproval(site_id="ATL1", approval_id=approval.approval_id, choice="ATL1-FRZ2"),
        actor="sam",
        roles={"supervisor"},
    )
    answer(kernel, "customers", "informed", "customer_care", run_of(kernel))
    kernel.advance(60)
    tell(kernel, "alarm_returned")
    world.facts["zone_now"] = {"in_range": True}
    kernel.advance(31)
    world.facts["undecided"] = {"units": 0}
    tell(kernel, "units_decided")
    answer(kernel, "release", "released", "quality", run_of(kernel), hand_reading_c=-21.5)
    kernel.do(
        AdvanceIncident(
            site_id="ATL1",
            incident_id="i1",
            status=Status.CLOSED,
            facts={"undecided_units": 0, "zone_released": True},
        )
    )


def test_a_network_without_a_group_for_operations_pages_the_site_s_own_people(
    kernel: Kernel, world: World
) -> None:
    """As one that was just set up: a playbook names a group that nobody made, and somebody is to come."""
    put_in_force(kernel, group(steps=SITE_STEPS), site(), zone(), zone("ATL1-FRZ2"))
    open_incident(kernel, severity=Severity.EXCURSION_RISK)
    tell(kernel, "excursion_opened", excursion_id="x1")
    assert {person for person, _ in paged(kernel)} == {"owner", "floor"}
    assert {chain.group_id for chain in chains_of(kernel.reader(), "i1")} == {"GRP-ATL1"}
    assert not [line for line in lines(kernel) if "ould not" in line]


def test_the_night_from_pre_alarm_to_the_last_signature(night: Kernel, world: World) -> None:
    spend_the_night(night, world)
    incident = incidents.get_incident(night.reader(), "i1")
    assert incident.status is Status.CLOSED
    assert incident.picture.fault == "compressor trips"
    assert [name for name, _ in world.done] == ["rescue_transfer", "release_zone"]
    assert world.done[0][1]["choice"] == "ATL1-FRZ2"
    assert live_runs(night.reader(), incident_id="i1") == []
    assert waiting(night) == []
    told = lines(night)
    assert told[0] == "Incident opened: ATL1-FRZ1 warms"
    assert "Shut the doors of ATL1-FRZ1 and keep them shut: shut" in told
    assert "Move the goods of ATL1-FRZ1 under hold: ATL1-FRZ2 agreed" in told
    assert "Closed: every unit is decided and the zone is released" in told
    night.rebuild()


def test_the_first_minutes_ask_for_doors_and_technician_and_page_the_owner(night: Kernel) -> None:
    open_incident(night)
    assert waiting(night) == ["doors", "technician"]
    # Not yet serious: text and mail, no siren and no call in the middle of the night.
    assert sorted(paged(night)) == [("owner", "email"), ("owner", "sms")]


def test_an_excursion_pages_site_and_operations_at_once_with_everything_that_wakes(night: Kernel) -> None:
    open_incident(night, Severity.OPERATOR_ACTIONABLE)
    night.do(
        incidents.UpdateIncident(site_id="ATL1", incident_id="i1", severity=Severity.EXCURSION_RISK),
        actor="system:test",
    )
    assert ("floor", "siren") in paged(night)
    assert ("owner", "voice") in paged(night)
    assert ("dispatcher", "sms") in paged(night)


def test_the_backup_is_paged_when_nobody_acknowledges_and_nobody_after_somebody_did(
    night: Kernel, world: World
) -> None:
    world.facts["stay_or_move"] = advice("stay, doors shut", moves=False)
    open_incident(night)
    night.advance(5)
    assert ("backup", "sms") in paged(night)
    page = next(one for one in pages_of(night.reader(), "i1") if one.person_id == "backup")
    night.do(AcknowledgePage(site_id="ATL1", page_id=page.page_id, via="sms"), actor="gateway")
    before = len(paged(night))
    night.advance(60)
    assert len(paged(night)) == before
    assert incidents.get_incident(night.reader(), "i1").owner == "backup"


@pytest.mark.parametrize("how", ["task", "approval"])
def test_who_acts_on_an_incident_that_nobody_has_takes_it_on(night: Kernel, how: str) -> None:
    open_incident(night)
    tell(night, "excursion_opened")
    if how == "task":
        answer(night, "doors", "shut", "operator", run_of(night))
    else:
        one = approvals.waiting_approvals(night.reader())[0]
        decide = DecideApproval(site_id="ATL1", approval_id=one.approval_id, choice="ATL1-FRZ2")
        night.do(decide, actor="supervisor-1", roles={"supervisor"})
    who = "operator-1" if how == "task" else "supervisor-1"
    assert incidents.get_incident(night.reader(), "i1").owner == who
    night.advance(1_000)
    assert ("backup", "sms") not in paged(night)
    assert not [line for line in lines(night) if "nobody acknowledged" in line]
    # Somebody has it: what others do beside that makes nobody else the owner.
    answer(night, "technician", "called", "operator", run_of(night), repair_eta_min=30)
    assert incidents.get_incident(night.reader(), "i1").owner == who
    night.rebuild()


@pytest.mark.parametrize(
    ("step", "told", "role"), [("doors", "cannot", "operator"), ("customers", "informed", "customer_care")]
)
def test_who_cannot_or_only_informs_customers_does_not_take_it_on(
    night: Kernel, step: str, told: str, role: str
) -> None:
    open_incident(night)
    tell(night, "excursion_opened")
    answer(night, step, told, role, run_of(night))
    assert incidents.get_incident(night.reader(), "i1").owner is None
    night.advance(5)
    assert ("backup", "sms") in paged(night)


def test_stay_or_move_is_weighed_again_while_it_says_stay(night: Kernel, world: World) -> None:
    world.facts["stay_or_move"] = advice("stay, doors shut", moves=False)
    open_incident(night)
    tell(night, "excursion_opened")
    assert approvals.waiting_approvals(night.reader()) == []
    world.facts["stay_or_move"] = advice("ATL1-FRZ2", moves=True)
    night.advance(10)
    assert [one.role for one in approvals.waiting_approvals(night.reader())] == ["supervisor"]
    kept = decisions.decisions_about(night.reader(), "incident/i1")
    assert {"playbook.weigh", "stay_or_move"} <= {one.decision.kind for one in kept}
    weighed = [one.decision for one in kept if one.decision.kind == "playbook.weigh"]
    assert {one.outcome for one in weighed} == {"stay", "move"}
    assert all(one.facts["stay_or_move"]["policy"] == "stay-or-move@1" for one in weighed)
    assert all(one.policy_hash == parsed(shipped()["freezer-excursion"]).hash for one in weighed)


def test_stay_or_move_is_weighed_with_the_repair_that_was_just_told(night: Kernel, world: World) -> None:
    seen: list[Any] = []

    def weigh(db: Any, run: Any) -> Any:
        seen.append(incidents.get_incident(db, "i1").picture.repair_at)
        return advice("stay, doors shut", moves=False)

    run_driver.register_fact("stay_or_move", weigh)  # the world's own registry, which goes with it
    open_incident(night)
    answer(night, "technician", "called", "operator", run_of(night))
    assert seen == [None]  # called, and no time was told
    answer(night, "technician", "called", "operator", run_of(night), repair_eta_min=90)
    assert seen == [None, T0 + timedelta(minutes=90)]


def test_an_override_is_done_as_the_person_said(night: Kernel, world: World) -> None:
    open_incident(night)
    tell(night, "excursion_opened")
    approval = approvals.waiting_approvals(night.reader())[0]
    night.do(
        DecideApproval(
            site_id="ATL1",
            approval_id=approval.approval_id,
            choice="stay, doors shut",
            override=True,
            reason="the truck blocks the dock",
        ),
        actor="sam",
        roles={"supervisor"},
    )
    assert world.done == []
    assert get_run(night.reader(), run_of(night)).state.steps["rescue"].outcome == "skipped"
    night.rebuild()


def test_an_approval_nobody_decides_pages_again_and_lapses(night: Kernel, world: World) -> None:
    open_incident(night)
    tell(night, "excursion_opened")
    first = approvals.waiting_approvals(night.reader())[0]
    chains = len(chains_of(night.reader(), "i1"))
    night.advance(46)
    assert len(chains_of(night.reader(), "i1")) >= chains
    assert approvals.get_approval(night.reader(), first.approval_id).status is ApprovalStatus.LAPSED
    assert world.done == []
    night.advance(11)  # it is weighed again and asked again
    assert approvals.waiting_approvals(night.reader())[0].approval_id != first.approval_id


def test_a_refused_action_is_told_to_the_run_and_to_people(night: Kernel, world: World) -> None:
    world.refuse.add("rescue_transfer")
    open_incident(night)
    tell(night, "excursion_opened")
    approval = approvals.waiting_approvals(night.reader())[0]
    night.do(
        DecideApproval(site_id="ATL1", approval_id=approval.approval_id, choice="ATL1-FRZ2"),
        actor="sam",
        roles={"supervisor"},
    )
    assert "rescue_by_hand" in waiting(night)
    assert any(
        line.startswith("Could not rescue transfer: There is no cold space left") for line in lines(night)
    )


def test_an_alarm_that_returns_by_itself_closes_quietly(night: Kernel, world: World) -> None:
    world.facts["undecided"] = {"units": 0}
    world.facts["stay_or_move"] = advice("stay, doors shut", moves=False)
    open_incident(night)
    tell(night, "alarm_returned")
    world.facts["zone_now"] = {"in_range": True}
    night.advance(31)
    assert [name for name, _ in world.done] == ["release_zone"]
    assert incidents.get_incident(night.reader(), "i1").status is Status.RECOVERED
    assert approvals.approvals_of(night.reader(), "i1") == []


class TestSensorFault:
    def test_goods_that_another_sensor_covers_wake_nobody(self, night: Kernel, world: World) -> None:
        world.facts["bridge"] = {"covered": True, "by": "ATL1-FRZ1-T2"}
        open_incident(night, playbook="sensor-fault")
        assert paged(night) == []
        assert waiting(night) == ["replace"]
        night.advance(500)
        assert world.done == []

    def test_a_hand_reading_within_limits_holds_nothing(self, night: Kernel, world: World) -> None:
        open_incident(night, playbook="sensor-fault")
        for _ in range(3):
            answer(night, "hand_reading", "measured", "operator", run_of(night), product_c=-20.5)
            night.advance(50)  # the next reading is asked for after the grace of the goods
        assert [(name, args["product_c"]) for name, args in world.done] == [("hand_reading", -20.5)] * 3

    def test_a_warm_hand_reading_holds_at_once(self, night: Kernel, world: World) -> None:
        open_incident(night, playbook="sensor-fault")
        answer(night, "hand_reading", "measured", "operator", run_of(night), product_c=-15)
        assert [name for name, _ in world.done] == ["hand_reading", "hold_unknown"]

    def test_a_hand_reading_does_not_bridge_for_ever(self, night: Kernel, world: World) -> None:
        open_incident(night, playbook="sensor-fault")
        answer(night, "hand_reading", "measured", "operator", run_of(night), product_c=-20.5)
        night.advance(91)
        assert [name for name, _ in world.done] == ["hand_reading", "hold_unknown"]

    def test_no_reading_within_the_grace_holds_the_goods(self, night: Kernel, world: World) -> None:
        open_incident(night, playbook="sensor-fault")
        night.advance(44)
        assert world.done == []
        night.advance(1)
        assert [name for name, _ in world.done] == ["hold_unknown"]

    def test_goods_are_judged_by_a_reading_also_where_it_could_not_be_put_on_record(
        self, night: Kernel, world: World
    ) -> None:
        world.refuse.add("hand_reading")
        open_incident(night, playbook="sensor-fault")
        answer(night, "hand_reading", "measured", "operator", run_of(night), product_c=-15)
        assert [name for name, _ in world.done] == ["hold_unknown"]


class TestAnswers:
    def test_only_the_role_of_the_task_answers(self, night: Kernel) -> None:
        open_incident(night)
        with pytest.raises(TaskNeedsRole):
            answer(night, "doors", "shut", "customer_care", run_of(night))

    def test_every_wrong_value_is_named(self, night: Kernel) -> None:
        open_incident(night)
        command = AnswerStep(
            site_id="ATL1",
            run_id=run_of(night),
            step="technician",
            answer="maybe",
            values={"repair_eta_min": "soon", "colour": "red"},
        )
        with pytest.raises(Invalid) as caught:
            night.do(command, roles={"operator"})
        assert [problem.field for problem in caught.value.problems] == [
            "answer",
            "values.colour",
            "values.repair_eta_min",
        ]

    def test_a_task_is_answered_once_unless_it_may_be_revised(self, night: Kernel) -> None:
        open_incident(night)
        run_id = run_of(night)
        answer(night, "doors", "shut", "operator", run_id)
        with pytest.raises(TaskNotOpen):
            answer(night, "doors", "cannot", "operator", run_id)
        answer(night, "technician", "called", "operator", run_id, repair_eta_min=30)
        answer(night, "technician", "called", "operator", run_id, repair_eta_min="240")
        repair_at = incidents.get_incident(night.reader(), "i1").picture.repair_at
        assert repair_at == T0 + timedelta(minutes=240)
        night.rebuild()


class TestVersions:
    def test_a_run_goes_on_under_its_playbook_until_it_is_moved(self, night: Kernel) -> None:
        open_incident(night)
        run_id = run_of(night)
        newer = shipped()["freezer-excursion"].replace("version: 2", "version: 3")
        newer += """
  - id: dry_ice
    title: Fetch dry ice
    ask: {role: operator}
"""
        told = night.do(PublishPlaybook(site_id="ATL1", source=newer), actor="pat")
        assert told["version"] == 3
        assert get_run(night.reader(), run_id).version == 2
        assert "dry_ice" not in waiting(night)
        night.do(
            MoveRun(site_id="ATL1", run_id=run_id, to_hash=told["hash"], reason="dry ice is here"),
            actor="pat",
        )
        assert get_run(night.reader(), run_id).version == 3
        assert "dry_ice" in waiting(night)
        assert any(isinstance(event, RunMovedToVersion) for _, event in night.events())
        night.restart()
        answer(night, "dry_ice", "done", "operator", run_id)
        night.rebuild()

    def test_new_runs_use_the_highest_version_and_two_never_share_one(self, night: Kernel) -> None:
        newer = shipped()["freezer-excursion"].replace("version: 2", "version: 3")
        night.do(PublishPlaybook(site_id="ATL1", source=newer))
        with pytest.raises(playbooks.PlaybookVersionTaken):
            night.do(PublishPlaybook(site_id="ATL1", source=newer + "\n# changed"))
        open_incident(night)
        assert get_run(night.reader(), run_of(night)).version == 3

    def test_a_broken_playbook_is_not_published(self, night: Kernel) -> None:
        with pytest.raises(Invalid):
            night.do(PublishPlaybook(site_id="ATL1", source="name: x"))

    def test_a_second_run_and_an_unknown_playbook_or_number_are_refused(self, night: Kernel) -> None:
        open_incident(night)
        start = StartRun(site_id="ATL1", run_id="r2", incident_id="i1", playbook="freezer-excursion")
        with pytest.raises(playbooks.RunAlreadyLive):
            night.do(start)
        with pytest.raises(playbooks.PlaybookNotFound):
            night.do(StartRun(site_id="ATL1", run_id="r2", incident_id="i1", playbook="nope"))
        with pytest.raises(Invalid):
            night.do(
                StartRun(
                    site_id="ATL1", run_id="r2", incident_id="i1", playbook="sensor-fault", policy={"nope": 1}
                )
            )


def test_a_backtest_of_the_recorded_night_acts_as_the_night_did(sqlite_night: Kernel, world: World) -> None:
    spend_the_night(sqlite_night, world)
    entries = log.read_all(sqlite_night.reader())
    events = [(entry.recorded_at, log.decode_entry(entry)) for entry in entries]
    started = next(event for _, event in events if isinstance(event, RunStarted))
    recorded: list[tuple[datetime, RunAdvanced]] = [
        (at, event) for at, event in events if isinstance(event, RunAdvanced)
    ]
    policy = Policy(parsed(shipped()[started.playbook]), started.policy)
    facts_at = recorded_facts(recorded)
    again = replay(policy, started.run, exogenous(recorded), facts_at, refused_in(recorded))
    live: list[tuple[datetime, Any]] = [(at, act) for at, event in recorded for act in event.acts]
    assert [(one.at, one.act) for one in again.acts] == live
    assert again.state.ended == "closed"


def test_a_signal_moves_only_the_runs_of_its_zone(night: Kernel, world: World) -> None:
    open_incident(night)
    night.do(SignalRuns(site_id="ATL1", zone_id="ATL1-FRZ2", signal="excursion_opened"))
    assert approvals.waiting_approvals(night.reader()) == []
