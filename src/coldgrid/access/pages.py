"""Pages about people and tokens, for admins (and, reading only, auditors)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from coldgrid.access import account, api, api_tokens, people, reads, sign_in
from coldgrid.access.api_tokens import IssueToken, RevokeToken
from coldgrid.access.passwords import hash_password
from coldgrid.access.roles import DUTIES, PERSONAL, Role, label
from coldgrid.access.tokens import draw_api_token, draw_id, draw_password, hash_token
from coldgrid.access.words import (
    AddPerson,
    AssignSites,
    GrantRole,
    PersonNotFound,
    ReinstatePerson,
    RevokeRole,
    SetPassword,
    SuspendPerson,
)
from coldgrid.kernel.personal import EraseSubject
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.webkit.commands import KEY_LENGTH_MAX, form_values, run, see_other, submit_form
from coldgrid.webkit.forms import NO_FORM, Form, refused_form
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.shell import NavItem, page, register_nav
from coldgrid.webkit.visitors import Db, may

Req = Request[Any, Any, Any]
ROLE_OPTIONS = [(role.value, label(role).capitalize(), DUTIES[role]) for role in Role]
MACHINE_OPTIONS = [option for option in ROLE_OPTIONS if option[0] not in PERSONAL]
VIEW_PEOPLE = {"action": "access.view_people", "reads": "personal"}
SEERS = frozenset({Role.ADMIN.value, Role.AUDITOR.value})

register_nav(NavItem(group="Set up", label="People", href="/people", icon="people", roles=SEERS, order=80))
register_nav(NavItem(group="Set up", label="API tokens", href="/tokens", icon="key", roles=SEERS, order=90))


# --- People -----------------------------------------------------------------------------


@get("/people", opt=VIEW_PEOPLE, include_in_schema=False, sync_to_thread=True)
def people_page(request: Req, db: Db) -> Response[str]:
    """Show everybody, and the form to add somebody."""
    return _people(request, db, NO_FORM)


def _people(request: Req, db: Reader, form: Form, secret: tuple[str, str] | None = None) -> Response[str]:
    return page(
        request,
        "access/people.html",
        db,
        title="People",
        nav="/people",
        people=people.list_people(db),
        may_add=may(request, "access.add_person"),
        role_options=ROLE_OPTIONS,
        reads=reads.latest_reads(db, 12),
        names=people.names(db),
        form=form,
        secret=secret,
    )


@post("/people", include_in_schema=False)
async def add(request: Req, db: Db) -> Response[Any]:
    """Add somebody; their first password is drawn here and shown once."""
    values = await form_values(request)
    password = draw_password()
    try:
        command = AddPerson(
            person_id=draw_id("person"),
            name=_last(values, "name"),
            login=_last(values, "login"),
            roles=_roles(values),
            sites=_sites(values),
            password_hash=await asyncio.to_thread(hash_password, password),
        )
        await run(request, command)
    except Rejected as rejected:
        return _again(rejected, _people(request, db, refused_form(rejected, values, status_of(rejected))))
    return _people(request, db, NO_FORM, (command.login, password))


@get("/people/{person_id:str}", opt=VIEW_PEOPLE, include_in_schema=False, sync_to_thread=True)
def person_page(request: Req, db: Db, person_id: FromPath[str]) -> Response[str]:
    """Show one person with what can be changed."""
    return _person(request, db, person_id, NO_FORM)


def _person(
    request: Req, db: Reader, person_id: str, form: Form, secret: tuple[str, str] | None = None
) -> Response[str]:
    person = people.get_person(db, person_id)
    return page(
        request,
        "access/person.html",
        db,
        title=person.name or "Erased person",
        nav="/people",
        person=person,
        own=request.app.state.door.identify(request).principal.actor_id == person_id,
        may_change=may(request, "access.grant_role"),
        roles=[(role.value, label(role), DUTIES[role], role.value in person.roles) for role in Role],
        form=form,
        secret=secret,
    )


@post("/people/{person_id:str}/{act:str}", include_in_schema=False)
async def change_person(request: Req, db: Db, person_id: FromPath[str], act: FromPath[str]) -> Response[Any]:
    """Grant or revoke a role, assign sites, suspend, reinstate, reset the password, or erase."""
    back = f"/people/{person_id}"
    values = await form_values(request)

    def again(form: Form) -> Response[Any]:
        return _person(request, db, person_id, form)

    if act == "sites":
        try:
            await run(request, AssignSites(person_id=person_id, sites=_sites(values)))
        except Rejected as rejected:
            return _again(rejected, again(refused_form(rejected, values, status_of(rejected))))
        return see_other(back, "Sites changed.")
    if act == "password":
        password = draw_password()
        hash_ = await asyncio.to_thread(hash_password, password)
        await run(request, SetPassword(person_id=person_id, password_hash=hash_))
        return _person(request, db, person_id, NO_FORM, (person_id, password))
    if act == "erase":
        return await submit_form(
            request, EraseSubject, then=back, said="The person was erased.", again=again, subject=person_id
        )
    command_type, said = ACTS.get(act, (SuspendPerson, ""))
    if not said:
        raise PersonNotFound(person_id=person_id, act=act)
    return await submit_form(request, command_type, then=back, said=said, again=again, person_id=person_id)


ACTS: dict[str, tuple[Any, str]] = {
    "grant": (GrantRole, "Role given."),
    "revoke": (RevokeRole, "Role taken."),
    "suspend": (SuspendPerson, "Suspended; their sessions ended."),
    "reinstate": (ReinstatePerson, "Reinstated."),
}


# --- Tokens -----------------------------------------------------------------------------


@get("/tokens", opt={"action": "access.view_tokens"}, include_in_schema=False, sync_to_thread=True)
def tokens_page(request: Req, db: Db) -> Response[str]:
    """Show the API tokens, and the form to issue one."""
    return _tokens(request, db, NO_FORM)


def _tokens(request: Req, db: Reader, form: Form, secret: tuple[str, str] | None = None) -> Response[str]:
    return page(
        request,
        "access/tokens.html",
        db,
        title="API tokens",
        nav="/tokens",
        api_tokens=api_tokens.list_tokens(db),
        system_now=sign_in.door_of(request).system_now(),
        may_issue=may(request, "access.issue_token"),
        role_options=MACHINE_OPTIONS,
        names=people.names(db),
        form=form,
        secret=secret,
    )


@post("/tokens", include_in_schema=False)
async def issue(request: Req, db: Db) -> Response[Any]:
    """Issue a token and show it, this once."""
    values = await form_values(request)
    token = draw_api_token()
    try:
        command = IssueToken(
            token_id=draw_id("token"),
            label=_last(values, "label"),
            token_hash=hash_token(token),
            roles=_roles(values),
            sites=_sites(values),
            channels=_last(values, "channels").replace(",", " ").split() or None,
            expires_at=_end_of(_last(values, "expires_on"), sign_in.door_of(request).system_now()),
        )
        await run(request, command, _last(values, "_key")[:KEY_LENGTH_MAX] or None)
    except Rejected as rejected:
        rejected = _at_day(rejected)
        return _again(rejected, _tokens(request, db, refused_form(rejected, values, status_of(rejected))))
    return _tokens(request, db, NO_FORM, (command.label, token))


@post("/tokens/{token_id:str}/revoke", include_in_schema=False)
async def revoke(request: Req, token_id: FromPath[str]) -> Response[Any]:
    """Take a token back."""
    return await submit_form(request, RevokeToken, then="/tokens", said="Token revoked.", token_id=token_id)


# --- Reading the forms ------------------------------------------------------------------


def _last(values: dict[str, list[str]], name: str) -> str:
    return values.get(name, [""])[-1].strip()


def _roles(values: dict[str, list[str]]) -> list[Role]:
    try:
        return [Role(value) for value in values.get("roles", [])]
    except ValueError as error:
        raise Invalid([Problem(field="roles", message=str(error))]) from None


def _sites(values: dict[str, list[str]]) -> list[str] | None:
    """Return the sites named, one in a line or with commas between; None for all of them.

    Raises:
        Invalid: "only these" was chosen and none is named, which would lock the person out by mistake.
    """
    if _last(values, "which_sites") != "some":
        return None
    sites = _last(values, "sites").replace(",", " ").upper().split()
    if not sites:
        raise Invalid(
            [Problem(field="sites", message="names no site", fix="Name sites, or choose all sites")]
        )
    return sites


def _end_of(day: str, now: datetime) -> datetime | None:
    """Return the end of a day (UTC), or None where none is given.

    Raises:
        Invalid: it is no day, or it is over.
    """
    if not day:
        return None
    try:
        end = datetime.combine(datetime.fromisoformat(day).date(), time(23, 59, 59), UTC)
    except ValueError:
        raise Invalid(
            [Problem(field="expires_on", message="is no day", fix="Write it as 2026-12-31")]
        ) from None
    if end < now:
        raise Invalid([Problem(field="expires_on", message="is over", fix="Choose today or a day to come")])
    return end


def _at_day(rejected: Rejected) -> Rejected:
    """Return a refusal with what is wrong with the end of a token at the field that asks for its day."""
    if not isinstance(rejected, Invalid):
        return rejected
    return Invalid(
        [
            msgspec.structs.replace(p, field="expires_on") if p.field == "expires_at" else p
            for p in rejected.problems
        ]
    )


def _again(rejected: Rejected, response: Response[str]) -> Response[str]:
    response.status_code = status_of(rejected)
    return response


handlers = [
    api.me,
    *sign_in.handlers,
    *account.handlers,
    people_page,
    add,
    person_page,
    change_person,
    tokens_page,
    issue,
    revoke,
]
