"""Dispositions: who may sign for what, and what becomes of the goods."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.catalog.lots import RegisterLot
from coldgrid.kernel.rejections import Invalid, Rejected
from coldgrid.orchestration.approvals import ApproverInvolved, DecideApproval, RequestApproval
from coldgrid.orchestration.decisions import Alternative, Decision
from coldgrid.quality.disposition_rules import BACK_TO_STOCK, Standing, decide_sign
from coldgrid.quality.dispositions import (
    DispositionIdTaken,
    DispositionSigned,
    ExposureNotOver,
    Outcome,
    SignDisposition,
    SignerInvolved,
    SignerIsNoPerson,
    SignerLacksRole,
    UnitAlreadyDecided,
    UnitNotExposed,
    dispositions_of,
    undecided_units,
    undecided_units_of_incident,
)
from coldgrid.quality.excursions import get_excursion, open_excursion_of
from coldgrid.quality.exposed import ExposedUnit
from coldgrid.quality.exposure import Verdict
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.inventory import find_unit, units_by_sscc
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer
from coldgrid.stock.units import UnitStatus, Virtual
from tests.conftest import Kernel
from tests.network import master
from tests.quality.night import VACCINE, ZONE, failing, minutes_now, open_freezer, opening, steady, tell, told
from tests.stock.world import AWAY, ICE, OTHER, PALLET, SECOND, SITE, THIRD, receive, sscc

QUALITY = {"quality"}
PART = sscc(40)
ARRIVED = datetime(2026, 3, 1, tzinfo=UTC)

UNIT = ExposedUnit(
    sscc=PALLET,
    product_id=ICE,
    lot_id="L-2601",
    owner="COLDGRID",
    qty=100,
    location_id="ATL1-FRZ1-A01-02",
    arrived_at=ARRIVED,
    verdict=Verdict.ASSESS,
    why="above -18 °C for 90 min in all",
    outside_min=90,
    outside_longest_min=90,
    peak_c=-16.2,
    coldest_c=-23,
    value_cents=42_900,
)
STANDING = Standing(
    actor="quinn",
    roles=frozenset(QUALITY),
    pharma=False,
    placed_by=frozenset({"system:site_flows.hold_exposed"}),
    authorised_by=frozenset({"sue"}),
    exposed=False,
    today=date(2026, 3, 1),
    expires_on=date(2026, 6, 1),
)
COMMAND = SignDisposition(
    site_id=SITE,
    disposition_id="dp-1",
    excursion_id="x1",
    sscc=PALLET,
    outcome=Outcome.RELEASE,
    reason="core was cold",
)


def sign(
    command: dict[str, Any] | None = None, unit: dict[str, Any] | None = None, **standing: Any
) -> DispositionSigned:
    return decide_sign(
        msgspec.structs.replace(COMMAND, **(command or {})),
        msgspec.structs.replace(UNIT, **(unit or {})),
        ZONE,
        "incident-1",
        msgspec.structs.replace(STANDING, **standing),
    )


class TestWhoMaySign:
    def test_quality_signs_for_food(self) -> None:
        assert sign().signed_as == "quality"

    def test_only_the_responsible_person_signs_for_medicines(self) -> None:
        with pytest.raises(SignerLacksRole) as caught:
            sign(pharma=True)
        assert caught.value.facts["needs"] == "responsible_person"
        assert sign(pharma=True, roles=frozenset({"responsible_person"})).signed_as == "responsible_person"

    def test_other_roles_do_not(self) -> None:
        with pytest.raises(SignerLacksRole):
            sign(roles=frozenset({"supervisor", "admin"}))

    @pytest.mark.parametrize("actor", ["system", "system:site_flows.carry_out"])
    def test_the_program_never_signs(self, actor: str) -> None:
        with pytest.raises(SignerIsNoPerson):
            sign(actor=actor)

    @pytest.mark.parametrize(
        ("who", "did"), [("authorised_by", "authorised the rescue"), ("placed_by", "placed the hold")]
    )
    def test_four_eyes(self, who: str, did: str) -> None:
        involved: dict[str, Any] = {who: frozenset({"quinn"})}
        with pytest.raises(SignerInvolved) as caught:
            sign(**involved)
        assert caught.value.facts["did"] == did


class TestWhatMayBeSigned:
    def problems(self, command: dict[str, Any], unit: dict[str, Any] | None = None) -> set[str]:
        with pytest.raises(Invalid) as caught:
            sign(command, unit)
        return {problem.field for problem in caught.value.problems}

    def test_a_reason_is_given(self) -> None:
        assert self.problems({"reason": "  "}) == {"reason"}

    def test_unknown_goods_are_released_only_on_evidence(self) -> None:
        unknown = {"verdict": Verdict.UNKNOWN}
        assert self.problems({}, unknown) == {"evidence"}
        assert sign({"evidence": ("reading-1",)}, unknown).evidence == ("reading-1",)
        assert sign({"outcome": Outcome.RETURN}, unknown).outcome is Outcome.RETURN

    def test_thawed_goods_get_a_new_expiry(self) -> None:
        thawed = {"thawed_at": ARRIVED}
        assert self.problems({}, thawed) == {"outcome"}
        new_life = {"outcome": Outcome.REDUCED_LIFE, "reduced_life_until": date(2026, 3, 5)}
        assert sign(new_life, thawed).reduced_life_until == date(2026, 3, 5)

    @pytest.mark.parametrize(
        ("outcome", "until"),
        [
            (Outcome.REDUCED_LIFE, None),
            (Outcome.RELEASE, date(2026, 3, 5)),
            (Outcome.REDUCED_LIFE, date(2026, 2, 28)),  # over already
            (Outcome.REDUCED_LIFE, date(2026, 6, 1)),  # as long as before
        ],
    )
    def test_a_reduced_life_is_shorter_and_goes_with_its_outcome(
        self, outcome: Outcome, until: date | None
    ) -> None:
        assert self.problems({"outcome": outcome, "reduced_life_until": until}) == {"reduced_life_until"}

    @pytest.mark.parametrize("until", [date(2026, 3, 1), date(2026, 5, 31)])
    def test_its_bounds_are_inclusive(self, until: date) -> None:
        assert (
            sign({"outcome": Outcome.REDUCED_LIFE, "reduced_life_until": until}).reduced_life_until == until
        )

    @pytest.mark.parametrize("witness", ["", "quinn"])
    def test_destruction_has_a_witness_and_the_insurers_inspection(self, witness: str) -> None:
        assert self.problems({"outcome": Outcome.DESTROY, "witness": witness}) == {"witness", "inspection"}
        done = sign({"outcome": Outcome.DESTROY, "witness": "walt", "inspection": "claim 7, waived"})
        assert (done.witness, done.inspection) == ("walt", "claim 7, waived")

    def test_goods_go_back_to_stock_only_when_their_exposure_is_over(self) -> None:
        with pytest.raises(ExposureNotOver):
            sign(exposed=True)
        assert sign({"outcome": Outcome.DONATE}, exposed=True).outcome is Outcome.DONATE

    @pytest.mark.parametrize(("qty", "label"), [(0, PART), (100, PART), (101, PART), (5, "12"), (5, PALLET)])
    def test_a_part_is_less_than_the_unit_and_has_its_own_label(self, qty: int, label: str) -> None:
        assert self.problems({"qty": qty, "part_sscc": label}) <= {"qty", "part_sscc"}

    def test_a_part_leaves_the_rest(self) -> None:
        event = sign({"qty": 30, "part_sscc": PART})
        assert (event.sscc, event.from_sscc, event.qty, event.rest_qty) == (PART, PALLET, 30, 70)

    @given(
        st.sampled_from(list(Outcome)),
        st.sampled_from(list(Verdict)),
        st.booleans(),
        st.booleans(),
        st.none() | st.dates(date(2026, 2, 1), date(2026, 7, 1)),
        st.sampled_from(["", "quinn", "walt"]),
        st.sampled_from([(), ("reading-1",)]),
        st.frozensets(st.sampled_from(["quality", "responsible_person", "operator"])),
    )
    def test_whatever_is_signed_keeps_the_rules(
        self,
        outcome: Outcome,
        verdict: Verdict,
        thawed: bool,
        exposed: bool,
        until: date | None,
        witness: str,
        evidence: tuple[str, ...],
        roles: frozenset[str],
    ) -> None:
        command = {"outcome": outcome, "reduced_life_until": until, "witness": witness, "evidence": evidence}
        try:
            event = sign(
                {**command, "inspection": "claim 7"},
                {"verdict": verdict, "thawed_at": ARRIVED if thawed else None},
                roles=roles,
                exposed=exposed,
            )
        except Rejected:
            return
        back = event.outcome in BACK_TO_STOCK
        assert roles & {"quality", "responsible_person"}
        assert not (back and exposed)
        assert not (back and verdict is Verdict.UNKNOWN and not evidence)
        assert not (thawed and event.outcome is Outcome.RELEASE)
        assert (event.outcome is Outcome.REDUCED_LIFE) == (event.reduced_life_until is not None)
        assert event.outcome is not Outcome.DESTROY or event.witness == "walt"


def named(kernel: Kernel) -> None:
    """Three pallets in an excursion whose air is cold again."""
    open_freezer(kernel)
    tell(kernel, steady, 0, 30)
    kernel.do(opening(from_min=20), at=31)


def signing(code: str = PALLET, outcome: Outcome = Outcome.RELEASE, **fields: Any) -> SignDisposition:
    raw: dict[str, Any] = {"disposition_id": f"dp-{code}", "reason": "core was cold"}
    return SignDisposition(site_id=SITE, excursion_id="x1", sscc=code, outcome=outcome, **{**raw, **fields})


class TestOnTheLog:
    def test_release_ends_the_excursions_hold_in_the_signers_name(self, kernel: Kernel) -> None:
        named(kernel)
        kernel.do(signing(), actor="quinn", roles=QUALITY)
        assert open_holds_of(kernel.reader(), SITE, [PALLET]) == []
        assert {unit.sscc for unit in undecided_units(kernel.reader(), "x1")} == {SECOND, THIRD}
        assert [one.signed_by for one in dispositions_of(kernel.reader(), "x1")] == ["quinn"]
        unit = find_unit(kernel.reader(), SITE, PALLET)
        assert unit is not None
        assert unit.sellable
        kernel.rebuild()

    def test_reduced_life_sets_the_new_expiry(self, kernel: Kernel) -> None:
        named(kernel)
        until = date(2026, 4, 1)
        kernel.do(
            signing(outcome=Outcome.REDUCED_LIFE, reduced_life_until=until), actor="quinn", roles=QUALITY
        )
        unit = find_unit(kernel.reader(), SITE, PALLET)
        assert unit is not None
        assert (unit.expires_on, unit.sellable) == (until, True)

    def test_destroyed_goods_leave_the_books_before_a_witness(self, kernel: Kernel) -> None:
        named(kernel)
        command = signing(outcome=Outcome.DESTROY, witness="walt", inspection="claim 7")
        kernel.do(command, actor="quinn", roles=QUALITY)
        unit = find_unit(kernel.reader(), SITE, PALLET)
        assert unit is not None
        assert (unit.qty, unit.location_id) == (0, Virtual.DESTROYED)

    def test_a_part_gets_its_label_and_the_rest_stays_held(self, kernel: Kernel) -> None:
        named(kernel)
        kernel.do(signing(qty=30, part_sscc=PART, disposition_id="dp-part"), actor="quinn", roles=QUALITY)
        assert open_holds_of(kernel.reader(), SITE, [PART]) == []
        assert open_holds_of(kernel.reader(), SITE, [PALLET])
        left = {unit.sscc: unit.qty for unit in undecided_units(kernel.reader(), "x1")}
        assert left == {PALLET: 70, SECOND: 100, THIRD: 100}
        destroy = signing(outcome=Outcome.DESTROY, witness="walt", inspection="claim 7")
        kernel.do(destroy, actor="quinn", roles=QUALITY)
        assert PALLET not in {unit.sscc for unit in undecided_units(kernel.reader(), "x1")}
        kernel.rebuild()

    @pytest.mark.parametrize(
        ("outcome", "status"),
        [
            (Outcome.REWORK, UnitStatus.REWORK),
            (Outcome.RETURN, UnitStatus.RETURN),
            (Outcome.DONATE, UnitStatus.DONATE),
        ],
    )
    def test_other_outcomes_keep_goods_from_customers(
        self, kernel: Kernel, outcome: Outcome, status: UnitStatus
    ) -> None:
        named(kernel)
        kernel.do(signing(outcome=outcome), actor="quinn", roles=QUALITY)
        unit = find_unit(kernel.reader(), SITE, PALLET)
        assert unit is not None
        assert (unit.status, unit.sellable) == (status, False)

    def test_each_unit_is_decided_once(self, kernel: Kernel) -> None:
        named(kernel)
        kernel.do(signing(), actor="quinn", roles=QUALITY)
        with pytest.raises(UnitAlreadyDecided):
            kernel.do(signing(disposition_id="dp-again"), actor="quentin", roles=QUALITY)
        with pytest.raises(DispositionIdTaken):
            kernel.do(signing(SECOND, disposition_id=f"dp-{PALLET}"), actor="quinn", roles=QUALITY)
        with pytest.raises(UnitNotExposed):
            kernel.do(signing(sscc(77)), actor="quinn", roles=QUALITY)

    def test_the_last_signature_ends_the_excursion(self, kernel: Kernel) -> None:
        named(kernel)
        for code in (PALLET, SECOND, THIRD):
            kernel.do(signing(code), actor="quinn", roles=QUALITY)
        assert undecided_units(kernel.reader(), "x1") == []
        assert get_excursion(kernel.reader(), "x1").closed_at is not None

    def test_nothing_goes_back_to_stock_while_the_air_is_warm(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60), 60, 120)
        excursion = open_excursion_of(kernel.reader(), ZONE)
        assert excursion is not None
        command = msgspec.structs.replace(signing(), excursion_id=excursion.excursion_id)
        with pytest.raises(ExposureNotOver):
            kernel.do(command, actor="quinn", roles=QUALITY)
        assert len(undecided_units_of_incident(kernel.reader(), excursion.incident_id)) == 3

    def test_medicines_wait_for_the_responsible_person(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        vaccine = master.product(VACCINE, "09521000000032", name="Flu vaccine", regime="pharma")
        master.put_in_force(kernel, vaccine, master.limit(VACCINE), change_id="change-vaccine")
        kernel.do(
            RegisterLot(
                site_id=SITE,
                lot_id="L-V1",
                product_id=VACCINE,
                tlc="TLC-V1",
                tlc_source="Plant 3",
                produced_on=None,
                expires_on=date(2026, 6, 1),
            )
        )
        kernel.do(receive(sscc(50), 10, product_id=VACCINE, lot_id="L-V1"))
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        with pytest.raises(SignerLacksRole):
            kernel.do(signing(sscc(50)), actor="quinn", roles=QUALITY)
        kernel.do(signing(sscc(50)), actor="rita", roles={"responsible_person"})
        assert open_holds_of(kernel.reader(), SITE, [sscc(50)]) == []
        kernel.do(signing(PALLET), actor="quinn", roles=QUALITY)
        assert open_holds_of(kernel.reader(), SITE, [PALLET]) == []

    def test_goods_rescued_to_another_site_are_freed_there(self, kernel: Kernel) -> None:
        named(kernel)
        send(kernel, "sam")
        assert open_holds_of(kernel.reader(), OTHER, [PALLET])
        kernel.do(signing(), actor="quinn", roles=QUALITY)
        kernel.decider.settle()
        assert open_holds_of(kernel.reader(), OTHER, [PALLET]) == []
        assert [unit.site_id for unit in units_by_sscc(kernel.reader(), PALLET) if unit.sellable] == [OTHER]

    def test_who_authorised_the_rescue_does_not_sign_nor_the_other_way_round(self, kernel: Kernel) -> None:
        named(kernel)
        incident_id = get_excursion(kernel.reader(), "x1").incident_id
        approve(kernel, "ap-1", incident_id, "sue")
        with pytest.raises(SignerInvolved):
            kernel.do(signing(), actor="sue", roles=QUALITY)
        kernel.do(signing(), actor="quinn", roles=QUALITY)
        with pytest.raises(ApproverInvolved):
            approve(kernel, "ap-2", incident_id, "quinn")

    def test_who_sent_the_goods_away_under_hold_does_not_sign_for_them(self, kernel: Kernel) -> None:
        named(kernel)
        send(kernel, "sam")
        with pytest.raises(SignerInvolved, match="authorised the rescue"):
            kernel.do(signing(), actor="sam", roles=QUALITY)
        kernel.do(signing(), actor="quinn", roles=QUALITY)

    def test_each_signature_says_what_it_rests_on(self, kernel: Kernel) -> None:
        named(kernel)
        kernel.do(signing(evidence=("reading-1",)), actor="quinn", roles=QUALITY)
        event = told(kernel, DispositionSigned)[0]
        assert (event.verdict, event.evidence, event.reason) == (
            Verdict.WITHIN_LIMITS,
            ("reading-1",),
            "core was cold",
        )
        assert minutes_now(kernel) == 31


def send(kernel: Kernel, supervisor: str) -> None:
    ship = ShipTransfer(site_id=SITE, transfer_id="t-1", to_site_id=OTHER, sscc=(PALLET,))
    kernel.do(ship, actor=supervisor, roles={"supervisor"})
    kernel.do(ReceiveTransfer(site_id=OTHER, transfer_id="t-1", location_id=AWAY))


def approve(kernel: Kernel, approval_id: str, incident_id: str, person: str) -> None:
    decision = Decision(
        decision_id=f"decision-{approval_id}",
        kind="stay_or_move",
        policy="stay-or-move@1",
        alternatives=[Alternative("move", 1.0), Alternative("stay", 2.0)],
        outcome="move",
        why="it crosses",
    )
    kernel.do(
        RequestApproval(
            site_id=SITE,
            approval_id=approval_id,
            incident_id=incident_id,
            role="supervisor",
            subject="Move the goods",
            decision=decision,
        )
    )
    kernel.do(
        DecideApproval(site_id=SITE, approval_id=approval_id, choice="move", reason=""),
        actor=person,
        roles={"supervisor"},
    )
