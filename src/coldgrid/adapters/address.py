"""An address to serve at: whether somebody is there already."""

from __future__ import annotations

import errno
import socket

from coldgrid.kernel.rejections import Unavailable


class AddressTaken(Unavailable):
    """Another process serves at this address."""

    todo = "Stop that process, or choose another port: --port, or COLDGRID_PORT."


def check_address(host: str, port: int) -> None:
    """Demand that nobody serves at an address: the server would share it, and each get some of the requests.

    Raises:
        AddressTaken: somebody does.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return  # no address of this machine: the server says so
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressTaken(address=f"http://{host}:{port}") from None
