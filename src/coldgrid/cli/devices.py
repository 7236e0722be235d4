"""`coldgrid sensors`: what gateways hear and nobody registered, how gateways are, and registering a point.

The commands ask the host that serves at this machine, by its folder of errands: no port and no password.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from coldgrid.cli.output import Output, words
from coldgrid.kernel.settings import load_settings
from coldgrid.node import errands
from coldgrid.node.device_errands import DISCOVER, GATEWAYS, REGISTER
from coldgrid.node.device_views import GatewayView, PointView
from coldgrid.node.folder import settings_in
from coldgrid.telemetry.registering import Registered


def discover(environment: Mapping[str, str], folder: Path | None, gateway: str, out: Output) -> None:
    """List the points that are heard and are no sensor."""
    text = _asked(environment, folder, DISCOVER, gateway=gateway)
    if out.json:
        sys.stdout.write(text + "\n")
        return
    found = msgspec.json.decode(text, type=list[PointView])
    rows = [
        [
            view.point.source,
            f"{view.point.value:g} {view.point.unit}".strip(),
            "?" if view.suggestion.role is None else view.suggestion.role.value,
            view.point.readings,
            view.point.last_at.isoformat(timespec="seconds"),
        ]
        for view in found
    ]
    out.table(["Point", "Newest", "Probably", "Heard", "Last"], rows)
    if not rows:
        out.say("[dim]Nothing is heard that is no sensor yet.[/]")
    else:
        out.say("[dim]Make one a sensor: coldgrid sensors register POINT --zone ZONE[/]")


def gateways(environment: Mapping[str, str], folder: Path | None, out: Output) -> None:
    """List the gateways and how they are."""
    text = _asked(environment, folder, GATEWAYS)
    if out.json:
        sys.stdout.write(text + "\n")
        return
    words = {True: "works", False: "down", None: "unknown"}

    def word(one: GatewayView) -> str:
        return "waits for its first reading" if one.quiet else words[one.ok]

    rows: list[list[Any]] = [
        [one.gateway.gateway_id, one.gateway.driver, word(one), one.bound, one.waiting, one.detail]
        for one in msgspec.json.decode(text, type=list[GatewayView])
    ]
    out.table(["Gateway", "Driver", "State", "Sensors", "Not registered", "Detail"], rows)


def register(
    environment: Mapping[str, str], folder: Path | None, source: str, out: Output, **asked: str
) -> None:
    """Make a sensor of a point, and say what is left to do."""
    text = _asked(environment, folder, REGISTER, source=source, **asked)
    if out.json:
        sys.stdout.write(text + "\n")
        return
    done = msgspec.json.decode(text, type=Registered)
    if done.approved:
        out.say(f"[ok]●[/] {source} is {done.sensor_id} now")
    else:
        out.say(f"[warn]▲[/] {done.sensor_id} is drafted; approve it at /network/changes/{done.change_id}")


def _asked(environment: Mapping[str, str], folder: Path | None, errand: str, **asked: str) -> str:
    settings = load_settings(environment) if folder is None else settings_in(folder, environment)
    try:
        answer = errands.ask(errands.errands_folder(settings), errand, asked)
    except errands.NobodyThere as nobody:
        _end(str(nobody))
    if not answer.ok:
        _end(answer.text)
    return answer.text


def _end(why: str) -> NoReturn:
    words().print(f"[crit]{why}[/]", soft_wrap=True)
    sys.exit(1)
