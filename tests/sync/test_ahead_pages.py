"""What the tower shows of urgent things whose facts are on their way."""

from __future__ import annotations

from pathlib import Path

import msgspec

from coldgrid.kernel.events import envelope_bytes, leaf_hash
from coldgrid.orchestration.incident_rules import IncidentOpened
from coldgrid.orchestration.severity import Severity
from coldgrid.sync import ahead, ahead_pages
from tests.conftest import T0
from tests.sync.office import Client, app_of, office
from tests.sync.test_wire import entry


def test_what_was_heard_is_shown_as_heard_and_listed_by_the_api(tmp_path: Path) -> None:
    opened = IncidentOpened(
        incident_id="i1",
        site_id="ATL1",
        zone_id="",
        asset_id="door",
        severity=Severity.OPERATOR_ACTIONABLE,
        title="The door stands open",
        facts={},
        cause_id="c",
        playbook="",
    )
    copy = entry(7, type="orchestration.incident_opened", body=msgspec.json.encode(opened))
    copy = msgspec.structs.replace(copy, leaf=leaf_hash(envelope_bytes(copy)))
    with office(tmp_path) as (tower, _), Client(app_of(tower, more=ahead_pages.handlers)) as client:
        quiet = client.get("/nodes/ahead", headers={"accept": "text/html"})
        assert quiet.text.strip() == ""
        tower.service.call(
            lambda decider: decider.take("ATL1", lambda tx: ahead.keep(tx, "ATL1", [copy], T0), "test")
        ).result(timeout=30)
        page = client.get("/nodes/ahead", headers={"accept": "text/html"})
        assert "The door stands open" in page.text
        assert "heard, facts on their way" in page.text
        [told] = client.get("/api/v1/sync/ahead").json()
        assert (told["entry"], told["leaf"]) == ("ATL1/1/7", copy.leaf.hex())
