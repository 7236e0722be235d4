"""Alarms: their states after ISA-18.2, what persons may do about them, and their wire form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from coldgrid.kernel.events import Event as AnyEvent
from coldgrid.kernel.events import decode, encode, subclasses_of
from coldgrid.telemetry import alarms
from coldgrid.telemetry.alarm_rules import (
    AcknowledgeAlarm,
    Alarm,
    AlarmAlreadyAcknowledged,
    AlarmNotFound,
    AlarmNotRaised,
    AlarmRaised,
    AlarmSuppressed,
    ExcursionNotShelvable,
    NotOutOfService,
    NotShelved,
    OutOfServiceTooLong,
    PutInService,
    ShelveAlarm,
    ShelvedTooLong,
    TakeOutOfService,
    UnshelveAlarm,
)
from coldgrid.telemetry.rules import Rule
from coldgrid.telemetry.sensors import SensorNotFound
from tests.conftest import Kernel
from tests.network.master import put_in_force, site
from tests.telemetry.cold_room import AIR, DOOR, at, cold_room, feed, steady
from tests.telemetry.test_ingest import events_of


def alarm(kernel: Kernel, rule: Rule = Rule.BAND_HIGH) -> Alarm:
    [found] = [
        found
        for found in alarms.alarms_of_sensor(kernel.reader(), AIR, at(-1e6), at(1e6))
        if found.rule is rule
    ]
    return found


def warm(kernel: Kernel) -> None:
    """Leave the freezer warm for a quarter of an hour."""
    cold_room(kernel)
    feed(kernel, [*steady(0, 10), *steady(10, 15, -12.0)])


def acknowledge(kernel: Kernel, minute: float) -> None:
    command = AcknowledgeAlarm(site_id="ATL1", alarm_id=alarm(kernel).alarm_id, note="on my way")
    kernel.do(command, actor="ben", at=minute)


class TestStates:
    def test_acknowledged_then_returned_is_over(self, kernel: Kernel) -> None:
        warm(kernel)
        assert alarm(kernel).state == "unacknowledged"
        acknowledge(kernel, 25)
        assert (alarm(kernel).state, alarm(kernel).acknowledged_by) == ("acknowledged", "ben")
        feed(kernel, steady(26, 2))
        assert alarm(kernel).state == "normal"
        kernel.rebuild()

    def test_returned_then_acknowledged_is_over(self, kernel: Kernel) -> None:
        warm(kernel)
        feed(kernel, steady(25, 2))
        assert (alarm(kernel).state, alarm(kernel).returned_at) == ("returned", at(25))
        acknowledge(kernel, 27)
        assert alarm(kernel).state == "normal"
        kernel.rebuild()

    def test_taking_note_twice_is_rejected(self, kernel: Kernel) -> None:
        warm(kernel)
        acknowledge(kernel, 25)
        with pytest.raises(AlarmAlreadyAcknowledged):
            acknowledge(kernel, 26)

    def test_there_must_be_an_alarm_of_that_site(self, kernel: Kernel) -> None:
        warm(kernel)
        with pytest.raises(AlarmNotFound):
            kernel.do(AcknowledgeAlarm(site_id="ATL1", alarm_id="alarm-none"))
        put_in_force(kernel, site("CLT1"), change_id="change-clt1")
        with pytest.raises(AlarmNotFound):
            kernel.do(AcknowledgeAlarm(site_id="CLT1", alarm_id=alarm(kernel).alarm_id))

    def test_an_open_door_suppresses_by_design_and_not_for_long(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, [*steady(0, 10), (DOOR, 9.5, 1.0)])
        feed(kernel, steady(10, 13, -12.0))
        assert alarm(kernel).state == "suppressed_by_design"
        assert [event.by for event in events_of(kernel, AlarmSuppressed) if event.rule is Rule.BAND_HIGH] == [
            "door"
        ]
        with pytest.raises(AlarmNotRaised):
            acknowledge(kernel, 23)
        feed(kernel, steady(23, 5, -12.0))
        assert alarm(kernel).state == "unacknowledged"
        kernel.rebuild()


class TestShelving:
    def shelve(self, kernel: Kernel, minutes: float = 60, rule: Rule = Rule.STUCK) -> None:
        kernel.do(
            ShelveAlarm(site_id="ATL1", sensor_id=AIR, rule=rule, minutes=minutes, reason="probe is swapped")
        )

    def stuck(self, kernel: Kernel) -> None:
        for start in range(0, 150, 30):
            feed(kernel, [(AIR, start + i, -21.37) for i in range(30)])

    def test_a_stuck_sensor_is_said_to_be_stuck_for_as_long_as_it_was(self, kernel: Kernel) -> None:
        cold_room(kernel)
        self.stuck(kernel)
        assert alarm(kernel, Rule.STUCK).why == "exactly -21.4 °C for 120 min"

    def test_a_shelved_rule_is_not_raised_and_is_when_the_time_is_over(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, steady(0, 1))
        self.shelve(kernel, 200)
        self.stuck(kernel)
        assert alarm(kernel, Rule.STUCK).state == "shelved"
        assert not [event for event in events_of(kernel, AlarmRaised) if event.rule is Rule.STUCK]
        feed(kernel, [(AIR, 150 + i, -21.37) for i in range(50)])
        kernel.advance(2)
        assert alarm(kernel, Rule.STUCK).state == "unacknowledged"
        kernel.rebuild()

    def test_a_person_may_end_it(self, kernel: Kernel) -> None:
        cold_room(kernel)
        self.shelve(kernel)
        kernel.do(UnshelveAlarm(site_id="ATL1", sensor_id=AIR, rule=Rule.STUCK))
        with pytest.raises(NotShelved):
            kernel.do(UnshelveAlarm(site_id="ATL1", sensor_id=AIR, rule=Rule.STUCK))
        self.stuck(kernel)
        assert alarm(kernel, Rule.STUCK).state == "unacknowledged"

    def test_an_excursion_is_never_shelved(self, kernel: Kernel) -> None:
        cold_room(kernel)
        with pytest.raises(ExcursionNotShelvable):
            self.shelve(kernel, rule=Rule.BAND_HIGH)

    def test_it_is_bounded(self, kernel: Kernel) -> None:
        cold_room(kernel)
        with pytest.raises(ShelvedTooLong):
            self.shelve(kernel, minutes=481)
        with pytest.raises(ShelvedTooLong):
            self.shelve(kernel, minutes=1e300)

    def test_it_outlives_a_restart(self, kernel: Kernel) -> None:
        cold_room(kernel)
        self.shelve(kernel, 400)
        kernel.restart()
        self.stuck(kernel)
        assert alarm(kernel, Rule.STUCK).state == "shelved"


class TestOutOfService:
    def take_out(self, kernel: Kernel, hours: float = 4) -> None:
        kernel.do(TakeOutOfService(site_id="ATL1", sensor_id=AIR, hours=hours, reason="sent for calibration"))

    def test_a_sensor_out_of_service_raises_nothing_until_it_is_back(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, steady(0, 10))
        self.take_out(kernel)
        feed(kernel, steady(10, 15, -12.0))
        assert alarm(kernel).state == "out_of_service"
        kernel.do(PutInService(site_id="ATL1", sensor_id=AIR), at=30)
        assert alarm(kernel).state == "unacknowledged"
        with pytest.raises(NotOutOfService):
            kernel.do(PutInService(site_id="ATL1", sensor_id=AIR), at=31)
        kernel.rebuild()

    def test_it_is_bounded_and_of_a_sensor_here(self, kernel: Kernel) -> None:
        cold_room(kernel)
        with pytest.raises(OutOfServiceTooLong):
            self.take_out(kernel, 15 * 24)
        put_in_force(kernel, site("CLT1"), change_id="change-clt")
        with pytest.raises(SensorNotFound):
            kernel.do(TakeOutOfService(site_id="CLT1", sensor_id=AIR, hours=1, reason="not ours"))


WIRE = [
    b'{"type":"telemetry.sensor_defined","sensor":{"sensor_id":"ATL1-FRZ1-T1","site_id":"ATL1",'
    b'"zone_id":"ATL1-FRZ1","role":"zone_air","quantity":"temperature","unit":"F","name":"door end",'
    b'"covers":["ATL1-FRZ1-A01-02"],"mapping_study":"MS-7","valid_low":-80.0,"valid_high":80.0,"interval_s":60.0,'
    b'"calibration":{"certificate_id":"C-1","lab":"Lab","calibrated_on":"2026-01-05","due_on":"2027-01-05",'
    b'"uncertainty":0.1,"tolerance":0.5,"as_found_error":0.2,"as_left_error":0.0},'
    b'"rules":{"high_c":-18.0,"low_c":null,"hysteresis_c":0.5,"band_min":10.0,"cumulative_min":60.0,'
    b'"approach_c":null,"approach_min":5.0,"rate_15_min_c_per_h":6.0,"rate_60_min_c_per_h":2.0,'
    b'"rate_slow_c_per_h":0.4,"horizon_min":120.0,"horizon_slow_min":240.0,"compressor_rise_c":0.5,'
    b'"compressor_min":3.0,"gap_min":null,"stuck_min":null,"bad_min":5.0,"defrost_max_min":45.0,'
    b'"door_max_min":15.0,"recovery_min":15.0},"active":true}}',
    b'{"type":"telemetry.alarm_raised","alarm_id":"alarm-a","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
    b'"sensor_id":"ATL1-FRZ1-T1","rule":"band_high","stage":"excursion","at":"2026-03-01T08:10:00Z",'
    b'"since_at":"2026-03-01T08:00:00Z","last_good_at":"2026-03-01T07:59:00Z","value_c":-12.0,'
    b'"rate_c_per_h":6.5,"why":"warm","backfilled":false}',
    b'{"type":"telemetry.alarm_returned","alarm_id":"alarm-a","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
    b'"sensor_id":"ATL1-FRZ1-T1","rule":"band_high","stage":"excursion","at":"2026-03-01T08:20:00Z","value_c":-19.0}',
    b'{"type":"telemetry.alarm_suppressed","alarm_id":"alarm-a","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
    b'"sensor_id":"ATL1-FRZ1-T1","rule":"band_high","stage":"excursion","at":"2026-03-01T08:10:00Z",'
    b'"since_at":"2026-03-01T08:00:00Z","value_c":-12.0,"by":"door","why":"warm"}',
    b'{"type":"telemetry.alarm_acknowledged","alarm_id":"alarm-a","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
    b'"sensor_id":"ATL1-FRZ1-T1","note":"coming"}',
    b'{"type":"telemetry.alarm_shelved","site_id":"ATL1","zone_id":"ATL1-FRZ1","sensor_id":"ATL1-FRZ1-T1",'
    b'"rule":"stuck","until":"2026-03-01T09:00:00Z","reason":"swap"}',
    b'{"type":"telemetry.alarm_unshelved","site_id":"ATL1","zone_id":"ATL1-FRZ1","sensor_id":"ATL1-FRZ1-T1",'
    b'"rule":"stuck"}',
    b'{"type":"telemetry.sensor_out_of_service","site_id":"ATL1","zone_id":"ATL1-FRZ1","sensor_id":"ATL1-FRZ1-T1",'
    b'"until":"2026-03-02T08:00:00Z","reason":"calibration"}',
    b'{"type":"telemetry.sensor_in_service","site_id":"ATL1","zone_id":"ATL1-FRZ1","sensor_id":"ATL1-FRZ1-T1"}',
    b'{"type":"telemetry.sensor_silent","site_id":"ATL1","zone_id":"ATL1-FRZ1","sensor_id":"ATL1-FRZ1-T1",'
    b'"last_at":"2026-03-01T08:00:00Z","silent_since":"2026-03-01T08:00:02Z","grace_until":"2026-03-01T08:48:00Z"}',
    b'{"type":"telemetry.sensor_restored","site_id":"ATL1","zone_id":"ATL1-FRZ1","sensor_id":"ATL1-FRZ1-T1",'
    b'"at":"2026-03-01T09:00:00Z"}',
    b'{"type":"telemetry.blocks_manifested","site_id":"ATL1","why":"on_demand","cause_id":"incident-1","landed_no":41,'
    b'"landed_digest":"ab","readings":8640,"first_at":"2026-03-01T00:00:00Z","last_at":"2026-03-01T23:59:50Z",'
    b'"blocks":[["ATL1-FRZ1-T1",20513,0,"cd",8640,1772323200000000,1772409590000000]]}',
    b'{"type":"telemetry.signal_changed","site_id":"ATL1","zone_id":"ATL1-AMB1","sensor_id":"ATL1-AMB1-W1",'
    b'"role":"ups_mains","good":false,"at":"2026-03-01T09:00:00Z"}',
    b'{"type":"telemetry.gateway_defined","gateway":{"gateway_id":"ATL1-GW1","site_id":"ATL1","driver":"modbus",'
    b'"name":"PLC","address":"modbus://10.0.0.7:502","credentials":"plc","every_s":5.0,"map":"points: []",'
    b'"active":true}}',
    b'{"type":"telemetry.device_clock_judged","site_id":"ATL1","zone_id":"ATL1-FRZ1","sensor_id":"ATL1-FRZ1-T1",'
    b'"standing":"corrected","offset_ms":-7200000,"device_ms":1772359200000,"heard_at":"2026-03-01T08:00:00Z",'
    b'"steps":1,"steps_from_us":1772352000000000}',
    b'{"type":"telemetry.points_heard","site_id":"ATL1","points":[{"gateway_id":"ATL1-GW1","point":"R1/air",'
    b'"first_at":"2026-03-01T08:00:00Z","last_at":"2026-03-01T09:00:00Z","readings":12,"value":-21.5,"unit":"C"}],'
    b'"forgotten":["ATL1-GW1/R1/old"]}',
    b'{"type":"telemetry.devices_told","site_id":"ATL1","devices":[{"gateway_id":"ATL1-GW1","device":"R1",'
    b'"battery_pct":71.0,"signal_dbm":-88.0,"online":true,"told_at":"2026-03-01T09:00:00Z",'
    b'"online_at":"2026-03-01T08:00:00Z"}]}',
    b'{"type":"telemetry.flaw_found","flaw_id":"flaw-abcdefghijklmnop","site_id":"ATL1","subject":"ATL1-GW1/R1",'
    b'"flaw":"battery","zone_id":"ATL1-FRZ1","sensors":["ATL1-FRZ1-T1"],"value":12.0}',
    b'{"type":"telemetry.flaw_ended","flaw_id":"flaw-abcdefghijklmnop","site_id":"ATL1","subject":"ATL1-GW1/R1",'
    b'"flaw":"battery"}',
    b'{"type":"telemetry.readings_lost","site_id":"ATL1","blocks":[{"zone_id":"ATL1-FRZ1",'
    b'"sensor_id":"ATL1-FRZ1-T1","from_at":"2026-03-01T08:00:00Z","to_at":"2026-03-01T08:09:00Z","readings":10,'
    b'"hash":"0f"}]}',
    b'{"type":"telemetry.lost_readings_found","site_id":"ATL1","hashes":["0f"]}',
    b'{"type":"telemetry.defrost_planned","site_id":"ATL1","zone_id":"ATL1-FRZ1","plan":'
    b'{"zone_id":"ATL1-FRZ1","site_id":"ATL1","times":["04:00"],"days":["mon"],"lasts_min":30.0,'
    b'"active":true},"timezone":"America/New_York"}',
]
# Fields that later releases added to the forms above, each with its default.
ADDED = {"telemetry.sensor_defined": b',"circuit":"","shutdown":[],"source":""}}'}


@pytest.mark.parametrize("stored", WIRE, ids=lambda stored: stored[9:45].decode())
def test_events_keep_their_wire_form(stored: bytes) -> None:
    """Bytes from release 1 must decode for ever. Add lines; never edit one."""
    tag = msgspec.json.decode(stored)["type"]
    added = ADDED.get(tag, b"")
    assert encode(decode(tag, stored)) == stored[: -2 if added else None] + added


def test_every_event_of_the_room_is_frozen() -> None:
    frozen = {msgspec.json.decode(stored)["type"] for stored in WIRE}
    tags: set[Any] = {event.__struct_config__.tag for event in subclasses_of(AnyEvent)}
    assert {tag for tag in tags if tag.startswith("telemetry.")} == frozen
