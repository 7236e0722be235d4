"""What quality puts into an evidence pack: what was exposed, how warm, by which limits, and who signed.

The pack of an incident names all goods of its excursions; that of a unit or a lot its own goods alone,
as those beside them may have another owner, and brings what the zone's sensors said and their certificates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from coldgrid.evidence.parts import (
    PackFile,
    PackLimit,
    PackMoment,
    PackSeries,
    PackStreams,
    PackSubject,
    PackTable,
    Part,
    register_contributor,
    register_preparation,
)
from coldgrid.kernel.events import Command
from coldgrid.kernel.log import read_stream
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import get_site
from coldgrid.network.zones import get_zone
from coldgrid.orchestration.incidents import IncidentNotFound, get_incident
from coldgrid.quality.assessing import Goods, goods_of
from coldgrid.quality.calibration import rejudge_of
from coldgrid.quality.deviations import deviation_of
from coldgrid.quality.dispositions import dispositions_of, dispositions_of_unit
from coldgrid.quality.estimate import lag_of
from coldgrid.quality.excursions import (
    Excursion,
    ExposedUnit,
    excursions_of_incident,
    excursions_of_lot,
    excursions_of_unit,
    exposed_units,
    get_excursion,
    shipped_units,
)
from coldgrid.quality.hand_readings import HandReading, Target, hand_readings_of
from coldgrid.quality.photos import get_photo, photos_kept
from coldgrid.quality.zone_air import Body, ZoneAir
from coldgrid.telemetry.pack import zone_parts
from coldgrid.telemetry.seal import SealBlocks
from coldgrid.telemetry.sensors import sensors_of_zone

# More points than this make a chart no clearer.
POINTS_MAX = 500
BEFORE = timedelta(hours=1)
NO_END = datetime(9999, 1, 1, tzinfo=UTC)


def contribute(db: Reader, subject: PackSubject) -> list[Part]:
    """Return what quality knows of an incident, a unit or a lot."""
    excursions = _excursions(db, subject)
    parts: list[Part] = [PackStreams(streams=tuple(sorted(_streams(db, subject, excursions))))]
    for excursion in excursions:
        parts += [_exposed(db, subject, excursion), _shipped(db, subject, excursion)]
        parts += [_signed(db, subject, excursion), *_temperatures(db, subject, excursion)]
    parts += _measured(db, subject, excursions)
    measured = {reading.reading_id: reading for one in excursions for reading in _hand_readings(db, one)}
    if subject.kind == "incident":
        measured |= {reading.reading_id: reading for reading in _measured_for(db, subject.id)}
    if measured:
        by_time = sorted(measured.values(), key=lambda reading: (reading.taken_at, reading.reading_id))
        parts += [PackStreams(streams=[f"measurement/{one.reading_id}" for one in by_time])]
        parts += [_by_hand(by_time), *(_moment(reading) for reading in by_time), *_photos(db, by_time)]
    return parts


def _excursions(db: Reader, subject: PackSubject) -> list[Excursion]:
    if subject.kind == "incident":
        return excursions_of_incident(db, subject.id)
    if subject.kind == "lot":
        return excursions_of_lot(db, subject.id)
    ids = dict.fromkeys(row.excursion_id for row in excursions_of_unit(db, subject.id))
    return [get_excursion(db, excursion_id) for excursion_id in ids]


def _streams(db: Reader, subject: PackSubject, excursions: Iterable[Excursion]) -> set[str]:
    found = {stream for excursion in excursions for stream in _records(db, excursion)}
    for excursion in excursions:
        found |= {
            f"disposition/{signed.disposition_id}"
            for signed in dispositions_of(db, excursion.excursion_id)
            if subject.kind != "unit" or subject.id in (signed.sscc, signed.from_sscc)
        }
    if subject.kind == "unit":
        found |= {f"disposition/{signed.disposition_id}" for signed in dispositions_of_unit(db, subject.id)}
    return found


def _records(db: Reader, excursion: Excursion) -> Iterator[str]:
    yield f"excursion/{excursion.excursion_id}"
    deviation = deviation_of(db, excursion.excursion_id)
    if deviation is not None:
        yield f"deviation/{deviation.deviation_id}"
    for reading in _hand_readings(db, excursion):
        yield f"measurement/{reading.reading_id}"
    if rejudge_of(db, excursion.cause_id) is not None:
        yield f"measurement/{excursion.cause_id}"


def _hand_readings(db: Reader, excursion: Excursion) -> list[HandReading]:
    until_at = (excursion.closed_at or excursion.until_at) + BEFORE
    return hand_readings_of(db, excursion.zone_id, excursion.from_at - BEFORE, until_at)


def _measured_for(db: Reader, incident_id: str) -> list[HandReading]:
    """What was measured by hand in an incident's zone while it was open, also where nothing was exposed."""
    try:
        incident = get_incident(db, incident_id)
    except IncidentNotFound:
        return []
    until_at = incident.closed_at or NO_END
    return hand_readings_of(db, incident.zone_id, incident.opened_at - BEFORE, until_at)


def _measured(db: Reader, subject: PackSubject, excursions: Iterable[Excursion]) -> Iterator[Part]:
    """What the sensors of a unit's or a lot's zones said; of an incident telemetry itself brings it."""
    if subject.kind == "incident":
        return
    spans: dict[str, list[datetime]] = {}
    for one in excursions:
        spans.setdefault(one.zone_id, []).extend((one.from_at - BEFORE, one.closed_at or one.until_at))
    for zone_id, instants in spans.items():
        parts = zone_parts(db, zone_id, min(instants), max(instants) + BEFORE)
        yield from parts
        attested = {part.attested_by for part in parts if isinstance(part, PackFile)}
        yield PackStreams(entry_ids=sorted(attested))


def prepare(db: Reader, subject: PackSubject) -> Sequence[Command]:
    """Seal what the sensors of a unit's or a lot's zones said, so that the log vouches for it."""
    if subject.kind == "incident":
        return []
    zones = {one.zone_id: one for one in _excursions(db, subject)}
    return [
        SealBlocks(site_id=one.site_id, cause_id=one.excursion_id, zone_id=zone_id)
        for zone_id, one in zones.items()
        if sensors_of_zone(db, zone_id)
    ]


def _concerns(subject: PackSubject, sscc: str, lot_id: str) -> bool:
    """Tell whether goods are the subject's: of a unit and a lot their own, of an incident all."""
    return subject.id == {"unit": sscc, "lot": lot_id}.get(subject.kind, subject.id)


def _units(db: Reader, subject: PackSubject, excursion: Excursion) -> list[ExposedUnit]:
    named = [row.numbers for row in exposed_units(db, excursion.excursion_id)]
    return [unit for unit in named if _concerns(subject, unit.sscc, unit.lot_id)]


# --- Tables ---------------------------------------------------------------------


def _exposed(db: Reader, subject: PackSubject, excursion: Excursion) -> PackTable:
    return PackTable(
        title=f"Exposed units, {excursion.zone_id}",
        columns=(
            "SSCC",
            "Product",
            "Lot",
            "Quantity",
            "Verdict",
            "Why",
            "Outside, min",
            "Peak, °C",
            "Unknown, min",
        ),
        rows=[
            (
                unit.sscc,
                unit.product_id,
                unit.lot_id,
                unit.qty,
                unit.verdict.value,
                unit.why,
                unit.outside_min,
                unit.peak_c,
                unit.unknown_min,
            )
            for unit in _units(db, subject, excursion)
        ],
        note=(
            f"From the last good reading, {_local(db, excursion)}, on. The peak is "
            "the warm edge of the estimated product; the verdict is of the readings, not of the goods."
        ),
    )


def _local(db: Reader, excursion: Excursion) -> str:
    """When an excursion began, by the clock of its site, as the page around it tells times."""
    zone = ZoneInfo(get_site(db, excursion.site_id).timezone)
    return f"{excursion.from_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def _shipped(db: Reader, subject: PackSubject, excursion: Excursion) -> PackTable:
    return PackTable(
        title=f"Shipped since the last good reading, {excursion.zone_id}",
        columns=("SSCC", "Product", "Lot", "Quantity", "Left at", "With", "Order", "Verdict until then"),
        rows=[
            (
                one.sscc,
                one.product_id,
                one.lot_id,
                one.qty,
                one.at,
                one.dispatch_id or one.transfer_id,
                one.order_id,
                one.verdict.value,
            )
            for one in shipped_units(db, excursion.excursion_id)
            if _concerns(subject, one.sscc, one.lot_id)
        ],
        note="Named so that whoever has them now can be told.",
    )


def _signed(db: Reader, subject: PackSubject, excursion: Excursion) -> PackTable:
    own = {unit.sscc for unit in _units(db, subject, excursion)}
    return PackTable(
        title=f"Dispositions, {excursion.zone_id}",
        columns=(
            "SSCC",
            "Quantity",
            "Outcome",
            "Until",
            "Reason",
            "Signed by",
            "As",
            "At",
            "Witness",
            "Evidence",
        ),
        rows=[
            (
                one.sscc,
                one.qty,
                one.outcome.value,
                one.reduced_life_until.isoformat() if one.reduced_life_until else "",
                one.reason,
                one.signed_by,
                one.signed_as,
                one.signed_at,
                one.witness,
                ", ".join((*one.evidence, *([one.inspection] if one.inspection else []))),
            )
            for one in dispositions_of(db, excursion.excursion_id)
            if {one.sscc, one.from_sscc} & own
        ],
        note="Signed unit by unit, never by who authorised the rescue or placed the hold.",
    )


def _by_hand(readings: Sequence[HandReading]) -> PackTable:
    return PackTable(
        title="Measured by hand",
        columns=("At", "Zone", "Location", "SSCC", "What", "°C", "Probe", "By", "Photo, SHA-256", "Note"),
        rows=[
            (
                one.taken_at,
                one.zone_id,
                one.location_id,
                one.sscc,
                one.target.value,
                one.value_c,
                one.probe_id,
                one.taken_by,
                one.photo_hash,
                one.note,
            )
            for one in readings
        ],
        note="A photo is known by its hash. Those kept where this pack was made lie under photos/; "
        "whoever has the file of another can show that it is the one.",
    )


def _photos(db: Reader, readings: Sequence[HandReading]) -> Iterator[PackFile]:
    """The photos that are kept here, each as the reading's entry attests it; a photo of two readings once."""
    by_hash = {one.photo_hash: one for one in reversed(readings) if one.photo_hash}
    for photo_hash, reading in sorted(by_hash.items()):
        if photo_hash not in photos_kept(db, reading.site_id, [photo_hash]):
            continue
        photo = get_photo(db, reading.site_id, photo_hash)
        entry = read_stream(db, f"measurement/{reading.reading_id}")[0]
        yield PackFile(
            path=f"photos/{photo_hash}.{photo.media_type.name.lower()}",
            body=photo.body,
            title=f"Photo of a reading by hand, {reading.taken_at.isoformat(timespec='minutes')}",
            attested_by=entry.id,
        )


def _moment(reading: HandReading) -> PackMoment:
    what = "air" if reading.target is Target.AIR else reading.sscc or reading.location_id or reading.zone_id
    return PackMoment(
        at=reading.taken_at,
        title=f"{what}: {reading.value_c:.1f} °C by hand",
        detail=f"{reading.taken_by}, probe {reading.probe_id}"
        + (f". {reading.note}" if reading.note else ""),
        state="info",
    )


# --- Temperatures ---------------------------------------------------------------


def _temperatures(db: Reader, subject: PackSubject, excursion: Excursion) -> Iterator[Part]:
    """The estimate of each product where most of it stood, with its limits and their documents."""
    zone = get_zone(db, excursion.zone_id)
    from_at, until_at = excursion.from_at - BEFORE, excursion.closed_at or excursion.until_at
    if from_at >= until_at:
        return
    known = ZoneAir(db, zone, from_at, until_at)
    units = _units(db, subject, excursion)
    for product_id in sorted({unit.product_id for unit in units}):
        places = [unit.location_id for unit in units if unit.product_id == product_id]
        goods = goods_of(db, product_id)
        yield _estimate(known, goods, max(sorted(set(places)), key=places.count), zone.lag_min)
        yield from _limits(goods)


def _estimate(known: ZoneAir, goods: Goods, location_id: str, lag_min: float) -> PackSeries:
    lag = lag_of(lag_min)
    curve = known.product(location_id, Body(lag, goods.limit_c))
    step = max(len(curve.at_us) // POINTS_MAX, 1)
    at_us, hot_c, cold_c = curve.at_us[::step], curve.hot_c[::step], curve.cold_c[::step]
    is_known = np.concatenate([curve.known, curve.known[-1:]])[::step]
    return PackSeries(
        title=f"{goods.product.product_id} at {location_id}, estimated",
        unit="°C",
        role="product",
        at_s=[float(each) for each in at_us / 1e6],
        values=[
            round(float(hot + cold) / 2, 2) if known_here else None
            for hot, cold, known_here in zip(hot_c, cold_c, is_known, strict=True)
        ],
        low=[round(float(each), 2) for each in cold_c],
        high=[round(float(each), 2) for each in hot_c],
        note=(
            f"A lag of {lag.lag_min:.0f} min ({lag.quick_min:.0f} to {lag.slow_min:.0f}) behind the "
            "worst covering sensor; the band takes in the lag's, the sensor's and the start's uncertainty."
        ),
    )


def _limits(goods: Goods) -> Iterator[PackLimit]:
    for row in goods.limits.rows if goods.limits else ():
        yield PackLimit(
            title=f"{goods.product.product_id} {row.kind.value.replace('_', ' ')}",
            low_c=row.low_c,
            high_c=row.high_c,
            minutes=row.minutes,
            source=row.source,
        )


register_contributor("quality", contribute)
register_preparation("quality", prepare)
