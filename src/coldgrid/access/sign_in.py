"""Pages to come in and go out: first-run set-up, sign-in, sign-out."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from litestar import Request, Response, get, post
from litestar.params import FromQuery

from coldgrid.access import people
from coldgrid.access.authority import field_problems
from coldgrid.access.door import AccessDoor
from coldgrid.access.passwords import hash_password, problems_of
from coldgrid.access.tokens import draw_id
from coldgrid.access.vouching import Asked, TowerSilent, Vouch, Vouched, check
from coldgrid.access.words import SetUpFirstAdmin
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Rejected
from coldgrid.webkit.commands import form_values, see_other
from coldgrid.webkit.forms import NO_FORM, Form, refused_form
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.notices import Notice, leave
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
PUBLIC = {"public": True}
_log = structlog.get_logger("coldgrid.access")


def door_of(request: Req) -> AccessDoor:
    """Return the app's door."""
    door = request.app.state.door
    assert isinstance(door, AccessDoor)
    return door


def local_path(text: str) -> str:
    """Return where to go after signing in: a path of this site, never another site's address."""
    plain = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if plain and "\\" not in text else "/"


# --- Sign in ----------------------------------------------------------------------------


@get("/login", opt=PUBLIC, include_in_schema=False, sync_to_thread=True)
def login_page(request: Req, db: Db, next: FromQuery[str] = "/") -> Response[Any]:  # noqa: A002 (the name in the address)
    """Show the sign-in form; somebody signed in goes on, and before the first admin it leads to set-up."""
    if visitor_of(request).known:
        return see_other(local_path(next))
    if not people.anybody(db):
        return see_other("/setup")
    return _login(request, db, NO_FORM, local_path(next))


def _login(request: Req, db: Reader, form: Form, where: str) -> Response[str]:
    door = door_of(request)
    visitor_of(request)
    token = door.visit(request)
    text = page(request, "access/login.html", db, title="Sign in", form=form, next=where)
    if token:
        text.cookies.append(door.visit_cookie(token))
    return text


@post("/login", opt=PUBLIC, include_in_schema=False)
async def login(request: Req, db: Db) -> Response[Any]:
    """Check login and password; a new session begins, or the form shows again."""
    values = await form_values(request)
    name, password, where = (values.get(field, [""])[-1] for field in ("login", "password", "next"))
    where = local_path(where)
    door = door_of(request)
    key, address = people.login_key(name), request.client.host if request.client else ""
    wait_s = door.wait_s(key, address)
    if wait_s:
        return _too_many(request, db, name, where, wait_s)
    try:
        vouched = await asyncio.to_thread(_checked, request, db, Asked(name, password))
    except TowerSilent as silent:
        form = refused_form(silent, {"login": [name]}, status_of(silent))
        response = _login(request, db, form, where)
        response.status_code = form.status
        return response
    if vouched.wait_s:
        return _too_many(request, db, name, where, vouched.wait_s)
    person_id = vouched.person_id
    if not person_id:
        door.refused(key, address)
        _log.warning("sign_in_refused", address=address)
        form = Form(values={"login": [name]}, title="Login and password do not match.")
        response = _login(request, db, form, where)
        response.status_code = 401
        return response
    door.signed_in(key)
    _log.info("signed_in", person_id=person_id)
    return await let_in(
        request, person_id, "/account" if people.get_person(db, person_id).temporary else where
    )


def _too_many(request: Req, db: Reader, name: str, where: str, wait_s: int) -> Response[Any]:
    form = Form(values={"login": [name]}, title=f"Too many attempts; try again in {_minutes(wait_s)}.")
    response = _login(request, db, form, where)
    response.status_code = 429
    response.headers["Retry-After"] = str(wait_s)
    return response


def _checked(request: Req, db: Reader, asked: Asked) -> Vouched:
    """Check a sign-in here; at a node, of somebody who acts at all sites, by the tower's word.

    Raises:
        TowerSilent: only the tower could tell, and it does not answer.
    """
    home: str = request.app.state.get("home", "")
    vouch: Vouch | None = request.app.state.get("vouch")
    person_id = check(db, asked.login, asked.password, home)
    if person_id is None and vouch is not None and people.acts_everywhere(db, asked.login):
        vouched = vouch(asked)
        return vouched if not vouched.person_id or people.knows(db, vouched.person_id) else Vouched()
    return Vouched(person_id or "")


async def let_in(request: Req, person_id: str, where: str, told: str = "") -> Response[Any]:
    """Begin a session for a person whom this request has proved, and go on."""
    door = door_of(request)
    token, opening = door.new_session(request, person_id)
    await asyncio.wrap_future(door.send(opening))
    door.forget_all()
    response = see_other(where, told)
    response.cookies.append(door.session_cookie(token))
    response.cookies.append(door.visit_cookie(""))
    return response


def _minutes(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"


@post("/logout", include_in_schema=False)
async def logout(request: Req) -> Response[Any]:
    """End the session and forget its cookie."""
    door = door_of(request)
    await asyncio.wrap_future(door.close(visitor_of(request)))
    response: Response[Any] = see_other("/login")
    response.cookies.append(door.session_cookie(""))
    response.headers["Clear-Site-Data"] = '"cache"'
    return leave(response, Notice("You are signed out."))


# --- The first admin --------------------------------------------------------------------


@get("/setup", opt=PUBLIC | AT_LEADER, include_in_schema=False, sync_to_thread=True)
def set_up_page(request: Req, db: Db, token: FromQuery[str] = "") -> Response[Any]:
    """Show the form for the first admin to whoever has the address that the server printed."""
    if people.anybody(db):
        return see_other("/login")
    if not token:
        return _set_up(request, db, NO_FORM, "")
    wait_s, why = _refused_secret(request, token)
    if wait_s:
        return _too_many_secrets(request, db, wait_s)
    if why is not None:
        return _set_up(request, db, refused_form(why, {}, status_of(why)), "")
    return _set_up(request, db, NO_FORM, token)


def _refused_secret(request: Req, given: str) -> tuple[int, Rejected | None]:
    """Look at a secret: for how long its sender must wait, or why it opens nothing."""
    secret, address = door_of(request).set_up, request.client.host if request.client else ""
    wait_s = secret.wait_s(address)
    if wait_s:
        return wait_s, None
    try:
        secret.check(given, address)
    except Rejected as rejected:
        _log.warning("set_up_refused", address=address, code=rejected.code)
        return 0, rejected
    return 0, None


def _too_many_secrets(request: Req, db: Reader, wait_s: int) -> Response[str]:
    form = Form(title=f"Too many wrong set-up links; try again in {_minutes(wait_s)}.", status=429)
    response = _set_up(request, db, form, "")
    response.headers["Retry-After"] = str(wait_s)
    return response


def _set_up(request: Req, db: Reader, form: Form, given: str) -> Response[str]:
    """Show the form to whoever has the secret (`given`), to others what to do."""
    door = door_of(request)
    visitor_of(request)
    token = door.visit(request)
    text = page(request, "access/setup.html", db, title="Set up", form=form, given=given)
    text.status_code = form.status
    if token:
        text.cookies.append(door.visit_cookie(token))
    return text


@post("/setup", opt=PUBLIC | AT_LEADER, include_in_schema=False)
async def set_up(request: Req, db: Db) -> Response[Any]:
    """Make the first admin and sign them in."""
    values = await form_values(request)
    given, name, login_, password = (values.get(f, [""])[-1] for f in ("token", "name", "login", "password"))
    wait_s, why = _refused_secret(request, given)
    if wait_s:
        return _too_many_secrets(request, db, wait_s)
    if why is not None:
        raise why
    try:
        problems = [*field_problems(name, login_), *problems_of(password, name, login_)]
        if problems:
            raise Invalid(problems)
        hash_ = await asyncio.to_thread(hash_password, password)
        person_id = draw_id("person")
        command = SetUpFirstAdmin(person_id=person_id, name=name, login=login_, password_hash=hash_)
        await asyncio.wrap_future(request.app.state.decider.submit(command, SYSTEM, None))
    except Rejected as rejected:
        return _set_up(request, db, refused_form(rejected, values, status_of(rejected)), given)
    welcome: str = request.app.state.get("welcome", "/")
    return await let_in(request, person_id, welcome, "Coldgrid is yours. Add the others under People.")


handlers = [login_page, login, logout, set_up_page, set_up]
