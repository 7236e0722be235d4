"""Decision records: the pure parts, the log, and what the compact form may cost."""

from __future__ import annotations

import msgspec
import pytest

from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.rejections import Invalid
from coldgrid.orchestration import decisions
from coldgrid.orchestration.decisions import (
    Alternative,
    Columns,
    Decision,
    DecisionOverridden,
    DecisionRecorded,
    DecisionStatus,
    Guardrail,
    KeptDecision,
    OverrideDecision,
)
from tests.conftest import T0, Kernel

ROWS = Decision(
    decision_id="decision-1",
    kind="stay_or_move",
    inputs=["ATL1/1/7"],
    facts={"repair_min": 90, "air_c": -9.5},
    policy="stay-or-move@1",
    policy_hash="ab12",
    alternatives=[Alternative("stay", 412.0, {"limit_min": 60}, "late"), Alternative("move", 95.5)],
    score_unit="min",
    guardrails=[Guardrail("cold_space_proven", ok=True, why="ATL1-FRZ2 has 14 places")],
    outcome="move",
    why="the product crosses its limit before the repair",
)
COLUMNS = Decision(
    decision_id="decision-2",
    kind="sourcing",
    policy="nearest@3",
    alternatives=Columns(["ATL1", "DFW1"], [812, None], ["", "too_far"], {"transit_min": [120, None]}),
    outcome="ATL1",
    why="cheapest in time",
)


def kept(decision: Decision = ROWS, status: DecisionStatus = DecisionStatus.MADE) -> KeptDecision:
    return KeptDecision(decision.decision_id, "incident/i1", "ATL1", T0, decision, status, decision.outcome)


class TestDecideOverride:
    def test_another_outcome_with_a_reason(self) -> None:
        event = decisions.decide_override(kept(), "stay", " the dock is blocked ")
        assert event == DecisionOverridden(
            decision_id="decision-1", outcome="stay", reason="the dock is blocked"
        )

    def test_without_a_reason_it_is_rejected(self) -> None:
        with pytest.raises(Invalid):
            decisions.decide_override(kept(), "stay", "  ")

    def test_a_second_override_is_rejected(self) -> None:
        with pytest.raises(decisions.DecisionAlreadyOverridden):
            decisions.decide_override(kept(status=DecisionStatus.OVERRIDDEN), "stay", "why not")

    def test_choosing_the_same_is_no_override(self) -> None:
        with pytest.raises(decisions.OverrideAgrees):
            decisions.decide_override(kept(), "move", "sure")


class TestAlternatives:
    def test_the_best_score_comes_first_and_what_was_ruled_out_last(self) -> None:
        three = msgspec.structs.replace(
            ROWS, alternatives=[Alternative("a"), Alternative("b", 2.0), Alternative("c", 1.0)]
        )
        assert [one.name for one in decisions.alternatives_of(three)] == ["c", "b", "a"]

    def test_columns_read_like_rows(self) -> None:
        decisions.register_reasons({"test_too_far": "further than the order may travel"})
        compact = msgspec.structs.replace(
            COLUMNS,
            alternatives=Columns(["ATL1", "DFW1"], [812], ["", "test_too_far"], {"transit_min": [120]}),
        )
        assert decisions.alternatives_of(compact) == [
            Alternative("ATL1", 812, {"transit_min": 120}),
            Alternative("DFW1", None, {}, "further than the order may travel"),
        ]

    def test_a_reason_code_has_one_text(self) -> None:
        decisions.register_reasons({"test_once": "one text"})
        decisions.register_reasons({"test_once": "one text"})
        with pytest.raises(ValueError, match="test_once"):
            decisions.register_reasons({"test_once": "another text"})


class TestOnTheLog:
    def record(self, kernel: Kernel, decision: Decision) -> None:
        kernel.decider.within(
            SYSTEM, "ATL1", lambda tx: decisions.record_decision(tx, "incident/i1", decision), "test"
        )

    def test_a_decision_is_kept_as_it_was_made(self, kernel: Kernel) -> None:
        self.record(kernel, ROWS)
        self.record(kernel, COLUMNS)
        found = decisions.get_decision(kernel.reader(), "decision-1")
        assert found == kept()
        assert decisions.get_decision(kernel.reader(), "decision-2").decision == COLUMNS
        assert len(decisions.decisions_about(kernel.reader(), "incident/i1")) == 2
        kernel.rebuild()

    def test_an_override_stands_beside_it_with_its_reason(self, kernel: Kernel) -> None:
        self.record(kernel, ROWS)
        kernel.do(
            OverrideDecision(site_id="ATL1", decision_id="decision-1", outcome="stay", reason="dock blocked"),
            actor="sam",
            at=5,
        )
        found = decisions.get_decision(kernel.reader(), "decision-1")
        assert found.decision == ROWS
        assert (found.status, found.final_outcome, found.decided_by) == (
            DecisionStatus.OVERRIDDEN,
            "stay",
            "sam",
        )
        assert decisions.list_decisions(kernel.reader(), waiting=True) == []
        assert [one.decision_id for one in decisions.list_decisions(kernel.reader())] == ["decision-1"]
        kernel.rebuild()

    def test_an_unknown_decision_is_not_found(self, kernel: Kernel) -> None:
        with pytest.raises(decisions.DecisionNotFound):
            decisions.get_decision(kernel.reader(), "nope")

    def test_a_room_may_keep_its_decisions_inside_its_own_events(self, kernel: Kernel) -> None:
        decisions.register_home("test", lambda db, id_: kept(COLUMNS) if id_ == "decision-2" else None)
        assert decisions.get_decision(kernel.reader(), "decision-2").decision == COLUMNS


def test_events_keep_their_wire_form() -> None:
    """Bytes from release 1 must decode for ever. Add lines; never edit one."""
    for type_, stored in (
        (
            DecisionRecorded,
            b'{"type":"orchestration.decision_recorded","decision":{"decision_id":"decision-1",'
            b'"kind":"stay_or_move","inputs":["ATL1/1/7"],"facts":{"repair_min":90,"air_c":-9.5},'
            b'"policy":"stay-or-move@1","policy_hash":"ab12","alternatives":[{"name":"stay","score":412.0,'
            b'"facts":{"limit_min":60},"why":"late"},{"name":"move","score":95.5,"facts":{},"why":""}],'
            b'"score_unit":"min","guardrails":[{"name":"cold_space_proven","ok":true,'
            b'"why":"ATL1-FRZ2 has 14 places"}],"outcome":"move",'
            b'"why":"the product crosses its limit before the repair"},"subject":"incident/i1"}',
        ),
        (
            DecisionRecorded,
            b'{"type":"orchestration.decision_recorded","decision":{"decision_id":"decision-2",'
            b'"kind":"sourcing","inputs":[],"facts":{},"policy":"nearest@3","policy_hash":"",'
            b'"alternatives":{"names":["ATL1","DFW1"],"scores":[812,null],"why":["","too_far"],'
            b'"facts":{"transit_min":[120,null]}},"score_unit":"","guardrails":[],"outcome":"ATL1",'
            b'"why":"cheapest in time"},"subject":""}',
        ),
        (
            DecisionOverridden,
            b'{"type":"orchestration.decision_overridden","decision_id":"decision-1","outcome":"stay",'
            b'"reason":"the dock is blocked"}',
        ),
    ):
        assert msgspec.json.encode(msgspec.json.decode(stored, type=type_)) == stored
