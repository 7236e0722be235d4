"""Cayenne Low Power Payload: the bytes of a LoRaWAN uplink to measured values. Pure and total.

A payload is a row of fields: a channel (1 byte), a type (1 byte), the value (as long as its type says,
big-endian). The type is an IPSO object less 3200. After a type that is not known nothing can be cut any more:
what stands before it is kept, the rest is refused.

Sources: myDevices, "Cayenne Low Power Payload" (https://docs.mydevices.com/docs/lorawan/cayenne-lpp), and for
the further types (voltage, current, percentage, power, energy, switch …) Electronic Cats' CayenneLPP. Names
are those that The Things Stack gives them: `temperature_3`.
"""

from __future__ import annotations

import msgspec

PAYLOAD_MAX_BYTES = 255


class LppType(msgspec.Struct, frozen=True):
    """A type of value: `parts` of `size` bytes each.

    `unit`: as telemetry spells it; empty: whatever its sensor measures; None: none that is kept here, so that
    only a map makes something of it.
    """

    name: str
    size: int
    step: float
    signed: bool = False
    unit: str | None = None
    parts: int = 1


class Field(msgspec.Struct, frozen=True):
    """One value: `name` is its type and channel, such as `temperature_1`."""

    channel: int
    type_id: int
    name: str
    value: float
    unit: str | None


TYPES = {
    0: LppType("digital_in", 1, 1, unit="state"),
    1: LppType("digital_out", 1, 1, unit="state"),
    2: LppType("analog_in", 2, 0.01, signed=True, unit=""),
    3: LppType("analog_out", 2, 0.01, signed=True, unit=""),
    100: LppType("generic", 4, 1, unit=""),
    101: LppType("luminosity", 2, 1),
    102: LppType("presence", 1, 1, unit="state"),
    103: LppType("temperature", 2, 0.1, signed=True, unit="C"),
    104: LppType("relative_humidity", 1, 0.5, unit="%"),
    113: LppType("accelerometer", 2, 0.001, signed=True, parts=3),
    115: LppType("barometric_pressure", 2, 0.1),
    116: LppType("voltage", 2, 0.01),
    117: LppType("current", 2, 0.001),
    118: LppType("frequency", 4, 1),
    120: LppType("percentage", 1, 1, unit="%"),
    121: LppType("altitude", 2, 1, signed=True),
    125: LppType("concentration", 2, 1),
    128: LppType("power", 2, 1, unit="W"),
    130: LppType("distance", 4, 0.001),
    131: LppType("energy", 4, 1, unit="Wh"),
    132: LppType("direction", 2, 1),
    133: LppType("unix_time", 4, 1),
    134: LppType("gyrometer", 2, 0.01, signed=True, parts=3),
    135: LppType("colour", 1, 1, parts=3),
    136: LppType("gps", 3, 1, signed=True, parts=3),
    142: LppType("switch", 1, 1, unit="state"),
}
# A vector, a place or a time is no measurement of a sensor here.
PASSED_OVER = frozenset({113, 133, 134, 135, 136})
STATE = frozenset({0, 1, 102, 142})


def decode(data: bytes) -> tuple[list[Field], str]:
    """Return the values, in their order, and what is wrong with the rest ("": nothing is). Total."""
    if len(data) > PAYLOAD_MAX_BYTES:
        return [], f"{len(data)} bytes are more than an uplink carries ({PAYLOAD_MAX_BYTES})"
    fields: list[Field] = []
    seen: set[tuple[int, int]] = set()
    place = 0
    while place < len(data):
        if place + 2 > len(data):
            return fields, f"byte {place}: a channel without a type"
        channel, type_id = data[place], data[place + 1]
        kind = TYPES.get(type_id)
        if kind is None:
            return fields, f"byte {place + 1}: type {type_id} is not known, the rest cannot be told apart"
        start, end = place + 2, place + 2 + kind.size * kind.parts
        if end > len(data):
            return fields, f"byte {place}: {kind.name}_{channel} is cut off"
        if (channel, type_id) in seen:
            return fields, f"byte {place}: {kind.name}_{channel} is there twice"
        seen.add((channel, type_id))
        if type_id not in PASSED_OVER:
            fields.append(_field(channel, type_id, kind, data[start:end]))
        place = end
    return fields, ""


def _field(channel: int, type_id: int, kind: LppType, data: bytes) -> Field:
    raw = int.from_bytes(data, "big", signed=kind.signed)
    value = float(bool(raw)) if type_id in STATE else round(raw * kind.step, 4)
    return Field(channel, type_id, f"{kind.name}_{channel}", value, kind.unit)


def unit_of(name: str) -> str | None:
    """Return the unit of a field by its name, such as `temperature_3`; None: it is none that is kept."""
    kind, _, channel = name.rpartition("_")
    if not (channel.isascii() and channel.isdigit() and len(channel) <= 3):
        return None
    return next((lpp.unit for lpp in TYPES.values() if lpp.name == kind), None)
