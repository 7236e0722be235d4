"""The door: recognises who sent a request, by session cookie or API token, and remembers it for a moment.

Invariants
    D1  A request brings a bearer token or a session cookie; a wrong token is a stranger, never a fallback.
    D2  What is remembered holds for `KNOWN_FOR` at most, and is forgotten at once when this process commits
        anything about people or tokens.
    D3  Who must change a temporary password has no roles until then.
    D4  A stranger's forms carry a token too: it belongs to a visit cookie that signing in replaces.
    D5  A session is used by what its person asks for, never by what an open page asks for by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from litestar.datastructures import Cookie

from coldgrid.access import api_tokens, people, refusals, sessions
from coldgrid.access.degrees import unit_of
from coldgrid.access.reads import NoteRead
from coldgrid.access.sessions import CloseSession, OpenSession, TouchSession
from coldgrid.access.set_up import SetUpSecret
from coldgrid.access.throttle import Throttle
from coldgrid.access.tokens import draw, draw_id, form_token, hash_token
from coldgrid.kernel.authorize import SYSTEM, Principal
from coldgrid.kernel.events import Command, Entry
from coldgrid.kernel.reading import Reader
from coldgrid.webkit.visitors import Connection, Visitor, by_itself

KNOWN_FOR = timedelta(seconds=5)
KNOWN_MAX = 10_000
LOGIN_FAILURES, ADDRESS_FAILURES = 5, 30
THROTTLE_WINDOW = timedelta(minutes=15)
VISIT_S = 3600
# The network's name brings the unit that its pages show temperatures in.
NAMED = "network.named"
ABOUT_ACCESS = ("access.", "personal.", NAMED)
Submit = Callable[[Command, Principal, str | None], Future[Any]]
_log = structlog.get_logger("coldgrid.access")


class _Known(msgspec.Struct, frozen=True):
    """Who is remembered. `unnoted_until`: until when a use of their session need not be noted."""

    visitor: Visitor
    until: datetime
    unnoted_until: datetime | None = None


class AccessDoor:
    """Implements webkit's `Door`.

    Args:
        reader: Lends a reader of committed facts.
        submit: Queues a command with the decider.
        system_now: The system clock: sessions and limits go by it, never by the business clock.
        limits: How long sessions hold.
        unit: Says "c" or "f", what temperatures show in until a reader chooses; asked again when the network
            is named.
        secure: Whether browsers reach this service over TLS, so that cookies are marked `Secure`.
    """

    def __init__(
        self,
        reader: Callable[[], AbstractContextManager[Reader]],
        submit: Submit,
        system_now: Callable[[], datetime],
        *,
        limits: sessions.Limits = sessions.Limits(),  # noqa: B008 (frozen)
        unit: Callable[[Reader], str] = lambda _: "c",
        secure: bool = False,
    ) -> None:
        self.system_now = system_now
        self.by_login = Throttle(LOGIN_FAILURES, THROTTLE_WINDOW)
        self.by_address = Throttle(ADDRESS_FAILURES, THROTTLE_WINDOW)
        self.set_up = SetUpSecret(system_now)
        self._reader = reader
        self._submit = submit
        self._secure = secure
        self._unit_of, self._unit = unit, ""
        self.limits = limits
        self._known: dict[str, _Known] = {}
        self._counting = False
        # Whether other processes have this door too: then refusals are counted in the database alone.
        self.shared = False

    # --- guessers --------------------------------------------------------------------

    def wait_s(self, login_hash: str, address: str) -> int:
        """Return for how many seconds a login or an address must wait after refusals; 0 when it may try."""
        self._recall_refusals()
        now = self.system_now()
        return max(
            self.by_login.wait_s(login_hash, now), self.by_address.wait_s(refusals.address_key(address), now)
        )

    def refused(self, login_hash: str, address: str) -> None:
        """Count a refused sign-in, here and in the database: a restart forgives nothing."""
        now, address_hash = self.system_now(), refusals.address_key(address)
        self.by_login.failed(login_hash, now)
        self.by_address.failed(address_hash, now)
        self.send(
            refusals.KeepRefusal(
                refusal_id=draw_id("refusal"),
                login_hash=login_hash,
                address_hash=address_hash,
                at=now,
                before=now - THROTTLE_WINDOW,
            )
        )

    def signed_in(self, login_hash: str) -> None:
        """Forget a login's refusals."""
        if self.by_login.knows(login_hash):
            self.by_login.succeeded(login_hash)
            self.send(refusals.ForgetRefusals(login_hash=login_hash))

    def _recall_refusals(self) -> None:
        """Take up, once, what was counted before this process began; each time where others count too."""
        if self._counting and not self.shared:
            return
        if self.shared:
            self.by_login = Throttle(LOGIN_FAILURES, THROTTLE_WINDOW)
            self.by_address = Throttle(ADDRESS_FAILURES, THROTTLE_WINDOW)
        self._counting = True
        with self._reader() as db:
            found = refusals.refusals_since(db, self.system_now() - THROTTLE_WINDOW)
        for login_hash, address_hash, at in found:
            if login_hash:
                self.by_login.failed(login_hash, at)
            self.by_address.failed(address_hash, at)

    # --- recognising ----------------------------------------------------------------

    def identify(self, connection: Connection) -> Visitor:
        """Return who sent the request (D1)."""
        authorization = connection.headers.get("authorization", "")
        if authorization:
            scheme, _, token = authorization.partition(" ")
            visitor = self._recall(hash_token(token), self._by_token) if scheme.lower() == "bearer" else None
            return visitor or Visitor()
        visitor = None
        token = connection.cookies.get(self.cookie_name, "")
        if token:
            visitor = self._recall(hash_token(token), self._by_session)
        if visitor is None:
            visit = connection.cookies.get("coldgrid_visit", "")
            return Visitor(csrf=form_token(visit) if visit else "")
        if not by_itself(connection):
            self._note_use(visitor.session_id)
        unit = connection.cookies.get("coldgrid_unit") or visitor.unit or self.unit
        return msgspec.structs.replace(visitor, csrf=form_token(token), unit="f" if unit == "f" else "c")

    def _recall(self, hash_: str, find: Callable[[Reader, str, datetime], _Known | None]) -> Visitor | None:
        now = self.system_now()
        known = self._known.get(hash_)
        if known is not None and known.until > now:
            return known.visitor
        with self._reader() as db:
            found = find(db, hash_, now)
        if found is None:
            self._known.pop(hash_, None)
            return None
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[hash_] = found
        return found.visitor

    def _note_use(self, hash_: str) -> None:
        """Note that a session is in use, once in a while (D5)."""
        now, known = self.system_now(), self._known.get(hash_)
        if known is not None and known.unnoted_until is not None and now > known.unnoted_until:
            noted = msgspec.structs.replace(known, unnoted_until=now + self.limits.touch_after)
            self._known[hash_] = noted
            self.send(TouchSession(token_hash=hash_, at=now))

    def _by_session(self, db: Reader, hash_: str, now: datetime) -> _Known | None:
        session = sessions.find_session(db, hash_, now, self.limits)
        if session is None:
            return None
        person = people.get_person(db, session.person_id)
        if person.suspended:
            return None
        roles = frozenset[str]() if person.temporary else frozenset(person.roles)
        sites = None if person.sites is None else frozenset(person.sites)
        name = person.name or person.person_id
        visitor = Visitor(
            principal=Principal(person.person_id, roles, sites),
            name=name,
            session_id=hash_,
            unit=unit_of(db, person.person_id),
        )
        return _Known(visitor, now + KNOWN_FOR, session.seen_at + self.limits.touch_after)

    def _by_token(self, db: Reader, hash_: str, now: datetime) -> _Known | None:
        token = api_tokens.find_token(db, hash_, now)
        if token is None:
            return None
        sites = None if token.sites is None else frozenset(token.sites)
        channels = None if token.channels is None else frozenset(token.channels)
        principal = Principal(token.token_id, frozenset(token.roles), sites, channels)
        return _Known(Visitor(principal=principal, name=token.label, by_token=True), now + KNOWN_FOR)

    def on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Forget what is remembered when anything about access changed (D2); a listener of the decider."""
        if any(entry.type.startswith(ABOUT_ACCESS) for entry, _ in recorded):
            self._known.clear()
        if any(entry.type == NAMED for entry, _ in recorded):
            self._unit = ""

    # --- sessions ---------------------------------------------------------------------

    @property
    def unit(self) -> str:
        """What temperatures show in until a reader chooses: "c" or "f"."""
        if not self._unit:
            with self._reader() as db:
                self._unit = self._unit_of(db)
        return self._unit

    @property
    def set_up_token(self) -> str:
        """The secret that makes the first admin, for the terminal alone."""
        return self.set_up.value

    @property
    def cookie_name(self) -> str:
        """The session cookie's name; over TLS with the prefix that binds it to this host."""
        return "__Host-coldgrid" if self._secure else "coldgrid_session"

    def new_session(self, connection: Connection, person_id: str) -> tuple[str, OpenSession]:
        """Return a new token and the command that opens its session in place of the one the browser had."""
        token, old = draw(), connection.cookies.get(self.cookie_name, "")
        now = self.system_now()
        opening = OpenSession(
            token_hash=hash_token(token),
            person_id=person_id,
            at=now,
            idle_since=now - self.limits.idle,
            opened_before=now - self.limits.longest,
            client=connection.headers.get("user-agent", "")[:200],
            replaces=hash_token(old) if old else "",
        )
        return token, opening

    def session_cookie(self, token: str) -> Cookie:
        """Return the cookie of a session; an empty token removes it."""
        return self._cookie(self.cookie_name, token, int(self.limits.longest.total_seconds()))

    def visit_cookie(self, token: str) -> Cookie:
        """Return the cookie of a stranger's visit (D4); an empty token removes it."""
        return self._cookie("coldgrid_visit", token, VISIT_S)

    def _cookie(self, name: str, value: str, life_s: int) -> Cookie:
        return Cookie(
            key=name,
            value=value,
            max_age=life_s if value else 0,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self._secure,
        )

    def visit(self, connection: Connection) -> str:
        """Give a stranger a visit, so that the form can be sent; return its token if it is new, else ""."""
        state = connection.scope["state"]
        if state["visitor"].csrf:
            return ""
        token = draw()
        state["visitor"] = Visitor(csrf=form_token(token))
        return token

    def close(self, visitor: Visitor) -> Future[Any]:
        """End the visitor's session."""
        self._known.pop(visitor.session_id, None)
        return self.send(CloseSession(token_hash=visitor.session_id))

    def forget_all(self) -> None:
        """Forget everything remembered."""
        self._known.clear()

    # --- what webkit asks -------------------------------------------------------------

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        """Log that the visitor read a record, behind the answer."""
        actor, at = visitor.principal.actor_id, self.system_now()
        self.send(NoteRead(read_id=draw_id("read"), actor=actor, kind=kind, subject=subject, at=at))

    def fresh_key(self) -> str:
        """Return a key for one form."""
        return draw_id("form")

    def send(self, command: Command) -> Future[Any]:
        """Carry out a session command by the system's authority."""
        future = self._submit(command, SYSTEM, None)
        future.add_done_callback(_tell_failure)
        return future

    def nobody_yet(self) -> bool:
        """Tell whether the first admin is still to be set up."""
        with self._reader() as db:
            return not people.anybody(db)


def _tell_failure(future: Future[Any]) -> None:
    error = future.exception()
    if error is not None:
        _log.error("access_command_failed", error=str(error))
