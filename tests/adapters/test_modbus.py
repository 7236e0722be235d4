"""The Modbus driver against real servers: pymodbus's own, and peers that misbehave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress

import pytest
from pymodbus.constants import ExcCodes

from coldgrid.adapters.driving import Answer, CannotBuild, GatewayDown, Haul, Note, Secret, make_driver
from coldgrid.adapters.modbus import ModbusDriver
from coldgrid.telemetry.gateways import Gateway, gateway_problems
from tests.adapters.modbus_peer import Controllers, adversary, controllers
from tests.patience import eventually

RACK = """
timeout_s: 4
devices:
  - name: RACK1
    unit_id: 1
    registers:
      - {name: return_air, kind: input, address: 30, type: int16, scale: 0.1, unit: C, unavailable: [0x7FFF]}
      - {name: supply_air, kind: input, address: 31, type: int16, scale: 0.1, unit: C, unavailable: [0x7FFF]}
      - {name: energy, kind: holding, address: 100, type: uint32, unit: Wh}
      - {name: door, kind: discrete, address: 4, unit: state}
      - {name: defrost, kind: coil, address: 2, unit: state}
  - name: RACK2
    unit_id: 2
    registers:
      - {name: return_air, kind: input, address: 30, type: int16, scale: 0.1, unit: C}
"""
ONE = """
timeout_s: 0.3
devices:
  - {name: A, unit_id: 1, registers: [{name: t, kind: input, address: 5, type: int16, scale: 0.1, unit: C}]}
"""
UNITS = {
    1: {
        "input": {30: 215, 31: 65_536 - 187},
        "holding": {100: 1, 101: 34_464},
        "discrete": {4: 1},
        "coil": {2: 0},
    },
    2: {"input": {30: 38}},
}
GOOD = {
    "RACK1/return_air": 21.5,
    "RACK1/supply_air": -18.7,
    "RACK1/energy": 100_000.0,
    "RACK1/door": 1.0,
    "RACK1/defrost": 0.0,
    "RACK2/return_air": 3.8,
}


class HostClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        return time.monotonic()


class Taken:
    """Takes hauls as a host that stores them would."""

    def __init__(self) -> None:
        self.hauls: list[Haul] = []

    def deliver(self, haul: Haul, answer: Answer) -> None:
        self.hauls.append(haul)
        answer(True)


def gateway_at(port: int, text: str, every_s: float = 1.0) -> Gateway:
    address = f"modbus://127.0.0.1:{port}"
    return Gateway(
        gateway_id="ATL1-GW1", site_id="ATL1", driver="modbus", address=address, every_s=every_s, map=text
    )


def driver_at(port: int, text: str = RACK) -> ModbusDriver:
    driver = make_driver(gateway_at(port, text), None, Taken().deliver, HostClock())
    assert isinstance(driver, ModbusDriver)
    return driver


def values(haul: Haul) -> dict[str, float]:
    return {one.point: round(one.value, 6) for one in haul.readings}


def whys(haul: Haul) -> list[str]:
    return [f"{one.source}: {one.why}" for one in haul.unreadable]


def answer(request: bytes, pdu: bytes) -> bytes:
    return request[:4] + (len(pdu) + 1).to_bytes(2, "big") + request[6:7] + pdu


def twenty_one(request: bytes, number: int) -> bytes:
    return answer(request, b"\x04\x02\x00\xd2")


# --- A gateway that works -----------------------------------------------------------


def test_every_unit_behind_a_gateway_is_read_in_one_request_a_table() -> None:
    with controllers(UNITS) as peer:
        driver = driver_at(peer.port)
        before = HostClock().now_us()
        haul = driver.poll()
        driver.stop()
    assert values(haul) == GOOD
    assert haul.unreadable == []
    assert sorted(peer.served) == [(1, 1, 2, 1), (1, 2, 4, 1), (1, 3, 100, 2), (1, 4, 30, 2), (2, 4, 30, 1)]
    assert {one.unit for one in haul.readings} == {"C", "Wh", "state"}
    assert all(before <= one.heard_at_us <= HostClock().now_us() for one in haul.readings)
    assert {(note.device, note.online) for note in haul.notes} == {("RACK1", True), ("RACK2", True)}


def test_a_driver_polls_by_itself_over_one_connection_and_stops() -> None:
    with adversary(twenty_one) as peer:
        taken = Taken()
        driver = make_driver(gateway_at(peer.port, ONE), None, taken.deliver, HostClock())
        driver.start()
        driver.start()
        eventually(lambda: len(taken.hauls) >= 3)
        assert driver.state() == (True, "1 readings in the last poll")
        driver.stop()
        assert peer.connections == 1
    assert all(values(haul) == {"A/t": 21.0} for haul in taken.hauls)


# --- What is unknown ------------------------------------------------------------------


def test_a_sentinel_is_unknown_and_its_neighbours_are_read() -> None:
    with controllers(UNITS) as peer:
        peer.put(1, "input", 30, 0x7FFF)
        driver = driver_at(peer.port)
        haul = driver.poll()
        peer.put(1, "input", 30, 40)
        again = driver.poll()
        driver.stop()
    assert values(haul) == {point: value for point, value in GOOD.items() if point != "RACK1/return_air"}
    assert whys(haul) == ["RACK1/return_air: the device says that it is not available"]
    assert values(again)["RACK1/return_air"] == 4.0


def test_a_register_that_does_not_exist_is_told_and_what_exists_beside_it_is_read() -> None:
    units = {1: {"input": {30: 215, 32: 100, 33: 110}}}
    lines = "".join(
        f"      - {{name: t{at}, kind: input, address: {at}, type: int16, scale: 0.1, unit: C}}\n"
        for at in (30, 31, 32, 33)
    )
    text = f"devices:\n  - name: A\n    unit_id: 1\n    registers:\n{lines}"
    with controllers(units) as peer:
        driver = driver_at(peer.port, text)
        hauls = [driver.poll() for _ in range(5)]
        driver.stop()
    assert values(hauls[0]) == {}
    assert whys(hauls[0]) == ["A/input 30 to 33: A has no such register"]
    assert values(hauls[-1]) == {"A/t30": 21.5, "A/t32": 10.0, "A/t33": 11.0}
    assert whys(hauls[-1]) == ["A/input 31 to 31: A has no such register"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (ExcCodes.DEVICE_BUSY, "RACK1 is busy"),
        (ExcCodes.DEVICE_FAILURE, "RACK1 failed"),
        (ExcCodes.ILLEGAL_FUNCTION, "RACK1 knows no such function"),
    ],
)
def test_a_unit_that_answers_with_an_exception_is_unknown_and_the_others_are_read(
    code: ExcCodes, why: str
) -> None:
    with controllers(UNITS) as peer:
        peer.fails[1] = code
        driver = driver_at(peer.port)
        haul = driver.poll()
        peer.fails.clear()
        again = driver.poll()
        driver.stop()
    assert values(haul) == {"RACK2/return_air": 3.8}
    assert [one.why for one in haul.unreadable] == [why] * 4
    assert values(again) == GOOD


def test_a_unit_that_its_gateway_cannot_reach_costs_one_request_and_rests() -> None:
    with controllers(UNITS) as peer:
        peer.fails[1] = ExcCodes.GATEWAY_NO_RESPONSE
        driver = driver_at(peer.port)
        haul = driver.poll()
        assert [unit for unit, *_ in peer.served] == [1, 2]
        assert values(haul) == {"RACK2/return_air": 3.8}
        assert {one.why for one in haul.unreadable} == {"RACK1 does not answer its gateway"}
        assert Note("RACK1", None, None, False, haul.notes[0].at_us) == haul.notes[0]
        resting = driver.poll()
        assert [unit for unit, *_ in peer.served] == [1, 2, 2]
        assert [one.why for one in resting.unreadable] == [
            "RACK1 did not answer and is left alone for a while"
        ]
        peer.fails.clear()
        eventually(lambda: values(driver.poll()) == GOOD)
        driver.stop()


def test_a_unit_that_hangs_costs_one_timeout_and_the_others_are_read() -> None:
    with controllers(UNITS) as peer:
        peer.hangs.add(1)
        driver = driver_at(peer.port, RACK.replace("timeout_s: 4", "timeout_s: 1"))
        haul = driver.poll()
        assert values(haul) == {"RACK2/return_air": 3.8}
        assert {one.why for one in haul.unreadable} == {"RACK1 did not answer in time"}
        assert [unit for unit, *_ in peer.served] == [1, 2]
        peer.hangs.clear()
        # The late answer to the request that was given up went with its connection.
        eventually(lambda: values(driver.poll()) == GOOD)
        driver.stop()


def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    stale: list[bytes] = []

    def late(request: bytes, number: int) -> bytes:
        if number == 1:
            stale.append(answer(request, b"\x04\x02\x03\xe7"))
            return b""
        return b"".join(stale) + twenty_one(request, number)

    with adversary(late) as peer:
        driver = driver_at(peer.port, ONE)
        assert values(driver.poll()) == {}
        assert values(_asked_anew(driver)) == {"A/t": 21.0}
        assert (
            peer.connections == 2
        )  # what was sent late on the first is nobody's, whatever it says it answers
        driver.stop()


def _asked_anew(driver: ModbusDriver) -> Haul:
    """Poll past the rest of a unit that was silent."""
    haul = driver.poll()
    end = time.monotonic() + 30
    while not haul.readings and time.monotonic() < end:
        time.sleep(0.05)
        haul = driver.poll()
    return haul


# --- Peers that misbehave --------------------------------------------------------------


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "another transaction": lambda q: b"\xff\xff" + twenty_one(q, 0)[2:],
    "another protocol": lambda q: q[:2] + b"\x00\x01" + twenty_one(q, 0)[4:],
    "another unit": lambda q: twenty_one(q, 0)[:6] + b"\x09" + twenty_one(q, 0)[7:],
    "another function": lambda q: answer(q, b"\x03\x02\x00\xd2"),
    "too few registers": lambda q: answer(q, b"\x04\x00"),
    "too many registers": lambda q: answer(q, b"\x04\x04\x00\xd2\x00\xd2"),
    "a length that lies": lambda q: answer(q, b"\x04\x01\x00\xd2"),
    "a short frame": lambda q: twenty_one(q, 0)[:-1],
    "nothing after the header": lambda q: twenty_one(q, 0)[:7],
    "a frame that is too long": lambda q: q[:4] + b"\xff\xff" + bytes(1_000),
    "text": lambda q: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a flood": lambda q: twenty_one(b"\x00" * 12, 0) * 20_000,
    "zeros": lambda q: bytes(300),
    "silence": lambda q: b"",
}


@pytest.mark.parametrize("says", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_answer_is_never_a_value_and_the_driver_goes_on(says: Callable[[bytes], bytes]) -> None:
    healthy = False

    def peer_says(request: bytes, number: int) -> bytes:
        return twenty_one(request, number) if healthy else says(request)

    with adversary(peer_says) as peer:
        driver = driver_at(peer.port, ONE)
        started = time.monotonic()
        with suppress(GatewayDown):
            haul = driver.poll()
            assert haul.readings == []
            assert len(haul.unreadable) == 1
        assert time.monotonic() - started < 30
        healthy = True
        assert values(_asked_anew(driver)) == {"A/t": 21.0}
        driver.stop()


def test_a_gateway_that_closes_after_each_answer_is_read_all_the_same() -> None:
    def closes(request: bytes, number: int) -> bytes | None:
        return None if number % 2 == 0 else twenty_one(request, number)

    text = ONE + ONE.split("devices:\n")[1].replace("name: A, unit_id: 1", "name: B, unit_id: 2")
    with adversary(closes) as peer:
        driver = driver_at(peer.port, text)
        hauls = [driver.poll() for _ in range(4)]
        driver.stop()
    assert all("A/t" in values(haul) or "B/t" in values(haul) for haul in hauls)
    assert any("closed the connection" in why for haul in hauls for why in whys(haul))


def test_dead_units_do_not_hide_one_that_lives() -> None:
    register = "name: t, kind: input, address: 5, type: int16"
    entries = "".join(
        f"  - {{name: U{unit}, unit_id: {unit}, registers: [{{{register}}}]}}\n" for unit in range(1, 9)
    )
    text = f"timeout_s: 0.1\ndevices:\n{entries}"

    def only_the_last(request: bytes, number: int) -> bytes:
        return twenty_one(request, number) if request[6] == 8 else b""

    with adversary(only_the_last) as peer:
        driver = driver_at(peer.port, text)
        assert values(_asked_anew(driver)) == {"U8/t": 210.0}
        driver.stop()


def test_a_gateway_that_is_away_says_what_to_look_at_and_is_read_when_it_is_back() -> None:
    with controllers(UNITS) as peer:
        taken = Taken()
        driver = make_driver(gateway_at(peer.port, RACK), None, taken.deliver, HostClock())
        driver.start()
        eventually(lambda: bool(taken.hauls))
        peer.stop()
        eventually(lambda: not driver.state()[0])
        eventually(lambda: "look at its power and its network" in driver.state()[1])
        count = len(taken.hauls)
        peer.start()
        eventually(lambda: driver.state()[0] and len(taken.hauls) > count)
        driver.stop()
    assert values(taken.hauls[-1]) == GOOD


def test_a_driver_that_waits_for_an_answer_stops_at_once() -> None:
    with adversary(lambda request, number: b"") as peer:
        driver = make_driver(
            gateway_at(peer.port, ONE.replace("0.3", "4")), None, Taken().deliver, HostClock()
        )
        driver.start()
        eventually(lambda: bool(peer.requests))
        started = time.monotonic()
        driver.stop()
        assert time.monotonic() - started < 3.5


def test_a_driver_that_is_stopped_and_started_at_any_instant_goes_on() -> None:
    with adversary(twenty_one) as peer:
        taken = Taken()
        driver = make_driver(gateway_at(peer.port, ONE), None, taken.deliver, HostClock())
        for pause_s in (0.0, 0.001, 0.002, 0.005, 0.01, 0.02) * 3:
            driver.start()
            time.sleep(pause_s)
            driver.stop()
        count = len(taken.hauls)
        driver.start()
        eventually(lambda: len(taken.hauls) >= count + 2)
        assert driver.state()[0]
        driver.stop()
    assert all(values(haul) == {"A/t": 21.0} for haul in taken.hauls if haul.readings)


def test_an_address_that_nobody_listens_at_is_a_gateway_that_is_down() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    driver = driver_at(port)
    with pytest.raises(GatewayDown, match="takes no connection"):
        driver.poll()


# --- Master data ------------------------------------------------------------------------


def test_a_gateway_is_checked_with_its_map_and_is_not_built_with_a_wrong_one() -> None:
    assert gateway_problems(gateway_at(502, RACK)) == []
    wrong = gateway_at(502, RACK.replace("type: uint32", "type: uint33"))
    assert [(one.field, one.line) for one in gateway_problems(wrong)] == [
        ("map.devices[0].registers[2].type", 9)
    ]
    with pytest.raises(CannotBuild, match="line 9"):
        make_driver(wrong, Secret({}), Taken().deliver, HostClock())


def test_a_restarted_server_is_the_same_peer() -> None:
    """The peer of these tests itself: what it serves is what was put."""
    peer = Controllers(UNITS)
    peer.start()
    peer.stop()
    peer.start()
    driver = driver_at(peer.port)
    assert values(driver.poll()) == GOOD
    driver.stop()
    peer.stop()
