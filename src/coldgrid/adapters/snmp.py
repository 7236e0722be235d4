"""SNMP: a UPS or a network device, polled with version 2c or 3.

Invariants
    P1  A poll asks for everything in the map, a few objects a request; a request that is lost is sent again.
    P2  What an agent does not have is unknown; that it does not answer at all ends the poll.
    P3  Community, names and keys come from the gateway's file of credentials and are never told to anybody.

An agent that is asked with a wrong community, user or key may well not answer at all.
pysnmp speaks asyncio only: the thread that polls runs a loop of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coldgrid.adapters.driving import (
    CannotBuild,
    Clock,
    Deliver,
    Driver,
    GatewayDown,
    Haul,
    Poller,
    Secret,
    register_driver,
)
from coldgrid.adapters.snmp_answers import Absent, Told, read_answers, wanted
from coldgrid.adapters.snmp_map import AgentMap, problems_of_map, read_map, roles_of_map
from coldgrid.telemetry.gateways import DriverForm, Gateway, split_address

if TYPE_CHECKING:
    from types import ModuleType

PORT = 161
# So many objects in one request: their answer fits into one datagram on any line.
OBJECTS_A_REQUEST = 20
AUTH = ("sha256", "sha", "sha224", "sha384", "sha512", "md5")
PRIV = ("aes", "aes192", "aes256", "des")
KEY_CHARS_MIN = 8


class SnmpDriver:
    """One agent at work. `pysnmp`: its high-level interface for asyncio."""

    def __init__(
        self,
        gateway: Gateway,
        known: AgentMap,
        identity: Any,
        pysnmp: ModuleType,
        poller: tuple[Deliver, Clock],
    ) -> None:
        deliver, self._clock = poller
        self._address = gateway.address
        self._known = known
        self._identity = identity
        self._pysnmp = pysnmp
        self._runner: asyncio.Runner | None = None
        self._engine: Any = None
        self._target: Any = None
        self._poller = Poller(
            gateway.gateway_id, gateway.every_s, self.poll, deliver, self._clock, self._close
        )

    def start(self) -> None:
        """Start polling; twice is once."""
        self._poller.start()

    def stop(self) -> None:
        """Stop; a request under way ends first, within its own time limit."""
        self._poller.stop()

    def state(self) -> tuple[bool, str]:
        """Say how the last poll went."""
        return self._poller.state()

    def poll(self) -> Haul:
        """Ask the agent for everything in the map, on the thread that polls.

        Raises:
            GatewayDown: it does not answer, or refuses who asks.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        answers = self._runner.run(self._ask())
        return read_answers(self._known, answers, self._clock.now_us())

    def close(self) -> None:
        """Give up the socket, on the thread that polls."""
        self._close()

    def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        with runner:
            if self._engine is not None:
                runner.run(self._shut())

    async def _shut(self) -> None:
        self._engine.close_dispatcher()
        self._engine = self._target = None
        await asyncio.sleep(0)

    async def _ask(self) -> dict[str, Told]:
        if self._engine is None:
            await self._open()
        oids = wanted(self._known)
        answers: dict[str, Told] = {}
        for at in range(0, len(oids), OBJECTS_A_REQUEST):
            if self._poller.stopping.is_set():
                break
            answers |= await self._get(oids[at : at + OBJECTS_A_REQUEST])
        return answers

    async def _open(self) -> None:
        parts = split_address(self._address)
        assert parts is not None, "an address is checked when it is written"
        host, port = parts.hostname or "", parts.port or PORT
        kind = self._pysnmp.Udp6TransportTarget if ":" in host else self._pysnmp.UdpTransportTarget
        try:
            self._target = await kind.create(
                (host, port), timeout=self._known.timeout_s, retries=self._known.retries
            )
        except Exception as error:  # pysnmp's own, for a name that is not resolved
            raise GatewayDown(f"{self._address}: {error}: look at the address") from error
        self._engine = self._pysnmp.SnmpEngine()

    async def _get(self, oids: Sequence[str]) -> dict[str, Told]:
        """Ask for some objects; when their answer is too long, or one of them spoils it, for fewer."""
        hlapi = self._pysnmp
        failed, status, _, bindings = await hlapi.get_cmd(
            self._engine,
            self._identity,
            self._target,
            hlapi.ContextData(contextName=self._known.context.encode()),
            *[hlapi.ObjectType(hlapi.ObjectIdentity(oid)) for oid in oids],
            lookupMib=False,
        )
        if failed:
            raise GatewayDown(f"{self._address}: {self._what_failed(failed)}")
        # Some agents say nothing is wrong and answer nothing, for one object that they cannot tell.
        spoilt = status or any(_is_null(value) for _, value in bindings)
        if spoilt and len(oids) > 1:
            half = len(oids) // 2
            return await self._get(oids[:half]) | await self._get(oids[half:])
        if status:
            return {oids[0]: Absent(f"was refused: {status.prettyPrint()}")}
        return {str(name): _told(value) for name, value in bindings}

    def _what_failed(self, failed: Any) -> str:
        if type(failed).__name__ == "RequestTimedOut":
            who = "community" if self._known.version == "2c" else "user and its keys"
            return f"no answer: look at its power, its network, and at the {who} in the credentials"
        return f"{failed}: look at the user, its keys and protocols in the credentials"


def _is_null(value: Any) -> bool:
    return type(value).__name__ == "Null"


def _told(value: Any) -> Told:
    """Return a value of pysnmp as a number or bytes. Pure; total on whatever a response may hold."""
    kind = type(value).__name__
    if kind in {"NoSuchObject", "NoSuchInstance", "EndOfMibView"}:
        return Absent("the agent has no such object")
    if _is_null(value):
        return Absent("the agent has no value for it")
    if kind == "ObjectIdentifier":
        return str(value).encode()
    try:
        return int(value) if kind not in {"OctetString", "Opaque", "IpAddress", "Bits"} else bytes(value)
    except (TypeError, ValueError):
        return Absent(f"is of a type that is no number: {kind}")


# --- Who asks -------------------------------------------------------------------------


def _identity(known: AgentMap, secret: Secret | None, hlapi: ModuleType) -> Any:
    """Return who asks, as pysnmp wants it.

    Raises:
        CannotBuild: the credentials lack something.
    """
    values = secret if secret is not None else Secret({})
    if known.version == "2c":
        community = values.get("community", "" if secret is not None else "public")
        if not community:
            raise CannotBuild("the file of credentials has no community: add a line community: …")
        return hlapi.CommunityData(community, mpModel=1)
    if not values.get("user"):
        raise CannotBuild("version 3 needs a user: name a file of credentials with user: …")
    auth = _protocol(hlapi, values, "auth", AUTH, _AUTH_NAMES)
    priv = _protocol(hlapi, values, "priv", PRIV, _PRIV_NAMES)
    if priv is not None and auth is None:
        raise CannotBuild("the file of credentials has priv_key without auth_key: add a line auth_key: …")
    return hlapi.UsmUserData(
        values.get("user"),
        authKey=values.get("auth_key") or None,
        privKey=values.get("priv_key") or None,
        authProtocol=auth or hlapi.USM_AUTH_NONE,
        privProtocol=priv or hlapi.USM_PRIV_NONE,
    )


_AUTH_NAMES = {
    "md5": "USM_AUTH_HMAC96_MD5",
    "sha": "USM_AUTH_HMAC96_SHA",
    "sha224": "USM_AUTH_HMAC128_SHA224",
    "sha256": "USM_AUTH_HMAC192_SHA256",
    "sha384": "USM_AUTH_HMAC256_SHA384",
    "sha512": "USM_AUTH_HMAC384_SHA512",
}
_PRIV_NAMES = {
    "des": "USM_PRIV_CBC56_DES",
    "aes": "USM_PRIV_CFB128_AES",
    "aes192": "USM_PRIV_CFB192_AES",
    "aes256": "USM_PRIV_CFB256_AES",
}


def _protocol(
    hlapi: ModuleType, values: Secret, what: str, known: Sequence[str], names: dict[str, str]
) -> Any:
    """Return the protocol of a key; None: there is no such key. The first of `known` is the default."""
    key = values.get(f"{what}_key")
    if not key:
        return None
    if len(key) < KEY_CHARS_MIN:
        raise CannotBuild(f"{what}_key is shorter than the {KEY_CHARS_MIN} characters of the standard")
    told = values.get(f"{what}_protocol", known[0]).lower()
    if told not in names:
        raise CannotBuild(f"{what}_protocol is none of {', '.join(known)}")
    return getattr(hlapi, names[told])


def make(gateway: Gateway, secret: Secret | None, deliver: Deliver, clock: Clock) -> Driver:
    """Build an agent's driver.

    Raises:
        CannotBuild: the map or the credentials are wrong.
        ImportError: pysnmp is not installed.
    """
    from pysnmp.hlapi.v3arch import asyncio as hlapi  # noqa: PLC0415  # an extra

    known, problems = read_map(gateway.map)
    if problems:
        raise CannotBuild(f"the map is wrong: line {problems[0].line}: {problems[0].message}")
    identity = _identity(known, secret, hlapi)
    return SnmpDriver(gateway, known, identity, hlapi, (deliver, clock))


register_driver(
    DriverForm(
        driver="snmp",
        schemes=("snmp",),
        polls=True,
        problems_of_map=problems_of_map,
        about="SNMP 2c or 3: UPS, routers and other agents",
        example={
            "address": "snmp://10.20.0.9:161",
            "credentials": "ups.yaml",
            "every_s": "10",
            "map": "device: UPS1\nups: {battery_wh: 1800}\n",
        },
        roles_of_map=roles_of_map,
    ),
    make,
)
