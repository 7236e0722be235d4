"""Lookout: a worker's own connection to the lease. It beats, and sees who leads, by the database's clock."""

from __future__ import annotations

import time

import msgspec
import psycopg
import structlog

from coldgrid.kernel import postgres_lease
from coldgrid.kernel.postgres import PATIENCE
from coldgrid.kernel.postgres_lease import HeardWorker, Lease
from coldgrid.node.background import Health
from coldgrid.tower.workers import figures

# A silent leader is replaced when it was silent in so many looks: one late look proves nothing.
LOOKS = 2
LIST_EVERY_S = 2.0
logger = structlog.get_logger("coldgrid.workers")


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker says of itself. `serves`: where its pages are; `reached`: a follower reaches the leader.

    Of a follower: why it must not lead. Of a leader: its keys, why its timers stand still, who follows, and
    how each of its duties is.
    """

    role: str = ""
    term: int = 0
    pid: int = 0
    serves: str = ""
    reached: bool = False
    stands_back: str = ""
    keys: list[str] = []
    frozen_why: str = ""
    followers: list[str] = []
    parts: list[Health] = []


NOBODY = Told()
_decode = msgspec.json.Decoder(Told)


class Lookout:
    """Looks at the lease. Used by the worker's thread alone; what it saw may be read by any."""

    def __init__(self, url: str, worker: str, lease_s: float) -> None:
        self._url = url
        self._worker = worker
        self.lease_s = lease_s
        self.lease: Lease | None = None
        self.leader = NOBODY
        self.keys_seen: list[str] = []
        self.workers: list[HeardWorker] = []
        self.why = "not looked yet"
        self.looked_s = self.led_s = time.monotonic()
        self._driver: psycopg.Connection[tuple[object, ...]] | None = None
        self._silent_looks = 0
        self._listed_s = float("-inf")

    def beat(self, told: Told, address: str, certificate: str) -> Lease | None:
        """Beat and look; return who decides, or None where the database does not answer."""
        try:
            driver = self._connected()
            text = msgspec.json.encode(told).decode()
            postgres_lease.beat(driver, self._worker, address, certificate, text)
            lease = postgres_lease.look(driver)
            if time.monotonic() - self._listed_s > LIST_EVERY_S:
                self.workers = postgres_lease.workers(driver)
                self._listed_s = time.monotonic()
        except psycopg.Error as error:
            self.why = f"{type(error).__name__}: {error}".strip()
            self.close()
            return None
        self.why, self.lease, self.looked_s = "", lease, time.monotonic()
        self.leader = _told(lease.told)
        self.keys_seen = self.leader.keys or self.keys_seen
        if lease.certificate and (lease.silent_s or 0) <= self.lease_s:
            self.led_s = self.looked_s
        figures.TERM.set(lease.term)
        unheard_s = self.looked_s - self.led_s  # by this worker's own clock: the holder said that it ended
        figures.SILENT.set(unheard_s if lease.silent_s is None else lease.silent_s)
        figures.WORKERS.set(sum(one.silent_s < self.lease_s for one in self.workers))
        return lease

    def is_free(self, lease: Lease) -> bool:
        """Tell whether the lease is to be had. A holder that is silent loses its session here (lease.L3)."""
        if not lease.held:
            return True
        silent = lease.silent_s is not None and lease.silent_s > self.lease_s
        self._silent_looks = self._silent_looks + 1 if silent else 0
        if self._silent_looks < LOOKS or self._driver is None:
            return False
        self._silent_looks = 0
        try:
            ended = postgres_lease.end_silent(self._driver, lease.term, self.lease_s)
        except psycopg.Error as error:
            logger.warning("silent_leader_not_ended", why=str(error))
            return False
        if ended:
            figures.TAKEOVERS.inc()
            logger.warning("silent_leader_ended", leader=lease.holder, silent_s=round(lease.silent_s or 0, 1))
        return ended

    def leave(self) -> None:
        """Beat no more, and say so."""
        if self._driver is not None and not self._driver.closed:
            try:
                postgres_lease.leave(self._driver, self._worker)
            except psycopg.Error as error:
                logger.warning("could_not_leave", why=str(error))
        self.close()

    def close(self) -> None:
        """Close the connection; the next beat opens another."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _connected(self) -> psycopg.Connection[tuple[object, ...]]:
        if self._driver is None or self._driver.closed or self._driver.broken:
            driver = psycopg.connect(self._url, autocommit=True, **{**PATIENCE, "connect_timeout": 2})
            try:
                driver.execute("SET synchronous_commit = off")  # a beat that a crash loses is none
                driver.execute("SET statement_timeout = 2000")
                postgres_lease.make_tables(driver)
            except psycopg.Error:
                driver.close()
                raise
            self._driver = driver
        return self._driver


def _told(text: str) -> Told:
    try:
        return _decode.decode(text) if text else NOBODY
    except msgspec.MsgspecError:  # of another release
        return NOBODY


def told_of(heard: HeardWorker) -> Told:
    """Return what a worker says of itself."""
    return _told(heard.told)
