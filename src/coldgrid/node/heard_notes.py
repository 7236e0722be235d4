"""What the gateways of this host heard beside readings, in memory, and when it is noted in the log.

Invariants
    N1  Memory is bounded: of a gateway at most `POINTS_MAX` points and `DEVICES_MAX` devices.
    N2  A point is noted when it is first heard, again after `SOON_S`, when its rhythm can be told, and then
        once in `heard.POINT_EVERY` while it is; a device when `heard.worth_telling`, and one that goes on and
        off at most once in `AGAIN_S`.
    N3  What could not be noted is tried again; nothing of it counts as noted before its commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from coldgrid.adapters.driving import Heard, Note
from coldgrid.telemetry.heard import (
    NOTED_MAX,
    POINT_EVERY,
    Device,
    NoteHeard,
    Point,
    merged,
    worth_telling,
)

POINTS_MAX = 500
DEVICES_MAX = 500
DEVICE_CHARS_MAX = 160
AGAIN_S = 60.0
SOON_S = 300.0
HOURLY_S = POINT_EVERY / timedelta(seconds=1)


class _Counted:
    """A point since it was last noted, and when that was by the monotonic clock."""

    __slots__ = ("due_s", "first_at", "newest", "noted", "readings")

    def __init__(self, newest: Point) -> None:
        self.newest = newest
        self.first_at = newest.first_at
        self.readings = 0
        self.noted = 0
        self.due_s = float("-inf")


class Heeded:
    """What one site's gateways heard beside readings. Drivers add on their threads, one loop takes it.

    Args:
        site_id: The site.
        told: What is on record of its devices.
        now: The business clock.
        monotonic: Seconds of a clock that never steps.
    """

    def __init__(
        self,
        site_id: str,
        told: Sequence[Device],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self.site_id = site_id
        self._now = now
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._points: dict[str, dict[str, _Counted]] = {}
        self._told = {(one.gateway_id, one.device): one for one in told}
        self._devices: dict[str, dict[str, Device]] = {}
        self._tellings_s: dict[tuple[str, str], float] = {}

    # --- From drivers' threads ----------------------------------------------------

    def hear(self, gateway_id: str, heard: Heard) -> None:
        """Keep a reading of a point that nobody registered."""
        now = self._now()
        newest = Point(
            gateway_id=gateway_id,
            point=heard.point,
            first_at=now,
            last_at=now,
            readings=1,
            value=float(heard.value),
            unit=heard.unit,
        )
        with self._guard:
            points = self._points.setdefault(gateway_id, {})
            counted = points.get(heard.point)
            if counted is None:
                if len(points) >= POINTS_MAX and not _make_room(points, now):
                    return
                counted = points[heard.point] = _Counted(newest)
            counted.newest = newest
            counted.readings += 1

    def note(self, gateway_id: str, note: Note) -> None:
        """Keep what a device said of itself; what cannot be is left out."""
        device = Device(
            gateway_id=gateway_id,
            device="".join(char for char in note.device if char.isprintable())[:DEVICE_CHARS_MAX],
            battery_pct=_within(note.battery_pct, 0.0, 100.0),
            signal_dbm=_within(note.signal_dbm, -200.0, 100.0),
            online=note.online if isinstance(note.online, bool) else None,
            told_at=self._now(),
        )
        with self._guard:
            devices = self._devices.setdefault(gateway_id, {})
            before = devices.get(device.device)
            if before is None and len(devices) >= DEVICES_MAX:
                return
            devices[device.device] = merged(before or self._told.get((gateway_id, device.device)), device)

    # --- From the loop --------------------------------------------------------------

    def due(self) -> NoteHeard | None:
        """Return what is to be noted now; None: nothing. `noted` takes it back when it was committed (N3)."""
        now_s = self._monotonic()
        with self._guard:
            points = [
                msgspec.structs.replace(one.newest, first_at=one.first_at, readings=one.readings)
                for of_gateway in self._points.values()
                for one in of_gateway.values()
                if one.readings and now_s >= one.due_s
            ]
            devices = [
                one
                for of_gateway in self._devices.values()
                for one in of_gateway.values()
                if self._is_news(one, now_s)
            ]
        if not points and not devices:
            return None
        return NoteHeard(
            site_id=self.site_id, points=tuple(points[:NOTED_MAX]), devices=tuple(devices[:NOTED_MAX])
        )

    def _is_news(self, device: Device, now_s: float) -> bool:
        key = (device.gateway_id, device.device)
        if now_s - self._tellings_s.get(key, float("-inf")) < AGAIN_S:
            return False
        return worth_telling(self._told.get(key), device)

    def noted(self, command: NoteHeard) -> None:
        """A note was committed (or can never be): count from there."""
        now_s = self._monotonic()
        with self._guard:
            for point in command.points:
                counted = self._points.get(point.gateway_id, {}).get(point.point)
                if counted is not None:
                    counted.readings -= point.readings
                    counted.first_at = self._now()
                    counted.noted += 1
                    counted.due_s = now_s + (SOON_S if counted.noted == 1 else HOURLY_S)
            for device in command.devices:
                key = (device.gateway_id, device.device)
                self._told[key] = device
                self._tellings_s[key] = now_s

    # --- For pages ------------------------------------------------------------------

    def points(self) -> dict[str, Point]:
        """Return the newest of each point that was heard since the start, by source."""
        with self._guard:
            return {one.newest.source: one.newest for of in self._points.values() for one in of.values()}

    def devices(self) -> dict[tuple[str, str], Device]:
        """Return the newest of each device that said anything since the start."""
        with self._guard:
            return {(one.gateway_id, one.device): one for of in self._devices.values() for one in of.values()}


def _make_room(points: dict[str, _Counted], now: datetime) -> bool:
    """Drop the point that was not heard for longest; False where all were heard within the hour."""
    oldest = min(points, key=lambda name: points[name].newest.last_at)
    if now - points[oldest].newest.last_at < POINT_EVERY:
        return False
    del points[oldest]
    return True


def _within(value: Any, low: float, high: float) -> float | None:
    """A device's battery of 255 % or a signal of NaN says nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if low <= value <= high else None
