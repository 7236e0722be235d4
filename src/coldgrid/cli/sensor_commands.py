"""The commands under `coldgrid sensors`."""

# ruff: noqa: PLC0415 (imports inside commands, see app.py)

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from coldgrid.cli.output import Output

sensors_app = App(name="sensors", help="What gateways hear; make sensors of it. The host must be serving.")
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON on stdout and nothing else.")]
NodeFolder = Annotated[
    Path | None, Parameter(name="--data", help="The folder of a node; without it, the tower.")
]


@sensors_app.command(name="discover")
def discover(*, gateway: str = "", data: NodeFolder = None, json: Json = False) -> None:
    """List the points that gateways hear and that are no sensor yet, with what each probably is.

    Args:
        gateway: Of this gateway only.
        data: The folder of a node; without it, the tower.
        json: Print JSON.
    """
    from coldgrid.cli.devices import discover as run

    run(os.environ, data, gateway, Output(json=json))


@sensors_app.command(name="gateways")
def gateways(*, data: NodeFolder = None, json: Json = False) -> None:
    """List the gateways, whether each works, and what to do where it does not.

    Args:
        data: The folder of a node; without it, the tower.
        json: Print JSON.
    """
    from coldgrid.cli.devices import gateways as run

    run(os.environ, data, Output(json=json))


@sensors_app.command(name="register")
def register(
    point: str,
    *,
    zone: str,
    role: str = "",
    name: str = "",
    every_s: float = 0.0,
    json: Json = False,
) -> None:
    """Make a sensor of a point, at the tower: drafted at once, and approved by somebody who is signed in.

    Args:
        point: GATEWAY/POINT, as `discover` lists it.
        zone: The zone that its probe is in.
        role: What it stands for, such as zone_air, return_air, door; without it, what it probably is.
        name: What people call it.
        every_s: How often it reports, in seconds; without it, as it was heard.
        json: Print JSON.
    """
    from coldgrid.cli.devices import register as run

    asked = {"zone": zone, "role": role, "name": name, "every_s": f"{every_s:g}"}
    run(os.environ, None, point, Output(json=json), **asked)
