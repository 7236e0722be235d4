"""Changes to master data: the rules first, then through the log on both databases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson
from coldgrid.kernel.events import Command
from coldgrid.kernel.rejections import Invalid, Rejected
from coldgrid.network import change_rules, changes, sites, zones
from coldgrid.network.change_rules import (
    ApproveChange,
    ApproverDrafted,
    Change,
    ChangeAlreadyDecided,
    ChangeExists,
    ChangeNotFound,
    ChangeStale,
    ChangeStatus,
    DraftChange,
    DraftItem,
    NothingChanges,
    NotTheDrafter,
    RejectChange,
    WithdrawChange,
)
from coldgrid.network.groups import GroupDefined
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.network.master import group, location, put_in_force, site, zone

ITEM = DraftItem("zone", "ATL1-FRZ1", "change-1", {"zone_id": "ATL1-FRZ1"})


def drafted(status: ChangeStatus = ChangeStatus.DRAFTED, by: str = "dora") -> Change:
    return Change("change-2", status, "colder", by, T0, None, None, None, 1)


def draft(*items: dict[str, Any], change_id: str = "change-2", reason: str = "why not") -> DraftChange:
    return DraftChange(change_id=change_id, items=list(items), reason=reason)


def fixes(caught: pytest.ExceptionInfo[Invalid]) -> dict[str, str]:
    return {problem.field: problem.fix for problem in caught.value.problems}


class TestDecideApprove:
    def test_someone_else_approves_on_the_same_base(self) -> None:
        event = change_rules.decide_approve(drafted(), [ITEM], ["change-1"], "ana", "right")
        assert [(ref.kind, ref.key) for ref in event.items] == [("zone", "ATL1-FRZ1")]

    def test_the_drafter_does_not_approve(self) -> None:
        with pytest.raises(ApproverDrafted):
            change_rules.decide_approve(drafted(by="ana"), [ITEM], ["change-1"], "ana", "right")

    def test_a_changed_base_makes_it_stale_and_names_the_items(self) -> None:
        with pytest.raises(ChangeStale) as caught:
            change_rules.decide_approve(drafted(), [ITEM], ["change-9"], "ana", "right")
        assert caught.value.facts["items"] == ["zone ATL1-FRZ1"]

    @pytest.mark.parametrize("status", [ChangeStatus.APPROVED, ChangeStatus.REJECTED])
    def test_a_decided_change_is_not_decided_again(self, status: ChangeStatus) -> None:
        with pytest.raises(ChangeAlreadyDecided):
            change_rules.decide_approve(drafted(status), [ITEM], ["change-1"], "ana", "right")
        with pytest.raises(ChangeAlreadyDecided):
            change_rules.decide_reject(drafted(status), "no")


class TestChanges:
    def test_nothing_is_in_force_before_somebody_else_approved(self, kernel: Kernel) -> None:
        kernel.do(draft(group(), site(), zone()), actor="dora")
        assert sites.list_sites(kernel.reader()) == []
        kernel.do(ApproveChange(change_id="change-2", reason="checked"), actor="ana")
        assert zones.get_zone(kernel.reader(), "ATL1-FRZ1").setpoint_c == -22
        kept = changes.get_change(kernel.reader(), "change-2")
        assert (kept.drafted_by, kept.decided_by, kept.decision_reason) == ("dora", "ana", "checked")
        kernel.rebuild()

    def test_the_drafter_is_refused_and_nothing_is_in_force(self, kernel: Kernel) -> None:
        kernel.do(draft(group(), site()), actor="dora")
        with pytest.raises(ApproverDrafted):
            kernel.do(ApproveChange(change_id="change-2", reason="mine"), actor="dora")
        assert sites.list_sites(kernel.reader()) == []

    def test_a_draft_on_an_old_base_is_stale(self, kernel: Kernel) -> None:
        put_in_force(kernel, group(), site(), zone())
        kernel.do(draft(zone(name="Freezer north"), change_id="mine"), actor="dora")
        put_in_force(kernel, zone(name="Freezer south"), change_id="theirs")
        with pytest.raises(ChangeStale):
            kernel.do(ApproveChange(change_id="mine", reason="ok"), actor="ana")
        assert zones.get_zone(kernel.reader(), "ATL1-FRZ1").name == "Freezer south"

    def test_approving_checks_references_again(self, kernel: Kernel) -> None:
        put_in_force(kernel, group(), site(), zone())
        kernel.do(draft(zone("ATL1-CHL1"), change_id="mine"), actor="dora")
        frozen_only = site(capacity={"frozen": 400})
        put_in_force(kernel, frozen_only, change_id="theirs")
        with pytest.raises(Invalid) as caught:
            kernel.do(ApproveChange(change_id="mine", reason="ok"), actor="ana")
        assert "capacity.chilled" in fixes(caught)["items[0].temperature_class"]
        assert changes.get_change(kernel.reader(), "mine").status is ChangeStatus.DRAFTED

    def test_unchanged_items_are_left_out_and_a_change_of_nothing_is_refused(self, kernel: Kernel) -> None:
        put_in_force(kernel, group(), site(), zone())
        answer = kernel.do(draft(group(), site(), zone(name="Freezer north")), actor="dora")
        assert (answer.items, answer.unchanged) == (1, 2)
        with pytest.raises(NothingChanges):
            kernel.do(draft(group(), site(), change_id="change-3"), actor="dora")

    def test_every_problem_of_every_item_is_told_at_once(self, kernel: Kernel) -> None:
        bad_zone = zone("ATL1-FRZ1", setpoint_c=-22, high_c="-18", lag_min=-1) | {"heigth": 3}
        with pytest.raises(Invalid) as caught:
            kernel.do(draft(group(), site("atl1"), bad_zone, {"kind": "zon"}, {}, location("atl1-frz1-a1-2")))
        told = fixes(caught)
        assert told["items[1].site_id"] == "did you mean ATL1?"
        assert {"items[2].high_c", "items[2].lag_min", "items[2].heigth"} <= set(told)
        assert told["items[3].kind"] == "did you mean zone?"
        assert "items[4].kind" in told
        assert told["items[5].location_id"] == "did you mean ATL1-FRZ1-A01-02?"
        assert changes.list_changes(kernel.reader()) == []

    def test_the_same_thing_twice_in_a_change_is_refused(self, kernel: Kernel) -> None:
        with pytest.raises(Invalid) as caught:
            kernel.do(draft(group(), group(name="Again")))
        assert "first as items[0]" in caught.value.problems[0].message

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "-18", True, [1]])
    def test_a_temperature_is_a_finite_number(self, kernel: Kernel, value: Any) -> None:
        with pytest.raises(Invalid) as caught:
            kernel.do(draft(group(), site(), zone(high_c=value)))
        assert "items[2].high_c" in fixes(caught)
        assert kernel.events() == []

    def test_a_rejected_change_stays_on_record(self, kernel: Kernel) -> None:
        kernel.do(draft(group()), actor="dora")
        kernel.do(RejectChange(change_id="change-2", reason="wrong number"), actor="ana")
        assert changes.get_change(kernel.reader(), "change-2").status is ChangeStatus.REJECTED
        with pytest.raises(ChangeAlreadyDecided):
            kernel.do(ApproveChange(change_id="change-2", reason="ok"), actor="ana")
        kernel.rebuild()

    def test_only_the_drafter_withdraws_a_change(self, kernel: Kernel) -> None:
        kernel.do(draft(group()), actor="dora")
        with pytest.raises(NotTheDrafter):
            kernel.do(WithdrawChange(change_id="change-2", reason="not mine"), actor="ana")
        kernel.do(WithdrawChange(change_id="change-2", reason="a typing mistake"), actor="dora")
        kept = changes.get_change(kernel.reader(), "change-2")
        assert (kept.status, kept.decided_by) == (ChangeStatus.REJECTED, "dora")

    def test_the_only_admin_approves_alone_until_there_is_a_second_one(self, kernel: Kernel) -> None:
        def admin(person_id: str, *roles: Role) -> AddPerson:
            return AddPerson(person_id=person_id, name=person_id, login=person_id, roles=list(roles))

        kernel.do(admin("ana", Role.ADMIN))
        kernel.do(admin("pia", Role.PLANNER))
        kernel.do(draft(group(), change_id="c1"))
        kernel.do(draft(group("GRP-CLT1"), change_id="c0"), "pia")
        with pytest.raises(ApproverDrafted):
            kernel.do(ApproveChange(change_id="c0", reason="ok"), "pia")
        kernel.do(ApproveChange(change_id="c1", reason="the only one here"))
        kept = changes.get_change(kernel.reader(), "c1")
        assert (kept.drafted_by, kept.decided_by) == ("ana", "ana")
        kernel.do(admin("ben", Role.ADMIN))
        kernel.do(draft(site(), change_id="c2"))
        with pytest.raises(ApproverDrafted):
            kernel.do(ApproveChange(change_id="c2", reason="ok"))
        kernel.do(ApproveChange(change_id="c2", reason="ok"), "ben")

    def test_a_blank_reason_an_unknown_change_and_a_taken_id_are_refused(self, kernel: Kernel) -> None:
        with pytest.raises(Invalid):
            kernel.do(draft(group(), reason="  "))
        with pytest.raises(ChangeNotFound):
            kernel.do(ApproveChange(change_id="nope", reason="ok"))
        kernel.do(draft(group()))
        with pytest.raises(ChangeExists):
            kernel.do(draft(site()))

    def test_history_says_who_wanted_what_and_why(self, kernel: Kernel) -> None:
        put_in_force(kernel, group(), site(), change_id="c1")
        kernel.do(draft(site(name="Forest Park North"), change_id="c2", reason="renamed"), at=5)
        told = changes.history_of(kernel.reader(), "site", "ATL1")
        assert [(change.change_id, change.reason) for change in told] == [
            ("c2", "renamed"),
            ("c1", "opening"),
        ]


def test_addresses_are_ciphertext_in_the_log(kernel: Kernel) -> None:
    put_in_force(kernel, group(), site())
    stored = b"".join(msgspec.json.encode(event) for _, event in kernel.events())
    assert b"GRP-ATL1" in stored
    assert b"5550101" not in stored


STORED = [
    b'{"type":"network.change_drafted","change_id":"c1","items":[{"kind":"zone","key":"ATL1-FRZ1","base":"",'
    b'"body":{"zone_id":"ATL1-FRZ1"}}],"reason":"opening"}',
    b'{"type":"network.change_approved","change_id":"c1","items":[{"kind":"zone","key":"ATL1-FRZ1"}],'
    b'"reason":"checked"}',
    b'{"type":"network.change_rejected","change_id":"c1","reason":"wrong"}',
]
TYPES = [change_rules.ChangeDrafted, change_rules.ChangeApproved, change_rules.ChangeRejected]


@pytest.mark.parametrize(("stored", "type_"), list(zip(STORED, TYPES, strict=True)))
def test_events_keep_their_wire_form(stored: bytes, type_: type[msgspec.Struct]) -> None:
    """Bytes from release 1 must decode for ever. Add lines; never edit one."""
    assert msgspec.json.encode(msgspec.json.decode(stored, type=type_)) == stored


acts = st.lists(
    st.tuples(
        st.sampled_from(["draft", "approve", "reject", "withdraw"]),
        st.sampled_from(["c1", "c2", "c3"]),
        st.sampled_from(["ana", "ben"]),
        st.sampled_from(["Atlanta", "Savannah"]),
    ),
    max_size=14,
)


@settings(max_examples=20, deadline=None)
@given(acts)
def test_any_history_keeps_the_invariants_and_survives_a_rebuild(
    history: list[tuple[str, str, str, str]],
) -> None:
    """Run random commands; a rejected one must leave no trace."""
    with sqlite_kernel() as kernel:
        for act, change_id, actor, name in history:
            before = len(kernel.events())
            try:
                kernel.do(_command(act, change_id, name), actor=actor)
            except Rejected:
                assert len(kernel.events()) == before
        found = changes.list_changes(kernel.reader())
        approved = [change for change in found if change.status is ChangeStatus.APPROVED]
        assert all(change.decided_by != change.drafted_by for change in approved)  # C2
        groups_defined = [event for _, event in kernel.events() if isinstance(event, GroupDefined)]
        assert len(groups_defined) == len(approved)  # C1, C3
        last = changes.base_of(kernel.reader(), "group", "GRP-ATL1")
        assert last in {"", *(change.change_id for change in approved)}
        bases = [changes.items_of(kernel.reader(), change.change_id)[0].base for change in approved]
        assert len(set(bases)) == len(bases)  # C4: no two were approved on the same base
        kernel.rebuild()


def _command(act: str, change_id: str, name: str) -> Command:
    if act == "draft":
        return draft(group(name=name), change_id=change_id)
    kinds = {"approve": ApproveChange, "reject": RejectChange, "withdraw": WithdrawChange}
    return kinds[act](change_id=change_id, reason="so it is")
