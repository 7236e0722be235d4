"""A web application over a kernel of a test: who comes in is whom the request names, in the role it has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.database import Database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.webkit.app import Services
from coldgrid.webkit.visitors import Connection, Visitor


class Doorman:
    """Lets everybody in as whom the header `x-as` or the cookie `as` names, the first of `roles` without one.

    `sites`: of whom is not responsible for all; `tokens`: who comes by a token.
    """

    def __init__(
        self,
        roles: Mapping[str, str],
        sites: Mapping[str, frozenset[str]] | None = None,
        tokens: Collection[str] = (),
        csrf: str = "token",
    ) -> None:
        self._roles, self._sites, self._tokens, self._csrf = roles, sites or {}, tokens, csrf
        self.keys = 0

    def identify(self, connection: Connection) -> Visitor:
        who = connection.headers.get("x-as") or connection.cookies.get("as") or next(iter(self._roles))
        principal = Principal(who, frozenset({self._roles[who]}), self._sites.get(who))
        return Visitor(principal=principal, name=who.title(), csrf=self._csrf, by_token=who in self._tokens)

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        """Nothing is kept."""

    def fresh_key(self) -> str:
        self.keys += 1
        return f"form-{self.keys}"


@contextmanager
def deciding(decider: Decider) -> Iterator[DeciderService]:
    """Run a decider's service, without timers."""
    service = DeciderService(decider, lambda due: 3_600.0, lambda: False)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def services_over(
    database: Database,
    service: DeciderService,
    door: Any,
    now: Callable[[], datetime],
    state: dict[str, Any] | None = None,
) -> Services:
    """Return what pages are served with: one clock, and the policies of the product."""

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    return Services(
        decider=service,
        reader=reader,
        authorizer=CedarAuthorizer(),
        door=door,
        now=now,
        system_now=now,
        state=state or {},
    )
