"""The first run over plain forms: what it puts in force, what it refuses; nothing in it is lost or twice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from coldgrid.access.passwords import hash_password
from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson
from coldgrid.catalog.limits import limits_of
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.settings import Settings
from coldgrid.network.change_rules import ChangeStatus, DraftChange
from coldgrid.network.changes import list_changes
from coldgrid.network.groups import NETWORK_GROUP, get_group, on_duty
from coldgrid.network.profile import profile_of, set_up_open
from coldgrid.network.sites import SiteKind, get_site, site_labels
from coldgrid.network.zones import locations_of_zone, zones_of
from coldgrid.telemetry.sensors import list_sensors
from coldgrid.tower.first_run.link import base_of
from coldgrid.tower.first_run.sensor_pages import broker_options
from tests.adapters.servers import broker
from tests.conftest import service_missing
from tests.network.master import group
from tests.patience import eventually
from tests.tower.new_network import PASSWORD, SITE, Guest, NewNetwork, guest_of, new_network

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[NewNetwork]:
    with new_network(tmp_path) as made:
        yield made


@pytest.fixture
def guest(network: NewNetwork) -> Iterator[Guest]:
    """The admin of a new network, which has its name already."""
    with guest_of(network) as made:
        made.become_admin()
        made.send("/first-run/network", "/first-run/network", name="Frostwerk", unit="c")
        yield made


def errors(page: str) -> list[str]:
    """What a page says is wrong, field by field."""
    return [
        re.sub(r"<[^>]+>", "", found).strip()
        for found in re.findall(r'<p class="error"[^>]*>(.*?)</p>', page, re.DOTALL)
    ]


def heard_in(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", page).split())


class TestTheWholeWay:
    def test_from_an_empty_database_to_a_site_that_is_watched(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        _walk(guest)
        summary = heard_in(guest.get("/first-run/summary"))
        assert "CGN1-FRZ1-T1 is heard" in summary
        assert "CGN1-CHL1 is not measured" in summary
        done = guest.send("/first-run/finish", "/first-run/summary")
        assert done.headers["location"] == "/"
        with network.tower.reader() as db:
            site = get_site(db, "CGN1")
            told = (site.name, site.kind, site.country, site.lat)
            assert told == ("Köln-Süd 冷", SiteKind.STORE, "DE", 52.5)
            assert [zone.zone_id for zone in zones_of(db, "CGN1")] == ["CGN1-CHL1", "CGN1-FRZ1"]
            assert len(locations_of_zone(db, "CGN1-FRZ1")) == 6
            duty = on_duty(db, site.escalation_group, datetime.now(UTC))
            assert [contact.address for contact in duty[0].contacts] == ["+491701234567"] * 2
            assert {limit.source for limit in limits_of(db, "ICE-CREAM")}
            profile = profile_of(db)
            assert profile is not None
            assert profile.finished_at is not None

    def test_who_sets_a_network_up_is_the_first_to_answer_for_it(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        with network.tower.reader() as db:
            (duty,) = on_duty(db, NETWORK_GROUP, datetime.now(UTC))
            assert [contact.address for contact in duty.contacts] == ["ana@example.com"]

    def test_a_sensor_that_is_registered_and_was_not_heard_yet_is_not_asked_for_again(
        self, guest: Guest
    ) -> None:
        guest.make_site()
        told: dict[str, Any] = {"zone_id": "CGN1-FRZ1", "unit": "C", "interval_s": "60"}
        assert guest.send("/first-run/sensor", "/first-run/sensor", **told).status_code == 303
        summary = heard_in(guest.get("/first-run/summary"))
        assert "CGN1-FRZ1 has a sensor that was not heard yet: how it is heard" in summary
        assert "CGN1-CHL1 is not measured: register a sensor" in summary

    def test_a_group_for_the_network_that_is_there_is_left_alone(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        with network.tower.reader() as db:
            before = get_group(db, NETWORK_GROUP)
        guest.make_site(site_id="CGN2", reach="+491701234567")
        with network.tower.reader() as db:
            assert get_group(db, NETWORK_GROUP) == before

    def test_every_fact_is_a_change_that_names_the_admin_who_was_signed_in(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        _walk(guest)
        told = network.types()
        rooms = ("network.", "catalog.", "telemetry.")
        (actor,) = {actor for type_, actor in told if type_.startswith(rooms)}
        assert actor.startswith("person-")
        types = [type_ for type_, _ in told]
        assert types.count("network.change_drafted") == types.count("network.change_approved") == 3

    def test_every_link_of_every_step_leads_somewhere(self, guest: Guest) -> None:
        _walk(guest)
        steps = ("network", "site", "products", "sensor", "sensor/CGN1-FRZ1-T1", "people", "summary")
        links = {
            link
            for step in steps
            for link in re.findall(r'href="(/[^"#]*)"', guest.get(f"/first-run/{step}"))
            if not link.startswith("/static")
        }
        assert "/catalog/ICE-CREAM" in links
        assert "/sites/CGN1/devices" in links
        led = {link: guest.client.get(link).status_code for link in sorted(links)}
        assert {link: status for link, status in led.items() if status not in (200, 303)} == {}

    def test_a_zones_page_shows_its_defrost_plan_and_leads_to_one(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        assert "No defrost is planned" in guest.get("/network/zones/CGN1-FRZ1")
        drafted = guest.send(
            "/network/new/defrost",
            "/network/new/defrost",
            **_plan(),
            days=["mon", "tue"],
            reason="the coil ices",
        )
        place = drafted.headers["location"]
        assert guest.send(f"{place}/approve", place, reason="as the maker says").status_code == 303
        said = heard_in(guest.get("/network/zones/CGN1-FRZ1"))
        assert "Planned at02:00, 14:00" in said.replace("Planned at 0", "Planned at0")
        assert "mon tue" in said

    def test_it_can_be_left_at_any_step_and_taken_up_where_it_was(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        guest.send("/first-run/skip/products", "/first-run/products")
        guest.client.cookies.clear()
        guest.sign_in("ana")
        assert guest.client.get("/first-run").headers["location"] == "/first-run/sensor"
        assert "CGN1 · Köln-Süd 冷" in guest.get("/first-run/site"), "going back shows what is there"
        assert "still being set up" in guest.get("/"), "every other page leads back"
        skipped = guest.get("/first-run/summary")
        assert "for later" in skipped

    def test_everything_may_be_left_for_later_but_the_name(self, network: NewNetwork, guest: Guest) -> None:
        for step in ("site", "products", "sensor", "people"):
            answer = guest.send(f"/first-run/skip/{step}", f"/first-run/{step}")
            assert answer.status_code == 303
        assert guest.client.get("/first-run").headers["location"] == "/first-run/summary"
        assert "Set a site up first" in guest.get("/first-run/sensor")
        assert guest.send("/first-run/finish", "/first-run/summary").status_code == 303

    def test_the_unit_that_was_chosen_shows_everywhere_at_once(self, guest: Guest) -> None:
        guest.make_site()
        assert "−28 to −18 °C" in guest.get("/first-run/site")
        guest.send("/first-run/network", "/first-run/network", name="Frostwerk", unit="f")
        assert "−18.4 to −0.4 °F" in guest.get("/first-run/site")


def _walk(guest: Guest) -> None:
    """Set up a site, products and a sensor, and send its first reading as its gateway would."""
    assert guest.client.get("/first-run").headers["location"] == "/first-run/site"
    assert guest.make_site(reach="+49 170 1234567").headers["location"] == "/first-run/products"
    chosen = guest.send("/first-run/products", "/first-run/products", products=["ICE-CREAM", "RTE-CHILL"])
    assert chosen.headers["location"] == "/first-run/sensor"
    told: dict[str, Any] = {"zone_id": "CGN1-FRZ1", "unit": "C", "interval_s": "60"}
    place = guest.send("/first-run/sensor", "/first-run/sensor", **told).headers["location"]
    assert place == "/first-run/sensor/CGN1-FRZ1-T1"
    shown = guest.send(f"{place}/token", place).text
    assert "Waiting for the first reading" in shown
    assert _send_reading(guest, shown, "CGN1-FRZ1-T1").status_code == 200
    said = heard_in(guest.get(f"{place}/heard"))
    assert "The first reading is here: −21.4 °C" in said
    assert "within the band of CGN1-FRZ1, −28 to −18 °C" in said
    assert "hx-get" not in guest.get(f"{place}/heard"), "it waits no more"


def _send_reading(guest: Guest, shown: str, sensor_id: str) -> Any:
    """Send a reading with the token that a page shows."""
    token = re.search(r'id="token">([^<]+)<', shown)
    assert token
    reading = {"sensor_id": sensor_id, "at": datetime.now(UTC).isoformat(), "value": -21.4}
    headers = {"authorization": f"Bearer {token.group(1)}"}
    return guest.client.post("/api/v1/readings", json=reading, headers=headers)


def _plan() -> dict[str, Any]:
    times = "- 02:00\n- 14:00"
    return {"zone_id": "CGN1-FRZ1", "site_id": "CGN1", "times": times, "lasts_min": "25", "active": "on"}


class TestWhoMay:
    def test_a_network_that_was_there_before_never_shows_it(self, network: NewNetwork) -> None:
        with guest_of(network) as guest:
            network.do(DraftChange(change_id="c1", items=[group()], reason="long ago"))
            guest.become_admin()
            assert guest.client.get("/first-run").status_code == 409
            for path in ("/first-run/network", "/first-run/site", "/first-run/summary"):
                answer = guest.client.get(path)
                assert (answer.status_code, "is set up" in answer.text) == (409, True)
            page = guest.get("/")
            assert "still being set up" not in page
            assert "First steps" not in page

    def test_when_it_ended_it_is_over_for_good(self, network: NewNetwork, guest: Guest) -> None:
        page = guest.get("/first-run/site")
        guest.send("/first-run/finish", "/first-run/summary")
        late = guest.send("/first-run/site", page)
        assert late.status_code == 409
        assert "First steps" not in guest.get("/")
        with network.tower.reader() as db:
            assert not set_up_open(db)
            assert site_labels(db) == []

    def test_somebody_who_is_no_admin_is_refused_and_not_led_there(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        guest.client.cookies.clear()
        _add(network, "ben", Role.PLANNER)
        guest.sign_in("ben")
        assert guest.client.get("/first-run/site").status_code == 403
        assert "still being set up" not in guest.get("/")

    def test_two_admins_at_once_do_not_overwrite_each_other_and_approve_for_each_other(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        page = guest.get("/first-run/site")
        _add(network, "ben", Role.ADMIN)
        mine = guest.make_site(name="Ana's")
        assert mine.status_code == 409
        assert "another admin approves it" in mine.text
        ben = Guest(network)
        ben.sign_in("ben")
        with network.tower.reader() as db:
            (waiting,) = list_changes(db, ChangeStatus.DRAFTED)
        approved = ben.send(
            f"/network/changes/{waiting.change_id}/approve",
            f"/network/changes/{waiting.change_id}",
            reason="we agreed",
        )
        assert approved.status_code == 303
        again = guest.send("/first-run/site", page, **{**_site(), "name": "Ana's other"})
        assert again.status_code == 422
        assert errors(again.text) == [
            "CGN1 is there already. Choose another number, as CGN2, or change it under Network."
        ]
        with network.tower.reader() as db:
            assert get_site(db, "CGN1").name == "Ana's"

    def test_two_windows_that_set_the_same_site_up_at_the_same_moment_make_one_of_them(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        windows = [Guest(network) for _ in range(4)]
        for window in windows:
            window.sign_in("ana")
        pages = [window.get("/first-run/site") for window in windows]

        def send(number: int) -> int:
            told = _site() | {"name": f"Window {number}"}
            return int(windows[number].send("/first-run/site", pages[number], **told).status_code)

        with ThreadPoolExecutor(len(windows)) as pool:
            statuses = sorted(pool.map(send, range(len(windows))))
        assert statuses[0] == 303
        assert set(statuses[1:]) <= {409, 422}, statuses
        with network.tower.reader() as db:
            assert list_changes(db, ChangeStatus.DRAFTED) == [], "nothing is left half done"
            (approved,) = list_changes(db, ChangeStatus.APPROVED)
            assert get_site(db, "CGN1").name.startswith("Window")
            assert approved.drafted_by == approved.decided_by


def _site() -> dict[str, Any]:
    return dict(SITE)


def _add(network: NewNetwork, login: str, role: Role) -> None:
    network.do(
        AddPerson(
            person_id=f"person-{login}",
            name=login.capitalize(),
            login=login,
            roles=[role],
            password_hash=hash_password(PASSWORD),
            temporary=False,
        ),
        SYSTEM,
    )


class TestBadInput:
    def test_every_field_that_is_wrong_is_told_at_once_and_nothing_is_drafted(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        answer = guest.make_site(
            site_id="cgn-1",
            name="",
            city="x" * 81,
            timezone="Europe/Berln",
            lat="52°",
            lon="200",
            opens="9",
            closes="",
            carrier="",
            cutoff="18:30",
            reach="ask Ana",
            rooms=[],
            site_kind="palace",
        )
        assert answer.status_code == 422
        told = errors(answer.text)
        assert len(told) == 12, told
        assert any("Did you mean CGN1?" in text for text in told), told
        assert any("Did you mean Europe/Berlin?" in text for text in told), told
        assert 'value="ask Ana"' in answer.text, "what was typed is kept"
        with network.tower.reader() as db:
            assert list_changes(db) == []

    def test_a_place_that_cannot_be_guessed_is_asked_for_and_a_wrong_one_noticed(self, guest: Guest) -> None:
        no_town = guest.make_site(timezone="Etc/GMT+5")
        assert errors(no_town.text) == [
            "Cannot be guessed from this time zone. Give both, as 33.62 and -84.37."
        ]
        swapped = guest.make_site(lat="13.4", lon="-152,5")
        assert "far from Europe/Berlin" in errors(swapped.text)[0]
        assert guest.make_site(lat="50,93", lon="6.96").status_code == 303

    def test_a_button_pressed_twice_does_its_work_once(self, network: NewNetwork, guest: Guest) -> None:
        page = guest.get("/first-run/site")
        answers = [guest.send("/first-run/site", page, **_site()) for _ in range(2)]
        assert [(a.status_code, a.headers["location"]) for a in answers] == [(303, "/first-run/products")] * 2
        page = guest.get("/first-run/sensor")
        for _ in range(2):
            sent = guest.send("/first-run/sensor", page, zone_id="CGN1-CHL1", unit="C", interval_s="60")
            assert sent.status_code == 303
        page = guest.get("/first-run/sensor/CGN1-CHL1-T1")
        tokens = {
            re.search(r'id="token">([^<]+)<', sent.text).group(1)  # type: ignore[union-attr]
            for _ in range(2)
            if (sent := guest.send("/first-run/sensor/CGN1-CHL1-T1/token", page))
        }
        assert len(tokens) == 1
        with network.tower.reader() as db:
            assert len(list_changes(db)) == 2
            assert [sensor.sensor_id for sensor in list_sensors(db)] == ["CGN1-CHL1-T1"]
        assert [type_ for type_, _ in network.types()].count("access.token_issued") == 1

    def test_files_with_bad_lines_put_nothing_in_force_and_name_every_line(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        bad = b"zone_id,site_id,name\nATL-1,ATL1,\xff\n"
        worse = b"sites:\n  - site_id: atl1\n    name: Atlanta\nlanes:\n  - lane_id: A-B\n"
        answer = guest.send(
            "/first-run/site/import", "/first-run/site", files=[("zones.csv", bad), ("sites.yaml", worse)]
        )
        assert answer.status_code == 422
        said = heard_in(answer.text)
        assert "nothing was put in force" in said
        for told in ("zones.csv", "is not UTF-8", "sites.yaml", "lane_id", "from_site"):
            assert told in said, told
        with network.tower.reader() as db:
            assert list_changes(db) == []

    def test_good_files_are_the_first_site(self, network: NewNetwork, guest: Guest) -> None:
        demo = Path(__file__).parents[2] / "src/coldgrid/tower/demo/data"
        names = ("groups.yaml", "sites.yaml", "zones.csv", "locations.csv")
        files = [(name, (demo / name).read_bytes()) for name in names]
        answer = guest.send("/first-run/site/import", "/first-run/site", files=files)
        assert (answer.status_code, answer.headers["location"]) == (303, "/first-run/products")
        with network.tower.reader() as db:
            assert len(site_labels(db)) == 12
        assert "after" in guest.get("/first-run/people")

    def test_a_form_without_its_token_changes_nothing(self, guest: Guest) -> None:
        assert guest.client.post("/first-run/site", data=_site()).status_code == 403
        assert guest.client.post("/first-run/finish").status_code == 403

    def test_products_must_be_chosen_and_a_room_too(self, guest: Guest) -> None:
        guest.make_site()
        none = guest.send("/first-run/products", "/first-run/products")
        assert (none.status_code, errors(none.text)) == (
            422,
            ["None is chosen. Tick at least one, or leave products for later."],
        )
        wrong = guest.send(
            "/first-run/sensor", "/first-run/sensor", zone_id="CGN1-AMB1", unit="K", interval_s="soon"
        )
        assert (wrong.status_code, len(errors(wrong.text))) == (422, 2)
        missing = guest.send(
            "/first-run/sensor", "/first-run/sensor", zone_id="CGN1-AMB1", unit="C", interval_s="60"
        )
        assert missing.status_code == 404

    def test_readings_that_cannot_be_used_are_shown_to_who_waits(self, guest: Guest) -> None:
        guest.make_site()
        guest.send("/first-run/sensor", "/first-run/sensor", zone_id="CGN1-FRZ1", unit="C", interval_s="60")
        place = "/first-run/sensor/CGN1-FRZ1-T1"
        _send_reading(guest, guest.send(f"{place}/token", place).text, "CGN1-FRZ1-T7")
        said = heard_in(guest.get(f"{place}/heard"))
        assert "Something came that could not be used" in said
        assert "CGN1-FRZ1-T7" in said


def test_what_the_page_says_about_mqtt_brings_a_reading_in(tmp_path: Path) -> None:
    program = shutil.which("mosquitto_pub")
    if program is None:
        service_missing("mosquitto_pub")
    site = f"Q{chr(65 + os.getpid() % 26)}{chr(65 + os.getpid() // 26 % 26)}1"  # nobody else's topic
    settings = {"mqtt_url": broker(), "mqtt_client_id": f"first-run-{os.getpid()}", "mqtt_connections": 1}
    with new_network(tmp_path, **settings) as network, guest_of(network) as guest:
        guest.become_admin()
        guest.send("/first-run/network", "/first-run/network", name="Frostwerk", unit="c")
        guest.make_site(site_id=site)
        told: dict[str, Any] = {"zone_id": f"{site}-FRZ1", "unit": "C", "interval_s": "60"}
        place = guest.send("/first-run/sensor", "/first-run/sensor", **told).headers["location"]
        command = re.search(r'id="publish">(.*?)</code>', guest.get(place), re.DOTALL)
        assert command
        ends_s = time.monotonic() + 60
        said = ""
        while "The first reading is here: −22.0 °C" not in said:
            assert time.monotonic() < ends_s, said
            subprocess.run(["bash", "-c", command.group(1)], check=True, timeout=30)
            time.sleep(0.5)
            said = heard_in(guest.get(f"{place}/heard"))


class TestWhoIsWoken:
    def test_an_address_is_tried_and_what_came_of_it_is_shown(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        page = guest.get("/first-run/people")
        assert "Nothing wakes you yet" in page
        form = guest.hidden(page, "/first-run/people/try")
        assert form["channel"] == "email"
        assert guest.send("/first-run/people/try", page).status_code == 303
        eventually(lambda: "taken" in heard_in(guest.get("/first-run/people/trials")), "taken")
        with network.tower.reader() as db:
            assert [type_ for type_, _ in network.types()].count("orchestration.contact_tried") == 1
            assert get_group(db, "GRP-CGN1").people[0].address == "ana@example.com"
        assert guest.client.get("/first-run").headers["location"] == "/first-run/products"

    def test_a_channel_without_a_server_says_which_setting_is_empty(self, guest: Guest) -> None:
        guest.make_site(reach="+491701234567")
        assert "COLDGRID_SMS_URL" in guest.get("/first-run/people")
        guest.send("/first-run/people/try", "/first-run/people")
        eventually(lambda: "not sent" in heard_in(guest.get("/first-run/people/trials")), "not sent")

    def test_ones_own_addresses_are_changed_all_at_once_and_wrong_ones_told_at_their_fields(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        wrong = guest.send(
            "/first-run/people/own", "/first-run/people", mobile="ana@example.com", email="x", webhook=""
        )
        assert (wrong.status_code, len(errors(wrong.text))) == (422, 2)
        none = guest.send("/first-run/people/own", "/first-run/people", mobile="", email="", webhook="")
        assert "Nothing would reach you" in errors(none.text)[0]
        told: dict[str, Any] = {
            "mobile": "+49 170 1234567",
            "email": "ana@example.com",
            "webhook": "https://example.com/h",
        }
        assert guest.send("/first-run/people/own", "/first-run/people", **told).status_code == 303
        assert "Nothing wakes you yet" not in guest.get("/first-run/people")
        with network.tower.reader() as db:
            people = [get_group(db, group_id).people for group_id in ("GRP-CGN1", "GRP-NET")]
        for contacts in people:
            assert [contact.channel.value for contact in contacts] == ["sms", "voice", "email", "webhook"]

    def test_a_colleague_may_sign_in_and_is_woken_next_and_a_second_press_shows_the_same_password(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        page = guest.get("/first-run/people")
        told: dict[str, Any] = {"name": "Béla Kovács", "login": "bela", "reach": "+36301234567"}
        secrets = [
            re.search(r'class="secret">bela · ([^<]+)<', answer.text)
            for _ in range(2)
            if (answer := guest.send("/first-run/people/colleague", page, **told))
        ]
        assert secrets[0]
        assert secrets[1]
        assert secrets[0].group(1) == secrets[1].group(1)
        with network.tower.reader() as db:
            steps = get_group(db, "GRP-CGN1").steps
        assert [(step.after_min, len(step.contacts)) for step in steps] == [(0, 0), (15, 2)]
        guest.client.cookies.clear()
        guest.sign_in("bela", secrets[0].group(1))

    def test_a_colleague_without_name_login_or_address_is_refused_whole(
        self, network: NewNetwork, guest: Guest
    ) -> None:
        guest.make_site()
        answer = guest.send(
            "/first-run/people/colleague", "/first-run/people", name="", login="", reach="by foot"
        )
        assert (answer.status_code, len(errors(answer.text))) == (422, 3)
        taken = guest.send(
            "/first-run/people/colleague", "/first-run/people", name="A", login="ana", reach="a@example.com"
        )
        assert taken.status_code == 409
        with network.tower.reader() as db:
            assert len(get_group(db, "GRP-CGN1").steps) == 1


@pytest.mark.parametrize(
    ("told", "base"),
    [
        ({"port": 8081}, "http://127.0.0.1:8081"),
        ({"host": "10.0.0.5", "port": 80}, "http://10.0.0.5:80"),
        ({"host": "0.0.0.0", "port": 8081}, "http://127.0.0.1:8081"),
        ({"host": "::", "public_url": "https://cold.example/"}, "https://cold.example"),
    ],
)
def test_the_address_in_the_terminal_can_be_opened_whatever_the_tower_listens_on(
    told: dict[str, Any], base: str
) -> None:
    assert base_of(Settings(**told)) == base


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("", ""),
        ("mqtt://10.0.0.7", "-h 10.0.0.7"),
        ("mqtt://broker.example:1883", "-h broker.example"),
        ("mqtt://ana:secret@broker.example:8883", "-h broker.example -p 8883 -u ana -P …"),
    ],
)
def test_the_publishing_command_names_the_broker_and_never_its_password(url: str, options: str) -> None:
    assert broker_options(url) == options
