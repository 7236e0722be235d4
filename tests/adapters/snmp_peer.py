"""A real SNMP agent on the loopback: snmpsim, which answers from the records in `snmp/`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pysnmp.hlapi.v3arch.asyncio import (
    CommunityData,
    ContextData,
    Gauge32,
    Integer32,
    ObjectIdentity,
    ObjectType,
    SnmpEngine,
    UdpTransportTarget,
    get_cmd,
    set_cmd,
)

from coldgrid.adapters.snmp_answers import ALARMS
from tests.conftest import service_missing

RECORDS = Path(__file__).parent / "snmp"
USER, AUTH_KEY, PRIV_KEY = "ana", "authentic-1", "private-key-1"
START_WITHIN_S = 60.0


class Agent:
    """snmpsim as a process. A record is chosen by the community, or by the context of version 3."""

    def __init__(self, folder: Path, records: dict[str, str]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir()
        (folder / "cache").mkdir()
        for path in RECORDS.glob("*.snmprec"):
            shutil.copy(path, folder / "data")
        for name, text in records.items():
            (folder / "data" / f"{name}.snmprec").write_text(text)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)

    def start(self) -> None:
        """Start, and wait until it answers."""
        who = ["--process-user=nobody", "--process-group=nogroup"] if os.geteuid() == 0 else []
        command = [
            "snmpsimd",
            f"--data-dir={self.folder / 'data'}",
            f"--cache-dir={self.folder / 'cache'}",
            f"--agent-udpv4-endpoint=127.0.0.1:{self.port}",
            f"--v3-user={USER}",
            f"--v3-auth-key={AUTH_KEY}",
            "--v3-auth-proto=SHA256",
            f"--v3-priv-key={PRIV_KEY}",
            "--v3-priv-proto=AES",
            "--logging-method=null",
            *who,
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder
        )
        end = time.monotonic() + START_WITHIN_S
        while not asyncio.run(self._answers()):
            assert time.monotonic() < end, "snmpsim did not start"
            assert self.process.poll() is None, "snmpsim ended"

    def stop(self) -> None:
        """End it, as when its power is cut."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait(30)

    def put(self, oid: str, value: int, community: str = "ups") -> None:
        """Change a number that its record lets change."""
        asyncio.run(self._set(oid, value, community))

    async def _answers(self) -> bool:
        engine = SnmpEngine()
        target = await UdpTransportTarget.create(("127.0.0.1", self.port), timeout=0.5, retries=0)
        asked = ObjectType(ObjectIdentity("1.3.6.1.2.1.1.1.0"))
        failed, *_ = await get_cmd(
            engine, CommunityData("ups", mpModel=1), target, ContextData(), asked, lookupMib=False
        )
        engine.close_dispatcher()
        return not failed

    async def _set(self, oid: str, value: int, community: str) -> None:
        engine = SnmpEngine()
        target = await UdpTransportTarget.create(("127.0.0.1", self.port), timeout=5, retries=2)
        kind = Gauge32 if oid == ALARMS else Integer32
        changed = ObjectType(ObjectIdentity(oid), kind(value))
        failed, status, *_ = await set_cmd(
            engine, CommunityData(community, mpModel=1), target, ContextData(), changed, lookupMib=False
        )
        engine.close_dispatcher()
        assert not failed, failed
        assert not status, status.prettyPrint()


@contextmanager
def agent(**records: str) -> Iterator[Agent]:
    """Run an agent with the records of the folder, and more."""
    if shutil.which("snmpsimd") is None:
        service_missing("snmpsim (apt-get install snmpsim)")
    folder = Path(tempfile.mkdtemp(prefix="snmpsim-"))
    peer = Agent(folder, records)
    try:
        peer.start()
        yield peer
    finally:
        peer.stop()
        shutil.rmtree(folder, ignore_errors=True)
