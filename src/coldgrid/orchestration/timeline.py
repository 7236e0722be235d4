"""The timeline of an incident, which writes itself: rooms say once how an event of theirs reads.

Invariants
    T1  A line is written in the transaction of its event, from that event alone.
    T2  A line names its incident, or only its zone: then it belongs to the incident that was open there.

Texts are templates; they are translated and filled in when somebody reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incidents import Incident
from coldgrid.orchestration.playbook_values import UNKNOWN, words
from coldgrid.webkit import formats

# What led to an incident stands in its timeline too.
LEAD_IN = timedelta(minutes=15)

# --- Vocabulary -----------------------------------------------------------------


class Tone(StrEnum):
    """What a line is about, for its mark in the margin."""

    ALARM = "alarm"
    GOODS = "goods"
    PEOPLE = "people"
    DECISION = "decision"
    ORDERS = "orders"
    DONE = "done"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """How an event reads: `text` with `{names}` out of `facts`; suffixes (`_c`, `_min`) say the unit."""

    text: str
    facts: dict[str, Any] = {}
    tone: Tone = Tone.DONE
    incident_id: str = ""
    zone_id: str = ""


class TimelineLine(msgspec.Struct, frozen=True):
    """A line as readers see it. `at`: when it was recorded; `occurred_at`: device's or person's time."""

    entry_id: str
    n: int
    at: datetime
    occurred_at: datetime
    actor: str
    tone: Tone
    text: str
    facts: dict[str, Any]


E = TypeVar("E", bound=Event)
Reading = Callable[[E], Line | Sequence[Line] | None]

# --- Table and projection -------------------------------------------------------

orchestration_timeline = sa.Table(
    "orchestration_timeline",
    metadata,
    sa.Column("entry_id", sa.Text, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("incident_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("occurred_at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("tone", Named(Tone), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("facts", Json(dict[str, Any]), nullable=False),
    sa.Index("ix_orchestration_timeline_incident", "incident_id", "at"),
    sa.Index("ix_orchestration_timeline_zone", "zone_id", "at"),
    info={"origin": "site"},
)
_WRITE = Statement(orchestration_timeline.insert())


def timeline_line(event_type: type[E], read: Reading[E]) -> None:
    """Let events of a type write lines; `read` sees the event alone (T1) and may return nothing."""

    def write(tx: Tx, event: E) -> None:
        lines = read(event)
        for n, line in enumerate([lines] if isinstance(lines, Line) else lines or ()):
            _write(tx, n, line)

    projects(event_type)(write)


def _write(tx: Tx, n: int, line: Line) -> None:
    entry = tx.entry
    tx.write(
        _WRITE,
        entry_id=entry.id,
        n=n,
        incident_id=line.incident_id,
        zone_id=line.zone_id,
        at=entry.recorded_at,
        origin=entry.origin,
        seq=entry.seq,
        occurred_at=entry.occurred_at,
        actor=entry.actor,
        tone=line.tone,
        text=line.text,
        facts=line.facts,
    )


# --- Queries --------------------------------------------------------------------

_SELECT = sa.select(*(orchestration_timeline.c[name] for name in TimelineLine.__struct_fields__)).order_by(
    *(orchestration_timeline.c[name] for name in ("at", "origin", "seq", "n"))
)
_OF_INCIDENT = Statement(
    _SELECT.where(orchestration_timeline.c.incident_id == sa.bindparam("incident_id")), into=TimelineLine
)
_OF_ENTRY = Statement(
    _SELECT.where(orchestration_timeline.c.entry_id == sa.bindparam("entry_id")).limit(1), into=TimelineLine
)
_OF_ZONE = Statement(
    _SELECT.where(
        orchestration_timeline.c.incident_id == "",
        orchestration_timeline.c.zone_id == sa.bindparam("zone_id"),
        orchestration_timeline.c.at >= sa.bindparam("from_at", type_=Instant),
        orchestration_timeline.c.at <= sa.bindparam("to_at", type_=Instant),
    ),
    into=TimelineLine,
)


def timeline_of(db: Reader, incident: Incident, now: datetime) -> list[TimelineLine]:
    """The lines of an incident and of its zone while it was open, oldest first (T2)."""
    lines = db.all(_OF_INCIDENT, incident_id=incident.incident_id)
    if incident.zone_id:
        lines = lines + db.all(
            _OF_ZONE,
            zone_id=incident.zone_id,
            from_at=incident.opened_at - LEAD_IN,
            to_at=incident.closed_at or now,
        )
    return sorted(lines, key=lambda line: line.at)


def line_of_entry(db: Reader, entry_id: str) -> TimelineLine | None:
    """The line that an entry wrote, the first of several; None where it wrote none."""
    return db.one(_OF_ENTRY, entry_id=entry_id)


def in_words(
    text: str,
    facts: Mapping[str, Any],
    unit: str = "c",
    timezone: str = "UTC",
    people: Mapping[str, str] | None = None,
) -> str:
    """Fill a line's (translated) text in with its facts.

    Args:
        text: The template.
        facts: Its values; the suffix of a name says what it measures (`_c`, `_min`, `_cents`, `_at` …).
        unit: The reader's unit of temperature, "c" or "f".
        timezone: Where the instants are told.
        people: Names to show, by person.
    """
    shown = {name: told_fact(name, value, facts, unit, timezone) for name, value in facts.items()}
    for name in ("person", "owner"):
        if name in facts:
            shown[name] = (people or {}).get(str(facts[name]), str(facts[name]))
    return re.sub(r"\{(\w+)\}", lambda match: shown.get(match[1], UNKNOWN), text)


def told_fact(name: str, value: Any, facts: Mapping[str, Any], unit: str = "c", timezone: str = "UTC") -> str:
    """One fact as a person reads it; the suffix of its name says what it measures."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _measured(name, value, str(facts.get("currency") or "USD"), unit)
    if isinstance(value, str) and name.endswith("_at"):
        try:
            return formats.local(datetime.fromisoformat(value), timezone, "%H:%M")
        except ValueError:
            return value
    return words(value)


def _measured(name: str, value: float, currency: str, unit: str) -> str:
    if name.endswith("_c_per_h"):
        return f"{formats.difference(value, unit)}/h"
    if name.endswith("_c"):
        return formats.temperature(value, unit)
    if name.endswith("_min"):
        return formats.duration(value)
    if name.endswith(("_cents", "_cents_per_pallet")):
        return formats.cents(round(value), currency)
    return formats.count(value) if float(value).is_integer() else formats.number(value)
