"""Lanes: the ways goods travel between sites, how long they take, what they cost and what they keep cold.

Invariants
    L1  A lane leads from one site to another, in one direction, and is named so.
    L2  It states at least one temperature class that it keeps on the way.

`cost_cents` is for one pallet, in US cents; `transit_min` is from dock to dock.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.rejections import NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network import names
from coldgrid.network.changes import known
from coldgrid.network.form_examples import LANE_HELP
from coldgrid.network.items import Batch, register_item
from coldgrid.network.sites import TemperatureClass


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One way from a site to another. `distance_km` is by road. An inactive lane is not used."""

    lane_id: str
    from_site: str
    to_site: str
    distance_km: Annotated[float, msgspec.Meta(ge=0, le=20_000)] = 0.0
    transit_min: Annotated[int, msgspec.Meta(ge=1, le=30_000)]
    cost_cents: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]
    classes: list[TemperatureClass]
    active: bool = True


class LaneDefined(Event, frozen=True, tag="network.lane_defined"):
    """A lane was opened, or changed."""

    lane: Lane


class LaneNotFound(NotFound):
    """There is no such lane."""


network_lane = sa.Table(
    "network_lane",
    metadata,
    sa.Column("lane_id", sa.Text, primary_key=True),
    sa.Column("from_site", sa.Text, nullable=False, index=True),
    sa.Column("to_site", sa.Text, nullable=False, index=True),
    sa.Column("distance_km", sa.Float, nullable=False),
    sa.Column("transit_min", sa.BigInteger, nullable=False),
    sa.Column("cost_cents", sa.BigInteger, nullable=False),
    sa.Column("classes", Json(list[TemperatureClass]), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    info={"origin": "network"},
)
_DEFINE = Statement(upsert(network_lane, keys=["lane_id"], set_=Lane.__struct_fields__[1:]))


@projects(LaneDefined)
def _keep_lane(tx: Tx, event: LaneDefined) -> None:
    tx.write(_DEFINE, **msgspec.structs.asdict(event.lane))


def problems_of(lane: Lane) -> list[Problem]:
    """Return what is wrong with a lane, whatever else exists (L1, L2)."""
    problems = names.LANE.check("lane_id", lane.lane_id)
    ends = f"{lane.from_site}-{lane.to_site}"
    if not problems and lane.lane_id != ends and not lane.lane_id.startswith(f"{ends}-"):
        message = f"{lane.lane_id} is not named after its ends"
        problems.append(Problem(field="lane_id", message=message, fix=f"did you mean {ends}?"))
    if lane.from_site == lane.to_site:
        problems.append(Problem(field="to_site", message="a lane leads to another site"))
    if not lane.classes:
        problems.append(Problem(field="classes", message="names no temperature class that it keeps"))
    return problems


def _check(db: Reader, lane: Lane, batch: Batch) -> list[Problem]:
    problems = problems_of(lane)
    for field in ("from_site", "to_site"):
        site_id: str = getattr(lane, field)
        if not known(db, batch, "site", site_id):
            problems.append(Problem(field=field, message=f"there is no site {site_id!r}"))
    return problems


def _define(tx: Tx, lane: Lane) -> None:
    tx.record(f"lane/{lane.lane_id}", LaneDefined(lane=lane), audience=(lane.from_site, lane.to_site))


register_item("lane", Lane, _check, _define, form_help=LANE_HELP)


def _lane(*row: object) -> Lane:
    return Lane(**dict(zip(Lane.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_LANES = sa.select(*(network_lane.c[name] for name in Lane.__struct_fields__))
_GET = Statement(_LANES.where(network_lane.c.lane_id == sa.bindparam("lane_id")), into=_lane)
_FROM = Statement(
    _LANES.where(
        network_lane.c.from_site == sa.bindparam("site_id"), network_lane.c.active.is_(True)
    ).order_by(network_lane.c.lane_id),
    into=_lane,
)
_TO = Statement(
    _LANES.where(network_lane.c.to_site == sa.bindparam("site_id"), network_lane.c.active.is_(True)).order_by(
        network_lane.c.lane_id
    ),
    into=_lane,
)


def get_lane(db: Reader, lane_id: str) -> Lane:
    """Return one lane.

    Raises:
        LaneNotFound: there is none of this id.
    """
    lane = db.one(_GET, lane_id=lane_id)
    if lane is None:
        raise LaneNotFound(lane_id=lane_id)
    return lane


def lanes_from(db: Reader, site_id: str) -> list[Lane]:
    """Return the lanes in use that leave a site, by id."""
    return db.all(_FROM, site_id=site_id)


def lanes_to(db: Reader, site_id: str) -> list[Lane]:
    """Return the lanes in use that reach a site, by id."""
    return db.all(_TO, site_id=site_id)
