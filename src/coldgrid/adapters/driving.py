"""Driving: the one line between drivers of devices and facts. What lies behind it knows no protocol.

Invariants
    D1  A device's quirks end here: what passes is a finite number with a point, a unit and two clocks.
    D2  Nothing vanishes: what a driver cannot read is handed over too, with its beginning and why.
    D3  A driver that was pushed to answers its device after the commit; a polling one keeps what was not
        stored.
    D4  Whatever a device sends, a driver raises nothing and keeps running.

A driver is built by its `Make` and registers itself with `register_driver` when its module is loaded;
`adapters/drivers.py` imports them all. Libraries that are an extra are imported in `Make`, never above it, so
that a gateway's map can be checked where they are not installed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec
import structlog

from coldgrid.telemetry.gateways import DriverForm, Gateway, register_form
from coldgrid.telemetry.ingest import VALUE_MAX
from coldgrid.telemetry.quantities import Unit

# What one haul, one message from a device, and one text about it may hold.
HAUL_READINGS_MAX = 10_000
PAYLOAD_BYTES_MAX = 256 * 1024
POINT_CHARS_MAX = 160
TOLD_CHARS_MAX = 200

BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 60.0
STOP_WITHIN_S = 5.0
# Hauls that a poller keeps while they cannot be stored; the oldest go first, counted.
BACKLOG_HAULS_MAX = 64
ANSWER_LOOK_S = 0.2
ANSWER_WITHIN_S = 120.0
logger = structlog.get_logger("coldgrid.driving")

# --- What passes the line -----------------------------------------------------------


class Heard(msgspec.Struct, frozen=True):
    """One reading.

    `point`: a stable address within the gateway, such as `RACK1/return_air`. `value`: finite; a state is 0.0
    or 1.0. `unit`: as `telemetry.quantities` spells it; empty: the sensor's own. `device_at_us`: by the
    device's own clock; None: it has none. `heard_at_us`: by this host's clock when it was received, or when
    the poll that read it ended. `historical`: the device kept it while nobody listened.
    """

    point: str
    value: float
    unit: str
    device_at_us: int | None
    heard_at_us: int
    historical: bool = False


class Unreadable(msgspec.Struct, frozen=True):
    """Something a device sent that is no reading: where from, how it begins, what is wrong with it."""

    source: str
    text: str
    why: str


class Note(msgspec.Struct, frozen=True):
    """What a device says of itself, or a gateway of a device; None: not told. `at_us`: this host's clock."""

    device: str
    battery_pct: float | None
    signal_dbm: float | None
    online: bool | None
    at_us: int


class Haul(msgspec.Struct, frozen=True):
    """What came in at once."""

    readings: list[Heard] = []
    unreadable: list[Unreadable] = []
    notes: list[Note] = []

    def __len__(self) -> int:
        return len(self.readings) + len(self.unreadable) + len(self.notes)


# Hands a haul over and returns at once. The second is called exactly once, maybe on another thread and maybe
# before this returns: True after the durable commit, False when nothing of it was stored and it may be handed
# over again.
Answer = Callable[[bool], None]
Deliver = Callable[[Haul, Answer], None]


class Clock(Protocol):
    """The clocks of this host."""

    def now_us(self) -> int:
        """The system's time, µs since 1970."""

    def monotonic(self) -> float:
        """Seconds of a clock that never steps."""


class Secret:
    """The names and values of a gateway's file of credentials. It is never printed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def get(self, name: str, default: str = "") -> str:
        """Return one value, such as `user`, `password`, `community`, `auth_key`."""
        return self._values.get(name, default)

    def names(self) -> list[str]:
        """Return which values there are."""
        return sorted(self._values)

    def __repr__(self) -> str:
        return f"Secret({', '.join(self.names())})"


class Driver(Protocol):
    """One gateway at work. Its methods are called from one thread at a time."""

    def start(self) -> None:
        """Start; twice is once."""

    def stop(self) -> None:
        """Stop within `STOP_WITHIN_S`; a driver that was stopped may be started again."""

    def state(self) -> tuple[bool, str]:
        """Say whether it works, and in a sentence how it is or what to do. Called from any thread."""


@runtime_checkable
class Receiver(Protocol):
    """A driver whose gateway sends by HTTP, to `POST /api/v1/gateways/{gateway_id}/uplinks`.

    The host checks who sends and how much, calls this and answers after the commit. Such a driver delivers
    nothing of itself.
    """

    def receive(self, body: bytes, query: Mapping[str, str]) -> Haul:
        """Read a body; total on any bytes."""


Make = Callable[[Gateway, Secret | None, Deliver, Clock], Driver]


class CannotBuild(ValueError):
    """A driver cannot be built here: the message says what is missing and how to put it right."""


class GatewayDown(Exception):
    """A poll failed: the message says what was tried and what to do."""


# --- Registry -----------------------------------------------------------------------

_makers: dict[str, Make] = {}


def register_driver(form: DriverForm, make: Make) -> None:
    """Offer a driver: its form to those who write master data, its maker to those who run it."""
    register_form(form)
    _makers[form.driver] = make


def make_driver(gateway: Gateway, secret: Secret | None, deliver: Deliver, clock: Clock) -> Driver:
    """Build a gateway's driver.

    Raises:
        CannotBuild: no such driver, or it cannot run here.
    """
    make = _makers.get(gateway.driver)
    if make is None:
        raise CannotBuild(f"there is no driver {gateway.driver}: this host runs an older release")
    try:
        return make(gateway, secret, deliver, clock)
    except ImportError as error:
        message = f"{error.name or error} is not installed: pip install 'coldgrid[devices]'"
        raise CannotBuild(message) from error


# --- Helpers for drivers (pure) -------------------------------------------------------


def reading_value(value: Any, unit: str = "") -> float | None:
    """Return what a device sent as a number that can be kept; None: it is none (NaN, infinite, too large).

    True and false are states: 1 and 0, but no number of degrees.
    """
    if isinstance(value, bool):
        return float(value) if unit in {"", Unit.STATE} else None
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and abs(number) < VALUE_MAX else None


def reading_unit(value: Any, unit: str) -> str:
    """Return the unit of what a device sent: what is true or false is a state where nobody says."""
    return Unit.STATE.value if isinstance(value, bool) and not unit else unit


def unreadable(source: str, text: bytes | str, why: str) -> Unreadable:
    """Return what could not be read, short and printable."""
    shown = text[: 2 * TOLD_CHARS_MAX].decode(errors="replace") if isinstance(text, bytes) else text
    return Unreadable(_told(source), _told(shown), _told(why))


def _told(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text[:TOLD_CHARS_MAX])


# --- Polled gateways ------------------------------------------------------------------


class Poller:
    """Polls a gateway on a thread of its own, every `every_s` on a steady grid; polls never overlap.

    After a failure it tries again in 1 s, then 2, 4 … to 60 s, and returns to its grid with the first
    success; slots that passed meanwhile are not made up for. A haul that could not be stored is handed over
    again with the next poll, so that an outage of the store loses nothing until `BACKLOG_HAULS_MAX` wait.

    Args:
        name: The gateway's.
        every_s: The interval.
        poll: Reads everything once and returns it. It may take long but must time out of itself, well within
            `STOP_WITHIN_S` for one request; between requests it should look at `stopping`. It raises
            `GatewayDown` with what to do when nothing could be read. A part that failed is an `Unreadable`.
        deliver: Hands a haul over.
        clock: The clocks.
        closing: Called on the thread after the last poll, and after each failed one: closes the connection.
    """

    def __init__(
        self,
        name: str,
        every_s: float,
        poll: Callable[[], Haul],
        deliver: Deliver,
        clock: Clock,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.stopping = threading.Event()
        self._every_s = every_s
        self._poll = poll
        self._deliver = deliver
        self._clock = clock
        self._closing = closing
        self._thread: threading.Thread | None = None
        self._polling = threading.Lock()
        self._state = (True, "not polled yet")
        self._failures = 0
        self._backlog: list[Haul] = []
        self._dropped = 0

    def start(self) -> None:
        """Start polling; twice is once."""
        if self._thread is not None and self._thread.is_alive() and not self.stopping.is_set():
            return
        self.stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self.stopping,), name=f"poll {self.name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop; a poll under way ends first, within its own time limit."""
        self.stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=STOP_WITHIN_S)

    def state(self) -> tuple[bool, str]:
        """Say how the last poll went."""
        ok, detail = self._state
        if self._dropped:
            return False, f"{detail}; {self._dropped} polls were lost while nothing could be stored"
        if self._backlog:
            return False, f"{detail}; {len(self._backlog)} polls wait to be stored"
        return ok, detail

    # --- The thread -----------------------------------------------------------------

    def _run(self, stopping: threading.Event) -> None:
        due_s = self._clock.monotonic()
        while not stopping.wait(max(0.0, due_s - self._clock.monotonic())):
            with self._polling:  # a thread that was stopped may still be in its last poll
                polled = self._one_poll(stopping)
            if polled:
                due_s = self._next_slot(due_s)
            else:
                wait_s = min(BACKOFF_FIRST_S * 2 ** (self._failures - 1), BACKOFF_MAX_S)
                due_s = self._clock.monotonic() + wait_s
        self._close()

    def _next_slot(self, due_s: float) -> float:
        """The next point of the grid that is still ahead."""
        late_s = self._clock.monotonic() - due_s
        return due_s + self._every_s * (1 + max(0, math.floor(late_s / self._every_s)))

    def _one_poll(self, stopping: threading.Event) -> bool:
        try:
            haul = self._poll()
        except GatewayDown as error:
            self._failed(str(error))
            return False
        except Exception as error:  # whatever a library throws: a device must not end its gateway (D4)
            logger.exception("poll_failed", gateway=self.name)
            self._failed(f"{type(error).__name__}: {error}")
            return False
        self._failures = 0
        told = f"{len(haul.readings)} readings in the last poll"
        if haul.unreadable:
            told += f", {len(haul.unreadable)} could not be read: {haul.unreadable[0].why}"
        self._state = (not haul.unreadable or bool(haul.readings), told)
        self._keep(haul)
        self._hand_over(stopping)
        return True

    def _failed(self, why: str) -> None:
        self._failures = min(self._failures + 1, 16)
        if self._state != (False, why):
            logger.warning("gateway_down", gateway=self.name, why=why)
        self._state = (False, why)
        self._close()

    def _close(self) -> None:
        try:
            self._closing()
        except Exception:
            logger.exception("close_failed", gateway=self.name)

    def _keep(self, haul: Haul) -> None:
        if len(haul):
            self._backlog.append(haul)
        while len(self._backlog) > BACKLOG_HAULS_MAX:
            self._backlog.pop(0)
            self._dropped += 1
            logger.error("poll_lost", gateway=self.name)

    def _hand_over(self, stopping: threading.Event) -> None:
        """Hand over what waits, oldest first, each after the one before was stored (D3)."""
        while self._backlog and not stopping.is_set():
            if not self._stored(self._backlog[0], stopping):
                return
            self._backlog.pop(0)

    def _stored(self, haul: Haul, stopping: threading.Event) -> bool:
        end_s = self._clock.monotonic() + ANSWER_WITHIN_S
        return is_stored(self._deliver, haul, lambda: stopping.is_set() or self._clock.monotonic() > end_s)


def is_stored(deliver: Deliver, haul: Haul, given_up: Callable[[], bool]) -> bool:
    """Deliver a haul and wait for its answer, until it is given up; tell whether it is durable."""
    answered = threading.Event()
    outcome: list[bool] = []

    def answer(stored: bool) -> None:
        outcome.append(stored)
        answered.set()

    deliver(haul, answer)
    while not answered.wait(ANSWER_LOOK_S):
        if given_up():
            return False
    return outcome[0]
