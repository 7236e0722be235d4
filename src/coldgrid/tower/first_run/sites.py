"""From the answers of the site's form to master data: a group, a site, its zones and their locations. Pure.

What is wrong is said at the form's own fields, all at once, before anything is drafted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec

from coldgrid.kernel.rejections import Problem
from coldgrid.network import names
from coldgrid.network.calendars import WEEKDAYS, timezone_problems
from coldgrid.network.groups import ADDRESS_FORMS, NETWORK_GROUP
from coldgrid.network.rotas import Channel
from coldgrid.network.sites import SiteKind, TemperatureClass
from coldgrid.network.zones import CLASS_CODES
from coldgrid.tower.first_run.kinds import AIR, KINDS, Kind, Room
from coldgrid.tower.first_run.places import towns

Raw = dict[str, Any]
LENGTH_MAX = 80
ROTA = "on-call"
COLLEAGUE_AFTER_MIN = 15
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")


class SiteAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wrote into the site's form, as text."""

    site_kind: str = ""
    site_id: str = ""
    name: str = ""
    city: str = ""
    region: str = ""
    timezone: str = ""
    lat: str = ""
    lon: str = ""
    rooms: Sequence[str] = ()
    opens: str = ""
    closes: str = ""
    carrier: str = ""
    cutoff: str = ""
    reach: str = ""


def answers_of(values: Mapping[str, Sequence[str]]) -> SiteAnswers:
    """Read a form's texts; unknown names are left out."""
    told: dict[str, Any] = {
        name: values[name][-1].strip() for name in SiteAnswers.__struct_fields__ if values.get(name)
    }
    return SiteAnswers(**(told | {"rooms": tuple(values.get("rooms", ()))}))


# --- What is wrong ----------------------------------------------------------------


def problems_of(answers: SiteAnswers) -> list[Problem]:
    """Return everything that is wrong with the answers, whatever else exists."""
    problems = names.SITE.check("site_id", answers.site_id) if answers.site_id else [_empty("site_id")]
    if answers.site_kind not in set(SiteKind):
        problems.append(Problem(field="site_kind", message="is none of the kinds", fix="choose one"))
    for field in ("name", "city", "region"):
        problems += _text(field, getattr(answers, field))
    if not answers.timezone:
        problems.append(_empty("timezone", "an IANA name like America/New_York"))
    else:
        problems += timezone_problems("timezone", answers.timezone)
    if not {room for room in answers.rooms if room in set(TemperatureClass)}:
        problems.append(Problem(field="rooms", message="there is none", fix="choose at least one"))
    return [*problems, *_place(answers), *_hours(answers), *_reach(answers.reach)]


def _empty(field: str, fix: str = "fill it in") -> Problem:
    return Problem(field=field, message="is empty", fix=fix)


def _text(field: str, text: str) -> Iterator[Problem]:
    if not text:
        yield _empty(field)
    elif len(text) > LENGTH_MAX:
        yield Problem(field=field, message=f"has more than {LENGTH_MAX} characters", fix="shorten it")


def _place(answers: SiteAnswers) -> Iterator[Problem]:
    if not answers.lat and not answers.lon:
        if (
            answers.timezone
            and answers.timezone not in towns()
            and not timezone_problems("", answers.timezone)
        ):
            yield Problem(
                field="lat",
                message="cannot be guessed from this time zone",
                fix="give both, as 33.62 and -84.37",
            )
        return
    for field, text, most in (("lat", answers.lat, 90), ("lon", answers.lon, 180)):
        degrees = number(text)
        if degrees is None:
            yield Problem(
                field=field, message="is no number of degrees", fix="as 33.62, south and west with −"
            )
        elif abs(degrees) > most:
            yield Problem(field=field, message=f"is beyond {most}°", fix="degrees, not minutes or metres")


def _hours(answers: SiteAnswers) -> Iterator[Problem]:
    times = [(field, getattr(answers, field)) for field in ("opens", "closes", "cutoff")]
    wrong = [field for field, text in times if text and not _TIME.fullmatch(text)]
    for field in wrong:
        yield Problem(field=field, message="is no time of day", fix="hours and minutes, as 18:30")
    if bool(answers.opens) != bool(answers.closes):
        field = "closes" if answers.opens else "opens"
        yield _empty(field, "give both, or none for around the clock")
    elif not wrong and answers.opens and answers.opens >= answers.closes:
        fix = "a shift over midnight is two: set it under Network afterwards"
        yield Problem(field="closes", message="is not after it opens", fix=fix)
    if answers.carrier and not answers.cutoff:
        yield _empty("cutoff", f"until when must goods for {answers.carrier[:40]} be ready?")
    if answers.cutoff and not answers.carrier:
        yield _empty("carrier", "who picks up then?")
    if len(answers.carrier) > 40:
        yield Problem(field="carrier", message="has more than 40 characters", fix="shorten it")


def number(text: str) -> float | None:
    """Read a number that people write with a comma or a real minus; None where it is none."""
    try:
        value = float(text.replace("−", "-").replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None


# --- Who is woken -----------------------------------------------------------------


def _reach(text: str, field: str = "reach") -> Iterator[Problem]:
    if not text:
        yield _empty(field, "an e-mail address, or a mobile number like +14045550142")
    elif not channels_of(text):
        fix = "an e-mail address, a mobile number with its country as +14045550142, or an https:// address"
        yield Problem(field=field, message="is no address that anybody can be reached at", fix=fix)


def reach_problems(field: str, text: str) -> list[Problem]:
    """Return what is wrong with an address that somebody is to be reached at."""
    return list(_reach(text, field))


def spelt(text: str) -> str:
    """Return an address as it is kept: a number without the marks that people group it with."""
    plain = re.sub(r"[\s().-]", "", text)
    return plain if re.fullmatch(ADDRESS_FORMS[Channel.SMS][0], plain, re.ASCII) else text.strip()


def channels_of(text: str) -> list[Channel]:
    """Return the channels that an address is of: a number is rung and gets a message."""
    address = spelt(text)
    for channels in ((Channel.SMS, Channel.VOICE), (Channel.EMAIL,), (Channel.WEBHOOK,)):
        if re.fullmatch(ADDRESS_FORMS[channels[0]][0], address, re.ASCII):
            return list(channels)
    return []


def contacts_of(person_id: str, address: str) -> list[Raw]:
    """Return the contacts of a person with one address."""
    return [
        {"person_id": person_id, "channel": channel.value, "address": spelt(address)}
        for channel in channels_of(address)
    ]


def group_item(
    site_id: str, timezone: str, people: Sequence[Sequence[Raw]], today: date, *, name: str = ""
) -> Raw:
    """Return an escalation group: the first person is on call, the others follow one after the other.

    `people`: each person's contacts. The rota began yesterday, so that somebody is on duty from now on.
    """
    first, *others = people
    later = [
        {"after_min": COLLEAGUE_AFTER_MIN * n, "contacts": contacts}
        for n, contacts in enumerate(others, start=1)
    ]
    return {
        "kind": "group",
        "group_id": group_id_of(site_id),
        "name": (name or site_id)[:70] + " on call",
        "timezone": timezone,
        "people": [contact for contacts in people for contact in contacts],
        "rotas": [
            {
                "name": ROTA,
                "starts_on": (today - timedelta(days=1)).isoformat(),
                "members": [first[0]["person_id"]],
            }
        ],
        "steps": [{"after_min": 0, "rota": ROTA}, *later],
    }


def network_group_item(timezone: str, contacts: Sequence[Raw], today: date) -> Raw:
    """Return the group that answers for the network itself: who sets it up is on call."""
    item = group_item("", timezone, [contacts], today, name="Network")
    return item | {"group_id": NETWORK_GROUP}


def network_group_like(group: Raw) -> Raw | None:
    """Return the group of the network with the people and steps of a site's; None where nobody is left in it.

    Sirens stay out of it, for what is about the network is at no door, and so do minutes to the door.
    """

    def people(contacts: Sequence[Raw]) -> list[Raw]:
        kept = [contact for contact in contacts if contact["channel"] != Channel.SIREN]
        return [{name: told for name, told in one.items() if name != "drive_min"} for one in kept]

    contacts = people(group.get("people", ()))
    reachable = {contact["person_id"] for contact in contacts}
    rotas = [rota for rota in group.get("rotas", ()) if _members(rota) <= reachable]
    known = {rota["name"] for rota in rotas}
    steps = [
        {
            "after_min": step["after_min"],
            "contacts": people(step.get("contacts", ())),
            "rota": step.get("rota", "") if step.get("rota") in known else "",
        }
        for step in group["steps"]
    ]
    steps = [step for step in steps if step["contacts"] or step["rota"]]
    copied = {"steps": steps, "rotas": rotas, "people": contacts, "timezone": group["timezone"]}
    return (
        {"kind": "group", "group_id": NETWORK_GROUP, "name": "Network on call", **copied} if steps else None
    )


def _members(rota: Raw) -> set[str]:
    return {*rota["members"], *(swap["person_id"] for swap in rota.get("swaps", ()))}


def group_id_of(site_id: str) -> str:
    """Return the name of the group that answers for a site."""
    return f"GRP-{site_id}"


# --- Items ------------------------------------------------------------------------


def items_of(answers: SiteAnswers, admin_id: str, today: date) -> list[Raw]:
    """Return the items of a site whose answers have no problems, its group first."""
    kind = KINDS[SiteKind(answers.site_kind)]
    rooms = [room for room in TemperatureClass if room in answers.rooms]
    people = [contacts_of(admin_id, answers.reach)]
    items = [group_item(answers.site_id, answers.timezone, people, today, name=answers.name)]
    items.append(_site_item(answers, kind, rooms))
    for room in rooms:
        items += _zone_items(answers.site_id, room, _room(kind, room), dock=kind.dock)
    return items


def _room(kind: Kind, room: TemperatureClass) -> Room:
    """A kind's room; one that it usually has not is as small as its smallest."""
    return kind.rooms.get(room) or min(kind.rooms.values(), key=lambda known: known.pallets)


def _site_item(answers: SiteAnswers, kind: Kind, rooms: Sequence[TemperatureClass]) -> Raw:
    town = towns().get(answers.timezone)
    lat, lon = number(answers.lat), number(answers.lon)
    days = [day.value for day in WEEKDAYS]
    hours: Raw = {"days": days}
    if answers.opens:
        hours |= {"opens": answers.opens, "closes": answers.closes}
    cutoffs = [{"carrier": answers.carrier, "local_time": answers.cutoff, "days": days}]
    return {
        "kind": "site",
        "site_id": answers.site_id,
        "name": answers.name,
        "site_kind": answers.site_kind,
        "city": answers.city,
        "region": answers.region,
        "country": town.country if town is not None else "US",
        "lat": lat if lat is not None else town.lat if town is not None else 0.0,
        "lon": lon if lon is not None else town.lon if town is not None else 0.0,
        "timezone": answers.timezone,
        "calendar": {"hours": [hours]},
        "cutoffs": cutoffs if answers.carrier else [],
        "sla_tier": kind.tier.value,
        "capacity": {room.value: _room(kind, room).pallets for room in rooms},
        "escalation_group": group_id_of(answers.site_id),
    }


def _zone_items(site_id: str, class_: TemperatureClass, room: Room, *, dock: bool) -> list[Raw]:
    zone_id, air = f"{site_id}-{CLASS_CODES[class_]}1", AIR[class_]
    zone = {
        "kind": "zone",
        "zone_id": zone_id,
        "site_id": site_id,
        "name": air.name,
        "temperature_class": class_.value,
        "setpoint_c": air.setpoint_c,
        "low_c": air.low_c,
        "high_c": air.high_c,
        "capacity_pallets": room.pallets,
        "lag_min": room.lag_min,
        "asset_id": f"{zone_id}-{air.machine}1",
    }
    shelves = [
        (f"A{aisle:02d}-{bay:02d}", "pick" if bay == 1 else "bulk")
        for aisle in range(1, room.aisles + 1)
        for bay in range(1, room.bays + 1)
    ]
    ends = [("DOCK-01", "dock")] if dock else []
    places = [*shelves, *ends, ("STG-01", "stage"), ("QRN-01", "quarantine")]
    return [zone] + [
        {
            "kind": "location",
            "location_id": f"{zone_id}-{place}",
            "zone_id": zone_id,
            "site_id": site_id,
            "location_kind": use,
        }
        for place, use in places
    ]


# What of a drafted item is wrong, at the form's field that it came from.
_FIELDS = {
    "site_id": "site_id",
    "name": "name",
    "city": "city",
    "region": "region",
    "timezone": "timezone",
    "lat": "lat",
    "lon": "lon",
    "site_kind": "site_kind",
    "calendar": "opens",
    "cutoffs": "cutoff",
    "people": "reach",
    "steps": "reach",
}


def at_fields(problems: Sequence[Problem]) -> list[Problem]:
    """Turn problems of drafted items into those of the form's fields, each once."""
    found: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        _, _, rest = problem.field.partition("].")
        field = _FIELDS.get(rest.partition("[")[0].partition(".")[0], problem.field)
        found.setdefault((field, problem.message), msgspec.structs.replace(problem, field=field))
    return list(found.values())
