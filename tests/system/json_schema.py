"""As much of JSON schema as the OpenAPI document uses, to hold answers against it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def resolved(document: dict[str, Any], ref: str) -> Any:
    """Return what a reference of a document names."""
    found: Any = document
    for name in ref.removeprefix("#/").split("/"):
        found = found[name.replace("~1", "/").replace("~0", "~")]
    return found


def faults(document: dict[str, Any], schema: dict[str, Any], value: Any, place: str = "$") -> Iterator[str]:
    """Yield where a value is not what a schema says."""
    if "$ref" in schema:
        yield from faults(document, resolved(document, schema["$ref"]), value, place)
    yield from _of_others(document, schema, value, place)
    kinds = schema.get("type", [])
    if kinds and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield f"{place} is {value!r}, no {kinds}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{place} is {value!r}, none of {schema['enum']}"
    elif isinstance(value, dict):
        yield from _members(document, schema, value, place)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, one in enumerate(value):
            yield from faults(document, schema["items"], one, f"{place}[{index}]")
    elif isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{place} is {value!r}, not {schema['pattern']}"


def _of_others(document: dict[str, Any], schema: dict[str, Any], value: Any, place: str) -> Iterator[str]:
    for one in schema.get("allOf", ()):
        yield from faults(document, one, value, place)
    for many in (schema[word] for word in ("anyOf", "oneOf") if word in schema):
        told = [list(faults(document, one, value, place)) for one in many]
        if all(told):
            yield f"{place} is none of {len(many)}: {min(told, key=len)}"


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _members(document: dict[str, Any], schema: dict[str, Any], value: Any, place: str) -> Iterator[str]:
    yield from (f"{place}.{name} is missing" for name in schema.get("required", ()) if name not in value)
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, one in value.items():
        if name in known:
            yield from faults(document, known[name], one, f"{place}.{name}")
        elif others is False:
            yield f"{place}.{name} is not named"
        elif isinstance(others, dict):
            yield from faults(document, others, one, f"{place}.{name}")
