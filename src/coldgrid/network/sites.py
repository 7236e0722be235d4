"""Sites: where goods are kept and handed over, when they work, what they hold, in which mode they run.

Invariants
    S1  A site's settings change by an approved change; its mode by a command of its own, with a reason.
    S2  A site of any kind has the same fields: a locker bank is a small site, not another thing.
    S3  Changing the settings never changes the mode.

Modes: `normal`; `receive_only` takes goods in and ships none; `ship_only` ships and takes none in; `closed`
does neither. Sensors and alarms work in every mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Forbidden, NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network import names
from coldgrid.network.calendars import Calendar, Cutoff, calendar_problems, timezone_problems
from coldgrid.network.change_rules import Reason, said_why
from coldgrid.network.changes import known
from coldgrid.network.form_examples import SITE_HELP
from coldgrid.network.items import Batch, register_item

# --- Vocabulary -----------------------------------------------------------------

# The audience of facts that every site needs: products, limits, escalation groups.
EVERY_SITE = ("*",)
# A time zone's clock follows the sun within this many degrees of longitude (some are about 3 h off).
LONGITUDE_SLACK_DEG = 52.5


class SiteKind(StrEnum):
    """What a site is for."""

    DC = "dc"
    MFC = "mfc"
    STORE = "store"
    DARK_STORE = "dark_store"
    LOCKER = "locker"
    PICKUP_POINT = "pickup_point"
    CROSS_DOCK = "cross_dock"


class SiteMode(StrEnum):
    """What a site does at present."""

    NORMAL = "normal"
    RECEIVE_ONLY = "receive_only"
    SHIP_ONLY = "ship_only"
    CLOSED = "closed"


class SlaTier(StrEnum):
    """How fast faults at a site must be answered: gold first."""

    GOLD = "gold"
    SILVER = "silver"
    BRONZE = "bronze"


class TemperatureClass(StrEnum):
    """How goods are kept."""

    FROZEN = "frozen"
    CHILLED = "chilled"
    AMBIENT = "ambient"


Label = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Pallets = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an approved change says about a site. `capacity`: pallet positions of each temperature class."""

    site_id: str
    name: Label
    kind: SiteKind = msgspec.field(name="site_kind")
    city: Label
    region: Label
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] = "US"
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    timezone: str
    calendar: Calendar
    cutoffs: list[Cutoff] = []
    sla_tier: SlaTier
    capacity: dict[TemperatureClass, Pallets]
    escalation_group: str


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A site as readers see it: its settings, and its mode with who changed it when and why."""

    site_id: str
    name: str
    kind: SiteKind
    city: str
    region: str
    country: str = "US"
    lat: float
    lon: float
    timezone: str
    calendar: Calendar
    cutoffs: list[Cutoff] = []
    sla_tier: SlaTier
    capacity: dict[TemperatureClass, int]
    escalation_group: str
    mode: SiteMode = SiteMode.NORMAL
    mode_reason: str = ""
    mode_since: datetime | None = None
    mode_by: str = ""

    @property
    def receives(self) -> bool:
        """Whether goods may be taken in."""
        return self.mode in {SiteMode.NORMAL, SiteMode.RECEIVE_ONLY}

    @property
    def ships(self) -> bool:
        """Whether goods may be sent, and so promised."""
        return self.mode in {SiteMode.NORMAL, SiteMode.SHIP_ONLY}


class SiteLabel(msgspec.Struct, frozen=True):
    """What a site is called, for lists and searches."""

    site_id: str
    name: str
    kind: SiteKind
    city: str
    region: str


# --- Events ---------------------------------------------------------------------


class SiteDefined(Event, frozen=True, tag="network.site_defined"):
    """A site was opened, or its settings were changed."""

    site: SiteSettings

    @property
    def site_id(self) -> str:
        """The site it is about."""
        return self.site.site_id


class SiteModeChanged(Event, frozen=True, tag="network.site_mode_changed"):
    """A site began to run in another mode."""

    site_id: str
    before: SiteMode
    mode: SiteMode
    reason: str


# --- Rejections -----------------------------------------------------------------


class SiteNotFound(NotFound):
    """There is no such site."""

    todo = "Use the id of a defined site: /api/v1/sites lists them. A new site begins with a change."


class SiteAlreadyInMode(Conflict):
    """The site is in this mode already."""


class SiteOfOthers(Forbidden):
    """A site's mode is changed by somebody who is responsible for it."""


# --- Table and projections ------------------------------------------------------

network_site = sa.Table(
    "network_site",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", Named(SiteKind), nullable=False),
    sa.Column("city", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("country", sa.Text, nullable=False),
    sa.Column("lat", sa.Float, nullable=False),
    sa.Column("lon", sa.Float, nullable=False),
    sa.Column("timezone", sa.Text, nullable=False),
    sa.Column("calendar", Json(Calendar), nullable=False),
    sa.Column("cutoffs", Json(list[Cutoff]), nullable=False),
    sa.Column("sla_tier", Named(SlaTier), nullable=False),
    sa.Column("capacity", Json(dict[TemperatureClass, int]), nullable=False),
    sa.Column("escalation_group", sa.Text, nullable=False),
    sa.Column("mode", Named(SiteMode), nullable=False),
    sa.Column("mode_reason", sa.Text, nullable=False),
    sa.Column("mode_since", Instant),
    sa.Column("mode_by", sa.Text, nullable=False),
    info={"origin": "network"},
)
_SETTINGS = tuple(name for name in SiteSettings.__struct_fields__ if name != "site_id")
_DEFINE = Statement(upsert(network_site, keys=["site_id"], set_=_SETTINGS))
_SET_MODE = Statement(
    network_site.update()
    .where(network_site.c.site_id == sa.bindparam("whose"))
    .values({name: sa.bindparam(name) for name in ("mode", "mode_reason", "mode_since", "mode_by")})
)


@projects(SiteDefined)
def _keep_settings(tx: Tx, event: SiteDefined) -> None:
    tx.write(
        _DEFINE,
        **msgspec.structs.asdict(event.site),
        mode=SiteMode.NORMAL,
        mode_reason="",
        mode_since=None,
        mode_by="",
    )


@projects(SiteModeChanged)
def _keep_mode(tx: Tx, event: SiteModeChanged) -> None:
    tx.write(
        _SET_MODE,
        whose=event.site_id,
        mode=event.mode,
        mode_reason=event.reason,
        mode_since=tx.now,
        mode_by=tx.actor,
    )


# --- Decisions (pure) -----------------------------------------------------------


def problems_of(site: SiteSettings) -> list[Problem]:
    """Return what is wrong with a site's settings, whatever else exists."""
    problems = names.SITE.check("site_id", site.site_id)
    problems += names.GROUP.check("escalation_group", site.escalation_group)
    wrong = timezone_problems("timezone", site.timezone)
    problems += wrong or _misplaced(site)
    return [*problems, *calendar_problems("calendar", site.calendar), *_cutoff_problems(site)]


def _misplaced(site: SiteSettings) -> Iterator[Problem]:
    """A swapped or mistyped coordinate shows as a clock that does not follow the sun."""
    offset = datetime(2026, 1, 1, tzinfo=ZoneInfo(site.timezone)).utcoffset()
    sun_deg = offset.total_seconds() / 240 if offset is not None else 0.0
    if _apart(site.lon, sun_deg) <= LONGITUDE_SLACK_DEG:
        return
    swapped = _apart(site.lat, sun_deg) <= LONGITUDE_SLACK_DEG
    fix = (
        f"swap lat and lon: lat {site.lon}, lon {site.lat}"
        if swapped
        else "check lon, its sign, and timezone"
    )
    yield Problem(field="lon", message=f"longitude {site.lon} is far from {site.timezone}", fix=fix)


def _apart(lon_a: float, lon_b: float) -> float:
    return abs((lon_a - lon_b + 180) % 360 - 180)


def _cutoff_problems(site: SiteSettings) -> Iterator[Problem]:
    worked = {day for hours in site.calendar.hours for day in hours.days}
    seen: set[tuple[str, str]] = set()
    for index, cutoff in enumerate(site.cutoffs):
        field = f"cutoffs[{index}]"
        if not cutoff.days:
            yield Problem(field=f"{field}.days", message="names no day")
        if closed := [day for day in cutoff.days if day not in worked]:
            message = f"{cutoff.carrier} cannot pick up on {', '.join(closed)}: the site has no hours then"
            yield Problem(field=f"{field}.days", message=message, fix="add hours, or leave the day out")
        if twice := [day for day in cutoff.days if (cutoff.carrier, day) in seen]:
            message = f"{cutoff.carrier} has a second cut-off on {', '.join(twice)}"
            yield Problem(field=field, message=message, fix="keep the later one, or name the service")
        seen |= {(cutoff.carrier, day) for day in cutoff.days}


class ChangeSiteMode(Command, frozen=True, tag="network.change_site_mode"):
    """Ask to run a site in another mode."""

    site_id: str
    mode: SiteMode
    reason: Reason


def decide_mode(site: Site, mode: SiteMode, reason: str) -> SiteModeChanged:
    """Return the event that changes a site's mode, or reject."""
    if site.mode is mode:
        raise SiteAlreadyInMode(site_id=site.site_id, mode=mode, since=site.mode_since)
    return SiteModeChanged(site_id=site.site_id, before=site.mode, mode=mode, reason=reason)


# --- Commands -------------------------------------------------------------------


@handles(ChangeSiteMode, action="network.change_site_mode", owner=Owner.NETWORK)
def change_site_mode(tx: Tx, command: ChangeSiteMode) -> None:
    """Change a site's mode at once: closing a dock cannot wait for a second pair of eyes."""
    said_why(command.reason)
    responsible_for = tx.principal.sites
    if responsible_for is not None and command.site_id not in responsible_for:
        raise SiteOfOthers(site_id=command.site_id)
    event = decide_mode(get_site(tx, command.site_id), command.mode, command.reason)
    tx.record(f"site/{command.site_id}", event, audience=(command.site_id,))


def _check(db: Reader, site: SiteSettings, batch: Batch) -> list[Problem]:
    problems = problems_of(site)
    if not known(db, batch, "group", site.escalation_group):
        message = f"there is no escalation group {site.escalation_group!r}"
        problems.append(
            Problem(field="escalation_group", message=message, fix="add it to the same change, or use one")
        )
    return problems


def _define(tx: Tx, site: SiteSettings) -> None:
    tx.record(f"site/{site.site_id}", SiteDefined(site=site), audience=(site.site_id,))


register_item("site", SiteSettings, _check, _define, form_help=SITE_HELP)

# --- Queries --------------------------------------------------------------------


def _site(*row: object) -> Site:
    return Site(**dict(zip(Site.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_COLUMNS = [network_site.c[name] for name in Site.__struct_fields__]
_GET = Statement(sa.select(*_COLUMNS).where(network_site.c.site_id == sa.bindparam("site_id")), into=_site)
_LIST = Statement(sa.select(*_COLUMNS).order_by(network_site.c.site_id), into=_site)
_AFTER = Statement(
    sa.select(*_COLUMNS)
    .where(network_site.c.site_id > sa.bindparam("after"))
    .order_by(network_site.c.site_id)
    .limit(sa.bindparam("most")),
    into=_site,
)
_SOME = Statement(
    sa.select(*_COLUMNS)
    .where(network_site.c.site_id.in_(sa.bindparam("site_ids", expanding=True)))
    .order_by(network_site.c.site_id),
    into=_site,
)
_LABELS = Statement(
    sa.select(*(network_site.c[name] for name in SiteLabel.__struct_fields__)).order_by(
        network_site.c.site_id
    ),
    into=SiteLabel,
)


def get_site(db: Reader, site_id: str) -> Site:
    """Return one site.

    Raises:
        SiteNotFound: there is none of this id.
    """
    site = db.one(_GET, site_id=site_id)
    if site is None:
        raise SiteNotFound(site_id=site_id)
    return site


def list_sites(db: Reader) -> list[Site]:
    """Return every site, by id."""
    return db.all(_LIST)


def sites_after(db: Reader, after: str, limit: int) -> list[Site]:
    """Return the next sites by id, behind the last one of the page before."""
    return db.all(_AFTER, after=after, most=limit)


def some_sites(db: Reader, site_ids: Sequence[str]) -> list[Site]:
    """Return the sites of these ids, by id; unknown ones are left out."""
    return db.all(_SOME, site_ids=list(site_ids))


def site_labels(db: Reader) -> list[SiteLabel]:
    """Return what every site is called, by id: cheap enough for thousands of sites."""
    return db.all(_LABELS)
