"""What stock decides, from arguments alone: holds, pauses, who stands behind an act."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.stock import authority, holds, pauses
from coldgrid.stock.authority import Signer, signer_of
from coldgrid.stock.hold_book import Hold, UnitHold
from coldgrid.stock.hold_facts import Disposition, HeldState, HoldReason, Window
from coldgrid.stock.pauses import Pause, PauseReason, PauseZone, ResumeZone
from coldgrid.stock.units import UnitStatus
from tests.conftest import T0
from tests.stock.test_units import unit
from tests.stock.world import CHILLER, EXPIRES, FREEZER, SITE, hold, release

EXCURSION = HoldReason.TEMPERATURE_EXCURSION
TODAY = T0.date()
BEN = Signer("ben", frozenset({"quality"}))
ONE, TWO = unit(sscc="1"), unit(sscc="2", zone_id=CHILLER)


def held(sscc: str, hold_id: str = "h0", cause_id: str = "x1") -> UnitHold:
    return UnitHold(
        site_id=SITE,
        hold_id=hold_id,
        sscc=sscc,
        state=HeldState.OPEN,
        reason=EXCURSION,
        cause_id=cause_id,
        releasing_role="quality",
        placed_by="ana",
        placed_at=T0,
        held_at=T0,
        ended_at=None,
        ended_by="",
        disposition="",
        evidence_id="",
    )


def open_hold(**fields: Any) -> Hold:
    raw: dict[str, Any] = {
        "site_id": SITE,
        "hold_id": "h1",
        "zone_id": FREEZER,
        "reason": EXCURSION,
        "cause_id": "x1",
        "releasing_role": "quality",
        "placed_by": "ana",
        "placed_at": T0,
        "window_zone": "",
        "window_location": "",
        "window_from": None,
        "window_to": None,
        "ended_at": None,
    }
    return Hold(**{**raw, **fields})


class TestPlace:
    def test_the_zone_is_named_where_all_units_stand_in_it(self) -> None:
        assert holds.decide_place(hold("h1", "1"), [ONE], [], [], pharma=False).zone_id == FREEZER
        assert holds.decide_place(hold("h1", "1", "2"), [ONE, TWO], [], [], pharma=False).zone_id == ""

    def test_another_cause_holds_again(self) -> None:
        event = holds.decide_place(hold("h1", "1", cause_id="x2"), [ONE], [], [held("1")], pharma=False)
        assert [one.sscc for one in event.units] == ["1"]

    def test_units_held_for_this_cause_are_left_as_they_are(self) -> None:
        event = holds.decide_place(hold("h1", "1", "2"), [ONE, TWO], [], [held("1")], pharma=False)
        assert [one.sscc for one in event.units] == ["2"]

    def test_the_same_cause_for_the_same_units_is_rejected(self) -> None:
        with pytest.raises(holds.HoldAlreadyOpen) as caught:
            holds.decide_place(hold("h1", "1"), [ONE], [], [held("1")], pharma=False)
        assert caught.value.facts["hold_id"] == "h0"

    def test_an_empty_place_is_held_only_for_what_comes(self) -> None:
        with pytest.raises(holds.NothingToHold):
            holds.decide_place(hold("h1"), [], [], [], pharma=False)
        window = Window(zone_id=FREEZER, from_at=T0)
        event = holds.decide_place(hold("h1"), [], [], [], pharma=False, window=window)
        assert (event.zone_id, event.units) == (FREEZER, [])

    @pytest.mark.parametrize(
        ("reason", "asked", "pharma", "role"),
        [
            (EXCURSION, "", False, "quality"),
            (EXCURSION, "", True, "responsible_person"),
            (EXCURSION, "responsible_person", False, "responsible_person"),
            (HoldReason.RECALL, "", True, "recall_coordinator"),
            (HoldReason.DAMAGE, "", False, "supervisor"),
        ],
    )
    def test_who_may_end_it(self, reason: HoldReason, asked: str, pharma: bool, role: str) -> None:
        assert holds.decide_role(reason, asked, pharma=pharma) == role

    def test_nobody_makes_it_laxer(self) -> None:
        with pytest.raises(Invalid):
            holds.decide_role(EXCURSION, "operator", pharma=False)


class TestRelease:
    def decide(self, signer: Signer = BEN, one: Hold | None = None, **fields: Any) -> Any:
        chosen = fields.pop("chosen", {"1"})
        parts = {"1": unit(sscc="1", open_holds=1, sellable=False), "2": unit(sscc="2", open_holds=2)}
        command = release("h1", *sorted(chosen), **fields)
        return holds.decide_release(command, one or open_hold(), parts, chosen, signer, TODAY)

    def test_goods_go_back_to_stock_when_it_was_the_last_hold(self) -> None:
        event = self.decide(chosen={"1", "2"})
        assert [(u.sscc, u.is_sellable) for u in event.units] == [("1", True), ("2", False)]
        assert event.ended

    def test_a_hold_with_units_left_stays_open(self) -> None:
        assert not self.decide().ended

    def test_a_place_stays_held_until_all_of_it_is_decided_at_once(self) -> None:
        place = open_hold(window_zone=FREEZER, window_from=T0)
        assert not self.decide(one=place, chosen={"1", "2"}).ended

    @pytest.mark.parametrize(
        ("disposition", "status"),
        [
            (Disposition.REWORK, UnitStatus.REWORK),
            (Disposition.RETURN, UnitStatus.RETURN),
            (Disposition.DONATE, UnitStatus.DONATE),
            (Disposition.DESTROY, UnitStatus.CONDEMNED),
        ],
    )
    def test_what_is_not_released_is_never_for_sale(
        self, disposition: Disposition, status: UnitStatus
    ) -> None:
        [one] = self.decide(disposition=disposition).units
        assert (one.status, one.is_sellable) == (status, False)

    def test_own_hold_is_rejected(self) -> None:
        with pytest.raises(holds.ReleaserPlacedHold):
            self.decide(Signer("ana", frozenset({"quality"})))

    @pytest.mark.parametrize("role", ["operator", "supervisor", "admin", "system"])
    def test_a_role_that_the_reason_does_not_name_is_rejected(self, role: str) -> None:
        with pytest.raises(holds.ReleaserLacksRole):
            self.decide(Signer("ben", frozenset({role})))

    def test_the_responsible_person_may_do_what_quality_may(self) -> None:
        assert self.decide(Signer("rae", frozenset({"responsible_person"}))).released_by == "rae"

    def test_what_is_not_in_the_hold_is_named(self) -> None:
        with pytest.raises(holds.NotInHold) as caught:
            self.decide(chosen={"1", "9"})
        assert caught.value.facts["sscc"] == "9"

    def test_an_ended_hold_is_not_ended_again(self) -> None:
        with pytest.raises(holds.NotInHold):
            self.decide(one=open_hold(ended_at=T0))

    @pytest.mark.parametrize(
        ("until", "disposition"),
        [
            (None, Disposition.REDUCED_LIFE),
            (EXPIRES, Disposition.REDUCED_LIFE),
            (TODAY - timedelta(days=1), Disposition.REDUCED_LIFE),
            (TODAY, Disposition.RELEASE),
        ],
    )
    def test_reduced_life_ends_between_today_and_the_old_last_day(
        self, until: date | None, disposition: Disposition
    ) -> None:
        with pytest.raises(Invalid) as caught:
            self.decide(reduced_life_until=until, disposition=disposition)
        assert [problem.field for problem in caught.value.problems] == ["reduced_life_until"]

    def test_a_decision_cites_its_evidence(self) -> None:
        with pytest.raises(Invalid):
            self.decide(evidence_id=" ")


class TestSigners:
    def test_a_person_signs_for_themselves(self) -> None:
        assert signer_of("ben", {"quality"}, "", ()) == BEN

    @pytest.mark.parametrize(("signed_by", "roles"), [("quinn", ()), ("ben", ("recall_coordinator",))])
    def test_a_person_signs_for_nobody_else_and_in_no_other_role(
        self, signed_by: str, roles: tuple[str, ...]
    ) -> None:
        with pytest.raises(authority.SignedForAnother):
            signer_of("ben", {"quality"}, signed_by, roles)

    @pytest.mark.parametrize("signed_by", ["", "system", "system:flows.x"])
    def test_the_program_needs_a_person(self, signed_by: str) -> None:
        with pytest.raises(authority.PersonNeeded):
            signer_of("system:flows.x", {"system"}, signed_by, ("quality",))


class TestPauses:
    pause = Pause(SITE, "p1", FREEZER, PauseReason.EXCURSION, "x1", "system:flows", T0)

    def ask(self, pause_id: str, cause_id: str) -> PauseZone:
        return PauseZone(
            site_id=SITE,
            zone_id=FREEZER,
            pause_id=pause_id,
            reason=PauseReason.EXCURSION,
            cause_id=cause_id,
        )

    def lift(self, reason: str = "decided") -> ResumeZone:
        return ResumeZone(site_id=SITE, zone_id=FREEZER, pause_id="p1", reason=reason)

    @pytest.mark.parametrize(("pause_id", "cause_id"), [("p1", "x2"), ("p2", "x1")])
    def test_one_cause_pauses_once(self, pause_id: str, cause_id: str) -> None:
        with pytest.raises(pauses.PauseAlreadyOpen):
            pauses.decide_pause(self.ask(pause_id, cause_id), [self.pause])

    def test_another_cause_pauses_too(self) -> None:
        assert pauses.decide_pause(self.ask("p2", "x2"), [self.pause]).cause_id == "x2"

    def test_it_is_told_whether_others_are_open(self) -> None:
        other = msgspec.structs.replace(self.pause, pause_id="p2")
        assert pauses.decide_resume(self.lift(), self.pause, [self.pause, other], BEN).still_paused
        assert not pauses.decide_resume(self.lift(), self.pause, [self.pause], BEN).still_paused

    def test_a_lifted_pause_is_not_lifted_again(self) -> None:
        lifted = msgspec.structs.replace(self.pause, resumed_at=T0)
        with pytest.raises(pauses.PauseAlreadyLifted):
            pauses.decide_resume(self.lift(), lifted, [], BEN)

    def test_why_is_written_down(self) -> None:
        with pytest.raises(Invalid):
            pauses.decide_resume(self.lift(" "), self.pause, [self.pause], BEN)
