"""What pages and the API show of a site's gateways, points and devices: the log and what is newer than it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.telemetry.device_clocks import DeviceClock, Standing, clocks_of_site
from coldgrid.telemetry.gateways import Gateway, gateways_of_site
from coldgrid.telemetry.heard import Device, Point, devices_of_site, points_of_site
from coldgrid.telemetry.registering import Suggestion, suggest
from coldgrid.telemetry.sensors import Sensor, sensors_of_site
from coldgrid.telemetry.sources import sensors_by_source
from coldgrid.telemetry.store import LastReading, last_readings

if TYPE_CHECKING:
    from coldgrid.node.driving import Driving

# A gateway that noted nothing for so long is not known to work, whatever it said last.
STALE_AFTER = timedelta(hours=26)


class GatewayView(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway with how it is. `ok` None: it is not driven here, and nothing was heard of it.

    `quiet`: nothing is wrong and nothing has come yet, so nobody knows whether it works.
    """

    gateway: Gateway
    ok: bool | None
    detail: str
    here: bool
    bound: int
    waiting: int
    quiet: bool = False


class PointView(msgspec.Struct, frozen=True):
    """A point that nobody registered, and what it probably is."""

    point: Point
    suggestion: Suggestion


class BoundView(msgspec.Struct, frozen=True, kw_only=True):
    """A sensor that is a point of a gateway, with its device's health and clock."""

    sensor: Sensor
    gateway_id: str
    point: str
    last: LastReading | None
    device: Device | None
    clock: DeviceClock | None

    @property
    def offset_s(self) -> float:
        """What is added to the device's time, in seconds."""
        return 0.0 if self.clock is None else self.clock.offset_us / 1e6

    @property
    def distrusted(self) -> bool:
        """Whether the gateway's time counts, not the device's."""
        return self.clock is not None and self.clock.standing is Standing.DISTRUSTED


class SiteDevices(msgspec.Struct, frozen=True):
    """Everything that is shown of a site's devices."""

    gateways: list[GatewayView]
    points: list[PointView]
    bound: list[BoundView]
    devices: list[Device]


def points_now(db: Reader, driving: Driving, site_id: str) -> list[Point]:
    """Return a site's heard list as of now, by gateway and point."""
    newest, _ = driving.newest(site_id)
    bound = sensors_by_source(db, site_id)
    known = {one.source: one for one in points_of_site(db, site_id)}
    for source, point in newest.items():
        if source in bound:
            continue
        before = known.get(source)
        if before is None:
            known[source] = point
        elif point.last_at > before.last_at:
            known[source] = msgspec.structs.replace(
                before, last_at=point.last_at, value=point.value, unit=point.unit
            )
    return [known[source] for source in sorted(known)]


def devices_now(db: Reader, driving: Driving, site_id: str) -> list[Device]:
    """Return what a site's devices said of themselves last, by gateway and device."""
    _, newest = driving.newest(site_id)
    known = {(one.gateway_id, one.device): one for one in devices_of_site(db, site_id)} | newest
    return [known[key] for key in sorted(known)]


def site_devices(db: Reader, driving: Driving, site_id: str, now: datetime) -> SiteDevices:
    """Return everything that is shown of a site's devices."""
    points = points_now(db, driving, site_id)
    devices = devices_now(db, driving, site_id)
    bound = _bound(db, site_id, devices)
    running = {one.gateway.gateway_id: one for one in driving.states(site_id)}
    states = {key: (one.ok, one.detail) for key, one in running.items()}
    told = {one.gateway_id: one for one in devices if not one.device}
    gateways = []
    of_site = {gateway.gateway_id: gateway for gateway in gateways_of_site(db, site_id)}
    for gateway in of_site.values():
        key = gateway.gateway_id
        ok, detail = _state(gateway, states.get(key), told.get(key), now)
        gateways.append(
            GatewayView(
                gateway=gateway,
                ok=ok,
                detail=detail,
                here=key in states,
                bound=sum(one.gateway_id == key for one in bound),
                waiting=sum(one.gateway_id == key for one in points),
                quiet=key in running and running[key].quiet,
            )
        )
    return SiteDevices(
        gateways=gateways,
        points=[PointView(point, suggest(point, of_site.get(point.gateway_id))) for point in points],
        bound=bound,
        devices=[one for one in devices if one.device],
    )


def _state(
    gateway: Gateway, here: tuple[bool, str] | None, told: Device | None, now: datetime
) -> tuple[bool | None, str]:
    if not gateway.active:
        return None, "switched off in master data"
    if here is not None:
        return here
    if told is None or told.online is None or now - told.told_at > STALE_AFTER:
        return None, "not driven here, and nothing was heard of it lately"
    return told.online, "as its site's host said last"


def _bound(db: Reader, site_id: str, devices: list[Device]) -> list[BoundView]:
    sources = {sensor_id: source for source, sensor_id in sensors_by_source(db, site_id).items()}
    if not sources:
        return []
    clocks, last = clocks_of_site(db, site_id), last_readings(db, site_id)
    by_gateway: dict[str, dict[str, Device]] = {}
    for one in devices:
        by_gateway.setdefault(one.gateway_id, {})[one.device] = one
    found = []
    for sensor in sensors_of_site(db, site_id):
        source = sources.get(sensor.sensor_id)
        if source is None:
            continue
        gateway_id, _, point = source.partition("/")
        found.append(
            BoundView(
                sensor=sensor,
                gateway_id=gateway_id,
                point=point,
                last=last.get(sensor.sensor_id),
                device=device_of(point, by_gateway.get(gateway_id, {})),
                clock=clocks.get(sensor.sensor_id),
            )
        )
    return found


def device_of(point: str, devices: Mapping[str, Device]) -> Device | None:
    """Return the device whose name a point's address begins with, the longest that fits; None: none told."""
    name = point
    while name:
        if name in devices:
            return devices[name]
        name = name.rpartition("/")[0]
    return None
