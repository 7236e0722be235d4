"""What an operator at this machine asks of a host about devices: what is heard, how gateways are, register.

Answers are JSON, which the command line shows. Who may write the host's folder of errands is its operator and
drafts under that name; what is drafted so, somebody signed in approves.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.node.device_views import PointView, points_now, site_devices
from coldgrid.node.driving import Driving
from coldgrid.telemetry.gateways import get_gateway, list_gateways
from coldgrid.telemetry.registering import RegisterPoint, suggest
from coldgrid.telemetry.rules import Role

if TYPE_CHECKING:
    from coldgrid.node.errands import Asked
    from coldgrid.node.parts import Parts

DISCOVER, GATEWAYS, REGISTER = "devices-discover", "devices-gateways", "devices-register"
OPERATOR = Principal("operator", frozenset({"admin"}))
DONE_WITHIN_S = 30.0


class DeviceErrands:
    """Does errands about devices while the host serves."""

    def __init__(self, parts: Parts, driving: Driving) -> None:
        self._parts = parts
        self._driving = driving

    def doing(self) -> dict[str, Callable[[Asked], str]]:
        """Return what does which errand."""
        return {DISCOVER: self._discover, GATEWAYS: self._gateways, REGISTER: self._register}

    def _discover(self, asked: Asked) -> str:
        gateway_id = asked.get("gateway", "")
        with self._parts.reader() as db:
            if gateway_id:
                sites = [get_gateway(db, gateway_id).site_id]
            else:
                sites = sorted({gateway.site_id for gateway in list_gateways(db)})
            found = [point for site_id in sites for point in points_now(db, self._driving, site_id)]
        return _json(
            [PointView(one, suggest(one)) for one in found if gateway_id in {"", one.gateway_id}],
        )

    def _gateways(self, asked: Asked) -> str:
        now = self._parts.host.now()
        with self._parts.reader() as db:
            sites = sorted({gateway.site_id for gateway in list_gateways(db)})
            found = [site_devices(db, self._driving, site_id, now).gateways for site_id in sites]
        return _json([one for of_site in found for one in of_site])

    def _register(self, asked: Asked) -> str:
        command = msgspec.convert(
            {
                "change_id": f"operator-{secrets.token_hex(8)}",
                "source": asked["source"],
                "zone_id": asked["zone"],
                "role": _role(asked.get("role", "")),
                "name": asked.get("name", ""),
                "interval_s": float(asked.get("every_s") or 0),
            },
            RegisterPoint,
        )
        answer = self._parts.service.submit(command, OPERATOR).result(DONE_WITHIN_S)
        return _json(answer.result)


def _role(told: str) -> Role | None:
    """Return a role by its name; empty: none was told.

    Raises:
        Invalid: there is no such role.
    """
    try:
        return Role(told) if told else None
    except ValueError:
        fix = f"one of {', '.join(role.value for role in Role)}"
        raise Invalid([Problem(field="role", message=f"there is no {told[:40]!r}", fix=fix)]) from None


def _json(found: Any) -> str:
    return msgspec.json.encode(found).decode()
