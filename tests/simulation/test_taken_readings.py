"""The laws about readings that the tower took: they hold for what is there, and can be broken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from coldgrid.telemetry import store
from tests.conftest import Kernel
from tests.simulation.taken_readings import Taken
from tests.telemetry.cold_room import AIR, COLD_C, cold_room, feed, micros, steady

STEADY_E4 = round(COLD_C * 1e4)


@pytest.fixture
def laws(kernel: Kernel) -> Any:
    """Laws about a tower that has ten minutes of a sensor, then ten more half an hour later."""
    cold_room(kernel)
    for start in (0, 40):
        feed(kernel, steady(start, 10))
    tower = SimpleNamespace(reads=kernel.reader)
    site = SimpleNamespace(site_id="ATL1", sensors=(AIR,))
    found: list[str] = []
    told = SimpleNamespace(found=found, readings={}, doubtful=set(), broken=found.append)
    told.world = SimpleNamespace(tower=tower, sites=[site])

    def demand(holds: bool, why: str) -> None:
        if not holds:
            found.append(why)

    told.demand = demand
    return told


def at(minute: float) -> dict[int, int]:
    return {micros(minute): STEADY_E4}


def broken(laws: Any, taken: dict[int, int], acknowledged: dict[int, int] | None = None) -> list[str]:
    ledger = Taken(laws)
    ledger.told[AIR] = taken
    laws.readings[AIR] = acknowledged or {}
    ledger.check()
    found: list[str] = laws.found
    return found


def test_what_the_tower_took_and_has_breaks_no_law(laws: Any) -> None:
    assert broken(laws, at(2) | at(44), at(2)) == []


def test_what_the_tower_took_and_has_no_more_breaks_a_law(laws: Any) -> None:
    [told] = broken(laws, at(2) | at(20))
    assert "lost 1 readings" in told


def test_another_value_than_the_tower_took_breaks_a_law(laws: Any) -> None:
    [told] = broken(laws, {micros(2): STEADY_E4 + 1})
    assert "other values" in told


def test_a_lost_reading_breaks_a_law_unless_a_disk_was_put_back(laws: Any) -> None:
    [told] = broken(laws, {}, at(25))
    assert "not at the tower" in told
    laws.found.clear()
    laws.doubtful.add("ATL1")
    assert broken(laws, {}, at(25)) == [], "its air is unknown"


def test_a_lost_reading_whose_air_counts_as_known_breaks_a_law(
    laws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it would be if silence were bridged for longer than it is."""
    laws.doubtful.add("ATL1")
    monkeypatch.setattr("tests.simulation.taken_readings.BRIDGED_MIN", 60.0)
    [told] = broken(laws, {}, at(25))
    assert "counts as known" in told


def test_sums_that_count_a_reading_twice_break_a_law(laws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rollups = store.rollups

    def twice(*args: Any) -> Any:
        return [SimpleNamespace(readings=2 * one.readings) for one in rollups(*args)]

    monkeypatch.setattr(store, "rollups", twice)
    [told] = broken(laws, {})
    assert "sums of 40" in told
