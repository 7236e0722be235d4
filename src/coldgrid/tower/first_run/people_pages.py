"""The step of who is woken: one's own addresses, a trial of each, and a colleague who is woken next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from coldgrid.access.passwords import hash_password
from coldgrid.access.people import names
from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson, PersonExists, SetPassword
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.outbox import PendingEffect, effects_about, payload_of
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.kernel.settings import Settings
from coldgrid.network.groups import NETWORK_GROUP, get_group, has_network_group
from coldgrid.network.profile import SetUpStep
from coldgrid.network.rotas import Channel, Contact, EscalationGroup
from coldgrid.network.sites import get_site
from coldgrid.orchestration.paging import WAKING
from coldgrid.orchestration.trials import TryContact, about_trials, contacts_in
from coldgrid.tower.first_run.enacting import Filled, done_before, key_in, put_in_force
from coldgrid.tower.first_run.frame import SET_UP, must_be_open, refused, step_page
from coldgrid.tower.first_run.link import WELCOME
from coldgrid.tower.first_run.progress import progress_of
from coldgrid.tower.first_run.shown_once import password_for
from coldgrid.tower.first_run.sites import COLLEAGUE_AFTER_MIN, contacts_of, reach_problems
from coldgrid.webkit.commands import form_values, run, see_other
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.shell import fragment
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
STEP = SetUpStep.PEOPLE.value
PLACE = f"{WELCOME}/{STEP}"
REASON = "who is woken, as the network was set up"
OWN_FIELDS = {"mobile": Channel.SMS, "email": Channel.EMAIL, "webhook": Channel.WEBHOOK}
READ = SET_UP | {"reads": "personal"}


class Reached(msgspec.Struct, frozen=True):
    """One way to reach one person, and its newest trial. `missing`: the setting that is empty."""

    contact: Contact
    name: str
    wakes: bool
    missing: str
    trial: PendingEffect | None


# --- Showing ----------------------------------------------------------------------


@get(PLACE, opt=READ, include_in_schema=False, sync_to_thread=True)
def people_page(request: Req, db: Db) -> Response[str]:
    """Show who is woken, in which order, and by what."""
    return _people(request, db, NO_FORM)


def _people(
    request: Req, db: Reader, form: Form, secret: tuple[str, str] | None = None, form_of: str = ""
) -> Response[str]:
    progress = progress_of(db)
    group = _group(db, progress.site_id) if progress.site_id else None
    own = visitor_of(request).principal.actor_id
    rows = _reached(request, db, group) if group is not None else []
    return step_page(
        request,
        db,
        STEP,
        form,
        progress=progress,
        group=group,
        rows=rows,
        own={name: _address(group, own, channel) for name, channel in OWN_FIELDS.items()},
        wakes=any(row.wakes and row.contact.person_id == own for row in rows),
        order=[(step, [names(db).get(p, p) for p in _woken(group, step)]) for step in group.steps]
        if group
        else [],
        secret=secret,
        form_of=form_of,
    )


def _group(db: Reader, site_id: str) -> EscalationGroup:
    return get_group(db, get_site(db, site_id).escalation_group)


def _network_group(db: Reader, person_id: str) -> list[EscalationGroup]:
    """The group that answers for the network itself, where there is one and the person is in it."""
    group = get_group(db, NETWORK_GROUP) if has_network_group(db) else None
    return [group] if group is not None and any(c.person_id == person_id for c in group.people) else []


def _address(group: EscalationGroup | None, person_id: str, channel: Channel) -> str:
    contacts = contacts_in(group) if group is not None else []
    found = [c.address for c in contacts if (c.person_id, c.channel) == (person_id, channel)]
    return found[0] if found else ""


def _woken(group: EscalationGroup, step: Any) -> list[str]:
    members = [rota.members for rota in group.rotas if rota.name == step.rota]
    named = [person for member in members for person in member] + [c.person_id for c in step.contacts]
    return list(dict.fromkeys(named))


def _reached(request: Req, db: Reader, group: EscalationGroup) -> list[Reached]:
    known, settings = names(db), request.app.state.settings
    trials = {}
    for effect in effects_about(db, about_trials(group.group_id)):
        payload = payload_of(db, effect)
        if payload is not None:
            trials[effect.channel, payload["to"]] = effect
    return [
        Reached(
            contact,
            known.get(contact.person_id, contact.person_id),
            contact.channel in WAKING,
            missing_setting(settings, contact.channel),
            trials.get((contact.channel.value, contact.address)),
        )
        for contact in contacts_in(group)
    ]


def missing_setting(settings: Settings, channel: Channel) -> str:
    """Return the setting without which nothing leaves by a channel, or "" where it is there."""
    needed = {
        Channel.EMAIL: ("COLDGRID_SMTP_URL", settings.smtp_url),
        Channel.SMS: ("COLDGRID_SMS_URL", settings.sms_url),
        Channel.VOICE: ("COLDGRID_SMS_URL", settings.sms_url),
        Channel.WEBHOOK: ("COLDGRID_WEBHOOK_SECRET", settings.webhook_secret),
        Channel.SIREN: ("COLDGRID_MQTT_URL", settings.mqtt_url),
    }
    name, value = needed[channel]
    return "" if value else name


@get(f"{PLACE}/trials", opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def trials(request: Req, db: Db) -> Response[str]:
    """Show what came of the trials, for a page that waits; the page itself is the read that is logged."""
    progress = progress_of(db)
    rows = _reached(request, db, _group(db, progress.site_id)) if progress.site_id else []
    return fragment(request, "tower/first_run/_contacts.html", db, rows=rows)


# --- Own addresses, and trials -----------------------------------------------------


@post(f"{PLACE}/own", opt=SET_UP, include_in_schema=False)
async def change_own(request: Req, db: Db) -> Response[Any]:
    """Say how one is reached oneself."""
    values = await form_values(request)
    given = {name: values.get(name, [""])[-1].strip() for name in OWN_FIELDS}
    own = visitor_of(request).principal.actor_id
    try:
        must_be_open(db)
        group = _group(db, progress_of(db).site_id)
        _check_own(given)
        contacts = [contact for address in given.values() if address for contact in contacts_of(own, address)]
        items = [_with_own(one, own, contacts) for one in (group, *_network_group(db, own))]
        await put_in_force(request, db, Filled(items, REASON, key_in(values)))
    except Rejected as rejected:
        return _people(request, db, refused(rejected, values), form_of="own")
    return see_other(PLACE, "Saved. Try each address now.")


def _check_own(given: dict[str, str]) -> None:
    problems = []
    for name, address in given.items():
        if not address:
            continue
        if wrong := reach_problems(name, address):
            problems += wrong
        elif contacts_of("p", address)[0]["channel"] != OWN_FIELDS[name].value:
            problems.append(
                Problem(field=name, message="is an address of another kind", fix="move it to its field")
            )
    if not any(given.values()):
        problems.append(Problem(field="mobile", message="nothing would reach you", fix="fill in one of them"))
    if problems:
        raise Invalid(problems)


def _with_own(group: EscalationGroup, person_id: str, contacts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A group in which a person is reached by these contacts alone."""
    raw: dict[str, Any] = {"kind": "group", **msgspec.to_builtins(group)}
    raw["people"] = [*contacts, *(c for c in raw["people"] if c["person_id"] != person_id)]
    return raw


@post(f"{PLACE}/try", opt=SET_UP, include_in_schema=False)
async def try_one(request: Req, db: Db) -> Response[Any]:
    """Send a trial message to one address."""
    values = await form_values(request)
    person_id, channel, key = (values.get(name, [""])[-1] for name in ("person_id", "channel", "_key"))
    try:
        must_be_open(db)
        if channel not in set(Channel):
            raise Invalid([Problem(field="channel", message="is none", fix="use the buttons of the page")])
        command = TryContact(
            trial_id=derive_id("trial", visitor_of(request).principal.actor_id, key),
            group_id=_group(db, progress_of(db).site_id).group_id,
            person_id=person_id,
            channel=Channel(channel),
        )
        await run(request, command, key[:100] or None)
    except Rejected as rejected:
        return _people(request, db, refused(rejected, values))
    return see_other(PLACE, "A trial message is on its way.")


# --- A colleague --------------------------------------------------------------------


@post(f"{PLACE}/colleague", opt=SET_UP | AT_LEADER, include_in_schema=False)
async def add_colleague(request: Req, db: Db) -> Response[Any]:
    """Let a colleague sign in, and wake them when nobody answered; their first password is shown once."""
    values = await form_values(request)
    name, login, reach = (values.get(field, [""])[-1].strip() for field in ("name", "login", "reach"))
    key = key_in(values)
    person_id, password = derive_id("person", key), password_for(key)
    try:
        must_be_open(db)
        site_id = progress_of(db).site_id
        group = _group(db, site_id)
        wrong = reach_problems("reach", reach)
        if wrong:
            raise Invalid([*_nameless(name, login), *wrong])
        hash_ = await asyncio.to_thread(hash_password, password)
        command = AddPerson(
            person_id=person_id,
            name=name,
            login=login,
            roles=[Role.SUPERVISOR, Role.OPERATOR],
            sites=[site_id],
            password_hash=hash_,
        )
        try:
            await run(request, command)
        except PersonExists:  # pressed twice: the same form, the same password
            await run(request, SetPassword(person_id=person_id, password_hash=hash_))
        if not done_before(request, db, key):
            raw = _with_colleague(group, contacts_of(person_id, reach))
            await put_in_force(request, db, Filled([raw], REASON, key))
    except Rejected as rejected:
        return _people(request, db, refused(rejected, values), form_of="colleague")
    with request.app.state.reader() as fresh:
        return _people(request, fresh, NO_FORM, (login, password))


def _nameless(name: str, login: str) -> list[Problem]:
    return [
        Problem(field=field, message="is empty", fix="fill it in")
        for field, text in (("name", name), ("login", login))
        if not text
    ]


def _with_colleague(group: EscalationGroup, contacts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A group whose last step pages one more person, a quarter of an hour after the step before."""
    raw: dict[str, Any] = {"kind": "group", **msgspec.to_builtins(group)}
    raw["people"] = [*raw["people"], *contacts]
    step = {"after_min": raw["steps"][-1]["after_min"] + COLLEAGUE_AFTER_MIN, "contacts": list(contacts)}
    raw["steps"] = [*raw["steps"], step]
    return raw


handlers = [people_page, trials, change_own, try_one, add_colleague]
