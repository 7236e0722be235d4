"""The SNMP driver against a real agent: snmpsim."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from coldgrid.adapters.driving import CannotBuild, GatewayDown, Haul, Secret, make_driver
from coldgrid.adapters.snmp import AUTH, PRIV, SnmpDriver
from coldgrid.adapters.snmp_answers import (
    ALARMS,
    BATTERY_STATUS,
    CHARGE_PCT,
    IF_OPER_STATUS,
    MINUTES_LEFT,
    OUTPUT_SOURCE,
    SECONDS_ON_BATTERY,
)
from coldgrid.telemetry.gateways import Gateway, gateway_problems
from tests.adapters.snmp_peer import AUTH_KEY, PRIV_KEY, USER, Agent, agent
from tests.adapters.test_modbus import HostClock, Taken, values, whys
from tests.patience import eventually

UPS = "device: UPS1\nups: {battery_wh: 1000}\ntimeout_s: 2\n"
ROUTER = """
device: ROUTER
timeout_s: 2
interfaces:
  - {name: wan_primary, index: 2, expect: eth0, role: wan_primary}
  - {name: wan_backup, index: 3, expect: wwan0, role: wan_backup}
"""


@pytest.fixture(scope="module")
def peer() -> Iterator[Agent]:
    with agent() as found:
        yield found


def gateway_at(port: int, text: str) -> Gateway:
    address = f"snmp://127.0.0.1:{port}"
    return Gateway(
        gateway_id="ATL1-GW2", site_id="ATL1", driver="snmp", address=address, every_s=1.0, map=text
    )


def driver_at(port: int, text: str, **secret: str) -> SnmpDriver:
    driver = make_driver(gateway_at(port, text), Secret(secret), Taken().deliver, HostClock())
    assert isinstance(driver, SnmpDriver)
    return driver


def polled(peer: Agent, text: str, **secret: str) -> Haul:
    driver = driver_at(peer.port, text, **(secret or {"community": "ups"}))
    try:
        return driver.poll()
    finally:
        driver.close()


# --- UPS ------------------------------------------------------------------------------


def test_a_ups_tells_its_mains_its_load_and_what_is_left_in_its_battery(peer: Agent) -> None:
    haul = polled(peer, UPS)
    assert values(haul) == {
        "UPS1/mains": 1.0,
        "UPS1/load_w": 600.0,
        "UPS1/energy_wh": 900.0,  # by its own minutes: 90 min of 600 W, less than 1,000 Wh
        "UPS1/battery_good": 1.0,
        "UPS1/battery_c": 24.0,
        "UPS1/alarm": 0.0,
        "UPS1/load_pct": 40.0,
        "UPS1/charge_pct": 100.0,
        "UPS1/input_1_v": 231.0,
        "UPS1/minutes_left": 90.0,
        "UPS1/on_battery_s": 0.0,
    }
    assert haul.unreadable == []
    assert {one.unit for one in haul.readings} == {"state", "W", "Wh", "C", ""}
    assert [(note.device, note.battery_pct, note.online) for note in haul.notes] == [("UPS1", 100.0, True)]


def test_a_ups_that_loses_its_mains_says_so_and_its_battery_runs_down(peer: Agent) -> None:
    for oid, value in (
        (OUTPUT_SOURCE, 5),
        (SECONDS_ON_BATTERY, 40),
        (MINUTES_LEFT, 30),
        (CHARGE_PCT, 20),
        (BATTERY_STATUS, 3),
        (ALARMS, 1),
    ):
        peer.put(oid, value)
    lost = values(polled(peer, UPS))
    assert {name: lost[f"UPS1/{name}"] for name in ("mains", "battery_good", "alarm", "energy_wh")} == {
        "mains": 0.0,
        "battery_good": 0.0,
        "alarm": 1.0,
        "energy_wh": 200.0,  # by its charge: a fifth of 1,000 Wh, less than half an hour of 600 W
    }
    for oid, value in (
        (OUTPUT_SOURCE, 3),
        (SECONDS_ON_BATTERY, 0),
        (MINUTES_LEFT, 90),
        (CHARGE_PCT, 100),
        (BATTERY_STATUS, 2),
        (ALARMS, 0),
    ):
        peer.put(oid, value)
    assert values(polled(peer, UPS))["UPS1/mains"] == 1.0


def test_a_ups_with_other_lines_than_the_map_says_has_no_known_load(peer: Agent) -> None:
    haul = polled(peer, UPS.replace("battery_wh: 1000", "output_lines: 3"))
    assert "UPS1/load_w" not in values(haul)
    assert "UPS1/load_w: has 1 lines of output, the map says 3" in whys(haul)
    assert [why for why in whys(haul) if why.startswith("UPS1/energy_wh")]


# --- Interfaces and other objects -------------------------------------------------------


def test_a_router_tells_which_way_out_works(peer: Agent) -> None:
    assert values(polled(peer, ROUTER, community="router")) == {
        "ROUTER/wan_primary": 1.0,
        "ROUTER/wan_backup": 0.0,
    }
    peer.put(f"{IF_OPER_STATUS}.2", 7, "router")
    peer.put(f"{IF_OPER_STATUS}.3", 4, "router")
    haul = polled(peer, ROUTER, community="router")
    assert values(haul) == {"ROUTER/wan_primary": 0.0}
    assert whys(haul) == ["ROUTER/wan_backup: is neither up nor down"]
    peer.put(f"{IF_OPER_STATUS}.2", 1, "router")
    peer.put(f"{IF_OPER_STATUS}.3", 5, "router")


def test_an_interface_that_was_numbered_anew_is_unknown(peer: Agent) -> None:
    haul = polled(peer, ROUTER.replace("expect: eth0", "expect: eth1"), community="router")
    assert values(haul) == {"ROUTER/wan_backup": 0.0}
    assert whys(haul) == [
        "ROUTER/wan_primary: interface 2 does not call itself eth1: they were numbered anew"
    ]


def test_objects_are_numbers_or_unknown(peer: Agent) -> None:
    base = "1.3.6.1.4.1.8072.9999"
    entries = {
        "tenths": f"oid: {base}.1, scale: 0.1, unit: C",
        "text": f"oid: {base}.2, type: text, unit: C",
        "no_number": f"oid: {base}.3, type: text, unit: C",
        "unmarked": f"oid: {base}.2, unit: C",
        "marked": f"oid: {base}.1, type: text, unit: C",
        "huge": f"oid: {base}.4",
        "sentinel": f"oid: {base}.5, unavailable: [-9999]",
        "identifier": f"oid: {base}.6",
        "address": f"oid: {base}.7",
        "ticks": f"oid: {base}.8, scale: 0.01",
        "nothing": f"oid: {base}.9",
        "absent": f"oid: {base}.99",
        "bounded": f"oid: {base}.1, scale: 0.1, high: 20",
        "state": f"oid: {base}.1, states: {{215: 1}}, unit: state",
        "no_state": f"oid: {base}.1, states: {{3: 1}}, unit: state",
    }
    lines = "".join(f"  - {{name: {name}, {entry}}}\n" for name, entry in entries.items())
    haul = polled(peer, f"device: R\ntimeout_s: 2\noids:\n{lines}", community="router")
    assert values(haul) == {"R/tenths": 21.5, "R/text": 21.75, "R/ticks": 1234.56, "R/state": 1.0}
    assert sorted(whys(haul)) == [
        "R/absent: the agent has no such object",
        "R/address: is text: set type: text",
        "R/bounded: 21.5 lies outside what the map allows",
        "R/huge: is too large to be kept",
        "R/identifier: is text: set type: text",
        "R/marked: is no text: leave type: text out",
        "R/no_number: is no number",
        "R/no_state: the map names no state 215",
        "R/nothing: the agent has no value for it",
        "R/sentinel: the device says that it is not available",
        "R/unmarked: is text: set type: text",
    ]


@pytest.mark.parametrize(
    ("community", "why"),
    [("spoilt", "was refused: authorizationError"), ("nulled", "the agent has no value for it")],
)
def test_an_object_that_spoils_its_request_is_unknown_and_the_others_are_read(
    peer: Agent, community: str, why: str
) -> None:
    lines = "".join(f"  - {{name: o{n}, oid: 1.3.6.1.4.1.8072.9999.{n}}}\n" for n in (1, 2, 3))
    haul = polled(peer, f"device: R\noids:\n{lines}", community=community)
    assert values(haul) == {"R/o1": 215.0, "R/o3": 40.0}
    assert whys(haul) == [f"R/o2: {why}"]


# --- Who asks ---------------------------------------------------------------------------


def test_version_3_asks_with_a_user_and_keys(peer: Agent) -> None:
    text = f"version: 3\ncontext: ups\n{UPS}"
    haul = polled(peer, text, user=USER, auth_key=AUTH_KEY, priv_key=PRIV_KEY)
    assert values(haul)["UPS1/mains"] == 1.0


def test_an_agent_that_wants_more_than_was_offered_says_so(peer: Agent) -> None:
    driver = driver_at(peer.port, f"version: 3\ncontext: ups\n{UPS}", user=USER, auth_key=AUTH_KEY)
    with pytest.raises(GatewayDown, match="security level"):
        driver.poll()
    driver.close()


def test_every_protocol_of_version_3_that_is_offered_is_known() -> None:
    for auth in AUTH:
        for priv in PRIV:
            secret = {"user": "a", "auth_key": "12345678", "priv_key": "12345678"}
            driver_at(161, f"version: 3\n{UPS}", **secret, auth_protocol=auth, priv_protocol=priv)


@pytest.mark.parametrize(
    ("text", "secret", "told"),
    [
        (UPS, {"community": "wrong"}, "community in the credentials"),
        (f"version: 3\ncontext: ups\n{UPS}", {"user": "bob"}, "credentials"),
        (f"version: 3\ncontext: ups\n{UPS}", {"user": USER, "auth_key": "not the key"}, "credentials"),
        (
            f"version: 3\ncontext: ups\n{UPS}",
            {"user": USER, "auth_key": AUTH_KEY, "priv_key": "not the key"},
            "credentials",
        ),
    ],
    ids=["community", "user", "auth_key", "priv_key"],
)
def test_an_agent_that_is_asked_wrongly_is_down_and_no_secret_is_told(
    peer: Agent, text: str, secret: dict[str, str], told: str
) -> None:
    driver = driver_at(peer.port, text, **secret)
    with pytest.raises(GatewayDown, match=told) as down:
        driver.poll()
    driver.close()
    assert not any(
        value in str(down.value) for name, value in secret.items() if name.endswith(("key", "community"))
    )


@pytest.mark.parametrize(
    ("text", "secret", "why"),
    [
        (UPS, {"user": "ana"}, "no community"),
        (f"version: 3\n{UPS}", {}, "needs a user"),
        (f"version: 3\n{UPS}", {"user": "a", "auth_key": "short"}, "auth_key is shorter than the 8"),
        (f"version: 3\n{UPS}", {"user": "a", "priv_key": "12345678"}, "priv_key without auth_key"),
        (
            f"version: 3\n{UPS}",
            {"user": "a", "auth_key": "12345678", "auth_protocol": "rot13"},
            "auth_protocol is none of sha256",
        ),
        ("ups: {output_lines: 4}", {"community": "public"}, "line 1"),
    ],
)
def test_credentials_or_a_map_that_cannot_work_are_told_when_the_driver_is_built(
    text: str, secret: dict[str, str], why: str
) -> None:
    with pytest.raises(CannotBuild, match=why):
        make_driver(gateway_at(161, text), Secret(secret), Taken().deliver, HostClock())


def test_without_pysnmp_the_extra_to_install_is_named_and_maps_are_checked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pysnmp.hlapi.v3arch", None)
    assert gateway_problems(gateway_at(161, UPS)) == []
    with pytest.raises(CannotBuild, match=r"pip install 'coldgrid\[devices\]'"):
        make_driver(gateway_at(161, UPS), Secret({"community": "ups"}), Taken().deliver, HostClock())


def test_a_gateway_is_checked_with_its_map() -> None:
    assert gateway_problems(gateway_at(161, ROUTER)) == []
    assert [(one.field, one.line) for one in gateway_problems(gateway_at(161, "ups: {lines: 2}"))] == [
        ("map.ups.lines", 1)
    ]


# --- A day in its life ---------------------------------------------------------------------


def test_an_agent_that_restarts_is_read_again_and_the_driver_stops_at_once() -> None:
    with agent() as peer:
        taken = Taken()
        driver = make_driver(
            gateway_at(peer.port, UPS.replace("timeout_s: 2", "timeout_s: 0.5")),
            Secret({"community": "ups"}),
            taken.deliver,
            HostClock(),
        )
        driver.start()
        driver.start()
        eventually(lambda: len(taken.hauls) >= 2)
        peer.stop()
        eventually(lambda: "no answer" in driver.state()[1])
        count = len(taken.hauls)
        peer.start()
        eventually(lambda: driver.state()[0] and len(taken.hauls) > count, within_s=180)
        assert values(taken.hauls[-1])["UPS1/mains"] == 1.0
        started = time.monotonic()
        driver.stop()
        assert time.monotonic() - started < 15
        driver.start()
        count = len(taken.hauls)
        eventually(lambda: len(taken.hauls) > count)
        driver.stop()


def test_an_agent_that_hangs_is_down_within_its_time() -> None:
    with agent() as peer:
        driver = driver_at(
            peer.port, UPS.replace("timeout_s: 2", "timeout_s: 0.5\nretries: 0"), community="slow"
        )
        started = time.monotonic()
        with pytest.raises(GatewayDown, match="no answer"):
            driver.poll()
        driver.close()
        assert time.monotonic() - started < 15
