"""Signals: what feeds a site and what leads out of it, as facts: mains there or lost, a way out up or down.

Invariants
    G1  A change is recorded once, at the time of the reading that told it; the same again is no fact.
    G2  Only the newest reading of a flush counts: late ones tell of the past, which needs nobody now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Named, from_micros, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.flush import Grouped
from coldgrid.telemetry.memory import NEVER
from coldgrid.telemetry.quantities import E4, to_value
from coldgrid.telemetry.rules import NEVER_STUCK_US, SIGNAL_GOOD, SIGNALS, SUPPLIES, Role
from coldgrid.telemetry.sensors import Sensor
from coldgrid.telemetry.watch import Watch


class SignalChanged(Event, frozen=True, tag="telemetry.signal_changed"):
    """The mains at a UPS, or a way out of the site, came or went. `good`: it is there, or up."""

    site_id: str
    zone_id: str
    sensor_id: str
    role: Role
    good: bool
    at: datetime


class Signal(msgspec.Struct, frozen=True):
    """A signal as it stands, and since when."""

    sensor_id: str
    site_id: str
    role: Role
    good: bool
    since: datetime


class Seen(msgspec.Struct, frozen=True):
    """A sensor that hangs on a circuit or tells of the supply: when it was heard, and its last good value.

    `value` is in the sensor's stored unit. Both None: never.
    """

    sensor: Sensor
    heard_at: datetime | None
    value: float | None
    value_at: datetime | None


telemetry_signal = sa.Table(
    "telemetry_signal",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("role", Named(Role), nullable=False),
    sa.Column("good", sa.Boolean, nullable=False),
    sa.Column("since", Instant, nullable=False),
    info={"origin": "site"},
)
_PUT = Statement(upsert(telemetry_signal, keys=["sensor_id"], set_=["site_id", "role", "good", "since"]))
_SELECT = sa.select(*(telemetry_signal.c[name] for name in Signal.__struct_fields__))
_ALL = Statement(_SELECT.order_by(telemetry_signal.c.sensor_id), into=Signal)
_OF_SITE = Statement(
    _SELECT.where(telemetry_signal.c.site_id == sa.bindparam("site_id")).order_by(
        telemetry_signal.c.sensor_id
    ),
    into=Signal,
)


@hot_state
class Signals:
    """What every signal said last, so that the next reading of it costs no statement."""

    def __init__(self) -> None:
        self.good: dict[str, bool] = {}

    @classmethod
    def load(cls, reader: Reader) -> Signals:
        """Build the state from the table."""
        state = cls()
        state.good = {signal.sensor_id: signal.good for signal in reader.all(_ALL)}
        return state

    def put(self, sensor_id: str, good: bool | None) -> Callable[[], None]:
        """Set what a signal says; return the inverse."""
        old = self.good.get(sensor_id)
        if good is None:
            self.good.pop(sensor_id, None)
        else:
            self.good[sensor_id] = good

        def undo() -> None:
            self.put(sensor_id, old)

        return undo


@projects(SignalChanged)
def _put_row(tx: Tx, event: SignalChanged) -> None:
    tx.undo(tx.hot(Signals).put(event.sensor_id, event.good))
    tx.write(
        _PUT,
        sensor_id=event.sensor_id,
        site_id=event.site_id,
        role=event.role,
        good=event.good,
        since=event.at,
    )


def note_signals(tx: Tx, live: Grouped) -> None:
    """Record what a flush says of the supply, where it says something new (G1, G2)."""
    watch = tx.hot(Watch)
    supplies = watch.memory.tuned["stuck_us"][live.rows] == NEVER_STUCK_US
    for group in np.flatnonzero(supplies).tolist():
        sensor, last = watch.sensors[int(live.rows[group])], int(live.ends[group])
        if sensor.role not in SIGNALS or live.bad[last]:
            continue
        good = int(live.value_e4[last]) == SIGNAL_GOOD * E4
        if tx.hot(Signals).good.get(sensor.sensor_id) is not good:
            at = from_micros(int(live.at_us[last]))
            changed = SignalChanged(
                site_id=sensor.site_id,
                zone_id=sensor.zone_id,
                sensor_id=sensor.sensor_id,
                role=sensor.role,
                good=good,
                at=at,
            )
            tx.record(f"sensor/{sensor.sensor_id}", changed, occurred_at=at)


def signals_of_site(db: Reader, site_id: str) -> list[Signal]:
    """Return the signals of a site that were ever heard, by sensor."""
    return db.all(_OF_SITE, site_id=site_id)


def seen_at(tx: Tx, site_id: str) -> Iterator[Seen]:
    """Yield a site's active sensors that hang on a circuit or tell of its supply, as the rules know them."""
    watch = tx.hot(Watch)
    memory = watch.memory
    for row in watch.listening.get(site_id, {}).values():
        sensor = watch.sensors[row]
        if not sensor.circuit and sensor.role not in SUPPLIES:
            continue
        heard_us, good_us = int(memory.seen_us[row]), int(memory.good_at[row])
        yield Seen(
            sensor=sensor,
            heard_at=from_micros(heard_us) if heard_us > NEVER else None,
            value=to_value(int(memory.good_e4[row])) if good_us > NEVER else None,
            value_at=from_micros(good_us) if good_us > NEVER else None,
        )
