"""Maps of SNMP agents: what they are asked for, checked line by line. Pure and total.

    device: UPS1
    ups: {output_lines: 1, battery_wh: 1800}             # UPS-MIB, RFC 1628
    interfaces:                                          # IF-MIB, RFC 2863
      - {name: wan_primary, index: 2, expect: eth0, role: wan_primary}
    oids:                                                # whatever else the agent has
      - {name: room, oid: 1.3.6.1.4.1.318.1.1.25.1.2.1.5.1.1, scale: 0.1, unit: C}

Two agents are two gateways. What the answers mean is said in `snmp_answers`.
"""

from __future__ import annotations

import re

import msgspec

from coldgrid.adapters.device_map import LIST_MAX, Fields, Scaled, Sheet
from coldgrid.kernel.rejections import Problem
from coldgrid.telemetry.rules import Role

OID = re.compile(r"[0-2](\.(0|[1-9]\d{0,9})){1,127}", re.ASCII)
SUBID_MAX = 2**32 - 1
LINES_MAX = 3
DEVICE = "AGENT"
VERSIONS = ("2c", "3")
# The points of a UPS, and the roles that are suggested for them.
UPS_POINTS: dict[str, str] = {
    "mains": Role.UPS_MAINS.value,
    "load_w": Role.UPS_LOAD.value,
    "energy_wh": Role.UPS_ENERGY.value,
    "battery_good": "",
    "battery_c": "",
    "alarm": "",
    "load_pct": "",
    "charge_pct": "",
    "minutes_left": "",
    "on_battery_s": "",
    "input_1_v": "",
    "input_2_v": "",
    "input_3_v": "",
}


class Ups(msgspec.Struct, frozen=True):
    """A UPS by its standard MIB. `battery_wh`: what its battery holds when full; 0: not known."""

    input_lines: int = 1
    output_lines: int = 1
    battery_wh: float = 0.0


class Interface(msgspec.Struct, frozen=True):
    """An interface by its index. `expect`: what it calls itself; empty: anything."""

    name: str
    index: int
    expect: str = ""
    role: str = ""


class Object(Scaled, frozen=True, kw_only=True):
    """Any object that is a number. `text`: the agent writes the number as text."""

    name: str
    oid: str
    text: bool = False


class AgentMap(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an agent is asked for, and how it is asked."""

    device: str = DEVICE
    version: str = "2c"
    context: str = ""
    timeout_s: float = 1.0
    retries: int = 1
    ups: Ups | None = None
    interfaces: tuple[Interface, ...] = ()
    objects: tuple[Object, ...] = ()


# --- The map ----------------------------------------------------------------------


def problems_of_map(text: str) -> list[Problem]:
    """Return everything that is wrong with a map, each with its line; total on any text."""
    return read_map(text)[1]


def read_map(text: str) -> tuple[AgentMap, list[Problem]]:
    """Return a map and what is wrong with it; with problems the map is not to be used."""
    sheet = Sheet(text)
    top = sheet.top
    version = top.text("version", "2c")
    if version not in VERSIONS:
        top.wrong("version", f"{version[:60]!r} is no version that is spoken here", "write 2c or 3")
    known = AgentMap(
        device=top.name("device", DEVICE),
        version=version,
        context=top.text("context", ""),
        timeout_s=top.number("timeout_s", 1.0, 0.2, 2.0),
        retries=top.whole("retries", 0, 1, 1),
        ups=_ups(top.group("ups")) if top.has("ups") else None,
        interfaces=tuple(_interface(one) for one in top.groups("interfaces")),
        objects=tuple(_object(one) for one in top.groups("oids")),
    )
    top.done()
    if known.context and known.version != "3":
        top.wrong("context", "only version 3 knows contexts", "leave it out, or set version: 3")
    names = [one.name for one in known.interfaces] + [one.name for one in known.objects]
    taken = set(UPS_POINTS) if known.ups is not None else set()
    for index, name in enumerate(names):
        if name and name in taken:
            at = index - len(known.interfaces)
            path = f"interfaces[{index}].name" if at < 0 else f"oids[{at}].name"
            top.wrong(path, f"{name} is there twice", "give each point its own name")
        taken.add(name)
    if not sheet.problems and not taken:
        top.wrong("", "the map reads nothing", "add ups:, interfaces: or oids:")
    if len(names) > LIST_MAX:
        top.wrong("oids", f"has {len(names)} points", f"at most {LIST_MAX}")
    return known, sheet.problems


def roles_of_map(text: str) -> dict[str, str]:
    """Return the roles that a map says its points have; none of a wrong map."""
    known, problems = read_map(text)
    if problems:
        return {}
    roles = dict(UPS_POINTS) if known.ups is not None else {}
    roles |= {one.name: one.role for one in known.interfaces} | {one.name: one.role for one in known.objects}
    return {f"{known.device}/{name}": role for name, role in roles.items() if role}


def _ups(fields: Fields) -> Ups:
    ups = Ups(
        fields.whole("input_lines", 0, LINES_MAX, 1),
        fields.whole("output_lines", 1, LINES_MAX, 1),
        fields.number("battery_wh", 0.0, 0.0, 200_000.0),
    )
    fields.done()
    return ups


def _interface(fields: Fields) -> Interface:
    interface = Interface(
        fields.name("name"),
        fields.whole("index", 1, 2**31 - 1),
        fields.text("expect", ""),
        fields.role(),
    )
    fields.done()
    return interface


def _object(fields: Fields) -> Object:
    oid = fields.text("oid", chars_max=400).removeprefix(".")
    if oid and not is_oid(oid):
        fields.wrong("oid", f"{oid[:60]!r} is no object identifier", "write it as 1.3.6.1.2.1.33.1.2.4.0")
    scale = fields.number("scale", 1.0)
    if scale == 0:
        fields.wrong("scale", "makes every value the same", "leave it out, or write 0.1, 0.01 …")
    low, high = fields.maybe_number("low"), fields.maybe_number("high")
    if low is not None and high is not None and low >= high:
        fields.wrong("low", "must be less than high")
    found = Object(
        name=fields.name("name"),
        oid=oid,
        text=fields.choice("type", ("number", "text"), "number") == "text",
        scale=scale,
        offset=fields.number("offset", 0.0),
        unit=fields.unit(),
        unavailable=frozenset(fields.wholes("unavailable")),
        states=fields.table("states"),
        low=low,
        high=high,
        role=fields.role(),
    )
    fields.done()
    return found


def is_oid(text: str) -> bool:
    """Tell whether a text is an object identifier in dotted form."""
    if OID.fullmatch(text) is None:
        return False
    first, second, *rest = (int(part) for part in text.split("."))
    return (first == 2 or second < 40) and all(part <= SUBID_MAX for part in (second, *rest))
