"""Asks the tower whether somebody who acts at all sites may sign in at this node."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from coldgrid.access.vouching import Asked, TowerSilent, Vouched
from coldgrid.sync import messages as m
from coldgrid.sync import wire
from coldgrid.sync.tls_client import TowerRefused, TowerUnreachable

KIND = "access.vouch"
WITHIN_S = 10.0
logger = structlog.get_logger("coldgrid.node")


class Voucher:
    """Asks over the node's link. `post` sends a frame and returns the answer, within so many seconds."""

    def __init__(self, post: Callable[[bytes, float], bytes]) -> None:
        self._post = post

    def __call__(self, asked: Asked) -> Vouched:
        """Ask.

        Raises:
            TowerSilent: there is no answer.
        """
        try:
            frame = self._post(wire.encode(m.Ask(KIND, msgspec.msgpack.encode(asked))), WITHIN_S)
            answer = wire.expect(wire.decode(frame), m.Told)
        except (TowerRefused, TowerUnreachable, wire.Refusal) as error:
            # Whoever signs in can do nothing with a line's error; who runs the node finds it in its log.
            logger.warning("tower_did_not_vouch", why=str(error))
            raise TowerSilent from error
        return msgspec.msgpack.decode(answer.body, type=Vouched)
