"""Joining and serving: from an empty folder to a node that works, with one command for each."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.address import check_address
from coldgrid.adapters.channels import channels_of
from coldgrid.adapters.mqtt_links import subscribe_ahead
from coldgrid.adapters.mqtt_packets import MalformedPacket
from coldgrid.kernel.database import open_database
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.sqlite import SqliteDatabase
from coldgrid.node.application import build_node, create_node, keys_of, lines_of, notary_of
from coldgrid.node.background import broker_settings
from coldgrid.node.drills import drills_of
from coldgrid.node.folder import keep_settings, settings_in
from coldgrid.node.host import LiveHost
from coldgrid.node.moving import has_given, is_home, moving_of
from coldgrid.node.parts import Parts, system_now
from coldgrid.node.serve import serve
from coldgrid.node.words import say
from coldgrid.sync import tls_client
from coldgrid.sync.abiding import is_abiding
from coldgrid.sync.authority import BadCertificate
from coldgrid.sync.desk import HandDesk
from coldgrid.sync.identity_files import NotEnrolled, begin_run, open_identity
from coldgrid.sync.tls_client import TowerLink

# One site needs fewer connections to its broker than a network.
MQTT_LINKS = "4"


class Invited(msgspec.Struct, frozen=True):
    """Where to join, with which code, and whether to take the place of the site's present node."""

    tower: str
    code: str
    replace: bool = False


class AlreadyJoined(Exception):
    """The folder has a node already."""


class NodeServes(AlreadyJoined):
    """The folder's node is serving."""


def join_tower(
    environment: Mapping[str, str],
    folder: Path,
    invited: Invited,
    *,
    host: str | None = None,
    port: int | None = None,
) -> str:
    """Enrol the node in a folder and take its site over; return the site. Asked again, it goes on.

    Raises:
        AlreadyJoined: the node works already.
        NodeServes: it is serving; it would go on with a certificate that the new code ends.
        BadCode, WrongTower, TowerRefused, TowerUnreachable, BadHandover: it could not be done (now).
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keep_settings(folder, host=host, port=None if port is None else str(port))
    before = _enrolment_in(folder)
    database = open_database(settings_in(folder, environment).database)
    if isinstance(database, SqliteDatabase) and database.in_use():
        raise NodeServes(f"The node in {folder} is serving. Stop it, run this again, then start it")
    keys = lines_of(notary_of(settings_in(folder, environment), ""))
    # With the code that it joined with before this asks nobody; with another one a node comes back.
    joined = tls_client.join(invited.tower, invited.code, folder, system_now(), secrets.token_bytes, keys)
    say(f"This is {joined.node_id} of {joined.site_id} now, in the network {joined.network}")
    client_id = f"coldgrid-{joined.site_id.lower()}"
    keep_settings(folder, network=joined.network, mqtt_client_id=client_id, mqtt_connections=MQTT_LINKS)
    identity = open_identity(folder)
    parts = build_node(settings_in(folder, environment), LiveHost(CedarAuthorizer()))
    try:
        if is_home(parts.decider, identity.tower.site_id):
            if _enrolment_in(folder) != before:
                return identity.tower.site_id
            raise AlreadyJoined(f"{folder} is the node of {identity.tower.site_id} and hosts it already")
        _hear_from_now_on(parts, identity.tower.site_id)
        _take_over(parts, folder, replace=invited.replace)
    finally:
        parts.decider.close()
    return identity.tower.site_id


def _hear_from_now_on(parts: Parts, site_id: str) -> None:
    """Let the broker keep the site's readings for this node before the old host stops taking them."""
    broker = broker_settings(parts.settings, site_id)
    if broker is None:
        return
    try:
        subscribe_ahead(broker)
    except (OSError, MalformedPacket) as error:
        say(f"The broker {broker.host}:{broker.port} keeps nothing for this node yet: {error}")
        say("Readings published before the node's first start are lost: let gateways wait, or start it soon")


def _enrolment_in(folder: Path) -> str:
    """The code that the node in a folder joined with, by its hash; "" without one."""
    try:
        return open_identity(folder).tower.joined_with
    except (NotEnrolled, BadCertificate):
        return ""


def _take_over(parts: Parts, folder: Path, *, replace: bool = False) -> None:
    desk = HandDesk(parts.decider, system_now)
    with TowerLink(folder, begin_run(folder, secrets.token_bytes)) as link:
        moving_of(link, desk, keys_of(link.identity), say).take_over(replace=replace)


def serve_node(
    environment: Mapping[str, str],
    folder: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    drills: bool = False,
) -> None:
    """Serve the node in a folder; a move that was interrupted is finished first.

    `drills`: let the operator make it fail (`node.drills`).

    Raises:
        NotEnrolled: nobody joined here yet.
        AddressTaken: something serves at its address already.
    """
    identity = open_identity(folder)
    settings = settings_in(folder, environment, host=host, port=port)
    configure_logs(settings.log_level, json=settings.log_json)
    check_address(settings.host, settings.port)
    parts = build_node(settings, LiveHost(CedarAuthorizer()))
    site_id = identity.tower.site_id
    if not is_home(parts.decider, site_id):
        with parts.reader() as db:
            given, abiding = has_given(db, site_id), is_abiding(db, site_id)
        if given:
            say(f"{site_id} was called back: this node only hands over what it still has")
        elif abiding:
            say(f"{site_id} takes the tower's copy of its log first")
        else:
            _take_over(parts, folder)
    say(f"Coldgrid node of {site_id} on http://{settings.host}:{settings.port}, tower {identity.tower.url}")
    channels = channels_of(settings, system_now, f"{settings.public_url}/api/v1/replies")
    serve(create_node(parts, folder, channels, drills_of(parts) if drills else None), settings)
