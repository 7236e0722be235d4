"""Arrivals: what the sensors of a site measured last, where another host reads them and sends parcels.

The rules' memory knows it of the sensors that are read here (`newest`). Of the others it is kept as it comes,
a row for each site, so that a look at the whole network opens no parcel, after a restart neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.reading_times import is_beside


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """A sensor's newest reading, and its newest good one, as the rules' memory has them. 0: none yet."""

    last_us: int = 0
    good_us: int = 0
    good_e4: int = 0


OfSite = dict[str, Arrival]

telemetry_arrival = sa.Table(
    "telemetry_arrival",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True},
)
_PUT = Statement(upsert(telemetry_arrival, keys=["site_id"], set_=["body"]))
_ALL = Statement(sa.select(telemetry_arrival))
_decoder = msgspec.msgpack.Decoder(OfSite)


@hot_state
class Arrivals:
    """The newest readings that arrived, by site and sensor."""

    def __init__(self) -> None:
        self.of: dict[str, OfSite] = {}

    @classmethod
    def load(cls, reader: Reader) -> Arrivals:
        """Read the table."""
        state = cls()
        state.of = {site_id: _decoder.decode(bytes(body)) for site_id, body in reader.all(_ALL)}
        return state


def note_arrived(tx: Tx, site_id: str, parts: Iterable[tuple[str, Readings]]) -> None:
    """Take in what of a parcel is newer than what is known."""
    arrivals = tx.hot(Arrivals).of
    before = arrivals.get(site_id, {})
    newer = {
        sensor_id: _newer(before.get(sensor_id, Arrival()), readings)
        for sensor_id, readings in parts
        if len(readings) and not is_beside(sensor_id)
    }
    now = before | newer
    if now == before:
        return
    tx.write(_PUT, site_id=site_id, body=msgspec.msgpack.encode(now))
    tx.undo(partial(arrivals.__setitem__, site_id, before))
    arrivals[site_id] = now


def _newer(known: Arrival, readings: Readings) -> Arrival:
    last_us = max(known.last_us, int(readings.at_us.max()))
    good = np.flatnonzero(~readings.bad)
    if len(good):
        newest = int(good[readings.at_us[good].argmax()])
        if int(readings.at_us[newest]) > known.good_us:
            return Arrival(last_us, int(readings.at_us[newest]), int(readings.value_e4[newest]))
    return Arrival(last_us, known.good_us, known.good_e4)
