"""What gateways hear that nobody registered, and what devices say of themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from coldgrid.network.sites import SiteNotFound
from coldgrid.telemetry import heard
from coldgrid.telemetry.heard import (
    DEVICES_MAX,
    POINTS_MAX,
    Device,
    DevicesTold,
    Noted,
    NoteHeard,
    Point,
    PointsHeard,
    merged,
    points_of_site,
    worth_telling,
)
from tests.conftest import Kernel
from tests.network.master import put_in_force, small_network
from tests.telemetry.cold_room import at, sensor
from tests.telemetry.test_gateways import gateway
from tests.telemetry.test_ingest import events_of

GW = "ATL1-GW1"


def point(name: str = "R1/air", minute: float = 0, **fields: Any) -> Point:
    told = {"gateway_id": GW, "first_at": at(minute), "last_at": at(minute), "readings": 1, "value": -21.5}
    return Point(point=name, **{**told, "unit": "C", **fields})


def device(minute: float = 0, name: str = "R1", **fields: Any) -> Device:
    return Device(gateway_id=GW, device=name, told_at=at(minute), **fields)


def note(kernel: Kernel, *points: Point, devices: tuple[Device, ...] = (), minute: float = 0) -> Noted:
    noted: Noted = kernel.do(NoteHeard(site_id="ATL1", points=points, devices=devices), at=minute)
    return noted


def test_a_point_nobody_knows_is_listed_with_what_was_heard_of_it(kernel: Kernel) -> None:
    small_network(kernel)
    note(kernel, point(minute=0), point("R1/door", unit="state", value=1.0))
    note(kernel, point(minute=60, readings=59, value=-20.0), minute=60)
    kernel.restart()
    [air, door] = points_of_site(kernel.reader(), "ATL1")
    assert (air.source, air.readings, air.value) == ("ATL1-GW1/R1/air", 60, -20.0)
    assert (air.first_at, air.last_at) == (at(0), at(60))
    assert door.unit == "state"
    kernel.rebuild()


def test_a_registered_point_is_no_longer_listed_and_comes_back_with_its_sensor_gone(kernel: Kernel) -> None:
    small_network(kernel)
    note(kernel, point())
    put_in_force(kernel, gateway(), sensor(source="ATL1-GW1/R1/air"), change_id="change-1")
    assert points_of_site(kernel.reader(), "ATL1") == []
    assert note(kernel, point(minute=5)).points == 0
    put_in_force(kernel, sensor(source="ATL1-GW1/R1/air", active=False), change_id="change-2")
    assert [one.point for one in points_of_site(kernel.reader(), "ATL1")] == ["R1/air"]


def test_the_list_is_bounded_and_who_was_not_heard_for_a_week_makes_room(kernel: Kernel) -> None:
    small_network(kernel)
    assert note(kernel, *(point(f"p{i}") for i in range(POINTS_MAX))).no_room == 0
    told = note(kernel, point("one more", minute=5), point("p3", minute=5), minute=5)
    assert (told.points, told.no_room) == (1, 1)
    week = 7 * 24 * 60
    told = note(kernel, point("one more", minute=week), point("p0", minute=week), minute=week)
    assert (told.points, told.no_room) == (2, 0)
    names = {one.point for one in points_of_site(kernel.reader(), "ATL1")}
    assert len(names) == POINTS_MAX
    assert {"one more", "p0", "p3"} <= names
    assert events_of(kernel, PointsHeard)[-1].forgotten == ("ATL1-GW1/p1",)
    kernel.rebuild()


def test_a_device_is_kept_with_what_it_told_last_of_each_thing(kernel: Kernel) -> None:
    small_network(kernel)
    note(kernel, devices=(device(battery_pct=71.0), device(name="", online=True)))
    note(kernel, devices=(device(10, signal_dbm=-88.0, online=True),), minute=10)
    note(kernel, devices=(device(20, online=True),), minute=20)
    [own, rack] = heard.devices_of_site(kernel.reader(), "ATL1")
    assert (own.device, own.online) == ("", True)
    assert (rack.battery_pct, rack.signal_dbm, rack.online) == (71.0, -88.0, True)
    assert (rack.told_at, rack.online_at) == (at(20), at(10))
    kernel.rebuild()


def test_devices_are_bounded(kernel: Kernel) -> None:
    small_network(kernel)
    told = note(kernel, devices=tuple(device(name=f"d{i}") for i in range(DEVICES_MAX)))
    assert (told.devices, told.no_room) == (DEVICES_MAX, 0)
    told = note(kernel, devices=(device(5, "another"), device(5, "d1", online=False)), minute=5)
    assert (told.devices, told.no_room) == (1, 1)
    assert len(events_of(kernel, DevicesTold)) == 2


def test_there_must_be_a_site(kernel: Kernel) -> None:
    with pytest.raises(SiteNotFound):
        note(kernel, point())


@pytest.mark.parametrize(
    ("now", "news"),
    [
        (device(1, battery_pct=71.0, online=True), False),
        (device(1, battery_pct=60.0), False),
        (device(1, online=False), True),
        (device(1, battery_pct=19.0), True),
        (device(61, battery_pct=70.5), False),
        (device(61, battery_pct=70.0), True),
        (device(61, signal_dbm=-80.0), True),
        (device(61, online=True), False),
        (device(24 * 60, online=True), True),
    ],
    ids=str,
)
def test_only_news_of_a_device_is_told(now: Device, news: bool) -> None:
    before = merged(None, device(0, battery_pct=71.0, online=True))
    assert worth_telling(before, now) is news
    assert worth_telling(None, now)


def test_a_flat_battery_is_told_once_at_each_level() -> None:
    told = [merged(None, device(0, battery_pct=100.0))]
    for i in range(1, 101):
        now = device(i / 10, battery_pct=100.0 - i)
        if worth_telling(told[-1], now):
            told.append(merged(told[-1], now))
    assert [one.battery_pct for one in told] == [100.0, 20.0, 10.0]
    assert told[-1].told_at - told[0].told_at < timedelta(hours=1)
