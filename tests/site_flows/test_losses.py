"""Lost readings at their site: who is asked for what, who is woken and who is not, and how it ends."""

from __future__ import annotations

from typing import Any

from coldgrid.orchestration.incidents import Incident, Status, get_incident, open_incident_of
from coldgrid.orchestration.page_book import EscalationStarted
from coldgrid.orchestration.playbooks import AnswerStep
from coldgrid.orchestration.tasks import Task, open_tasks
from coldgrid.stock.hold_facts import HoldPlaced
from coldgrid.stock.pauses import ZonePaused
from coldgrid.telemetry.losses import asset_of
from tests.conftest import Kernel
from tests.quality.night import FIRST_SENSOR, SENSORS, open_freezer, sensor, told
from tests.stock.world import SITE
from tests.telemetry.cold_room import micros
from tests.telemetry.losing import lose

DAY_MIN = 24 * 60


def a_loss(kernel: Kernel) -> Incident:
    open_freezer(kernel, sensors=tuple(sensor(each) for each in SENSORS))
    lose(kernel.decider, SITE, FIRST_SENSOR, micros(-600))
    incident = open_incident_of(kernel.reader(), SITE, "", asset_of(SITE))
    assert incident is not None
    return incident


def tasks(kernel: Kernel, incident: Incident) -> list[Task]:
    return [task for task in open_tasks(kernel.reader()) if task.incident_id == incident.incident_id]


def answer(kernel: Kernel, task: Task, said: str, role: str, **values: Any) -> None:
    answering = AnswerStep(site_id=SITE, run_id=task.run_id, step=task.step, answer=said, values=values)
    kernel.do(answering, roles=(role,))


def pages(kernel: Kernel, incident: Incident) -> list[str]:
    return [one.message for one in told(kernel, EscalationStarted) if one.incident_id == incident.incident_id]


def test_a_technician_is_asked_for_another_disk_and_nobody_is_woken(kernel: Kernel) -> None:
    incident = a_loss(kernel)
    [task] = tasks(kernel, incident)
    assert task.role == "technician"
    assert sorted(task.answers) == ["gone", "put_back"]
    assert pages(kernel, incident) == []
    assert told(kernel, ZonePaused) == []
    assert told(kernel, HoldPlaced) == []


def test_what_is_gone_for_good_is_judged_by_quality_and_the_incident_closes(kernel: Kernel) -> None:
    incident = a_loss(kernel)
    answer(kernel, tasks(kernel, incident)[0], "gone", "technician", what="the disk was scrapped")
    [judge] = [task for task in tasks(kernel, incident) if task.role == "quality"]
    answer(kernel, judge, "judged", "quality", how="hand readings of that night")
    assert get_incident(kernel.reader(), incident.incident_id).status is Status.CLOSED
    assert tasks(kernel, incident) == []


def test_who_does_not_look_or_judge_is_paged_for_it(kernel: Kernel) -> None:
    incident = a_loss(kernel)
    kernel.advance(DAY_MIN + 1)
    assert any("Nobody has looked" in one for one in pages(kernel, incident))
    answer(kernel, tasks(kernel, incident)[0], "gone", "technician", what="scrapped")
    kernel.advance(3 * DAY_MIN + 1)
    assert any("Quality has not judged" in one for one in pages(kernel, incident))
