"""Live pages: turns commits into pings for the pages that show what changed.

A ping carries no data. The page asks for its own view, with its reader's roles and units; so a page
never shows more than its reader may see, and a burst of facts costs each page one look.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from coldgrid.kernel.events import Entry
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.node.host import LiveHost
from coldgrid.node.overview import Picture
from coldgrid.quality.zone_now import zone_now
from coldgrid.webkit.charts import ZoneReading
from coldgrid.webkit.hub import Hub

EVERY_S = 0.5
# Streams whose facts change the list of incidents or what waits for a decision.
URGENT = frozenset({"incident", "decision"})
ORGANISED = frozenset({"incident", "run", "approval", "page", "excursion", "disposition"})


class Shows(Protocol):
    """What has live pages: a host, or one of several processes of one."""

    @property
    def hub(self) -> Hub:
        """Whoever looks."""

    @property
    def host(self) -> LiveHost:
        """Its clock."""

    def reader(self) -> AbstractContextManager[Reader]:
        """Lend a reader of committed facts."""


class Pinger:
    """Tells the hub what changed: incidents and decisions at once, the rest twice a second.

    `on_commit` is a listener of the decider.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._news: set[tuple[str, str]] = set()
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="pinger", daemon=True)

    def start(self) -> None:
        """Start telling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop telling."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Tell at once what people wait for, note the rest; on the decider's thread, so quick."""
        news = {topic for entry, event in recorded for topic in topics_of(entry, event)}
        urgent = {topic for topic in news if topic[1] in URGENT}
        for topic, event in sorted(urgent):
            self._hub.publish(topic, event, "", latest=True)
        with self._guard:
            self._news |= news - urgent

    def _loop(self) -> None:
        while not self._stopping.wait(EVERY_S):
            with self._guard:
                news, self._news = self._news, set()
            for topic, event in sorted(news):
                self._hub.publish(topic, event, "", latest=True)


def topics_of(entry: Entry, event: Any) -> Iterator[tuple[str, str]]:
    """Yield (topic, ping) for the pages that show this fact."""
    kind, _, _ = entry.stream.partition("/")
    site_id = getattr(event, "site_id", None) or (entry.origin if entry.origin != NETWORK_ORIGIN else None)
    if isinstance(site_id, str):
        yield f"site/{site_id}", "news"
    if kind in ORGANISED:
        yield "incidents", "incident"
        yield "decisions", "decision"
        incident_id = getattr(event, "incident_id", None)
        if isinstance(incident_id, str) and incident_id:
            yield f"incident/{incident_id}", "incident"


def publish_readings(parts: Shows, picture: Picture) -> None:
    """Send the newest point of every chart that somebody looks at."""
    for site in picture.sites.values():
        for zone in site.zones:
            topic = f"site/{site.site.site_id}/{zone.zone.zone_id}"
            if zone.at is None or not parts.hub.listening(topic):
                continue
            with parts.reader() as db:
                products = zone_now(db, zone.zone.zone_id, parts.host.now()).products
            known = [p for p in products if p.product_c is not None]
            worst = max(known, key=lambda p: p.product_c or 0.0, default=None)
            reading = ZoneReading(
                topic=topic,
                t=zone.at.timestamp(),
                air=zone.air_c,
                probe=zone.probe_c,
                product=worst.product_c if worst else None,
                product_lo=worst.low_c if worst else None,
                product_hi=worst.high_c if worst else None,
            )
            parts.hub.publish(topic, "reading", msgspec.json.encode(reading).decode(), latest=True)
