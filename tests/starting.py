"""Starts `coldgrid` processes that need not load the program anew: each is forked from one that has.

Most of what a start costs is loading libraries and the program's modules, the same each time. A process that
is forked has them; the rest is as ever: its process id, memory, files, environment, arguments and folder are
its own, and a signal ends it as any. What a tower loads and what a node loads are kept apart, for importing a
room registers it. That the program starts from nothing is proved where tests start it as a shell does
(`sys.executable -m coldgrid.cli`): of addresses, packages, documented commands, the network demo.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

# What a process of each kind loads; a host loads its rooms and pages too.
OF_A_KIND = {
    "tower": ("coldgrid.tower.serve", "coldgrid.tower.application", "uvicorn"),
    "node": ("coldgrid.cli.nodes", "coldgrid.node.serve_node"),
    "history": ("coldgrid.cli.history", "pyarrow.parquet", "duckdb"),
}
MESSAGE_BYTES = 1 << 20
ENDS_WITHIN_S = 300.0
Environment = Mapping[str, str]


class Started:
    """A process, as `subprocess.Popen` shows it."""

    def __init__(self, pipe: socket.socket, arguments: Sequence[str]) -> None:
        self.args = ["coldgrid", *arguments]
        self.returncode: int | None = None
        self._pipe = pipe
        self.pid = int(self._told())

    def _told(self) -> str:
        told = self._pipe.recv(64).decode()
        assert told, "what starts processes ended"
        return told

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._pipe.settimeout(timeout)
            try:
                self.returncode = int(self._told())
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            self._pipe.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


_starters: dict[str, tuple[subprocess.Popen[bytes], socket.socket]] = {}


def _starter(kind: str) -> socket.socket:
    if kind not in _starters:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            process = subprocess.Popen(
                [sys.executable, __file__, kind, str(there.fileno())],
                env={**_own(os.environ), "OPENBLAS_NUM_THREADS": "1"},  # threads do not outlive a fork
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
            )
        _starters[kind] = process, here
        atexit.register(_end, process, here)
    return _starters[kind][1]


def _end(process: subprocess.Popen[bytes], asking: socket.socket) -> None:
    asking.close()
    process.wait()


Process = subprocess.Popen[Any] | Started


def _own(environment: Environment) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("COLDGRID_")}


def start(
    arguments: Sequence[str],
    environment: Environment,
    stdout: IO[Any],
    stderr: IO[Any],
    *,
    lead: Sequence[str] = (),
) -> Process:
    """Start `coldgrid` with arguments. `lead`: what starts it instead, as in a network of its own.

    It starts from nothing behind a lead, and where the environment is for Python itself.
    """
    if lead or environment.get("PYTHONPATH") != os.environ.get("PYTHONPATH"):
        command = [*lead, sys.executable, "-m", "coldgrid.cli", *arguments]
        return subprocess.Popen(command, env=environment, stdout=stdout, stderr=stderr)
    if arguments[0] == "history":
        kind = "history"
    else:
        kind = "node" if "--data" in arguments or arguments[0] == "node" else "tower"
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    what = {"arguments": list(arguments), "environment": dict(environment), "folder": str(Path.cwd())}
    with there:
        fds = [there.fileno(), stdout.fileno(), stderr.fileno()]
        socket.send_fds(_starter(kind), [json.dumps(what).encode()], fds)
    return Started(here, arguments)


def run(
    arguments: Sequence[str], environment: Environment, *, lead: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a `coldgrid` command to its end."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as told:
        process = start(arguments, environment, said, told, lead=lead)
        try:
            code = process.wait(ENDS_WITHIN_S)
        except BaseException:
            process.kill()
            raise
        said.seek(0)
        told.seek(0)
        return subprocess.CompletedProcess(process.args, code, said.read(), told.read())


# --- In the process that starts others --------------------------------------------------


def _load(kind: str) -> None:
    """Load what a process of a kind loads, in the order in which it does."""
    gc.disable()
    import_module("coldgrid.cli.app")
    for name in OF_A_KIND[kind]:
        import_module(name)
    if kind == "tower":
        import_module("coldgrid.tower.rooms").load_rooms()
        import_module("coldgrid.tower.handlers").route_handlers()
    elif kind == "node":
        import_module("coldgrid.node.rooms").load_rooms()
        modules = import_module("coldgrid.node.application").NODE_MODULES
        import_module("coldgrid.node.handlers").handlers_of(modules)
    gc.freeze()
    gc.enable()


class _Starter:
    """Forks a process for each message, and tells who asked its id and how it ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(control, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, int]] = {}  # by what tells that it ended: its id, whom to tell

    def serve(self) -> bool:
        """Work until nobody asks any more; in a child, return true at once."""
        while True:
            for key, _ in self._waiting.select():
                if key.fd in self._running:
                    self._ended(key.fd)
                    continue
                message, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 3)
                if not message:
                    return False
                if self._forked(json.loads(message), *fds):
                    return True

    def _ended(self, ending: int) -> None:
        child, answer = self._running.pop(ending)
        self._waiting.unregister(ending)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with suppress(BrokenPipeError):  # nobody waits
            os.write(answer, str(code).encode())
        os.close(answer)
        os.close(ending)

    def _forked(self, asked: dict[str, Any], answer: int, stdout: int, stderr: int) -> bool:
        """Fork. Tell whether this is the child, which has its arguments and its files then, and no others."""
        child = os.fork()
        if child:
            os.write(answer, str(child).encode())
            os.close(stdout)
            os.close(stderr)
            ending = os.pidfd_open(child)
            self._running[ending] = child, answer
            self._waiting.register(ending, selectors.EVENT_READ)
            return False
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        sys.argv = ["coldgrid", *asked["arguments"]]
        self._waiting.close()
        for fd in (answer, stdout, stderr, *self._running, *(one for _, one in self._running.values())):
            os.close(fd)
        return True


if __name__ == "__main__":
    del sys.path[0]  # the tests' folder
    _load(sys.argv[1])
    with socket.socket(fileno=int(sys.argv[2])) as asking:
        is_child = _Starter(asking).serve()
    if is_child:
        import_module("coldgrid.cli.app").main()
