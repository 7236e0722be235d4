"""Doors, defrost and compressors: when they explain warm air, and when they report a fault."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from coldgrid.telemetry.flush import Grouped
from coldgrid.telemetry.memory import Device, Draft, Memory, Window
from coldgrid.telemetry.quantities import E4, Flags
from coldgrid.telemetry.rules import (
    COMPRESSOR_FAULT,
    DEFROST_RUNNING,
    DOOR_OPEN,
    EPISODE_REST_MIN,
    HOUR_US,
    MINUTE_US,
    Role,
    Tuning,
)

# Why a rule is not raised now.
FREE, BY_DOOR, BY_DEFROST, BY_FAULT = range(4)
EXPLAINS = {Role.DOOR: BY_DOOR, Role.DEFROST: BY_DEFROST}
ON_VALUE_E4 = {
    Role.DOOR: DOOR_OPEN * E4,
    Role.DEFROST: DEFROST_RUNNING * E4,
    Role.COMPRESSOR: COMPRESSOR_FAULT * E4,
}
# Windows are kept this long for readings that come late; older warm air is no longer explained.
WINDOWS_KEPT_US = 7 * 24 * HOUR_US
ENDLESS_US = 2**62

Codes = NDArray[np.uint8]


def follow_devices(memory: Memory, draft: Draft, readings: Grouped) -> dict[int, Device]:
    """Draft what the devices' readings say; return all devices that changed, with their windows unpruned."""
    changed: dict[int, Device] = {}
    of_device = memory.is_device[readings.rows]
    for group in np.flatnonzero(of_device).tolist():
        row = int(readings.rows[group])
        start, end = int(readings.starts[group]), int(readings.ends[group]) + 1
        device, tuning = memory.devices[row], memory.tuning[row]
        on = readings.value_e4[start:end] == ON_VALUE_E4[device.role]
        turns = np.flatnonzero(np.diff(on, prepend=device.on))
        for index in turns.tolist():
            at_us, pos = int(readings.at_us[start + index]), int(readings.pos[start + index])
            device = (
                turn_on(device, tuning, at_us, pos) if on[index] else turn_off(device, tuning, at_us, pos)
            )
        if len(turns):
            changed[row] = device
            draft.devices[row] = _settled(device)
    return changed


def turn_on(device: Device, tuning: Tuning, at_us: int, pos: int) -> Device:
    """Open a window; within a rest of the last one it continues that episode and its bound."""
    rested = at_us - device.ended_us > EPISODE_REST_MIN * MINUTE_US
    episode_us = at_us if rested else device.episode_us
    if device.role is Role.COMPRESSOR:
        until_us = ENDLESS_US
    else:
        longest_us = tuning.door_max_us if device.role is Role.DOOR else tuning.defrost_max_us
        until_us = episode_us + longest_us
    window = Window(from_us=at_us, open_until_us=until_us, opened_pos=pos)
    return msgspec.structs.replace(device, on=True, episode_us=episode_us, windows=(*device.windows, window))


def turn_off(device: Device, tuning: Tuning, at_us: int, pos: int) -> Device:
    """Close the window: at once for a fault, after the time to recover for what explains warm air."""
    *earlier, last = device.windows
    recovered_us = at_us if device.role is Role.COMPRESSOR else at_us + tuning.recovery_us
    closed = msgspec.structs.replace(
        last, closed_until_us=min(last.open_until_us, recovered_us), closed_pos=pos
    )
    return msgspec.structs.replace(device, on=False, ended_us=at_us, windows=(*earlier, closed))


def _settled(device: Device) -> Device:
    """Return a device as the next flush sees it: everything arrived before, nothing older than needed."""
    newest_us = device.windows[-1].from_us if device.windows else 0
    windows = tuple(
        Window(
            from_us=window.from_us,
            open_until_us=window.open_until_us if window.closed_until_us is None else window.closed_until_us,
        )
        for window in device.windows
        if window.from_us > newest_us - WINDOWS_KEPT_US
    )
    return msgspec.structs.replace(device, windows=windows)


def explained(memory: Memory, changed: Mapping[int, Device], readings: Grouped) -> Codes | None:
    """Return for each reading whether a door or a defrost explains warm air; None: nothing does."""
    codes: Codes | None = None
    roles = (Role.DOOR, Role.DEFROST)
    for group, devices in _concerned(memory, changed, readings, roles):
        part = slice(int(readings.starts[group]), int(readings.ends[group]) + 1)
        for device in devices:
            inside = _inside(device, readings, part)
            if inside is not None:
                codes = np.zeros(len(readings), dtype=np.uint8) if codes is None else codes
                codes[part][inside] = EXPLAINS[device.role]
    return _by_plan(memory, readings, codes)


def _by_plan(memory: Memory, readings: Grouped, codes: Codes | None) -> Codes | None:
    """Add what planned defrosts explain; what a device explains stays that device's."""
    if not memory.schedules:
        return codes
    for group in np.flatnonzero(memory.planned[memory.zone_no[readings.rows]]).tolist():
        row = int(readings.rows[group])
        part = slice(int(readings.starts[group]), int(readings.ends[group]) + 1)
        schedule, tuning = memory.schedules[memory.zone_ids[row]], memory.tuning[row]
        inside = schedule.covers(readings.at_us[part], tuning.defrost_max_us, tuning.recovery_us)
        if inside is not None:
            codes = np.zeros(len(readings), dtype=np.uint8) if codes is None else codes
            codes[part][inside & (codes[part] == FREE)] = BY_DEFROST
    return codes


def faulty(memory: Memory, changed: Mapping[int, Device], readings: Grouped) -> Flags | None:
    """Return for each reading whether its zone's compressor reports a fault; None: none does."""
    flags: Flags | None = None
    for group, devices in _concerned(memory, changed, readings, (Role.COMPRESSOR,)):
        part = slice(int(readings.starts[group]), int(readings.ends[group]) + 1)
        for device in devices:
            inside = _inside(device, readings, part)
            if inside is not None:
                flags = np.zeros(len(readings), dtype=np.bool_) if flags is None else flags
                flags[part] |= inside
    return flags


def _concerned(
    memory: Memory, changed: Mapping[int, Device], readings: Grouped, roles: tuple[Role, ...]
) -> list[tuple[int, list[Device]]]:
    """Return the groups whose zone's devices may have a window over them."""
    until = memory.fault_until if Role.COMPRESSOR in roles else memory.explained_until
    zones = memory.zone_no[readings.rows]
    touched = readings.at_us[readings.starts] < until[zones]
    if changed:
        touched |= np.isin(zones, memory.zone_no[list(changed)])
    found = []
    for group in np.flatnonzero(touched).tolist():
        zone_id = memory.zone_ids[int(readings.rows[group])]
        of_zone = [changed.get(row, memory.devices[row]) for row in memory.devices_of.get(zone_id, ())]
        devices = [device for device in of_zone if device.role in roles and device.windows]
        if devices:
            found.append((group, devices))
    return found


def _inside(device: Device, readings: Grouped, part: slice) -> Flags | None:
    at_us, pos = readings.at_us[part], readings.pos[part]
    inside: Flags | None = None
    for window in device.windows:
        if window.open_until_us <= at_us[0] or window.from_us > at_us[-1]:
            continue
        until: int | NDArray[np.int64] = window.open_until_us
        if window.closed_until_us is not None:
            until = np.where(pos > window.closed_pos, window.closed_until_us, window.open_until_us)
        hit = (at_us >= window.from_us) & (at_us < until) & (pos > window.opened_pos)
        inside = hit if inside is None else inside | hit
    return inside
