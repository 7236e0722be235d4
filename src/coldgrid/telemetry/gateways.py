"""Gateways: what a site's host hears devices through, or polls. Master data of the network.

Invariants
    G1  A gateway is named after its site; its driver is one of this release, its address of that driver's
        form.
    G2  Its map is checked by its driver when it is written: what is approved can be carried out.
    G3  Secrets are never here: `credentials` names a file in the host's own folder.

A driver tells its form (`DriverForm`) when its module is loaded; this room knows no driver, opens no socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.rejections import NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network import names
from coldgrid.network.changes import known
from coldgrid.network.items import Batch, Example, FormHelp, register_item

# --- Vocabulary -----------------------------------------------------------------

MAP_CHARS_MAX = 200_000
ADDRESS_CHARS_MAX = 300
POLL_MIN_S, POLL_MAX_S = 1.0, 86_400.0

Text = Annotated[str, msgspec.Meta(max_length=200)]


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway.

    `address`: where it is, as its driver writes it; empty for one that sends to us by HTTP. `credentials`:
    the name of a file in the host's folder of credentials. `every_s`: how often it is polled; 0 where it
    sends of itself. `map`: the driver's own YAML: which register, OID or topic is which point. An inactive
    one is neither polled nor listened to.
    """

    gateway_id: str
    site_id: str
    driver: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    name: Text = ""
    address: Annotated[str, msgspec.Meta(max_length=ADDRESS_CHARS_MAX)] = ""
    credentials: Annotated[str, msgspec.Meta(max_length=80)] = ""
    every_s: Annotated[float, msgspec.Meta(ge=0, le=POLL_MAX_S)] = 0.0
    map: Annotated[str, msgspec.Meta(max_length=MAP_CHARS_MAX)] = ""
    active: bool = True


# --- Event ------------------------------------------------------------------------


class GatewayDefined(Event, frozen=True, tag="telemetry.gateway_defined"):
    """A gateway was set up, or its settings changed."""

    gateway: Gateway

    @property
    def site_id(self) -> str:
        """The site it is at."""
        return self.gateway.site_id


# --- Rejection --------------------------------------------------------------------


class GatewayNotFound(NotFound):
    """There is no such gateway."""

    todo = "Set it up as master data, or check its name."


# --- Table and projection -----------------------------------------------------------

telemetry_gateway = sa.Table(
    "telemetry_gateway",
    metadata,
    sa.Column("gateway_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("definition", Json(Gateway), nullable=False),
    info={"origin": "network"},
)
_PUT = Statement(upsert(telemetry_gateway, keys=["gateway_id"], set_=["site_id", "definition"]))


@projects(GatewayDefined)
def _put_row(tx: Tx, event: GatewayDefined) -> None:
    gateway = event.gateway
    tx.write(_PUT, gateway_id=gateway.gateway_id, site_id=gateway.site_id, definition=gateway)


# --- Drivers' forms ---------------------------------------------------------------


def _no_roles(text: str) -> Mapping[str, str]:
    return {}


class DriverForm(msgspec.Struct, frozen=True):
    """What a driver accepts: the schemes of its address (none: it has no address), whether it polls, its map.

    `pushed`: it can do without an address as well, because its gateway sends to us by HTTP.
    `problems_of_map` is pure and total: it takes any text, names every wrong line with the fix, never raises.
    Its problems' fields are paths inside the map, such as `points[3].register`; they are shown below `map`.
    `roles_of_map`: the roles that a sound map says its points have; none of a wrong one. `example`: fields of
    a gateway as somebody would type them, a sound one.
    """

    driver: str
    schemes: tuple[str, ...]
    polls: bool
    problems_of_map: Callable[[str], Sequence[Problem]]
    about: str = ""
    pushed: bool = False
    example: Mapping[str, str] = {}
    roles_of_map: Callable[[str], Mapping[str, str]] = _no_roles


_forms: dict[str, DriverForm] = {}


def register_form(form: DriverForm) -> None:
    """Tell what a driver accepts, once."""
    assert form.driver not in _forms, f"driver {form.driver} is already registered"
    _forms[form.driver] = form


def driver_forms() -> Mapping[str, DriverForm]:
    """Return every driver's form by its name."""
    return _forms


# --- Decisions --------------------------------------------------------------------

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)


def gateway_problems(gateway: Gateway) -> list[Problem]:
    """Return what is wrong with a gateway, whatever else exists (G1 to G3)."""
    problems = names.GATEWAY.check("gateway_id", gateway.gateway_id)
    if not problems:
        problems += names.below("gateway_id", gateway.gateway_id, "site", gateway.site_id)
    if gateway.credentials and _FILE_NAME.fullmatch(gateway.credentials) is None:
        message = "is no name of a file"
        fix = "name a file in the folder COLDGRID_CREDENTIALS; a secret itself never stands here"
        problems.append(Problem(field="credentials", message=message, fix=fix))
    form = _forms.get(gateway.driver)
    if form is None:
        message = f"there is no driver {gateway.driver!r}"
        return [
            *problems,
            Problem(field="driver", message=message, fix=f"one of {', '.join(sorted(_forms))}"),
        ]
    problems += _address_problems(gateway, form)
    problems += _pace_problems(gateway, form)
    for problem in form.problems_of_map(gateway.map):
        field = f"map.{problem.field}" if problem.field else "map"
        problems.append(msgspec.structs.replace(problem, field=field[:200]))
    return problems


def _address_problems(gateway: Gateway, form: DriverForm) -> list[Problem]:
    if form.pushed and not gateway.address:
        return []
    if not form.schemes:
        if not gateway.address:
            return []
        message = f"a {form.driver} gateway sends to us and has no address"
        return [Problem(field="address", message=message, fix="leave it empty")]
    example = f"write it as {form.schemes[0]}://host:port"
    parts = split_address(gateway.address)
    if parts is None or parts.scheme not in form.schemes or not parts.hostname:
        message = f"{gateway.address[:80]!r} is no address of a {form.driver} gateway"
        return [Problem(field="address", message=message, fix=example)]
    if "@" in parts.netloc:
        message = "carries a user or a password, and the log keeps what it is told for ever"
        return [Problem(field="address", message=message, fix="put them into the file of credentials")]
    return []


def _pace_problems(gateway: Gateway, form: DriverForm) -> list[Problem]:
    if form.polls and gateway.every_s < POLL_MIN_S:
        message = f"a {form.driver} gateway is polled"
        fix = f"say how often, from {POLL_MIN_S:g} to {POLL_MAX_S:g} seconds"
        return [Problem(field="every_s", message=message, fix=fix)]
    if not form.polls and gateway.every_s:
        message = f"a {form.driver} gateway sends of itself"
        return [Problem(field="every_s", message=message, fix="leave it at 0")]
    return []


def split_address(address: str) -> SplitResult | None:
    """Return the parts of an address; None: it is none."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts


# --- Items ------------------------------------------------------------------------


def _check_gateway(db: Reader, gateway: Gateway, batch: Batch) -> list[Problem]:
    problems = gateway_problems(gateway)
    if not known(db, batch, "site", gateway.site_id):
        problems.append(Problem(field="site_id", message=f"there is no site {gateway.site_id!r}"))
    return problems


def _define_gateway(tx: Tx, gateway: Gateway) -> None:
    tx.record(f"gateway/{gateway.gateway_id}", GatewayDefined(gateway=gateway))


def _drivers() -> dict[str, list[tuple[str, str]]]:
    return {"driver": [(name, f"{name} · {form.about}") for name, form in sorted(_forms.items())]}


def _examples() -> list[Example]:
    return [Example(name, form.about, form.example) for name, form in sorted(_forms.items()) if form.example]


register_item(
    "gateway",
    Gateway,
    _check_gateway,
    _define_gateway,
    form_help=FormHelp(
        choices=_drivers,
        examples=_examples,
        hints={
            "gateway_id": "The site, GW and a number: ATL1-GW1.",
            "address": "As its driver writes it; the examples below show each.",
            "credentials": "The name of a file in the host's folder of credentials; never a secret itself.",
            "every_s": "How often it is polled; 0 where it sends of itself.",
            "map": "The driver's own YAML: what is which point. Lines are kept as they are written.",
        },
    ),
)

# --- Queries ------------------------------------------------------------------------

_DEFINITIONS = sa.select(telemetry_gateway.c.definition)


def _gateway(definition: Gateway) -> Gateway:
    return definition


_GET = Statement(
    _DEFINITIONS.where(telemetry_gateway.c.gateway_id == sa.bindparam("gateway_id")), into=_gateway
)
_OF_SITE = Statement(
    _DEFINITIONS.where(telemetry_gateway.c.site_id == sa.bindparam("site_id")).order_by(
        telemetry_gateway.c.gateway_id
    ),
    into=_gateway,
)
_ALL = Statement(_DEFINITIONS.order_by(telemetry_gateway.c.gateway_id), into=_gateway)


def get_gateway(db: Reader, gateway_id: str) -> Gateway:
    """Return one gateway.

    Raises:
        GatewayNotFound: there is none of this id.
    """
    gateway = db.one(_GET, gateway_id=gateway_id)
    if gateway is None:
        raise GatewayNotFound(gateway_id=gateway_id)
    return gateway


def gateways_of_site(db: Reader, site_id: str) -> list[Gateway]:
    """Return a site's gateways, by id, the inactive ones too."""
    return db.all(_OF_SITE, site_id=site_id)


def list_gateways(db: Reader) -> list[Gateway]:
    """Return every gateway of the network, by id."""
    return db.all(_ALL)
