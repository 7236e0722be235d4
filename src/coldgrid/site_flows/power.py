"""Power: how far a loss of mains reaches, how long a battery lasts, and what is switched off when. Pure.

Invariants
    W1  One silent device is no loss of mains: an outlet is dead when two devices on it fell silent and none
        speaks, or when a UPS that hangs on it says so.
    W2  A room is dead when several of its outlets are and nothing on mains speaks in it; the site when a UPS
        says that the mains are lost and nothing on mains speaks anywhere.
    W3  What could as well be something else (a gateway, a broker) is `unknown`: it is never called power.
    W4  A battery is judged by load: energy left over power drawn. A percentage says nothing of time.
    W5  Every step of a shutdown begins while what is left of the battery covers it, all steps after it, and
        two minutes more; steps begin in their order, and a step that has begun stays begun.

A circuit is a path below the site, `ROOM` or `ROOM/OUTLET`: what feeds the device, or the gateway that speaks
for it. A device without one runs on a battery of its own; its silence says nothing about the mains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from coldgrid.telemetry.sensors import ShutdownStep

# What a dead outlet must have silenced at least (W1).
SILENT_LEAST = 2
# Kept of the battery beyond what the steps need, seconds (W5).
RESERVE_S = 120.0


class Reach(StrEnum):
    """How far a loss reaches. `unknown`: something is wrong, and power may not be it."""

    OUTLET = "outlet"
    ROOM = "room"
    SITE = "site"
    WAN_ONLY = "wan_only"
    UNKNOWN = "unknown"


class Ups(msgspec.Struct, frozen=True):
    """What a UPS says of the circuit that feeds it. `mains` None: it was never heard."""

    circuit: str
    mains: bool | None


class Loss(msgspec.Struct, frozen=True):
    """A judged loss. `places`: the dead rooms or outlets; for the site, the empty path."""

    reach: Reach
    places: tuple[str, ...] = ()

    def explains(self, circuit: str) -> bool:
        """Tell whether a device on this circuit is silent because of the loss."""
        if not circuit or self.reach not in (Reach.OUTLET, Reach.ROOM, Reach.SITE):
            return False
        return self.reach is Reach.SITE or any(within(circuit, place) for place in self.places)


class Schedule(msgspec.Struct, frozen=True):
    """What of a shutdown is due: steps to begin now, in order, and when the next is at this load."""

    due: tuple[ShutdownStep, ...] = ()
    next_at: datetime | None = None


# --- Extent ---------------------------------------------------------------------


def within(circuit: str, place: str) -> bool:
    """Tell whether a circuit is a place or lies below it."""
    return circuit == place or circuit.startswith(f"{place}/")


def room_of(circuit: str) -> str:
    """Return the room of a circuit: the first part of its path."""
    return circuit.partition("/")[0]


def judge(
    silent_by_circuit: Mapping[str, int],
    heard_by_circuit: Mapping[str, int],
    ups: Sequence[Ups],
    *,
    unsure: int = 0,
    wan_down: bool = False,
) -> Loss | None:
    """Say how far a loss reaches; None where nothing is wrong (W1 to W3).

    Args:
        silent_by_circuit: How many devices on a circuit fell silent. No circuit: left out.
        heard_by_circuit: How many were heard since.
        ups: Every UPS of the site.
        unsure: Devices on mains that were neither heard since nor are overdue yet.
        wan_down: No way out of the site works.
    """
    silent = {circuit: count for circuit, count in silent_by_circuit.items() if circuit and count > 0}
    heard = {circuit for circuit, count in heard_by_circuit.items() if circuit and count > 0}
    lost = {one.circuit for one in ups if one.mains is False}
    fed = {one.circuit for one in ups if one.mains is True}
    if not silent and not lost:
        return Loss(Reach.WAN_ONLY) if wan_down else None
    alive = heard | fed
    if not alive and lost:
        # Only what may still speak keeps this from being the whole site.
        return Loss(Reach.UNKNOWN, tuple(sorted(lost))) if unsure else Loss(Reach.SITE, ("",))
    quiet = {circuit for circuit in silent if not any(within(one, circuit) for one in alive)}
    dead = {circuit for circuit in quiet if silent[circuit] >= SILENT_LEAST} | lost
    return _placed(dead, quiet, alive, heard)


def _placed(dead: set[str], quiet: set[str], alive: set[str], heard: set[str]) -> Loss:
    """Put dead outlets together into rooms where nothing speaks. `quiet`: where somebody is silent."""
    living = {room_of(circuit) for circuit in alive}
    rooms = {
        room
        for room in {room_of(circuit) for circuit in dead | quiet}
        if room not in living and _whole(room, dead, quiet)
    }
    if not living or (len(rooms) > 1 and not heard):
        # Everything that could be heard is silent and nothing says why: a gateway looks the same (W3).
        return Loss(Reach.UNKNOWN, tuple(sorted(dead)))
    if rooms:
        outlets = {circuit for circuit in dead if room_of(circuit) not in rooms}
        return Loss(Reach.ROOM, tuple(sorted(rooms | outlets)))
    return Loss(Reach.OUTLET, tuple(sorted(dead))) if dead else Loss(Reach.UNKNOWN)


def _whole(room: str, dead: set[str], quiet: set[str]) -> bool:
    """Whether what is silent in a room is more than one of its outlets."""
    return room in dead or len({circuit for circuit in dead | quiet if room_of(circuit) == room}) > 1


# --- Battery --------------------------------------------------------------------


def runtime_s(energy_wh: float | None, load_w: float | None, aged_s: float = 0.0) -> float | None:
    """Return how long a battery lasts at its present load, in seconds (W4); None where nobody knows.

    `aged_s`: how old the figures are; what was drawn since is taken off. At no load it lasts for ever.
    """
    if energy_wh is None or load_w is None:
        return None
    if load_w <= 0:
        return float("inf")
    return max(0.0, energy_wh * 3600 / load_w - max(aged_s, 0.0))


def decide_shutdown(
    left_s: float | None, order: Sequence[ShutdownStep], now: datetime, begun: int = 0
) -> Schedule:
    """Say which steps of a shutdown begin now, and when the next one does if the load stays (W5).

    `begun`: how many of them have begun. Where nobody knows how long the battery lasts, nothing is begun by
    itself: people are told so.
    """
    if left_s is None:
        return Schedule()
    due: list[ShutdownStep] = []
    for index in range(begun, len(order)):
        spare_s = left_s - RESERVE_S - sum(step.needs_s for step in order[index:])
        if spare_s > 0:
            if spare_s == float("inf"):
                return Schedule(tuple(due))
            return Schedule(tuple(due), now + timedelta(seconds=min(spare_s, 86_400.0)))
        due.append(order[index])
    return Schedule(tuple(due))
