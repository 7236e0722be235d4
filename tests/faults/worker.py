"""A process whose children are killed: they carry out commands and say which were acknowledged.

Run as `python -m tests.faults.worker DATABASE LOAD`. For each line on its standard input, the number of a
round, it forks a child, which says `child PID` and then writes `ack KEY` for each command after its future
answered, in one write, so that no line is ever torn; when it was killed, `over` follows. Rooms are imported
once, before the first fork.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator

import msgspec

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Command
from coldgrid.kernel.registry import origin_checks
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.service import DeciderService
from coldgrid.orchestration.approvals import DecideApproval, RequestApproval
from coldgrid.stock.holds import PlaceHold
from coldgrid.stock.movements import MoveUnit
from coldgrid.tower.rooms import load_rooms
from tests.conftest import HandClock
from tests.kernel.rooms import Bump
from tests.orchestration.night import advice
from tests.orders.world import order
from tests.stock.world import BULK, PICK, SITE, hold, release, sscc
from tests.telemetry.cold_room import AIR, readings

# The keys and commands of one caller, without end. A key is ROUND-CALLER-STEP.
Caller = Callable[[str], Iterator[tuple[str, Command]]]
MOVED, HELD = sscc(3), sscc(4)
SUPERVISOR = Principal("sam", frozenset({"supervisor", "quality"}))
PLACER = Principal("ana", frozenset({"operator"}))
READ_EVERY_MIN = 0.001


def bumps(name: str) -> Iterator[tuple[str, Command]]:
    """The toy room's command, with its cascade and its cursor reaction."""
    for step in itertools.count():
        key = f"{name}-{step}"
        yield key, Bump(site_id=SITE, name=key)


def orders(name: str) -> Iterator[tuple[str, Command]]:
    """Orders of one piece."""
    for step in itertools.count():
        key = f"{name}-{step}"
        yield key, msgspec.structs.replace(order(qty=1), channel_order_id=key)


def minute_of(key: str) -> float:
    """The minute of the reading that a key's batch holds: each later than the ones before."""
    turn, _, step = key.split("-")
    return -600 + int(turn) * 10 + int(step) * READ_EVERY_MIN


def batches(name: str) -> Iterator[tuple[str, Command]]:
    """Readings, a batch at a time."""
    for step in itertools.count():
        key = f"{name}-{step}"
        yield key, readings([(AIR, minute_of(key), -21.5 + 0.01 * (step % 2))])


def approvals(name: str) -> Iterator[tuple[str, Command]]:
    """Questions to a supervisor, each with its answer."""
    for step in itertools.count():
        key = f"{name}-{step}"
        decision = msgspec.structs.replace(advice("ATL1-FRZ2", moves=True), decision_id=f"d-{key}")
        yield (
            f"ask/{key}",
            RequestApproval(
                site_id=SITE,
                approval_id=key,
                incident_id="i1",
                role="supervisor",
                subject="Move the goods",
                decision=decision,
            ),
        )
        yield key, DecideApproval(site_id=SITE, approval_id=key, choice="ATL1-FRZ2")


def moves(name: str) -> Iterator[tuple[str, Command]]:
    """A pallet goes to and fro."""
    for step in itertools.count():
        place = PICK if step % 2 else BULK
        yield f"{name}-{step}", MoveUnit(site_id=SITE, sscc=MOVED, to_location_id=place)


def holds(name: str) -> Iterator[tuple[str, Command]]:
    """A pallet is held and let go: the network follows from its cursor."""
    for step in itertools.count():
        yield f"hold/{name}-{step}", hold(f"h{name}-{step}", HELD, cause_id=f"{name}-{step}")
        yield f"{name}-{step}", release(f"h{name}-{step}", HELD)


LOADS: dict[str, dict[str, Caller]] = {
    "toy": {f"bump{caller}": bumps for caller in range(6)},
    "rooms": {
        "order1": orders,
        "order2": orders,
        "batch": batches,
        "approval": approvals,
        "move": moves,
        "hold": holds,
    },
}


def work(database: str, turn: str, load: dict[str, Caller]) -> None:
    """Load the decider from several threads until somebody ends this process."""
    service = DeciderService(Decider(open_database(database), HandClock()), lambda due: 1.0)
    service.start()

    def call(caller: str, commands: Caller) -> None:
        for key, command in commands(f"{turn}-{caller}"):
            who = PLACER if isinstance(command, PlaceHold) else SUPERVISOR
            try:
                service.submit(command, who, key).result(30)
            except Rejected:  # as where the pallet is already there: the child before this one sent it
                continue
            os.write(1, f"ack {key}\n".encode())

    threads = [threading.Thread(target=call, args=one, daemon=True) for one in load.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(database: str, load: str) -> None:
    """Fork a child for each round, and wait until it is dead."""
    load_rooms()
    if load == "toy":
        origin_checks.clear()  # the toys' site is defined nowhere
    for turn in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                os.write(1, f"child {os.getpid()}\n".encode())  # by itself: nothing it says comes before
                work(database, turn.strip(), LOADS[load])
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        os.write(1, b"over\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
