"""Playbook files: everything wrong is named at once, with its line."""

from __future__ import annotations

import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.orchestration.playbook_file import load_playbook, playbook_hash
from coldgrid.orchestration.playbook_library import parsed, shipped
from coldgrid.orchestration.playbook_yaml import NotYaml, read_yaml

GOOD = """\
name: test-book
version: 3
title: A test
policy: {wait: 5}
steps:
  - id: look
    title: Look at it
    facts: [goods]
    choose:
      - outcome: some
        if: [{value: fact.goods.units, at_least: 1}]
      - outcome: none
  - id: act
    title: Act in {run.zone_id}
    when: [look.some]
    ask: {role: operator, answers: [done, cannot]}
    within_min: "{policy.wait}"
"""


def problems_in(source: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(Invalid) as caught:
        load_playbook(source)
    return [(p.line, p.field, p.message) for p in caught.value.problems]


def test_a_good_file_is_known_by_its_bytes() -> None:
    playbook = load_playbook(GOOD)
    assert (playbook.name, playbook.version, playbook.hash) == ("test-book", 3, playbook_hash(GOOD))
    assert [step.id for step in playbook.steps] == ["look", "act"]
    assert playbook.hash != load_playbook(GOOD + "\n").hash


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_playbook_is_sound(name: str) -> None:
    assert parsed(shipped()[name]).name == name


def test_all_mistakes_are_listed_with_their_lines() -> None:
    source = (
        GOOD.replace("version: 3", "version: none")
        .replace("facts: [goods]", "facts: [good]")
        .replace("when: [look.some]", "when: [look.plenty, nowhere]")
        .replace("role: operator,", "rolle: operator,")
    )
    found = problems_in(source)
    assert (2, "version", "Expected `int`, got `str`") in found
    assert [(line, field) for line, field, _ in found] == [
        (2, "version"),
        (16, "steps[1].ask.role"),
        (16, "steps[1].ask.rolle"),
    ]
    assert problems_in(source.replace("rolle", "role").replace("version: none", "version: 0")) == [
        (2, "version", "counts from 1"),
        (11, "steps[0].choose[0].if[0].value", "fact goods is not declared"),
        (15, "steps[1].when[0]", "look never ends plenty"),
        (15, "steps[1].when[1]", "no step is called nowhere"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("id: act", "id: look", 13, "look is the name of two steps"),
        ("id: act", "id: Act!", 13, "is not a step name"),
        ("when: [look.some]", "when: [act]", 15, "act can never start"),
        ("when: [look.some]", "when: [look.some]\n    times: 99", 16, "lies between 1 and 20"),
        ("when: [look.some]", "when: [look.some]\n    wait_min: 3", 16, "a step with ask has no wait_min"),
        ('"{policy.wait}"', '"{policy.weight}"', 17, "policy weight is not declared"),
        ('"{policy.wait}"', "soon", 17, "is neither a number nor one {path}"),
        ("{run.zone_id}", "{run.zone}", 14, "run zone is not declared"),
        ("{run.zone_id}", "{zone.id}", 14, "zone.id is not a path"),
        ("answers: [done, cannot]", "answers: [late]", 16, "'late' cannot be an answer"),
        ("      - outcome: none\n", "", 10, "the last branch, and only it, has no `if`"),
        ("at_least: 1", "at_least: 1, at_most: 2", 11, "a condition has exactly one comparison"),
        ("name: test-book", "name: Test Book", 1, "is not a playbook name"),
    ],
)
def test_what_does_not_fit_is_named(old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    assert (line, message) in [(at, told) for at, _, told in problems_in(GOOD.replace(old, new))]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a: [1, 2", "expected ',' or ']'"),
        ("a: &x 1\nb: *x", "anchors and aliases are not read"),
        ("a: 1\na: 2", "is there twice"),
        ("a: 2026-01-01", "is no text, number"),
        ("a: .nan", "is no text, number"),
        ("a: !!python/object:os.system x", "could not determine|is no text"),
        ("[" * 30 + "]" * 30, "is nested deeper than 24"),
        ("a: " + "x" * 300_000, "is longer than 262144 bytes"),
        ("a: \x00", "special characters|unacceptable"),
    ],
)
def test_yaml_that_could_surprise_is_refused(source: str, message: str) -> None:
    with pytest.raises(NotYaml, match=message):
        read_yaml(source)


def test_yes_and_on_are_words_and_true_is_not() -> None:
    assert read_yaml("a: [yes, on, no, true, False, 1.5, 3, ~]")[0] == {
        "a": ["yes", "on", "no", True, False, 1.5, 3, None]
    }


@pytest.mark.parametrize("source", ["", "[]", "x", "steps: 3", "steps: [1, {id: 2}]"])
def test_anything_else_than_a_playbook_is_refused_without_a_crash(source: str) -> None:
    assert problems_in(source)
