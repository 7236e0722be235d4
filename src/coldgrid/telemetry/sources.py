"""Sources: which point of a gateway is which sensor. Part of a sensor's master data (`sensors.S4`).

Invariants
    B1  A point of a gateway is one active sensor at most, at the gateway's own site.
    B2  A source names a gateway that is there; the point need not have been heard yet.
"""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.changes import known
from coldgrid.network.items import Batch
from coldgrid.telemetry.gateways import Gateway, get_gateway


class Sourced(Protocol):
    """What is asked here of a sensor."""

    @property
    def sensor_id(self) -> str:
        """Its name."""

    @property
    def site_id(self) -> str:
        """Its site."""

    @property
    def source(self) -> str:
        """`GATEWAY/POINT`, or empty."""

    @property
    def active(self) -> bool:
        """Whether it is listened to."""


# --- Table ----------------------------------------------------------------------

# Of the active sensors that have a source.
telemetry_source = sa.Table(
    "telemetry_source",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("source", sa.Text, nullable=False, index=True),
    info={"origin": "network"},
)
_BIND = Statement(upsert(telemetry_source, keys=["sensor_id"], set_=["site_id", "source"]))
_UNBIND = Statement(telemetry_source.delete().where(telemetry_source.c.sensor_id == sa.bindparam("whose")))


def bind(tx: Tx, sensor_id: str, site_id: str, source: str) -> None:
    """Keep which point a sensor is; empty: none. From the projection of sensors."""
    if source:
        tx.write(_BIND, sensor_id=sensor_id, site_id=site_id, source=source)
    else:
        tx.write(_UNBIND, whose=sensor_id)


# --- Decision -------------------------------------------------------------------


def source_problems(db: Reader, sensor: Sourced, batch: Batch) -> list[Problem]:
    """Return what is wrong with a sensor's source (B1, B2)."""
    if not sensor.source:
        return []
    gateway_id, _, point = sensor.source.partition("/")
    if not point.strip() or not sensor.source.isprintable() or sensor.source != sensor.source.strip():
        message = f"{sensor.source!r} is no point of a gateway"
        fix = "write it as GATEWAY/POINT, as the page of devices shows it"
        return [Problem(field="source", message=message, fix=fix)]
    if not known(db, batch, "gateway", gateway_id):
        message = f"there is no gateway {gateway_id!r}"
        return [Problem(field="source", message=message, fix="set it up first, or with the same change")]
    problems = []
    gateway = _gateway_of(db, gateway_id, batch)
    if gateway is not None and gateway.site_id != sensor.site_id:
        message = f"{gateway_id} is at {gateway.site_id}"
        problems.append(Problem(field="source", message=message, fix="name a gateway of the sensor's site"))
    taken = _taken_by(db, sensor, batch) if sensor.active else None
    if taken is not None:
        fix = f"give {taken} another source, or set it inactive with the same change"
        problems.append(Problem(field="source", message=f"is {taken} already", fix=fix))
    return problems


def _gateway_of(db: Reader, gateway_id: str, batch: Batch) -> Gateway | None:
    """Return the gateway as it will be after the change; None: the change has it wrong."""
    if batch.has("gateway", gateway_id):
        found: Gateway | None = batch.get("gateway", gateway_id)
        return found
    return get_gateway(db, gateway_id)


def _taken_by(db: Reader, sensor: Sourced, batch: Batch) -> str | None:
    """Return another active sensor with this source, as things will be after the change."""
    for other in batch.of("sensor"):
        if other.sensor_id != sensor.sensor_id and other.active and other.source == sensor.source:
            return str(other.sensor_id)
    for sensor_id in db.all(_OF_SOURCE, source=sensor.source):
        if sensor_id != sensor.sensor_id and not batch.has("sensor", sensor_id):
            return sensor_id
    return None


# --- Queries --------------------------------------------------------------------


def _only(text: str) -> str:
    return text


_OF_SOURCE = Statement(
    sa.select(telemetry_source.c.sensor_id)
    .where(telemetry_source.c.source == sa.bindparam("source"))
    .order_by(telemetry_source.c.sensor_id),
    into=_only,
)
_SOURCES = Statement(
    sa.select(telemetry_source.c.source, telemetry_source.c.sensor_id).where(
        telemetry_source.c.site_id == sa.bindparam("site_id")
    )
)


def sensors_by_source(db: Reader, site_id: str) -> dict[str, str]:
    """Return the active sensor that each point of a site's gateways is, by `GATEWAY/POINT`."""
    return dict(db.all(_SOURCES, site_id=site_id))
