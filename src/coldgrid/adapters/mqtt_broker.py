"""A gateway's broker: where it is, who this host is there, and what is exchanged with it."""

from __future__ import annotations

import msgspec

from coldgrid.adapters.driving import CannotBuild, Secret
from coldgrid.telemetry.gateways import Gateway, split_address


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """Where a broker is and who this host is there. The password is never printed.

    `ca_file`: the certificates that sign the broker's; empty: this machine's own.
    """

    host: str
    port: int
    tls: bool
    client_id: str
    clean: bool
    user: str = ""
    password: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Broker({self.host}:{self.port} as {self.client_id})"


class Will(msgspec.Struct, frozen=True):
    """What the broker says of this host when it is gone: retained, QoS 1."""

    topic: str
    payload: bytes


# A message that may have to be acknowledged: the connection it came by, its id, its QoS.
Ack = tuple[int, int, int]


class Mail(msgspec.Struct, frozen=True):
    """A message that came. `ack` is for `Session.settle`, where its reader keeps it for later."""

    topic: str
    payload: bytes
    retained: bool
    ack: Ack


def broker_of(gateway: Gateway, secret: Secret | None, *, client_id: str, clean: bool) -> Broker:
    """Return a gateway's broker.

    Raises:
        CannotBuild: its address is none of a broker.
    """
    parts = split_address(gateway.address)
    if parts is None or parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        raise CannotBuild(f"{gateway.address[:80]!r} is no address of a broker: write mqtt://host:1883")
    tls = parts.scheme == "mqtts"
    told = secret or Secret({})
    return Broker(
        host=parts.hostname,
        port=parts.port or (8883 if tls else 1883),
        tls=tls,
        client_id=client_id,
        clean=clean,
        user=told.get("user"),
        password=told.get("password"),
        ca_file=told.get("ca_file"),
    )
