"""What sensors add to an evidence pack: readings with the sealed blocks they come from, alarms, calibration.

Blocks are vouched for by a manifest in the log, so the check of a pack compares their bytes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from coldgrid.evidence.parts import (
    PackFile,
    PackGap,
    PackSeries,
    PackStreams,
    PackSubject,
    PackTable,
    Part,
    register_contributor,
    register_preparation,
)
from coldgrid.kernel.events import Command
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import to_micros
from coldgrid.orchestration.incidents import Incident, IncidentNotFound, get_incident
from coldgrid.telemetry.alarms import alarms_of_sensor
from coldgrid.telemetry.archive import block_rows
from coldgrid.telemetry.blocks import DAY_US
from coldgrid.telemetry.losses import Loss, asset_of, losses_of_site, losses_of_zone
from coldgrid.telemetry.quantities import Quantity
from coldgrid.telemetry.reading_times import BESIDE, beside, is_beside
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.seal import SealBlocks
from coldgrid.telemetry.sensors import Calibration, Sensor, sensors_of_zone
from coldgrid.telemetry.store import series

BEFORE = timedelta(hours=6)  # how the zone was before it failed
AFTER = timedelta(hours=1)
_PLAIN = frozenset({Role.ZONE_AIR, Role.PRODUCT_PROBE})  # the chart's legend says these by itself


def zone_parts(db: Reader, zone_id: str, from_at: datetime, until_at: datetime) -> list[Part]:
    """Return a zone's readings between two instants, with blocks, alarms and calibration certificates."""
    sensors = [sensor for sensor in sensors_of_zone(db, zone_id) if sensor.quantity is Quantity.TEMPERATURE]
    parts: list[Part] = []
    for sensor in sensors:
        parts += _readings(db, sensor, from_at, until_at)
        parts += _blocks(db, sensor, from_at, until_at)
    parts += _losses(zone_id, losses_of_zone(db, zone_id, from_at, until_at))
    alarms = [alarm for one in sensors for alarm in alarms_of_sensor(db, one.sensor_id, from_at, until_at)]
    parts.append(PackStreams(streams=[f"alarm/{alarm.alarm_id}" for alarm in alarms]))
    if sensors:
        parts.append(_calibrations(zone_id, sensors))
    return parts


def _readings(db: Reader, sensor: Sensor, from_at: datetime, until_at: datetime) -> Iterable[PackSeries]:
    times, values = series(db, sensor.sensor_id, from_at, until_at)
    if not len(times):
        return
    role = "probe" if sensor.role is Role.PRODUCT_PROBE else "air"
    yield PackSeries(
        title=sensor.sensor_id if sensor.role in _PLAIN else f"{sensor.sensor_id}, {_words(sensor.role)}",
        unit="°C",
        role=role,  # type: ignore[arg-type]  # one of the two words above
        at_s=(times.view(np.int64) / 1e6).tolist(),
        values=np.round(values, 4).tolist(),
    )


def _words(role: Role) -> str:
    return role.value.replace("_", " ")


def _blocks(db: Reader, sensor: Sensor, from_at: datetime, until_at: datetime) -> Iterable[PackFile]:
    """Yield the sealed blocks that a manifest vouches for: readings, and their devices' times beside them."""
    first, last = to_micros(from_at) // DAY_US, to_micros(until_at) // DAY_US
    for name in (sensor.sensor_id, *beside(sensor.sensor_id)):
        what = "Sealed times of readings" if is_beside(name) else "Sealed readings"
        for row in block_rows(db, name, first, last):
            if row.entry_id:
                path = f"blocks/{name.replace(BESIDE, '.')}.{row.day}.{row.block_no}.cgb"
                yield PackFile(path, row.body, f"{what} of {sensor.sensor_id}", row.entry_id)


def _losses(whose: str, found: Sequence[Loss]) -> Iterable[Part]:
    """Yield what is known of readings that are lost: nobody takes a hole for a quiet night."""
    for one in found:
        yield PackGap(
            f"Readings of {one.sensor_id} are lost",
            one.from_at,
            one.to_at,
            f"{one.readings:,} of them",
            one.entry_id,
        )
    if found:
        yield PackStreams(entry_ids=sorted({one.entry_id for one in found}))
        yield PackTable(
            f"Readings of {whose} that are lost",
            ["Sensor", "From", "To", "Readings", "Known since", "Block"],
            [[one.sensor_id, one.from_at, one.to_at, one.readings, one.found_at, one.hash] for one in found],
            "They were sealed and vouched for, and no disk has them any more. That time counts as unknown.",
        )


def _calibrations(zone_id: str, sensors: Sequence[Sensor]) -> PackTable:
    rows = [[one.sensor_id, _words(one.role), *_certificate(one.calibration)] for one in sensors]
    return PackTable(
        f"Sensors of {zone_id}",
        ["Sensor", "Role", "Certificate", "Lab", "Calibrated", "Due", "Uncertainty", "As found/left"],
        rows,
        "Errors are reading minus reference, °C. A dash: no certificate is on file.",
    )


def _certificate(one: Calibration | None) -> list[Any]:
    if one is None:
        return [None] * 6
    errors = f"{one.as_found_error:+g} / {one.as_left_error:+g}"
    return [one.certificate_id, one.lab, one.calibrated_on, one.due_on, f"±{one.uncertainty:g}", errors]


def _entries_of_blocks(parts: Sequence[Part]) -> PackStreams:
    return PackStreams(entry_ids=sorted({part.attested_by for part in parts if isinstance(part, PackFile)}))


def _incident(db: Reader, subject: PackSubject) -> Incident | None:
    if subject.kind != "incident":
        return None
    try:
        incident = get_incident(db, subject.id)
    except IncidentNotFound:
        return None
    return incident


def contribute(db: Reader, subject: PackSubject) -> Sequence[Part]:
    """Return the readings of an incident's zone, or what is lost of its site; nothing for other subjects."""
    incident = _incident(db, subject)
    if incident is None:
        return []
    if incident.asset_id == asset_of(incident.site_id):
        return list(_losses(incident.site_id, losses_of_site(db, incident.site_id)))
    if not incident.zone_id:
        return []
    until_at = (incident.closed_at or incident.changed_at) + AFTER
    parts = zone_parts(db, incident.zone_id, incident.opened_at - BEFORE, until_at)
    return [*parts, _entries_of_blocks(parts)]


def prepare(db: Reader, subject: PackSubject) -> Sequence[Command]:
    """Seal what the zone's sensors said, so that the log vouches for it before it is packed."""
    incident = _incident(db, subject)
    if incident is None or not incident.zone_id or not sensors_of_zone(db, incident.zone_id):
        return []
    return [SealBlocks(site_id=incident.site_id, cause_id=incident.incident_id, zone_id=incident.zone_id)]


register_contributor("telemetry", contribute)
register_preparation("telemetry", prepare)
