"""Approvals: who may decide what, by when, and what stays on record of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.orchestration import approvals, decisions
from coldgrid.orchestration.approval_rules import decide_approval_event
from coldgrid.orchestration.approvals import Approval, ApprovalStatus, DecideApproval, RequestApproval
from coldgrid.orchestration.decisions import DecisionStatus
from tests.conftest import T0, Kernel
from tests.orchestration.night import advice

OPTIONS = ["ATL1-FRZ2", "stay, doors shut"]


def asked(**fields: Any) -> Approval:
    row = Approval(
        approval_id="ap1",
        site_id="ATL1",
        incident_id="i1",
        role="supervisor",
        subject="Move the goods",
        decision=advice("ATL1-FRZ2", moves=True),
        options=OPTIONS,
        run_id="",
        step="",
        use=0,
        requested_at=T0,
        expires_at=T0 + timedelta(minutes=45),
        status=ApprovalStatus.WAITING,
        choice=None,
        reason=None,
        decided_by=None,
        decided_at=None,
    )
    return msgspec.structs.replace(row, **fields)


def deciding(choice: str = "ATL1-FRZ2", **fields: Any) -> DecideApproval:
    return DecideApproval(site_id="ATL1", approval_id="ap1", choice=choice, **fields)


def request(**fields: Any) -> RequestApproval:
    told = {"expires_at": T0 + timedelta(minutes=45), "decision": advice("ATL1-FRZ2", moves=True), **fields}
    return RequestApproval(
        site_id="ATL1",
        approval_id="ap1",
        incident_id="i1",
        role="supervisor",
        subject="Move the goods",
        **told,
    )


class TestDecide:
    def test_agreeing_needs_no_reason(self) -> None:
        event = decide_approval_event(deciding(), asked(), {"supervisor"}, T0)
        assert (event.choice, event.override) == ("ATL1-FRZ2", False)

    def test_an_override_says_that_it_is_one_and_why(self) -> None:
        event = decide_approval_event(
            deciding("stay, doors shut", override=True, reason=" dock blocked "), asked(), {"supervisor"}, T0
        )
        assert (event.override, event.reason) == (True, "dock blocked")

    @pytest.mark.parametrize(
        ("command", "fields"),
        [
            (deciding("stay, doors shut"), ["override"]),
            (deciding("stay, doors shut", override=True), ["reason"]),
            (deciding("ATL1-FRZ2", override=True, reason="x"), ["override"]),
            (deciding("the moon", override=True), ["choice", "reason"]),
        ],
    )
    def test_what_does_not_fit_is_named(self, command: DecideApproval, fields: list[str]) -> None:
        with pytest.raises(Invalid) as caught:
            decide_approval_event(command, asked(), {"supervisor"}, T0)
        assert [problem.field for problem in caught.value.problems] == fields

    def test_another_role_is_refused(self) -> None:
        with pytest.raises(approvals.ApproverLacksRole) as caught:
            decide_approval_event(deciding(), asked(), {"quality", "operator"}, T0)
        assert caught.value.facts["needs"] == "supervisor"

    @pytest.mark.parametrize("minute", [45, 46])
    def test_nobody_decides_after_the_deadline(self, minute: int) -> None:
        with pytest.raises(approvals.ApprovalNotWaiting):
            decide_approval_event(deciding(), asked(), {"supervisor"}, T0 + timedelta(minutes=minute))

    def test_it_is_decided_once(self) -> None:
        with pytest.raises(approvals.ApprovalNotWaiting):
            decide_approval_event(deciding(), asked(status=ApprovalStatus.AGREED), {"supervisor"}, T0)


class TestOnTheLog:
    def test_it_waits_in_the_inbox_of_its_role_and_site(self, kernel: Kernel) -> None:
        kernel.do(request())
        db = kernel.reader()
        assert [one.approval_id for one in approvals.waiting_approvals(db, {"supervisor"}, {"ATL1"})] == [
            "ap1"
        ]
        assert approvals.waiting_approvals(db, {"quality"}) == []
        assert approvals.waiting_approvals(db, {"supervisor"}, {"DFW1"}) == []
        assert approvals.get_approval(db, "ap1").options == OPTIONS
        assert [one.status for one in decisions.list_decisions(db, waiting=True)] == [DecisionStatus.WAITING]

    def test_the_decision_keeps_what_the_person_made_of_it(self, kernel: Kernel) -> None:
        kernel.do(request())
        kernel.do(
            deciding("stay, doors shut", override=True, reason="dock blocked"),
            actor="sam",
            roles={"supervisor"},
        )
        kept = decisions.get_decision(kernel.reader(), "decision-advice")
        assert (kept.status, kept.final_outcome, kept.reason, kept.decided_by) == (
            DecisionStatus.OVERRIDDEN,
            "stay, doors shut",
            "dock blocked",
            "sam",
        )
        assert kept.decision.outcome == "ATL1-FRZ2"
        assert approvals.waiting_approvals(kernel.reader()) == []
        assert approvals.approvers_of(kernel.reader(), "i1") == {"sam"}
        assert kernel.advance(60) == 0  # the deadline is off
        kernel.rebuild()

    def test_nobody_deciding_lets_it_lapse(self, kernel: Kernel) -> None:
        kernel.do(request())
        kernel.advance(45)
        assert approvals.get_approval(kernel.reader(), "ap1").status is ApprovalStatus.LAPSED
        assert decisions.get_decision(kernel.reader(), "decision-advice").status is DecisionStatus.LAPSED
        with pytest.raises(approvals.ApprovalNotWaiting):
            kernel.do(deciding(), roles={"supervisor"})
        assert approvals.approvers_of(kernel.reader(), "i1") == set()
        kernel.rebuild()

    def test_who_signed_for_the_goods_does_not_authorise_their_rescue(
        self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            approvals,
            "_involvements",
            {"quality": lambda db, one, person: "signed a disposition" if person == "quinn" else None},
        )
        kernel.do(request())
        with pytest.raises(approvals.ApproverInvolved) as caught:
            kernel.do(deciding(), actor="quinn", roles={"quality", "supervisor"})
        assert caught.value.facts["why"] == "signed a disposition"
        kernel.do(deciding(), actor="sam", roles={"supervisor"})

    def test_the_same_approval_is_requested_once(self, kernel: Kernel) -> None:
        kernel.do(request())
        with pytest.raises(approvals.ApprovalAlreadyRequested):
            kernel.do(request())

    def test_an_unknown_approval_is_not_found(self, kernel: Kernel) -> None:
        with pytest.raises(approvals.ApprovalNotFound):
            kernel.do(deciding(), roles={"supervisor"})

    def test_an_approval_without_a_deadline_waits(self, kernel: Kernel) -> None:
        kernel.do(request(expires_at=None))
        kernel.advance(100_000)
        kernel.do(deciding(), actor="sam", roles={"supervisor"})
        assert approvals.approvers_of(kernel.reader(), "i1") == {"sam"}
