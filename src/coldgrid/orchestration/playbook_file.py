"""Read a playbook from YAML: used as a whole or not at all, with every mistake named at once."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import msgspec

from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import convert_all
from coldgrid.orchestration.playbook_check import References, check_head
from coldgrid.orchestration.playbook_model import Head, Playbook, Step
from coldgrid.orchestration.playbook_yaml import read_yaml


def playbook_hash(source: str) -> str:
    """The name of a playbook's exact bytes (F1)."""
    return sha256(source.encode()).hexdigest()


def load_playbook(source: str) -> Playbook:
    """Read a playbook from YAML.

    Raises:
        Invalid: not YAML, not a playbook, or a playbook that refers to what is not there; every problem
            with its field and line (F2).
    """
    data, lines = read_yaml(source)
    problems: list[Problem] = []
    head = _decoded(data, Head, "", problems)
    steps: list[tuple[int, Step]] = []
    listed = data.get("steps") if isinstance(data, dict) else None
    for i, raw in enumerate(listed if isinstance(listed, list) else []):
        step = _decoded(raw, Step, f"steps[{i}]", problems) if isinstance(raw, dict) else None
        if step is not None:
            steps.append((i, step))
    if head is not None:
        problems += check_head(head)
        ids = [str(raw.get("id", "")) for raw in head.steps]
        checker = References(head, ids, {step.id: step for _, step in steps})
        problems += checker.problems(steps)
    if problems or head is None:
        placed = [msgspec.structs.replace(p, line=_line_of(lines, p.field)) for p in problems]
        raise Invalid(problems=sorted(placed, key=lambda p: (p.line or 0, p.field)))
    return Playbook(
        name=head.name,
        version=head.version,
        title=head.title,
        policy=head.policy,
        steps=[step for _, step in steps],
        hash=playbook_hash(source),
        signals=_signals(data),
    )


def _signals(data: Any) -> list[str]:
    """Every signal that the file names, as a trigger, a path or something to wait for."""
    awaited = {name for step in data["steps"] for name in step.get("await", [])}
    told = msgspec.json.encode(data).decode()
    return sorted(awaited | set(re.findall(r"signal[:.]([a-z][a-z0-9_]*)", told)))


def _decoded(data: Any, type_: type[Any], at: str, problems: list[Problem]) -> Any:
    try:
        return convert_all(data, type_)
    except Invalid as invalid:
        problems += [msgspec.structs.replace(p, field=_join(at, p.field)) for p in invalid.problems]
        return None


def _join(at: str, field: str) -> str:
    if field == "body":  # the whole value
        return at
    return f"{at}.{field}" if at else field


def _line_of(lines: dict[str, int], field: str) -> int | None:
    """The line of a field, or of the nearest thing around it that the file has."""
    while field and field not in lines:
        field = field[: max(field.rfind("."), field.rfind("["), 0)]
    return lines.get(field)
