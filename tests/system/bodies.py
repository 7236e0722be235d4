"""Bodies for every command: one that fits its types, made from the types alone, and each way to spoil it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from msgspec import inspect

from coldgrid.kernel.events import Command
from tests.stock.world import BULK, FREEZER, ICE, LOT, PALLET, SITE, sscc
from tests.telemetry.cold_room import AIR

Path = tuple[str | int, ...]
# What a field of this name is about in the seeded network.
KNOWN: dict[str, Any] = {
    "site_id": SITE,
    "to_site_id": "CLT1",
    "zone_id": FREEZER,
    "location_id": BULK,
    "to_location_id": BULK,
    "product_id": ICE,
    "lot_id": LOT,
    "sscc": PALLET,
    "new_sscc": sscc(9),
    "into_sscc": sscc(3),
    "parent_sscc": sscc(3),
    "ssccs": PALLET,
    "order_id": "web-1",
    "hold_id": "h1",
    "incident_id": "i1",
    "approval_id": "ap1",
    "person_id": "ben",
    "change_id": "change-sensors",
    "sensor_id": AIR,
    "sensor_ids": AIR,
    "token_id": "other",
    "subject": "customer/nobody",
    "origin": SITE,
    "log_origin": SITE,
    "photo_hash": "",
    "file_hash": "0" * 64,
    "owner": "COLDGRID",
    "region": "GA",
    "decision_id": "decision-advice",
}
INSTANT, DAY = "2026-03-01T08:00:00Z", "2026-03-01"
# Text that json.dumps cannot write, put in place of the quoted name afterwards.
RAW = {"@nan": b"NaN", "@inf": b"Infinity", "@huge": b"1e999", "@digits": b"9" * 40}


def fitting(command_type: type[Command]) -> dict[str, Any]:
    """Return a body that has every field of a command with a value of its type."""
    made = _value(inspect.type_info(command_type), "")
    assert isinstance(made, dict)
    made.pop("type", None)
    return made


def _value(info: Any, name: str) -> Any:  # noqa: C901, PLR0911, PLR0912 (one line for each kind of type)
    match info:
        case inspect.StructType():
            return {field.encode_name: _value(field.type, field.encode_name) for field in info.fields}
        case inspect.UnionType():
            real = [one for one in info.types if not isinstance(one, inspect.NoneType)]
            return _value(real[0], name)
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.CollectionType():
            return [_value(info.item_type, name)] * max(1, info.min_length or 0)
        case inspect.VarTupleType():
            return [_value(info.item_type, name)]
        case inspect.TupleType():
            return [_value(one, name) for one in info.item_types]
        case inspect.DictType():
            return {"x": _value(info.value_type, "")}
        case inspect.EnumType():
            return next(iter(info.cls)).value
        case inspect.LiteralType():
            return info.values[0]
        case inspect.StrType():
            return KNOWN.get(name, "x" * max(1, info.min_length or 0))
        case inspect.IntType():
            return max(1, info.ge or 0, (info.gt or 0) + 1)
        case inspect.FloatType():
            return 1.5
        case inspect.BoolType():
            return True
        case inspect.BytesType():
            return ""
        case inspect.DateTimeType():
            return INSTANT
        case inspect.DateType():
            return DAY
        case inspect.Metadata():
            return _value(info.type, name)
        case inspect.CustomType() | inspect.AnyType() | inspect.RawType():
            return {}
    raise AssertionError(f"{name}: no value for {info}")


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value of a body that holds no others, with its place."""
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from leaves(one, (*path, name))
    elif isinstance(value, list) and value:
        for index, one in enumerate(value):
            yield from leaves(one, (*path, index))
    else:
        yield path, value


def spoiled(body: dict[str, Any], path: Path, value: Any) -> bytes:
    """Return the body with another value in one place."""
    made = deepcopy(body)
    holder: Any = made
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return written(made)


def written(value: Any) -> bytes:
    """Return JSON, with what only a careless or hostile sender writes."""
    text = json.dumps(value).encode()
    for name, raw in RAW.items():
        text = text.replace(b'"' + name.encode() + b'"', raw)
    return text


def never_right(value: Any) -> list[Any]:
    """Values that no field takes which takes this one, whatever it means."""
    if isinstance(value, bool):
        return [{"a": 1}, "@nan", "@huge", "@digits"]
    if isinstance(value, int | float):
        return [{"a": 1}, "one", "@nan", "@inf", "@huge", "@digits"]
    if isinstance(value, str):
        return [{"a": 1}, 7, "@nan", "@huge", "@digits"]
    return []


INSTANTS = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-03-01T08:00:00"]
INTEGERS = [0, -1, 2**31, 2**53, 2**63 - 1, -(2**63)]
TEXTS = ["", "\0", "a\0b", " ", "../..", "é" * 5_000, "\ud800", "-1", "A/B"]


def odd(value: Any) -> list[Any]:
    """Values of the right type that few expect: refused or taken, never a fault."""
    if value == INSTANT:
        return INSTANTS
    if value == DAY:
        return ["0001-01-01", "9999-12-31"]
    floats = [-1.5, 1e308, -1e308, 5e-324, 0]
    of_type: dict[type, list[Any]] = {bool: [False], int: INTEGERS, float: floats, str: TEXTS}
    return of_type.get(type(value), [])
