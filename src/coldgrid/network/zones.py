"""Zones and locations: the rooms of a site by temperature, and the places in them.

Invariants
    Z1  A zone is named after its site and its temperature class, a location after its zone.
    Z2  low_c < setpoint_c < high_c, all within what its class can be: degrees Fahrenheit are noticed.
    Z3  A zone's class is one that its site has capacity for.

A zone's band is what its air is kept in; what a product tolerates is the product's own (`catalog.limits`).
`lag_min` is the time constant, in minutes, with which goods in the zone follow its air (a first-order lag)
where neither packaging nor a probe says better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.kept import Kept
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.rejections import NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network import names
from coldgrid.network.changes import known
from coldgrid.network.form_examples import ZONE_HELP
from coldgrid.network.items import Batch, register_item
from coldgrid.network.sites import Label, TemperatureClass, get_site

# --- Vocabulary -----------------------------------------------------------------

# The air temperatures, in °C, that a zone of a class can sensibly be kept at (Z2).
CLASS_BANDS_C: dict[TemperatureClass, tuple[float, float]] = {
    TemperatureClass.FROZEN: (-60.0, -5.0),
    TemperatureClass.CHILLED: (-5.0, 15.0),
    TemperatureClass.AMBIENT: (0.0, 40.0),
}
CLASS_CODES = {
    TemperatureClass.FROZEN: "FRZ",
    TemperatureClass.CHILLED: "CHL",
    TemperatureClass.AMBIENT: "AMB",
}


class LocationKind(StrEnum):
    """What a place is used for. A virtual one has no shelf: a carrier, the scrap yard, the supplier."""

    BULK = "bulk"
    PICK = "pick"
    DOCK = "dock"
    STAGE = "stage"
    QUARANTINE = "quarantine"
    VIRTUAL = "virtual"


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """A room of one temperature class. `asset_id`: the machine that keeps it so; "" without one.

    `escalation_group` None: the site's group answers for it. `capacity_pallets`: pallet positions.
    """

    zone_id: str
    site_id: str
    name: Label
    temperature_class: TemperatureClass
    setpoint_c: float
    low_c: float
    high_c: float
    capacity_pallets: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    lag_min: Annotated[float, msgspec.Meta(gt=0, le=10_000)]
    asset_id: str = ""
    escalation_group: str | None = None


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a zone that a handling unit can stand in. An inactive one takes nothing more in."""

    location_id: str
    zone_id: str
    site_id: str
    kind: LocationKind = msgspec.field(name="location_kind")
    active: bool = True


# --- Events ---------------------------------------------------------------------


class ZoneDefined(Event, frozen=True, tag="network.zone_defined"):
    """A zone was built, or its settings were changed."""

    zone: Zone

    @property
    def site_id(self) -> str:
        """The site it is in."""
        return self.zone.site_id

    @property
    def zone_id(self) -> str:
        """The zone it is about."""
        return self.zone.zone_id


class LocationDefined(Event, frozen=True, tag="network.location_defined"):
    """A location was set up, or changed."""

    location: Location

    @property
    def site_id(self) -> str:
        """The site it is in."""
        return self.location.site_id

    @property
    def zone_id(self) -> str:
        """The zone it is in."""
        return self.location.zone_id


# --- Rejections -----------------------------------------------------------------


class ZoneNotFound(NotFound):
    """There is no such zone."""


class LocationNotFound(NotFound):
    """There is no such location."""

    todo = "Scan the label at the place, or look it up on the page of its zone."


# --- Tables and projections -----------------------------------------------------

network_zone = sa.Table(
    "network_zone",
    metadata,
    sa.Column("zone_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("temperature_class", Named(TemperatureClass), nullable=False),
    sa.Column("setpoint_c", sa.Float, nullable=False),
    sa.Column("low_c", sa.Float, nullable=False),
    sa.Column("high_c", sa.Float, nullable=False),
    sa.Column("capacity_pallets", sa.BigInteger, nullable=False),
    sa.Column("lag_min", sa.Float, nullable=False),
    sa.Column("asset_id", sa.Text, nullable=False),
    sa.Column("escalation_group", sa.Text),
    info={"origin": "network"},
)
network_location = sa.Table(
    "network_location",
    metadata,
    sa.Column("location_id", sa.Text, primary_key=True),
    sa.Column("zone_id", sa.Text, nullable=False, index=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("kind", Named(LocationKind), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    info={"origin": "network"},
)
_DEFINE_ZONE = Statement(upsert(network_zone, keys=["zone_id"], set_=Zone.__struct_fields__[1:]))
_DEFINE_LOCATION = Statement(
    upsert(network_location, keys=["location_id"], set_=Location.__struct_fields__[1:])
)


@hot_state
class KeptZones(Kept[Zone]):
    """Zones that the decider asked for."""


@projects(ZoneDefined)
def _keep_zone(tx: Tx, event: ZoneDefined) -> None:
    KeptZones.drop(tx, event.zone_id)
    tx.write(_DEFINE_ZONE, **msgspec.structs.asdict(event.zone))


@projects(LocationDefined)
def _keep_location(tx: Tx, event: LocationDefined) -> None:
    tx.write(_DEFINE_LOCATION, **msgspec.structs.asdict(event.location))


# --- Decisions (pure) -----------------------------------------------------------


def zone_problems(zone: Zone) -> list[Problem]:
    """Return what is wrong with a zone, whatever else exists (Z1, Z2)."""
    problems = names.ZONE.check("zone_id", zone.zone_id)
    if not problems:
        problems += names.below("zone_id", zone.zone_id, "site", zone.site_id) or _class_code(zone)
    if zone.asset_id:
        problems += names.ASSET.check("asset_id", zone.asset_id)
    if zone.escalation_group is not None:
        problems += names.GROUP.check("escalation_group", zone.escalation_group)
    return [*problems, *_band_problems(zone)]


def _class_code(zone: Zone) -> Iterator[Problem]:
    code = CLASS_CODES[zone.temperature_class]
    named = zone.zone_id.removeprefix(f"{zone.site_id}-")
    if not named.startswith(code):
        fix = f"did you mean {zone.site_id}-{code}{named[3:]}?"
        message = f"{zone.zone_id} does not name a {zone.temperature_class} zone"
        yield Problem(field="zone_id", message=message, fix=fix)


def _band_problems(zone: Zone) -> Iterator[Problem]:
    least, most = CLASS_BANDS_C[zone.temperature_class]
    for field in ("setpoint_c", "low_c", "high_c"):
        value: float = getattr(zone, field)
        if least <= value <= most:
            continue
        message = f"{value:g} °C does not fit a {zone.temperature_class} zone ({least:g} to {most:g} °C)"
        from_f_c = (value - 32) / 1.8
        meant = f"{value:g} °F is {from_f_c:.1f} °C" if least <= from_f_c <= most else ""
        yield Problem(field=field, message=message, fix=meant)
    if not zone.low_c < zone.setpoint_c < zone.high_c:
        told = f"low {zone.low_c:g}, set point {zone.setpoint_c:g}, high {zone.high_c:g} °C"
        yield Problem(field="setpoint_c", message=f"must lie between low_c and high_c: {told}")


def location_problems(location: Location) -> list[Problem]:
    """Return what is wrong with a location, whatever else exists (Z1)."""
    problems = names.LOCATION.check("location_id", location.location_id)
    if not problems:
        problems += names.below("location_id", location.location_id, "zone", location.zone_id)
    return [*problems, *names.below("zone_id", location.zone_id, "site", location.site_id)]


# --- Items ----------------------------------------------------------------------


def _check_zone(db: Reader, zone: Zone, batch: Batch) -> list[Problem]:
    problems = zone_problems(zone)
    group = zone.escalation_group
    if group is not None and not known(db, batch, "group", group):
        problems.append(Problem(field="escalation_group", message=f"there is no escalation group {group!r}"))
    if not known(db, batch, "site", zone.site_id):
        return [*problems, Problem(field="site_id", message=f"there is no site {zone.site_id!r}")]
    site = batch.get("site", zone.site_id)
    if site is None and not batch.has("site", zone.site_id):
        site = get_site(db, zone.site_id)
    if site is not None and not site.capacity.get(zone.temperature_class):
        message = f"{zone.site_id} has no {zone.temperature_class} capacity"
        fix = f"give the site a capacity.{zone.temperature_class}"
        problems.append(Problem(field="temperature_class", message=message, fix=fix))
    return problems


def _define_zone(tx: Tx, zone: Zone) -> None:
    tx.record(f"zone/{zone.zone_id}", ZoneDefined(zone=zone), audience=(zone.site_id,))


def _check_location(db: Reader, location: Location, batch: Batch) -> list[Problem]:
    problems = location_problems(location)
    if not known(db, batch, "zone", location.zone_id):
        problems.append(Problem(field="zone_id", message=f"there is no zone {location.zone_id!r}"))
    return problems


def _define_location(tx: Tx, location: Location) -> None:
    event = LocationDefined(location=location)
    tx.record(f"location/{location.location_id}", event, audience=(location.site_id,))


register_item("zone", Zone, _check_zone, _define_zone, form_help=ZONE_HELP)
register_item("location", Location, _check_location, _define_location)

# --- Queries --------------------------------------------------------------------


def _zone(*row: object) -> Zone:
    return Zone(**dict(zip(Zone.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


def _location(*row: object) -> Location:
    return Location(**dict(zip(Location.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_ZONES = sa.select(*(network_zone.c[name] for name in Zone.__struct_fields__))
_ZONE = Statement(_ZONES.where(network_zone.c.zone_id == sa.bindparam("zone_id")), into=_zone)
_OF_SITE = Statement(
    _ZONES.where(network_zone.c.site_id == sa.bindparam("site_id")).order_by(network_zone.c.zone_id),
    into=_zone,
)
_OF_SITES = Statement(
    _ZONES.where(network_zone.c.site_id.in_(sa.bindparam("site_ids", expanding=True))).order_by(
        network_zone.c.zone_id
    ),
    into=_zone,
)
_ALL_ZONES = Statement(_ZONES.order_by(network_zone.c.zone_id), into=_zone)
_LOCATIONS = sa.select(*(network_location.c[name] for name in Location.__struct_fields__))
_LOCATION = Statement(
    _LOCATIONS.where(network_location.c.location_id == sa.bindparam("location_id")), into=_location
)
_OF_ZONE = Statement(
    _LOCATIONS.where(network_location.c.zone_id == sa.bindparam("zone_id")).order_by(
        network_location.c.location_id
    ),
    into=_location,
)


def get_zone(db: Reader, zone_id: str) -> Zone:
    """Return one zone.

    Raises:
        ZoneNotFound: there is none of this id.
    """
    return KeptZones.row(db, zone_id, lambda: _read_zone(db, zone_id))


def _read_zone(db: Reader, zone_id: str) -> Zone:
    zone = db.one(_ZONE, zone_id=zone_id)
    if zone is None:
        raise ZoneNotFound(zone_id=zone_id)
    return zone


def zones_of(db: Reader, site_id: str) -> list[Zone]:
    """Return a site's zones, by id."""
    return db.all(_OF_SITE, site_id=site_id)


def zones_of_sites(db: Reader, site_ids: Sequence[str]) -> list[Zone]:
    """Return the zones of several sites, by id."""
    return db.all(_OF_SITES, site_ids=list(site_ids))


def list_zones(db: Reader) -> list[Zone]:
    """Return every zone of the network, by id."""
    return db.all(_ALL_ZONES)


def get_location(db: Reader, location_id: str) -> Location:
    """Return one location.

    Raises:
        LocationNotFound: there is none of this id.
    """
    location = db.one(_LOCATION, location_id=location_id)
    if location is None:
        raise LocationNotFound(location_id=location_id)
    return location


def locations_of_zone(db: Reader, zone_id: str) -> list[Location]:
    """Return a zone's locations, by id, the inactive ones too."""
    return db.all(_OF_ZONE, zone_id=zone_id)
