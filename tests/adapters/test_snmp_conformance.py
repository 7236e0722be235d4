"""The SNMP driver does what every driver must, with snmpsim at the far end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.conformance import Conformance, Peer
from tests.adapters.snmp_peer import Agent, agent
from tests.adapters.test_snmp import gateway_at

AIR = "1.3.6.1.4.1.8072.9999.1"
RECORD = f"{AIR}|2:writecache|value=0\n1.3.6.1.4.1.8072.9999.2|4|n/a\n"
MAP = """
device: PROBE
oids:
  - {name: air, oid: 1.3.6.1.4.1.8072.9999.1, scale: 0.01, unit: C, unavailable: [-32768]}
  - {name: broken, oid: 1.3.6.1.4.1.8072.9999.2, type: text, unit: C}
  - {name: absent, oid: 1.3.6.1.4.1.8072.9999.3, unit: C}
"""


class Probe:
    """An agent that measures what a test says."""

    point = "PROBE/air"

    def __init__(self, peer: Agent) -> None:
        self.agent = peer
        self.gateway = gateway_at(peer.port, MAP)
        self.secret: dict[str, str] | None = {"community": "probe"}

    def send(self, value: float) -> None:
        self.agent.put(AIR, round(value * 100), "probe")

    def send_garbage(self) -> int:
        self.agent.put(AIR, -32_768, "probe")
        return 3

    def break_off(self) -> None:
        self.agent.stop()

    def come_back(self) -> None:
        self.agent.start()

    def close(self) -> None:
        self.agent.stop()


class TestSnmp(Conformance):
    pushes = False

    @pytest.fixture
    def peer(self) -> Iterator[Peer]:
        with agent(probe=RECORD) as peer:
            yield Probe(peer)
