"""Word to the service manager that started this process: datagrams, as sd_notify(3) says."""

from __future__ import annotations

import socket
from contextlib import closing


def tell(address: str, state: str) -> str:
    """Send a state, such as `READY=1`; return what went wrong. `address`: a path, or @ and a name."""
    place = "\0" + address[1:] if address.startswith("@") else address
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as link:
            link.connect(place)
            link.sendall(state.encode())
    except OSError as error:
        return error.strerror or str(error)
    return ""
