"""Forms for items of any kind: fields from the kind's struct, and back from what was sent. Pure.

Plain fields are controls of their own; nested values are written as YAML, which the import reads too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml
from msgspec import inspect

from coldgrid.kernel.rejections import Problem
from coldgrid.network import names
from coldgrid.network.cells import cell_value, required
from coldgrid.network.items import ItemKind
from coldgrid.network.yaml_files import read_value
from coldgrid.webkit.forms import Field

UNITS = {
    "c": "°C",
    "cents": "cents",
    "days": "days",
    "g": "g",
    "km": "km",
    "min": "min",
    "ml": "ml",
    "pallets": "pallets",
    "s": "s",
}
LABELS = {
    "gtin": "GTIN",
    "lat": "Latitude",
    "lon": "Longitude",
    "sla_tier": "SLA tier",
    "cutoffs": "Cut-offs",
    "timezone": "Time zone",
}
# Fields that name something, by the standard for its name.
NAMED = {"zone_id": names.ZONE, "asset_id": names.ASSET, "product_id": names.PRODUCT, "owner": names.OWNER}
WORDS = {"dc": "distribution centre (DC)", "mfc": "micro-fulfilment centre (MFC)"}
Choices = Mapping[str, Sequence[tuple[str, str]]]
# A text that may be so long has lines of its own, such as the map of a gateway.
LONG_CHARS = 2_000
ROWS_MIN, ROWS_MAX = 6, 20
Plain = (inspect.StrType, inspect.IntType, inspect.FloatType, inspect.DateType, inspect.DateTimeType)


def form_fields(kind: ItemKind, raw: Mapping[str, Any], choices: Choices) -> list[Field]:
    """Return the controls of an item's form with its present values; what identifies it cannot be changed.

    Args:
        kind: The item's kind.
        raw: The item as it is in force, as plain values; empty for a new one.
        choices: For fields that name something else, what they may name; of a value that is not among
            them the field is typed.
    """
    fields: list[Field] = []
    hints = kind.form_help.hints if kind.form_help is not None else {}
    for field in _shape(kind).fields:
        value = raw.get(field.encode_name, _default(field))
        for control in _controls(field, value, choices):
            hint = hints.get(control.name) or _how_named(kind, control) or control.hint
            fields.append(msgspec.structs.replace(control, hint=hint))
    if raw:
        fields[0] = msgspec.structs.replace(fields[0], kind="hidden")
    return fields


def _how_named(kind: ItemKind, control: Field) -> str:
    """How what a typed field names is called, with an example; "" where there is no standard."""
    standard = names.STANDARDS.get(kind.kind) if control.name == kind.key_field else NAMED.get(control.name)
    if standard is None or control.kind != "text":
        return ""
    return f"{standard.means[:1].upper()}{standard.means[1:]}: {standard.example}."


def _shape(kind: ItemKind) -> inspect.StructType:
    shape = inspect.type_info(kind.struct)
    assert isinstance(shape, inspect.StructType)
    return shape


def _default(field: inspect.Field) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    return None


def _controls(field: inspect.Field, value: Any, choices: Choices) -> Iterator[Field]:
    name, shape = field.encode_name, required(field.type)
    label, unit = label_of(name)
    needed = field.required and not isinstance(field.type, inspect.UnionType)
    if name in choices and (value is None or value in {"", *(option for option, _ in choices[name])}):
        options = [("", "…")] if needed and not value else []
        options += choices[name]
        yield Field(
            name=name, label=label, kind="select", value=_text(value), options=options, required=needed
        )
    elif isinstance(shape, inspect.EnumType):
        options = [(str(option), word(option)) for option in shape.cls]
        yield Field(
            name=name, label=label, kind="select", value=_text(value), options=options, required=needed
        )
    elif isinstance(shape, inspect.BoolType):
        yield Field(name=name, label=label, kind="checkbox", value=_text(value))
    elif isinstance(shape, inspect.ListType) and isinstance(shape.item_type, inspect.EnumType):
        options = [(str(option), word(option)) for option in shape.item_type.cls]
        yield Field(
            name=name, label=label, kind="checks", value=[str(v) for v in value or []], options=options
        )
    elif isinstance(shape, inspect.DictType) and isinstance(shape.key_type, inspect.EnumType):
        yield from _numbers_by_key(name, shape, value or {})
    elif _is_long(shape):
        hint = "Lines are kept as they are written."
        yield Field(
            name=name, label=label, kind="textarea", value=_text(value), hint=hint, rows=16, required=needed
        )
    elif isinstance(shape, Plain):
        kind = "number" if isinstance(shape, inspect.IntType | inspect.FloatType) else "text"
        kind = "date" if isinstance(shape, inspect.DateType) else kind
        yield Field(name=name, label=label, kind=kind, value=_text(value), unit=unit, required=needed)
    else:
        hint = "Each on a line that begins with -" if isinstance(shape, inspect.ListType) else "name: value"
        text = as_yaml(value)
        rows = min(max(ROWS_MIN, text.count("\n") + 1), ROWS_MAX)
        yield Field(
            name=name, label=label, kind="textarea", value=text, hint=hint, rows=rows, required=needed
        )


def _is_long(shape: inspect.Type | None) -> bool:
    """Tell whether a text has lines of its own."""
    return isinstance(shape, inspect.StrType) and (shape.max_length or 0) >= LONG_CHARS


def _numbers_by_key(name: str, shape: inspect.DictType, value: Mapping[str, Any]) -> Iterator[Field]:
    assert isinstance(shape.key_type, inspect.EnumType)
    for key in shape.key_type.cls:
        label = f"{label_of(name)[0]}, {word(key)}"
        yield Field(name=f"{name}.{key}", label=label, kind="number", value=_text(value.get(str(key))))


def label_of(name: str) -> tuple[str, str]:
    """Return a field's label and its unit: `setpoint_c` → ("Setpoint", "°C")."""
    if name in LABELS:
        return LABELS[name], ""
    stem, _, ending = name.rpartition("_")
    unit = UNITS.get(ending, "") if stem else ""
    return word(stem if unit else name).capitalize(), unit


def path_in_words(path: str) -> str:
    """Return a field's path as people read it: `steps[0].after_min` → "Step 1: after (min)"."""
    *lists, last = path.split(".")
    label, unit = label_of(last.partition("[")[0])
    told = [_placed(part, label_of(part.partition("[")[0])[0]) for part in lists]
    told.append(_placed(last, label) + (f" ({unit})" if unit else ""))
    return ": ".join([told[0], *(text[:1].lower() + text[1:] for text in told[1:])])


def _placed(part: str, label: str) -> str:
    """A part of a path; of a list, which one of it, counted from 1."""
    index = part.partition("[")[2].removesuffix("]")
    if not index.isdigit():
        return label
    one = label[:-3] + "y" if label.endswith("ies") else label.removesuffix("s")
    return f"{one} {int(index) + 1}"


def word(name: object) -> str:
    """Return a wire name as people read it."""
    return WORDS.get(str(name), str(name).replace("_", " "))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def as_yaml(value: Any) -> str:
    """Return nested values as YAML, one item a line; "" for none."""
    if not value:
        return ""
    members = value if isinstance(value, list) else [value]
    lines = [
        yaml.safe_dump(member, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
        for member in members
    ]
    texts = [line.removesuffix("...\n").strip() for line in lines]
    return "\n".join(f"- {text}" for text in texts) if isinstance(value, list) else _block(value)


def _block(value: Mapping[str, Any]) -> str:
    """One name a line, so that one can be found and changed; what is nested in it stays on fewer lines."""
    plain = not any(isinstance(inner, dict | list) for inner in value.values())
    style = False if plain else None
    return str(
        yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=style)
    ).strip()


def item_of(kind: ItemKind, values: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the raw item that a sent form means, and what is wrong with its YAML.

    An empty control leaves its field out, so that a required one is reported as missing.
    """
    item: dict[str, Any] = {"kind": kind.kind}
    problems: list[Problem] = []
    for field in _shape(kind).fields:
        name, shape = field.encode_name, required(field.type)
        if isinstance(shape, inspect.BoolType):
            item[name] = name in values
        elif isinstance(shape, inspect.ListType) and isinstance(shape.item_type, inspect.EnumType):
            item[name] = [text for text in values.get(name, ()) if text]
        elif isinstance(shape, inspect.DictType) and isinstance(shape.key_type, inspect.EnumType):
            item[name] = _by_key(name, shape, values)
        elif _is_long(shape):
            item[name] = (values.get(name) or [""])[-1].replace("\r\n", "\n").rstrip()
        elif text := (values.get(name) or [""])[-1].strip():
            if isinstance(shape, (*Plain, inspect.EnumType)):
                item[name] = cell_value(text, shape)
            else:
                item[name], wrong = read_value(text)
                problems += [msgspec.structs.replace(problem, field=name) for problem in wrong]
    return item, problems


def _by_key(name: str, shape: inspect.DictType, values: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    assert isinstance(shape.key_type, inspect.EnumType)
    texts = {str(key): (values.get(f"{name}.{key}") or [""])[-1].strip() for key in shape.key_type.cls}
    return {key: cell_value(text, shape.value_type) for key, text in texts.items() if text}
