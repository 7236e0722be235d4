"""A playbook said in words: what its file names by identifiers, for people who have to agree to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coldgrid.orchestration.playbook_model import PLACE, Playbook, Scalar, Step

# What a place in a title stands for while no run fills it in.
STANDS_FOR = {
    "zone_id": "the zone",
    "site_id": "the site",
    "asset_id": "the machine",
    "title": "what happened",
}
SIGNAL = "signal:"


def spaced(name: str) -> str:
    """Return an identifier as words."""
    return name.replace("_", " ")


def title_of(step: Step, run: Mapping[str, str]) -> str:
    """Return a step's title with the values of its run, or with what will stand there."""
    said = PLACE.sub(lambda match: _stands(match[1], run), step.title)
    return said[:1].upper() + said[1:]


def _stands(path: str, run: Mapping[str, str]) -> str:
    name = path.rpartition(".")[2]
    return run.get(name) or STANDS_FOR.get(name) or spaced(name)


def happening(told: str) -> str:
    """Return what a step waits to happen: `technician.late` is "technician: late"."""
    if told == "start":
        return "at once"
    if told.startswith(SIGNAL):
        return spaced(told.removeprefix(SIGNAL))
    step, _, outcome = told.partition(".")
    return f"{spaced(step)}: {spaced(outcome)}" if outcome else f"{spaced(step)} ended"


def happenings(told: Sequence[str]) -> list[str]:
    """Return several, each once."""
    return list(dict.fromkeys(happening(one) for one in told))


def about(step: Step) -> str:
    """Return who or what a step is about, in a few words."""
    if step.ask is not None:
        return spaced(f"{step.ask.role}: {', '.join(step.ask.answers)}")
    if step.approve is not None:
        return spaced(step.approve.role)
    if step.choose:
        return spaced(", ".join(branch.outcome for branch in step.choose))
    named = [*step.wait_for, *(act.action for act in step.do)]
    return spaced(", ".join(dict.fromkeys(named)))


def numbers(playbook: Playbook) -> list[tuple[str, Scalar | list[str], bool]]:
    """Return each number by its name in words, and whether it is in minutes."""
    return [
        (spaced(name.removesuffix("_min")), value, name.endswith("_min"))
        for name, value in playbook.policy.items()
    ]
