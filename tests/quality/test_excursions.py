"""Excursions on both databases: what is named, what is judged, what follows the goods."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.quality.budgets import spent_before
from coldgrid.quality.deviations import deviation_of
from coldgrid.quality.excursions import (
    CloseExcursion,
    ExcursionAlreadyClosed,
    ExcursionClosed,
    ExcursionHasIncident,
    ExcursionIdTaken,
    ExcursionNotFound,
    ExcursionOpened,
    ExcursionUpdated,
    LinkExcursion,
    UpdateExcursion,
    excursions_of_unit,
    exposed_units,
    get_excursion,
    open_excursion_of,
    shipped_units,
)
from coldgrid.quality.exposure import Verdict
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.movements import MoveUnit, ReceiveUnit
from coldgrid.stock.splits import SplitUnit
from coldgrid.stock.transfers import ShipTransfer
from tests.conftest import T0, Kernel
from tests.quality.night import (
    FIRST_SENSOR,
    SECOND_SENSOR,
    ZONE,
    failing,
    minutes_now,
    open_freezer,
    opening,
    sensor,
    steady,
    tell,
    told,
)
from tests.stock.world import (
    BULK,
    COOL,
    ICE,
    MILK,
    OTHER,
    PALLET,
    PICK,
    SECOND,
    SITE,
    THIRD,
    dispatch,
    receive,
    sscc,
)

LATE, CASE = sscc(9), sscc(10)


def units(kernel: Kernel, excursion_id: str = "x1") -> dict[str, Verdict]:
    return {row.numbers.sscc: row.numbers.verdict for row in exposed_units(kernel.reader(), excursion_id)}


class TestOpening:
    def test_it_names_what_stands_there_and_what_was_shipped_since_the_last_good_reading(
        self, kernel: Kernel
    ) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(dispatch("d-1", (PALLET, 40)), at=30)
        ship = ShipTransfer(site_id=SITE, transfer_id="t-1", to_site_id=OTHER, sscc=(SECOND,))
        kernel.do(ship, roles={"supervisor"}, at=31)
        kernel.do(opening(from_min=20), at=36)
        assert units(kernel) == {PALLET: Verdict.WITHIN_LIMITS, THIRD: Verdict.WITHIN_LIMITS}
        gone = shipped_units(kernel.reader(), "x1")
        assert [(one.sscc, one.qty, one.dispatch_id, one.transfer_id, one.order_id) for one in gone] == [
            (PALLET, 40, "d-1", "", "o1"),
            (SECOND, 100, "", "t-1", ""),
        ]
        excursion = get_excursion(kernel.reader(), "x1")
        assert excursion.at_stake_cents == (60 + 100) * 429
        kernel.rebuild()

    def test_what_left_before_the_last_good_reading_is_not_named(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(dispatch("d-1", (PALLET, 0)), at=10)
        kernel.do(opening(from_min=20), at=36)
        assert PALLET not in units(kernel)
        assert shipped_units(kernel.reader(), "x1") == []

    def test_only_the_locations_that_the_alarmed_sensor_covers_count(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20, locations=(PICK,)), at=36)
        assert set(units(kernel)) == {THIRD}

    def test_a_second_alarm_of_the_zone_widens_it(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20, locations=(PICK,)), at=36)
        answer = kernel.do(opening("x2", from_min=10, locations=(BULK,)), at=37)
        assert (answer.excursion_id, answer.joined) == ("x1", True)
        excursion = get_excursion(kernel.reader(), "x1")
        assert excursion.locations == (BULK, PICK)
        assert excursion.from_at == T0 + timedelta(minutes=10)
        assert set(units(kernel)) == {PALLET, SECOND, THIRD}
        assert told(kernel, ExcursionUpdated)[-1].added == (PALLET, SECOND)

    def test_it_begins_in_the_past_and_says_what_was_seen(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        with pytest.raises(Invalid, match="begins before now"):
            kernel.do(opening(from_min=60, why=" "), at=36)
        assert told(kernel, ExcursionOpened) == []

    def test_an_id_is_used_once(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        kernel.do(CloseExcursion(site_id=SITE, excursion_id="x1", reason="cold again"))
        with pytest.raises(ExcursionIdTaken):
            kernel.do(opening(from_min=20), at=36)

    def test_an_unknown_excursion(self, kernel: Kernel) -> None:
        with pytest.raises(ExcursionNotFound):
            get_excursion(kernel.reader(), "x9")

    def test_a_product_without_limits_is_unknown(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(receive(LATE, 10, product_id=MILK, lot_id="L-M1", other_class=True))
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        assert units(kernel)[LATE] is Verdict.UNKNOWN

    def test_quality_gets_its_own_record_of_it(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(opening(from_min=-10, alarm_id="alarm-1", incident_id=""), at=20)
        deviation = deviation_of(kernel.reader(), "x1")
        assert deviation is not None
        assert (deviation.alarm_id, deviation.status) == ("alarm-1", "open")
        # Nobody's incident yet: what follows opens one and links all four.
        assert deviation.incident_id == get_excursion(kernel.reader(), "x1").incident_id != ""

    def test_only_one_incident_answers_it(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(opening(from_min=-10), at=20)
        with pytest.raises(ExcursionHasIncident):
            kernel.do(LinkExcursion(site_id=SITE, excursion_id="x1", incident_id="another"))


class TestJudging:
    def test_goods_that_crossed_are_for_assessment_and_spend_their_life(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60, 0.5), 60, 300)
        excursion = open_excursion_of(kernel.reader(), ZONE)
        assert excursion is not None
        kernel.do(UpdateExcursion(site_id=SITE, excursion_id=excursion.excursion_id))
        numbers = {
            row.numbers.sscc: row.numbers for row in exposed_units(kernel.reader(), excursion.excursion_id)
        }
        pallet = numbers[PALLET]
        assert pallet.verdict is Verdict.ASSESS
        assert pallet.peak_c is not None
        assert pallet.peak_c > -18
        spent = spent_before(kernel.reader(), [PALLET], besides="")
        assert spent == {PALLET: {f"{ICE}.CUMUL": pallet.spent_min[f"{ICE}.CUMUL"]}}
        assert spent_before(kernel.reader(), [PALLET], besides=excursion.excursion_id) == {}
        kernel.rebuild()

    def test_goods_moved_out_in_time_are_judged_only_while_they_were_there(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60, 0.5), 60, 90)
        kernel.do(MoveUnit(site_id=SITE, sscc=PALLET, to_location_id=COOL, other_class=True), actor="olga")
        tell(kernel, failing(60, 0.5), 90, 240)
        excursion = open_excursion_of(kernel.reader(), ZONE)
        assert excursion is not None
        kernel.do(UpdateExcursion(site_id=SITE, excursion_id=excursion.excursion_id))
        found = units(kernel, excursion.excursion_id)
        assert found[PALLET] is Verdict.WITHIN_LIMITS
        assert found[SECOND] is Verdict.ASSESS

    def test_a_dead_sensor_is_bridged_by_the_other(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        tell(kernel, steady, 30, 240, sensors=(SECOND_SENSOR,))
        kernel.do(opening(from_min=20), at=minutes_now(kernel))
        assert set(units(kernel).values()) == {Verdict.WITHIN_LIMITS}

    def test_silence_beyond_the_grace_is_unknown(self, kernel: Kernel) -> None:
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR),))
        tell(kernel, steady, 0, 30, sensors=(FIRST_SENSOR,))
        kernel.advance(240)
        # Nobody measured by hand within the grace, so the playbook has named and held them meanwhile.
        excursion = open_excursion_of(kernel.reader(), ZONE)
        assert excursion is not None
        kernel.do(UpdateExcursion(site_id=SITE, excursion_id=excursion.excursion_id))
        assert set(units(kernel, excursion.excursion_id).values()) == {Verdict.UNKNOWN}

    def test_goods_take_the_worst_sensor_that_covers_them(self, kernel: Kernel) -> None:
        bulk, pick = sensor(FIRST_SENSOR, covers=[BULK]), sensor(SECOND_SENSOR, covers=[PICK])
        open_freezer(kernel, sensors=(bulk, pick))
        tell(kernel, steady, 0, 60)
        for start in range(60, 300, 3):
            tell(kernel, failing(60, 0.5), start, start + 3, sensors=(FIRST_SENSOR,))
            tell(kernel, steady, start, start + 3, sensors=(SECOND_SENSOR,))
        kernel.do(opening("wide", from_min=50), at=minutes_now(kernel))
        excursion = open_excursion_of(kernel.reader(), ZONE)
        assert excursion is not None
        found = units(kernel, excursion.excursion_id)
        assert found == {PALLET: Verdict.ASSESS, SECOND: Verdict.ASSESS, THIRD: Verdict.WITHIN_LIMITS}

    def test_a_probe_in_the_goods_is_believed_before_an_estimate(self, kernel: Kernel) -> None:
        probe = sensor(SECOND_SENSOR, role="product_probe", covers=[PICK])
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR), probe))
        tell(kernel, steady, 0, 60)
        for start in range(60, 300, 3):
            tell(kernel, failing(60, 0.5), start, start + 3, sensors=(FIRST_SENSOR,))
            tell(kernel, lambda _minute: -20.0, start, start + 3, sensors=(SECOND_SENSOR,))
        excursion = open_excursion_of(kernel.reader(), ZONE)
        assert excursion is not None
        kernel.do(UpdateExcursion(site_id=SITE, excursion_id=excursion.excursion_id))
        found = units(kernel, excursion.excursion_id)
        assert (found[PALLET], found[THIRD]) == (Verdict.ASSESS, Verdict.WITHIN_LIMITS)


class TestWhatComesAndGoes:
    def test_goods_that_arrive_are_named_and_held(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        kernel.do(receive(LATE, 50), at=35)
        assert LATE in units(kernel)
        assert [hold.cause_id for hold in open_holds_of(kernel.reader(), SITE, [LATE])] == ["x1"]

    def test_goods_that_move_in_are_named_and_held(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(
            ReceiveUnit(
                site_id=SITE,
                sscc=LATE,
                location_id=COOL,
                product_id=ICE,
                lot_id="L-2601",
                qty=5,
                other_class=True,
            )
        )
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        kernel.do(MoveUnit(site_id=SITE, sscc=LATE, to_location_id=BULK), at=35)
        assert LATE in units(kernel)
        assert open_holds_of(kernel.reader(), SITE, [LATE])

    def test_a_part_of_a_held_unit_is_named_too(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        kernel.do(SplitUnit(site_id=SITE, sscc=PALLET, new_sscc=CASE, qty=8), at=35)
        found = {row.numbers.sscc: row.numbers.qty for row in exposed_units(kernel.reader(), "x1")}
        assert (found[CASE], found[PALLET]) == (8, 92)
        assert open_holds_of(kernel.reader(), SITE, [CASE])

    def test_a_unit_stays_named_when_it_is_rescued(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        ship = ShipTransfer(site_id=SITE, transfer_id="t-1", to_site_id=OTHER, sscc=(SECOND,))
        kernel.do(ship, roles={"supervisor"}, at=32)
        kernel.do(UpdateExcursion(site_id=SITE, excursion_id="x1"), at=33)
        numbers = {row.numbers.sscc: row.numbers for row in exposed_units(kernel.reader(), "x1")}
        assert numbers[SECOND].left_at == T0 + timedelta(minutes=32)
        assert shipped_units(kernel.reader(), "x1") == [], "it is told once: among what waits for a decision"

    def test_saying_the_same_again_is_not_recorded(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        kernel.do(UpdateExcursion(site_id=SITE, excursion_id="x1"), at=32)
        assert told(kernel, ExcursionUpdated) == []


class TestClosing:
    def test_a_closed_excursion_never_changes(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        kernel.do(CloseExcursion(site_id=SITE, excursion_id="x1", reason="cold again"), at=32)
        for command in (
            UpdateExcursion(site_id=SITE, excursion_id="x1"),
            CloseExcursion(site_id=SITE, excursion_id="x1", reason="again"),
        ):
            with pytest.raises(ExcursionAlreadyClosed):
                kernel.do(command, at=33)
        kernel.do(receive(LATE, 50), at=35)
        assert LATE not in units(kernel)
        assert open_excursion_of(kernel.reader(), ZONE) is None
        assert [event.reason for event in told(kernel, ExcursionClosed)] == ["cold again"]

    def test_it_says_why(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(opening(from_min=-10), at=31)
        with pytest.raises(Invalid):
            kernel.do(CloseExcursion(site_id=SITE, excursion_id="x1", reason=" "), at=32)

    def test_later_goods_belong_to_a_new_one(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        kernel.do(CloseExcursion(site_id=SITE, excursion_id="x1", reason="cold again"), at=32)
        kernel.do(opening("x2", from_min=32), at=36)
        assert [row.excursion_id for row in excursions_of_unit(kernel.reader(), PALLET)] == ["x2", "x1"]
