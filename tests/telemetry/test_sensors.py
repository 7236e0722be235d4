"""Sensors as master data: what is refused, with every problem at once, and what readers find."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.network.change_rules import DraftChange
from coldgrid.telemetry.alarm_rules import SensorSilent
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import (
    SensorNotFound,
    get_sensor,
    list_sensors,
    sensors_covering,
    sensors_of_site,
    sensors_of_zone,
)
from tests.conftest import Kernel
from tests.network.master import Raw, location, put_in_force, small_network
from tests.telemetry.cold_room import AIR, AIR_2, DOOR, at, cold_room, device, feed, sensor, steady
from tests.telemetry.test_ingest import events_of

CALIBRATION = {
    "certificate_id": "C-1",
    "lab": "Lab",
    "calibrated_on": "2026-01-05",
    "due_on": "2027-01-05",
    "uncertainty": 0.1,
    "tolerance": 0.5,
    "as_found_error": 0.2,
    "as_left_error": 0.0,
}


def refused(kernel: Kernel, item: Raw) -> set[str]:
    with pytest.raises(Invalid) as caught:
        kernel.do(DraftChange(change_id="change-x", items=[item], reason="a new sensor"))
    return {problem.field.removeprefix("items[0].") for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"sensor_id": "ATL1-FRZ1-thermo"}, "sensor_id"),
        ({"zone_id": "ATL1-CHL1"}, "sensor_id"),
        ({"site_id": "CLT1"}, "zone_id"),
        ({"covers": ["ATL1-CHL1-A01-01"]}, "covers[0]"),
        ({"covers": ["ATL1-FRZ1-Z99-99"]}, "covers[0]"),
        ({"unit": "%"}, "unit"),
        ({"unit": "kelvin"}, "unit"),
        ({"quantity": "state", "unit": "state"}, "quantity"),
        ({"role": "door"}, "quantity"),
        ({"valid_low": 80, "valid_high": -80}, "valid_low"),
        ({"valid_high": 1e12}, "valid_low"),
        ({"interval_s": 0}, "interval_s"),
        ({"calibration": CALIBRATION | {"due_on": "2025-01-01"}}, "calibration.due_on"),
        ({"calibration": CALIBRATION | {"uncertainty": -1}}, "calibration.uncertainty"),
        ({"rules": {"band_min": -1}}, "rules.band_min"),
        ({"rules": {"band_min": 1e9}}, "rules.band_min"),
        ({"rules": {"hysteresis_c": -1}}, "rules.hysteresis_c"),
        ({"rules": {"rate_slow_c_per_h": 0}}, "rules.rate_slow_c_per_h"),
        ({"rules": {"low_c": 5, "high_c": 1}}, "rules.low_c"),
        ({"rules": {"bandmin": 5}}, "rules.bandmin"),
    ],
    ids=str,
)
def test_a_wrong_sensor_names_its_field(kernel: Kernel, fields: dict[str, Any], field: str) -> None:
    small_network(kernel)
    assert field in refused(kernel, sensor(**fields))
    assert list_sensors(kernel.reader()) == []


def test_everything_wrong_is_told_at_once(kernel: Kernel) -> None:
    small_network(kernel)
    wrong = sensor(unit="%", valid_low=90, rules={"band_min": -1})
    assert refused(kernel, wrong) >= {"unit", "valid_low", "rules.band_min"}


def test_sensors_are_found_by_zone_site_and_location(kernel: Kernel) -> None:
    cold_room(kernel)
    put_in_force(
        kernel,
        location("ATL1-FRZ1-A01-03"),
        sensor("ATL1-FRZ1-P1", role="product_probe", covers=["ATL1-FRZ1-A01-02"], calibration=CALIBRATION),
        change_id="change-more",
    )
    reader = kernel.reader()
    assert [one.sensor_id for one in sensors_of_zone(reader, "ATL1-FRZ1")] == [
        DOOR,
        "ATL1-FRZ1-P1",
        AIR,
        AIR_2,
    ]
    assert len(sensors_of_site(reader, "ATL1")) == 4
    covering = {one.sensor_id for one in sensors_covering(reader, "ATL1-FRZ1-A01-02")}
    assert covering == {AIR, AIR_2, "ATL1-FRZ1-P1"}
    assert "ATL1-FRZ1-P1" not in {one.sensor_id for one in sensors_covering(reader, "ATL1-FRZ1-A01-03")}
    probe = get_sensor(reader, "ATL1-FRZ1-P1")
    assert probe.role is Role.PRODUCT_PROBE
    assert probe.calibration is not None
    assert probe.calibration.lab == "Lab"
    with pytest.raises(SensorNotFound):
        get_sensor(reader, "ATL1-FRZ1-P9")
    kernel.rebuild()


def test_an_inactive_sensor_is_no_longer_listened_to(kernel: Kernel) -> None:
    cold_room(kernel)
    feed(kernel, steady(0, 5))
    put_in_force(kernel, sensor(active=False), change_id="change-off")
    assert feed(kernel, steady(5, 5)).refused == {"unknown": 5}
    kernel.advance(60)
    assert events_of(kernel, SensorSilent) == []
    put_in_force(kernel, sensor(), change_id="change-on")
    assert feed(kernel, steady(100, 5)).stored == 5


def test_a_device_reports_a_state(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, device("ATL1-FRZ1-C1", role="compressor"), change_id="change-c")
    assert get_sensor(kernel.reader(), "ATL1-FRZ1-C1").interval_s == timedelta(days=1) / timedelta(seconds=1)
    assert feed(kernel, [("ATL1-FRZ1-C1", 0, 2.0)]).stored == 1
    assert kernel.host.instant == at(0)
