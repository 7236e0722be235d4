"""Supply: what a site's devices say of its mains, its batteries and its ways out, put together now.

Reads only; `mains` and `wan` act on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from coldgrid.kernel.tx import Tx
from coldgrid.site_flows.power import Loss, Reach, Ups, judge, room_of, runtime_s
from coldgrid.telemetry.rules import SUPPLIES, Role
from coldgrid.telemetry.sensors import Sensor, ShutdownStep
from coldgrid.telemetry.signals import Seen, seen_at, signals_of_site

# Overdue: this many intervals, and this long at least, without a reading.
OVERDUE_INTERVALS = 2.5
OVERDUE_LEAST = timedelta(seconds=90)
# What fell silent much earlier than the rest of its room did so for a reason of its own.
TOGETHER = timedelta(minutes=15)


class Battery(msgspec.Struct, frozen=True, kw_only=True):
    """A UPS now: what feeds it, what it says of its mains, how long it lasts at its load. None: unknown."""

    sensor_id: str
    circuit: str
    mains: bool | None
    since: datetime | None
    load_w: float | None = None
    energy_wh: float | None = None
    left_s: float | None = None
    order: tuple[ShutdownStep, ...] = ()


class Supply(msgspec.Struct, frozen=True, kw_only=True):
    """A site's supply now. `silent`: the devices on mains that are overdue, those of the same loss only."""

    loss: Loss | None
    silent: tuple[Sensor, ...]
    unsure: int
    batteries: tuple[Battery, ...]

    @property
    def lost(self) -> tuple[Battery, ...]:
        """The batteries in use."""
        return tuple(one for one in self.batteries if one.mains is False)

    @property
    def dead(self) -> bool:
        """Whether mains are lost somewhere, as far as anybody can tell."""
        return bool(self.lost) or (
            self.loss is not None and self.loss.reach in (Reach.OUTLET, Reach.ROOM, Reach.SITE)
        )

    def explains(self, sensor: Sensor) -> bool:
        """Tell whether a sensor is silent for want of mains; or may be, while others had no time to speak."""
        if self.loss is None or not sensor.circuit:
            return False
        waiting = self.loss.reach is Reach.UNKNOWN and bool(self.lost) and self.unsure > 0
        return waiting or self.loss.explains(sensor.circuit)


def look_at_supply(tx: Tx, site_id: str) -> Supply:
    """Put together what is known of a site's supply."""
    seen = list(seen_at(tx, site_id))
    batteries = _batteries(tx, site_id, seen)
    fed = [one for one in seen if one.sensor.circuit and one.sensor.role not in SUPPLIES and one.heard_at]
    since = min((one.since for one in batteries if one.mains is False and one.since), default=None)
    silent = _together([one for one in fed if _overdue(one, tx.now)])
    newest = [one.heard_at for one in silent if one.heard_at is not None]
    from_at = since or max(newest, default=None)
    names = {one.sensor.sensor_id for one in silent}
    heard: list[Sensor] = []
    unsure = 0
    for one in fed:
        if one.sensor.sensor_id in names or _overdue(one, tx.now):
            continue
        if from_at is None or (one.heard_at is not None and one.heard_at > from_at):
            heard.append(one.sensor)
        else:
            unsure += 1
    loss = judge(
        Counter(one.sensor.circuit for one in silent),
        Counter(one.circuit for one in heard),
        [Ups(one.circuit, one.mains) for one in batteries],
        unsure=unsure,
    )
    return Supply(loss=loss, silent=tuple(s.sensor for s in silent), unsure=unsure, batteries=batteries)


def _overdue(seen: Seen, now: datetime) -> bool:
    assert seen.heard_at is not None
    return now - seen.heard_at > max(
        OVERDUE_LEAST, timedelta(seconds=OVERDUE_INTERVALS * seen.sensor.interval_s)
    )


def _together(silent: Sequence[Seen]) -> list[Seen]:
    """Leave out what was silent long before the rest of its room."""
    last: dict[str, datetime] = {}
    for one in silent:
        room = room_of(one.sensor.circuit)
        if one.heard_at is not None:
            last[room] = max(one.heard_at, last.get(room, one.heard_at))
    return [
        one
        for one in silent
        if one.heard_at is not None and last[room_of(one.sensor.circuit)] - one.heard_at <= TOGETHER
    ]


def _batteries(tx: Tx, site_id: str, seen: Sequence[Seen]) -> tuple[Battery, ...]:
    """Every UPS of the site: its sensors name the same circuit, the one that feeds it."""
    signals = {signal.sensor_id: signal for signal in signals_of_site(tx, site_id)}
    found = []
    for one in seen:
        if one.sensor.role is not Role.UPS_MAINS:
            continue
        signal = signals.get(one.sensor.sensor_id)
        load, energy = (_meter(seen, one.sensor.circuit, role) for role in (Role.UPS_LOAD, Role.UPS_ENERGY))
        aged_s = 0.0
        if energy is not None and energy.value_at is not None:
            aged_s = (tx.now - energy.value_at).total_seconds()
        load_w, energy_wh = (None if meter is None else meter.value for meter in (load, energy))
        found.append(
            Battery(
                sensor_id=one.sensor.sensor_id,
                circuit=one.sensor.circuit,
                mains=None if signal is None else signal.good,
                since=None if signal is None else signal.since,
                load_w=load_w,
                energy_wh=energy_wh,
                left_s=runtime_s(energy_wh, load_w, aged_s),
                order=tuple(one.sensor.shutdown),
            )
        )
    return tuple(found)


def _meter(seen: Sequence[Seen], circuit: str, role: Role) -> Seen | None:
    return next((one for one in seen if one.sensor.role is role and one.sensor.circuit == circuit), None)
