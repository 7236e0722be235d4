"""A gateway with controllers behind it, in a process of its own: pymodbus's server. Prints its port."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


async def serve(units: int, registers: int) -> None:
    """Serve input registers from 0 on for each unit, until the parent closes the pipe."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    values = [200 + n % 50 for n in range(registers)]
    devices = [
        SimDevice(unit, simdata=[SimData(0, values=values, datatype=DataType.REGISTERS)])
        for unit in range(1, units + 1)
    ]
    server = ModbusTcpServer(devices, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
