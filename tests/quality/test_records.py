"""Quality's own records: deviations, hand readings, suppliers' loggers, and what a bad calibration undoes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.rejections import Invalid
from coldgrid.quality.budgets import spent_before
from coldgrid.quality.calibration import AlreadyRejudged, LotsRejudged, RejudgeSince, last_good_at
from coldgrid.quality.deviations import (
    CloseDeviation,
    CloserInvestigated,
    CloserLacksRole,
    DeviationAlreadyClosed,
    DeviationNotFound,
    DeviationNotSettled,
    ExcursionHasDeviation,
    InvestigateDeviation,
    OpenDeviation,
    Weight,
    _open_with_excursion,
    deviation_of,
    get_deviation,
)
from coldgrid.quality.dispositions import Outcome, SignDisposition
from coldgrid.quality.excursion_rules import ExcursionOpened
from coldgrid.quality.excursions import exposed_units, list_excursions
from coldgrid.quality.exposure import Verdict
from coldgrid.quality.hand_readings import HandReadingTaken, RecordHandReading, Target, hand_readings_of
from coldgrid.quality.journeys import (
    JourneyAlreadyRecorded,
    JourneyRecorded,
    Logged,
    RecordJourney,
    list_journeys,
)
from coldgrid.quality.zone_now import zone_now
from coldgrid.stock.hold_book import open_holds_of
from tests.conftest import T0, Kernel
from tests.network import master
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
from tests.stock.world import BULK, ICE, PALLET, PICK, SECOND, SITE, THIRD, dispatch

QUALITY = {"quality"}


def minute(value: float) -> datetime:
    return T0 + timedelta(minutes=value)


class TestDeviations:
    def opened(self, kernel: Kernel) -> str:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(opening(from_min=20), at=31)
        found = deviation_of(kernel.reader(), "x1")
        assert found is not None
        return found.deviation_id

    def investigate(self, kernel: Kernel, deviation_id: str, **fields: str) -> None:
        raw: dict[str, Any] = {"root_cause": "fan bearing", "remedy": "bearing replaced", **fields}
        kernel.do(
            InvestigateDeviation(site_id=SITE, deviation_id=deviation_id, weight=Weight.MAJOR, **raw),
            actor="ines",
            roles=QUALITY,
        )

    def test_it_closes_when_units_are_decided_and_cause_and_remedy_are_known(self, kernel: Kernel) -> None:
        deviation_id = self.opened(kernel)
        close = CloseDeviation(site_id=SITE, deviation_id=deviation_id, conclusion="no harm")
        self.investigate(kernel, deviation_id)
        with pytest.raises(DeviationNotSettled):
            kernel.do(close, actor="quinn", roles=QUALITY)
        for code in (PALLET, SECOND, THIRD):
            kernel.do(
                SignDisposition(
                    site_id=SITE,
                    disposition_id=f"dp-{code}",
                    excursion_id="x1",
                    sscc=code,
                    outcome=Outcome.RELEASE,
                    reason="core was cold",
                ),
                actor="quinn",
                roles=QUALITY,
            )
        with pytest.raises(CloserLacksRole):
            kernel.do(close, actor="olga", roles={"operator"})
        with pytest.raises(CloserInvestigated):
            kernel.do(close, actor="ines", roles=QUALITY)
        kernel.do(close, actor="quinn", roles=QUALITY)
        assert get_deviation(kernel.reader(), deviation_id).closed_by == "quinn"
        with pytest.raises(DeviationAlreadyClosed):
            self.investigate(kernel, deviation_id)
        with pytest.raises(DeviationAlreadyClosed):
            kernel.do(close, actor="quinn", roles=QUALITY)
        kernel.rebuild()

    def test_an_investigation_names_cause_and_remedy(self, kernel: Kernel) -> None:
        deviation_id = self.opened(kernel)
        with pytest.raises(Invalid):
            self.investigate(kernel, deviation_id, root_cause=" ")

    def test_an_excursion_has_one(self, kernel: Kernel) -> None:
        self.opened(kernel)
        with pytest.raises(ExcursionHasDeviation):
            kernel.do(OpenDeviation(site_id=SITE, deviation_id="dv-2", excursion_id="x1"))

    def test_a_host_that_takes_up_the_past_opens_no_second_one(self, kernel: Kernel) -> None:
        first = self.opened(kernel)
        [event] = told(kernel, ExcursionOpened)
        kernel.decider.within(SYSTEM, SITE, lambda tx: _open_with_excursion(tx, event), "taken up")
        found = deviation_of(kernel.reader(), "x1")
        assert found is not None
        assert found.deviation_id == first
        with pytest.raises(DeviationNotFound):
            get_deviation(kernel.reader(), "dv-2")


class TestHandReadings:
    def taken(self, value_c: float = -20, **fields: Any) -> RecordHandReading:
        raw: dict[str, Any] = {"reading_id": "hr-1", "probe_id": "PROBE-7", "photo_hash": "ab" * 32}
        return RecordHandReading(site_id=SITE, zone_id=ZONE, value_c=value_c, **{**raw, **fields})

    def test_it_is_kept_with_probe_and_photo(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(self.taken(sscc=PALLET), actor="olga", at=5)
        found = hand_readings_of(kernel.reader(), ZONE, minute(0), minute(10))
        assert [(one.value_c, one.probe_id, one.photo_hash, one.taken_by) for one in found] == [
            (-20, "PROBE-7", "ab" * 32, "olga")
        ]
        with pytest.raises(HandReadingTaken):
            kernel.do(self.taken(), actor="olga", at=6)
        kernel.rebuild()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"taken_at": minute(6)},  # the future
            {"taken_at": minute(5 - 24 * 60 - 1)},  # more than a day ago
            {"sscc": PALLET, "target": Target.AIR},
            {"zone_id": "CLT1-FRZ1"},
        ],
    )
    def test_what_cannot_be_is_refused(self, kernel: Kernel, wrong: dict[str, Any]) -> None:
        open_freezer(kernel)
        with pytest.raises(Invalid):
            kernel.do(
                RecordHandReading(
                    **{
                        "site_id": SITE,
                        "zone_id": ZONE,
                        "reading_id": "hr-1",
                        "probe_id": "PROBE-7",
                        "value_c": -20.0,
                        **wrong,
                    }
                ),
                at=5,
            )

    def test_a_probed_product_bridges_a_dead_sensor(self, kernel: Kernel) -> None:
        open_freezer(kernel, sensors=(sensor(FIRST_SENSOR),))
        tell(kernel, steady, 0, 30, sensors=(FIRST_SENSOR,))
        kernel.advance(9)
        kernel.do(self.taken(), actor="olga")
        kernel.advance(8)
        kernel.do(opening(from_min=20))
        verdicts = {row.numbers.verdict for row in exposed_units(kernel.reader(), "x1")}
        assert verdicts == {Verdict.WITHIN_LIMITS}

    def test_a_probed_unit_is_judged_by_its_own_probe(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.do(self.taken(-4, sscc=PALLET), actor="olga", at=29)
        kernel.do(opening(from_min=20), at=31)
        found = {row.numbers.sscc: row.numbers.verdict for row in exposed_units(kernel.reader(), "x1")}
        assert found == {PALLET: Verdict.ASSESS, SECOND: Verdict.WITHIN_LIMITS, THIRD: Verdict.WITHIN_LIMITS}


class TestJourneys:
    def journey(self, *values_c: float, **fields: Any) -> RecordJourney:
        readings = tuple(Logged(minute(-600 + i * 30), value) for i, value in enumerate(values_c))
        raw: dict[str, Any] = {
            "journey_id": "j-1",
            "file_hash": "cd" * 32,
            "logger_id": "LOG-9",
            "carrier": "Polar",
        }
        return RecordJourney(site_id=SITE, ssccs=(PALLET,), **{**raw, "readings": readings, **fields})

    def test_harm_on_the_way_is_held_and_spends_the_goods_life(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(self.journey(-20, *[-17] * 6, -20), at=1)
        (event,) = told(kernel, JourneyRecorded)
        assert event.units[0].verdict is Verdict.ASSESS
        # Above -18 °C for a third of the first and last half hour, and all between: 10 + 150 + 10 min.
        assert spent_before(kernel.reader(), [PALLET], besides="") == {PALLET: {f"{ICE}.CUMUL": 170.0}}
        assert [hold.cause_id for hold in open_holds_of(kernel.reader(), SITE, [PALLET])] == ["j-1"]
        assert [one.carrier for one in list_journeys(kernel.reader())] == ["Polar"]
        kernel.rebuild()

    def test_a_cold_journey_holds_nothing(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(self.journey(-20, -21, -20), at=1)
        assert open_holds_of(kernel.reader(), SITE, [PALLET]) == []

    def test_a_file_counts_once(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(self.journey(-20, -21), at=1)
        with pytest.raises(JourneyAlreadyRecorded):
            kernel.do(self.journey(-20, -21, journey_id="j-2"), at=2)

    def test_readings_are_in_order_and_past(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        backwards = (Logged(minute(-10), -20), Logged(minute(-20), -20), Logged(minute(90), -20))
        with pytest.raises(Invalid) as caught:
            kernel.do(self.journey(readings=backwards), at=1)
        assert [problem.field for problem in caught.value.problems] == ["readings[1].at", "readings"]


class TestCalibration:
    def certificate(
        self, as_found_error: float, on: date = date(2026, 3, 1), **fields: Any
    ) -> dict[str, Any]:
        return {
            "certificate_id": f"CERT-{on.isoformat()}",
            "lab": "Cold Lab",
            "calibrated_on": on.isoformat(),
            "due_on": "2027-03-01",
            "uncertainty": 0.1,
            "tolerance": 0.5,
            "as_found_error": as_found_error,
            "as_left_error": 0.0,
            **fields,
        }

    def test_a_sensor_found_off_has_every_lot_since_judged_again_and_the_harmed_held(
        self, kernel: Kernel
    ) -> None:
        covering = (sensor(FIRST_SENSOR, covers=[BULK]), sensor(SECOND_SENSOR, covers=[PICK]))
        open_freezer(kernel, sensors=covering)
        tell(kernel, lambda at_min: steady(at_min) + 1.5, 0, 300)
        kernel.do(dispatch("d-1", (SECOND, 40)), at=298)
        # It read 4 °C too cold: the air was at about -16.5 °C all the time.
        found = sensor(FIRST_SENSOR, covers=[BULK], calibration=self.certificate(-4.0))
        master.put_in_force(kernel, found, change_id="change-calibration")
        kernel.decider.settle()
        (event,) = told(kernel, LotsRejudged)
        assert event.correction_c == 4.0
        assert [(lot.lot_id, lot.units, lot.shipped, lot.was, lot.now) for lot in event.lots] == [
            ("L-2601", 2, 1, Verdict.WITHIN_LIMITS, Verdict.ASSESS)
        ]
        (excursion,) = list_excursions(kernel.reader())
        assert excursion.closed_at is not None
        assert "-4.00 °C off" in excursion.why
        assert {row.numbers.sscc for row in exposed_units(kernel.reader(), excursion.excursion_id)} == {
            PALLET,
            SECOND,
        }
        held = open_holds_of(kernel.reader(), SITE, [PALLET, SECOND, THIRD])
        assert {hold.sscc for hold in held} == {PALLET, SECOND}
        kernel.rebuild()

    def test_a_sensor_found_right_changes_nothing(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        good = sensor(FIRST_SENSOR, calibration=self.certificate(0.5))
        master.put_in_force(kernel, good, change_id="change-calibration")
        kernel.decider.settle()
        assert told(kernel, LotsRejudged) == []

    def test_only_what_came_after_the_last_good_certificate_is_in_doubt(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        for n, (on, error) in enumerate(
            ((date(2025, 3, 1), 0.1), (date(2025, 9, 1), 0.9), (date(2026, 3, 1), 0.9))
        ):
            item = sensor(FIRST_SENSOR, calibration=self.certificate(error, on))
            master.put_in_force(kernel, item, change_id=f"change-calibration-{n}")
            kernel.decider.settle()
        last = datetime(2025, 3, 1, tzinfo=UTC)
        assert last_good_at(kernel.reader(), FIRST_SENSOR, date(2026, 3, 1)) == last
        assert [event.since for event in told(kernel, LotsRejudged)] == [last, last]

    def test_a_certificate_counts_once(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        rejudge = RejudgeSince(
            site_id=SITE,
            rejudge_id="rj-1",
            sensor_id=FIRST_SENSOR,
            certificate_id="CERT-1",
            since=minute(0),
            correction_c=1.0,
        )
        kernel.do(rejudge)
        with pytest.raises(AlreadyRejudged):
            kernel.do(rejudge)
        assert list_excursions(kernel.reader()) == []


class TestZoneNow:
    def test_it_tells_air_trend_goods_and_time_left(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60), 60, 90)
        now = zone_now(kernel.reader(), ZONE, minute(minutes_now(kernel)))
        assert now.air_c == pytest.approx(-16.2, abs=0.1)
        assert now.trend_c_per_h == pytest.approx(12, abs=0.1)
        assert (now.in_range, now.units, now.value_cents, now.high_c) == (False, 3, 300 * 429, -18)
        assert now.left_min is not None
        assert 10 < now.left_min < 120
        assert not now.crossed

    def test_one_single_reading_tells_no_trend(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 1)
        now = zone_now(kernel.reader(), ZONE, minute(minutes_now(kernel)))
        assert now.air_c is not None
        assert now.trend_c_per_h is None
        tell(kernel, steady, 1, 2)
        assert zone_now(kernel.reader(), ZONE, minute(minutes_now(kernel))).trend_c_per_h is not None

    def test_silence_is_unknown_not_good(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 30)
        kernel.advance(60)
        now = zone_now(kernel.reader(), ZONE, minute(minutes_now(kernel)))
        assert (now.in_range, now.air_c, now.limit_at) == (None, None, None)
        assert {one.product_c for one in now.products} == {None}

    def test_steady_cold_has_no_limit_in_sight(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        tell(kernel, steady, 0, 60)
        now = zone_now(kernel.reader(), ZONE, minute(minutes_now(kernel)))
        assert (now.in_range, now.limit_at, now.left_min) == (True, None, None)
