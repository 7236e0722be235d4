"""How a refusal reads at a terminal: each thing once, and without the brackets of the program's language."""

from __future__ import annotations

import msgspec
import pytest

from coldgrid.cli.output import Output, print_rejection
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.node.errands import in_words
from coldgrid.node.restore import PutBack, WouldOverwrite
from tests.conftest import T0


def test_a_host_says_once_what_is_wrong_with_a_field() -> None:
    message = "say what you found, and why this copy is kept"
    told = in_words(Invalid([Problem(field="reason", message=message)]))
    assert told.count(message) == 1
    assert told.splitlines()[-1] == f"reason: {message}"


def test_a_refusal_lists_files_as_people_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_rejection(WouldOverwrite(files=["tower.db", "signing.key"]))
    assert "files tower.db, signing.key" in capsys.readouterr().err


def test_a_result_lists_what_was_kept_as_people_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    done = PutBack(
        database="tower.db",
        made_at=T0,
        entries=3,
        tables_rebuilt=4,
        checkpoints_verified=1,
        entries_hashed=3,
        kept_as_they_were=["signing.key", "authority.key"],
        set_again=[],
    )
    Output(json=False).report(done)
    told = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert (told["kept_as_they_were"], told["set_again"]) == ("signing.key, authority.key", "")
    Output(json=True).report(done)
    assert msgspec.json.decode(capsys.readouterr().out)["set_again"] == []
