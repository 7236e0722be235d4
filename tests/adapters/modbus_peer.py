"""Peers of Modbus TCP on the loopback: pymodbus's own server, and one that says whatever a test wants."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.ports import free_port

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
Table = Mapping[int, int]


class Controllers:
    """A gateway with controllers behind it, served by pymodbus. Registers that are not named do not exist.

    `fails`: units that answer with an exception; `hangs`: units that never answer; `served`: requests so far.
    """

    def __init__(self, units: Mapping[int, Mapping[str, Table]], port: int = 0) -> None:
        self.port = port or free_port()
        self.units = {
            unit: {kind: dict(table) for kind, table in kinds.items()} for unit, kinds in units.items()
        }
        self.fails: dict[int, ExcCodes] = {}
        self.hangs: set[int] = set()
        self.served: list[tuple[int, int, int, int]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: ModbusTcpServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(30), "the server did not start"

    def stop(self) -> None:
        loop, server, thread = self._loop, self._server, self._thread
        if loop is None or server is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_shut(server), loop).result(30)
        thread.join(30)
        self._loop = self._server = self._thread = None

    def put(self, unit: int, kind: str, address: int, value: int) -> None:
        """Change a register that exists."""
        assert self._server is not None
        assert address in self.units[unit][kind]
        self.units[unit][kind][address] = value
        context: Any = self._server.context
        start, _, registers, _ = context.devices[unit].block[kind[0]]
        registers[address - start] = value

    async def _serve(self, ready: threading.Event) -> None:
        devices = [self._device(unit, kinds) for unit, kinds in self.units.items()]
        server = ModbusTcpServer(devices, address=("127.0.0.1", self.port))
        self._loop, self._server = asyncio.get_running_loop(), server
        await server.serve_forever(background=True)
        ready.set()
        with suppress(asyncio.CancelledError):
            await server.serving
        # The server forgets who connected while it was shut; left open, they are told as leaks much later.
        for transport in list(getattr(self._loop, "_transports", {}).values()):
            transport.abort()
        await asyncio.sleep(0)

    def _device(self, unit: int, kinds: Mapping[str, Table]) -> SimDevice:
        async def answer(
            function: int, start: int, address: int, count: int, registers: list[int], values: Any
        ) -> ExcCodes | None:
            self.served.append((unit, function, address, count))
            while unit in self.hangs:
                await asyncio.sleep(0.05)
            return self.fails.get(unit)

        def registers(kind: str) -> list[SimData]:
            table = kinds.get(kind) or {60_000: 0}
            return [SimData(at, values=table[at], datatype=DataType.REGISTERS) for at in sorted(table)]

        def bits(kind: str) -> list[SimData]:
            table = kinds.get(kind) or {0: 0}
            values = [bool(table.get(at)) for at in range(max(table) + 1)]
            return [SimData(0, values=values, datatype=DataType.BITS)]

        blocks = (bits("coil"), bits("discrete"), registers("holding"), registers("input"))
        return SimDevice(unit, simdata=blocks, action=answer)


async def _shut(server: ModbusTcpServer) -> None:
    listener: Any = server.transport
    for sock in listener.sockets:
        asyncio.get_running_loop().remove_reader(sock.fileno())
    # Who was taken up a moment ago has its first step ahead; a closed listener would fail it, and leak it.
    for _ in range(3):
        await asyncio.sleep(0)
    await server.shutdown()  # type: ignore[no-untyped-call]


@contextmanager
def controllers(units: Mapping[int, Mapping[str, Table]]) -> Iterator[Controllers]:
    """Serve controllers."""
    peer = Controllers(units)
    peer.start()
    try:
        yield peer
    finally:
        peer.hangs.clear()
        peer.stop()


Says = Callable[[bytes, int], bytes | None]


class Adversary:
    """Answers each request with what `says` returns for it and its number; None: closes the connection."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self.connections = 0
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while request := sock.recv(12, socket.MSG_WAITALL):
                self.requests.append(request)
                said = self.says(request, len(self.requests))
                if said is None:
                    break
                sock.sendall(said)
            sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def adversary(says: Says) -> Iterator[Adversary]:
    """Serve an adversary."""
    peer = Adversary(says)
    try:
        yield peer
    finally:
        peer.stop()
