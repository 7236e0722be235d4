"""Pages and API: what who may see and do, without JavaScript, and replies from a gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from coldgrid.orchestration import views
from coldgrid.orchestration.approvals import ApprovalStatus, approvals_of
from coldgrid.orchestration.escalation import pages_of
from coldgrid.orchestration.incidents import AdvanceIncident, Status, UpdateIncident, get_incident
from coldgrid.orchestration.playbook_library import shipped
from coldgrid.orchestration.replies import Reply, reply_of, reply_token
from coldgrid.orchestration.severity import Severity
from coldgrid.orchestration.tasks import tasks_of
from tests.orchestration.office import CSRF, SECRET, Client, Office, begin_the_night, open_office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with open_office(tmp_path) as made:
        begin_the_night(made)
        yield made


@pytest.fixture
def client(office: Office) -> Iterator[Client]:
    with TestClient(office.app, raise_server_exceptions=False) as made:
        made.headers["x-csrf-token"] = CSRF
        made.follow_redirects = False
        yield made


def send(client: Client, path: str, who: str = "sam", **data: str) -> Any:
    return client.post(path, data={"_csrf": CSRF, **data}, headers={"x-as": who})


def approval(office: Office) -> Any:
    return office.read(lambda db: approvals_of(db, "incident-1"))[0]


def test_the_glossary_has_the_word_of_every_severity() -> None:
    rows = (Path(__file__).parents[2] / "docs/glossary.md").read_text().splitlines()
    (row,) = (line for line in rows if line.startswith("| severity of an incident |"))
    assert all(severity.word.lower() in row for severity in Severity)


class TestIncidents:
    def test_the_list_shows_what_is_at_stake_and_the_next_step(self, client: Client) -> None:
        text = client.get("/incidents").text
        for told in ("Excursion risk", "ATL1-FRZ1 warms", "$41,280", "47 min", "Move the goods of ATL1-FRZ1"):
            assert told in text

    def test_who_is_responsible_for_another_site_sees_nothing_of_it(self, client: Client) -> None:
        assert "ATL1-FRZ1" not in client.get("/incidents", headers={"x-as": "far"}).text
        assert client.get("/incidents/incident-1", headers={"x-as": "far"}).status_code == 404
        assert client.get("/api/v1/incidents", headers={"x-as": "far"}).json() == []
        assert client.get("/incidents", headers={"x-as": "nobody"}).status_code == 401

    def test_the_page_tells_the_story_so_far(self, client: Client) -> None:
        text = client.get("/incidents/incident-1").text
        for told in (
            "Incident opened: ATL1-FRZ1 warms",
            "owner paged by sms, email, step 1",
            "More serious now: excursion risk",
            "Ice on the coil (1 attached)",
            "Approve: ATL1-FRZ2",
            "keeps everything within its limit",
            "loses 3 of 3 products",
            "$12",
            "+4.5 °C/h",
        ):
            assert told in text, told

    def test_temperatures_are_in_the_readers_unit(self, client: Client) -> None:
        client.cookies.set("coldgrid_unit", "f")
        text = client.get("/incidents/incident-1").text
        assert "11.8 °F" in text
        assert "−11.2 °C" not in text

    def test_a_part_is_shown_again_and_news_of_what_waits_are_told(self, client: Client) -> None:
        page = client.get("/incidents/incident-1").text
        shown = re.search(r"part/news\?shown=([\d.]+)", page)
        assert shown
        for part in ("facts", "timeline", "people"):
            assert client.get(f"/incidents/incident-1/part/{part}").status_code == 200
        assert client.get(f"/incidents/incident-1/part/news?shown={shown[1]}").text.strip() == ""
        assert "has changed" in client.get("/incidents/incident-1/part/news?shown=9.9").text
        assert client.get("/incidents/incident-1/part/forms").status_code == 404

    def test_taking_it_on_makes_the_owner(self, client: Client, office: Office) -> None:
        assert "Take it on" in client.get("/incidents/incident-1").text
        answer = send(client, "/incidents/incident-1/acknowledge")
        assert (answer.status_code, answer.headers["location"]) == (303, "/incidents/incident-1")
        assert office.read(lambda db: get_incident(db, "incident-1")).owner == "sam"
        assert "Take it on" not in client.get("/incidents/incident-1").text

    def test_who_took_it_on_is_named_once(self, client: Client) -> None:
        send(client, "/incidents/incident-1/acknowledge")
        timeline = client.get("/incidents/incident-1/part/timeline").text
        (line,) = re.findall(r"<li.*?took the incident on.*?</li>", timeline, re.DOTALL)
        assert line.count("sam") == 1

    def test_a_limit_that_was_passed_is_not_told_as_time_to_it(self, client: Client, office: Office) -> None:
        assert "to its limit, as it warms now" in client.get("/incidents/incident-1").text
        office.do(
            UpdateIncident(
                site_id="ATL1",
                incident_id="incident-1",
                facts={"limit_at": office.host.now() - timedelta(minutes=1)},
            )
        )
        text = client.get("/incidents/incident-1").text
        assert "over its limit" in text
        assert "to its limit, as it warms now" not in text

    def test_a_repair_is_expected_until_its_time_and_not_after_the_recovery(
        self, client: Client, office: Office
    ) -> None:
        said: Any = {"site_id": "ATL1", "incident_id": "incident-1"}
        facts = {"repair_at": office.host.now() + timedelta(minutes=90)}
        office.do(UpdateIncident(**said, facts=facts))
        assert "<dt>Repair expected</dt>" in client.get("/incidents/incident-1").text
        office.host.instant += timedelta(minutes=91)
        assert "<dt>Repair was expected</dt>" in client.get("/incidents/incident-1").text
        office.do(AdvanceIncident(**said, status=Status.RECOVERED))
        text = client.get("/incidents/incident-1/part/facts").text
        assert "<dt>Recovered</dt>" in text
        assert "repair was expected at" in text
        assert "Repair expected" not in text

    def test_what_quality_has_to_decide_is_the_next_step_when_no_task_waits(self, office: Office) -> None:
        opened = office.read(lambda db: get_incident(db, "incident-1"))
        facts = {"next_step": "Shut the doors", "undecided_units": 2}
        waits = msgspec.structs.replace(opened, status=Status.DISPOSITION_PENDING, facts=facts)
        assert views.next_step(waits, [], []) == "Decide what becomes of 2 units"

    def test_a_note_that_is_empty_is_shown_again(self, client: Client) -> None:
        assert send(client, "/incidents/incident-1/note", text="frost on the door").status_code == 303
        assert "frost on the door" in client.get("/incidents/incident-1").text

    def test_closing_before_everything_is_decided_is_refused_with_what_to_do(self, client: Client) -> None:
        answer = send(client, "/incidents/incident-1/advance", status="closed")
        assert answer.status_code == 409
        assert "Sign the open dispositions" in answer.text

    def test_what_is_to_be_filled_in_stands_before_the_timeline_that_grows(self, client: Client) -> None:
        text = client.get("/incidents/incident-1").text
        assert text.index("Add to the record") < text.index("Take the step") < text.index('id="story"')

    def test_the_counts_of_the_menu_are_swapped_when_an_open_page_hears_of_news(
        self, client: Client, office: Office
    ) -> None:
        page = client.get("/decisions").text
        assert 'hx-get="/menu/badges" hx-trigger="paced" data-on="incident"' in page
        assert re.search(r'sse-connect="/stream\?topics=decisions%2Cincidents"', page)
        one = r'<span id="n-{}" hx-swap-oob="true" class="n(?: hot)?">1<span'
        told = client.get("/menu/badges").text
        for bar in ("rail", "tab"):
            for place in ("incidents", "decisions"):
                assert f'id="n-{bar}-{place}"' in page
                assert re.search(one.format(f"{bar}-{place}"), told), told
        send(client, f"/approvals/{approval(office).approval_id}", choice="ATL1-FRZ2", override="false")
        assert re.search(
            r'id="n-rail-decisions" hx-swap-oob="true" class="n" hidden>', client.get("/menu/badges").text
        )
        assert client.get("/menu/badges", headers={"x-as": "nobody"}).status_code == 401

    def test_an_auditor_sees_and_does_nothing(self, client: Client) -> None:
        text = client.get("/incidents/incident-1", headers={"x-as": "aud"}).text
        assert "Take it on" not in text
        assert "Add to the record" not in text
        assert send(client, "/incidents/incident-1/note", "aud", text="x").status_code == 403

    def test_nothing_is_found_under_another_name(self, client: Client) -> None:
        assert client.get("/incidents/nope").status_code == 404
        assert client.get("/runs/nope").status_code == 404
        assert client.get("/decisions/nope").status_code == 404
        assert client.get("/approvals/nope").status_code == 404


class TestTasks:
    def doors(self, office: Office) -> str:
        run = next(
            task for task in office.read(lambda db: tasks_of(db, "incident-1")) if task.step == "doors"
        )
        return f"/incidents/incident-1/tasks/{run.run_id}/doors"

    def test_an_operator_answers_and_a_supervisor_does_not(self, client: Client, office: Office) -> None:
        path = self.doors(office)
        assert path in client.get("/incidents/incident-1", headers={"x-as": "owner"}).text
        assert path not in client.get("/incidents/incident-1").text
        assert send(client, path, answer="shut").status_code == 403
        assert send(client, path, "owner", answer="shut").status_code == 303
        assert (
            "Shut the doors of ATL1-FRZ1 and keep them shut: shut" in client.get("/incidents/incident-1").text
        )

    def test_a_value_that_does_not_fit_is_shown_where_it_was_typed(
        self, client: Client, office: Office
    ) -> None:
        path = self.doors(office).replace("/doors", "/technician")
        typed = {"answer": "called", "values.repair_eta_min": "soon", "values.fault": "trips"}
        answer = send(client, path, "owner", **typed)
        assert answer.status_code == 422
        assert "s not a number" in answer.text, answer.text
        assert 'value="soon"' in answer.text
        assert 'value="trips"' in answer.text
        assert send(client, path, "owner", **{**typed, "values.repair_eta_min": "90,5"}).status_code == 303
        assert "repair in 1 h 30 min</span>" in client.get("/incidents/incident-1").text
        assert office.read(lambda db: get_incident(db, "incident-1")).picture.fault == "trips"


class TestDecisions:
    def test_the_inbox_is_by_role(self, client: Client) -> None:
        mine = client.get("/decisions").text
        assert "Move the goods of ATL1-FRZ1 under hold" in mine
        assert "Shut the doors" not in mine
        assert "Shut the doors" in client.get("/decisions?show=others").text
        assert "Nothing waits for you" in client.get("/decisions", headers={"x-as": "quinn"}).text
        assert "Nothing waits for you" in client.get("/decisions", headers={"x-as": "far"}).text

    def test_agreeing_is_one_press(self, client: Client, office: Office) -> None:
        one = approval(office)
        answer = send(client, f"/approvals/{one.approval_id}", choice="ATL1-FRZ2", override="false")
        assert (answer.status_code, answer.headers["location"]) == (303, "/incidents/incident-1")
        assert approval(office).status is ApprovalStatus.AGREED
        assert [name for name, _ in office.world.done] == ["rescue_transfer"]

    def test_an_override_wants_a_reason_and_keeps_what_was_chosen(
        self, client: Client, office: Office
    ) -> None:
        path = f"/approvals/{approval(office).approval_id}"
        refused = send(client, path, choice="stay, doors shut", override="true", reason="")
        assert refused.status_code == 422
        assert "an override says why" in refused.text.lower()
        assert 'value="stay, doors shut" checked' in refused.text
        said = send(client, path, choice="stay, doors shut", override="true", reason="the dock is blocked")
        assert said.status_code == 303
        assert "the dock is blocked" in client.get("/incidents/incident-1").text
        assert office.world.done == []

    def test_another_role_sees_but_does_not_decide(self, client: Client, office: Office) -> None:
        path = f"/approvals/{approval(office).approval_id}"
        assert "Waits for the role" in client.get(path, headers={"x-as": "quinn"}).text
        assert send(client, path, "quinn", choice="ATL1-FRZ2", override="false").status_code == 403
        assert client.get(path, headers={"x-as": "far"}).status_code == 404

    def test_the_record_shows_what_it_knew(self, client: Client, office: Office) -> None:
        record = client.get(f"/decisions/{approval(office).decision.decision_id}").text
        assert "the product crosses its limit before the repair" in record
        assert "crosses" in record
        weighed = client.get("/decisions?show=made").text
        found = re.search(r'href="(/decisions/decision-[a-z0-9]+)">playbook: weigh', weighed)
        assert found
        text = client.get(found[1]).text
        assert "freezer-excursion@2" in text
        assert "fact.stay_or_move.facts.moves is yes" in text

    def test_a_decision_of_the_program_may_be_put_aside_with_a_reason(self, client: Client) -> None:
        weighed = client.get("/decisions?show=made").text
        found = re.search(r'href="(/decisions/decision-[a-z0-9]+)">playbook: weigh', weighed)
        assert found
        assert send(client, found[1], outcome="stay", reason="").status_code == 422
        assert send(client, found[1], outcome="stay", reason="the forecast is wrong").status_code == 303
        assert "the forecast is wrong" in client.get(found[1]).text


class TestPlaybooks:
    def test_what_a_version_says_and_where_a_run_stands(self, client: Client, office: Office) -> None:
        page = client.get("/playbooks").text
        found = re.search(r'href="(/playbooks/[0-9a-f]{64})">A freezer warms', page)
        assert found
        assert "operator: shut, cannot" in client.get(found[1]).text
        run_id = office.read(lambda db: tasks_of(db, "incident-1"))[0].run_id
        assert "Approve the rescue transfer" in client.get(f"/runs/{run_id}").text

    def test_a_broken_one_is_shown_again_with_every_line_and_a_good_one_takes_over(
        self, client: Client, office: Office
    ) -> None:
        source = shipped()["freezer-excursion"].replace("version: 2", "version: 3")
        broken = source.replace("role: supervisor", "rolle: supervisor")
        answer = send(client, "/playbooks", "ada", site_id="ATL1", source=broken)
        assert answer.status_code == 422
        assert answer.text.count("is not a field here") >= 2
        assert re.search(r"line \d+: ", answer.text)
        assert send(client, "/playbooks", "sam", site_id="ATL1", source=source).status_code == 403
        assert send(client, "/playbooks", "ada", site_id="ATL1", source=source).status_code == 303
        run_id = office.read(lambda db: tasks_of(db, "incident-1"))[0].run_id
        to_hash = re.search(
            r'name="to_hash" value="([0-9a-f]{64})"',
            client.get(f"/runs/{run_id}", headers={"x-as": "ada"}).text,
        )
        assert to_hash
        moved = send(client, f"/runs/{run_id}", "ada", to_hash=to_hash[1], reason="it is better")
        assert moved.status_code == 303
        assert "version 3: it is better" in client.get("/incidents/incident-1").text


class TestReplies:
    def first(self, office: Office, person: str = "backup") -> Any:
        return next(
            one for one in office.read(lambda db: pages_of(db, "incident-1")) if one.person_id == person
        )

    def test_a_text_message_takes_the_incident_on(self, client: Client, office: Office) -> None:
        page = self.first(office)
        answer = client.post(
            f"/api/v1/replies/{reply_token(SECRET)}",
            content=f"From=%2B14045550102&Body=yes+{page.code}",
            headers={"content-type": "application/x-www-form-urlencoded", "x-as": "nobody"},
        )
        assert answer.json() == {"page_id": page.page_id, "takes_it": True}
        assert office.read(lambda db: get_incident(db, "incident-1")).owner == "backup"

    def test_a_key_on_the_phone_names_its_call(self, client: Client, office: Office) -> None:
        page = self.first(office)
        told = {"key": page.page_id, "digits": "2", "channel": "voice"}
        assert client.post(f"/api/v1/replies/{reply_token(SECRET)}", json=told).json()["takes_it"] is False

    @pytest.mark.parametrize("token", ["x", reply_token("another secret"), "%20"])
    def test_another_address_does_not_exist(self, client: Client, token: str) -> None:
        assert client.post(f"/api/v1/replies/{token}", json={"text": "YES"}).status_code == 404

    @pytest.mark.parametrize(
        ("content", "kind", "status"),
        [
            (b'{"text": "maybe"}', "application/json", 422),
            (b'{"text": ', "application/json", 422),
            (b'{"key": "nope", "digits": "1"}', "application/json", 404),
            (b'{"text": "YES 2ZZZZ"}', "application/json", 404),
            (b"\xff\xfe", "application/x-www-form-urlencoded", 422),
            (b"", "application/x-www-form-urlencoded", 422),
            (b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        ],
    )
    def test_what_is_no_reply_is_refused(
        self, client: Client, content: bytes, kind: str, status: int
    ) -> None:
        path = f"/api/v1/replies/{reply_token(SECRET)}"
        answer = client.post(path, content=content, headers={"content-type": kind})
        assert answer.status_code == status

    def test_gateways_name_things_otherwise(self) -> None:
        told = {"From": "+1404", "Body": "YES 4KQ7R", "MessageSid": "SM1"}
        assert reply_of(told) == Reply(text="YES 4KQ7R", sender="+1404")
        assert reply_of({"dtmf": "1", "page_id": "p1", "kind": "voice"}) == Reply(
            digits="1", key="p1", channel="voice"
        )


class TestApi:
    def test_everything_about_an_incident(self, client: Client) -> None:
        told = client.get("/api/v1/incidents/incident-1").json()
        assert told["incident"]["severity"] == "excursion_risk"
        assert {"timeline", "tasks", "approvals", "runs", "pages", "chains"} <= told.keys()
        assert client.get("/api/v1/incidents").json()[0]["incident_id"] == "incident-1"
        assert client.get("/api/v1/incidents?status=closed").json() == []
        assert client.get("/api/v1/approvals?role=supervisor").json()[0]["role"] == "supervisor"
        assert {one["role"] for one in client.get("/api/v1/tasks?role=operator").json()} == {"operator"}
        assert client.get("/api/v1/alarm-budgets").json()[0]["calls"] >= 1
        first = client.get("/api/v1/decisions?limit=1").json()[0]
        assert client.get(f"/api/v1/decisions/{first['decision_id']}").json() == first

    @pytest.mark.parametrize(
        "path",
        ["/incidents?status=odd", "/incidents?limit=0", "/decisions?limit=9999", "/alarm-budgets?days=0"],
    )
    def test_a_wrong_question_is_told(self, client: Client, path: str) -> None:
        answer = client.get(f"/api/v1{path}")
        assert answer.status_code == (400 if "status" in path else 422)
        assert answer.json()["problems"]


def test_the_alarm_budget_is_shown(client: Client) -> None:
    text = client.get("/incidents/budget").text
    assert "owner" in text
    assert "0 %" in text


def test_instants_among_the_facts_of_a_decision_are_told_where_the_site_is() -> None:
    facts = {"goods": {"limit_at": "2026-03-07T09:47:30Z"}}
    assert views.flat_facts(facts, "c", "America/New_York") == [("goods: limit", "04:47")]
