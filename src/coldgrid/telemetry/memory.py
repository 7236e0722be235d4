"""What the rules remember of each sensor between two flushes, as columns, with undo and checkpoints.

Invariants
    M1  A decision reads the memory and asks for a `Draft`; only `Memory.apply` changes it.
    M2  A checkpoint restores exactly: what follows it gives the same turns as without a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from coldgrid.telemetry.quantities import Ints
from coldgrid.telemetry.rules import DEVICES, RULES, UNSET_HIGH_E4, Role, Tuning
from coldgrid.telemetry.schedules import Schedule

OFF, ON, RAISED, NOTED = 0, 1, 2, 4  # bits of `Memory.state`
NEVER = 0  # a time that has not come: no sensor of ours measured in 1970
CELLS = 12  # closed cells remembered on each scale
SCALES = 2  # fast and slow
NAMES_KEPT = 512

# name → (dtype, shape of one sensor's part); the order is that of the checkpoints: add at the end.
_COLUMNS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "last_at": (np.int64, ()),  # µs; the newest reading in event time
    "last_e4": (np.int64, ()),
    "good_at": (np.int64, ()),  # µs; the newest reading that the probe can have measured
    "good_e4": (np.int64, ()),
    "seen_us": (np.int64, ()),  # when the newest reading came in, business time
    "changed_at": (np.int64, ()),  # µs; the newest good reading that differs from the one before
    "base_e4": (np.int64, ()),  # the air when the compressor's fault began
    "since": (np.int64, (len(RULES),)),  # µs; first reading of the condition
    "before": (np.int64, (len(RULES),)),  # µs; last good reading before it
    "state": (np.uint8, (len(RULES),)),
    "cell": (np.int64, (SCALES,)),  # the open cell: its number, sum and count
    "cell_sum": (np.int64, (SCALES,)),
    "cell_count": (np.int64, (SCALES,)),
    "mean_e4": (np.int32, (SCALES, CELLS)),  # closed cells, at number mod CELLS
    "mean_cell": (np.int32, (SCALES, CELLS)),
    # µs; what is left of the gap of a sensor not heard since an outage of ours; 0: it was (`silence`)
    "left_us": (np.int64, ()),
}

# Unknown to the release before, to whose host a site may move: they go only where they say something.
_NEW = frozenset({"left_us"})
_TUNED = tuple(field for field in Tuning.__struct_fields__ if field != "role")


class Window(msgspec.Struct, frozen=True, array_like=True):
    """A time in which a device explains warm air.

    From `from_us` until `open_until_us` for readings that arrive after `opened_pos`; once the device is
    back, until `closed_until_us` for those that arrive after `closed_pos`. Positions are the arrival order
    within a flush, −1 for earlier flushes: so a stream gives the same turns however it is cut.
    """

    from_us: int
    open_until_us: int
    closed_until_us: int | None = None
    opened_pos: int = -1
    closed_pos: int = -1


class Device(msgspec.Struct, frozen=True, array_like=True):
    """What a door, compressor or defrost sensor said lately: whether it is on, and its windows."""

    zone_id: str
    role: Role
    on: bool = False
    episode_us: int = 0
    ended_us: int = 0
    windows: tuple[Window, ...] = ()


class Saved(msgspec.Struct, array_like=True):
    """A checkpoint: which sensors, their columns, devices and hours above the limit."""

    sensor_ids: list[str]
    columns: dict[str, bytes]
    devices: dict[str, Device]
    hours_above: dict[str, dict[int, int]]


class Draft:
    """Changes that a decision asks for, in order."""

    def __init__(self) -> None:
        self.columns: list[tuple[str, Any, Any]] = []
        self.devices: dict[int, Device] = {}
        self.hours_above: dict[int, dict[int, int]] = {}

    def put(self, name: str, where: Any, values: Any) -> None:
        """Ask to set a part of a column; `where` is an index of numpy's."""
        self.columns.append((name, where, values))


class Memory:
    """The rules' memory of all sensors of one process, a row each."""

    last_at: Ints
    last_e4: Ints
    good_at: Ints
    good_e4: Ints
    seen_us: Ints
    changed_at: Ints
    base_e4: Ints
    since: Ints
    before: Ints
    state: NDArray[np.uint8]
    cell: Ints
    cell_sum: Ints
    cell_count: Ints
    mean_e4: NDArray[np.int32]
    mean_cell: NDArray[np.int32]
    left_us: Ints

    def __init__(self) -> None:
        self.sensor_ids: list[str] = []
        self._names: dict[bytes, bytes] = {}
        self.zone_ids: list[str] = []
        self.row_of: dict[str, int] = {}
        self.tuning: list[Tuning] = []
        self.devices: dict[int, Device] = {}
        self.hours_above: dict[int, dict[int, int]] = {}
        self.devices_of: dict[str, list[int]] = {}
        # A zone's number, and until when its devices explain warm air or report a fault.
        self.zone_no: Ints = np.zeros(0, dtype=np.int64)
        self.numbers: dict[str, int] = {}
        self.explained_until: Ints = np.zeros(0, dtype=np.int64)
        self.fault_until: Ints = np.zeros(0, dtype=np.int64)
        # Zones whose defrosts are planned, and by their number whether they are.
        self.schedules: dict[str, Schedule] = {}
        self.planned = np.zeros(0, dtype=np.bool_)
        self.tuned: dict[str, Ints] = {name: np.zeros(0, dtype=np.int64) for name in _TUNED}
        self.is_device = np.zeros(0, dtype=np.bool_)
        self.is_limited = np.zeros(0, dtype=np.bool_)
        for name, (dtype, shape) in _COLUMNS.items():
            setattr(self, name, np.zeros((0, *shape), dtype=dtype))

    def __len__(self) -> int:
        return len(self.sensor_ids)

    def define(self, sensor_id: str, zone_id: str, tuning: Tuning) -> int:
        """Add a sensor, or tune a known one anew; return its row. What it remembers is kept."""
        row = self.row_of.get(sensor_id)
        if row is None:
            row = self.row_of[sensor_id] = len(self.sensor_ids)
            self.sensor_ids.append(sensor_id)
            self.zone_ids.append(zone_id)
            self.tuning.append(tuning)
            self._grow(row + 1)
        self._tune(row, zone_id, tuning)
        return row

    def retune(self, row: int, zone_id: str, tuning: Tuning) -> Callable[[], None]:
        """Tune a known sensor anew and return the inverse."""
        old_zone, old = self.zone_ids[row], self.tuning[row]
        self._tune(row, zone_id, tuning)
        return lambda: self._tune(row, old_zone, old)

    def schedule(self, zone_id: str, schedule: Schedule | None) -> Callable[[], None]:
        """Plan a zone's defrosts, or none any more; return the inverse."""
        old, no = self.schedules.get(zone_id), self._number(zone_id)
        if schedule is None:
            self.schedules.pop(zone_id, None)
        else:
            self.schedules[zone_id] = schedule
        self.planned[no] = schedule is not None

        def undo() -> None:
            self.schedule(zone_id, old)

        return undo

    def apply(self, draft: Draft) -> Callable[[], None]:
        """Carry out what a decision asked for and return the inverse (M1)."""
        old: list[tuple[str, Any, Any]] = []
        for name, where, values in draft.columns:
            column = getattr(self, name)
            old.append((name, where, column[where]))  # indexed by arrays, so a copy
            column[where] = values
        old_devices = {row: self.devices[row] for row in draft.devices}
        old_hours = {row: self.hours_above.get(row) for row in draft.hours_above}
        self._set_devices(draft.devices)
        for row, hours in draft.hours_above.items():
            self._set_hours(row, hours)

        def undo() -> None:
            for name, where, values in reversed(old):
                getattr(self, name)[where] = values
            self._set_devices(old_devices)
            for row, hours in old_hours.items():
                self._set_hours(row, hours)

        return undo

    def names(self, rows: Ints) -> bytes:
        """Return the names of some sensors as a MessagePack list; the same ones are asked for often."""
        key = rows.tobytes()
        known = self._names.get(key)
        if known is None:
            if len(self._names) >= NAMES_KEPT:
                self._names.clear()
            known = msgspec.msgpack.encode([self.sensor_ids[row] for row in rows.tolist()])
            self._names[key] = known
        return known

    def save(self, rows: Ints) -> bytes:
        """Return a checkpoint of some sensors (M2)."""
        listed = rows.tolist()
        saved = Saved(
            sensor_ids=[self.sensor_ids[row] for row in listed],
            columns={
                name: getattr(self, name)[rows].tobytes()
                for name in _COLUMNS
                if name not in _NEW or getattr(self, name)[rows].any()
            },
            devices={self.sensor_ids[row]: self.devices[row] for row in listed if row in self.devices},
            hours_above={
                self.sensor_ids[row]: self.hours_above[row] for row in listed if row in self.hours_above
            },
        )
        return msgspec.msgpack.encode(saved)

    def restore(self, checkpoint: bytes) -> None:
        """Take back a checkpoint (M2), but for sensors and columns that are not defined here."""
        saved = msgspec.msgpack.decode(checkpoint, type=Saved)
        count = len(saved.sensor_ids)
        known = np.array([sensor_id in self.row_of for sensor_id in saved.sensor_ids], dtype=np.bool_)
        rows = np.array([self.row_of.get(sensor_id, 0) for sensor_id in saved.sensor_ids], dtype=np.int64)[
            known
        ]
        for name, data in saved.columns.items():
            if name not in _COLUMNS:
                continue
            dtype, shape = _COLUMNS[name]
            getattr(self, name)[rows] = np.frombuffer(data, dtype=dtype).reshape(count, *shape)[known]
        self._set_devices(
            {self.row_of[name]: device for name, device in saved.devices.items() if name in self.row_of}
        )
        for sensor_id, hours in saved.hours_above.items():
            if sensor_id in self.row_of:
                self.hours_above[self.row_of[sensor_id]] = hours

    def _set_devices(self, devices: dict[int, Device]) -> None:
        self.devices.update(devices)
        for zone_id in {device.zone_id for device in devices.values()}:
            self._note_zone(zone_id)

    def _note_zone(self, zone_id: str) -> None:
        """Bring up to date until when this zone's devices matter."""
        no = self.numbers[zone_id]
        self.explained_until[no] = self.fault_until[no] = NEVER
        for row in self.devices_of.get(zone_id, ()):
            device = self.devices[row]
            until = self.fault_until if device.role is Role.COMPRESSOR else self.explained_until
            for window in device.windows:
                # A window that was closed still stands open to what arrived before.
                until[no] = max(int(until[no]), window.open_until_us)

    def _set_hours(self, row: int, hours: dict[int, int] | None) -> None:
        if hours:
            self.hours_above[row] = hours
        else:
            self.hours_above.pop(row, None)

    def _tune(self, row: int, zone_id: str, tuning: Tuning) -> None:
        old = self.devices.pop(row, None)
        if old is not None:
            self.devices_of[old.zone_id].remove(row)
            self._note_zone(old.zone_id)
        self.zone_ids[row] = zone_id
        self.zone_no[row] = self._number(zone_id)
        self.tuning[row] = tuning
        for name in _TUNED:
            self.tuned[name][row] = getattr(tuning, name)
        self.is_device[row] = tuning.role in DEVICES
        self.is_limited[row] = tuning.high_e4 < UNSET_HIGH_E4
        if tuning.role in DEVICES:
            kept = old is not None and (old.zone_id, old.role) == (zone_id, tuning.role)
            self.devices_of.setdefault(zone_id, []).append(row)
            self._set_devices({row: old if kept and old is not None else Device(zone_id, tuning.role)})

    def _number(self, zone_id: str) -> int:
        no = self.numbers.setdefault(zone_id, len(self.numbers))
        if no >= len(self.explained_until):
            self.explained_until = _longer(self.explained_until, max(16, 2 * no))
            self.fault_until = _longer(self.fault_until, max(16, 2 * no))
            self.planned = _longer(self.planned, max(16, 2 * no))
        return no

    def _grow(self, count: int) -> None:
        if count <= len(self.is_device):
            return
        room = max(16, 2 * count)
        for name in _COLUMNS:
            setattr(self, name, _longer(getattr(self, name), room))
        self.tuned = {name: _longer(column, room) for name, column in self.tuned.items()}
        self.is_device = _longer(self.is_device, room)
        self.is_limited = _longer(self.is_limited, room)
        self.zone_no = _longer(self.zone_no, room)


def _longer(column: NDArray[Any], room: int) -> NDArray[Any]:
    grown = np.zeros((room, *column.shape[1:]), dtype=column.dtype)
    grown[: len(column)] = column
    return grown
