"""The Modbus driver does what every driver must, with pymodbus's server at the far end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.conformance import Conformance, Peer
from tests.adapters.modbus_peer import Controllers
from tests.adapters.test_modbus import gateway_at

MAP = """
timeout_s: 1
devices:
  - name: RACK1
    unit_id: 1
    registers:
      - {name: air, kind: input, address: 0, type: int16, scale: 0.01, unit: C, unavailable: [0x7FFF]}
      - {name: power, kind: input, address: 1, type: float32, unit: W}
      - {name: state, kind: input, address: 3, type: uint16, unit: state, states: {0: 0, 1: 1}}
"""


class Rack:
    """A controller that measures what a test says."""

    secret: dict[str, str] | None = None
    point = "RACK1/air"

    def __init__(self) -> None:
        self.controllers = Controllers({1: {"input": {0: 0, 1: 0, 2: 0, 3: 0}}})
        self.controllers.start()
        self.gateway = gateway_at(self.controllers.port, MAP)

    def send(self, value: float) -> None:
        self.controllers.put(1, "input", 0, round(value * 100) % 65_536)

    def send_garbage(self) -> int:
        self.controllers.put(1, "input", 1, 0x7FC0)  # NaN
        self.controllers.put(1, "input", 3, 77)
        self.controllers.put(1, "input", 0, 0x7FFF)
        return 3

    def break_off(self) -> None:
        self.controllers.stop()

    def come_back(self) -> None:
        self.controllers.start()

    def close(self) -> None:
        self.controllers.stop()


class TestModbus(Conformance):
    pushes = False

    @pytest.fixture
    def peer(self) -> Iterator[Peer]:
        rack = Rack()
        yield rack
        rack.close()
