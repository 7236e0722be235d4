"""A demo site moves out to a database of its own: its past, stock, readings and running night go on there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coldgrid.kernel import log, rebuild, relocation
from coldgrid.kernel.authorize import AllowAll, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.node.host import VirtualHost
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.stock.inventory import units_in_zone
from coldgrid.stock.ledger import balances_of_site
from coldgrid.stock.pauses import PauseReason, PauseZone
from coldgrid.telemetry.store import last_readings, series
from coldgrid.tower.scenario.play import Player
from coldgrid.tower.world.plan import Plan, load_plan

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    """The freezer's night, stopped in its middle: goods are held, and a playbook waits."""
    plan = load_plan(SCENARIOS / "freezer-2am.yaml")
    middle: Plan = msgspec.structs.replace(plan, minutes=150, sites=["ATL1", "CLT1"], warm_up_min=60)
    player = Player(middle, str(tmp_path_factory.mktemp("tower") / "tower.db"), lambda text: None)
    player.play()
    yield player
    player.close()


def picture(db: Reader, site_id: str) -> dict[str, Any]:
    """What a site looks like: goods, holds, readings, incidents."""
    return {
        "balances": balances_of_site(db, site_id),
        "units": units_in_zone(db, f"{site_id}-FRZ1"),
        "readings": last_readings(db, site_id),
        "incidents": open_incidents(db, site_id),
    }


def goes_on(tower: Decider, node: Decider, host: VirtualHost) -> None:
    """The site decides by itself now, and the tower no longer does."""
    sam = Principal("sam", frozenset({"supervisor"}))
    pause = PauseZone(
        site_id="ATL1", zone_id="ATL1-CHL1", pause_id="p-1", reason=PauseReason.MANUAL, cause_id="test"
    )
    node.do(pause, sam)
    asked = tower.do(pause, sam)
    assert asked.pending == "ATL1", "the tower asks the site's host"
    waiting = node.next_due_at
    assert waiting is not None
    host.instant = max(waiting, host.instant)
    assert node.fire_due() > 0, "the playbook's timers must go on"
    epochs = {entry.epoch for entry in log.read_all(Reads(node.connection)) if entry.origin == "ATL1"}
    assert epochs == {1, 2}


@pytest.mark.timeout(300)
def test_a_site_moves_out_whole_and_goes_on_in_a_database_of_its_own(night: Player, tmp_path: Path) -> None:
    tower = night.decider
    before = picture(night.reads(), "ATL1")
    assert before["incidents"], "the night must be under way"
    other = picture(night.reads(), "CLT1")
    seen_from = night.host.now() - timedelta(hours=1)
    readings = series(night.reads(), "ATL1-FRZ1-T1", seen_from, night.host.now())

    luggage = relocation.carry_out(tower, "ATL1", "gets a node of its own")
    host = VirtualHost(AllowAll(), night.host.now(), seed=1)
    node = Decider(open_database(str(tmp_path / "node.db")), host)
    try:
        relocation.carry_in(node, luggage)
        here = Reads(node.connection)
        assert picture(here, "ATL1") == before
        assert balances_of_site(here, "CLT1") == []
        moved = series(here, "ATL1-FRZ1-T1", seen_from, night.host.now())
        assert [list(column) for column in moved] == [list(column) for column in readings]
        told = {entry.type for entry in log.read_all(here) if entry.type.startswith("orders.")}
        assert told <= {"orders.released"}, "a site hears of the work that it has to do, not of customers"
        assert rebuild.differences(node) == []

        goes_on(tower, node, host)
    finally:
        node.close()
    assert picture(night.reads(), "CLT1") == other
