"""The gateways of a host: they run where their site is hosted, as master data says, without a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldgrid.adapters.driving import CannotBuild
from coldgrid.kernel import hosting
from coldgrid.kernel.authorize import AllowAll, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.settings import load_settings
from coldgrid.node.credentials import credentials_folder, read_secret
from coldgrid.node.driving import Driving, GatewayState
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import Parts
from coldgrid.telemetry.store import last_readings
from coldgrid.tower.application import build_tower
from tests.adapters.test_mqtt_gateway import forget_session
from tests.conftest import Kernel
from tests.network.master import Raw, put_in_force, small_network
from tests.patience import eventually
from tests.telemetry.broker import Publisher, broker
from tests.telemetry.cold_room import AIR, sensor


class Host:
    """A host of every site with its gateways running, and a device that publishes."""

    def __init__(self, folder: Path) -> None:
        self.prefix = f"driving-{time.time_ns()}"
        database = str(folder / "host.db")
        kernel = Kernel(open_database(database))
        small_network(kernel)
        kernel.close()
        settings = load_settings({}, database=database, signing_key=str(folder / "signing.key"))
        self.parts: Parts = build_tower(settings, LiveHost(AllowAll()))
        self.parts.service.start()
        self.driving = Driving(self.parts)
        self.driving.start()
        self.publisher = Publisher(f"device-{self.prefix}")
        self.changes = 0

    def change(self, *items: Raw) -> None:
        """Draft and approve."""
        self.changes += 1
        number = self.changes

        def put(decider: Decider) -> None:
            put_in_force(_Hand(decider), *items, change_id=f"change-{number}")  # type: ignore[arg-type]

        self.parts.service.call(put).result(30)

    def place(self, *, here: bool) -> None:
        def put(decider: Decider) -> None:
            decider.take("network", lambda tx: hosting.place(tx, "ATL1", here=here, why="test"), "test")

        self.parts.service.call(put).result(30)

    def state(self, gateway_id: str = "ATL1-GW1") -> GatewayState | None:
        return next((one for one in self.driving.states() if one.gateway.gateway_id == gateway_id), None)

    def works(self, gateway_id: str = "ATL1-GW1") -> bool:
        state = self.state(gateway_id)
        return state is not None and state.ok

    def publish(self, value: float, device: str = "rack1") -> None:
        self.publisher.publish([(f"{self.prefix}/{device}", json.dumps({"temperature": value}).encode())])

    def last(self, sensor_id: str = AIR) -> float | None:
        with self.parts.reader() as db:
            found = last_readings(db, "ATL1").get(sensor_id)
        return None if found is None else found.value_c

    def close(self) -> None:
        self.driving.stop()
        self.publisher.close()
        self.parts.service.stop()
        self.parts.decider.close()
        for number in (1, 2):
            forget_session(f"{self.prefix}-{number}")

    def gateway(self, number: int = 1, **fields: object) -> Raw:
        host, port = broker()
        raw = {
            "gateway_id": f"ATL1-GW{number}",
            "site_id": "ATL1",
            "driver": "mqtt",
            "address": f"mqtt://{host}:{port}",
            "map": f"client_id: {self.prefix}-{number}\ntopics: [{{topic: '{self.prefix}/{{device}}'}}]",
        }
        return {"kind": "gateway", **raw, **fields}


class _Hand:
    """Carries out commands on the decider's own thread."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider

    def do(self, command: object, actor: str) -> object:
        return self._decider.do(command, Principal(actor)).result  # type: ignore[arg-type]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.close()


def test_a_gateway_runs_when_it_is_approved_and_stops_when_it_is_switched_off(host: Host) -> None:
    assert host.driving.states() == []
    host.change(host.gateway(), sensor(source="ATL1-GW1/rack1/temperature"))
    eventually(host.works)
    quiet = host.state()
    assert quiet is not None
    assert quiet.quiet, "connected, and nothing has come yet"
    host.publish(-21.5)
    eventually(lambda: host.last() == -21.5)
    since = host.state()
    assert since is not None
    assert not since.quiet
    assert since.since_s is not None
    host.change(host.gateway(active=False))
    eventually(lambda: host.state() is None)
    host.publish(-20.0)
    host.change(host.gateway())
    eventually(lambda: host.last() == -20.0)


def test_a_sensor_registered_later_is_heard_from_then_on(host: Host) -> None:
    host.change(host.gateway())
    eventually(host.works)
    host.publish(-21.5)
    eventually(lambda: host.driving.newest("ATL1")[0])
    host.change(sensor(source="ATL1-GW1/rack1/temperature"))

    def heard() -> bool:
        host.publish(-19.5)
        return host.last() == -19.5

    eventually(heard)


def test_a_gateway_runs_only_where_its_site_is_hosted(host: Host) -> None:
    host.change(host.gateway(), sensor(source="ATL1-GW1/rack1/temperature"))
    eventually(host.works)
    host.place(here=False)
    eventually(lambda: host.state() is None)
    host.place(here=True)
    eventually(host.works)


def test_a_gateway_that_cannot_run_says_what_to_do_and_stops_no_other(host: Host) -> None:
    host.change(
        host.gateway(1, credentials="broker"),
        host.gateway(2),
        sensor(source="ATL1-GW2/rack1/temperature"),
    )
    eventually(lambda: host.works("ATL1-GW2"))
    state = host.state()
    assert state is not None
    assert (state.ok, "there is no file of credentials" in state.detail) == (False, True)
    folder = credentials_folder(host.parts.settings)
    folder.mkdir(mode=0o700)
    path = folder / "broker"
    path.write_text("user: coldgrid\npassword: secret\n")
    path.chmod(0o644)
    eventually(lambda: (found := host.state()) is not None and "chmod 600" in found.detail)
    path.write_text("user: coldgrid\npassword: not shown\n")
    path.chmod(0o600)
    eventually(host.works)
    told = " ".join(f"{one.gateway} {one.detail}" for one in host.driving.states())
    assert "not shown" not in told


def test_a_gateway_whose_settings_change_is_built_anew_and_the_others_go_on(host: Host) -> None:
    host.change(host.gateway(1), host.gateway(2), sensor(source="ATL1-GW2/rack1/temperature"))
    eventually(lambda: host.works("ATL1-GW1") and host.works("ATL1-GW2"))
    before = host.driving._running["ATL1-GW2"].driver  # noqa: SLF001 (that it is the same one shows nowhere else)
    host.change(host.gateway(1, name="Renamed"))
    eventually(lambda: (found := host.state()) is not None and found.gateway.name == "Renamed" and found.ok)
    assert host.driving._running["ATL1-GW2"].driver is before  # noqa: SLF001
    host.publish(-18.5)
    eventually(lambda: host.last() == -18.5)


@pytest.mark.parametrize(
    "text", ["{", "- a", "user: [1]", "3: x", "user: !!python/object:os.system 1", "x" * 70_000], ids=range(6)
)
def test_a_file_of_credentials_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plc"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(CannotBuild):
        read_secret(path)


def test_a_file_of_credentials_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match="write it, and chmod 600"):
        read_secret(tmp_path / "ups")


def test_credentials_are_names_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "plc"
    path.write_text("user: coldgrid\npassword: 1234\n")
    path.chmod(0o600)
    secret = read_secret(path)
    assert (secret.get("user"), secret.get("password"), secret.get("none")) == ("coldgrid", "1234", "")
    assert "1234" not in repr(secret)
