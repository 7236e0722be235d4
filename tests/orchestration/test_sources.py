"""What a decision rests on is shown as what it is, with the page that shows it; its id comes second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient
from markupsafe import escape

from coldgrid.kernel import log
from coldgrid.orchestration.decisions import list_decisions
from coldgrid.orchestration.sources import source_of
from coldgrid.orchestration.timeline import in_words
from tests.orchestration.office import Office, begin_the_night, open_office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with open_office(tmp_path) as made:
        begin_the_night(made)
        yield made


def entry_of(office: Office, kind: str) -> str:
    found: str = office.read(lambda db: next(one.id for one in log.read_all(db) if one.type == kind))
    return found


def told(office: Office, id_: str) -> tuple[str, str]:
    one = office.read(lambda db: source_of(db, id_))
    return in_words(one.text, one.facts), one.href


def test_an_entry_is_told_as_in_the_timeline(office: Office) -> None:
    said, href = told(office, entry_of(office, "orchestration.incident_opened"))
    assert said.startswith("Incident opened: ")
    assert href == "/incidents/incident-1"


def test_an_entry_without_a_line_is_told_by_what_happened_to_what(office: Office) -> None:
    said, href = told(office, entry_of(office, "orchestration.run_started"))
    assert said == "Run started: ATL1-FRZ1"
    assert href == "/incidents/incident-1"


def test_the_record_links_what_it_rests_on_and_shows_the_id_second(office: Office) -> None:
    decisions = office.read(lambda db: list_decisions(db, waiting=False))
    one, id_ = next((one, id_) for one in decisions for id_ in one.decision.inputs if log_has(office, id_))
    said, href = told(office, id_)
    with TestClient(office.app) as client:
        text = client.get(f"/decisions/{one.decision_id}").text
    assert f'<a href="{href}">{escape(said)}</a>' in text
    assert f"<code>{id_}</code>" in text


def log_has(office: Office, id_: str) -> bool:
    return office.read(lambda db: log.find(db, id_)) is not None


def test_what_nobody_knows_is_a_persons_request(office: Office) -> None:
    assert told(office, "act-3onnyfuzrqfcc3u4") == ("A person's request or answer", "")
