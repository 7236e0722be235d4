"""From a point that was heard to a sensor: what is suggested, and who may."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.rejections import Forbidden, Invalid
from coldgrid.network.change_rules import ApproveChange, RejectChange
from coldgrid.telemetry.gateways import GatewayNotFound
from coldgrid.telemetry.heard import Point
from coldgrid.telemetry.quantities import Quantity
from coldgrid.telemetry.registering import (
    PointDrafted,
    PointNotNamed,
    Registered,
    RegisterPoint,
    free_name,
    suggest,
)
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import get_sensor
from tests.conftest import T0, Kernel
from tests.network.master import put_in_force, small_network
from tests.telemetry.cold_room import AIR, sensor
from tests.telemetry.test_gateways import gateway
from tests.telemetry.test_heard import note, point

FREEZER = "ATL1-FRZ1"


def heard(name: str, unit: str = "", value: float = -21.5, **fields: Any) -> Point:
    return point(name, unit=unit, value=value, **fields)


@pytest.mark.parametrize(
    ("heard_point", "role", "quantity", "unit"),
    [
        (heard("rack1/temperature", "C"), "zone_air", "temperature", "C"),
        (heard("rack1/temperature", "degF"), "zone_air", "temperature", "F"),
        (heard("RACK1/return_air", "C"), "return_air", "temperature", "C"),
        (heard("rack1/supplyTemp", "C"), "supply_air", "temperature", "C"),
        (heard("rack1/glycol", "C"), "buffered", "temperature", "C"),
        (heard("0x158d/humidity", "%", 61.0), "zone_air", "humidity", "%"),
        (heard("0x158d/hum", "", 61.0), "zone_air", "humidity", "%"),
        (heard("rack1/door", "state", 0.0), "door", "state", "state"),
        (heard("rack1/contact", "", 1.0), "door", "state", "state"),
        (heard("case4/defrost_active", "state", 1.0), "defrost", "state", "state"),
        (heard("case4/value", "", 7.0), None, "temperature", "C"),
        (heard("case4/switch", "state", 1.0), None, "temperature", "C"),
        (heard("ups/load", "W", 850.0), "ups_load_w", "power", "W"),
        (heard("ups/left", "Wh", 850.0), "ups_energy_wh", "energy", "Wh"),
        (heard("rack1/temp"), "zone_air", "temperature", "C"),
        (heard("UPS1/battery_c", "C", 24.0), None, "temperature", "C"),
    ],
    ids=str,
)
def test_what_a_point_probably_is(heard_point: Point, role: str | None, quantity: str, unit: str) -> None:
    suggested = suggest(heard_point)
    assert suggested.role == role
    assert (suggested.quantity, suggested.unit) == (quantity, unit)


@pytest.mark.parametrize(
    ("readings", "hours", "interval_s"), [(1, 0, 60), (2, 1, 60), (61, 1, 90), (5, 1, 1_350)]
)
def test_how_often_it_reports_is_measured_with_slack(readings: int, hours: int, interval_s: float) -> None:
    one = heard("a/temp", "C", readings=readings, last_at=T0 + timedelta(hours=hours))
    assert suggest(one).interval_s == interval_s


def test_names_follow_the_standard_and_are_free() -> None:
    assert free_name(FREEZER, Role.ZONE_AIR, Quantity.TEMPERATURE, {f"{FREEZER}-T1"}) == f"{FREEZER}-T2"
    assert free_name(FREEZER, Role.DOOR, Quantity.STATE, set()) == f"{FREEZER}-D1"
    assert free_name(FREEZER, Role.ZONE_AIR, Quantity.HUMIDITY, set()) == f"{FREEZER}-H1"
    with pytest.raises(Invalid):
        free_name(FREEZER, Role.DOOR, Quantity.STATE, {f"{FREEZER}-D{i}" for i in range(100)})


def ask(
    kernel: Kernel, source: str = "ATL1-GW1/rack1/temperature", role: str = "admin", **more: Any
) -> Registered:
    command = RegisterPoint(change_id="change-r", source=source, zone_id=FREEZER, **more)
    registered: Registered = kernel.do(command, actor="rita", roles={role})
    return registered


def test_who_may_approve_only_with_somebody_else_drafts(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway(), sensor(), change_id="change-gw")
    note(kernel, point("rack1/temperature"))
    registered = ask(kernel)
    assert (registered.sensor_id, registered.approved) == ("ATL1-FRZ1-T2", False)
    assert "someone other" in registered.why
    kernel.do(ApproveChange(change_id="change-r", reason="seen it"), actor="ana")
    made = get_sensor(kernel.reader(), "ATL1-FRZ1-T2")
    assert (made.source, made.role) == ("ATL1-GW1/rack1/temperature", Role.ZONE_AIR)
    assert made.interval_s == 7.5  # its gateway is polled every 5 s


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"zone_id": "CLT1-FRZ1"}, "zone_id"),
        ({"sensor_id": "thermo"}, "sensor_id"),
        ({"source": "ATL1-GW1/case/value"}, "role"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_by_its_field(kernel: Kernel, fields: dict[str, Any], wrong: str) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway(), sensor(AIR), change_id="change-gw")
    with pytest.raises(Invalid) as caught:
        kernel.do(
            RegisterPoint(**{"change_id": "c", "source": "ATL1-GW1/a/temp", "zone_id": FREEZER, **fields})
        )
    assert wrong in {problem.field for problem in caught.value.problems}


def test_a_source_without_gateway_or_point_is_refused(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway(), change_id="change-gw")
    with pytest.raises(GatewayNotFound):
        ask(kernel, "ATL1-GW9/a")
    with pytest.raises(PointNotNamed):
        ask(kernel, "ATL1-GW1")


def test_a_point_that_waits_for_approval_is_not_drafted_under_a_second_name(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway(), sensor(), change_id="change-gw")
    note(kernel, point("rack1/temperature"))
    first = ask(kernel)
    again = RegisterPoint(change_id="change-2", source="ATL1-GW1/rack1/temperature", zone_id=FREEZER)
    with pytest.raises(PointDrafted) as caught:
        kernel.do(again, actor="rita", roles={"admin"})
    assert caught.value.facts == {
        "source": again.source,
        "sensor_id": first.sensor_id,
        "change_id": first.change_id,
    }
    kernel.do(RejectChange(change_id=first.change_id, reason="the wrong shelf"), actor="ana")
    registered: Registered = kernel.do(again, actor="rita", roles={"admin"})
    assert registered.change_id == "change-2"


def test_an_operator_registers_nothing_and_a_planner_drafts(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway(), sensor(), change_id="change-gw")
    kernel.host.authorizer = CedarAuthorizer()
    with pytest.raises(Forbidden):
        ask(kernel, role="operator")
    assert ask(kernel, role="planner").approved is False
