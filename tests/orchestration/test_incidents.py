"""Incidents: the matrix, the pure rules, the log, and every history at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.kernel.events import Command
from coldgrid.kernel.rejections import Invalid, Rejected
from coldgrid.orchestration import incidents
from coldgrid.orchestration.incident_rules import decide_advance, decide_open, decide_update
from coldgrid.orchestration.incidents import (
    AcknowledgeIncident,
    AdvanceIncident,
    Incident,
    IncidentJoined,
    IncidentOpened,
    NoteIncident,
    OpenIncident,
    Severity,
    Status,
    UpdateIncident,
)
from coldgrid.orchestration.severity import Goods, Stage, goods_at, severity_of, worse
from coldgrid.orchestration.timeline import in_words, timeline_of
from coldgrid.webkit.hits import hits
from tests.conftest import T0, Kernel, sqlite_kernel

ZONE = "ATL1-FRZ1"


def opening(
    incident_id: str = "i1", severity: Severity = Severity.OPERATOR_ACTIONABLE, **fields: Any
) -> OpenIncident:
    told = {"zone_id": ZONE, "title": "warms", "cause_id": "a1", **fields}
    return OpenIncident(site_id="ATL1", incident_id=incident_id, severity=severity, **told)


def incident(**fields: Any) -> Incident:
    row = Incident(
        incident_id="i1",
        site_id="ATL1",
        zone_id=ZONE,
        asset_id="c3",
        severity=Severity.OPERATOR_ACTIONABLE,
        status=Status.OPEN,
        title="warms",
        facts={"units": 3},
        cause_id="a1",
        playbook="",
        owner=None,
        opened_at=T0,
        seen_at=None,
        changed_at=T0,
        closed_at=None,
    )
    return msgspec.structs.replace(row, **fields)


@pytest.mark.parametrize(
    ("stage", "goods", "severity"),
    [
        (Stage.FAULT, Goods.NONE, Severity.INFORMATIONAL),
        (Stage.FAULT, Goods.TIME_SHORT, Severity.OPERATOR_ACTIONABLE),  # a dead probe is no excursion
        (Stage.PRE_ALARM, Goods.NONE, Severity.INFORMATIONAL),
        (Stage.PRE_ALARM, Goods.TIME_LEFT, Severity.OPERATOR_ACTIONABLE),
        (Stage.PRE_ALARM, Goods.TIME_SHORT, Severity.EXCURSION_RISK),
        (Stage.EXCURSION, Goods.NONE, Severity.OPERATOR_ACTIONABLE),
        (Stage.EXCURSION, Goods.TIME_LEFT, Severity.EXCURSION_RISK),
    ],
)
def test_severity_matrix(stage: Stage, goods: Goods, severity: Severity) -> None:
    assert severity_of(stage, goods) is severity


@pytest.mark.parametrize(
    ("units", "time_left_min", "goods"),
    [
        (0, 5, Goods.NONE),
        (3, 120, Goods.TIME_LEFT),
        (3, 45, Goods.TIME_SHORT),  # the bound is inclusive
        (3, None, Goods.TIME_SHORT),  # unknown is never good
        (3, -10, Goods.TIME_SHORT),
    ],
)
def test_what_stands_in_the_zone(units: int, time_left_min: float | None, goods: Goods) -> None:
    assert goods_at(units, time_left_min, response_min=45) is goods


def test_severity_is_an_order() -> None:
    for one in Severity:
        for other in Severity:
            assert worse(one, other) is worse(other, one)


class TestDecideOpen:
    def test_the_first_alarm_opens(self) -> None:
        assert isinstance(decide_open(opening(), None), IncidentOpened)

    def test_a_further_one_joins_and_raises_never_lowers(self) -> None:
        event = decide_open(opening("i2", Severity.EXCURSION_RISK, facts={"value_c": -9.5}), incident())
        assert isinstance(event, IncidentJoined)
        assert (event.incident_id, event.severity, event.raised) == ("i1", Severity.EXCURSION_RISK, True)
        assert event.facts == {"units": 3, "value_c": -9.5}
        mild = decide_open(opening("i2", Severity.INFORMATIONAL), incident())
        assert (mild.severity, mild.title) == (Severity.OPERATOR_ACTIONABLE, "warms")

    def test_an_alarm_after_recovery_is_a_relapse(self) -> None:
        event = decide_open(opening("i2"), incident(status=Status.RECOVERED))
        assert isinstance(event, IncidentJoined)
        assert event.relapsed

    def test_an_alarm_while_goods_are_looked_after_is_the_same_trouble(self) -> None:
        event = decide_open(opening("i2"), incident(status=Status.MITIGATED))
        assert isinstance(event, IncidentJoined)
        assert not event.relapsed

    def test_facts_under_a_common_name_have_its_type(self) -> None:
        with pytest.raises(Invalid) as caught:
            decide_open(opening(facts={"units": "many", "limit_at": "soon"}), None)
        assert [problem.field for problem in caught.value.problems] == ["facts.units", "facts.limit_at"]


class TestDecideUpdate:
    def test_nothing_new_is_no_event(self) -> None:
        command = UpdateIncident(site_id="ATL1", incident_id="i1", facts={"units": 3})
        assert decide_update(command, incident()) is None

    def test_a_lower_severity_wants_a_reason(self) -> None:
        command = UpdateIncident(site_id="ATL1", incident_id="i1", severity=Severity.INFORMATIONAL)
        with pytest.raises(Invalid):
            decide_update(command, incident())
        event = decide_update(msgspec.structs.replace(command, reason="a door"), incident())
        assert event is not None
        assert not event.raised


class TestDecideAdvance:
    def advance(self, status: Status, **facts: Any) -> AdvanceIncident:
        return AdvanceIncident(site_id="ATL1", incident_id="i1", status=status, facts=facts)

    @pytest.mark.parametrize(
        ("settled", "closes"),
        [
            ({"undecided_units": 0, "zone_released": True}, True),
            ({"undecided_units": 1, "zone_released": True}, False),
            ({"undecided_units": 0, "zone_released": False}, False),
            ({"undecided_units": 0}, False),  # unknown keeps it open
            ({}, False),
        ],
    )
    def test_it_closes_only_when_settled(self, settled: dict[str, Any], closes: bool) -> None:
        command = self.advance(Status.CLOSED)
        if closes:
            assert decide_advance(command, incident(), settled).status is Status.CLOSED
        else:
            with pytest.raises(incidents.IncidentNotSettled):
                decide_advance(command, incident(), settled)

    def test_the_room_that_knows_outweighs_the_command(self) -> None:
        command = self.advance(Status.CLOSED, undecided_units=0, zone_released=True)
        with pytest.raises(incidents.IncidentNotSettled):
            decide_advance(command, incident(), {"undecided_units": 4})

    def test_steps_go_forward_only(self) -> None:
        with pytest.raises(incidents.IncidentStepPassed):
            decide_advance(self.advance(Status.MITIGATED), incident(status=Status.RECOVERED), {})

    def test_a_closed_incident_stays_closed(self) -> None:
        with pytest.raises(incidents.IncidentClosed):
            decide_advance(self.advance(Status.RECOVERED), incident(status=Status.CLOSED), {})


class TestOnTheLog:
    def test_several_alarms_make_one_incident(self, kernel: Kernel) -> None:
        assert kernel.do(opening()) == incidents.Opened("i1", joined=False)
        assert kernel.do(opening("i2", Severity.EXCURSION_RISK)) == incidents.Opened("i1", joined=True)
        assert kernel.do(opening("i3", zone_id="ATL1-CHL1")).incident_id == "i3"
        assert kernel.do(opening("i4", zone_id="", asset_id="door-7")).incident_id == "i4"
        assert kernel.do(opening("i5", zone_id="", asset_id="door-8")).incident_id == "i5"
        found = incidents.open_incidents(kernel.reader(), "ATL1")
        assert {one.incident_id for one in found} == {"i1", "i3", "i4", "i5"}
        kernel.rebuild()

    def test_after_the_end_an_alarm_opens_a_new_one(self, kernel: Kernel) -> None:
        kernel.do(opening())
        settled = {"undecided_units": 0, "zone_released": True}
        end = AdvanceIncident(site_id="ATL1", incident_id="i1", status=Status.CLOSED, facts=settled)
        kernel.do(end, actor="quinn", at=30)
        assert kernel.do(opening("i2"), at=31) == incidents.Opened("i2", joined=False)
        assert [one.incident_id for one in incidents.closed_incidents(kernel.reader())] == ["i1"]
        assert len(incidents.incidents_of_zone(kernel.reader(), ZONE)) == 2
        kernel.rebuild()

    def test_what_other_rooms_know_decides_about_the_end(
        self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = {"undecided_units": 2, "zone_released": True}
        monkeypatch.setattr(incidents, "_settlements", {"test": lambda db, one: dict(known)})
        kernel.do(opening())
        end = AdvanceIncident(
            site_id="ATL1", incident_id="i1", status=Status.CLOSED, facts={"undecided_units": 0}
        )
        with pytest.raises(incidents.IncidentNotSettled):
            kernel.do(end)
        known["undecided_units"] = 0
        kernel.do(end)
        assert incidents.get_incident(kernel.reader(), "i1").facts["undecided_units"] == 0

    def test_whoever_acknowledges_owns_it_and_notes_stay_with_it(self, kernel: Kernel) -> None:
        kernel.do(opening(facts={"limit_at": T0 + timedelta(minutes=47)}))
        kernel.do(AcknowledgeIncident(site_id="ATL1", incident_id="i1"), actor="olga", at=3)
        kernel.do(AcknowledgeIncident(site_id="ATL1", incident_id="i1"), actor="olga", at=4)
        kernel.do(
            NoteIncident(site_id="ATL1", incident_id="i1", text="ice on the coil", attachments=["ab"]), at=5
        )
        one = incidents.get_incident(kernel.reader(), "i1")
        assert (one.owner, one.seen_at) == ("olga", T0 + timedelta(minutes=3))
        assert one.time_left_min(T0 + timedelta(minutes=7)) == 40
        lines = timeline_of(kernel.reader(), one, kernel.host.now())
        assert [in_words(line.text, line.facts) for line in lines] == [
            "Incident opened: warms",
            "olga took the incident on",
            "ice on the coil (1 attached)",
        ]
        kernel.rebuild()

    def test_a_relapse_opens_it_again(self, kernel: Kernel) -> None:
        kernel.do(opening())
        kernel.do(AdvanceIncident(site_id="ATL1", incident_id="i1", status=Status.RECOVERED))
        kernel.do(opening("i2"))
        assert incidents.get_incident(kernel.reader(), "i1").status is Status.OPEN
        kernel.rebuild()

    def test_an_unknown_incident_is_not_found(self, kernel: Kernel) -> None:
        with pytest.raises(incidents.IncidentNotFound):
            kernel.do(AcknowledgeIncident(site_id="ATL1", incident_id="nope"))


def test_those_with_least_time_left_come_first() -> None:
    def one(id_: str, severity: Severity, left_min: float | None) -> Incident:
        facts = {} if left_min is None else {"limit_at": T0 + timedelta(minutes=left_min)}
        return incident(incident_id=id_, severity=severity, facts=facts)

    rows = [
        one("quiet", Severity.INFORMATIONAL, None),
        one("later", Severity.EXCURSION_RISK, 90),
        one("unknown", Severity.EXCURSION_RISK, None),
        one("soon", Severity.EXCURSION_RISK, 7),
    ]
    ordered = incidents.time_left_first(rows, T0)
    assert [row.incident_id for row in ordered] == ["soon", "later", "unknown", "quiet"]


def test_measures_carry_their_unit_in_words() -> None:
    facts = {
        "a_c": -9.54,
        "b_min": 47.2,
        "c_cents": 4_128_000,
        "currency": "USD",
        "d_c_per_h": 4.5,
        "e": None,
    }
    assert in_words("{a_c}, {b_min}, {c_cents}, {d_c_per_h}, {e}", facts) == (
        "−9.5 °C, 47 min, $41,280, +4.5 °C/h, unknown"
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(Severity), st.sampled_from([ZONE, "ATL1-CHL1"])),
        st.tuples(st.just("advance"), st.sampled_from(Status), st.sampled_from([0, 1])),
        st.tuples(st.just("update"), st.sampled_from(Severity), st.integers(0, 3)),
    ),
    max_size=10,
)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_any_history_has_one_open_incident_for_a_zone_and_survives_a_rebuild(history: list[Any]) -> None:
    with sqlite_kernel() as kernel:
        for n, (kind, what, other) in enumerate(history):
            open_now = incidents.open_incidents(kernel.reader())
            one = open_now[0].incident_id if open_now else "i0"
            command = _command(f"i{n}", one, kind, what, other)
            try:
                kernel.do(command, at=n)
            except Rejected:
                continue
            zones = [row.zone_id for row in incidents.open_incidents(kernel.reader())]
            assert len(zones) == len(set(zones))
        assert all(row.facts["undecided_units"] == 0 for row in incidents.closed_incidents(kernel.reader()))
        kernel.rebuild()


def _command(new: str, current: str, kind: str, what: Any, other: Any) -> Command:
    if kind == "open":
        return opening(new, what, zone_id=other)
    if kind == "advance":
        facts = {"undecided_units": other, "zone_released": True}
        return AdvanceIncident(site_id="ATL1", incident_id=current, status=what, facts=facts)
    return UpdateIncident(
        site_id="ATL1", incident_id=current, severity=what, facts={"units": other}, reason="r"
    )


def test_an_incident_is_found_by_the_end_of_its_number_by_those_of_its_site(kernel: Kernel) -> None:
    kernel.do(opening("incident-ab12cd"))
    for sites, names in ((None, ["incident-ab12cd"]), ({"ATL1"}, ["incident-ab12cd"]), ({"CLT1"}, [])):
        assert [hit.name for hit in hits(kernel.reader(), sites, "B12CD")] == names
    kernel.rebuild()
