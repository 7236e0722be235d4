"""Flaws: what a device needs before it fails: a battery, a better place, a clock, a new certificate.

Invariants
    W1  A device or sensor has at most one open flaw of a kind; it ends when it is seen to be gone.
    W2  What is not known is no flaw, and ends none: a device that tells no battery has neither a good nor a
        bad one, and of two sensors that disagree nobody can tell which one drifts.
    W3  A flaw says nothing of goods: it holds nothing and stops nothing.
    W4  A device that is no sensor has no flaw: whoever reaches a broker names as many as they like.

Silent and stuck sensors are alarms (`rules`), for nobody sees the goods then. These are the signs before.

Drift. Sensors of one role in one zone stand in different places, so that each is a little warmer or colder
than the others for good: what counts is that this difference changes. The mean of the last `NOW_DAYS` whole
days is held against the mean of `BEFORE_DAYS` days before; what most sensors of the zone did (the median
change) is the zone's own, the rest the sensor's. It takes three sensors to tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from statistics import median

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import get_site
from coldgrid.telemetry.device_clocks import Standing, clocks_of_site
from coldgrid.telemetry.heard import Device, devices_of_site
from coldgrid.telemetry.quantities import Quantity
from coldgrid.telemetry.sensors import Calibration, Sensor, sensors_of_site
from coldgrid.telemetry.sources import sensors_by_source
from coldgrid.telemetry.store import Rollup, rollups

# The bounds are ours; a flaw ends beyond the second one, so that it does not come and go.
BATTERY_LOW_PCT, BATTERY_GOOD_PCT = 20.0, 30.0
SIGNAL_WEAK_DBM, SIGNAL_GOOD_DBM = -115.0, -110.0
DUE_WITHIN = timedelta(days=30)
NOW_DAYS, BEFORE_DAYS, BEFORE_DAYS_MIN = 3, 21, 5
DRIFT_C, DRIFT_UNCERTAINTIES = 0.5, 2.0
DRIFT_SENSORS_MIN = 3
# Of the readings that so many days should have.
ENOUGH = 0.8

# --- Vocabulary -----------------------------------------------------------------


class Flaw(StrEnum):
    """What is wrong."""

    BATTERY = "battery"
    SIGNAL = "signal"
    CLOCK = "clock"
    DRIFT = "drift"
    CALIBRATION = "calibration"


# Whose subject is a sensor; the others are of what carries it.
OF_SENSORS = frozenset({Flaw.CLOCK, Flaw.DRIFT, Flaw.CALIBRATION})


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """A flaw as it is seen now. `subject`: the sensor, or `GATEWAY/DEVICE`; `zone_id` empty: several or none.

    `value` in the flaw's own unit: percent, dBm, °C, days until due (negative: overdue); None: it has none.
    """

    subject: str
    flaw: Flaw
    zone_id: str = ""
    sensors: list[str] = []
    value: float | None = None


class StandingFlaw(msgspec.Struct, frozen=True):
    """A flaw that stands, as it was found."""

    flaw_id: str
    site_id: str
    subject: str
    flaw: Flaw
    zone_id: str
    value: float | None
    found_at: datetime


Key = tuple[str, Flaw]


class Means(msgspec.Struct, frozen=True):
    """A sensor's mean of the last days and of those before, in °C."""

    now_c: float
    before_c: float

    @property
    def change_c(self) -> float:
        """How much it rose."""
        return self.now_c - self.before_c


# --- Events ---------------------------------------------------------------------


class FlawFound(Event, frozen=True, tag="telemetry.flaw_found"):
    """A device shows a sign of failing. The fields are those of `Sign`."""

    flaw_id: str
    site_id: str
    subject: str
    flaw: Flaw
    zone_id: str
    sensors: list[str]
    value: float | None


class FlawEnded(Event, frozen=True, tag="telemetry.flaw_ended"):
    """The sign is gone."""

    flaw_id: str
    site_id: str
    subject: str
    flaw: Flaw


# --- Table and projections -------------------------------------------------------

telemetry_flaw = sa.Table(
    "telemetry_flaw",
    metadata,
    sa.Column("flaw_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("flaw", Named(Flaw), nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("found_at", Instant, nullable=False),
    info={"origin": "site"},
)
_PUT = Statement(telemetry_flaw.insert())
_DROP = Statement(telemetry_flaw.delete().where(telemetry_flaw.c.flaw_id == sa.bindparam("which")))


@projects(FlawFound)
def _put_row(tx: Tx, event: FlawFound) -> None:
    tx.write(
        _PUT,
        flaw_id=event.flaw_id,
        site_id=event.site_id,
        subject=event.subject,
        flaw=event.flaw,
        zone_id=event.zone_id,
        value=event.value,
        found_at=tx.now,
    )


@projects(FlawEnded)
def _drop_row(tx: Tx, event: FlawEnded) -> None:
    tx.write(_DROP, which=event.flaw_id)


# --- Decisions (pure) -------------------------------------------------------------


def battery_flaw(pct: float | None, standing: bool) -> bool | None:
    """Tell whether a battery is low; None: it is not known (W2)."""
    return None if pct is None else pct <= (BATTERY_GOOD_PCT if standing else BATTERY_LOW_PCT)


def signal_flaw(dbm: float | None, standing: bool) -> bool | None:
    """Tell whether a radio is hardly heard; None: it is not known (W2)."""
    return None if dbm is None else dbm <= (SIGNAL_GOOD_DBM if standing else SIGNAL_WEAK_DBM)


def due_in_days(calibration: Calibration | None, today: date) -> int | None:
    """Return in how many days a certificate ends, where that is soon or past; None else, or without one."""
    if calibration is None or calibration.due_on - today > DUE_WITHIN:
        return None
    return (calibration.due_on - today).days


def drifts_c(means: Mapping[str, Means]) -> dict[str, float]:
    """Return by how much each of a zone's sensors of one role moved away from the others; empty: too few."""
    if len(means) < DRIFT_SENSORS_MIN:
        return {}
    common_c = median([one.change_c for one in means.values()])
    return {sensor_id: one.change_c - common_c for sensor_id, one in means.items()}


def drifted(drift_c: float, calibration: Calibration | None) -> bool:
    """Tell whether a drift is more than a sensor of this uncertainty may show."""
    uncertainty_c = 0.0 if calibration is None else calibration.uncertainty
    return abs(drift_c) > max(DRIFT_C, DRIFT_UNCERTAINTIES * uncertainty_c)


# --- Command --------------------------------------------------------------------


class LookAfterDevices(Command, frozen=True, tag="telemetry.look_after_devices"):
    """Look for flaws of a site's devices, and whether those that stand are gone."""

    site_id: str


class Looked(msgspec.Struct, frozen=True):
    """How many flaws were found and ended."""

    found: int
    ended: int


@handles(LookAfterDevices, action="telemetry.look_after_devices", owner=Owner.SITE)
def look_after_devices(tx: Tx, command: LookAfterDevices) -> Looked:
    """Record what was found and what is gone (W1)."""
    get_site(tx, command.site_id)
    standing = {(one.subject, one.flaw): one for one in flaws_of_site(tx, command.site_id)}
    seen = _look(tx, command.site_id, standing)
    found = [sign for sign in seen.signs if (sign.subject, sign.flaw) not in standing]
    stream = f"device/{command.site_id}"
    for sign in found:
        flaw_id = derive_id("flaw", command.site_id, sign.subject, sign.flaw, tx.stamp.micros)
        fields = msgspec.structs.asdict(sign)
        tx.record(stream, FlawFound(flaw_id=flaw_id, site_id=command.site_id, **fields))
    ended = [one for key, one in standing.items() if key in seen.gone]
    for one in ended:
        ending = FlawEnded(flaw_id=one.flaw_id, site_id=one.site_id, subject=one.subject, flaw=one.flaw)
        tx.record(stream, ending)
    return Looked(len(found), len(ended))


class _Seen:
    """What was looked at: signs of flaws, and flaws that are certainly not there."""

    def __init__(self) -> None:
        self.signs: list[Sign] = []
        self.gone: set[Key] = set()

    def add(self, sign: Sign, there: bool | None) -> None:
        """Take in one look; None: it cannot be told."""
        if there:
            self.signs.append(sign)
        elif there is False:
            self.gone.add((sign.subject, sign.flaw))


def _look(tx: Tx, site_id: str, standing: Mapping[Key, StandingFlaw]) -> _Seen:
    seen = _Seen()
    sensors = {one.sensor_id: one for one in sensors_of_site(tx, site_id) if one.active}
    sources = sensors_by_source(tx, site_id)
    for device in devices_of_site(tx, site_id):
        _look_at_device(seen, device, _sensors_behind(device, sources, sensors), standing.keys())
    for sensor_id, clock in clocks_of_site(tx, site_id).items():
        if sensor_id in sensors:
            sign = Sign(subject=sensor_id, flaw=Flaw.CLOCK, zone_id=sensors[sensor_id].zone_id)
            seen.add(sign, clock.standing is Standing.DISTRUSTED)
    today = tx.now.date()
    for sensor in sensors.values():
        due = due_in_days(sensor.calibration, today)
        sign = Sign(
            subject=sensor.sensor_id, flaw=Flaw.CALIBRATION, zone_id=sensor.zone_id, value=_float(due)
        )
        seen.add(sign, due is not None if sensor.calibration is not None else None)
    _look_for_drift(tx, seen, sensors.values(), standing)
    # Of a sensor that is out of use nothing is wrong any more.
    seen.gone |= {key for key in standing if key[1] in OF_SENSORS and key[0] not in sensors}
    return seen


def _float(number: int | None) -> float | None:
    return None if number is None else float(number)


def _sensors_behind(
    device: Device, sources: Mapping[str, str], sensors: Mapping[str, Sensor]
) -> list[Sensor]:
    """The sensors that a device speaks for; of a gateway itself, all of its."""
    prefix = f"{device.gateway_id}/{device.device}/" if device.device else f"{device.gateway_id}/"
    names = sorted(name for source, name in sources.items() if source.startswith(prefix))
    return [sensors[name] for name in names if name in sensors]


def _look_at_device(seen: _Seen, device: Device, behind: Sequence[Sensor], standing: Collection[Key]) -> None:
    subject = f"{device.gateway_id}/{device.device}".rstrip("/")
    if device.device and not behind:
        seen.gone |= {key for key in standing if key[0] == subject}
        return
    zones = {sensor.zone_id for sensor in behind}
    zone_id = zones.pop() if len(zones) == 1 else ""
    for flaw, value, rule in (
        (Flaw.BATTERY, device.battery_pct, battery_flaw),
        (Flaw.SIGNAL, device.signal_dbm, signal_flaw),
    ):
        sign = Sign(
            subject=subject,
            flaw=flaw,
            zone_id=zone_id,
            sensors=[sensor.sensor_id for sensor in behind],
            value=value,
        )
        seen.add(sign, rule(value, (subject, flaw) in standing))


def _look_for_drift(
    tx: Tx, seen: _Seen, sensors: Collection[Sensor], standing: Mapping[Key, StandingFlaw]
) -> None:
    """Look for sensors that moved away from the others; what stands ends with a new certificate alone.

    In time the days before a drift are forgotten, and the means would agree again.
    """
    groups: dict[tuple[str, str], list[Sensor]] = {}
    for sensor in sensors:
        known = standing.get((sensor.sensor_id, Flaw.DRIFT))
        if known is not None:
            fresh = (
                sensor.calibration is not None and sensor.calibration.calibrated_on >= known.found_at.date()
            )
            seen.add(Sign(subject=sensor.sensor_id, flaw=Flaw.DRIFT), None if not fresh else False)
        if sensor.quantity is Quantity.TEMPERATURE:
            groups.setdefault((sensor.zone_id, sensor.role), []).append(sensor)
    for (zone_id, _), group in groups.items():
        if len(group) < DRIFT_SENSORS_MIN:
            continue
        by_id = {sensor.sensor_id: sensor for sensor in group}
        for sensor_id, drift_c in drifts_c(_means(tx, group)).items():
            if (sensor_id, Flaw.DRIFT) not in standing:
                sign = Sign(
                    subject=sensor_id,
                    flaw=Flaw.DRIFT,
                    zone_id=zone_id,
                    sensors=[sensor_id],
                    value=round(drift_c, 2),
                )
                seen.add(sign, drifted(drift_c, by_id[sensor_id].calibration))


def _means(tx: Tx, group: Sequence[Sensor]) -> dict[str, Means]:
    """Return the means of those sensors that have enough days of readings since their certificate."""
    midnight = datetime.combine(tx.now.date(), time(), UTC)
    now_from = midnight - timedelta(days=NOW_DAYS)
    began: dict[datetime, list[str]] = {}
    for sensor in group:
        from_at = now_from - timedelta(days=BEFORE_DAYS)
        if sensor.calibration is not None:
            calibrated = datetime.combine(sensor.calibration.calibrated_on, time(), UTC) + timedelta(days=1)
            from_at = max(from_at, calibrated)
        if now_from - from_at >= timedelta(days=BEFORE_DAYS_MIN):
            began.setdefault(from_at, []).append(sensor.sensor_id)
    interval_s = {sensor.sensor_id: sensor.interval_s for sensor in group}
    names = [name for some in began.values() for name in some]
    after = {one.sensor_id: one for one in rollups(tx, names, now_from, midnight)}
    found: dict[str, Means] = {}
    for from_at, some in began.items():
        for before in rollups(tx, some, from_at, now_from):
            now, name = after[before.sensor_id], before.sensor_id
            if _enough(before, interval_s[name], BEFORE_DAYS_MIN) and _enough(
                now, interval_s[name], NOW_DAYS / 2
            ):
                found[name] = Means(
                    now.mean_c or 0.0, before.mean_c or 0.0
                )  # neither is None: both have readings
    return found


def _enough(rollup: Rollup, interval_s: float, days: float) -> bool:
    return rollup.good > 0 and rollup.good * interval_s >= days * 86_400 * ENOUGH


# --- Queries --------------------------------------------------------------------

_OF_SITE = Statement(
    sa.select(*(telemetry_flaw.c[name] for name in StandingFlaw.__struct_fields__))
    .where(telemetry_flaw.c.site_id == sa.bindparam("site_id"))
    .order_by(telemetry_flaw.c.found_at, telemetry_flaw.c.flaw_id),
    into=StandingFlaw,
)


def flaws_of_site(db: Reader, site_id: str) -> list[StandingFlaw]:
    """Return the flaws that stand at a site, oldest first."""
    return db.all(_OF_SITE, site_id=site_id)
