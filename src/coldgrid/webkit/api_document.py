"""The OpenAPI document as the API is: what each address takes, everything it answers, and who may ask.

The framework knows addresses, parameters and what a handler returns. What it cannot know is said here, from
the types that decode and encode: bodies, each command at an address of its own, problem documents as the only
form of refusals, tokens.

Invariants
    A1  A handler that reads a body says so by `opt={"takes": …}`: a command, another type, or a map from
        media types to types (`bytes`: anything, `str`: text).
    A2  What a handler answers is its return type; where that is a `Response`, `opt={"answers": …}` says it in
        the same forms, and `opt={"also": {status: (meaning, answers)}}` what further statuses mean.
    A3  Every refusal is a problem document (`webkit.problems`) under a status that is listed.
    A4  `opt={"headers": {name: meaning}}` names the headers of a request that are its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from copy import deepcopy
from http import HTTPStatus
from types import UnionType
from typing import Any, get_args, get_type_hints

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler

from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.events import Command
from coldgrid.kernel.registry import Handler
from coldgrid.kernel.registry import handlers as command_handlers
from coldgrid.webkit.problems import PROBLEM_JSON, Document

JSON = "application/json"
REF = "#/components/schemas/"
COMMANDS = "/api/v1/commands"
REFUSALS = (400, 401, 403, 404, 422, 429, 500, 503)
REFUSALS_OF_BODIES = (409, 413, 415, 421, 507)
KEY = "Idempotency-Key"
KEY_MEANS = (
    "A retry with the same key and body is answered as before, `replayed` true; another body under the key "
    "is refused with 409. 1 to 200 characters."
)
PENDING = "The site's own node decides it: `result` names the request, and nothing is done yet."


class Types:
    """The schemas of types, and the components that these name."""

    def __init__(self, types: list[Any]) -> None:
        flat = [part for one in types for part in _options(one)]
        self._types = [one for place, one in enumerate(flat) if one not in flat[:place]]
        schemas, components = msgspec.json.schema_components(
            self._types, schema_hook=lambda _: {"type": "string"}, ref_template=REF + "{name}"
        )
        self._schemas = [_portable(schema) for schema in schemas]
        self.components = {name: _portable(schema) for name, schema in components.items()}

    def __getitem__(self, type_: Any) -> dict[str, Any]:
        """Return the schema of a type: a reference where it has a name."""
        if type_ in (bytes, str):
            return {"type": "string"}
        if len(_options(type_)) > 1:
            return {"anyOf": [self[one] for one in _options(type_)]}
        schema: dict[str, Any] = self._schemas[self._types.index(type_)]
        return schema


def _options(type_: Any) -> tuple[Any, ...]:
    """Return the members of a union of whole bodies, which are told apart by their form; else the type."""
    return get_args(type_) if isinstance(type_, UnionType) else (type_,)


def complete(document: dict[str, Any], app: Litestar) -> dict[str, Any]:
    """Return the framework's document with what it does not know."""
    document = deepcopy(document)
    routes = list(_routes(app))
    commands = dict(sorted((tag, one) for one in command_handlers.values() if (tag := _tag(one.command))))
    types = Types([Answer, Document, *_named(routes), *_of_commands(commands)])
    framework = document.get("components", {}).get("schemas", {})
    for path, method, handler in routes:
        if operation := document["paths"].get(path, {}).get(method):
            _describe(operation, handler, types)
    generic = document["paths"].get(COMMANDS + "/{name}")
    if generic is not None:
        for name, command in commands.items():
            document["paths"][f"{COMMANDS}/{name}"] = {"post": _command(name, command, types)}
    document["paths"] = dict(sorted(document["paths"].items()))
    statuses = sorted({*REFUSALS, *REFUSALS_OF_BODIES})
    document["components"] = {
        "schemas": {**_still_named(document["paths"], framework), **types.components},
        "responses": {f"refused_{status}": _refusal(status, types) for status in statuses},
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "An API token."}},
    }
    return document


def takes(handler: HTTPRouteHandler) -> dict[str, Any]:
    """Return what a handler takes, by media type (A1)."""
    return _by_media(handler.opt["takes"]) if "takes" in handler.opt else {}


def answers(handler: HTTPRouteHandler) -> dict[str, Any]:
    """Return what a handler answers, by media type (A2)."""
    if "answers" in handler.opt:
        return _by_media(handler.opt["answers"])
    if _is_command(handler.opt.get("takes")):
        return {JSON: Answer}
    returned = handler.parsed_fn_signature.return_type
    opaque = any(isinstance(one, type) and issubclass(one, Response) for one in _parts(returned))
    return {JSON: Any if opaque else returned.annotation}


def _parts(returned: Any) -> list[Any]:
    return [returned.origin, returned.annotation, *(one.origin for one in returned.inner_types)]


def _by_media(said: Any) -> dict[str, Any]:
    return dict(said) if isinstance(said, dict) else {JSON: said}


def _is_command(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Command)


def _tag(command: type[Command]) -> str:
    return str(command.__struct_config__.tag)


def _routes(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield path (as the document writes it), method and handler of what the document lists."""
    for route in app.routes:
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            if isinstance(handler, HTTPRouteHandler) and handler.resolve_include_in_schema():
                yield getattr(route, "path_format", route.path), method.lower(), handler


def _named(routes: list[tuple[str, str, HTTPRouteHandler]]) -> Iterator[Any]:
    """Yield every type that a handler takes or answers."""
    for _, _, handler in routes:
        also = [_by_media(said) for _, said in handler.opt.get("also", {}).values()]
        for media in (takes(handler), answers(handler), *also):
            yield from (type_ for type_ in media.values() if type_ not in (bytes, str))


def _of_commands(commands: dict[str, Handler]) -> Iterator[Any]:
    for command in commands.values():
        yield command.command
        yield _result_of(command)


def _result_of(command: Handler) -> Any:
    """Return the type of what a command answers; kernel modules hide theirs from running code."""
    try:
        return get_type_hints(command.run).get("return", Any)
    except NameError:
        return Any


def _portable(schema: Any) -> Any:
    """Return a schema in words that every reader of JSON schema has.

    A command's tag is in the address, so nobody has to say it; patterns end with `$`, not with Python's end.
    """
    if isinstance(schema, list):
        return [_portable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: _portable(one) for name, one in schema.items()}
    if isinstance(told.get("pattern"), str):
        told["pattern"] = told["pattern"].replace("\\Z", "$").replace("\\A", "^")
    if isinstance(told.get("description"), str):
        told["description"] = inspect.cleandoc(told["description"])
    if told.get("additionalProperties") is False and "type" in told.get("properties", {}):
        told["required"] = [name for name in told.get("required", []) if name != "type"]
    return told


def _describe(operation: dict[str, Any], handler: HTTPRouteHandler, types: Types) -> None:
    """Say of one operation what it takes and answers, and who may ask."""
    body, method = takes(handler), next(iter(handler.http_methods))
    headers = dict(handler.opt.get("headers", {}))
    if _is_command(handler.opt.get("takes")):
        headers[KEY] = KEY_MEANS
    if headers:
        operation["parameters"] = [
            *operation.get("parameters", []),
            *(_header(*one) for one in headers.items()),
        ]
    if body:
        given = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        operation["requestBody"] = _body(body, types, given)
    public = handler.opt.get("public", False)
    operation["security"] = [] if public else [{"token": []}]
    said = {str(handler.status_code): ("Done.", answers(handler))}
    decides = _is_command(handler.opt.get("takes"))
    if decides:
        said["202"] = (PENDING, {JSON: Answer})
    said |= {str(status): (text, _by_media(it)) for status, (text, it) in handler.opt.get("also", {}).items()}
    if method != "POST":
        said[str(handler.status_code)] = ("Found.", answers(handler))
    refusals = REFUSALS if method == "GET" else REFUSALS + REFUSALS_OF_BODIES
    operation["responses"] = _responses(said, types, refusals)
    if decides:
        operation["responses"]["200"] = _done(command_handlers[handler.opt["takes"]], types)


def _header(name: str, meaning: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": meaning,
        "schema": {"type": "string"},
    }


def _body(body: dict[str, Any], types: Types, given: set[str]) -> dict[str, Any]:
    """Return a request's body. What the address gives of a command need not be said again."""
    content = {}
    for media, type_ in body.items():
        schema = types[type_]
        if _is_command(type_) and given:
            schema = deepcopy(types.components[schema["$ref"].removeprefix(REF)])
            schema["required"] = [name for name in schema["required"] if name not in given]
        content[media] = {"schema": schema}
    return {"required": True, "content": content}


def _responses(
    said: dict[str, tuple[str, dict[str, Any]]], types: Types, refusals: tuple[int, ...]
) -> dict[str, Any]:
    told: dict[str, Any] = {
        str(status): {"$ref": f"#/components/responses/refused_{status}"} for status in refusals
    }
    for status, (text, media) in said.items():
        content = {name: {"schema": types[type_]} for name, type_ in media.items()}
        if status in told:  # the same status, in another form than a problem document
            content |= {PROBLEM_JSON: {"schema": types[Document]}}
        told[status] = {"description": text, "content": content}
    return dict(sorted(told.items()))


def _refusal(status: int, types: Types) -> dict[str, Any]:
    content = {PROBLEM_JSON: {"schema": types[Document]}}
    refusal: dict[str, Any] = {"description": f"Refused: {HTTPStatus(status).phrase}.", "content": content}
    if status in (429, 503, 507):
        said = "Seconds after which to try again."
        refusal["headers"] = {"Retry-After": {"description": said, "schema": {"type": "integer"}}}
    return refusal


def _command(name: str, command: Handler, types: Types) -> dict[str, Any]:
    """Return the operation of one command at its own address."""
    told = inspect.getdoc(command.command) or name
    operation: dict[str, Any] = {
        "tags": [f"commands: {name.partition('.')[0]}"],
        "summary": told.split("\n")[0],
        "description": f"{told}\n\nNeeds the action `{command.action}`.",
        "operationId": f"command.{name}",
        "parameters": [_header(KEY, KEY_MEANS)],
        "requestBody": _body({JSON: command.command}, types, set()),
        "security": [{"token": []}],
        "responses": _responses({"202": (PENDING, {JSON: Answer})}, types, REFUSALS + REFUSALS_OF_BODIES),
    }
    operation["responses"] = {"200": _done(command, types), **operation["responses"]}
    return operation


def _done(command: Handler, types: Types) -> dict[str, Any]:
    """Return the answer of a command that was carried out, with what it returns."""
    result = {"properties": {"result": types[_result_of(command)]}}
    return {"description": "Done.", "content": {JSON: {"schema": {"allOf": [types[Answer], result]}}}}


def _still_named(paths: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the framework's components that parameters name."""
    kept: dict[str, Any] = {}
    for path in paths.values():
        for operation in path.values():
            for name in _refs(operation.get("parameters", [])):
                if name in schemas:
                    kept[name] = schemas[name]
    return kept


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix(REF)
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _refs(one)
