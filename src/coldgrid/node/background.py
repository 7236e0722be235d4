"""Background work of a serving host: checkpoints, effects, readings from a broker. Each part says how it is.

A part that fails says so on the health page and goes on trying; it never stops the others or a page.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from coldgrid.adapters.dispatcher import Dispatcher
from coldgrid.adapters.mqtt import MqttIngest
from coldgrid.adapters.mqtt_links import MqttSettings
from coldgrid.adapters.siren import broker_of
from coldgrid.evidence import checkpoints
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.forks import InQuarantine, quarantined
from coldgrid.evidence.notes import open_signer
from coldgrid.evidence.tiles import KeptHead
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.outbox import Channel, ReportEffect
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.settings import Settings
from coldgrid.node import history
from coldgrid.node.auditing import Auditor
from coldgrid.node.driving import Driving
from coldgrid.node.fan_out import TRIM_EVERY_S, fan_out_of, settle_outbox
from coldgrid.node.live import publish_readings
from coldgrid.node.overview import Overview
from coldgrid.node.parts import system_now, usual_unit
from coldgrid.node.retention import EVERY_S as RETENTION_EVERY_S
from coldgrid.node.retention import Retention
from coldgrid.telemetry.arrivals import Arrivals
from coldgrid.telemetry.newest import Newest, copy_newest
from coldgrid.telemetry.watch import Watch

if TYPE_CHECKING:
    from coldgrid.node.parts import Parts

SEED_BYTES = 32
# The broker's gateway may post readings and nothing else.
GATEWAY = Principal("gateway:mqtt", frozenset({"integrator"}))
OVERVIEW_EVERY_S = 2.0
AUDIT_EVERY_S = 2.0
REPORT_WITHIN_S = 60.0
logger = structlog.get_logger("coldgrid.background")


class Health(msgspec.Struct, frozen=True):
    """How a part of the background work is. `since_s`: seconds since it last succeeded, None when never.

    `idle`: it has had nothing to do yet, so nobody knows whether it works; `waits_for`: what it has to get.
    """

    name: str
    ok: bool
    detail: str
    since_s: float | None
    idle: bool = False
    waits_for: str = ""


class Loop:
    """Runs a function every so often on a thread of its own, and remembers how that went."""

    def __init__(self, name: str, every_s: float, work: Callable[[], str]) -> None:
        self.name = name
        self._every_s = every_s
        self._work = work
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._detail = "not run yet"
        self._ok = True
        self._succeeded_s: float | None = None

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the present round."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def health(self) -> Health:
        """Say how it is."""
        since_s = None if self._succeeded_s is None else time.monotonic() - self._succeeded_s
        return Health(self.name, self._ok, self._detail, since_s, idle=self._ok and since_s is None)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._detail = self._work()
                self._ok = True
                self._succeeded_s = time.monotonic()
            except InQuarantine as known:  # it was reported when it was found
                self._ok = False
                self._detail = str(known)
            except Exception as error:
                detail = f"{type(error).__name__}: {error}"
                if detail != self._detail:  # once, not at every round while it lasts
                    logger.exception("background_failed", part=self.name)
                self._ok = False
                self._detail = detail


def open_notary(settings: Settings, signer_name: str, home: str) -> Notary:
    """Open the key that a host signs its logs with; where there is none yet, make one.

    `signer_name` is the key's name in checkpoints, `home` the origin that the host writes itself.
    """
    key_file = Path(settings.signing_key)
    key_file.parent.mkdir(parents=True, exist_ok=True)
    signer = open_signer(key_file, signer_name, secrets.token_bytes(SEED_BYTES))
    return Notary(signer=signer, network_name=settings.network, home=home)


def no_orders(db: Reader) -> dict[str, int]:
    """Count the orders by status where none are kept."""
    return {}


class BaseBackground:
    """All background work that every host has. `orders` counts the orders by status."""

    def __init__(
        self,
        parts: Parts,
        channels: Mapping[str, Channel],
        notary: Notary,
        orders: Callable[[Reader], dict[str, int]] = no_orders,
    ) -> None:
        self._parts = parts
        self.notary = notary
        self.overview = Overview(parts.reader, self._newest, parts.host.now, orders)
        unit = partial(usual_unit, parts.settings)
        self.dispatcher = Dispatcher(channels, parts.reader, self._report, system_now, unit=unit)
        self._auditor = Auditor(parts, self.notary, time.monotonic)
        self.loops = [
            Loop("checkpoints", parts.settings.checkpoint_every_s, self._checkpoint),
            Loop("overview", OVERVIEW_EVERY_S, self._look),
            Loop("audit of the log", AUDIT_EVERY_S, self._auditor.round),
            *history_loops(parts, notary.home),
        ]
        self.retention = Retention(parts, notary.home)
        self.loops.append(Loop("retention", RETENTION_EVERY_S, self.retention.round))
        trim = settle_outbox(parts)
        if trim is not None:
            self.loops.append(Loop("outbox table", TRIM_EVERY_S, trim))
        self.readings = mqtt_readings(parts, notary.home)
        self.driving = Driving(parts)
        self.stream = fan_out_of(parts, notary.home)

    def start(self) -> None:
        """Start every part."""
        self.dispatcher.start()
        if self.readings is not None:
            self.readings.start()
        self.driving.start()
        if self.stream is not None:
            self.stream.start()
        for loop in self.loops:
            loop.start()

    def stop(self) -> None:
        """Stop every part."""
        for loop in reversed(self.loops):
            loop.stop()
        if self.stream is not None:
            self.stream.stop()
        self.driving.stop()
        if self.readings is not None:
            self.readings.stop()
        self.dispatcher.stop()

    def health(self) -> list[Health]:
        """Say how each part is."""
        channels = [
            Health(
                f"channel {state.channel}",
                state.ok,
                state.last_why or (f"{state.sent} sent" if state.sent else "nothing sent yet"),
                None,
                idle=state.ok and not state.sent and not state.last_why,
            )
            for state in self.dispatcher.states()
        ]
        gateways = [
            Health(
                f"gateway {one.gateway.gateway_id}",
                one.ok,
                one.detail,
                one.since_s,
                idle=one.quiet,
                waits_for="its first reading",
            )
            for one in self.driving.states()
        ]
        return [loop.health() for loop in self.loops] + self._brokers() + gateways + channels

    def told(self) -> list[tuple[str, bool, str]]:
        """Say how each part is, for an operator at this machine: name, whether it is well, what it says."""
        return [(part.name, part.ok, part.detail) for part in self.health()]

    def _brokers(self) -> list[Health]:
        found = []
        if self.readings is not None:
            up, all_ = self.readings.connected, self.readings.settings.connections
            found.append(Health("readings by MQTT", up == all_, f"{up} of {all_} connections up", None))
        if self.stream is not None:
            found.append(Health("stream of events", self.stream.state.ok, self.stream.state.detail, None))
        return found

    def _report(self, report: ReportEffect) -> None:
        self._parts.service.submit(report).result(REPORT_WITHIN_S)

    def _newest(self) -> Newest:
        fetch: Future[Newest] = self._parts.service.call(
            lambda decider: copy_newest(decider.shared.hot[Watch], decider.shared.hot[Arrivals])
        )
        return fetch.result(REPORT_WITHIN_S)

    def _look(self) -> str:
        """Look, and only then tell the pages that show the picture: they never fetch the old one."""
        if self.overview.refresh():
            self._parts.hub.publish("tower", "news", "", latest=True)
        picture = self.overview.picture()
        publish_readings(self._parts, picture)
        return f"{len(picture.sites):,} {'site' if len(picture.sites) == 1 else 'sites'}"

    def _checkpoint(self) -> str:
        """Plan on a reader's connection; only the keeping takes the decider's time."""
        parts, made = self._parts, 0
        more = True
        while more:
            with parts.reader() as db:
                planned = checkpoints.plan(db, self.notary, self._own_heads(), parts.host.now())
            keep = partial(_keep, notary=self.notary, planned=planned)
            made += len(parts.service.call(keep).result(REPORT_WITHIN_S))
            more = planned.more
        with parts.reader() as db:
            barred = quarantined(db)
        if barred:
            raise InQuarantine(logs=sorted(str(log_id) for log_id in barred))
        return f"{made} signed"

    def _own_heads(self) -> dict[str, tuple[int, int]]:
        """The logs to sign: the tower has every log whole, a node its own; of others it has parts."""
        heads, home = self._parts.decider.heads, self.notary.home
        return dict(heads) if home == NETWORK_ORIGIN else {home: heads[home]} if home in heads else {}


def _keep(decider: Decider, notary: Notary, planned: checkpoints.Plan) -> list[KeptHead]:
    return checkpoints.keep(decider, notary, planned)


def history_loops(parts: Parts, home: str) -> list[Loop]:
    """Return what writes the history of readings; nothing where none is set.

    Raises:
        ValueError: COLDGRID_HISTORY is no address.
        HistoryMissing: pyarrow is not installed.
    """
    store = history.open_store(parts.settings)
    if store is None:
        return []
    duty = history.HistoryDuty(store, history.means_of(parts, home))
    return [Loop("history of readings", history.EVERY_S, duty.round)]


def broker_settings(settings: Settings, home: str) -> MqttSettings | None:
    """Return where readings come from, a node's those of its site; None where no broker is set."""
    if not settings.mqtt_url:
        return None
    broker = broker_of(settings.mqtt_url)
    return MqttSettings(
        host=broker.host,
        port=broker.port,
        username=broker.user,
        password=broker.password,
        tls=broker.tls,
        site="+" if home == NETWORK_ORIGIN else home,
        client_id=settings.mqtt_client_id,
        group=settings.mqtt_client_id,  # else installations on one broker would split its stream
        connections=settings.mqtt_connections,
    )


def mqtt_readings(parts: Parts, home: str) -> MqttIngest | None:
    """Return what takes readings from a broker; None where none is set."""
    broker = broker_settings(parts.settings, home)
    return None if broker is None else readings_from(broker, parts)


def readings_from(broker: MqttSettings, parts: Parts) -> MqttIngest:
    """Return what takes readings from a broker."""
    return MqttIngest(
        broker,
        lambda command: parts.service.submit(command, GATEWAY),
        time.monotonic,
        # The rules' memory belongs to the decider; that it may be changing while we look harms no hint.
        lambda site_id, sensor_id, told: parts.decider.shared.hot[Watch].calls_for_haste(
            site_id, sensor_id, told.value, told.unit
        ),
    )
