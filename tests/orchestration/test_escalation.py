"""Escalation: whom to wake, how they answer, and what it costs them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from coldgrid.kernel.outbox import payload_of
from coldgrid.network.rotas import Channel, Contact, EscalationStep
from coldgrid.orchestration import escalation, incidents
from coldgrid.orchestration.escalation import (
    AcknowledgePage,
    ChainStatus,
    StartEscalation,
    StopEscalation,
    alarm_budgets,
    chains_of,
    page_of_code,
    pages_of,
)
from coldgrid.orchestration.incidents import (
    AcknowledgeIncident,
    AdvanceIncident,
    OpenIncident,
    Severity,
    Status,
)
from coldgrid.orchestration.paging import Due, Place, contacts_for, place_after, read_reply, reply_code, wakes
from tests.conftest import T0, Kernel
from tests.network.master import group, put_in_force
from tests.orchestration.night import OPS_STEPS, SITE_STEPS, contact, open_incident, people_of_the_night

STEP = EscalationStep(
    0,
    [
        Contact("ana", Channel.SMS, "+14045550101"),
        Contact("ana", Channel.VOICE, "+14045550101"),
        Contact("ana", Channel.EMAIL, "ana@example.com"),
        Contact("floor", Channel.SIREN, "sirens/ATL1"),
        Contact("gone", Channel.SMS, ""),
    ],
)


class TestWhom:
    @pytest.mark.parametrize(
        ("severity", "channels"),
        [
            (Severity.INFORMATIONAL, ["email"]),
            (Severity.OPERATOR_ACTIONABLE, ["sms", "email"]),
            (Severity.EXCURSION_RISK, ["sms", "voice", "email", "siren"]),
        ],
    )
    def test_the_severity_chooses_the_channels(self, severity: Severity, channels: list[str]) -> None:
        assert [one.channel.value for one in contacts_for(STEP, severity)] == channels

    def test_when_none_fits_whoever_can_be_reached_is_told(self) -> None:
        mail_only = EscalationStep(0, [Contact("ana", Channel.EMAIL, "ana@example.com")])
        voice_only = EscalationStep(0, [Contact("ana", Channel.VOICE, "+14045550101")])
        assert len(contacts_for(mail_only, Severity.EXCURSION_RISK)) == 1
        assert len(contacts_for(voice_only, Severity.INFORMATIONAL)) == 1
        assert not wakes(contacts_for(mail_only, Severity.EXCURSION_RISK))

    def test_a_contact_that_stands_there_twice_is_paged_once(self) -> None:
        twice = EscalationStep(0, [STEP.contacts[0], STEP.contacts[0]])
        assert len(contacts_for(twice, Severity.EXCURSION_RISK)) == 1


STEPS = [EscalationStep(0, []), EscalationStep(5, []), EscalationStep(15, [])]


class TestWhen:
    def test_the_places_of_a_chain(self) -> None:
        places, due = [], place_after(STEPS, None, rounds=2)
        while due is not None:
            places.append((due.place.round, due.place.step, due.after // timedelta(minutes=1)))
            due = place_after(STEPS, due.place, rounds=2)
        assert places == [(0, 0, 0), (0, 1, 5), (0, 2, 15), (1, 0, 25), (1, 1, 30), (1, 2, 40)]

    def test_a_first_step_may_wait_too(self) -> None:
        assert place_after([EscalationStep(3, [])], None) == Due(Place(0, 0), timedelta(minutes=3))

    def test_a_group_without_steps_pages_nobody(self) -> None:
        assert place_after([], None) is None


class TestReplies:
    def test_a_code_has_a_digit_first_and_nothing_to_mix_up(self) -> None:
        codes = {reply_code(f"page-{n}") for n in range(500)}
        assert len(codes) > 490
        for code in codes:
            assert read_reply(code) == (code, True)
            assert not set(code) & set("01OI")

    @pytest.mark.parametrize(
        ("text", "reply"),
        [
            ("YES 4KQ7R", ("4KQ7R", True)),
            ("yes, 4kq7r.", ("4KQ7R", True)),
            ("4KQ7R", ("4KQ7R", True)),
            ("1 4KQ7R", ("4KQ7R", True)),
            ("NO 4KQ7R", ("4KQ7R", False)),
            ("2 4KQ7R", ("4KQ7R", False)),
            ("sorry I can't, 4KQ7R", ("4KQ7R", False)),
            ("maybe later", None),
            ("", None),
        ],
    )
    def test_what_people_write(self, text: str, reply: Any) -> None:
        assert read_reply(text) == reply


@pytest.fixture
def night(kernel: Kernel) -> Kernel:
    people_of_the_night(kernel)
    open_incident(kernel, Severity.EXCURSION_RISK, playbook="")
    return kernel


def page(kernel: Kernel, escalation_id: str = "e1", **fields: Any) -> Any:
    told = {"message": "ATL1-FRZ1 warms. Come now.", **fields}
    command = StartEscalation(site_id="ATL1", escalation_id=escalation_id, incident_id="i1", **told)
    return kernel.do(command, actor="system:test")


def paged(kernel: Kernel) -> list[str]:
    return [f"{one.person_id} {one.channel.value}" for one in pages_of(kernel.reader(), "i1")]


def status(kernel: Kernel) -> list[ChainStatus]:
    return [chain.status for chain in chains_of(kernel.reader(), "i1")]


def first_page(kernel: Kernel, person: str) -> str:
    return next(one.page_id for one in pages_of(kernel.reader(), "i1") if one.person_id == person)


def test_owner_then_backup_then_manager_then_all_over_again_until_nobody_came(night: Kernel) -> None:
    page(night)
    assert set(paged(night)) == {"owner sms", "owner voice", "owner email", "floor siren"}
    night.advance(5)
    assert paged(night)[4:] == ["backup sms"]
    night.advance(10)
    assert paged(night)[5:] == ["manager voice"]
    night.advance(10)
    assert len(paged(night)) == 10  # the second round
    night.advance(1_000)
    assert len(paged(night)) == 18
    assert status(night) == [ChainStatus.EXHAUSTED]
    night.rebuild()


def test_an_answer_makes_an_owner_and_stops_every_chain(night: Kernel) -> None:
    page(night)
    page(night, "e2", group_id="GRP-OPS")
    night.do(AcknowledgePage(site_id="ATL1", page_id=first_page(night, "owner"), via="sms"), actor="gateway")
    assert status(night) == [ChainStatus.ACKNOWLEDGED, ChainStatus.STOPPED]
    assert incidents.get_incident(night.reader(), "i1").owner == "owner"
    before = paged(night)
    assert {"owner sms", "dispatcher sms"} <= set(before)  # what was paged before stays told
    night.advance(1_000)
    assert paged(night) == before
    night.rebuild()


def owned(kernel: Kernel, how: str) -> None:
    """Somebody takes the incident on before it gets worse."""
    people_of_the_night(kernel)
    open_incident(kernel, Severity.OPERATOR_ACTIONABLE, playbook="")
    page(kernel)
    if how == "reply":
        kernel.do(AcknowledgePage(site_id="ATL1", page_id=first_page(kernel, "owner")), actor="gateway")
    else:
        kernel.do(AcknowledgeIncident(site_id="ATL1", incident_id="i1"), actor="olga")


@pytest.mark.parametrize("how", ["reply", "button"])
def test_worse_news_of_what_somebody_has_is_told_once_and_wakes_no_backup(kernel: Kernel, how: str) -> None:
    owned(kernel, how)
    page(kernel, "e2", severity=Severity.EXCURSION_RISK)
    page(kernel, "e3", severity=Severity.EXCURSION_RISK, group_id="GRP-OPS")
    told = paged(kernel)
    assert {"owner voice", "dispatcher sms"} <= set(told)
    assert "floor siren" not in told  # a siren calls for somebody to take it on
    kernel.advance(1_000)
    assert paged(kernel) == told
    assert status(kernel)[1:] == [ChainStatus.ACKNOWLEDGED, ChainStatus.ACKNOWLEDGED]
    kernel.rebuild()


def test_news_of_what_somebody_has_goes_on_to_the_first_step_that_wakes_anybody(kernel: Kernel) -> None:
    owned(kernel, "button")
    mail = {"after_min": 0, "contacts": [contact("ann", "email", "ann@example.com")]}
    text = [{"after_min": n, "contacts": [contact(f"b{n}", "sms", f"+1404555030{n}")]} for n in (5, 9)]
    put_in_force(kernel, group("GRP-MAIL", steps=[mail, *text]), change_id="change-mail-group")
    page(kernel, "e2", group_id="GRP-MAIL")
    kernel.advance(1_000)
    assert paged(kernel)[2:] == ["ann email", "b5 sms"]


def test_an_owner_who_cannot_after_all_gives_it_back_and_the_next_step_is_paged(kernel: Kernel) -> None:
    owned(kernel, "reply")
    page(kernel, "e2", severity=Severity.EXCURSION_RISK)
    again = next(one for one in pages_of(kernel.reader(), "i1") if one.escalation_id == "e2")
    kernel.do(AcknowledgePage(site_id="ATL1", page_id=again.page_id, takes_it=False), actor="gateway")
    assert incidents.get_incident(kernel.reader(), "i1").owner is None
    assert paged(kernel)[-1] == "backup sms"
    assert status(kernel)[-1] is ChainStatus.PAGING
    kernel.advance(1_000)
    assert "manager voice" in paged(kernel)
    assert status(kernel)[-1] is ChainStatus.EXHAUSTED
    kernel.rebuild()


def test_whoever_took_it_on_is_paged_first_when_it_gets_worse(kernel: Kernel) -> None:
    people_of_the_night(kernel)
    open_incident(kernel, Severity.OPERATOR_ACTIONABLE, playbook="")
    page(kernel)
    kernel.advance(5)
    kernel.do(AcknowledgePage(site_id="ATL1", page_id=first_page(kernel, "backup")))
    page(kernel, "e2", severity=Severity.EXCURSION_RISK)
    assert {"backup sms", "owner voice"} <= set(paged(kernel)[3:])
    again = [one for one in pages_of(kernel.reader(), "i1") if one.escalation_id == "e2"]
    assert {one.step for one in again} == {0}


def test_the_siren_falls_silent_when_somebody_takes_it(night: Kernel) -> None:
    page(night)
    night.do(AcknowledgePage(site_id="ATL1", page_id=first_page(night, "owner")))
    sirens = [payload_of(night.reader(), one) for one in night.effects() if one.channel == "siren"]
    assert [told["state"] for told in sirens if told] == ["on", "off"]
    assert {told["to"] for told in sirens if told} == {"sirens/ATL1"}


def siren_states(kernel: Kernel) -> list[tuple[str, str, list[str]]]:
    """Each switching of a siren: the chain, the state, and the chains that still need it."""
    told = [payload_of(kernel.reader(), one) for one in kernel.effects() if one.channel == "siren"]
    return sorted((one["escalation_id"], one["state"], one.get("needed_by", [])) for one in told if one)


def test_the_siren_that_two_incidents_share_sounds_until_both_are_taken(night: Kernel) -> None:
    risk = Severity.EXCURSION_RISK
    night.do(OpenIncident(site_id="ATL1", incident_id="i2", severity=risk, title="Warm", zone_id="ATL1-FRZ2"))
    page(night)
    night.do(StartEscalation(site_id="ATL1", escalation_id="e2", incident_id="i2", message="FRZ2 warms."))
    night.do(AcknowledgeIncident(site_id="ATL1", incident_id="i1"), actor="olga")
    assert siren_states(night) == [("e1", "off", ["e2"]), ("e1", "on", []), ("e2", "on", [])]
    night.do(AcknowledgeIncident(site_id="ATL1", incident_id="i2"), actor="olga")
    assert siren_states(night)[2:] == [("e2", "off", []), ("e2", "on", [])]


def test_a_refusal_of_another_group_leaves_the_siren_on_and_its_yes_ends_it(night: Kernel) -> None:
    page(night)
    page(night, "e2", group_id="GRP-OPS")
    night.do(AcknowledgePage(site_id="ATL1", page_id=first_page(night, "dispatcher"), takes_it=False))
    assert siren_states(night) == [("e1", "on", [])]
    night.do(AcknowledgePage(site_id="ATL1", page_id=first_page(night, "head-of-ops")))
    assert siren_states(night) == [("e1", "off", []), ("e1", "on", [])]


def test_whoever_cannot_come_passes_it_on_at_once(night: Kernel) -> None:
    page(night)
    night.do(AcknowledgePage(site_id="ATL1", page_id=first_page(night, "owner"), takes_it=False))
    assert paged(night)[4:] == ["backup sms"]
    night.do(AcknowledgePage(site_id="ATL1", page_id=first_page(night, "owner"), takes_it=False))
    assert len(paged(night)) == 5  # the same answer again changes nothing


def test_taking_the_incident_on_stops_every_chain(night: Kernel) -> None:
    page(night)
    page(night, "e2", group_id="GRP-OPS")
    night.do(AcknowledgeIncident(site_id="ATL1", incident_id="i1"), actor="olga")
    assert status(night) == [ChainStatus.STOPPED, ChainStatus.STOPPED]
    before = len(paged(night))
    night.advance(100)
    assert len(paged(night)) == before


def test_recovery_lets_people_sleep(night: Kernel) -> None:
    page(night)
    night.do(AdvanceIncident(site_id="ATL1", incident_id="i1", status=Status.RECOVERED))
    assert status(night) == [ChainStatus.STOPPED]


def test_a_group_is_paged_by_one_chain_unless_it_is_more_serious(kernel: Kernel) -> None:
    people_of_the_night(kernel)
    open_incident(kernel, Severity.OPERATOR_ACTIONABLE, playbook="")
    page(kernel)
    assert page(kernel, "e2") == {"escalation_id": "e1"}
    assert page(kernel, "e3", severity=Severity.EXCURSION_RISK) == {"escalation_id": "e3"}
    assert status(kernel) == [ChainStatus.STOPPED, ChainStatus.PAGING]
    assert "owner voice" in paged(kernel)


def test_information_goes_by_mail_once(kernel: Kernel) -> None:
    people_of_the_night(kernel)
    open_incident(kernel, Severity.INFORMATIONAL, playbook="")
    page(kernel)
    kernel.advance(1_000)
    assert paged(kernel) == ["owner email"]


def test_a_step_that_wakes_nobody_is_passed_on_at_once_but_not_into_the_next_round(kernel: Kernel) -> None:
    people_of_the_night(kernel)
    mail = {"after_min": 0, "contacts": [contact("ann", "email", "ann@example.com")]}
    put_in_force(
        kernel, group("GRP-MAIL", steps=[mail, {**mail, "after_min": 30}]), change_id="change-mail-group"
    )
    open_incident(kernel, Severity.EXCURSION_RISK, playbook="")
    page(kernel, group_id="GRP-MAIL")
    assert paged(kernel) == ["ann email", "ann email"]
    kernel.advance(40)
    assert len(paged(kernel)) == 4


def test_the_log_and_the_tables_hold_no_address(night: Kernel) -> None:
    page(night)
    page(night, "e2", group_id="GRP-OPS")
    addresses = [one["address"] for step in [*SITE_STEPS, *OPS_STEPS] for one in step["contacts"]]  # type: ignore[attr-defined]
    told = repr(night.events()) + repr(pages_of(night.reader(), "i1")) + repr(night.effects())
    assert not [address for address in addresses if address in told]
    sms = next(one for one in night.effects() if one.channel == "sms")
    opened = payload_of(night.reader(), sms)
    assert opened is not None
    assert opened["to"].startswith("+1404555")
    assert opened["code"] in opened["text"]
    assert page_of_code(night.reader(), opened["code"]).page_id == sms.key


def test_a_page_is_sent_once_however_often_it_is_asked_for(night: Kernel) -> None:
    page(night)
    page(night)
    assert len(night.effects()) == len({effect.key for effect in night.effects()}) == 4


def test_a_chain_goes_on_after_an_outage(night: Kernel) -> None:
    page(night)
    night.restart()
    night.advance(5)
    assert "backup sms" in paged(night)


def test_unknown_pages_groups_and_codes_are_not_found(night: Kernel) -> None:
    with pytest.raises(escalation.PageNotFound):
        night.do(AcknowledgePage(site_id="ATL1", page_id="nope"))
    with pytest.raises(escalation.PageNotFound):
        page_of_code(night.reader(), "2NOPE")
    with pytest.raises(Exception, match="no such escalation group"):
        page(night, group_id="GRP-NOPE")


def test_the_alarm_budget_counts_calls_that_led_to_action(night: Kernel) -> None:
    page(night)
    night.advance(5)
    night.do(AcknowledgePage(site_id="ATL1", page_id=first_page(night, "backup")))
    night.do(
        AdvanceIncident(site_id="ATL1", incident_id="i1", status=Status.MITIGATED), actor="backup", at=20
    )
    budgets = {one.person_id: one for one in alarm_budgets(night.reader(), T0, T0 + timedelta(days=1))}
    # Three channels are one call; the owner never answered.
    assert (budgets["owner"].calls, budgets["owner"].acted) == (1, 0)
    assert (budgets["backup"].calls, budgets["backup"].acted) == (1, 1)
    assert budgets["backup"].share == 1.0
    assert alarm_budgets(night.reader(), T0 + timedelta(days=1), T0 + timedelta(days=2)) == []
    night.rebuild()


def test_stopping_twice_is_harmless(night: Kernel) -> None:
    page(night)
    stop = StopEscalation(site_id="ATL1", incident_id="i1", why="a drill")
    night.do(stop)
    night.do(stop)
    assert status(night) == [ChainStatus.STOPPED]
