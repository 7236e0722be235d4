"""Sensor health: what was wrong with readings, counted per sensor, and a bounded quarantine to look into.

Counts and quarantine are working state of the runtime: they are written with the flush that they are about.
A site's quarantine keeps the newest `QUARANTINE_MAX` readings and messages; a site counts at most
`UNKNOWN_MAX` unknown names one by one, the rest together under `OTHERS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.screening import Fate

QUARANTINE_MAX = 1_000
UNKNOWN_MAX = 200
OTHERS = "*"
TEXT_MAX = 200

telemetry_health = sa.Table(
    "telemetry_health",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("fate", sa.Text, primary_key=True),
    sa.Column("readings", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    info={"service": True, "carried_by": "site_id"},
)
telemetry_quarantine = sa.Table(
    "telemetry_quarantine",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True),
    sa.Column("ordinal", sa.BigInteger, nullable=False),
    sa.Column("seen_at", Instant, nullable=False),
    sa.Column("sensor_id", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    info={"service": True, "carried_by": "site_id"},
)
_COUNT = Statement(
    upsert(telemetry_health, keys=["site_id", "sensor_id", "fate"], set_=["last_us"], add=["readings"])
)
_PUT = Statement(
    upsert(
        telemetry_quarantine,
        keys=["site_id", "slot"],
        set_=["ordinal", "seen_at", "sensor_id", "reason", "what"],
    )
)
_LAST = Statement(
    sa.select(sa.func.max(telemetry_quarantine.c.ordinal)).where(
        telemetry_quarantine.c.site_id == sa.bindparam("site_id")
    )
)
_UNKNOWN = Statement(
    sa.select(telemetry_health.c.sensor_id).where(
        telemetry_health.c.site_id == sa.bindparam("site_id"), telemetry_health.c.fate == sa.bindparam("fate")
    )
)
_COUNTS = sa.select(
    telemetry_health.c.sensor_id,
    telemetry_health.c.fate,
    telemetry_health.c.readings,
    telemetry_health.c.last_us,
)
_COUNTS_OF_SITE = Statement(
    _COUNTS.where(telemetry_health.c.site_id == sa.bindparam("site_id")).order_by(
        telemetry_health.c.sensor_id, telemetry_health.c.fate
    )
)


class Quarantined(msgspec.Struct, frozen=True):
    """What could not be used: when it came, whose it claims to be, why, and what it was."""

    seen_at: datetime
    sensor_id: str
    reason: str
    what: str


_LIST = Statement(
    sa.select(*(telemetry_quarantine.c[name] for name in Quarantined.__struct_fields__))
    .where(telemetry_quarantine.c.site_id == sa.bindparam("site_id"))
    .order_by(telemetry_quarantine.c.ordinal.desc())
    .limit(sa.bindparam("most")),
    into=Quarantined,
)

Counts = Mapping[tuple[str, Fate], int]


def count(tx: Tx, counts: Counts, now_us: int) -> None:
    """Add to the counts of the site's sensors, real ones and names that are unknown here."""
    strange = {name for name, fate in counts if fate is Fate.UNKNOWN}
    spelt: set[str] = set()
    if strange:
        spelt = {name for (name,) in tx.all(_UNKNOWN, site_id=tx.origin, fate=Fate.UNKNOWN)}
    for (name, fate), number in counts.items():
        shown = name[:TEXT_MAX]
        if fate is Fate.UNKNOWN and shown not in spelt:
            shown = shown if len(spelt) < UNKNOWN_MAX else OTHERS
            spelt.add(shown)
        tx.write(_COUNT, site_id=tx.origin, sensor_id=shown, fate=fate, readings=number, last_us=now_us)


def quarantine(tx: Tx, caught: Sequence[tuple[str, str, str]]) -> None:
    """Keep (sensor, reason, what) for a person to look into; the oldest make room."""
    last = tx.value(_LAST, site_id=tx.origin)
    ordinal = -1 if last is None else int(last)
    for sensor_id, reason, what in caught[-QUARANTINE_MAX:]:
        ordinal += 1
        tx.write(
            _PUT,
            site_id=tx.origin,
            slot=ordinal % QUARANTINE_MAX,
            ordinal=ordinal,
            seen_at=tx.now,
            sensor_id=sensor_id[:TEXT_MAX],
            reason=reason,
            what=what[:TEXT_MAX],
        )


# --- Queries --------------------------------------------------------------------


def health_of_site(db: Reader, site_id: str) -> dict[str, dict[str, int]]:
    """Return for each sensor, and each unknown name, how many readings met which fate."""
    found: dict[str, dict[str, int]] = {}
    for sensor_id, fate, readings, _ in db.all(_COUNTS_OF_SITE, site_id=site_id):
        found.setdefault(sensor_id, {})[fate] = readings
    return found


def quarantined(db: Reader, site_id: str, limit: int = 100) -> list[Quarantined]:
    """Return what is in a site's quarantine, newest first."""
    return db.all(_LIST, site_id=site_id, most=limit)
