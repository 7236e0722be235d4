"""The threat model names tests as its proof: they exist."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).parents[2]


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (REPO / "THREAT_MODEL.md").read_text())
    assert len(named) > 30
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (REPO / path).exists() or f"def {name}(" not in (REPO / path).read_text()
    ]
    assert not missing
