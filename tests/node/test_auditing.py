"""The audit of what was signed: again within the hour, and soon where there was nothing to look at."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from coldgrid.node import auditing
from coldgrid.node.auditing import AGAIN_AFTER_S, Auditor


def test_a_host_that_has_signed_nothing_yet_is_looked_at_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signed, now, looks = [0], [100.0], [0]

    def look(db: object, place: object, over: object) -> SimpleNamespace:
        looks[0] += 1
        return SimpleNamespace(forks=[], entries=signed[0], place=None)

    monkeypatch.setattr(auditing, "audit_some", look)
    parts = SimpleNamespace(reader=nullcontext)
    auditor = Auditor(cast(Any, parts), cast(Any, None), lambda: now[0])
    assert auditor.round() == "nothing is signed yet"
    signed[0] = 13
    assert auditor.round().startswith("13 signed entries were held against the log; again within the hour")
    assert auditor.round().startswith("13 signed")
    assert looks[0] == 2, "what was looked at rests for an hour"
    now[0] += AGAIN_AFTER_S
    auditor.round()
    assert looks[0] == 3
