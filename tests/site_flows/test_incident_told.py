"""What an incident says stays true: when its goods left, when alarms go on, when the zone is cold again."""

from __future__ import annotations

from typing import Any

from coldgrid.orchestration.incidents import Incident, Status, UpdateIncident, get_incident, open_incident_of
from coldgrid.orchestration.timeline import in_words, timeline_of
from coldgrid.orchestration.views import joined
from coldgrid.quality.dispositions import Outcome, SignDisposition
from coldgrid.quality.excursions import open_excursion_of
from coldgrid.stock.movements import MoveUnit
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer
from tests.conftest import Kernel
from tests.network import master
from tests.quality.night import (
    FIRST_SENSOR,
    SECOND_SENSOR,
    ZONE,
    failing,
    open_freezer,
    recovering,
    sensor,
    steady,
    tell,
)
from tests.stock.world import ICE, OTHER, PALLET, SECOND, SITE, THIRD

EVERY = (PALLET, SECOND, THIRD)
VALUE_CENTS = 300 * 429
FAULT = "compressor will not start, part on its way"


def warm_freezer(kernel: Kernel) -> Incident:
    """A freezer that failed: three pallets are held, and its air goes on warming."""
    open_freezer(kernel)
    tell(kernel, steady, 0, 60)
    tell(kernel, failing(60), 60, 84)
    return incident(kernel)


def incident(kernel: Kernel) -> Incident:
    found = open_incident_of(kernel.reader(), SITE, ZONE)
    assert found is not None
    return found


def stake(kernel: Kernel) -> tuple[Any, Any, Any]:
    picture = incident(kernel).picture
    return picture.units, picture.products, picture.at_stake_cents


def send_away(kernel: Kernel, *ssccs: str) -> None:
    ship = ShipTransfer(site_id=SITE, transfer_id="t-1", to_site_id=OTHER, sscc=ssccs, reason="rescue")
    kernel.do(ship, actor="sue", roles={"supervisor"})


def release(kernel: Kernel, code: str) -> None:
    excursion = open_excursion_of(kernel.reader(), ZONE)
    assert excursion is not None
    signing = SignDisposition(
        site_id=SITE,
        disposition_id=f"dp-{code}",
        excursion_id=excursion.excursion_id,
        sscc=code,
        outcome=Outcome.RETURN,
        reason="back to the supplier",
    )
    kernel.do(signing, actor="quinn", roles={"quality"})


class TestAtStake:
    def test_goods_on_their_way_to_another_site_are_still_at_stake(self, kernel: Kernel) -> None:
        warm_freezer(kernel)
        tell(kernel, failing(60), 84, 102)
        assert stake(kernel) == (3, [ICE], VALUE_CENTS)
        send_away(kernel, *EVERY)
        tell(kernel, failing(60), 102, 120)
        assert stake(kernel) == (3, [ICE], VALUE_CENTS)

    def test_goods_that_arrived_at_another_site_are_still_at_stake(self, kernel: Kernel) -> None:
        warm_freezer(kernel)
        tell(kernel, failing(60), 84, 102)
        send_away(kernel, *EVERY)
        receive = ReceiveTransfer(site_id=OTHER, transfer_id="t-1", location_id=f"{OTHER}-FRZ1-A01-01")
        kernel.do(receive)
        tell(kernel, failing(60), 102, 120)
        assert stake(kernel) == (3, [ICE], VALUE_CENTS)
        assert incident(kernel).facts["units_here"] == 0

    def test_goods_that_are_decided_are_at_stake_no_more(self, kernel: Kernel) -> None:
        warm_freezer(kernel)
        tell(kernel, failing(60), 84, 102)
        send_away(kernel, SECOND, THIRD)
        release(kernel, SECOND)
        assert stake(kernel) == (2, [ICE], 200 * 429)
        tell(kernel, failing(60), 102, 120)
        assert stake(kernel) == (2, [ICE], 200 * 429)


class TestTheFault:
    def test_a_further_alarm_leaves_what_the_technician_said(self, kernel: Kernel) -> None:
        found = warm_freezer(kernel)
        said = UpdateIncident(site_id=SITE, incident_id=found.incident_id, facts={"fault": FAULT})
        kernel.do(said)
        tell(kernel, failing(60), 84, 125)
        assert incident(kernel).picture.fault == FAULT

    def test_while_nobody_said_more_the_newest_alarm_is_the_fault(self, kernel: Kernel) -> None:
        first = warm_freezer(kernel).picture.fault
        tell(kernel, failing(60), 84, 125)
        newest = incident(kernel).picture.fault
        assert newest is not None
        assert newest != first

    def test_a_further_alarm_does_not_ask_for_the_first_moves_again(self, kernel: Kernel) -> None:
        found = warm_freezer(kernel)
        facts = {"next_step": f"move to {OTHER}-FRZ1, under hold", "rescue": f"move to {OTHER}-FRZ1"}
        kernel.do(UpdateIncident(site_id=SITE, incident_id=found.incident_id, facts=facts))
        tell(kernel, failing(60), 84, 125)
        assert incident(kernel).picture.next_step == facts["next_step"]


class TestTheTimeline:
    def test_alarms_of_two_sensors_for_the_same_thing_are_one_line_that_names_both(
        self, kernel: Kernel
    ) -> None:
        warm_freezer(kernel)
        tell(kernel, failing(60), 84, 125)
        lines = joined(timeline_of(kernel.reader(), incident(kernel), kernel.host.instant))
        alarms = [in_words(line.text, line.facts) for line in lines if line.text.startswith("Another alarm")]
        assert len(alarms) == len(set(alarms))
        both = f"{FIRST_SENSOR}, {SECOND_SENSOR}"
        assert any(line.startswith(f"Another alarm, {both}: ") for line in alarms), alarms

    def test_the_line_that_opens_it_names_the_sensor_and_what_it_saw(self, kernel: Kernel) -> None:
        found = warm_freezer(kernel)
        lines = joined(timeline_of(kernel.reader(), found, kernel.host.instant))
        (opened,) = [line for line in lines if line.text.startswith("Incident opened")]
        told = in_words(opened.text, opened.facts)
        assert told.startswith(f"Incident opened: {found.title}. {FIRST_SENSOR}"), told
        assert "°C" in told


class TestColdAgain:
    def test_a_freezer_that_is_cold_again_is_not_told_to_be_too_warm(self, kernel: Kernel) -> None:
        found = warm_freezer(kernel)
        tell(kernel, failing(60), 84, 100)
        assert incident(kernel).title == f"Room {ZONE} is too warm"
        tell(kernel, recovering(100, -14.0), 100, 125)
        assert get_incident(kernel.reader(), found.incident_id).title == f"Room {ZONE} was too warm"

    def test_one_that_warms_up_again_is_too_warm_again(self, kernel: Kernel) -> None:
        warm_freezer(kernel)
        tell(kernel, failing(60), 84, 100)
        tell(kernel, recovering(100, -14.0), 100, 125)
        tell(kernel, failing(125), 125, 165)
        assert incident(kernel).title == f"Room {ZONE} is too warm"
        assert incident(kernel).status is Status.OPEN

    def test_goods_that_left_a_zone_are_no_reason_for_its_time_left(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        cold = f"{SITE}-FRZ2"
        master.put_in_force(
            kernel,
            master.zone(cold),
            master.location(f"{cold}-A01-01"),
            sensor(f"{cold}-T1"),
            change_id="change-second",
        )
        tell(kernel, steady, 0, 60)
        tell(kernel, failing(60), 60, 102)
        for code in EVERY:
            kernel.do(MoveUnit(site_id=SITE, sscc=code, to_location_id=f"{cold}-A01-01", reason="rescue"))
        tell(kernel, failing(60), 102, 120)
        facts = incident(kernel).facts
        assert (facts["units_here"], facts["units"], facts["limit_at"]) == (0, 3, None)
