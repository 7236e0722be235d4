"""An address to serve at: whether somebody is there already."""

from __future__ import annotations

import errno
import socket

from coldgrid.kernel.rejections import Unavailable


class AddressTaken(Unavailable):
    """Another process serves at this address."""

    todo = "Stop that process, or choose another port: --port, or COLDGRID_PORT."


class NodesAddressTaken(AddressTaken):
    """Another process listens at the address that nodes come to."""

    todo = "Stop that process, or choose another port with COLDGRID_SYNC_PORT (0: none)."


def check_address(host: str, port: int, refusal: type[AddressTaken] = AddressTaken) -> None:
    """Demand that nobody serves at an address: the server would share it, and each get some of the requests.

    Raises:
        AddressTaken: somebody does; of the kind that `refusal` says.
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
                raise refusal(address=f"{host}:{port}") from None
