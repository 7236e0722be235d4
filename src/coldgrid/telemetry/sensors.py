"""Sensors: what measures what, where, how well, and which goods it speaks for. Master data of the network.

Invariants
    S1  A sensor is named after its zone; the locations it covers are of that zone.
    S2  Its unit fits its quantity, and a device's role reports a state.
    S3  Its probe's valid range is the range it can measure, not the one it should: outside it a reading is
        kept, flagged, and never used as good data.
    S4  A point of a gateway is one active sensor at most, at the gateway's own site.

A sensor's role says what its readings mean; `covers` which goods they speak for and `mapping_study` which
study says so (no locations: the whole zone). A calibration is a certificate: as found tells whether the
readings before it were right, as left whether those after it are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.kept import Kept
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.rejections import NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network import names
from coldgrid.network.changes import known
from coldgrid.network.items import Batch, FormHelp, register_item
from coldgrid.telemetry.quantities import E4, UNITS_OF, VALUE_E4_MAX, Quantity, Unit
from coldgrid.telemetry.rules import DEVICES, METERS, SIGNALS, SUPPLIES, Role, RuleSettings
from coldgrid.telemetry.sources import bind, source_problems

# --- Vocabulary -----------------------------------------------------------------

Text = Annotated[str, msgspec.Meta(max_length=200)]
VALUE_MAX = VALUE_E4_MAX / E4


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration certificate. Errors are reading minus reference, in the sensor's stored unit.

    `as_found_error` beyond `tolerance` means that everything since the certificate before is in doubt.
    """

    certificate_id: Text
    lab: Text
    calibrated_on: date
    due_on: date
    uncertainty: Annotated[float, msgspec.Meta(ge=0)]
    tolerance: Annotated[float, msgspec.Meta(gt=0)]
    as_found_error: float
    as_left_error: float


class ShutdownStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to switch off before a battery ends; `needs_s`: how long that takes.

    `to`: the topic, below that of the sirens, switched on when the step begins; empty: a person does it.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    needs_s: Annotated[float, msgspec.Meta(ge=0, le=7_200)]
    to: Text = ""


class Sensor(msgspec.Struct, frozen=True, kw_only=True):
    """One sensor. `valid_low` and `valid_high` are what its probe can measure, in its stored unit.

    `interval_s` is how often it reports; a device that reports changes only: how often it does at least.
    An inactive one is no longer listened to.

    `circuit`: what feeds it, or the gateway that speaks for it, as a path `ROOM` or `ROOM/OUTLET`; empty: a
    battery of its own. The sensors of one UPS name the circuit that feeds that UPS, and its `ups_mains` names
    what is shut down, in which order, before the battery ends.

    `source`: the point of a gateway that this sensor is, as `GATEWAY/POINT`; no two active sensors have the
    same. Empty: its readings name the sensor itself.
    """

    sensor_id: str
    site_id: str
    zone_id: str
    role: Role
    quantity: Quantity = Quantity.TEMPERATURE
    unit: Unit = Unit.CELSIUS
    name: Text = ""
    covers: list[str] = []
    mapping_study: Text = ""
    valid_low: float = -80.0
    valid_high: float = 80.0
    interval_s: Annotated[float, msgspec.Meta(ge=0.001, le=604_800)] = 60.0
    calibration: Calibration | None = None
    rules: RuleSettings = RuleSettings()
    active: bool = True
    circuit: Text = ""
    shutdown: list[ShutdownStep] = []
    source: Text = ""


# --- Events ---------------------------------------------------------------------


class SensorDefined(Event, frozen=True, tag="telemetry.sensor_defined"):
    """A sensor was mounted, or its settings or its calibration changed."""

    sensor: Sensor

    @property
    def site_id(self) -> str:
        """The site it is at."""
        return self.sensor.site_id

    @property
    def zone_id(self) -> str:
        """The zone it is in."""
        return self.sensor.zone_id


# --- Rejections -----------------------------------------------------------------


class SensorNotFound(NotFound):
    """There is no such sensor."""

    todo = "Register it as master data, or check its name."


# --- Table and projection -------------------------------------------------------

telemetry_sensor = sa.Table(
    "telemetry_sensor",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("zone_id", sa.Text, nullable=False, index=True),
    sa.Column("definition", Json(Sensor), nullable=False),
    info={"origin": "network"},
)
_PUT = Statement(upsert(telemetry_sensor, keys=["sensor_id"], set_=["site_id", "zone_id", "definition"]))


@hot_state
class KeptZoneSensors(Kept[list[Sensor]]):
    """The sensors of each zone that the decider asked for."""


@projects(SensorDefined)
def _put_row(tx: Tx, event: SensorDefined) -> None:
    sensor = event.sensor
    # It may come from another zone, whose list holds it still.
    KeptZoneSensors.drop_all(tx)
    tx.write(
        _PUT, sensor_id=sensor.sensor_id, site_id=sensor.site_id, zone_id=sensor.zone_id, definition=sensor
    )
    bind(tx, sensor.sensor_id, sensor.site_id, sensor.source if sensor.active else "")


# --- Decisions ------------------------------------------------------------------


def sensor_problems(sensor: Sensor) -> list[Problem]:
    """Return what is wrong with a sensor, whatever else exists (S1 to S3)."""
    problems = names.SENSOR.check("sensor_id", sensor.sensor_id)
    if not problems:
        problems += names.below("sensor_id", sensor.sensor_id, "zone", sensor.zone_id)
    problems += names.below("zone_id", sensor.zone_id, "site", sensor.site_id)
    for index, location_id in enumerate(sensor.covers):
        problems += names.below(f"covers[{index}]", location_id, "zone", sensor.zone_id)
    return [
        *problems,
        *_measure_problems(sensor),
        *_calibration_problems(sensor),
        *_rule_problems(sensor.rules),
        *_supply_problems(sensor),
    ]


def _measure_problems(sensor: Sensor) -> Iterator[Problem]:
    is_state = sensor.quantity is Quantity.STATE
    if is_state != (sensor.role in DEVICES | SIGNALS):
        message = (
            f"a {sensor.role} sensor {'reports a state' if not is_state else 'measures, it reports no state'}"
        )
        fix = "set quantity and unit to state" if not is_state else "set quantity to temperature or humidity"
        yield Problem(field="quantity", message=message, fix=fix)
    allowed = UNITS_OF[sensor.quantity]
    if sensor.unit not in allowed:
        fix = f"one of {', '.join(sorted(allowed))}"
        yield Problem(field="unit", message=f"{sensor.quantity} is not measured in {sensor.unit}", fix=fix)
    if not -VALUE_MAX < sensor.valid_low < sensor.valid_high < VALUE_MAX:
        told = f"from {sensor.valid_low:g} to {sensor.valid_high:g}"
        yield Problem(field="valid_low", message=f"the valid range is empty or too wide: {told}")


# What a meter of a UPS measures.
_METERED = {Role.UPS_LOAD: Quantity.POWER, Role.UPS_ENERGY: Quantity.ENERGY}
_CIRCUIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*(/[A-Za-z0-9][A-Za-z0-9 ._-]*){0,3}", re.ASCII)


def _supply_problems(sensor: Sensor) -> Iterator[Problem]:
    wanted = _METERED.get(sensor.role)
    if (wanted or sensor.quantity) is not sensor.quantity:
        fix = f"set quantity to {wanted}"
        yield Problem(field="quantity", message=f"a {sensor.role} sensor measures {wanted}", fix=fix)
    if sensor.role not in METERS and sensor.quantity in _METERED.values():
        message = f"only a meter of a UPS measures {sensor.quantity}"
        yield Problem(field="quantity", message=message, fix="set role to ups_load_w or ups_energy_wh")
    if sensor.circuit and _CIRCUIT.fullmatch(sensor.circuit) is None:
        message = f"{sensor.circuit!r} is no path of a room and an outlet"
        yield Problem(field="circuit", message=message, fix="write it as ROOM or ROOM/OUTLET")
    if sensor.shutdown and sensor.role is not Role.UPS_MAINS:
        message = "only what hangs on a UPS is shut down in order"
        yield Problem(field="shutdown", message=message, fix="set it at the ups_mains sensor")
    named = [step.name for step in sensor.shutdown]
    if len(set(named)) != len(named):
        yield Problem(field="shutdown", message="two steps have the same name")


def _calibration_problems(sensor: Sensor) -> Iterator[Problem]:
    calibration = sensor.calibration
    if calibration is not None and calibration.due_on <= calibration.calibrated_on:
        yield Problem(field="calibration.due_on", message="must be after calibrated_on")


# Durations, in minutes: longer ones would let trouble pass unseen.
MINUTES_MAX = 10_080


def _rule_problems(rules: RuleSettings) -> Iterator[Problem]:
    for field in RuleSettings.__struct_fields__:
        value = getattr(rules, field)
        if field.endswith("_min") and value is not None and not 0 <= value <= MINUTES_MAX:
            yield Problem(field=f"rules.{field}", message=f"must be 0 to {MINUTES_MAX} minutes")
        elif field in {"hysteresis_c", "approach_c"} and value is not None and value < 0:
            yield Problem(field=f"rules.{field}", message="must not be negative")
        elif field.endswith("_c_per_h") and not 0 < value <= 1_000:
            yield Problem(field=f"rules.{field}", message="must be more than 0 and at most 1000 °C an hour")
    if rules.low_c is not None and rules.high_c is not None and rules.low_c >= rules.high_c:
        yield Problem(field="rules.low_c", message="must be less than high_c")


# --- Items ----------------------------------------------------------------------


def _check_sensor(db: Reader, sensor: Sensor, batch: Batch) -> list[Problem]:
    problems = sensor_problems(sensor)
    if not known(db, batch, "zone", sensor.zone_id):
        problems.append(Problem(field="zone_id", message=f"there is no zone {sensor.zone_id!r}"))
    for index, location_id in enumerate(sensor.covers):
        if not known(db, batch, "location", location_id):
            message = f"there is no location {location_id!r}"
            problems.append(Problem(field=f"covers[{index}]", message=message))
    return [*problems, *source_problems(db, sensor, batch)]


def _define_sensor(tx: Tx, sensor: Sensor) -> None:
    tx.record(f"sensor/{sensor.sensor_id}", SensorDefined(sensor=sensor), audience=(sensor.site_id,))


register_item(
    "sensor",
    Sensor,
    _check_sensor,
    _define_sensor,
    form_help=FormHelp(
        hints={
            "covers": "Places that it speaks for; empty: the zone. Each on a line that begins with -, like "
            "- ATL1-FRZ1-A01-02",
            "valid_low": "The least that its probe can measure, in its unit.",
            "valid_high": "The most that its probe can measure, in its unit.",
            "interval_s": "How often it reports; of changes only: how often at least.",
            "calibration": "name: value, each on a line of its own: certificate_id, lab, calibrated_on, "
            "due_on, uncertainty, tolerance, as_found_error, as_left_error.",
            "rules": "When it alarms. null: the default, from the zone's band and how often it reports.",
            "circuit": "What feeds it; empty: a battery of its own.",
            "shutdown": "For a UPS: what is switched off, in which order. Each on a line that begins with -, "
            "like - {name: controller, needs_s: 60}",
            "source": "The point of a gateway, like ATL1-GW1/probe-7; empty: its readings name the sensor.",
        }
    ),
)

# --- Queries --------------------------------------------------------------------

_DEFINITIONS = sa.select(telemetry_sensor.c.definition)


def _sensor(definition: Sensor) -> Sensor:
    return definition


_GET = Statement(_DEFINITIONS.where(telemetry_sensor.c.sensor_id == sa.bindparam("sensor_id")), into=_sensor)
_OF_ZONE = Statement(
    _DEFINITIONS.where(telemetry_sensor.c.zone_id == sa.bindparam("zone_id")).order_by(
        telemetry_sensor.c.sensor_id
    ),
    into=_sensor,
)
_OF_SITE = Statement(
    _DEFINITIONS.where(telemetry_sensor.c.site_id == sa.bindparam("site_id")).order_by(
        telemetry_sensor.c.sensor_id
    ),
    into=_sensor,
)
_ALL = Statement(_DEFINITIONS.order_by(telemetry_sensor.c.sensor_id), into=_sensor)


def get_sensor(db: Reader, sensor_id: str) -> Sensor:
    """Return one sensor.

    Raises:
        SensorNotFound: there is none of this id.
    """
    sensor = db.one(_GET, sensor_id=sensor_id)
    if sensor is None:
        raise SensorNotFound(sensor_id=sensor_id)
    return sensor


def sensors_of_zone(db: Reader, zone_id: str) -> list[Sensor]:
    """Return a zone's sensors, by id, the inactive ones too."""
    return KeptZoneSensors.row(db, zone_id, lambda: db.all(_OF_ZONE, zone_id=zone_id))


def sensors_of_site(db: Reader, site_id: str) -> list[Sensor]:
    """Return a site's sensors, by id, the inactive ones too."""
    return db.all(_OF_SITE, site_id=site_id)


def list_sensors(db: Reader) -> list[Sensor]:
    """Return every sensor of the network, by id."""
    return db.all(_ALL)


def sensors_covering(db: Reader, location_id: str) -> list[Sensor]:
    """Return the active sensors that speak for goods at a location: those that name it, or the whole zone."""
    zone_id = location_id.rsplit("-", 2)[0]
    return [
        sensor
        for sensor in sensors_of_zone(db, zone_id)
        if sensor.active
        and sensor.role not in DEVICES | SUPPLIES
        and (not sensor.covers or location_id in sensor.covers)
    ]
