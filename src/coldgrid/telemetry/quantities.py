"""Quantities and units: what a sensor measures, and the one fixed-point form in which it is kept.

A measured value is kept as a whole number of ten-thousandths of its stored unit (`_e4`): exact for
0.1, 0.01 and the 1/16 °C steps of common probes, the same on every machine, and small when packed.
Temperatures are stored in °C whatever the probe sends; 0.0001 °C lies far below any probe's uncertainty.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

E4 = 10_000
# A fixed-point value is packed into 32 bits: ±214,748 in the stored unit.
VALUE_E4_MAX = 2**31 - 1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Quantity(StrEnum):
    """What a sensor measures. A `state` is a small whole number, see `DeviceState`."""

    TEMPERATURE = "temperature"
    HUMIDITY = "humidity"
    STATE = "state"
    POWER = "power"
    ENERGY = "energy"


class Unit(StrEnum):
    """The unit in which a sensor reports."""

    CELSIUS = "C"
    FAHRENHEIT = "F"
    PERCENT = "%"
    STATE = "state"
    WATT = "W"
    WATT_HOUR = "Wh"


# What devices write for a unit, besides its own sign.
SPELLINGS = {
    "°C": Unit.CELSIUS,
    "degC": Unit.CELSIUS,
    "celsius": Unit.CELSIUS,
    "Cel": Unit.CELSIUS,
    "°F": Unit.FAHRENHEIT,
    "degF": Unit.FAHRENHEIT,
    "fahrenheit": Unit.FAHRENHEIT,
    "[degF]": Unit.FAHRENHEIT,
    "%RH": Unit.PERCENT,
    "pct": Unit.PERCENT,
    **{unit.value: unit for unit in Unit},
}
# A unit as a byte in columns of readings; 0: the sensor's own.
UNIT_CODES = {unit: code for code, unit in enumerate(Unit, start=1)}
OWN_UNIT = 0
UNITS_OF = {
    Quantity.TEMPERATURE: frozenset({Unit.CELSIUS, Unit.FAHRENHEIT}),
    Quantity.HUMIDITY: frozenset({Unit.PERCENT}),
    Quantity.STATE: frozenset({Unit.STATE}),
    Quantity.POWER: frozenset({Unit.WATT}),
    Quantity.ENERGY: frozenset({Unit.WATT_HOUR}),
}


def to_e4(values: Floats, fahrenheit: Flags | None = None) -> Ints:
    """Return values in their stored unit (°C, %, state, W, Wh) as fixed-point integers.

    Args:
        values: In the unit the sensor declares; finite and of magnitude below 200,000.
        fahrenheit: True where the value is in °F; None: nowhere.
    """
    if fahrenheit is not None:
        values = np.where(fahrenheit, (values - 32.0) * (5.0 / 9.0), values)
    scaled = values * E4
    return np.rint(scaled, out=scaled).astype(np.int64)


def to_value(value_e4: int) -> float:
    """Return a fixed-point value as a number in its stored unit."""
    return value_e4 / E4
