"""Flaws of devices: what is told before anything fails, and what is left unsaid because nobody knows it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.telemetry.flaws import (
    BATTERY_GOOD_PCT,
    BATTERY_LOW_PCT,
    Flaw,
    FlawEnded,
    FlawFound,
    LookAfterDevices,
    Means,
    battery_flaw,
    drifted,
    drifts_c,
    due_in_days,
    flaws_of_site,
    signal_flaw,
)
from coldgrid.telemetry.ingest import columns_of
from coldgrid.telemetry.sensors import Calibration
from tests.conftest import T0, Kernel
from tests.network.master import put_in_force, small_network
from tests.telemetry.cold_room import sensor
from tests.telemetry.test_gateways import gateway
from tests.telemetry.test_heard import device, note
from tests.telemetry.test_ingest import events_of

NAMES = [f"ATL1-FRZ1-T{number}" for number in range(1, 5)]
TODAY = T0.date()


def certificate(due_on: date, **fields: Any) -> Calibration:
    told = {
        "certificate_id": "C1",
        "lab": "Lab",
        "calibrated_on": due_on - timedelta(days=365),
        "due_on": due_on,
        "uncertainty": 0.1,
        "tolerance": 0.5,
        "as_found_error": 0.0,
        "as_left_error": 0.0,
    }
    return Calibration(**{**told, **fields})


# --- Rules --------------------------------------------------------------------------


@given(st.floats(0, 100), st.booleans())
def test_a_battery_is_low_below_one_bound_and_good_again_only_above_a_higher_one(
    pct: float, standing: bool
) -> None:
    low = battery_flaw(pct, standing)
    assert low is (pct <= BATTERY_LOW_PCT) if not standing else low is (pct <= BATTERY_GOOD_PCT)


def test_what_a_device_does_not_tell_is_neither_a_flaw_nor_the_end_of_one() -> None:
    assert battery_flaw(None, standing=True) is None
    assert signal_flaw(None, standing=False) is None


@pytest.mark.parametrize(("days", "told"), [(31, None), (30, 30), (0, 0), (-4, -4)])
def test_a_certificate_is_told_a_month_before_it_ends_and_ever_after(days: int, told: int | None) -> None:
    assert due_in_days(certificate(TODAY + timedelta(days=days)), TODAY) == told
    assert due_in_days(None, TODAY) is None


def test_of_two_sensors_nobody_can_tell_which_one_drifts() -> None:
    assert drifts_c({"A": Means(-19.0, -21.0), "B": Means(-21.0, -21.0)}) == {}


@given(
    places=st.lists(st.floats(-3, 3), min_size=3, max_size=6),
    weather=st.floats(-10, 10),
    off=st.floats(-5, 5),
)
def test_a_drift_is_the_sensors_own_wherever_it_stands_and_whatever_the_zone_does(
    places: list[float], weather: float, off: float
) -> None:
    means = {
        str(number): Means(-21 + place + weather + (off if number == 0 else 0), -21 + place)
        for number, place in enumerate(places)
    }
    drifts = drifts_c(means)
    assert drifts["0"] == pytest.approx(off, abs=1e-9)
    assert all(abs(drift) < 1e-9 for name, drift in drifts.items() if name != "0")


def test_a_drift_counts_from_half_a_degree_or_twice_the_uncertainty_of_the_certificate() -> None:
    assert not drifted(0.5, None)
    assert drifted(-0.6, None)
    assert not drifted(0.6, certificate(TODAY, uncertainty=0.4))
    assert drifted(0.9, certificate(TODAY, uncertainty=0.4))


# --- Looking --------------------------------------------------------------------------


def look(kernel: Kernel, minute: float = 0) -> tuple[int, int]:
    answer = kernel.do(LookAfterDevices(site_id="ATL1"), at=minute)
    return answer.found, answer.ended


def bound(name: str, point: str, **fields: Any) -> dict[str, Any]:
    return sensor(name, source=f"ATL1-GW1/{point}", **fields)


def test_a_low_battery_is_found_once_and_ends_when_it_was_changed(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway(), bound(NAMES[0], "R1/air"))
    note(kernel, devices=(device(battery_pct=12.0, signal_dbm=-80.0),))
    assert look(kernel) == (1, 0)
    assert look(kernel, 60) == (0, 0)
    [found] = events_of(kernel, FlawFound)
    assert (found.subject, found.flaw, found.value) == ("ATL1-GW1/R1", Flaw.BATTERY, 12.0)
    assert (found.zone_id, found.sensors) == ("ATL1-FRZ1", [NAMES[0]])
    note(kernel, devices=(device(120, battery_pct=25.0),), minute=120)
    assert look(kernel, 120) == (0, 0), "a little more is no new battery"
    note(kernel, devices=(device(180, battery_pct=100.0),), minute=180)
    assert look(kernel, 180) == (0, 1)
    assert flaws_of_site(kernel.reader(), "ATL1") == []
    kernel.rebuild()


def test_a_flaw_of_a_gateway_itself_stands_as_long_as_it_is_so(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway())
    note(kernel, devices=(device(name="", battery_pct=12.0),))
    assert look(kernel) == (1, 0)
    assert look(kernel, 60) == (0, 0)
    [standing] = flaws_of_site(kernel.reader(), "ATL1")
    assert standing.subject == "ATL1-GW1"


def test_a_radio_that_is_hardly_heard_is_found(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway(), bound(NAMES[0], "R1/air"))
    note(kernel, devices=(device(signal_dbm=-121.0),))
    assert look(kernel) == (1, 0)
    [standing] = flaws_of_site(kernel.reader(), "ATL1")
    assert (standing.flaw, standing.value) == (Flaw.SIGNAL, -121.0)


def test_two_flaws_of_a_device_are_both_of_its_zone(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, gateway(), bound(NAMES[0], "R1/air"))
    note(kernel, devices=(device(battery_pct=12.0, signal_dbm=-121.0),))
    assert look(kernel) == (2, 0)
    assert {one.zone_id for one in flaws_of_site(kernel.reader(), "ATL1")} == {"ATL1-FRZ1"}


def test_a_device_that_is_no_sensor_has_no_flaw_however_many_are_heard(kernel: Kernel) -> None:
    """Whoever reaches the broker may name devices; a neighbour's battery is nobody's task here."""
    small_network(kernel)
    put_in_force(kernel, gateway(), bound(NAMES[0], "R1/air"))
    strangers = [device(name=f"S{number}", battery_pct=3.0) for number in range(50)]
    note(kernel, devices=(device(battery_pct=12.0), *strangers))
    assert look(kernel) == (1, 0)
    put_in_force(kernel, bound(NAMES[0], "R1/air", active=False), change_id="out-of-use")
    assert look(kernel, 60) == (0, 1), "it is no sensor any more"


def test_a_certificate_that_ends_is_found_and_a_new_one_ends_the_flaw(kernel: Kernel) -> None:
    small_network(kernel)
    due = {"lab": "Lab", "uncertainty": 0.1, "tolerance": 0.5, "as_found_error": 0.0, "as_left_error": 0.0}
    first = {**due, "certificate_id": "C1", "calibrated_on": "2025-03-10", "due_on": "2026-03-10"}
    put_in_force(kernel, sensor(NAMES[0], calibration=first), sensor(NAMES[1]))
    assert look(kernel) == (1, 0), "of a sensor without a certificate nothing is known"
    second = {**due, "certificate_id": "C2", "calibrated_on": "2026-03-01", "due_on": "2027-03-01"}
    put_in_force(kernel, sensor(NAMES[0], calibration=second), change_id="second")
    assert look(kernel, 60) == (0, 1)


def test_a_flaw_of_a_sensor_that_is_out_of_use_ends(kernel: Kernel) -> None:
    small_network(kernel)
    due = {"lab": "Lab", "uncertainty": 0.1, "tolerance": 0.5, "as_found_error": 0.0, "as_left_error": 0.0}
    first = {**due, "certificate_id": "C1", "calibrated_on": "2025-03-10", "due_on": "2026-03-10"}
    put_in_force(kernel, sensor(NAMES[0], calibration=first))
    assert look(kernel) == (1, 0)
    put_in_force(kernel, sensor(NAMES[0], calibration=first, active=False), change_id="second")
    assert look(kernel, 60) == (0, 1)


def days_of_readings(kernel: Kernel, names: list[str], days: int, off_c: float, off_days: int) -> None:
    """Half-hourly readings up to midnight; the first sensor is off in the last days."""
    midnight = datetime.combine(TODAY, datetime.min.time(), UTC)
    steps = np.arange(days * 48)
    at_us = int(midnight.timestamp() * 1e6) - (days * 48 - steps) * 1_800_000_000
    for number, name in enumerate(names):
        value = -21 + 0.3 * number + 0.2 * np.sin(steps / 5)
        if number == 0:
            value = value + np.where(steps >= (days - off_days) * 48, off_c, 0.0)
        told = columns_of("ATL1", [name], np.zeros(len(steps), dtype=np.int64), at_us, value)
        assert kernel.do(told).stored == len(steps)


def test_a_sensor_that_moves_away_from_the_others_is_found_and_ends_with_a_new_certificate(
    kernel: Kernel,
) -> None:
    small_network(kernel)
    put_in_force(kernel, *(sensor(name, interval_s=1_800) for name in NAMES))
    days_of_readings(kernel, NAMES, days=14, off_c=0.9, off_days=3)
    assert look(kernel) == (1, 0)
    [found] = events_of(kernel, FlawFound)
    assert (found.subject, found.flaw) == (NAMES[0], Flaw.DRIFT)
    assert found.value == pytest.approx(0.9, abs=0.05)
    assert look(kernel, 60) == (0, 0)
    fresh = {
        "certificate_id": "C1",
        "lab": "Lab",
        "calibrated_on": TODAY.isoformat(),
        "due_on": "2027-03-01",
        "uncertainty": 0.1,
        "tolerance": 0.5,
        "as_found_error": 0.9,
        "as_left_error": 0.0,
    }
    put_in_force(kernel, sensor(NAMES[0], interval_s=1_800, calibration=fresh), change_id="second")
    assert look(kernel, 120) == (0, 1)
    [ended] = events_of(kernel, FlawEnded)
    assert ended.flaw is Flaw.DRIFT
    kernel.rebuild()


@pytest.mark.parametrize(("names", "days"), [(NAMES[:2], 14), (NAMES, 6)])
def test_too_few_sensors_or_days_tell_no_drift(kernel: Kernel, names: list[str], days: int) -> None:
    small_network(kernel)
    put_in_force(kernel, *(sensor(name, interval_s=1_800) for name in names))
    days_of_readings(kernel, names, days=days, off_c=2.0, off_days=3)
    assert look(kernel) == (0, 0)
