"""A wire with a switch: passes TCP on to another address, until it is cut. For drills, never for trade.

What is cut ends at once and nothing new gets through, as when the router loses its line; with `hang` nothing
ends and nothing answers, as when packets vanish on the way.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import cast

CHUNK = 65_536
LOOK_EVERY_S = 0.1


class WanSwitch:
    """One site's line to its tower. `address`: where it listens; `target`: where it leads."""

    def __init__(self, address: tuple[str, int], target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(address)
        self._listener.settimeout(LOOK_EVERY_S)
        self._through = True
        self._hang = False
        self._stopping = False
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._bytes = 0
        self._thread = threading.Thread(target=self._listen, name="wan-switch", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    @property
    def is_through(self) -> bool:
        """Tell whether the line is up."""
        return self._through and not self._hang

    @property
    def passed_bytes(self) -> int:
        """How much went through, both ways."""
        return self._bytes

    def start(self) -> None:
        """Let through from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and what goes through."""
        self._stopping = True
        self._listener.close()
        self._end_all()

    def cut(self, *, hang: bool = False) -> None:
        """Cut the line."""
        self._hang = hang
        if not hang:
            self._through = False
            self._end_all()

    def mend(self) -> None:
        """Let through again. What hung ends: both sides have given it up."""
        if self._hang:
            self._end_all()
        self._through, self._hang = True, False

    def _listen(self) -> None:
        while not self._stopping:
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            if not self._through:
                near.close()
                continue
            threading.Thread(target=self._pass_on, args=(near,), name="wan-line", daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, timeout=5)
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setblocking(True)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (near, far)
        with self._lock:
            self._pairs.add(pair)
        try:
            self._pump(near, far)
        finally:
            self._end(pair)

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with selectors.DefaultSelector() as ready, suppress(OSError, ValueError):
            for one in other:
                ready.register(one, selectors.EVENT_READ)
            while not self._stopping and self._through:
                for key, _ in ready.select(LOOK_EVERY_S):
                    if self._hang:
                        threading.Event().wait(LOOK_EVERY_S)
                        continue
                    end = cast(socket.socket, key.fileobj)
                    data = end.recv(CHUNK)
                    if not data:
                        return
                    self._bytes += len(data)
                    other[end].sendall(data)

    def _end_all(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                end.close()
