"""Hauls: from what a gateway's driver heard to one command, and the driver's answer after the commit.

Invariants
    U1  A reading becomes a fact of the sensor whose source its point is, or goes to the heard list, or is
        refused with the reason; each is counted under one outcome (`coldgrid_device_readings_total`).
    U2  Whatever a driver hands over, nothing of it is raised: a wrong type, NaN, a time beyond any calendar,
        a flood are refused like any other.
    U3  The driver is answered once: yes after the commit, and where handing over again could never help
        (refused, the site lives elsewhere); no where it may.

A point may send `POINT_PER_S` readings a second for long, and a day's backlog at once; a gateway
`GATEWAY_PER_S`. Of what cannot be read, a gateway puts `POISON_PER_S` a second into the quarantine to look
at; all are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
import structlog
from prometheus_client import Counter

from coldgrid.adapters.driving import (
    POINT_CHARS_MAX,
    Answer,
    Haul,
    Heard,
    Note,
    Unreadable,
    unreadable,
)
from coldgrid.kernel.rejections import Invalid, NotFound, OriginElsewhere
from coldgrid.telemetry.device_clocks import DEVICE_TIME, GATEWAY_TIME, KEPT_TIME, MS_US
from coldgrid.telemetry.ingest import READINGS_MAX, VALUE_MAX, IngestReadings, Poisoned
from coldgrid.telemetry.quantities import OWN_UNIT, SPELLINGS, UNIT_CODES
from coldgrid.telemetry.screening import YEAR_2000_US

POINT_PER_S, POINT_BURST = 20.0, 20_000.0
GATEWAY_PER_S, GATEWAY_BURST = 5_000.0, 200_000.0
POISON_PER_S, POISON_BURST = 1.0, 100.0
# Points without a sensor, of one gateway, that rates are kept of: who makes up more names is not heard.
POINTS_MAX = 5_000
POISONED_MAX = 1_000
# What is told again word for word, as by a probe that is dead for weeks, is kept once in so long.
POISON_AGAIN_S, POISON_KNOWN_MAX = 3_600.0, 2_000
# Device times lie within the years 1 to 9998, a host's own from 2000 on.
EARLIEST_US, LATEST_US = -62_135_596_800_000_000, 253_370_764_800_000_000
READINGS = Counter(
    "coldgrid_device_readings_total", "Readings of gateways, by what became of them.", ["gateway", "outcome"]
)
_CODES = {"": OWN_UNIT} | {spelling: UNIT_CODES[unit] for spelling, unit in SPELLINGS.items()}
logger = structlog.get_logger("coldgrid.gateways")


class Bucket:
    """A token bucket: `rate` a second, `burst` at once."""

    __slots__ = ("_burst", "_full_s", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        # When the bucket is full again: one number holds how full it is.
        self._full_s = -math.inf

    def take(self, now_s: float) -> bool:
        """Take one; False where there is none."""
        full_s = max(self._full_s, now_s) + 1.0 / self._rate
        if (full_s - now_s) * self._rate > self._burst:
            return False
        self._full_s = full_s
        return True


class Listed(Protocol):
    """Keeps what has no sensor, and what devices say of themselves."""

    def hear(self, gateway_id: str, heard: Heard) -> None:
        """Keep a reading of a point that nobody registered."""

    def note(self, gateway_id: str, note: Note) -> None:
        """Keep what a device said of itself."""


class Batch:
    """The readings of one haul that are a sensor's, as columns."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.rows: list[tuple[int, int, float, int, int, int]] = []

    def add(self, sensor_id: str, heard: Heard, unit: int, shift_us: int) -> None:
        """Add a reading; its times are moved from the system's to the business clock.

        When it was heard is kept to the millisecond: what a network adds beyond that says nothing, and costs
        more bytes than the value.
        """
        heard_us = (heard.heard_at_us + shift_us) // MS_US * MS_US
        how, claimed_us = GATEWAY_TIME, heard_us
        if heard.device_at_us is not None:
            how = KEPT_TIME if heard.historical else DEVICE_TIME
            claimed_us = heard.device_at_us + shift_us
        number = self.number.setdefault(sensor_id, len(self.number))
        self.rows.append((number, unit, float(heard.value), claimed_us, heard_us, how))

    def command(self, site_id: str, poisoned: list[Poisoned]) -> IngestReadings:
        """Return the command that stores it."""
        numbers, units, values, claimed, heard, how = zip(*self.rows, strict=True) if self.rows else [()] * 6
        return IngestReadings(
            site_id=site_id,
            sensor_ids=list(self.number),
            sensor_no=np.array(numbers, dtype="<u4").tobytes(),
            at_us=np.array(claimed, dtype="<i8").tobytes(),
            value=np.array(values, dtype="<f8").tobytes(),
            unit=bytes(units) if any(units) else b"",
            poisoned=tuple(poisoned),
            heard_us=np.array(heard, dtype="<i8").tobytes(),
            how=bytes(how),
        )


Submit = Callable[[IngestReadings], "Future[Any]"]


class Intake:
    """Takes the hauls of one gateway. `deliver` may be called from any thread, one at a time for each driver.

    Args:
        gateway_id: The gateway.
        site_id: Its site.
        sensors: Returns the site's sensors by source, as they are now.
        listed: Where points without a sensor and notes go.
        submit: Queues a command; its future is done after the commit.
        monotonic: Seconds of a clock that never steps.
        shift_us: What the business clock is ahead of the system's now: 0 but in the demo.
    """

    def __init__(
        self,
        place: tuple[str, str],
        sensors: Callable[[], Mapping[str, str]],
        listed: Listed,
        submit: Submit,
        monotonic: Callable[[], float],
        shift_us: Callable[[], int],
    ) -> None:
        self.gateway_id, self.site_id = place
        self._sensors = sensors
        self._listed = listed
        self._submit = submit
        self._monotonic = monotonic
        self._shift_us = shift_us
        self._rate = Bucket(GATEWAY_PER_S, GATEWAY_BURST)
        self._poison = Bucket(POISON_PER_S, POISON_BURST)
        self._poisoned_s: dict[Poisoned, float] = {}
        self._rates: dict[str, Bucket] = {}
        self._strange_rates: dict[str, Bucket] = {}
        # When the gateway last stored anything, by the monotonic clock.
        self.stored_s: float | None = None

    def deliver(self, haul: Haul, answer: Answer) -> None:
        """Take a haul in (U1 to U3)."""
        try:
            command, stored = self._sorted(haul)
        except Exception:  # a driver's fault must not end its thread (U2)
            logger.exception("haul_failed", gateway=self.gateway_id)
            self._count("unreadable", 1)
            answer(True)
            return
        if command is None:
            answer(True)
            return
        future = self._submit(command)
        future.add_done_callback(lambda done: self._settled(done, stored, answer))

    def _sorted(self, haul: Haul) -> tuple[IngestReadings | None, int]:
        """Sort a haul; return the command that stores it, None for nothing, and how many readings it has."""
        sensors, shift_us, now_s = self._sensors(), self._shift_us(), self._monotonic()
        wrong: list[Unreadable] = list(haul.unreadable)
        self._count("unreadable", len(wrong))
        batch = Batch()
        for heard in haul.readings:
            sensor_id = sensors.get(f"{self.gateway_id}/{heard.point}")
            why, outcome = self._refused(heard, sensor_id is not None, now_s)
            if not why and len(batch.rows) >= READINGS_MAX:
                why, outcome = f"more than {READINGS_MAX} readings at once", "too_fast"
            if why:
                self._count(outcome, 1)
                wrong.append(unreadable(f"{self.gateway_id}/{heard.point}", f"{heard.value!r:.40}", why))
            elif sensor_id is None:
                self._count("unregistered", 1)
                self._listed.hear(self.gateway_id, heard)
            else:
                batch.add(sensor_id, heard, _CODES[heard.unit], shift_us)
        for note in haul.notes:
            self._listed.note(self.gateway_id, note)
        told = [self._poisoned(one) for one in wrong[:POISONED_MAX]]
        poisoned = [one for one in told if self._worth_keeping(one, now_s)]
        if not batch.rows and not poisoned:
            return None, 0
        return batch.command(self.site_id, poisoned), len(batch.rows)

    def _refused(self, heard: Heard, registered: bool, now_s: float) -> tuple[str, str]:
        """Return what is wrong with a reading, and what it is counted as; "" where nothing is."""
        why = problem_of(heard)
        if why:
            return why, "unreadable"
        rates = self._rates if registered else self._strange_rates
        bucket = rates.get(heard.point)
        if bucket is None:
            if not registered and len(rates) >= POINTS_MAX:
                return (
                    f"the gateway sends more than {POINTS_MAX} points that nobody registered",
                    "too_many_points",
                )
            bucket = rates[heard.point] = Bucket(POINT_PER_S, POINT_BURST)
        if not bucket.take(now_s):
            return f"more than {POINT_PER_S:g} readings a second of one point", "too_fast"
        if not self._rate.take(now_s):
            return f"more than {GATEWAY_PER_S:g} readings a second of one gateway", "too_fast"
        return "", ""

    def _worth_keeping(self, one: Poisoned, now_s: float) -> bool:
        """Tell whether the quarantine should have it: it is news there, and this is no flood."""
        if now_s - self._poisoned_s.get(one, -math.inf) < POISON_AGAIN_S or not self._poison.take(now_s):
            return False
        if len(self._poisoned_s) >= POISON_KNOWN_MAX:
            self._poisoned_s.clear()
        self._poisoned_s[one] = now_s
        return True

    def _poisoned(self, one: Unreadable) -> Poisoned:
        source = one.source if one.source.startswith(self.gateway_id) else f"{self.gateway_id}/{one.source}"
        return Poisoned(source=source[:200], text=one.text[:200], why=one.why[:200])

    def _settled(self, done: Future[Any], stored: int, answer: Answer) -> None:
        error = done.exception()
        if error is None:
            self.stored_s = self._monotonic()
            self._count("stored", stored)
        elif isinstance(error, OriginElsewhere):
            # The site has a node now, with its own driver for this gateway.
            self._count("elsewhere", stored)
        elif isinstance(error, NotFound | Invalid):
            self._count("refused", stored)
            logger.warning("haul_refused", gateway=self.gateway_id, readings=stored, why=str(error))
        else:
            self._count("not_stored", stored)
            logger.error("haul_not_stored", gateway=self.gateway_id, readings=stored, why=str(error))
            self._poisoned_s.clear()  # it comes again, and what could not be read with it
            answer(False)
            return
        answer(True)

    def _count(self, outcome: str, number: int) -> None:
        if number:
            READINGS.labels(self.gateway_id, outcome).inc(number)


def problem_of(heard: Heard) -> str:
    """Return what is wrong with a reading by itself; empty: nothing."""
    point, value, unit = heard.point, heard.value, heard.unit
    if not isinstance(point, str) or not 0 < len(point) <= POINT_CHARS_MAX or not point.isprintable():
        return f"a point's address has 1 to {POINT_CHARS_MAX} printable characters"
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "is no finite number"
    if abs(value) >= VALUE_MAX:
        return f"is not below {VALUE_MAX:.0f}"
    if not isinstance(unit, str) or unit not in _CODES:
        return f"{str(unit)[:20]!r} is no unit known here"
    return _time_problem(heard)


def _time_problem(heard: Heard) -> str:
    if not isinstance(heard.heard_at_us, int) or not YEAR_2000_US <= heard.heard_at_us < LATEST_US:
        return "it was heard at a time that no host has"
    at_us = heard.device_at_us
    if at_us is not None and (not isinstance(at_us, int) or not EARLIEST_US < at_us < LATEST_US):
        return "its time is in no calendar"
    return ""
