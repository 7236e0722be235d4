"""Catching up: what a broker that tower and node share keeps for the tower while a site comes back.

The tower hears the readings of every site, and leaves those of a site with a node to the node. A node that is
called back takes none any more once it has closed its log, and the tower hears of that later: what is
published in between would be left to a node that is gone.

Invariants
    K1  Before a node is called back, the broker has sessions of the tower's for this site alone, which nobody
        reads: it keeps in them what comes until the site is here, up to its own limit.
    K2  Once the site is here they are read out, and then they end. What was stored meanwhile is told as a
        duplicate. A tower that dies on the way does it when it is asked to take the site back again.
"""

from __future__ import annotations

import threading
from contextlib import suppress

import msgspec
import structlog

from coldgrid.adapters.mqtt_links import MqttSettings, forget_sessions, subscribe_ahead
from coldgrid.adapters.mqtt_packets import MalformedPacket
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.node.background import broker_settings, readings_from
from coldgrid.node.parts import Parts

# As many as a node has for the same site; with its default settings a broker keeps 1,000 messages for each.
SESSIONS = 4
# Long for a few thousand messages. What comes later is heard by the tower's own sessions, as ever.
READ_OUT_S = 60.0
logger = structlog.get_logger("coldgrid.mqtt")


class CatchingUp:
    """Keeps readings of sites that come back, and takes them in when they are here."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._broker = broker_settings(parts.settings, NETWORK_ORIGIN)
        self._stopping = threading.Event()
        self._under_way: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def keep(self, site_id: str) -> str:
        """Let the broker keep a site's readings from now on (K1); say why it does not, or nothing."""
        broker = self._broker
        if broker is None or site_id in self._under_way:
            return ""
        try:
            subscribe_ahead(self._of(broker, site_id))
        except (OSError, MalformedPacket) as error:
            return f"the broker {broker.host}:{broker.port} keeps nothing for this tower yet: {error}"
        return ""

    def take(self, site_id: str) -> None:
        """Take in what was kept of a site that is here now, beside whatever else goes on (K2)."""
        if self._broker is None:
            return
        with self._lock:
            if site_id not in self._under_way:
                settings = self._of(self._broker, site_id)
                thread = threading.Thread(target=self._read_out, args=(site_id, settings), daemon=True)
                self._under_way[site_id] = thread
                thread.start()

    def stop(self) -> None:
        """Stop; what was not read out stays at the broker."""
        self._stopping.set()

    def _of(self, broker: MqttSettings, site_id: str) -> MqttSettings:
        name = f"{broker.client_id}-back-{site_id.lower()}"
        return msgspec.structs.replace(broker, site=site_id, client_id=name, group=name, connections=SESSIONS)

    def _read_out(self, site_id: str, settings: MqttSettings) -> None:
        readings = readings_from(settings, self._parts)
        readings.start()
        stopped = self._stopping.wait(READ_OUT_S)
        readings.stop()
        with self._lock:
            del self._under_way[site_id]
        if not stopped:
            with suppress(OSError, MalformedPacket):  # it ends when the site comes back the next time
                forget_sessions(settings)
            logger.info("caught_up", site=site_id)
