"""LoRaWAN uplinks: the vendors' documented forms, times, signals, batteries, replays; total on any bytes."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.adapters.driving import Haul
from coldgrid.adapters.lorawan_map import problems_of_map, read_map
from coldgrid.adapters.lorawan_readings import Uplinks
from coldgrid.adapters.lorawan_uplinks import Malformed, read_uplink
from coldgrid.kernel.tables import to_micros
from tests.adapters.lorawan_bodies import CHIRP, CHIRP_STATUS, STACK, changed

STACK_AT = datetime(2020, 2, 12, 15, 15, 45, 789586, UTC)  # …789585559 rounded
CHIRP_AT = datetime(2022, 7, 18, 9, 34, 15, 775023, UTC)
SAID = "fields:\n  - {path: temperature, point: air, unit: C}\n  - {path: door, point: door, unit: state}\n"
LPP = base64.b64encode(bytes.fromhex("03670110056700FF027401680168BE")).decode()


def hear(body: bytes, said: str = SAID, event: str = "", late: timedelta = timedelta(seconds=1)) -> Haul:
    return uplinks(said).hear("test", body, event, to_micros(STACK_AT + late))[0]


def uplinks(said: str = SAID) -> Uplinks:
    found, problems = read_map(said)
    assert not problems
    return Uplinks(found)


# --- The documented forms -----------------------------------------------------------


def test_the_things_stacks_documented_uplink_is_read() -> None:
    haul = hear(changed(STACK))
    (heard,) = haul.readings
    assert (heard.point, heard.value, heard.unit) == ("0004A30B001C0530/air", 1.0, "C")
    assert heard.device_at_us == to_micros(STACK_AT), "the network server's time, not the gateway's"
    assert not heard.historical
    (note,) = haul.notes
    assert (note.device, note.signal_dbm, note.online) == ("0004A30B001C0530", -35.0, True)


def test_chirpstacks_documented_uplink_is_read() -> None:
    up = changed(CHIRP, object={"temperature": -18.5, "door": True})
    haul = uplinks().hear("test", up, "up", to_micros(CHIRP_AT))[0]
    assert [(heard.point, heard.value, heard.unit) for heard in haul.readings] == [
        ("0101010101010101/air", -18.5, "C"),
        ("0101010101010101/door", 1.0, "state"),
    ]
    assert haul.readings[0].device_at_us == to_micros(CHIRP_AT)
    assert haul.notes[0].signal_dbm == -36.0


def test_chirpstacks_documented_status_tells_the_battery() -> None:
    for event in ("status", ""):
        (note,) = hear(changed(CHIRP_STATUS), event=event).notes
        assert (note.device, note.battery_pct) == ("0101010101010101", 88.3)


@pytest.mark.parametrize("field", ["batteryLevelUnavailable", "externalPowerSource"])
def test_a_battery_that_is_not_told_is_not_empty(field: str) -> None:
    (note,) = hear(changed(CHIRP_STATUS, batteryLevel=None, **{field: True})).notes
    assert note.battery_pct is None


def test_the_things_stack_tells_the_battery_with_an_uplink() -> None:
    told = {"f_cnt": 12225, "value": 39.130436, "received_at": "2025-07-30T20:13:30.785113840Z"}
    (note,) = hear(changed(STACK, uplink_message__last_battery_percentage=told)).notes
    assert note.battery_pct == pytest.approx(39.130436)


def test_cayenne_is_read_from_raw_bytes_with_the_battery_from_its_voltage() -> None:
    said = "payload: cayenne\nbattery: {path: voltage_2, empty: 2.4, full: 3.6}\n"
    haul = hear(changed(STACK, uplink_message__frm_payload=LPP), said)
    assert [(heard.point.partition("/")[2], heard.value, heard.unit) for heard in haul.readings] == [
        ("temperature_3", 27.2, "C"),
        ("temperature_5", 25.5, "C"),
        ("relative_humidity_1", 95.0, "%"),
    ]
    assert haul.notes[0].battery_pct == 100.0


def test_cayenne_as_the_things_stack_decodes_it_needs_no_map() -> None:
    decoded = {"temperature_3": 27.2, "temperature_5": 25.5, "luminosity_1": 4}
    haul = hear(changed(STACK, uplink_message__decoded_payload=decoded), "")
    assert [heard.point.partition("/")[2] for heard in haul.readings] == ["temperature_3", "temperature_5"]


def test_what_the_things_stack_normalizes_needs_no_map() -> None:
    told = [{"air": {"temperature": -18.4, "relativeHumidity": 71, "pressure": 1013}, "battery": 3.1}]
    haul = hear(changed(STACK, uplink_message__normalized_payload=told), "")
    assert [(heard.point.partition("/")[2], heard.value, heard.unit) for heard in haul.readings] == [
        ("normalized.air.temperature", -18.4, "C"),
        ("normalized.air.relativeHumidity", 71.0, "%"),
    ]
    said = "battery: {path: normalized.battery, empty: 2.1, full: 3.1}\n"
    assert hear(changed(STACK, uplink_message__normalized_payload=told), said).notes[0].battery_pct == 100.0
    several = changed(STACK, uplink_message__normalized_payload=told * 2)
    assert not hear(several, "").readings, "each is of a time of its own"


def test_a_field_is_scaled_and_found_by_its_path() -> None:
    said = "fields:\n  - {path: probe.raw.1, point: probe, factor: 0.1, offset: -40, unit: C}\n"
    haul = hear(changed(STACK, uplink_message__decoded_payload={"probe": {"raw": [7, 215]}}), said)
    assert haul.readings[0].value == pytest.approx(-18.5)


def test_a_devices_own_time_counts_where_the_map_names_it() -> None:
    said = SAID + "time: {path: at}\n"
    at_s = STACK_AT.timestamp() - 7_200
    haul = hear(changed(STACK, uplink_message__decoded_payload={"temperature": 4, "at": at_s}), said)
    assert haul.readings[0].device_at_us == pytest.approx(at_s * 1e6, abs=1)
    assert haul.readings[0].historical


def test_the_gateways_time_counts_only_where_the_network_server_says_none() -> None:
    body = changed(STACK, received_at=None, uplink_message__received_at=None)
    (heard,) = hear(body).readings
    assert heard.device_at_us == to_micros(datetime(2020, 2, 12, 15, 15, 45, 787000, UTC))


def test_an_uplink_that_waited_on_its_way_keeps_its_time_and_is_told_as_kept() -> None:
    (heard,) = hear(changed(STACK), late=timedelta(hours=1)).readings
    assert heard.device_at_us == to_micros(STACK_AT)
    assert heard.historical


def test_the_signal_is_that_of_the_gateway_that_heard_it_best() -> None:
    heard = [{"rssi": -60, "snr": -12.0}, {"rssi": -110, "snr": -4.5}, {"rssi": None}, {"snr": 9.0}]
    (note,) = hear(changed(STACK, uplink_message__rx_metadata=heard)).notes
    assert note.signal_dbm == -114.5


# --- Twice, and again -----------------------------------------------------------------


def test_an_uplink_that_is_delivered_again_gives_the_same_readings() -> None:
    heard = uplinks()
    first, word = heard.hear("test", changed(STACK), "", to_micros(STACK_AT))
    again, second_word = heard.hear("test", changed(STACK), "", to_micros(STACK_AT) + 5_000_000)
    assert (word, second_word) == ("up", "again")
    same = [(one.point, one.value, one.device_at_us) for one in first.readings]
    assert [(one.point, one.value, one.device_at_us) for one in again.readings] == same


def test_a_frame_that_comes_again_with_another_id_is_a_replay() -> None:
    heard = uplinks("payload: cayenne\n")
    lpp = base64.b64encode(bytes.fromhex("03670110")).decode()
    taken, _ = heard.hear("t", changed(CHIRP, data=lpp, fCnt=12), "up", to_micros(CHIRP_AT))
    assert taken.readings
    replay = changed(CHIRP, data=lpp, fCnt=12, deduplicationId="another")
    refused, word = heard.hear("t", replay, "up", to_micros(CHIRP_AT))
    assert word == "refused"
    assert not refused.readings
    assert "replay" in refused.unreadable[0].why


def test_a_frame_counter_begins_anew_with_a_session_and_after_a_while() -> None:
    heard = uplinks("payload: cayenne\n")
    lpp = base64.b64encode(bytes.fromhex("03670110")).decode()
    for number, changes in enumerate(
        [{}, {"devAddr": "00189441"}, {"devAddr": "00189441", "time": "2022-07-18T10:00:00Z"}]
    ):
        body = changed(CHIRP, data=lpp, fCnt=1, deduplicationId=f"id-{number}", **changes)
        assert heard.hear("t", body, "up", to_micros(CHIRP_AT))[0].readings, changes


def test_frames_out_of_order_are_taken() -> None:
    heard = uplinks("payload: cayenne\n")
    lpp = base64.b64encode(bytes.fromhex("03670110")).decode()
    for f_cnt in (5, 3, 4, 6):
        body = changed(CHIRP, data=lpp, fCnt=f_cnt, deduplicationId=f"id-{f_cnt}")
        assert heard.hear("t", body, "up", to_micros(CHIRP_AT))[1] == "up"


# --- What is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "is no uplink"),
        (b"[]", "is no uplink"),
        (b"{}", "neither an uplink of The Things Stack"),
        (b"\xff\xfe", "is no uplink"),
        (b"[" * 100_000, "is no uplink"),
        (b" " * 300_000, "bytes are more than"),
        (changed(STACK, simulated=True), "simulated"),
        (changed(STACK, end_device_ids__dev_eui="../../x"), "is no DevEUI"),
        (changed(STACK, uplink_message__frm_payload="%%%"), "no base64"),
        (changed(STACK, uplink_message__f_cnt="x"), "Expected `int`"),
        (changed(CHIRP, deduplicationId=None), "has no deduplicationId"),
        (changed(CHIRP, time=None), "says neither when"),
        (changed(CHIRP, time="yesterday"), "Invalid RFC3339"),
        (changed(STACK, uplink_message__decoded_payload=None), "decoded nothing"),
        (changed(STACK, uplink_message__decoded_payload={"humid": 3}), "map names: humid"),
        (changed(STACK, uplink_message__decoded_payload={"temperature": "warm"}), "temperature is no number"),
        (changed(STACK, uplink_message__decoded_payload={"temperature": 1e300}), "temperature is no number"),
        (changed(STACK, uplink_message__decoded_payload={"temperature": True}), "temperature is no number"),
        (b'{"end_device_ids": {}, "uplink_message": {"decoded_payload": {"t": NaN}}}', "is no uplink"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(body: bytes, why: str) -> None:
    haul = hear(body)
    assert not haul.readings
    assert why in haul.unreadable[0].why


@pytest.mark.parametrize("event", ["ack", "txack", "log", "location", "integration"])
def test_other_events_are_passed_over(event: str) -> None:
    haul, word = uplinks().hear("t", changed(CHIRP_STATUS, margin=None), event, 0)
    assert (len(haul), word) == (0, "passed_over")


def test_an_uplink_without_a_port_is_only_a_sign_of_life() -> None:
    haul = hear(changed(STACK, uplink_message__f_port=None))
    assert (len(haul.readings), len(haul.unreadable), len(haul.notes)) == (0, 0, 1)


def test_ports_that_the_map_does_not_name_are_only_a_sign_of_life() -> None:
    haul = hear(changed(STACK, uplink_message__f_port=5), SAID + "ports: [1, 2]\n")
    assert (len(haul.readings), len(haul.unreadable), len(haul.notes)) == (0, 0, 1)


def test_broken_cayenne_keeps_what_was_before_and_tells_the_rest() -> None:
    lpp = base64.b64encode(bytes.fromhex("036701100599FFFF")).decode()
    haul = hear(changed(STACK, uplink_message__frm_payload=lpp), "payload: cayenne\n")
    assert len(haul.readings) == 1
    assert "type 153 is not known" in haul.unreadable[0].why


# --- Total ------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    [
        "end_device_ids", "end_device_ids__dev_eui", "uplink_message", "uplink_message__f_cnt",
        "uplink_message__f_port", "uplink_message__frm_payload", "uplink_message__decoded_payload",
        "uplink_message__rx_metadata", "uplink_message__normalized_payload",
        "uplink_message__received_at", "received_at", "simulated",
    ]
)  # fmt: skip


@given(st.binary(max_size=300), st.text(max_size=10))
def test_any_bytes_are_an_uplink_or_malformed(body: bytes, event: str) -> None:
    with pytest.raises(Malformed):
        read_uplink(body, event)
    assert len(hear(body, event=event).unreadable) == 1


@given(fields, anything)
def test_any_value_in_any_field_is_read_or_refused(path: str, value: object) -> None:
    haul = hear(changed(STACK, **{path: value}))
    assert all(math.isfinite(heard.value) for heard in haul.readings)
    assert all(len(one.why) <= 200 and len(one.text) <= 200 for one in haul.unreadable)


@given(st.text(max_size=200))
def test_any_map_is_read_or_its_problems_are_named(text: str) -> None:
    problems_of_map(text)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ("fields:\n  - {path: t}\n", "fields[0]"),
        ("fields:\n  - {path: t, point: a b}\n", "fields[0].point"),
        ("fields:\n  - {path: t, point: a}\n  - {path: t, point: b}\n", "fields[1].path"),
        ("battery: {path: v, empty: 4, full: 3}\n", "battery.full"),
        ("payload: xml\n", "payload"),
        ("ports: [0]\n", "ports[0]"),
        ("aplication: x\n", "aplication"),
        ("application: a/b\n", "application"),
    ],
)
def test_what_is_wrong_in_a_map_is_named(said: str, field: str) -> None:
    assert field in [problem.field for problem in problems_of_map(said)]


def test_subscriptions_are_those_of_the_network_server() -> None:
    assert read_map("application: cold@ttn")[0].filters() == ["v3/cold@ttn/devices/+/up"]
    assert read_map("application: 17c82e96")[0].filters()[0] == "application/17c82e96/device/+/event/up"
    assert len(read_map("")[0].filters()) == 4
