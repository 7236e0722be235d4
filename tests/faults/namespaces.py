"""Networks of their own for processes: a node behind a WAN that can be cut, and its site's own LAN."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.conftest import service_missing


def ip(*words: str) -> None:
    """Run a command of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def require_namespaces() -> None:
    """Skip, and say so, where this machine cannot make networks."""
    if os.geteuid() != 0:
        pytest.skip("networks of their own need root")
    if shutil.which("ip") is None:
        service_missing("ip (Debian's iproute2)")


class Site:
    """A network namespace with two lines to this host: the WAN (10.86.N.2) and the LAN (10.87.N.2)."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.tower = f"10.86.{number}.1"
        self.node = f"10.87.{number}.2"
        self.lead = ("ip", "netns", "exec", name)

    def open(self) -> None:
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        for net, line in ((86, "w"), (87, "l")):
            here, there = f"{self.name}{line}0", f"{self.name}{line}1"
            ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
            ip("addr", "add", f"10.{net}.{self.number}.1/24", "dev", here)
            ip("-n", self.name, "addr", "add", f"10.{net}.{self.number}.2/24", "dev", there)
            ip("link", "set", here, "up")
            ip("-n", self.name, "link", "set", there, "up")

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            ip("netns", "del", self.name)

    def cut(self) -> None:
        """Nothing goes through in either direction; connections are not told."""
        ip("link", "set", f"{self.name}w0", "down")

    def deafen(self) -> None:
        """The tower hears the node, and nothing comes back."""
        ip("route", "add", "blackhole", f"10.86.{self.number}.2/32")

    def mend(self) -> None:
        with suppress(subprocess.CalledProcessError):
            ip("route", "del", "blackhole", f"10.86.{self.number}.2/32")
        ip("link", "set", f"{self.name}w0", "up")


@contextmanager
def site(name: str, number: int) -> Iterator[Site]:
    """Make a site's networks, and take them away again."""
    require_namespaces()
    made = Site(name, number)
    try:
        made.open()
    except subprocess.CalledProcessError as error:
        made.close()
        pytest.skip(f"this machine lets nobody make networks: {error.stderr.strip()[:100]}")
    try:
        yield made
    finally:
        with suppress(subprocess.CalledProcessError):
            made.mend()
        made.close()
