"""Settings: typed, documented, and wrong ones refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.kernel.settings import Told, load_settings, setting_docs

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def test_values_come_from_the_environment_and_the_command_line_wins() -> None:
    settings = load_settings({"COLDGRID_PORT": "9000", "COLDGRID_LOG_JSON": "yes", "PATH": "x"}, host="::1")
    assert (settings.port, settings.log_json, settings.host) == (9000, True, "::1")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (".coldgrid/coldgrid.db", ".coldgrid/coldgrid.db"),
        ("postgresql://ana:p@ss@db/coldgrid", "postgresql://…@db/coldgrid"),
        ("postgresql://db/coldgrid?password=p", "(set)"),
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_who_signs_in(value: str, shown: str) -> None:
    assert Told("", secret=True, address=True).shown(value) == shown


def test_a_secret_is_never_shown() -> None:
    assert Told("", secret=True).shown("whsec_abc") == "(set)"
    assert Told("").shown(8080) == 8080


def test_every_wrong_setting_is_named() -> None:
    with pytest.raises(Invalid) as caught:
        load_settings({"COLDGRID_PORT": "many", "COLDGRID_PROT": "1"})
    assert [problem.field for problem in caught.value.problems] == ["COLDGRID_PORT", "COLDGRID_PROT"]


def test_every_setting_is_documented_with_its_default() -> None:
    told = DOCS.read_text()
    for name, type_, default, doc in setting_docs():
        row = f"| `{name}` | {type_} | `{default}` | {doc.text} |"
        assert row in told, f"docs/settings.md lacks: {row}"
    assert told.count("| `COLDGRID_") == len(setting_docs())
