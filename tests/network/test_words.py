"""A review shows the fields of a change as people read them."""

from __future__ import annotations

import pytest

from coldgrid.network.item_forms import path_in_words


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("steps[0].after_min", "Step 1: after (min)"),
        ("cutoffs[2].carrier", "Cut-off 3: carrier"),
        ("setpoint_c", "Setpoint (°C)"),
        ("people[1].drive_min", "People 2: drive (min)"),
        ("calibration.due_on", "Calibration: due on"),
        ("shutdown[0].needs_s", "Shutdown 1: needs (s)"),
        ("steps[0].contacts[1].channel", "Step 1: contact 2: channel"),
        ("gtin", "GTIN"),
    ],
)
def test_a_path_is_told_in_words(path: str, words: str) -> None:
    assert path_in_words(path) == words
