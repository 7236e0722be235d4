"""Documentation that can be wrong: links that lead nowhere, commands and pages that do not exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^ {4}(?:\S*/)?coldgrid (.+?)(?: +#.*)?$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_glossary_has_each_term_once() -> None:
    rows = re.findall(r"^\| (?!term |---)([^|]+) \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    terms = [re.sub(r" \(.*\)", "", term) for row in rows for term in re.split(r", (?!its )", row)]
    assert len(terms) > 100
    assert sorted(terms) == sorted(set(terms))


def test_every_capability_has_a_page_and_the_readme_leads_to_it() -> None:
    readme = (ROOT / "README.md").read_text()
    rooms = {
        "network",
        "stock",
        "orders",
        "quality",
        "telemetry",
        "playbooks",
        "evidence",
        "access",
        "notifications",
    }
    assert [room for room in rooms if not (ROOT / "docs" / f"{room}.md").exists()] == []
    assert [room for room in rooms if f"docs/{room}.md" not in readme] == []


def test_every_make_target_that_the_docs_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {
        target
        for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
        for target in re.findall(r"^ {4}make (\w+)", page.read_text(), re.MULTILINE)
    }
    assert named
    assert [target for target in sorted(named) if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def documented_commands() -> list[str]:
    """Every `coldgrid …` line of a code block, in any page."""
    return sorted({line for page in PAGES for line in COMMAND.findall(page.read_text())})


@pytest.mark.parametrize("line", documented_commands())
def test_a_documented_command_exists_with_its_options(line: str) -> None:
    """Servers and files of the reader's are not started or read here: the command must know its options."""
    words = shlex.split(line)
    while words and ("=" in words[0] or words[0].startswith("COLDGRID_")):
        words.pop(0)
    names = [word for word in words if not word.startswith("-") and "/" not in word and "." not in word]
    asked = subprocess.run(
        [sys.executable, "-m", "coldgrid.cli", *names[:2], "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    assert [option for option in options if option not in asked.stdout] == []
