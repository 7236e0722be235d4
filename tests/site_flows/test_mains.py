"""Nights without mains: one incident, however many sensors are silent, and a battery emptied in order."""

from __future__ import annotations

from typing import Any

from coldgrid.orchestration.incidents import (
    Incident,
    IncidentNoted,
    IncidentOpened,
    Severity,
    Status,
    closed_incidents,
    open_incident_of,
    open_incidents,
)
from coldgrid.orchestration.playbooks import AnswerStep
from coldgrid.orchestration.tasks import open_tasks
from coldgrid.site_flows import mains, wan
from coldgrid.telemetry.alarm_rules import AlarmRaised
from coldgrid.telemetry.signals import SignalChanged, signals_of_site
from tests.conftest import Kernel
from tests.quality.night import ZONE, minutes_now, open_freezer, read, sensor, steady, told
from tests.stock.world import SITE

CHILLER = f"{SITE}-CHL1"
FREEZER = (f"{ZONE}-T1", f"{ZONE}-T2")
COOLER = (f"{CHILLER}-T1", f"{CHILLER}-T2")
MAINS, LOAD, ENERGY = (f"{ZONE}-W{number}" for number in (1, 2, 3))
LINE, SPARE = f"{ZONE}-N1", f"{ZONE}-N2"
STATE = {"quantity": "state", "unit": "state"}
ORDER = [{"name": "screens", "needs_s": 60, "to": "shutdown/screens"}, {"name": "the node", "needs_s": 120}]


def open_site(kernel: Kernel) -> None:
    """A freezer with two sensors on two outlets, a chiller with two on one, an office UPS, two lines."""
    open_freezer(
        kernel,
        sensors=(
            sensor(FREEZER[0], circuit="FRZ/1"),
            sensor(FREEZER[1], circuit="FRZ/2"),
            *(sensor(each, circuit="CHL/1") for each in COOLER),
            sensor(MAINS, role="ups_mains", circuit="OFFICE/1", shutdown=ORDER, **STATE),
            sensor(LOAD, role="ups_load_w", circuit="OFFICE/1", quantity="power", unit="W", valid_high=5_000),
            sensor(
                ENERGY,
                role="ups_energy_wh",
                circuit="OFFICE/1",
                quantity="energy",
                unit="Wh",
                valid_high=9_000,
            ),
            sensor(LINE, role="wan_primary", **STATE),
            sensor(SPARE, role="wan_backup", **STATE),
        ),
    )


def minute(
    kernel: Kernel,
    until: float,
    *,
    dead: tuple[str, ...] = (),
    ups: bool = True,
    wh: float = 400,
    w: float = 300,
    lines: tuple[int, int] = (1, 1),
) -> None:
    """Let everything report every minute but what is dead; on battery its energy goes down by its load."""
    at = minutes_now(kernel)
    began = at
    while at < until:
        kernel.advance(1)
        at = minutes_now(kernel)
        speaking = [one for one in (*FREEZER, *COOLER) if one not in dead]
        air = [(one, at, steady(at) if one in FREEZER else 3.0 + 0.02 * (at % 3)) for one in speaking]
        left_wh = wh if ups else max(0.0, wh - w * (at - began) / 60)
        supply = [(MAINS, at, float(ups)), (LOAD, at, w), (ENERGY, at, left_wh)]
        read(kernel, [*air, *supply, (LINE, at, float(lines[0])), (SPARE, at, float(lines[1]))])


def power_incident(kernel: Kernel) -> Incident | None:
    return open_incident_of(kernel.reader(), SITE, "", mains.asset_of(SITE))


class TestRoom:
    def test_a_dead_room_is_one_incident_and_no_faulty_sensor(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 40, dead=FREEZER)
        (incident,) = open_incidents(kernel.reader())
        assert incident.title == "Mains lost in room FRZ"
        assert (incident.zone_id, incident.playbook) == ("", "mains-lost")
        assert incident.facts["silent_sensors"] == 2
        assert incident.facts["zones"] == [ZONE]
        assert incident.severity is Severity.EXCURSION_RISK  # goods whose time nobody can tell stand there
        assert len(told(kernel, AlarmRaised)) == 2
        kernel.rebuild()

    def test_one_silent_sensor_in_a_living_room_is_a_faulty_sensor(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 40, dead=FREEZER[:1])
        (incident,) = open_incidents(kernel.reader())
        assert (incident.zone_id, incident.playbook) == (ZONE, "sensor-fault")

    def test_an_outlet_with_no_goods_at_it_is_told_and_wakes_nobody_for_goods(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 40, dead=COOLER)
        (incident,) = open_incidents(kernel.reader())
        assert incident.title == "Mains lost at outlet CHL/1"
        assert incident.severity is Severity.INFORMATIONAL

    def test_when_the_goods_grace_is_over_somebody_is_asked_to_measure(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 120, dead=FREEZER)
        blind = open_incident_of(kernel.reader(), SITE, ZONE)
        assert blind is not None
        assert blind.playbook == "sensor-fault"
        assert sum(isinstance(event, IncidentOpened) for _, event in kernel.events()) == 2

    def test_when_it_is_back_the_playbook_asks_for_a_look_and_then_closes(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 40, dead=FREEZER)
        minute(kernel, 43)
        incident = power_incident(kernel)
        assert incident is not None
        assert incident.status is Status.RECOVERED
        (task,) = [one for one in open_tasks(kernel.reader()) if one.step == "check"]
        kernel.do(
            AnswerStep(site_id=SITE, run_id=task.run_id, step="check", answer="cooling"),
            actor="olga",
            roles={"operator"},
        )
        assert open_incidents(kernel.reader()) == []

    def test_a_sensor_that_stays_silent_after_the_mains_are_back_is_the_sensor(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 40, dead=FREEZER)
        minute(kernel, 60, dead=FREEZER[:1])
        blind = open_incident_of(kernel.reader(), SITE, ZONE)
        assert blind is not None
        assert blind.playbook == "sensor-fault"


class TestSite:
    def test_the_ups_tells_at_once_and_the_devices_say_how_far_it_reaches(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 31, dead=(*FREEZER, *COOLER), ups=False)
        first = power_incident(kernel)
        assert first is not None
        assert first.title == f"A UPS of {SITE} runs on its battery"
        minute(kernel, 34, dead=(*FREEZER, *COOLER), ups=False, wh=395)
        site = power_incident(kernel)
        assert site is not None
        assert site.title == f"Mains lost at {SITE}, the whole site"
        assert site.severity is Severity.EXCURSION_RISK
        minute(kernel, 40, dead=(*FREEZER, *COOLER), ups=False, wh=380)
        assert [one.incident_id for one in open_incidents(kernel.reader())] == [first.incident_id]
        last = power_incident(kernel)
        assert last is not None
        assert (site.facts["battery_min"], last.facts["battery_min"]) == (75, 60)
        kernel.rebuild()

    def test_a_pulled_plug_is_an_outlet(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 34, ups=False)
        incident = power_incident(kernel)
        assert incident is not None
        assert incident.title == "Mains lost at outlet OFFICE/1"

    def test_the_shutdown_runs_in_its_order_before_the_battery_ends(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        # 60 Wh at 600 W: six minutes, and the order needs three and its reserve of two
        minute(kernel, 36, dead=(*FREEZER, *COOLER), ups=False, wh=60, w=600)
        notes = [event.text for event in told(kernel, IncidentNoted)]
        steps = [note.split(",")[0].removeprefix("Shutdown begun: ") for note in notes]
        assert steps == ["screens", "the node"]
        (switch,) = [one for one in kernel.effects() if one.channel == "siren" and "shutdown" in str(one)]
        assert switch.about.startswith("incident/")
        incident = power_incident(kernel)
        assert incident is not None
        assert incident.facts["shutdown_begun"] == {MAINS: 2}
        began = len(notes)
        minute(kernel, 38, ups=True)
        assert len(told(kernel, IncidentNoted)) == began
        back = power_incident(kernel)
        assert back is not None
        assert back.facts["shutdown_begun"] == {}

    def test_a_step_that_is_due_in_an_instant_stops_no_clock(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        # what is left is just what the order and its reserve need, but for a billionth
        minute(kernel, 31, dead=(*FREEZER, *COOLER), ups=False, wh=80 / 3 + 5.0000001 * 5, w=300)
        assert kernel.advance(1) < 100

    def test_a_battery_at_half_the_load_lasts_twice_as_long(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 30)
        minute(kernel, 36, dead=(*FREEZER, *COOLER), ups=False, wh=60, w=150)
        assert told(kernel, IncidentNoted) == []


class TestSignals:
    def test_a_change_is_recorded_once(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 10)
        minute(kernel, 12, ups=False)
        minute(kernel, 14)
        mains_told = [event.good for event in told(kernel, SignalChanged) if event.sensor_id == MAINS]
        assert mains_told == [True, False, True]
        kernel.restart()
        minute(kernel, 16)
        assert [s.good for s in signals_of_site(kernel.reader(), SITE)] == [True, True, True]
        assert len([e for e in told(kernel, SignalChanged) if e.sensor_id == MAINS]) == 3
        kernel.rebuild()

    def test_a_ups_that_has_its_mains_for_days_is_not_stuck(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 200)
        assert told(kernel, AlarmRaised) == []


class TestWaysOut:
    def incident(self, kernel: Kernel) -> Any:
        return open_incident_of(kernel.reader(), SITE, "", wan.asset_of(SITE))

    def test_with_a_backup_that_carries_it_is_for_the_record_and_ends_by_itself(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 10)
        minute(kernel, 12, lines=(0, 1))
        assert self.incident(kernel).severity is Severity.INFORMATIONAL
        minute(kernel, 14)
        assert self.incident(kernel) is None
        (closed,) = closed_incidents(kernel.reader())
        assert closed.title == f"{SITE} runs on its backup line"

    def test_without_any_way_out_somebody_acts_and_no_mains_are_blamed(self, kernel: Kernel) -> None:
        open_site(kernel)
        minute(kernel, 10)
        minute(kernel, 12, lines=(0, 1))
        minute(kernel, 14, lines=(0, 0))
        assert self.incident(kernel).severity is Severity.OPERATOR_ACTIONABLE
        assert power_incident(kernel) is None
        minute(kernel, 16, lines=(0, 1))
        assert self.incident(kernel).severity is Severity.INFORMATIONAL
