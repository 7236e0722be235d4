"""The account page: one's own roles, password and sessions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie

from coldgrid.access import people, sessions
from coldgrid.access.degrees import ChooseUnit, ReadUnit, unit_of
from coldgrid.access.passwords import hash_password, problems_of, verify_password
from coldgrid.access.roles import DUTIES, Role, label
from coldgrid.access.sessions import CloseOtherSessions
from coldgrid.access.sign_in import door_of, let_in
from coldgrid.access.words import SetPassword
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.webkit.commands import form_values, run, see_other
from coldgrid.webkit.forms import NO_FORM, Form, refused_form
from coldgrid.webkit.preferences import register_keeper
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
KEPT_WITHIN_S = 3.0
# The first that a browser names itself by counts: every one names several, for the sake of old servers.
BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iOS",
    "iPad": "iPadOS",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}


def browser_name(client: str) -> str:
    """Return what people call a browser: "Firefox on Linux"; a client that is none by its own first word."""
    browser = next((name for sign, name in BROWSERS.items() if f"{sign}/" in client), "")
    system = next((name for sign, name in SYSTEMS.items() if sign in client), "")
    return f"{browser} on {system}" if browser and system else client.partition(" ")[0][:40]


@get("/account", opt={"action": "access.use_account"}, include_in_schema=False, sync_to_thread=True)
def account_page(request: Req, db: Db) -> Response[str]:
    """Show who is signed in, with what, and where."""
    return _account(request, db, NO_FORM)


def _account(request: Req, db: Reader, form: Form) -> Response[str]:
    visitor, door = visitor_of(request), door_of(request)
    now = door.system_now()
    person = people.get_person(db, visitor.principal.actor_id)
    return page(
        request,
        "access/account.html",
        db,
        title="Account",
        nav="/account",
        person=person,
        home=request.app.state.get("home", ""),
        duties=[(label(role), DUTIES[Role(role)]) for role in person.roles],
        sessions=sessions.sessions_of(db, person.person_id, now, door.limits),
        system_now=now,
        browser_name=browser_name,
        own_unit=unit_of(db, person.person_id) or door.unit,
        form=form,
    )


@post("/account/password", opt={"action": "access.use_account"}, include_in_schema=False)
async def change_password(request: Req, db: Db) -> Response[Any]:
    """Change one's own password: every session ends but a new one here."""
    values = await form_values(request)
    old, new, again = (values.get(f, [""])[-1] for f in ("old_password", "new_password", "again_password"))
    person = people.get_person(db, visitor_of(request).principal.actor_id)
    found = people.credentials_of(db, person.login or "")
    try:
        problems = problems_of(new, person.name or "", person.login or "", field="new_password")
        if new != again:
            problems.append(Problem(field="again_password", message="is not the same as the new password"))
        if not await asyncio.to_thread(verify_password, found[1] if found else None, old):
            problems.insert(0, Problem(field="old_password", message="is not your password"))
        if problems:
            raise Invalid(problems)
        hash_ = await asyncio.to_thread(hash_password, new)
        await run(request, SetPassword(person_id=person.person_id, password_hash=hash_))
    except Rejected as rejected:
        response = _account(request, db, refused_form(rejected, values, status_of(rejected)))
        response.status_code = status_of(rejected)
        return response
    return await let_in(
        request, person.person_id, "/account", "Your password is changed; other sessions ended."
    )


@post("/account/sessions", opt={"action": "access.use_account"}, include_in_schema=False)
async def end_other_sessions(request: Req) -> Response[Any]:
    """End every other session of one's own."""
    visitor, door = visitor_of(request), door_of(request)
    command = CloseOtherSessions(person_id=visitor.principal.actor_id, token_hash=visitor.session_id)
    await asyncio.wrap_future(door.send(command))
    door.forget_all()
    return see_other("/account", "Your other sessions ended.")


@post("/account/unit", opt={"action": "access.use_account"}, include_in_schema=False)
async def choose_own_unit(request: Req, db: Db) -> Response[Any]:
    """Say in which unit messages show temperatures, and pages where the browser did not choose."""
    values = await form_values(request)
    try:
        await run(request, ChooseUnit(unit=_unit_in(values)))
    except Rejected as rejected:
        response = _account(request, db, refused_form(rejected, values, status_of(rejected)))
        response.status_code = status_of(rejected)
        return response
    answer = see_other("/account", "Messages to you show temperatures in the unit that you chose.")
    answer.cookies.append(Cookie(key="coldgrid_unit", value="", max_age=0, path="/"))
    return answer


async def _keep_unit(request: Req, chosen: str) -> None:
    """Keep what a person chose in the menu for their messages too, where it can be: a node keeps nothing."""
    visitor = visitor_of(request)
    if not visitor.by_token and not request.app.state.get("home", ""):
        with suppress(Rejected, TimeoutError):  # the browser has its choice whoever decides
            await asyncio.wait_for(run(request, ChooseUnit(unit=ReadUnit(chosen))), KEPT_WITHIN_S)


register_keeper("unit", _keep_unit)


def _unit_in(values: dict[str, list[str]]) -> ReadUnit:
    told = values.get("unit", [""])[-1]
    if told not in set(ReadUnit):
        raise Invalid([Problem(field="unit", message="is none", fix="choose °C or °F")])
    return ReadUnit(told)


handlers = [choose_own_unit, account_page, change_password, end_other_sessions]
