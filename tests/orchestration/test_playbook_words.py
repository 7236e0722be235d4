"""Playbooks in words: no page shows the braces, dots and underscores of a file."""

from __future__ import annotations

import re

import pytest

from coldgrid.orchestration.playbook_library import parsed, shipped
from coldgrid.orchestration.playbook_model import Ask, Playbook, Step
from coldgrid.orchestration.playbook_words import about, happening, happenings, numbers, title_of

DOORS = Step(id="doors", title="Shut the doors of {run.zone_id} and keep them shut")


def test_a_title_names_what_will_stand_there_and_in_a_run_what_stands_there() -> None:
    assert title_of(DOORS, {}) == "Shut the doors of the zone and keep them shut"
    assert title_of(DOORS, {"zone_id": "ATL1-FRZ1"}) == "Shut the doors of ATL1-FRZ1 and keep them shut"
    assert title_of(Step(id="look", title="{run.title}"), {}) == "What happened"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("start", "at once"),
        ("signal:excursion_opened", "excursion opened"),
        ("technician.nobody_answers", "technician: nobody answers"),
        ("weigh_again", "weigh again ended"),
    ],
)
def test_what_starts_a_step_is_said_without_the_marks_of_the_file(told: str, said: str) -> None:
    assert happening(told) == said


def test_what_is_there_twice_is_said_once() -> None:
    assert happenings(["start", "start"]) == ["at once"]


def test_a_task_is_about_a_role_and_its_answers() -> None:
    asked = Step(id="t", title="t", ask=Ask(role="customer_care", answers=["informed", "nobody_affected"]))
    assert about(asked) == "customer care: informed, nobody affected"


def test_minutes_are_told_from_names() -> None:
    playbook = Playbook(
        name="p", version=1, title="P", steps=[], policy={"stable_min": 20, "operations_group": "GRP-OPS"}
    )
    assert numbers(playbook) == [("stable", 20, True), ("operations group", "GRP-OPS", False)]


def test_nothing_that_ships_shows_an_identifier() -> None:
    for source in shipped().values():
        playbook = parsed(source)
        said = [text for step in playbook.steps for text in (title_of(step, {}), about(step))]
        said += [text for step in playbook.steps for text in happenings([*step.when, *step.unless])]
        assert [text for text in said if re.search(r"[{}_]|\w\.\w", text)] == []
