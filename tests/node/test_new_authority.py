"""A tower as a process replaces its authority: nodes go over, and one that was away too long joins again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from coldgrid.kernel.reading import Reader
from coldgrid.sync import authority as ca
from coldgrid.sync import identity_files
from coldgrid.sync.authorities import nodes_without
from coldgrid.sync.enrolled import list_nodes
from tests.node.machines import Machine, node_machine, read, running, tower_machine
from tests.node.test_coming_back import offline
from tests.patience import eventually
from tests.ports import free_ports

TOWER_PORT, SYNC_PORT, ATL_PORT, CLT_PORT = free_ports(4)
URL = f"https://127.0.0.1:{SYNC_PORT}"
BEGIN = b"-----BEGIN CERTIFICATE-----"


class Network:
    """A tower, a node that is connected, and one that is away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "tower.db"
        self.tower = tower_machine(folder, TOWER_PORT, SYNC_PORT)
        self.node = node_machine(folder / "atl", ATL_PORT, folder / "atl.log")
        self.away = node_machine(folder / "clt", CLT_PORT, folder / "clt.log")

    def begin(self) -> None:
        self.tower.start()
        for machine, site_id, name in ((self.node, "ATL1", "atl"), (self.away, "CLT1", "clt")):
            self.join(machine, self.tower.command("tower", "code", site_id), name)
        self.node.start()

    def join(self, machine: Machine, code: str, name: str) -> None:
        machine.command("node", "join", URL, "--code", code, "--data", str(self.folder / name))

    def present(self) -> x509.Certificate:
        _, mark, rest = identity_files.read_private(self.folder / "authority.pem").partition(BEGIN)
        return ca.load_certificate(mark + rest)

    def without(self) -> list[str]:
        """Return the sites whose nodes have not gone over."""
        present = self.present()

        def look(db: Reader) -> list[str]:
            return [node.site_id for node in nodes_without(db, present)]

        return read(self.database, look)

    def before(self, name: str) -> str:
        """Return the authority before the present one that a node trusts."""
        return identity_files.open_identity(self.folder / name).tower.before


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    offline(tmp_path, "seed")
    network = Network(tmp_path)
    with running(network.tower, network.node, network.away):
        network.begin()
        yield network


@pytest.mark.timeout(300)
def test_nodes_go_over_to_a_new_authority_at_once_or_when_they_are_back(network: Network) -> None:
    old, tower = network.present(), network.tower
    assert "the one before counts until" in tower.command("tower", "rotate-ca")
    assert network.present() != old
    eventually(lambda: network.without() == ["CLT1"], "the node that is connected goes over")
    assert network.before("atl") == ca.pem_of(old)

    tower.kill()
    tower.start()  # both authorities are in its file
    network.away.start()
    eventually(lambda: network.without() == [], "the node that was away goes over when it is back")
    assert "no node needs a new code" in tower.command("tower", "rotate-ca", "--now")
    eventually(lambda: network.before("atl") == "" == network.before("clt"), "they trust the old one no more")

    tower.command("tower", "rotate-ca")
    eventually(lambda: network.without() == [], "and they go over again")


@pytest.mark.timeout(300)
def test_a_node_that_was_away_until_the_end_of_its_authority_joins_again(network: Network) -> None:
    network.tower.command("tower", "rotate-ca")
    eventually(lambda: network.without() == ["CLT1"], "the node that is connected goes over")
    (lost,) = (one for one in read(network.database, list_nodes) if one.site_id == "CLT1")
    told = network.tower.command("tower", "rotate-ca", "--now")
    assert f"needs a new code: {lost.node_id}" in told
    network.join(network.away, network.tower.command("tower", "code", "CLT1", "--node", lost.node_id), "clt")
    network.away.start()
    assert network.without() == []
    assert not any(found.suspected_why for found in read(network.database, list_nodes))
