"""Settings: typed, each with its environment variable, its default and what it is for.

The environment is read by the entrypoints; this module only turns a mapping into a struct.
`docs/settings.md` lists every one of them, held to this by a test.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from coldgrid.kernel.rejections import Invalid, Problem

PREFIX = "COLDGRID_"


class Told(msgspec.Struct, frozen=True):
    """What a setting is for, in a sentence. `secret`: never printed; an `address`: without its login."""

    text: str
    secret: bool = False
    address: bool = False

    def shown(self, value: object) -> object:
        """Return a value as it may be printed."""
        if not (self.secret and isinstance(value, str) and value):
            return value
        head, slashes, rest = value.partition("://")
        if not self.address or "?" in rest:
            return "(set)"
        return f"{head}://…@{rest.rpartition('@')[2]}" if slashes and "@" in rest else value


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set from outside. Names are `COLDGRID_` and the field in upper case."""

    database: Annotated[
        str, Told("SQLite file or postgresql:// address that holds the log", secret=True, address=True)
    ] = ".coldgrid/coldgrid.db"
    host: Annotated[str, Told("Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Told("Port to listen on")] = 8080
    public_url: Annotated[str, Told("Address that links in messages point to")] = "http://127.0.0.1:8080"
    temperature_unit: Annotated[
        str, Told("Unit that pages show temperatures in: C or F; a network that was named with a unit wins")
    ] = "C"
    log_level: Annotated[str, Told("Least level of the structured log: debug, info, warning, error")] = "info"
    log_json: Annotated[bool, Told("Write the log as JSON lines instead of text")] = False
    mqtt_url: Annotated[
        str,
        Told(
            "Broker that readings come from, mqtt://[user:password@]host:port; empty: none",
            secret=True,
            address=True,
        ),
    ] = ""
    mqtt_connections: Annotated[int, Told("Connections that share the readings' subscription")] = 24
    mqtt_client_id: Annotated[str, Told("Our name at the broker, one for each installation")] = "coldgrid"
    smtp_url: Annotated[
        str,
        Told(
            "Mail server, smtp://[user:password@]host:port or smtps://; empty: no e-mail",
            secret=True,
            address=True,
        ),
    ] = ""
    smtp_from: Annotated[str, Told("Sender of e-mail")] = "coldgrid@localhost"
    sms_url: Annotated[str, Told("HTTP gateway for SMS and voice, POST; empty: none", secret=True)] = ""
    sms_body: Annotated[
        str, Told("Template of the gateway's JSON body, with {to} {text} {key} {reply_url}")
    ] = '{"to": "{to}", "text": "{text}"}'
    sms_header: Annotated[str, Told("One header for the gateway, as Name: value", secret=True)] = ""
    webhook_secret: Annotated[
        str, Told("Secret that signs webhooks (Standard Webhooks), whsec_…", secret=True)
    ] = ""
    webhook_private: Annotated[bool, Told("Allow webhooks to private addresses")] = False
    siren_topic: Annotated[str, Told("MQTT topic prefix of sirens; empty: none")] = "coldgrid/siren"
    signing_key: Annotated[str, Told("File of the Ed25519 key that signs checkpoints; made when missing")] = (
        ".coldgrid/signing.key"
    )
    checkpoint_every_s: Annotated[float, Told("Seconds between checkpoints while there is news")] = 10.0
    session_idle_min: Annotated[int, Told("Minutes after which an unused session ends")] = 60
    session_max_h: Annotated[int, Told("Hours after which any session ends")] = 12
    network: Annotated[
        str, Told("Name of the network, in every certificate and checkpoint; it stays for ever")
    ] = "coldgrid"
    sync_host: Annotated[str, Told("Address that the tower listens on for nodes")] = "127.0.0.1"
    sync_port: Annotated[int, Told("Port that the tower listens on for nodes, TLS; 0: none")] = 8443
    sync_url: Annotated[
        str, Told("Address that nodes reach the tower at, https://host:port; empty: the one it listens on")
    ] = ""
    authority_key: Annotated[
        str, Told("File of the key that certifies nodes; made when missing, kept as safe as the signing key")
    ] = ".coldgrid/authority.pem"
    sync_bytes_per_s: Annotated[
        int, Told("Most bytes a second that a node sends to its tower; 0: no limit")
    ] = 0
    parcel_every_s: Annotated[
        float, Told("Seconds between a node's parcels of readings while nothing is wrong")
    ] = 300.0
    history: Annotated[
        str,
        Told("Where sealed readings go as Parquet: a folder, s3://bucket/prefix?endpoint=…; empty: nowhere"),
    ] = ""
    history_key: Annotated[
        str, Told("Access key of that bucket, ID:SECRET; empty: the machine's own", secret=True)
    ] = ""
    worker_host: Annotated[
        str, Told("Address that the tower's other workers reach this one at, when several share a PostgreSQL")
    ] = "127.0.0.1"
    worker_port: Annotated[
        int,
        Told("Port that other workers reach this one at while it decides; 0: any, of several here the next"),
    ] = 0
    lease_s: Annotated[
        float, Told("Seconds of silence after which another worker takes over from the one that decides")
    ] = 2.0
    credentials: Annotated[
        str, Told("Folder of the gateways' files of credentials; empty: credentials beside the signing key")
    ] = ""
    stream: Annotated[
        str,
        Told(
            "NATS JetStream that takes every entry of the log, nats://[user:password@]host:port; empty: none",
            secret=True,
            address=True,
        ),
    ] = ""
    stream_prefix: Annotated[
        str, Told("First part of the stream's subjects, and in upper case its name; one for each log")
    ] = "coldgrid"
    outbox_table: Annotated[
        bool, Told("Fill the table event_outbox for Debezium with every entry; PostgreSQL only")
    ] = False
    keep_readings_days: Annotated[
        int,
        Told("Days that sealed readings are kept; manifests and sums stay; 0: for ever, else 60 or more"),
    ] = 0
    keep_messages_days: Annotated[
        int, Told("Days that delivered messages are kept in the outbox; 0: for ever, else 7 or more")
    ] = 0
    keep_answers_days: Annotated[
        int, Told("Days within which a repeated request is answered as before; 0: for ever, else 7 or more")
    ] = 0
    secure_cookies: Annotated[bool, Told("Send cookies over TLS only; set it behind a TLS proxy")] = False


def setting_docs() -> list[tuple[str, str, Any, Told]]:
    """Return (environment variable, type, default, documentation) of every setting."""
    hints = get_type_hints(Settings, include_extras=True)
    found = []
    for field in msgspec.structs.fields(Settings):
        told = next(extra for extra in get_args(hints[field.name]) if isinstance(extra, Told))
        plain = get_args(hints[field.name])[0]
        found.append((PREFIX + field.name.upper(), _type_name(plain), field.default, told))
    return found


def load_settings(environment: Mapping[str, str], **overrides: Any) -> Settings:
    """Build the settings from environment variables; `overrides` (from the command line) win.

    Raises:
        Invalid: a value does not fit, or a COLDGRID_ variable is unknown (a typing error hides nothing).
    """
    known = {name: (type_, default) for name, type_, default, _ in setting_docs()}
    values: dict[str, Any] = {}
    problems = []
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name.startswith(
            (f"{PREFIX}TEST_", f"{PREFIX}REQUIRE_", f"{PREFIX}NODE")
        ):
            continue
        if name not in known:
            problems.append(Problem(field=name, message="is not a setting", fix="see docs/settings.md"))
            continue
        try:
            values[name.removeprefix(PREFIX).lower()] = _parse(text, known[name][0])
        except ValueError:
            problems.append(
                Problem(
                    field=name, message=f"{text!r} is not {known[name][0]}", fix=f"default: {known[name][1]}"
                )
            )
    if problems:
        raise Invalid(problems)
    values |= {name: value for name, value in overrides.items() if value is not None}
    return Settings(**values)


def _type_name(type_: Any) -> str:
    if get_origin(type_) in (Union, types.UnionType):
        type_ = get_args(type_)[0]
    return str(type_.__name__)


def _parse(text: str, type_: str) -> Any:
    if type_ == "bool":
        if text.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
            raise ValueError(text)
        return text.lower() in ("1", "true", "yes", "on")
    return {"int": int, "float": float, "str": str}[type_](text)
