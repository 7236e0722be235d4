"""A page that shows every part of the kit, and the app around it: what the tests and the eye check."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get, post

from coldgrid.kernel.authorize import AllowAll, Authorizer, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.money import Money
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.tx import Tx
from coldgrid.webkit import charts, commands, maps, shell
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.visitors import Connection, Db, Visitor, visitor_of

HERE = Path(__file__).parent
T0 = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
CSRF = "token-of-this-session"


class TourNoted(Event, frozen=True, tag="tour.noted"):
    """Something was noted on the tour."""

    reason: str
    count: int


class NoteTour(Command, frozen=True, tag="tour.note"):
    """Note something on the tour."""

    reason: str
    count: int
    choice: str = "stay"
    site_kind: str | None = None
    agreed: bool = False
    override: bool = False


class TourClosed(Conflict):
    """The tour is closed."""

    todo = "Come back tomorrow."


@handles(NoteTour, action="tour.note", owner=Owner.NETWORK)
def note(tx: Tx, command: NoteTour) -> dict[str, int]:
    if command.reason == "closed":
        raise TourClosed(until="08:00")
    tx.record("kernel/tour", TourNoted(reason=command.reason, count=command.count))
    return {"count": command.count}


class NoteSite(Command, frozen=True, tag="tour.note_site"):
    """Note something at a site."""

    site_id: str


@handles(NoteSite, action="tour.note", owner=Owner.SITE)
def note_site(tx: Tx, command: NoteSite) -> None:
    tx.record("kernel/tour", TourNoted(reason="site", count=0))


class Alternative(msgspec.Struct):
    name: str
    score: float
    facts: dict[str, str]
    why: str


class Guardrail(msgspec.Struct):
    name: str
    ok: bool
    why: str


class Decision(msgspec.Struct):
    decision_id: str = "decision-7k2n"
    kind: str = "stay_or_move"
    inputs: tuple[str, ...] = ("ATL1/1/811", "ATL1/1/812")
    policy: str = "stay-or-move v3"
    policy_hash: str = "9f31c2d7a8b0e5aa"
    outcome: str = "stay"
    why: str = (
        "Product reaches −12 °C in 47 min; repair and pull-down take 41 min. Moving warms it by 2.1 °C."
    )
    alternatives: tuple[Alternative, ...] = (
        Alternative("stay", 0.82, {"margin": "6 min", "hands": "0"}, "Limit is not crossed if the ETA holds"),
        Alternative(
            "move to ATL1-FRZ2", 0.61, {"margin": "−9 min", "hands": "4"}, "18 pallets would cross −12 °C"
        ),
        Alternative("reefer trailer", 0.2, {"margin": "−40 min", "hands": "2"}, "Trailer arrives too late"),
    )
    guardrails: tuple[Guardrail, ...] = (
        Guardrail("cold_space_proven", True, "ATL1-FRZ2 held −21 °C for 24 h"),
        Guardrail("eta_confirmed", False, "Technician has not confirmed yet"),
    )


SITES = [
    ("SEA1", "Kent, WA", 47.38, -122.23, "ok", "−20.1°"),
    ("RNO1", "Sparks, NV", 39.53, -119.75, "off", "15 min"),
    ("PHX1", "Tolleson, AZ", 33.45, -112.26, "warn", "−16.2°"),
    ("DEN1", "Aurora, CO", 39.73, -104.83, "ok", "−21.3°"),
    ("DFW1", "Irving, TX", 32.81, -96.95, "ok", "−20.8°"),
    ("MCI1", "Olathe, KS", 38.88, -94.82, "ok", "−19.9°"),
    ("JOT1", "Joliet, IL", 41.53, -88.08, "ok", "−21.0°"),
    ("CMH1", "Groveport, OH", 39.85, -82.88, "ok", "−20.2°"),
    ("ATL1", "Forest Park, GA", 33.62, -84.37, "crit", "−11.2°"),
    ("CLT1", "Concord, NC", 35.41, -80.58, "ok", "−20.7°"),
    ("TPA1", "Lakeland, FL", 28.04, -81.95, "ok", "−20.4°"),
    ("EWR1", "Edison, NJ", 40.52, -74.41, "ok", "−20.9°"),
]
KPIS = [
    ("Sites in range", "10", "of 12", "1 above band, 1 silent", [12, 12, 11, 12, 11, 10], "crit"),
    ("Decisions waiting", "4", "of 7 open", "2 critical, first due 07:12", [2, 3, 2, 1, 3, 4], "crit"),
    ("Stock at risk", "$139.5k", "", "0.9 % of value on hand", [9, 8, 12, 22, 48, 66, 83], "warn"),
    ("Orders out today", "1,048", "", "of 1,284", [20, 80, 260, 590, 820, 1048], ""),
    ("On time, in full", "96.8", "%", "+0.7 on the 28-day mean", [95, 95.9, 96.1, 95.4, 96.8], "ok"),
    ("Energy a case", "1.84", "kWh", "6 % under plan", [2.1, 2.05, 1.97, 1.9, 1.84], "ok"),
]
ROWS = [
    (
        "crit",
        "ATL1",
        "Freezer 1 above −12 °C",
        "38 pallets, 6 lots held · rise 2.9 °C/h",
        Money(4_128_000),
        0.24,
        "47 min",
        "",
        "Decide: stay or move",
    ),
    (
        "crit",
        "ATL1",
        "5 orders short of ICE-VAN-1L",
        "Held stock was promised to them",
        Money(1_264_000),
        0.38,
        "18 min",
        "",
        "Source again from CLT1",
    ),
    (
        "warn",
        "PHX1",
        "Freezer 2 drifting toward −15 °C",
        "Expected to cross in 55 min · coil icing",
        Money(2_891_000),
        0.55,
        "55 min",
        "Mira Ross",
        "Start defrost",
    ),
    (
        "off",
        "RNO1",
        "Node not reporting",
        "Site works offline · 46 facts queued there",
        None,
        0.62,
        "45 min",
        "Kay Tan",
        "Call site",
    ),
]


def frame(unit: str = "c") -> charts.ZoneFrame:
    """Six hours of a freezer that begins to fail."""
    start, n = 1_772_340_000, 240
    t = [start + 90 * i for i in range(n)]
    product = [-21 + 0.2 * math.sin(i / 9) + max(0, i - 150) ** 1.35 / 45 for i in range(n)]
    air = [-21.3 + 0.9 * math.sin(i / 7) + max(0, i - 140) ** 1.4 / 42 for i in range(n)]
    ahead = [t[-1] + 300 * k for k in range(1, 13)]
    mid = [product[-1] + 0.35 * k for k in range(1, 13)]
    return charts.ZoneFrame(
        topic="site/ATL1/ATL1-FRZ1",
        label="ATL1-FRZ1",
        low_c=-25,
        high_c=-18,
        limit_c=-12,
        unit=unit,
        timezone="America/New_York",
        t=t,
        air=[round(v, 2) for v in air],
        product=[round(v, 2) for v in product],
        product_lo=[round(v - 0.5 - i / 400, 2) for i, v in enumerate(product)],
        product_hi=[round(v + 0.5 + i / 400, 2) for i, v in enumerate(product)],
        forecast=charts.Forecast(
            t=ahead,
            mid=mid,
            lo=[v - 0.3 * math.sqrt(k) for k, v in enumerate(mid, 1)],
            hi=[v + 0.3 * math.sqrt(k) for k, v in enumerate(mid, 1)],
        ),
        marks=[charts.Mark(t=t[176], label="pre-alarm", state="warn")],
    )


def pins(selected: str, trouble: str = "") -> list[maps.Pin]:
    """The sites; with `trouble` every one of them is in that state."""
    points = [maps.project(lat, lon) for _, _, lat, lon, _, _ in SITES]
    found = [
        maps.Pin(
            code=code,
            place=place,
            x=x,
            y=y,
            state=trouble or state,
            figure=figure,
            selected=code == selected,
            told=f"{code} {place}, {figure}, {state}",
            href=f"/tour?site={code}",
        )
        for (code, place, _, _, state, figure), (x, y) in zip(SITES, points, strict=True)
    ]
    return maps.labelled(found)


def tour_page(request: Request[Any, Any, Any], db: Reader, form: Form = NO_FORM) -> Response[str]:
    lanes = [
        maps.lane_path((35.41, -80.58), (33.62, -84.37)),
        maps.lane_path((47.38, -122.23), (39.53, -119.75)),
    ]
    unit = visitor_of(request).unit
    return shell.page(
        request,
        "tests/tour.html",
        db,
        title="Control tower",
        nav="/tour",
        topics=("tour", "site/ATL1"),
        kpis=KPIS,
        rows=ROWS,
        pins=pins(request.query_params.get("site", "ATL1"), request.query_params.get("trouble", "")),
        lanes=lanes,
        frame=frame(unit),
        decision=Decision(),
        form=form,
    )


@get("/tour", sync_to_thread=True)
def show_tour(request: Request[Any, Any, Any], db: Db) -> Response[str]:
    return tour_page(request, db)


@post("/tour")
async def post_tour(request: Request[Any, Any, Any], db: Db) -> Response[Any]:
    return await commands.submit_form(
        request,
        NoteTour,
        then="/tour",
        said=lambda outcome: f"Noted {outcome.result['count']} pallets.",
        again=lambda form: tour_page(request, db, form),
    )


@get("/tour/broken", opt={"public": True})
async def broken() -> None:
    raise ZeroDivisionError("insides that nobody should see")


@get("/secret", opt={"action": "tour.secret", "reads": "personal"})
async def secret() -> dict[str, str]:
    return {"secret": "yes"}


class Guide:
    """A door that knows one visitor, or nobody."""

    def __init__(self) -> None:
        self.visitor = Visitor(
            principal=Principal("person-ana", frozenset({"supervisor"}), None),
            name="Ana Ortiz",
            csrf=CSRF,
            timezone="America/New_York",
        )
        self.notes: list[tuple[str, str]] = []
        self.keys = 0

    def identify(self, connection: Connection) -> Visitor:
        if connection.headers.get("x-stranger"):
            return Visitor(csrf="strangers-token")
        by_token = connection.headers.get("authorization") == "Bearer machine"
        unit = connection.cookies.get("coldgrid_unit", "c")
        return msgspec.structs.replace(self.visitor, by_token=by_token, unit=unit)

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        self.notes.append((kind, subject))

    def fresh_key(self) -> str:
        self.keys += 1
        return f"form-{self.keys}"


class Host:
    """A clock that runs from T0 in real time is not needed here: it stands still."""

    authorizer: Authorizer = AllowAll()
    clock: ClockKind = "virtual"

    def now(self) -> datetime:
        return T0

    def entropy(self, count: int) -> bytes:
        return bytes(count)


@dataclass
class Tour:
    """The running app and what the tests look at."""

    app: Litestar
    services: Services
    guide: Guide
    decider: DeciderService


def _badge(badge: shell.Badge | None, db: Reader, visitor: Visitor) -> shell.Badge | None:
    return badge


@contextmanager
def touring(folder: Path, authorizer: Any = None) -> Iterator[Tour]:
    """Run the tour over a database of its own."""
    database = open_database(f"sqlite:///{folder}/tour.db")
    service = DeciderService(Decider(database, Host()), lambda due: (due - T0) / timedelta(seconds=1))
    service.start()

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    guide = Guide()
    services = Services(
        decider=service,
        reader=reader,
        authorizer=authorizer or AllowAll(),
        door=guide,
        now=lambda: T0,
        system_now=lambda: T0,
        templates={"tests": HERE / "templates"},
        search="/search",
        clock_note=lambda: "60 × real time",
    )
    for group, label, href, icon, badge in NAV:
        shell.register_nav(
            shell.NavItem(
                group=group,
                label=label,
                href=href,
                icon=icon,
                phone=bool(badge),
                badge=partial(_badge, badge),
            )
        )
    try:
        yield Tour(create_app(services, [show_tour, post_tour, broken, secret]), services, guide, service)
    finally:
        service.stop()
        database.close()


NAV = [
    ("", "Control tower", "/tour", "tower", shell.Badge(1)),
    ("", "Decisions", "/decisions", "bell", shell.Badge(4, hot=True)),
    ("Run", "Orders", "/orders", "cart", shell.Badge(12)),
    ("Run", "Stock", "/stock", "box", None),
    ("Assure", "Temperature", "/telemetry", "thermo", shell.Badge(2)),
    ("Assure", "Quality", "/quality", "shield", None),
    ("Plan", "Network", "/network", "site", None),
    ("Set up", "People", "/people", "people", None),
    ("Set up", "API", "/api", "code", None),
]
