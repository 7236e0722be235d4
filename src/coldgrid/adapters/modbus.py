"""Modbus TCP: controllers behind a gateway, polled over one connection.

Invariants
    N1  A request that timed out, was refused or was answered by something else leaves its points unknown.
    N2  A unit that is silent costs one timeout a poll at most, and rests between polls; the others go on.
    N3  Bytes that are no answer, and a request without one, end the connection: nobody knows where the next
        answer begins, and an answer that comes late must not pass for another's. It names no address.

A request that a device refuses for its address is parted in two, poll by poll, until what exists is read.
What was learned so is forgotten with the connection.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from coldgrid.adapters import modbus_frames as frames
from coldgrid.adapters.driving import (
    CannotBuild,
    Clock,
    Deliver,
    Driver,
    GatewayDown,
    Haul,
    Note,
    Poller,
    Secret,
    register_driver,
    unreadable,
)
from coldgrid.adapters.modbus_map import (
    FUNCTIONS,
    Device,
    RegisterMap,
    problems_of_map,
    read_map,
    roles_of_map,
)
from coldgrid.adapters.modbus_reads import Read, decode, halves, plan
from coldgrid.telemetry.gateways import DriverForm, Gateway, split_address

PORT = 502
CHUNK_BYTES = 4_096
# A unit that is silent is asked again after this, doubled each time.
REST_FIRST_S, REST_MAX_S = 2.0, 60.0
# So many connections may break, and so many units be silent before any answered, until a poll gives up.
BREAKS_MAX = 3
SILENT_MAX = 3
GATEWAYS_FAILED = (frames.GATEWAY_PATH, frames.GATEWAY_TARGET)
PARTED = (frames.ILLEGAL_ADDRESS, frames.ILLEGAL_VALUE)


class Silent(Exception):
    """No answer came in time."""


class Link:
    """One connection. Its errors are `OSError`, `Silent`, `Refused` and `Garbled`."""

    def __init__(self, address: tuple[str, int], timeout_s: float, clock: Clock) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._clock = clock
        self._sock: socket.socket | None = None
        self._buffer = b""
        self._transaction = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._sock is not None

    def open(self) -> None:
        """Connect."""
        self._buffer = b""
        self._sock = socket.create_connection(self._address, timeout=self._timeout_s)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """End the connection, if there is one."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def interrupt(self) -> None:
        """End a request that another thread waits for."""
        sock = self._sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def ask(self, unit_id: int, read: Read) -> bytes:
        """Return the data of the answer to one request; late answers to earlier ones are passed over."""
        sock = self._sock
        if sock is None:
            raise ConnectionAbortedError("the connection was closed here")
        function = FUNCTIONS[read.kind]
        self._transaction = self._transaction % 0xFFFF + 1
        request = frames.encode_request(self._transaction, unit_id, function, read.address, read.count)
        until_s = self._clock.monotonic() + self._timeout_s
        try:
            sock.settimeout(self._timeout_s)
            sock.sendall(request)
            while True:
                frame, used = frames.split_frame(self._buffer)
                self._buffer = self._buffer[used:]
                if frame is None:
                    self._buffer += self._receive(sock, until_s)
                elif frame.transaction == self._transaction:
                    return frames.read_answer(frame, unit_id, function, read.count)
        except TimeoutError:
            raise Silent from None

    def _receive(self, sock: socket.socket, until_s: float) -> bytes:
        left_s = until_s - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError
        sock.settimeout(left_s)
        received = sock.recv(CHUNK_BYTES)
        if not received:
            raise ConnectionResetError("the gateway closed the connection")
        return received


class Unit:
    """A device and how it fares."""

    def __init__(self, device: Device, known: RegisterMap) -> None:
        self.device = device
        self._known = known
        self.online: bool | None = None
        self.fresh()

    def fresh(self) -> None:
        """Forget what was learned: the connection is new."""
        self.reads = plan(self.device, self._known.gap_registers, self._known.registers_max)
        self.silences = 0
        self.rests_until_s = 0.0

    def part(self, read: Read) -> None:
        """Ask for less at once from the next poll on."""
        at = self.reads.index(read)
        self.reads[at : at + 1] = halves(read)

    def rest(self, now_s: float) -> float:
        """Leave it alone for a while, in seconds."""
        rest_s: float = min(REST_FIRST_S * 2**self.silences, REST_MAX_S)
        self.silences = min(self.silences + 1, 8)
        self.rests_until_s = now_s + rest_s
        return rest_s


class ModbusDriver:
    """A gateway of Modbus TCP at work: a poll asks every unit for its registers."""

    def __init__(self, gateway: Gateway, known: RegisterMap, deliver: Deliver, clock: Clock) -> None:
        self._address = gateway.address
        self._clock = clock
        parts = split_address(gateway.address)
        assert parts is not None, "an address is checked when it is written"
        self._link = Link((parts.hostname or "", parts.port or PORT), known.timeout_s, clock)
        self._units = [Unit(device, known) for device in known.devices]
        self._broke = False
        self._poller = Poller(
            gateway.gateway_id, gateway.every_s, self.poll, deliver, clock, self._link.close
        )

    def start(self) -> None:
        """Start polling; twice is once."""
        self._poller.start()

    def stop(self) -> None:
        """Stop; a request under way is given up."""
        self._poller.stopping.set()
        self._link.interrupt()
        self._poller.stop()
        self._link.close()

    def state(self) -> tuple[bool, str]:
        """Say how the last poll went."""
        return self._poller.state()

    # --- One poll -------------------------------------------------------------------

    def poll(self) -> Haul:
        """Ask every unit once.

        Raises:
            GatewayDown: there is no connection.
        """
        haul = Haul([], [], [])
        breaks = silent = asked = 0
        for unit in list(self._units):
            if self._poller.stopping.is_set():
                break
            if self._clock.monotonic() < unit.rests_until_s:
                self._tell_unread(unit, haul, unit.reads[:1], "did not answer and is left alone for a while")
                continue
            asked += 1
            try:
                self._connect(haul)
                silent += not self._ask_unit(unit, haul)
            except (OSError, frames.Garbled) as error:
                self._link.close()
                self._broke = True
                breaks += 1
                self._tell_broken(haul, error)
            if breaks >= BREAKS_MAX or (silent >= SILENT_MAX and not haul.readings):
                break
        if not haul.readings and (breaks or silent) and not self._poller.stopping.is_set():
            self._nothing_came(haul, asked, broke=breaks > 0)
        return haul

    def _connect(self, haul: Haul) -> None:
        if self._link.is_open:
            return
        try:
            self._link.open()
        except OSError as error:
            why = f"{self._address} takes no connection ({error}): look at its power and its network"
            if not haul.readings:
                raise GatewayDown(why) from error
            raise ConnectionError(why) from error
        if self._broke:
            self._broke = False
            for unit in self._units:
                unit.fresh()

    def _nothing_came(self, haul: Haul, asked: int, *, broke: bool) -> None:
        """Begin the next poll anew, and with others: a few dead units must not hide those that live."""
        self._link.close()
        self._units = self._units[asked:] + self._units[:asked]
        if broke:
            raise GatewayDown(haul.unreadable[-1].why)

    def _ask_unit(self, unit: Unit, haul: Haul) -> bool:
        """Ask for all that a unit has; return whether it answered."""
        reads = list(unit.reads)
        for index, read in enumerate(reads):
            if self._poller.stopping.is_set():
                return True
            try:
                data = self._link.ask(unit.device.unit_id, read)
            except Silent:
                self._link.close()
                self._fell_silent(unit, haul, reads[index:], "did not answer in time")
                return False
            except frames.Refused as refused:
                if refused.code in GATEWAYS_FAILED:
                    self._fell_silent(unit, haul, reads[index:], str(refused))
                    return False
                self._tell_unread(unit, haul, [read], str(refused))
                if refused.code in PARTED and len(read.registers) > 1:
                    unit.part(read)
                continue
            got = decode(read, data, self._clock.now_us())
            haul.readings.extend(got.readings)
            haul.unreadable.extend(got.unreadable)
        unit.silences = 0
        self._tell_online(unit, haul, online=True)
        return True

    # --- What is told -----------------------------------------------------------------

    def _fell_silent(self, unit: Unit, haul: Haul, reads: list[Read], why: str) -> None:
        unit.rest(self._clock.monotonic())
        self._tell_unread(unit, haul, reads, why)
        self._tell_online(unit, haul, online=False)

    def _tell_unread(self, unit: Unit, haul: Haul, reads: list[Read], why: str) -> None:
        """Tell of requests without a value: one line for each (N1)."""
        for read in reads:
            last = read.address + read.count - 1
            source = f"{unit.device.name}/{read.kind} {read.address} to {last}"
            points = ", ".join(one.point.partition("/")[2] for one in read.registers)
            haul.unreadable.append(unreadable(source, points, f"{unit.device.name} {why}"))

    def _tell_broken(self, haul: Haul, error: Exception) -> None:
        haul.unreadable.append(unreadable(self._address, "", f"{self._address}: {error}"))

    def _tell_online(self, unit: Unit, haul: Haul, *, online: bool) -> None:
        """Tell when a unit was first heard, fell silent or came back."""
        if unit.online is not online:
            unit.online = online
            note = Note(unit.device.name, None, None, online, self._clock.now_us())
            haul.notes.append(note)


def make(gateway: Gateway, secret: Secret | None, deliver: Deliver, clock: Clock) -> Driver:
    """Build the driver of a gateway. Modbus knows no secrets.

    Raises:
        CannotBuild: the map is wrong; the first line that is, and why.
    """
    known, problems = read_map(gateway.map)
    if problems:
        raise CannotBuild(f"the map is wrong: line {problems[0].line}: {problems[0].message}")
    return ModbusDriver(gateway, known, deliver, clock)


register_driver(
    DriverForm(
        driver="modbus",
        schemes=("modbus",),
        polls=True,
        problems_of_map=problems_of_map,
        about="Modbus TCP: registers of controllers behind one gateway",
        example={
            "address": "modbus://10.20.0.7:502",
            "every_s": "10",
            "map": "devices:\n"
            "  - name: RACK1\n"
            "    unit_id: 1\n"
            "    registers:\n"
            "      - {name: return_air, kind: input, address: 30, type: int16, scale: 0.1, unit: C}\n"
            "      - {name: door, kind: discrete, address: 4, unit: state, role: door}\n",
        },
        roles_of_map=roles_of_map,
    ),
    make,
)
