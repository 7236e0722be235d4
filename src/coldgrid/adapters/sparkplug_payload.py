"""Sparkplug B payloads: the protobuf bytes of a message to metrics, and a metric's value to a number. Pure.

Invariants
    SP1  Total: any bytes are a payload or a `MalformedPayload`; nothing else is raised, nothing is guessed.
    SP2  A number is finite and fits its datatype; what is null, of bad quality or no number is told why.

The messages are described here by the public field numbers of the Sparkplug 3.0 specification (chapter 6), as
far as they are read; other fields are skipped. The protobuf library reads and writes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from coldgrid.telemetry.quantities import SPELLINGS, Unit

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError, Message
except ImportError as missing:  # the extra is left out where nothing speaks Sparkplug
    raise ImportError(
        "Sparkplug needs protobuf: pip install 'coldgrid[devices]'", name="protobuf"
    ) from missing

PAYLOAD_MAX_BYTES = 256 * 1024
METRICS_MAX = 5_000
# Of an edge node's own making; they measure nothing.
BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"
# OPC's codes, which the specification names: 0 bad, 192 good, 500 stale. 192 to 255 are all good.
GOOD = range(192, 256)

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN = range(1, 12)
_NAMES = """
    unknown Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float Double Boolean String DateTime Text
    UUID DataSet Bytes File Template PropertySet PropertySetList Int8Array Int16Array Int32Array Int64Array
    UInt8Array UInt16Array UInt32Array UInt64Array FloatArray DoubleArray BooleanArray StringArray
    DateTimeArray
"""
NAMES = dict(enumerate(_NAMES.split()))
# Values that are no measurement, and no mistake of a device either.
WORDS = frozenset({12, 13, 14, 15})
SIGNED = {INT8: 8, INT16: 16, INT32: 32, INT64: 64}
UNSIGNED = {UINT8: 8, UINT16: 16, UINT32: 32, UINT64: 64}


class MalformedPayload(ValueError):
    """These bytes are no Sparkplug B payload."""


class NoNumber(ValueError):
    """A metric holds no usable number; the text says why."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric as it was sent. What it did not say: `alias` and `at_ms` None, `datatype` 0, `unit` empty."""

    name: str = ""
    alias: int | None = None
    at_ms: int | None = None
    datatype: int = 0
    historical: bool = False
    null: bool = False
    kind: str = ""
    value: float | int | bool | None = None
    unit: str = ""
    quality: int | None = None


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """A message's payload. `seq` None: none was given (only deaths may leave it out)."""

    at_ms: int | None = None
    seq: int | None = None
    metrics: list[Metric] = []

    @property
    def bd_seq(self) -> int | None:
        """The session's number, of a birth or death of an edge node."""
        found = [metric.value for metric in self.metrics if metric.name == BD_SEQ and not metric.null]
        return int(found[0]) if found and found[0] is not None and math.isfinite(found[0]) else None


# --- The form on the wire -------------------------------------------------------


def _described() -> dict[str, type[Message]]:
    """Return the classes of the messages, made from their field numbers."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="coldgrid/sparkplug.proto", package="coldgrid.sparkplug")
    payload, metric = file.message_type.add(name="Payload"), file.message_type.add(name="Metric")
    properties, value = file.message_type.add(name="Properties"), file.message_type.add(name="Property")
    opaque = file.message_type.add(name="Opaque")  # data sets and templates: told apart, never read
    assert opaque.name == "Opaque"

    def field(message: Any, number: int, name: str, kind: int, **more: Any) -> None:
        message.field.add(
            name=name, number=number, type=kind, label=more.pop("label", kinds.LABEL_OPTIONAL), **more
        )

    def inner(name: str) -> dict[str, Any]:
        return {"kind": kinds.TYPE_MESSAGE, "type_name": f".coldgrid.sparkplug.{name}"}

    field(payload, 1, "timestamp", kinds.TYPE_UINT64)
    field(payload, 2, "metrics", **inner("Metric"), label=kinds.LABEL_REPEATED)
    field(payload, 3, "seq", kinds.TYPE_UINT64)
    # Names cross as bytes: whether they are UTF-8 is judged here, not by the build of the library at hand.
    field(metric, 1, "name", kinds.TYPE_BYTES)
    field(metric, 2, "alias", kinds.TYPE_UINT64)
    field(metric, 3, "timestamp", kinds.TYPE_UINT64)
    field(metric, 4, "datatype", kinds.TYPE_UINT32)
    field(metric, 5, "is_historical", kinds.TYPE_BOOL)
    field(metric, 7, "is_null", kinds.TYPE_BOOL)
    field(metric, 9, "properties", **inner("Properties"))
    metric.oneof_decl.add(name="value")
    _values(metric, 10, field, inner("Opaque"))
    field(properties, 1, "keys", kinds.TYPE_BYTES, label=kinds.LABEL_REPEATED)
    field(properties, 2, "values", **inner("Property"), label=kinds.LABEL_REPEATED)
    field(value, 1, "type", kinds.TYPE_UINT32)
    field(value, 2, "is_null", kinds.TYPE_BOOL)
    value.oneof_decl.add(name="value")
    _values(value, 3, field, None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"coldgrid.sparkplug.{name}"))
        for name in ("Payload", "Metric")
    }


def _values(message: Any, first: int, field: Any, opaque: dict[str, Any] | None) -> None:
    """Add the forms that a value may have, numbered from `first` on."""
    kinds = descriptor_pb2.FieldDescriptorProto
    forms: list[tuple[str, dict[str, Any]]] = [
        ("int_value", {"kind": kinds.TYPE_UINT32}),
        ("long_value", {"kind": kinds.TYPE_UINT64}),
        ("float_value", {"kind": kinds.TYPE_FLOAT}),
        ("double_value", {"kind": kinds.TYPE_DOUBLE}),
        ("boolean_value", {"kind": kinds.TYPE_BOOL}),
        ("string_value", {"kind": kinds.TYPE_BYTES}),
    ]
    if opaque is not None:
        forms += [
            ("bytes_value", {"kind": kinds.TYPE_BYTES}),
            ("dataset_value", opaque),
            ("template_value", opaque),
        ]
    for number, (name, form) in enumerate(forms, start=first):
        field(message, number, name, **form, oneof_index=0)


_WIRE: Any = _described()["Payload"]

# --- Reading --------------------------------------------------------------------


def decode(data: bytes) -> Payload:
    """Read a payload (SP1).

    Raises:
        MalformedPayload: it is too long, cut off, no protobuf, or holds too many metrics.
    """
    if len(data) > PAYLOAD_MAX_BYTES:
        raise MalformedPayload(f"{len(data)} bytes are more than {PAYLOAD_MAX_BYTES}")
    wire = _WIRE()
    try:
        wire.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise MalformedPayload(f"no Sparkplug payload: {error}"[:200]) from None
    if len(wire.metrics) > METRICS_MAX:
        raise MalformedPayload(f"{len(wire.metrics)} metrics are more than {METRICS_MAX}")
    seq = wire.seq if wire.HasField("seq") else None
    if seq is not None and seq > 255:
        raise MalformedPayload(f"seq {seq} is not 0 to 255")
    return Payload(
        at_ms=wire.timestamp if wire.HasField("timestamp") else None,
        seq=seq,
        metrics=[_metric(metric) for metric in wire.metrics],
    )


def _metric(wire: Any) -> Metric:
    kind = wire.WhichOneof("value") or ""
    unit, quality = _properties(wire.properties) if wire.HasField("properties") else ("", None)
    plain = kind in {"int_value", "long_value", "float_value", "double_value", "boolean_value"}
    return Metric(
        name=_text(wire.name),
        alias=wire.alias if wire.HasField("alias") else None,
        at_ms=wire.timestamp if wire.HasField("timestamp") else None,
        datatype=wire.datatype,
        historical=wire.is_historical,
        null=wire.is_null,
        kind=kind,
        value=getattr(wire, kind) if plain else None,
        unit=unit,
        quality=quality,
    )


def _properties(wire: Any) -> tuple[str, int | None]:
    """Return the unit and the quality that a metric's properties name."""
    unit, quality = "", None
    for key, value in zip(map(_text, wire.keys), wire.values, strict=False):
        kind = value.WhichOneof("value")
        if value.is_null:
            continue
        if key == "engUnit" and kind == "string_value":
            unit = _text(value.string_value)[:40]
        elif key == "Quality" and kind in {"int_value", "long_value"}:
            quality = getattr(value, kind)
    return unit, quality


def _text(data: bytes) -> str:
    # An ill-made name stays one name, and shows where it is ill-made.
    return data.decode(errors="backslashreplace")


# --- Values ---------------------------------------------------------------------


def unit_of(spelled: str, datatype: int) -> str:
    """Return the wire name of a unit as a device spells it; "" where it spells none.

    Raises:
        NoNumber: no unit that is kept here.
    """
    if not spelled:
        return Unit.STATE.value if datatype == BOOLEAN else ""
    unit = SPELLINGS.get(spelled)
    if unit is None:
        raise NoNumber(f"{spelled!r} is no unit known here")
    return unit.value


def number_of(metric: Metric, datatype: int) -> float:
    """Return a metric's value as a number of its datatype (SP2).

    Raises:
        NoNumber: why there is none.
    """
    if metric.quality is not None and metric.quality not in GOOD:
        raise NoNumber(f"the device calls its quality {metric.quality}: not good")
    if metric.null:
        raise NoNumber("the device says that it has no value (is_null)")
    if datatype in WORDS or datatype > BOOLEAN or datatype not in NAMES or not datatype:
        raise NoNumber(f"datatype {NAMES.get(datatype, datatype)} is no single number")
    value = metric.value
    if value is None:
        raise NoNumber(f"its datatype is {NAMES[datatype]}, its value {metric.kind or 'missing'}")
    if datatype == BOOLEAN:
        return _boolean(metric)
    if datatype in (FLOAT, DOUBLE):
        return _real(metric)
    return float(_whole(metric, datatype))


def _boolean(metric: Metric) -> float:
    if metric.kind != "boolean_value":
        raise NoNumber(f"its datatype is Boolean, its value {metric.kind}")
    return 1.0 if metric.value else 0.0


def _real(metric: Metric) -> float:
    if metric.kind not in {"float_value", "double_value"} or metric.value is None:
        raise NoNumber(f"its datatype is a floating-point number, its value {metric.kind}")
    if not math.isfinite(metric.value):
        raise NoNumber(f"{metric.value} is no number")
    # A 32-bit number has seven digits; 3.2 came as 3.200000047683716.
    return float(f"{metric.value:.7g}") if metric.kind == "float_value" else float(metric.value)


def _whole(metric: Metric, datatype: int) -> int:
    """Return an integer. Encoders differ: 32 bits come in the long form too, and negative ones in 8."""
    if metric.kind not in {"int_value", "long_value"} or metric.value is None:
        raise NoNumber(f"its datatype is {NAMES[datatype]}, its value {metric.kind}")
    value = int(metric.value)
    if datatype in UNSIGNED:
        if value >= 2 ** UNSIGNED[datatype]:
            raise NoNumber(f"{value} is no {NAMES[datatype]}")
        return value
    bits = SIGNED[datatype]
    for width in (bits, 32, 64):
        if 2 ** (width - 1) <= value < 2**width:
            value -= 2**width
            break
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise NoNumber(f"{value} is no {NAMES[datatype]}")
    return value


# --- Writing --------------------------------------------------------------------


def rebirth_request(at_ms: int) -> bytes:
    """Return the payload of the command that asks an edge node to send its births again."""
    return encode(at_ms, [Metric(name=REBIRTH, datatype=BOOLEAN, kind="boolean_value", value=True)])


def encode(at_ms: int, metrics: Sequence[Metric], seq: int | None = None) -> bytes:
    """Return a payload's bytes."""
    wire = _WIRE(timestamp=at_ms)
    if seq is not None:
        wire.seq = seq
    for metric in metrics:
        _add(wire.metrics.add(timestamp=at_ms if metric.at_ms is None else metric.at_ms), metric)
    data: bytes = wire.SerializeToString()
    return data


def _add(wire: Any, metric: Metric) -> None:
    told = {
        "name": metric.name.encode(),
        "alias": metric.alias,
        "datatype": metric.datatype,
        "is_historical": metric.historical,
        "is_null": metric.null,
    }
    for field, value in told.items():
        if value is not None and (value or field == "alias"):
            setattr(wire, field, value)
    if metric.kind and metric.value is not None:
        setattr(wire, metric.kind, metric.value)
    if metric.unit:
        wire.properties.keys.append(b"engUnit")
        wire.properties.values.add(type=12, string_value=metric.unit.encode())
    if metric.quality is not None:
        wire.properties.keys.append(b"Quality")
        wire.properties.values.add(type=INT32, int_value=metric.quality)
