"""Driving: the gateways of the sites that this host hosts, each with its driver at work.

Invariants
    R1  A gateway runs where its site's origin is hosted, and nowhere else: the tower drives the sites without
        a node, a node its own.
    R2  What master data, the file of credentials and the hosting say is running within `LOOK_S`, without a
        restart; a driver whose gateway did not change goes on undisturbed.
    R3  A gateway that cannot run says so on the health page with what to do, is tried again, and stops no
        other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from prometheus_client import Gauge

from coldgrid.adapters.driving import (
    CannotBuild,
    Driver,
    Haul,
    Note,
    Receiver,
    Secret,
    make_driver,
)
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.events import Entry
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import NotFound, Rejected, Unavailable
from coldgrid.kernel.tables import to_micros
from coldgrid.node.credentials import credentials_folder, read_secret
from coldgrid.node.hauls import Intake
from coldgrid.node.heard_notes import Heeded
from coldgrid.node.host import LiveHost
from coldgrid.telemetry.gateways import Gateway, GatewayDefined, list_gateways
from coldgrid.telemetry.heard import Device, Point, devices_of_site
from coldgrid.telemetry.sensors import SensorDefined
from coldgrid.telemetry.sources import sensors_by_source

if TYPE_CHECKING:
    from coldgrid.node.parts import Parts

# Gateways may post readings and note what they hear, nothing else.
GATEWAYS = Principal("gateway:drivers", frozenset({"integrator"}))
LOOK_S = 2.0
# Master data is read again when a commit changed it, and now and then anyhow.
READ_EVERY_S = 30.0
STOPPING_AT_ONCE = 16
BUILD_AGAIN_S = 15.0
# A driver has so long to connect before its gateway counts as down.
GRACE_S = 30.0
NOTED_WITHIN_S = 60.0
UP = Gauge("coldgrid_gateway_up", "Whether a gateway's driver works: 1, or 0.", ["gateway"])
logger = structlog.get_logger("coldgrid.gateways")


class GatewayState(msgspec.Struct, frozen=True):
    """How a gateway is. `since_s`: seconds since it last stored a reading, None when never."""

    gateway: Gateway
    ok: bool
    detail: str
    since_s: float | None

    @property
    def quiet(self) -> bool:
        """Whether nothing is wrong and nothing has come yet."""
        return self.ok and self.since_s is None


class NotDriven(NotFound):
    """This gateway is not driven here."""

    todo = "Send to the host of its site, and check that the gateway is active and takes uplinks by HTTP."


class NotStored(Unavailable):
    """Nothing of it was stored."""

    todo = "Send it again in a moment."


class HostClock:
    """The clocks of a host's machine."""

    def __init__(self, host: LiveHost) -> None:
        self._host = host

    def now_us(self) -> int:
        """The machine's time, µs since 1970; not the wall clock's where that was set back (`LiveHost`)."""
        return to_micros(self._host.machine_now())

    def monotonic(self) -> float:
        """Seconds of a clock that never steps."""
        return time.monotonic()


class _Running:
    """A gateway with its driver, or why it has none."""

    def __init__(self, gateway: Gateway, intake: Intake, stamp: float) -> None:
        self.gateway = gateway
        self.intake = intake
        self.stamp = stamp  # of its file of credentials
        self.driver: Driver | None = None
        self.why = ""
        self.tried_s = time.monotonic()

    def state(self) -> tuple[bool, str]:
        """Say how it is."""
        if self.driver is None:
            return False, self.why
        try:
            return self.driver.state()
        except Exception as error:  # R3
            return False, f"{type(error).__name__}: {error}"


class Driving:
    """Runs the gateways of this host. `home`: the site that a node is of, or the network."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._clock = HostClock(parts.host)
        self._running: dict[str, _Running] = {}
        self._heeded: dict[str, Heeded] = {}
        self._sensors: dict[str, Mapping[str, str]] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="gateways", daemon=True)
        self._stale_sites: set[str] = set()
        self._gateways: list[Gateway] = []
        parts.decider.listeners.append(self.on_commit)

    # --- For the host ---------------------------------------------------------------

    def start(self) -> None:
        """Start the gateways that run here."""
        self._thread.start()

    def stop(self) -> None:
        """Stop them all."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Look again when gateways or sensors changed. On the decider's thread: it only remembers."""
        for _, event in recorded:
            if isinstance(event, SensorDefined | GatewayDefined):
                self._stale_sites.add(event.site_id)
                self._wake.set()

    def states(self, site_id: str = "") -> list[GatewayState]:
        """Say how each gateway is that runs here, of one site or of all."""
        now_s = time.monotonic()
        return [
            GatewayState(
                one.gateway,
                *one.state(),
                None if one.intake.stored_s is None else now_s - one.intake.stored_s,
            )
            for _, one in sorted(self._running.items())
            if not site_id or one.gateway.site_id == site_id
        ]

    def newest(self, site_id: str) -> tuple[dict[str, Point], dict[tuple[str, str], Device]]:
        """Return what is newer than the log: the points heard, by source, and what devices said last."""
        heeded = self._heeded.get(site_id)
        return ({}, {}) if heeded is None else (heeded.points(), heeded.devices())

    def uplink(self, gateway_id: str, body: bytes, query: Mapping[str, str]) -> tuple[Haul, Future[bool]]:
        """Read what a gateway sent by HTTP and hand it over; the future is done after the commit.

        Raises:
            NotDriven: no such gateway runs here, or it does not send by HTTP.
        """
        running = self._running.get(gateway_id)
        if running is None or not isinstance(running.driver, Receiver):
            raise NotDriven(gateway_id=gateway_id)
        haul = running.driver.receive(body, query)
        answered: Future[bool] = Future()
        running.intake.deliver(haul, answered.set_result)
        return haul, answered

    # --- The thread -------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                self._look()
            except Exception:  # whatever it was, look again
                logger.exception("gateways_failed")
            self._wake.wait(LOOK_S)
        self._end_all(list(self._running))

    def _look(self) -> None:
        """Let run what should, and note what was heard."""
        with self._parts.reader() as db:
            wanted = self._wanted(db)
            self._learn(db, {one.site_id for one in wanted.values()})
        self._end_all(
            [
                gateway_id
                for gateway_id, running in self._running.items()
                if wanted.get(gateway_id) != running.gateway or self._stamp(running.gateway) != running.stamp
            ]
        )
        for gateway_id, gateway in wanted.items():
            if not self._stopping:
                self._begin(gateway_id, gateway)
        for heeded in self._heeded.values():
            self._note(heeded)

    def _wanted(self, db: Reader) -> dict[str, Gateway]:
        """The gateways that should run here (R1)."""
        hosting = self._parts.decider.shared.hot[Hosting]
        return {one.gateway_id: one for one in list_gateways(db) if one.active and hosting.here(one.site_id)}

    def _learn(self, db: Reader, sites: set[str]) -> None:
        """Know which points are which sensors at the sites that have gateways here."""
        stale, self._stale_sites = self._stale_sites, set()
        for site_id in sites:
            if site_id in stale or site_id not in self._sensors:
                self._sensors[site_id] = sensors_by_source(db, site_id)
            if site_id not in self._heeded:
                told = devices_of_site(db, site_id)
                self._heeded[site_id] = Heeded(site_id, told, self._parts.host.now, time.monotonic)
        for site_id in set(self._heeded) - sites:
            del self._heeded[site_id]
            self._sensors.pop(site_id, None)

    def _begin(self, gateway_id: str, gateway: Gateway) -> None:
        known = self._running.get(gateway_id)
        if known is not None:
            if known.driver is not None or time.monotonic() - known.tried_s < BUILD_AGAIN_S:
                self._note_state(known)
                return
            self._end(gateway_id)
        running = _Running(gateway, self._intake(gateway), self._stamp(gateway))
        try:
            secret = self._secret(gateway)
            driver = make_driver(gateway, secret, running.intake.deliver, self._clock)
            driver.start()
            running.driver = driver
            logger.info("gateway_started", gateway=gateway_id, driver=gateway.driver)
        except CannotBuild as error:
            running.why = str(error)
        except Exception as error:  # R3
            logger.exception("gateway_failed", gateway=gateway_id)
            running.why = f"{type(error).__name__}: {error}"
        self._running[gateway_id] = running
        self._note_state(running)

    def _intake(self, gateway: Gateway) -> Intake:
        site_id = gateway.site_id
        return Intake(
            (gateway.gateway_id, site_id),
            lambda: self._sensors.get(site_id, {}),
            self._heeded[site_id],
            lambda command: self._parts.service.submit(command, GATEWAYS),
            time.monotonic,
            self._shift_us,
        )

    def _shift_us(self) -> int:
        """How far the business clock is ahead of the system's: in the demo it runs on its own."""
        if self._parts.host.clock == "live":
            return 0
        return to_micros(self._parts.host.now()) - self._clock.now_us()

    def _end_all(self, gateway_ids: Sequence[str]) -> None:
        """Stop gateways side by side: each may take seconds while its peer is gone."""
        if gateway_ids:
            with ThreadPoolExecutor(STOPPING_AT_ONCE, "gateways stop") as pool:
                list(pool.map(self._end, gateway_ids))

    def _end(self, gateway_id: str) -> None:
        running = self._running.pop(gateway_id)
        UP.labels(gateway_id).set(0)
        if running.driver is None:
            return
        try:
            running.driver.stop()
            logger.info("gateway_stopped", gateway=gateway_id)
        except Exception:  # R3
            logger.exception("gateway_stop_failed", gateway=gateway_id)

    def _note_state(self, running: _Running) -> None:
        """A gateway's own state is kept as a device's: the tower sees it too."""
        ok, _ = running.state()
        if not ok and time.monotonic() - running.tried_s < GRACE_S:
            return  # it is only beginning
        UP.labels(running.gateway.gateway_id).set(int(ok))
        heeded = self._heeded.get(running.gateway.site_id)
        if heeded is not None:
            note = Note("", None, None, ok, self._clock.now_us())
            heeded.note(running.gateway.gateway_id, note)

    def _note(self, heeded: Heeded) -> None:
        command = heeded.due()
        if command is None:
            return
        try:
            self._parts.service.submit(command, GATEWAYS).result(NOTED_WITHIN_S)
        except Rejected as rejected:
            # It can never be noted, or its site lives elsewhere now: do not try the same for ever.
            logger.warning("not_noted", site_id=heeded.site_id, why=str(rejected))
            if isinstance(rejected, Unavailable):
                return
        heeded.noted(command)

    # --- Credentials ------------------------------------------------------------------

    def _file(self, gateway: Gateway) -> Path | None:
        if not gateway.credentials:
            return None
        return credentials_folder(self._parts.settings) / gateway.credentials

    def _stamp(self, gateway: Gateway) -> float:
        """When a gateway's file of credentials was changed last; 0 where there is none."""
        path = self._file(gateway)
        try:
            return 0.0 if path is None else path.stat().st_mtime
        except OSError:
            return 0.0

    def _secret(self, gateway: Gateway) -> Secret | None:
        path = self._file(gateway)
        return None if path is None else read_secret(path)
