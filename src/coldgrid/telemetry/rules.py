"""Alarm rules: what they look for, their stages, and their settings resolved to whole numbers.

Rules look at the readings of one sensor in event time. A rule turns *on* when its condition holds,
is *raised* when it held for the rule's duration and nothing suppresses it, and is *returned* at the
first reading that ends it.

    band_high, band_low     outside the limits for `band_min`; ends inside them by `hysteresis_c`
    cumulative_above        above the high limit for `cumulative_min` in all, over the last 24 h
    approaching_limit       within `approach_c` of the high limit for `approach_min`
    rate_of_rise            rising fast over 15 or 60 min, and due at the limit within `horizon_min`
    rate_of_rise_slow       the same over 3 h and within `horizon_slow_min`: a compressor that fails slowly
    compressor_and_rising   the zone's compressor reports a fault and the air has warmed since
    gap                     no reading for `gap_min`
    stuck                   exactly the same value for `stuck_min`
    out_of_range            values that the probe cannot have measured, for `bad_min`

A frozen zone has no low limit unless its sensor sets one: cold harms no frozen goods.

Stages say what an alarm may cause. `pre_alarm`: before the product's limit, new allocation may pause.
`excursion`: the air is outside the limits. `fault`: the sensor, not the goods: the zone is *unknown*
to this sensor, and nothing is held for it. A dead probe therefore never turns into an excursion: bad
readings are never used as good data, and while a sensor is stuck its other rules are not raised.

Defrost and an open door suppress what they explain (`SUPPRESSIBLE`), for a bounded time: from their
start to `recovery_min` after their end, at most `defrost_max_min` or `door_max_min` in one episode.
A door that opens again within `EPISODE_REST_MIN` of closing prolongs nothing: it is the same episode.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from coldgrid.telemetry.quantities import E4

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US

# Means of five minutes and of half an hour; each is compared with the mean so many cells before.
FAST_CELL_US = 5 * MINUTE_US
SLOW_CELL_US = 30 * MINUTE_US
FAST_SHORT_CELLS = 3
FAST_LONG_CELLS = 12
SLOW_CELLS = 6
CUMULATIVE_WINDOW_H = 24
EPISODE_REST_MIN = 30

# Mains that are there for a year are no stuck sensor.
NEVER_STUCK_US = 2**62

# A limit that is not set: beyond every fixed-point value, and far from overflow.
UNSET_HIGH_E4 = 2**40
UNSET_LOW_E4 = -(2**40)


class Role(StrEnum):
    """What a sensor stands for. Air is not product; door, compressor and defrost report a device's state.

    The last five say how the site itself is supplied: whether a way out works, whether a UPS has mains, what
    is drawn from it (W), and what is left in its battery (Wh).
    """

    SUPPLY_AIR = "supply_air"
    RETURN_AIR = "return_air"
    ZONE_AIR = "zone_air"
    BUFFERED = "buffered"
    PRODUCT_PROBE = "product_probe"
    DOOR = "door"
    COMPRESSOR = "compressor"
    DEFROST = "defrost"
    WAN_PRIMARY = "wan_primary"
    WAN_BACKUP = "wan_backup"
    UPS_MAINS = "ups_mains"
    UPS_LOAD = "ups_load_w"
    UPS_ENERGY = "ups_energy_wh"


# Values of a device's state.
DOOR_OPEN = DEFROST_RUNNING = 1
COMPRESSOR_STOPPED, COMPRESSOR_RUNNING, COMPRESSOR_FAULT = 0, 1, 2

# Of a signal: the mains are there, the way out works.
SIGNAL_GOOD = 1

DEVICES = frozenset({Role.DOOR, Role.COMPRESSOR, Role.DEFROST})
# How the site is supplied: signals are either there or lost, meters measure. No goods are judged by them.
SIGNALS = frozenset({Role.WAN_PRIMARY, Role.WAN_BACKUP, Role.UPS_MAINS})
METERS = frozenset({Role.UPS_LOAD, Role.UPS_ENERGY})
SUPPLIES = SIGNALS | METERS
# Supply air leaves the coil: it is far below the zone's limit in work and far above it in defrost.
LIMITED = frozenset({Role.RETURN_AIR, Role.ZONE_AIR, Role.BUFFERED, Role.PRODUCT_PROBE})
# What sits in the mass of the goods or of a buffer may well not move for hours.
SLUGGISH = frozenset({Role.BUFFERED, Role.PRODUCT_PROBE})


class Stage(StrEnum):
    """What an alarm may cause."""

    PRE_ALARM = "pre_alarm"
    EXCURSION = "excursion"
    FAULT = "fault"


class Rule(StrEnum):
    """A rule by its wire name."""

    BAND_HIGH = "band_high"
    BAND_LOW = "band_low"
    APPROACHING = "approaching_limit"
    RATE = "rate_of_rise"
    RATE_SLOW = "rate_of_rise_slow"
    CUMULATIVE = "cumulative_above"
    COMPRESSOR = "compressor_and_rising"
    STUCK = "stuck"
    OUT_OF_RANGE = "out_of_range"
    GAP = "gap"


# Columns of the rules' memory; the order is that of the checkpoints: add at the end.
RULES = tuple(Rule)
COLUMN = {rule: column for column, rule in enumerate(RULES)}
STAGE = {
    Rule.BAND_HIGH: Stage.EXCURSION,
    Rule.BAND_LOW: Stage.EXCURSION,
    Rule.APPROACHING: Stage.PRE_ALARM,
    Rule.RATE: Stage.PRE_ALARM,
    Rule.RATE_SLOW: Stage.PRE_ALARM,
    Rule.CUMULATIVE: Stage.EXCURSION,
    Rule.COMPRESSOR: Stage.PRE_ALARM,
    Rule.STUCK: Stage.FAULT,
    Rule.OUT_OF_RANGE: Stage.FAULT,
    Rule.GAP: Stage.FAULT,
}
SUPPRESSIBLE = frozenset({Rule.BAND_HIGH, Rule.APPROACHING, Rule.RATE, Rule.RATE_SLOW, Rule.COMPRESSOR})


class RuleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What makes this sensor's rules differ from the defaults. All bounds are inclusive; None: the default.

    `high_c` and `low_c` default to the zone's; `gap_min` to the larger of 5 min and three intervals;
    `approach_c` to a quarter of the way from the zone's set point to its high limit; `stuck_min` to 2 h
    in air and 12 h in a buffer or in the goods.
    """

    high_c: float | None = None
    low_c: float | None = None
    hysteresis_c: float = 0.5
    band_min: float = 10.0
    cumulative_min: float = 60.0
    approach_c: float | None = None
    approach_min: float = 5.0
    rate_15_min_c_per_h: float = 6.0
    rate_60_min_c_per_h: float = 2.0
    rate_slow_c_per_h: float = 0.4
    horizon_min: float = 120.0
    horizon_slow_min: float = 240.0
    compressor_rise_c: float = 0.5
    compressor_min: float = 3.0
    gap_min: float | None = None
    stuck_min: float | None = None
    bad_min: float = 5.0
    defrost_max_min: float = 45.0
    door_max_min: float = 15.0
    recovery_min: float = 15.0


class Band(msgspec.Struct, frozen=True):
    """What the zone asks of its air: set point and limits, in °C. No low one where cold harms no goods."""

    setpoint_c: float
    low_c: float | None
    high_c: float


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """A sensor's rules in whole numbers: ten-thousandths of a degree and microseconds.

    `rise_*_e4` is the least rise over the whole window that counts.
    """

    role: Role
    high_e4: int
    low_e4: int
    hysteresis_e4: int
    approach_e4: int
    rise_short_e4: int
    rise_long_e4: int
    rise_slow_e4: int
    horizon_us: int
    horizon_slow_us: int
    compressor_rise_e4: int
    band_us: int
    approach_us: int
    compressor_us: int
    cumulative_us: int
    gap_us: int
    stuck_us: int
    bad_us: int
    defrost_max_us: int
    door_max_us: int
    recovery_us: int


def tune(role: Role, interval_s: float, settings: RuleSettings, band: Band | None) -> Tuning:
    """Resolve a sensor's settings with its zone's limits. Without a band only the faults are looked for."""
    limited = role in LIMITED and band is not None
    high_c = settings.high_c if settings.high_c is not None else band.high_c if band is not None else 0.0
    low_c = settings.low_c if settings.low_c is not None else band.low_c if band is not None else None
    approach_c = settings.approach_c
    if approach_c is None:
        approach_c = max(0.0, (high_c - band.setpoint_c) / 4) if band is not None else 0.0
    gap_min = settings.gap_min if settings.gap_min is not None else max(5.0, 3 * interval_s / 60)
    stuck_min = settings.stuck_min
    if stuck_min is None:
        stuck_min = 720.0 if role in SLUGGISH else 120.0
    stuck_us = NEVER_STUCK_US if role in SUPPLIES else _us(stuck_min)
    return Tuning(
        role=role,
        high_e4=_e4(high_c) if limited else UNSET_HIGH_E4,
        low_e4=_e4(low_c) if limited and low_c is not None else UNSET_LOW_E4,
        hysteresis_e4=_e4(settings.hysteresis_c),
        approach_e4=_e4(high_c - approach_c) if limited else UNSET_HIGH_E4,
        rise_short_e4=_e4(settings.rate_15_min_c_per_h * FAST_SHORT_CELLS / 12),
        rise_long_e4=_e4(settings.rate_60_min_c_per_h),
        rise_slow_e4=_e4(settings.rate_slow_c_per_h * SLOW_CELLS / 2),
        horizon_us=_us(settings.horizon_min),
        horizon_slow_us=_us(settings.horizon_slow_min),
        compressor_rise_e4=_e4(settings.compressor_rise_c),
        band_us=_us(settings.band_min),
        approach_us=_us(settings.approach_min),
        compressor_us=_us(settings.compressor_min),
        cumulative_us=_us(settings.cumulative_min),
        gap_us=_us(gap_min),
        stuck_us=stuck_us,
        bad_us=_us(settings.bad_min),
        defrost_max_us=_us(settings.defrost_max_min),
        door_max_us=_us(settings.door_max_min),
        recovery_us=_us(settings.recovery_min),
    )


def _e4(value_c: float) -> int:
    return round(value_c * E4)


def _us(minutes: float) -> int:
    return round(minutes * MINUTE_US)
