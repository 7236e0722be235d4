"""A site with a gateway moves to its node: the node drives it from then on, and the tower shows all of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.settings import load_settings
from coldgrid.network.change_rules import ApproveChange, DraftChange
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import Parts
from coldgrid.telemetry.heard import points_of_site
from coldgrid.telemetry.reading_times import ReadingTime, times_of
from coldgrid.telemetry.sensors import SensorNotFound
from coldgrid.tower.application import build_tower
from tests.adapters.test_mqtt_gateway import forget_session
from tests.node.machines import (
    Machine,
    node_machine,
    read,
    running,
    seed_tower,
    tower_machine,
)
from tests.patience import eventually
from tests.ports import free_ports
from tests.telemetry.broker import Publisher, broker

TOWER_PORT, SYNC_PORT, NODE_PORT = free_ports(3)
FIRST = "ATL1-FRZ1-T8"


@dataclass
class Moving:
    folder: Path
    tower: Machine
    node: Machine
    prefix: str
    publisher: Publisher

    @property
    def tower_db(self) -> Path:
        return self.folder / "tower.db"

    @property
    def node_db(self) -> Path:
        return self.folder / "atl1" / "node.db"

    def publish(self, device: str, value: float) -> None:
        self.publisher.publish([(f"{self.prefix}/{device}", json.dumps({"temperature": value}).encode())])

    def arrives(self, database: Path, sensor_id: str, device: str, value: float) -> bool:
        """Publish, and tell whether the value is among the sensor's readings."""
        self.publish(device, value)
        return value in [one.value for one in times(database, sensor_id)]


def times(database: Path, sensor_id: str) -> list[ReadingTime]:
    now = datetime.now(UTC)
    span = now - timedelta(hours=2), now + timedelta(hours=1)
    return read(database, lambda db: times_of(db, sensor_id, *span))


def prepare(folder: Path, prefix: str) -> None:
    """Put a gateway and a sensor behind it in force."""
    host, port = broker()
    gateway = {
        "kind": "gateway",
        "gateway_id": "ATL1-GW1",
        "site_id": "ATL1",
        "driver": "mqtt",
        "address": f"mqtt://{host}:{port}",
        "map": f"client_id: {prefix}\n"
        f"topics: [{{topic: '{prefix}/{{device}}', points: [{{path: temperature, unit: C}}]}}]",
    }
    sensor = {
        "kind": "sensor",
        "sensor_id": FIRST,
        "site_id": "ATL1",
        "zone_id": "ATL1-FRZ1",
        "role": "zone_air",
        "source": "ATL1-GW1/rack1/temperature",
    }
    tower = tower_at_rest(folder)
    draft = DraftChange(change_id="change-gw", items=[gateway, sensor], reason="a gateway")
    tower.decider.do(draft, Principal("dana", frozenset({"planner"})))
    approve(tower, "change-gw")
    tower.decider.close()


def tower_at_rest(folder: Path) -> Parts:
    settings = load_settings({}, database=str(folder / "tower.db"), signing_key=str(folder / "signing.key"))
    return build_tower(settings, LiveHost(CedarAuthorizer()))


def approve(tower: Parts, change_id: str) -> None:
    command = ApproveChange(change_id=change_id, reason="checked")
    tower.decider.do(command, Principal("ada", frozenset({"admin"})))


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Moving]:
    prefix = f"moving-{time.time_ns()}"
    seed_tower(tmp_path)
    prepare(tmp_path, prefix)
    tower = tower_machine(tmp_path, TOWER_PORT, SYNC_PORT)
    node = node_machine(tmp_path / "atl1", NODE_PORT, tmp_path / "atl1.log")
    publisher = Publisher(f"device-{prefix}")
    with running(tower, node):
        tower.start()
        yield Moving(tmp_path, tower, node, prefix, publisher)
    publisher.close()
    forget_session(prefix)


@pytest.mark.timeout(300)
def test_the_node_drives_its_gateways_and_hears_of_new_sensors(moving: Moving) -> None:
    eventually(lambda: moving.arrives(moving.tower_db, FIRST, "rack1", -25.5), "a reading at the tower")
    code = moving.tower.command("tower", "code", "ATL1")
    moving.node.command(
        "node",
        "join",
        f"https://127.0.0.1:{SYNC_PORT}",
        "--code",
        code,
        "--data",
        str(moving.folder / "atl1"),
    )
    moving.node.start()
    eventually(lambda: moving.arrives(moving.node_db, FIRST, "rack1", -24.5), "a reading at the node")

    def same() -> bool:
        here, there = times(moving.node_db, FIRST), times(moving.tower_db, FIRST)
        return len(here) > 1 and here[-1].value == -24.5 and here == there

    eventually(same, "the tower has the reading and its times")
    assert all(one.heard_us is not None for one in times(moving.tower_db, FIRST))

    moving.publish("rack2", -23.5)

    def listed() -> list[str]:
        return read(moving.tower_db, lambda db: [one.point for one in points_of_site(db, "ATL1")])

    eventually(lambda: "rack2/temperature" in listed(), "the tower lists what the node hears")
    told = moving.tower.command("sensors", "discover")
    assert "ATL1-GW1/rack2/temperature" in told
    assert "ATL1-GW1/rack2/temperature" in moving.node.command(
        "sensors", "discover", "--data", str(moving.folder / "atl1")
    )
    done = json.loads(
        moving.tower.command(
            "sensors", "register", "ATL1-GW1/rack2/temperature", "--zone", "ATL1-FRZ1", "--json"
        )
    )
    assert not done["approved"]
    moving.tower.kill()
    tower = tower_at_rest(moving.folder)
    approve(tower, done["change_id"])
    tower.decider.close()
    moving.tower.start()
    sensor_id = done["sensor_id"]

    def bound() -> bool:
        try:
            return moving.arrives(moving.node_db, sensor_id, "rack2", -22.5)
        except SensorNotFound:
            return False

    eventually(bound, "the node knows the new sensor")
