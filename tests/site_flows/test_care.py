"""Signs that a device is failing: a task for somebody, an end by itself, and nobody woken."""

from __future__ import annotations

from typing import Any

from coldgrid.orchestration.incidents import Incident, IncidentOpened, Severity, Status, closed_incidents
from coldgrid.orchestration.incidents import open_incident_of as incident_of
from coldgrid.orchestration.page_book import PageSent
from coldgrid.orchestration.playbooks import AnswerStep
from coldgrid.orchestration.tasks import Task, open_tasks
from coldgrid.stock.pauses import ZonePaused
from coldgrid.telemetry.gateways import DriverForm, driver_forms, register_form
from coldgrid.telemetry.heard import Device, NoteHeard
from tests.conftest import T0, Kernel
from tests.network.master import put_in_force
from tests.quality.night import FIRST_SENSOR, SENSORS, open_freezer, sensor, told
from tests.stock.world import SITE

GW = f"{SITE}-GW1"
SUBJECT = f"{GW}/R1"
GATEWAY = {
    "kind": "gateway",
    "gateway_id": GW,
    "site_id": SITE,
    "driver": "trial",
    "address": "trial://10.0.0.7:502",
    "every_s": 5,
}
if "trial" not in driver_forms():
    register_form(DriverForm("trial", ("trial",), True, lambda text: []))


def open_site(kernel: Kernel) -> None:
    open_freezer(kernel, sensors=tuple(sensor(each) for each in SENSORS))
    put_in_force(kernel, GATEWAY, sensor(FIRST_SENSOR, source=f"{SUBJECT}/air"), change_id="gateway")


def say(kernel: Kernel, minute: float, **said: Any) -> None:
    one = Device(gateway_id=GW, device="R1", told_at=T0, **said)
    kernel.do(NoteHeard(site_id=SITE, devices=(one,)), at=minute)


def incident(kernel: Kernel) -> Incident | None:
    return incident_of(kernel.reader(), SITE, "", SUBJECT)


def tasks(kernel: Kernel) -> list[Task]:
    return [task for task in open_tasks(kernel.reader()) if task.site_id == SITE]


def test_a_low_battery_is_a_task_for_a_technician_and_wakes_nobody(kernel: Kernel) -> None:
    open_site(kernel)
    say(kernel, 1, battery_pct=14.0)
    found = incident(kernel)
    assert found is not None
    assert (found.severity, found.title) == (Severity.INFORMATIONAL, f"{SUBJECT}: its battery is at 14 %")
    assert found.picture.next_step == f"Change the battery of {SUBJECT}"
    [task] = tasks(kernel)
    assert (task.role, task.title) == ("technician", f"{SUBJECT}: its battery is at 14 %")
    assert told(kernel, PageSent) == []
    assert told(kernel, ZonePaused) == []


def test_the_task_is_done_and_the_incident_closes(kernel: Kernel) -> None:
    open_site(kernel)
    say(kernel, 1, battery_pct=14.0)
    [task] = tasks(kernel)
    answer = AnswerStep(
        site_id=SITE, run_id=task.run_id, step=task.step, answer="done", values={"what": "new battery"}
    )
    kernel.do(answer, roles=("technician",), at=5)
    assert incident(kernel) is None
    assert closed_incidents(kernel.reader())[0].status is Status.CLOSED


def test_a_battery_that_was_changed_ends_its_task_without_anybody_saying_so(kernel: Kernel) -> None:
    open_site(kernel)
    say(kernel, 1, battery_pct=14.0)
    say(kernel, 60, battery_pct=99.0)
    assert incident(kernel) is None
    assert tasks(kernel) == []


def test_two_flaws_of_a_device_are_one_incident_that_ends_with_the_last(kernel: Kernel) -> None:
    open_site(kernel)
    say(kernel, 1, battery_pct=14.0)
    say(kernel, 30, signal_dbm=-120.0)
    assert len(told(kernel, IncidentOpened)) == 1
    assert len(tasks(kernel)) == 1
    say(kernel, 60, battery_pct=99.0)
    assert incident(kernel) is not None, "it is still hardly heard"
    say(kernel, 90, signal_dbm=-80.0)
    assert incident(kernel) is None
    kernel.rebuild()


def test_an_incident_says_every_flaw_that_stands_and_what_to_do_about_each(kernel: Kernel) -> None:
    open_site(kernel)
    say(kernel, 1, battery_pct=14.0, signal_dbm=-120.0)
    found = incident(kernel)
    assert found is not None
    battery, signal = "its battery is at 14 %", "it is hardly heard, at -120 dBm"
    assert found.title == found.picture.fault == f"{SUBJECT}: {battery}; {signal}"
    assert f"Change the battery of {SUBJECT}. Move {SUBJECT}," in (found.picture.next_step or "")
    say(kernel, 60, battery_pct=99.0)
    found = incident(kernel)
    assert found is not None
    assert found.title == found.picture.fault == f"{SUBJECT}: {signal}"
    assert "battery" not in (found.picture.next_step or "")
    kernel.rebuild()


def test_a_task_that_nobody_sees_to_is_told_to_the_site_after_a_week(kernel: Kernel) -> None:
    open_site(kernel)
    say(kernel, 1, battery_pct=14.0)
    kernel.advance(7 * 24 * 60 + 10)
    assert told(kernel, PageSent), "somebody hears of it"
