"""What a playbook run is made of: what can happen to it, where it stands, what it wants done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from coldgrid.orchestration.playbook_model import Playbook
from coldgrid.orchestration.playbook_values import Test


class Kind(StrEnum):
    """What can happen to a run. `next` is the engine's own: the hop after a step ended."""

    START = "start"
    SIGNAL = "signal"
    ANSWER = "answer"
    APPROVAL = "approval"
    TIMER = "timer"
    ACTED = "acted"
    MOVED = "moved"
    NEXT = "next"


class Happening(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened. `name`: the signal or the step; `use`: which start of the step is meant.

    `id` names the fact behind it: the same one twice changes nothing.
    """

    kind: Kind
    name: str = ""
    outcome: str = ""
    use: int = 0
    data: dict[str, Any] = {}
    id: str = ""


class StepState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one step stands. `used`: how often it started; `opened_at`: when it last did."""

    used: int = 0
    is_open: bool = False
    is_late: bool = False
    outcome: str = ""
    opened_at: datetime | None = None


class RunState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a run stands. `happened`: everything so far in the words of `when`, in order; `ended`: how."""

    run: dict[str, str] = {}
    happened: list[str] = []
    fresh: list[str] = []
    steps: dict[str, StepState] = {}
    answers: dict[str, dict[str, Any]] = {}
    signals: dict[str, dict[str, Any]] = {}
    seen: list[str] = []
    ended: str = ""


class Policy(msgspec.Struct, frozen=True):
    """The rules of a run: its playbook, and the playbook's numbers as they were when the run started."""

    playbook: Playbook
    values: dict[str, Any]


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """An action to take. `key` is given out once in the life of a run (P2)."""

    key: str
    step: str
    use: int
    action: str
    args: dict[str, Any] = {}


class Wake(msgspec.Struct, frozen=True, omit_defaults=True):
    """A timer to set; with no `at` a timer to cancel. `what`: `late` or `wait`."""

    step: str
    use: int
    what: str
    at: datetime | None = None

    @property
    def key(self) -> str:
        """The timer's name within its run."""
        return f"{self.step}.{self.use}.{self.what}"


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a step started, was left out or chose as it did: the core of its decision record."""

    step: str
    use: int
    outcome: str
    tests: list[Test] = []
    branches: dict[str, list[Test]] = {}


class Moved(NamedTuple):
    """What one event made of a run."""

    state: RunState
    actions: list[Act]
    timers: list[Wake]
    choices: list[Choice]


Facts = Mapping[str, Any]
