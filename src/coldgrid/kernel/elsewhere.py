"""Elsewhere: which commands are kept for the host that decides an origin, and which are refused at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldgrid.kernel import log
from coldgrid.kernel.events import tag_of
from coldgrid.kernel.origins import OriginClosed
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.rejections import OriginElsewhere, Unavailable
from coldgrid.kernel.requests import MACHINE, DecidedElsewhere, NotKeptForLater

if TYPE_CHECKING:
    from coldgrid.kernel.authorize import Principal
    from coldgrid.kernel.decider import Decider
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.registry import Handler


class SiteMoving(Unavailable):
    """The site is on its way to another host: its log is closed here, and the next epoch has not begun."""

    todo = "Keep it and send it again; it is taken as soon as the site works at its new host."


def check_kept(
    db: Reader, decider: Decider, handler: Handler, origin: str, principal: Principal | None
) -> None:
    """Reject a command that is not kept for another host. `principal` None: it follows from a fact.

    Raises:
        SiteMoving: readings and the like, while nobody can take them.
        DecidedElsewhere: this host asks for nothing (requests.Q4).
        NotKeptForLater: readings, reports and the end of an epoch are for the host itself.
        OriginElsewhere: a loop of this process gave it, and gives it again.
    """
    if handler.direct and is_closed(db, origin, decider.heads.get(origin, (0, 0))):
        raise SiteMoving(site_id=origin)
    if not decider.hosting.here(NETWORK_ORIGIN):
        raise DecidedElsewhere(origin=origin)
    if handler.direct:
        raise NotKeptForLater(site_id=origin)
    if principal is not None and MACHINE in principal.roles:
        raise OriginElsewhere(origin=origin)


def is_closed(db: Reader, origin: str, head: tuple[int, int]) -> bool:
    """Tell whether the last entry of an origin's log closes it; `head`: its epoch and next seq."""
    last = log.find(db, f"{origin}/{head[0]}/{head[1] - 1}") if head[1] else None
    return last is not None and last.type == tag_of(OriginClosed)
