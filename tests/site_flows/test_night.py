"""The real night at one site, from the first rise to the released zone, and nights that are no failures."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from coldgrid.catalog.lots import RegisterLot
from coldgrid.kernel.parking import ReactionParked, parked_events
from coldgrid.kernel.registry import Reaction, reactions
from coldgrid.kernel.rejections import Invalid
from coldgrid.orchestration.approvals import DecideApproval, approvals_of
from coldgrid.orchestration.incidents import (
    AdvanceIncident,
    IncidentNotSettled,
    IncidentOpened,
    IncidentUpdated,
    Severity,
    Status,
    get_incident,
    open_incident_of,
)
from coldgrid.orchestration.playbooks import AnswerStep
from coldgrid.orchestration.runs import RunAdvanced, runs_of
from coldgrid.orchestration.tasks import open_tasks
from coldgrid.quality.calibration import RejudgeSince
from coldgrid.quality.dispositions import Outcome, SignDisposition, undecided_units_of_incident
from coldgrid.quality.excursions import (
    ExcursionOpened,
    ExcursionUpdated,
    exposed_units,
    list_excursions,
    open_excursion_of,
    shipped_units,
)
from coldgrid.quality.exposure import Verdict
from coldgrid.quality.hand_readings import hand_readings_of
from coldgrid.site_flows.closing import zone_released
from coldgrid.site_flows.rescue import PLACES_MAX
from coldgrid.stock.dispatch import GoodsDispatched
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.hold_facts import HoldPlaced
from coldgrid.stock.hold_joins import UnitsHeld
from coldgrid.stock.inventory import find_unit
from coldgrid.stock.pauses import PauseReason, ResumeZone, ZonePaused, open_pauses
from coldgrid.stock.transfers import TransferShipped
from coldgrid.telemetry.alarm_rules import AlarmRaised, AlarmSuppressed
from coldgrid.telemetry.rules import Stage
from tests.conftest import T0, Kernel
from tests.network import master
from tests.quality.night import (
    FIRST_SENSOR,
    SECOND_SENSOR,
    ZONE,
    failing,
    minutes_now,
    open_freezer,
    read,
    recovering,
    sensor,
    steady,
    tell,
    told,
)
from tests.stock.world import ICE, LATER, PALLET, SECOND, SITE, THIRD, dispatch, receive, sscc

QUALITY = {"quality"}
LOBSTER = sscc(60)


def incident_of(kernel: Kernel) -> str:
    found = open_incident_of(kernel.reader(), SITE, ZONE)
    assert found is not None
    return found.incident_id


def _lobsters_warm_beside_a_cold_room(kernel: Kernel, *more: master.Raw) -> str:
    """A freezer with goods worth moving fails beside one that is cold; return the cold one."""
    open_freezer(kernel)
    cold = f"{SITE}-FRZ2"
    master.put_in_force(
        kernel,
        master.zone(cold),
        master.location(f"{cold}-A01-01"),
        sensor(f"{cold}-T1"),
        master.product("LOB-TAIL-1KG", "09521000000049", name="Lobster tails", value_cents=900_000),
        master.limit("LOB-TAIL-1KG"),
        *more,
        change_id="change-second-freezer",
    )
    kernel.do(_lot("LOB-TAIL-1KG", "L-LOB"))
    kernel.do(receive(LOBSTER, 40, product_id="LOB-TAIL-1KG", lot_id="L-LOB"))
    both = (FIRST_SENSOR, SECOND_SENSOR)
    for start in range(0, 102, 3):
        tell(kernel, failing(60), start, start + 3, sensors=both)
        read(kernel, [(f"{cold}-T1", minute, -22.0) for minute in (start, start + 1.0, start + 2.0)])
    return cold


def answer(kernel: Kernel, step: str, choice: str, role: str, person: str = "olga", **values: Any) -> None:
    """Answer a task as somebody of its role."""
    (task,) = [one for one in open_tasks(kernel.reader()) if one.step == step]
    command = AnswerStep(site_id=SITE, run_id=task.run_id, step=step, answer=choice, values=values)
    kernel.do(command, actor=person, roles={role})


def sign(kernel: Kernel, code: str, outcome: Outcome, **fields: Any) -> None:
    (excursion,) = list_excursions(kernel.reader())
    kernel.do(
        SignDisposition(
            site_id=SITE,
            disposition_id=f"dp-{code}",
            excursion_id=excursion.excursion_id,
            sscc=code,
            outcome=outcome,
            reason="judged by the numbers",
            **fields,
        ),
        actor="quinn",
        roles=QUALITY,
    )


class TestPreAlarm:
    def test_the_zone_stops_promising_before_anything_is_held(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60), 60, 87)
        assert [(event.zone_id, event.reason) for event in told(kernel, ZonePaused)] == [
            (ZONE, PauseReason.PRE_ALARM)
        ]
        assert told(kernel, HoldPlaced) == []
        assert told(kernel, ExcursionOpened) == []

    def test_the_incident_tells_asset_goods_money_time_left_and_the_next_step(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        master.put_in_force(kernel, master.zone(ZONE, asset_id="ATL1-FRZ1-CMP1"), change_id="change-asset")
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60), 60, 87)
        incident = get_incident(kernel.reader(), incident_of(kernel))
        picture = incident.picture
        assert (incident.asset_id, incident.playbook) == ("ATL1-FRZ1-CMP1", "freezer-excursion")
        assert (picture.units, picture.products, picture.at_stake_cents) == (3, [ICE], 300 * 429)
        assert picture.trend_c_per_h == pytest.approx(12, abs=1)
        assert picture.limit_at is not None
        assert (
            picture.next_step == f"Shut the doors of Room {ZONE} and call the technician for ATL1-FRZ1-CMP1"
        )
        assert runs_of(kernel.reader(), incident.incident_id)

    def test_a_compressor_that_recovers_ends_it_without_a_hold(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60), 60, 76)
        tell(kernel, recovering(76, -18.8), 76, 160)
        tell(kernel, steady, 160, 220)
        assert told(kernel, HoldPlaced) == []
        incident = get_incident(kernel.reader(), told(kernel, IncidentOpened)[0].incident_id)
        assert incident.status is Status.CLOSED
        assert open_pauses(kernel.reader(), ZONE) == []
        assert parked_events(kernel.reader()) == []


class TestTheNight:
    def test_from_the_first_rise_to_the_released_zone(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(50), 60, 75)
        kernel.do(dispatch("d-1", (PALLET, 40)))
        tell(kernel, failing(50), 75, 100)

        # The exposed are held, the shipped named, the orders of the zone's promise stopped.
        excursion = open_excursion_of(kernel.reader(), ZONE)
        assert excursion is not None
        named = {row.numbers.sscc for row in exposed_units(kernel.reader(), excursion.excursion_id)}
        (gone,) = shipped_units(kernel.reader(), excursion.excursion_id)
        assert (gone.sscc, gone.qty, gone.order_id) == (PALLET, 40, "o1")
        assert named == {PALLET, SECOND, THIRD}
        held = open_holds_of(kernel.reader(), SITE, [PALLET, SECOND, THIRD])
        assert {hold.sscc for hold in held} == named
        incident_id = incident_of(kernel)
        assert get_incident(kernel.reader(), incident_id).severity is Severity.EXCURSION_RISK
        with pytest.raises(UnitsHeld):
            kernel.do(dispatch("d-2", (PALLET, 1)))
        assert len(told(kernel, GoodsDispatched)) == 1

        # The compressor runs again; the goods have crossed their limit meanwhile.
        tell(kernel, failing(50), 100, 240)
        tell(kernel, recovering(240, 10.0), 240, 420)
        assert get_incident(kernel.reader(), incident_id).status is Status.DISPOSITION_PENDING
        with pytest.raises(IncidentNotSettled):
            kernel.do(AdvanceIncident(site_id=SITE, incident_id=incident_id, status=Status.CLOSED))
        self.quality_signs_and_the_zone_is_released(kernel, incident_id)

    def quality_signs_and_the_zone_is_released(self, kernel: Kernel, incident_id: str) -> None:
        named = {PALLET, SECOND, THIRD}
        verdicts = {
            unit.sscc: unit.verdict for unit in undecided_units_of_incident(kernel.reader(), incident_id)
        }
        assert verdicts == dict.fromkeys(named, Verdict.ASSESS)
        sign(kernel, PALLET, Outcome.DESTROY, witness="walt", inspection="claim 7")
        sign(kernel, SECOND, Outcome.REDUCED_LIFE, reduced_life_until=date(2026, 4, 1))
        assert not zone_released(kernel.reader(), ZONE)
        with pytest.raises(Invalid, match="thawed goods get a new expiry"):
            sign(kernel, THIRD, Outcome.RELEASE)
        sign(kernel, THIRD, Outcome.DONATE)
        for one in open_pauses(kernel.reader(), ZONE):
            resume = ResumeZone(
                site_id=SITE, zone_id=ZONE, pause_id=one.pause_id, reason="cold, empty, probed"
            )
            kernel.do(resume, actor="quinn", roles=QUALITY)
        assert get_incident(kernel.reader(), incident_id).status is Status.CLOSED
        assert open_holds_of(kernel.reader(), SITE, [PALLET, SECOND, THIRD]) == []
        assert parked_events(kernel.reader()) == []
        kernel.rebuild()

    def test_what_is_safe_is_one_commit_and_what_explains_it_is_the_next(self, kernel: Kernel) -> None:
        commits: list[list[Any]] = []
        kernel.decider.listeners.append(lambda told: commits.append([event for _, event in told]))
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60, 2.0), 60, 90)
        (at,) = [n for n, events in enumerate(commits) if any(isinstance(e, ExcursionOpened) for e in events)]
        safe, after = commits[at], commits[at + 1]
        (opened,) = [event for event in safe if isinstance(event, ExcursionOpened)]
        assert {unit.verdict for unit in opened.units} == {Verdict.UNKNOWN}
        assert [event.reason for event in safe if isinstance(event, ZonePaused)][-1] == PauseReason.EXCURSION
        (hold,) = [event for event in safe if isinstance(event, HoldPlaced)]
        assert {unit.sscc for unit in hold.units} == {PALLET, SECOND, THIRD}
        assert not any(isinstance(event, RunAdvanced) for event in safe)
        (judged,) = [event for event in after if isinstance(event, ExcursionUpdated)]
        assert {unit.sscc for unit in judged.units} == {PALLET, SECOND, THIRD}
        assert all(unit.peak_c is not None for unit in judged.units)
        assert any(isinstance(event, RunAdvanced) for event in after)
        assert incident_of(kernel)
        kernel.rebuild()

    def test_a_rescue_waits_for_its_approver_and_moves_under_hold(self, kernel: Kernel) -> None:
        cold = _lobsters_warm_beside_a_cold_room(kernel)
        incident_id = incident_of(kernel)
        (approval,) = approvals_of(kernel.reader(), incident_id)
        assert approval.decision.outcome == f"move to {cold}"
        assert all(guardrail.ok for guardrail in approval.decision.guardrails)
        kernel.do(
            DecideApproval(
                site_id=SITE, approval_id=approval.approval_id, choice=f"move to {cold}", reason=""
            ),
            actor="sue",
            roles={"supervisor"},
        )
        assert _zone_of(kernel, LOBSTER) == ZONE
        assert get_incident(kernel.reader(), incident_id).picture.next_step == f"move to {cold}, under hold"
        kernel.advance(21)
        assert _zone_of(kernel, LOBSTER) == cold
        assert get_incident(kernel.reader(), incident_id).picture.next_step == f"Follow the repair of {ZONE}"
        assert open_holds_of(kernel.reader(), SITE, [LOBSTER])
        assert parked_events(kernel.reader()) == []

    def test_of_more_places_than_are_weighed_the_nearest_are_and_the_decision_says_so(
        self, kernel: Kernel
    ) -> None:
        rooms = [master.zone(f"CLT1-FRZ{number}") for number in range(2, 2 + PLACES_MAX)]
        lane = master.lane(SITE, "CLT1", lane_id=f"{SITE}-CLT1")
        cold = _lobsters_warm_beside_a_cold_room(kernel, lane, *rooms)
        (approval,) = approvals_of(kernel.reader(), incident_of(kernel))
        decision = approval.decision
        assert decision.outcome == f"move to {cold}", "its own site comes first"
        assert isinstance(decision.alternatives, list)
        places = [one.name for one in decision.alternatives if "FRZ" in one.name]
        assert len(places) == PLACES_MAX
        assert decision.guardrails[-1].why == f"{PLACES_MAX} of {PLACES_MAX + 2} were weighed"

    def test_goods_are_sent_to_another_site_when_this_one_has_no_cold_space(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        master.put_in_force(
            kernel,
            master.lane(SITE, "CLT1", lane_id=f"{SITE}-CLT1", transit_min=60),
            sensor("CLT1-FRZ1-T1"),
            master.product("LOB-TAIL-1KG", "09521000000049", name="Lobster tails", value_cents=900_000),
            master.limit("LOB-TAIL-1KG"),
            change_id="change-lane",
        )
        kernel.do(_lot("LOB-TAIL-1KG", "L-LOB"))
        kernel.do(receive(LOBSTER, 40, product_id="LOB-TAIL-1KG", lot_id="L-LOB"))
        both = (FIRST_SENSOR, SECOND_SENSOR)
        slow = failing(60, 0.1)
        for start in range(0, 126, 3):
            tell(kernel, slow, start, start + 3, sensors=both)
            far = [("CLT1-FRZ1-T1", minute, -22.0) for minute in (start, start + 1.0, start + 2.0)]
            read(kernel, far, site_id="CLT1")
        (approval,) = approvals_of(kernel.reader(), incident_of(kernel))
        assert "transfer to CLT1-FRZ1" in approval.options
        command = DecideApproval(
            site_id=SITE,
            approval_id=approval.approval_id,
            choice="transfer to CLT1-FRZ1",
            reason="nearest cold",
        )
        kernel.do(command, actor="sue", roles={"supervisor"})
        kernel.advance(76)
        (event,) = told(kernel, TransferShipped)
        assert event.to_site_id == "CLT1"
        assert LOBSTER in {unit.line.sscc for unit in event.units}
        assert all(unit.holds for unit in event.units)


class TestNotAFailure:
    def test_a_dead_probe_is_unknown_and_holds_nothing(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, steady, 60, 180, sensors=(SECOND_SENSOR,))
        incident = get_incident(kernel.reader(), incident_of(kernel))
        assert (incident.playbook, incident.severity) == ("sensor-fault", Severity.OPERATOR_ACTIONABLE)
        assert incident.facts["next_step"] == f"Watched by {SECOND_SENSOR} until the sensor is back"
        assert told(kernel, ExcursionOpened) == []
        assert told(kernel, HoldPlaced) == []
        assert told(kernel, ZonePaused) == []
        tell(kernel, steady, 180, 200)
        assert get_incident(kernel.reader(), incident.incident_id).status is Status.CLOSED
        assert parked_events(kernel.reader()) == []

    def test_the_only_probe_dead_asks_for_a_hand_reading_within_the_grace(self, kernel: Kernel) -> None:
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR),))
        tell(kernel, steady, 0, 60, sensors=(FIRST_SENSOR,))
        kernel.advance(6)
        incident = get_incident(kernel.reader(), incident_of(kernel))
        assert incident.facts["temperature_known"] is True  # within the grace
        assert {task.step for task in open_tasks(kernel.reader())} >= {"hand_reading"}
        answer(kernel, "hand_reading", "measured", "operator", product_c=-21.0)
        kernel.advance(40)
        assert told(kernel, ExcursionOpened) == []
        assert told(kernel, HoldPlaced) == []

    @pytest.mark.parametrize(("given", "kept"), [({"probe_id": "P-7"}, "P-7"), ({}, "not named")])
    def test_what_was_measured_for_the_playbook_is_on_record_by_who_measured_it(
        self, kernel: Kernel, given: dict[str, Any], kept: str
    ) -> None:
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR),))
        tell(kernel, steady, 0, 60, sensors=(FIRST_SENSOR,))
        kernel.advance(6)
        answer(kernel, "hand_reading", "measured", "operator", product_c=-21.0, **given)
        (reading,) = hand_readings_of(kernel.reader(), ZONE, T0, kernel.host.instant)
        assert (reading.value_c, reading.probe_id, reading.taken_by) == (-21.0, kept, "olga")
        assert told(kernel, HoldPlaced) == []
        assert parked_events(kernel.reader()) == []

    def test_goods_that_nobody_measured_are_held_but_silence_is_no_evidence_of_an_excursion(
        self, kernel: Kernel
    ) -> None:
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR),))
        tell(kernel, steady, 0, 60, sensors=(FIRST_SENSOR,))
        kernel.advance(400)
        assert told(kernel, HoldPlaced) != []
        (excursion,) = list_excursions(kernel.reader())
        units = [row.numbers for row in exposed_units(kernel.reader(), excursion.excursion_id)]
        assert {unit.verdict for unit in units} == {Verdict.UNKNOWN}
        incident = get_incident(kernel.reader(), incident_of(kernel))
        assert incident.severity is Severity.OPERATOR_ACTIONABLE
        assert all(event.severity is not Severity.EXCURSION_RISK for event in told(kernel, IncidentUpdated))

    def test_a_warm_hand_reading_where_the_probe_is_dead_is_evidence(self, kernel: Kernel) -> None:
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR),))
        tell(kernel, steady, 0, 60, sensors=(FIRST_SENSOR,))
        kernel.advance(6)
        answer(kernel, "hand_reading", "measured", "operator", product_c=-11.0)
        assert told(kernel, HoldPlaced) != []
        incident = get_incident(kernel.reader(), incident_of(kernel))
        assert incident.severity is Severity.EXCURSION_RISK

    def test_a_door_that_closes_again_holds_and_pauses_nothing(self, kernel: Kernel) -> None:
        door = sensor(f"{ZONE}-D1", role="door", quantity="state", unit="state", interval_s=86_400)
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR), door))
        tell(kernel, steady, 0, 60, sensors=(FIRST_SENSOR,))
        read(kernel, [(f"{ZONE}-D1", 60.0, 1.0)])
        tell(kernel, failing(60, 1.0), 60, 66, sensors=(FIRST_SENSOR,))
        read(kernel, [(f"{ZONE}-D1", 66.0, 0.0)])
        tell(kernel, recovering(66, -17.0), 66, 140, sensors=(FIRST_SENSOR,))
        self._nothing_happened(kernel)
        assert told(kernel, AlarmSuppressed)

    def test_a_defrost_holds_and_pauses_nothing(self, kernel: Kernel) -> None:
        coil = sensor(f"{ZONE}-F1", role="defrost", quantity="state", unit="state", interval_s=86_400)
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR), coil))
        tell(kernel, steady, 0, 60, sensors=(FIRST_SENSOR,))
        read(kernel, [(f"{ZONE}-F1", 60.0, 1.0)])
        tell(kernel, failing(60, 0.4), 60, 84, sensors=(FIRST_SENSOR,))
        read(kernel, [(f"{ZONE}-F1", 84.0, 0.0)])
        tell(kernel, recovering(84, -12.8, 1.0), 84, 150, sensors=(FIRST_SENSOR,))
        self._nothing_happened(kernel)

    def _nothing_happened(self, kernel: Kernel) -> None:
        for kind in (ExcursionOpened, HoldPlaced, ZonePaused, IncidentOpened):
            assert told(kernel, kind) == []
        assert [event for event in told(kernel, AlarmRaised) if event.stage is not Stage.FAULT] == []

    def test_a_slow_drift_is_caught_before_the_products_limit(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 240)
        tell(kernel, failing(240, 0.02), 240, 400)
        assert told(kernel, ZonePaused)
        (opened,) = told(kernel, IncidentOpened)
        assert opened.facts["limit_at"] is not None
        assert told(kernel, HoldPlaced) == []


class TestLateNews:
    def test_a_backfilled_excursion_still_names_and_holds_but_a_cold_zone_goes_on_promising(
        self, kernel: Kernel
    ) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, steady, 60, 120, sensors=(SECOND_SENSOR,))
        tell(kernel, steady, 120, 129)
        read(kernel, [(FIRST_SENSOR, float(minute), -10 + 0.01 * (minute % 3)) for minute in range(62, 118)])
        kernel.advance(1)
        late = [event for event in told(kernel, AlarmRaised) if event.stage is Stage.EXCURSION]
        assert all(event.backfilled for event in late)
        (excursion,) = list_excursions(kernel.reader())
        assert {row.numbers.sscc for row in exposed_units(kernel.reader(), excursion.excursion_id)} == {
            PALLET,
            SECOND,
            THIRD,
        }
        assert open_holds_of(kernel.reader(), SITE, [PALLET])
        assert told(kernel, ZonePaused) == []


class TestWithoutAPlaybook:
    def test_an_incident_of_what_is_over_closes_with_the_last_signature(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, lambda minute: steady(minute) + 1.5, 0, 300)
        rejudge = RejudgeSince(
            site_id=SITE,
            rejudge_id="rj-1",
            sensor_id=FIRST_SENSOR,
            certificate_id="CERT-1",
            since=kernel.host.instant - timedelta(minutes=290),
            correction_c=4.0,
        )
        kernel.do(rejudge)
        incident = get_incident(kernel.reader(), incident_of(kernel))
        assert (incident.playbook, told(kernel, ZonePaused)) == ("", [])
        for code in (PALLET, SECOND, THIRD):
            sign(kernel, code, Outcome.RELEASE)
        assert get_incident(kernel.reader(), incident.incident_id).status is Status.CLOSED


class TestFailingClosed:
    def test_a_safety_reaction_that_fails_pauses_its_zone(
        self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_tx: object, _event: object) -> None:
            raise RuntimeError("a fault of ours")

        spoilt = [
            Reaction(one.name, one.event, broken, one.safety, one.cursor, one.scope)
            if one.name == "site_flows.hold_exposed"
            else one
            for one in reactions[ExcursionOpened]
        ]
        rooms: dict[Any, list[Reaction]] = reactions
        monkeypatch.setitem(rooms, ExcursionOpened, spoilt)
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60), 60, 100)
        assert [event.reaction for event in told(kernel, ReactionParked)] == ["site_flows.hold_exposed"]
        assert PauseReason.SAFETY in {one.reason for one in open_pauses(kernel.reader(), ZONE)}

    def test_goods_that_cross_their_limit_in_air_that_never_alarmed_are_an_excursion(
        self, kernel: Kernel
    ) -> None:
        # The sensor's own limit is set too warm, the product's is not.
        lax = {"high_c": -12, "rate_15_min_c_per_h": 3.0, "rate_60_min_c_per_h": 1.0, "approach_c": 5}
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR, rules=lax),))
        tell(kernel, steady, 0, 60, sensors=(FIRST_SENSOR,))
        tell(kernel, failing(60, 0.2, -14), 60, 400, sensors=(FIRST_SENSOR,))
        assert [event for event in told(kernel, AlarmRaised) if event.stage is Stage.EXCURSION] == []
        (opened,) = told(kernel, ExcursionOpened)
        assert opened.why == "the goods' estimated temperature crossed their limit"
        assert open_holds_of(kernel.reader(), SITE, [PALLET])
        assert minutes_now(kernel) == 399


def _zone_of(kernel: Kernel, code: str) -> str:
    unit = find_unit(kernel.reader(), SITE, code)
    assert unit is not None
    return unit.zone_id


def _lot(product_id: str, lot_id: str) -> Any:
    return RegisterLot(
        site_id=SITE,
        lot_id=lot_id,
        product_id=product_id,
        tlc=f"TLC-{LATER}",
        tlc_source="Boat 3",
        produced_on=None,
        expires_on=date(2026, 9, 1),
    )
