"""Who may do what: one table of roles and acts, and the laws behind it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import coldgrid
from coldgrid.access.authorizer import CedarAuthorizer, NotAllowed, OtherSite
from coldgrid.access.roles import APART, DUTIES, PERSONAL, Role, conflicting
from coldgrid.kernel.authorize import SYSTEM, Principal, Resource
from coldgrid.kernel.cascade import system
from coldgrid.kernel.registry import handlers

AUTHORIZER = CedarAuthorizer()
EVERYBODY = set(Role)
HUMANS = EVERYBODY - {Role.INTEGRATOR, Role.GATEWAY}
FLOOR = HUMANS - {Role.AUDITOR}
SIGNERS = {Role.QUALITY, Role.RESPONSIBLE_PERSON}
READERS = {Role.ADMIN, Role.AUDITOR, Role.INTEGRATOR}

MATRIX: dict[str, set[Role]] = {
    "stock.view": HUMANS,
    "quality.view": HUMANS,
    "stock.read": EVERYBODY - {Role.GATEWAY},
    "events.read": READERS,
    "access.use_account": EVERYBODY - {Role.GATEWAY},
    "access.view_people": {Role.ADMIN, Role.AUDITOR},
    "access.view_tokens": {Role.ADMIN, Role.AUDITOR},
    "access.add_person": {Role.ADMIN},
    "access.grant_role": {Role.ADMIN},
    "access.issue_token": {Role.ADMIN},
    "session.keep": set(),
    "session.set_up": set(),
    "session.note_read": set(),
    "personal.erase": {Role.ADMIN},
    "kernel.retry_parked": {Role.ADMIN},
    "kernel.report_effect": set(),
    "kernel.see_retention": {Role.ADMIN, Role.AUDITOR},
    "network.draft_change": {Role.ADMIN, Role.PLANNER},
    "network.approve_change": {Role.ADMIN},
    "network.change_site_mode": {Role.ADMIN, Role.PLANNER, Role.SUPERVISOR},
    "catalog.register_lot": {Role.ADMIN, Role.OPERATOR, Role.SUPERVISOR, Role.INTEGRATOR},
    "stock.receive_unit": {Role.OPERATOR, Role.SUPERVISOR, Role.INTEGRATOR},
    "stock.move_unit": {Role.OPERATOR, Role.SUPERVISOR, Role.INTEGRATOR},
    "stock.dispatch_goods": {Role.OPERATOR, Role.SUPERVISOR, Role.INTEGRATOR},
    "stock.adjust_unit": {Role.OPERATOR, Role.SUPERVISOR},
    "stock.place_hold": {Role.OPERATOR, Role.SUPERVISOR, Role.RECALL_COORDINATOR} | SIGNERS,
    "stock.release_hold": {Role.SUPERVISOR, Role.RECALL_COORDINATOR} | SIGNERS,
    "stock.resume_zone": {Role.SUPERVISOR} | SIGNERS,
    "orders.place": {Role.CUSTOMER_CARE, Role.INTEGRATOR},
    "orders.cancel": {Role.CUSTOMER_CARE, Role.INTEGRATOR, Role.PLANNER},
    "orders.view": HUMANS,
    "orders.follow": HUMANS | {Role.INTEGRATOR},
    "orders.source_again": {Role.PLANNER, Role.SUPERVISOR},
    "telemetry.ingest_readings": {Role.INTEGRATOR},
    "telemetry.ingest_uplink": {Role.INTEGRATOR, Role.GATEWAY},
    "telemetry.shelve_alarm": {Role.TECHNICIAN, Role.SUPERVISOR},
    "telemetry.take_out_of_service": {Role.TECHNICIAN, Role.SUPERVISOR},
    "quality.record_hand_reading": {Role.OPERATOR, Role.SUPERVISOR, Role.TECHNICIAN} | SIGNERS,
    "quality.open_excursion": SIGNERS,
    "evidence.settle_fork": {Role.ADMIN},
    "network.set_up": {Role.ADMIN},
    "orchestration.try_contact": {Role.ADMIN},
    "kernel.accept_clock": {Role.ADMIN},
    "sync.issue_code": {Role.ADMIN},
    "sync.revoke_node": {Role.ADMIN},
    "sync.choose_copy": {Role.ADMIN},
    "sync.enrol_node": set(),
    "sync.renew_certificate": set(),
    "stock.settle_dispatch": set(),
    "orchestration.acknowledge_incident": FLOOR,
    "orchestration.advance_incident": {Role.SUPERVISOR, Role.QUALITY, Role.TECHNICIAN},
    "orchestration.decide_approval": FLOOR - {Role.ADMIN},
    "orchestration.override_decision": {Role.SUPERVISOR, Role.RECALL_COORDINATOR} | SIGNERS,
    "orchestration.publish_playbook": {Role.ADMIN},
    "orchestration.advance_run": set(),
    "quality.sign_disposition": SIGNERS,
    "quality.open_recall": SIGNERS | {Role.RECALL_COORDINATOR},
    "evidence.build_pack": HUMANS,
    "nobody.thought_of_this": set(),
}


@pytest.mark.parametrize("action", MATRIX)
def test_each_role_may_do_what_the_table_says_and_nothing_else(action: str) -> None:
    assert set(AUTHORIZER.roles_for(action)) == MATRIX[action]


def test_every_role_differs_from_every_other() -> None:
    rights = {role: {action for action, roles in MATRIX.items() if role in roles} for role in Role}
    rights[Role.RESPONSIBLE_PERSON] = rights[Role.RESPONSIBLE_PERSON] | {"the licence"}
    assert len({frozenset(right) for right in rights.values()}) == len(Role)
    assert set(DUTIES) == set(Role)


def test_an_admin_cannot_sign_for_quality_even_with_other_roles() -> None:
    for more in Role:
        assert not AUTHORIZER.allows({Role.ADMIN, more}, "quality.sign_disposition")
        assert not AUTHORIZER.allows({Role.ADMIN, more}, "stock.release_hold")


def test_an_auditor_changes_nothing_even_with_other_roles() -> None:
    for more in Role:
        for action in (
            "stock.move_unit",
            "access.grant_role",
            "orchestration.decide_approval",
            "orders.place",
        ):
            assert not AUTHORIZER.allows({Role.AUDITOR, more}, action)


def test_a_gateways_token_posts_uplinks_and_nothing_else_even_with_other_roles() -> None:
    for more in Role:
        allowed = {action for action in MATRIX if AUTHORIZER.allows({Role.GATEWAY, more}, action)}
        assert allowed == (set() if more is Role.AUDITOR else {"telemetry.ingest_uplink"}), more


class TestSites:
    CLEO = Principal("cleo", frozenset({Role.SUPERVISOR}), frozenset({"ATL1"}))

    def test_at_an_own_site(self) -> None:
        AUTHORIZER.authorize(self.CLEO, "stock.move_unit", Resource("ATL1", "stock.move_unit"))

    def test_at_another_site_the_refusal_says_it_is_the_site(self) -> None:
        with pytest.raises(OtherSite) as caught:
            AUTHORIZER.authorize(self.CLEO, "stock.move_unit", Resource("CLT1", "stock.move_unit"))
        assert caught.value.facts == {"action": "stock.move_unit", "site_id": "CLT1", "yours": ["ATL1"]}

    def test_without_the_role_the_refusal_names_who_could(self) -> None:
        with pytest.raises(NotAllowed) as caught:
            AUTHORIZER.authorize(self.CLEO, "quality.sign_disposition", Resource("ATL1", "x"))
        assert caught.value.facts["needs"] == ["quality", "responsible_person"]

    def test_without_a_list_of_sites_everywhere(self) -> None:
        anywhere = Principal("dan", frozenset({Role.OPERATOR}), None)
        AUTHORIZER.authorize(anywhere, "stock.move_unit", Resource("CLT1", "stock.move_unit"))

    def test_with_an_empty_list_nowhere(self) -> None:
        nowhere = Principal("dan", frozenset({Role.OPERATOR}), frozenset())
        with pytest.raises(OtherSite):
            AUTHORIZER.authorize(nowhere, "stock.move_unit", Resource("CLT1", "stock.move_unit"))


def test_the_system_may_do_everything_and_nobody_can_be_given_its_role() -> None:
    for principal in (SYSTEM, system("site_flows.hold_exposed")):
        for action in MATRIX:
            AUTHORIZER.authorize(principal, action, Resource("ATL1", action))
    assert "system" not in {role.value for role in Role}


def test_without_a_role_only_the_account_is_left() -> None:
    allowed = {action for action in MATRIX if AUTHORIZER.allows((), action)}
    assert allowed == {"access.use_account", "stock.read"}


def test_the_answer_is_remembered_and_stays_the_same() -> None:
    fresh = CedarAuthorizer()
    first = [fresh.allows({role}, action) for role in Role for action in MATRIX]
    assert [fresh.allows({role}, action) for role in Role for action in MATRIX] == first


@pytest.mark.parametrize("action", ['x" || true', "a\\b", "", "é.view", "stock.move_unit\n"])
def test_a_strange_action_is_refused_not_misread(action: str) -> None:
    assert not AUTHORIZER.allows({Role.OPERATOR}, action) or action.endswith(".view")


def test_every_command_of_the_product_is_somebodys_or_the_systems_on_purpose() -> None:
    """A new command must be granted in policies.cedar, or listed here as the system's own."""
    for room in pkgutil.iter_modules(coldgrid.__path__):
        if room.name not in {"cli", "tower", "node", "adapters"}:
            importlib.import_module(f"coldgrid.{room.name}")
    mine = [h for h in handlers.values() if h.command.__module__.startswith("coldgrid.")]
    ungranted = {h.action for h in mine if not AUTHORIZER.roles_for(h.action)}
    assert ungranted - SYSTEMS_OWN == set()


SYSTEMS_OWN = {
    "network_flows.draft_notice",
    "network_flows.drop_notices",
    "network_flows.mark_notice",
    "network_flows.settle_notices",
    "session.keep",
    "session.note_read",
    "session.set_up",
    "kernel.report_effect",
    "orchestration.advance_run",
    "orchestration.signal_runs",
    "orchestration.start_escalation",
    "orchestration.stop_escalation",
    "orchestration.take_action",
    "site_flows.carry_out_disposition",
    "stock.note_staleness",
    "stock.raise_shortfalls",
    "stock.settle_dispatch",
    "sync.enrol_node",
    "sync.note_authority",
    "sync.note_authority_ended",
    "sync.note_node_seen",
    "sync.recognise_certificate",
    "sync.renew_certificate",
    "sync.report_clone",
    "sync.take_up_certificate",
    "telemetry.seal_blocks",
    "telemetry.look_after_devices",
    "telemetry.tell_losses",
}


def test_roles_that_judge_and_roles_that_hand_out_roles_are_apart() -> None:
    assert conflicting({Role.ADMIN, Role.PLANNER}) is None
    for one, other in APART:
        assert conflicting({one, other, Role.OPERATOR}) == (one, other)
    assert {Role.ADMIN, Role.QUALITY} <= PERSONAL
