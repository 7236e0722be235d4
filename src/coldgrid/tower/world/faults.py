"""What goes wrong in a zone: each fault as a curve of added warmth and as what its devices say.

A fault is data; the curve is a pure function of minutes since it began. Rates are those of loaded
walk-in rooms: a freezer that lost its compressor warms towards the building along its own time
constant, a defrost lifts the air for minutes, a door for as long as it is open.
"""

from __future__ import annotations

from enum import StrEnum
from math import exp

import msgspec

BUILDING_C = 22.0


class FaultKind(StrEnum):
    """The kinds of trouble a scenario can make."""

    COMPRESSOR = "compressor"
    DRIFT = "drift"
    DEFROST = "defrost"
    DOOR = "door"
    SILENT_PROBE = "silent_probe"
    STUCK_PROBE = "stuck_probe"
    POWER_CUT = "power_cut"
    LINE_DOWN = "line_down"


# After these a room is warm through and through.
PULLED_DOWN = (FaultKind.COMPRESSOR, FaultKind.DRIFT, FaultKind.POWER_CUT)


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of one zone.

    Args:
        kind: What happens.
        zone_id: Where.
        at_min: Minutes from the start of the plan.
        for_min: How long it lasts; None until somebody repairs it.
        constant_min: Time constant of warming towards the building, for `compressor`.
        rate_c_per_h: Warming, for `drift`.
        rise_c: Greatest rise of the air, for `defrost` and `door`.
        sensor_id: The one probe that a `silent_probe` or `stuck_probe` is, or the line that is down; all of
            the zone's when empty.
        circuit: What a `power_cut` takes the mains from at the zone's site: a room or an outlet; empty: all.
        battery_wh: What the site's UPS holds when a `power_cut` begins.
    """

    kind: FaultKind
    zone_id: str
    at_min: float
    for_min: float | None = None
    constant_min: float = 240.0
    rate_c_per_h: float = 2.0
    rise_c: float = 7.0
    sensor_id: str = ""
    circuit: str = ""
    battery_wh: float = 400.0

    def cuts(self, site_id: str, circuit: str, minute: float) -> bool:
        """Tell whether it takes the mains from a circuit of a site at a minute of the plan."""
        if self.kind is not FaultKind.POWER_CUT or not circuit or not self.active(minute):
            return False
        here = self.zone_id.partition("-")[0] == site_id
        return here and (not self.circuit or f"{circuit}/".startswith(f"{self.circuit}/"))

    def active(self, minute: float) -> bool:
        """Tell whether the cause is there at a minute of the plan."""
        return minute >= self.at_min and (self.for_min is None or minute < self.at_min + self.for_min)


def warmth_c(fault: Fault, minute: float, set_c: float) -> float:
    """Return what the fault adds to the air, in kelvin, at a minute of the plan; it decays after its end."""
    if minute < fault.at_min:
        return 0.0
    lasted = minute - fault.at_min
    if fault.for_min is not None and lasted > fault.for_min:
        peak = _rise_c(fault, fault.for_min, set_c)
        return peak * exp(-(lasted - fault.for_min) / _recovery_min(fault))
    return _rise_c(fault, lasted, set_c)


def _rise_c(fault: Fault, lasted_min: float, set_c: float) -> float:
    match fault.kind:
        case FaultKind.COMPRESSOR | FaultKind.POWER_CUT:
            return (BUILDING_C - set_c) * (1 - exp(-lasted_min / fault.constant_min))
        case FaultKind.DRIFT:
            return fault.rate_c_per_h * lasted_min / 60
        case FaultKind.DEFROST | FaultKind.DOOR:
            return fault.rise_c * (1 - exp(-lasted_min / 6))
        case _:
            return 0.0


def _recovery_min(fault: Fault) -> float:
    """Pull-down: a compressor brings a room back in about half an hour, a closed door in minutes."""
    return 25.0 if fault.kind in PULLED_DOWN else 5.0
