"""What quality adds to an evidence pack."""

from __future__ import annotations

from datetime import datetime

import pytest

from coldgrid.evidence.parts import (
    PackLimit,
    PackMoment,
    PackSeries,
    PackStreams,
    PackSubject,
    PackTable,
    SubjectKind,
)
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.quality.dispositions import Outcome, SignDisposition
from coldgrid.quality.excursions import get_excursion
from coldgrid.quality.hand_readings import RecordHandReading
from coldgrid.quality.pack import contribute, prepare
from tests.conftest import Kernel
from tests.quality.night import ZONE, open_freezer, opening, steady, tell
from tests.stock.world import ICE, LOT, PALLET, SITE, dispatch


def night(kernel: Kernel) -> None:
    open_freezer(kernel)
    tell(kernel, steady, 0, 30)
    kernel.do(dispatch("d-1", (PALLET, 40)), at=30)
    kernel.do(opening(from_min=20), at=31)
    reading = RecordHandReading(
        site_id=SITE, reading_id="hr-1", zone_id=ZONE, probe_id="PROBE-7", value_c=-20.5
    )
    kernel.do(reading, actor="olga", at=32)
    signing = SignDisposition(
        site_id=SITE,
        disposition_id="dp-1",
        excursion_id="x1",
        sscc=PALLET,
        outcome=Outcome.RELEASE,
        reason="core was cold",
        evidence=("hr-1",),
    )
    kernel.do(signing, actor="quinn", roles={"quality"}, at=33)


@pytest.mark.parametrize("kind", ["incident", "unit", "lot"])
def test_it_names_goods_temperatures_limits_and_signatures(kernel: Kernel, kind: SubjectKind) -> None:
    night(kernel)
    incident_id = get_excursion(kernel.reader(), "x1").incident_id
    subject = PackSubject(kind, {"incident": incident_id, "unit": PALLET, "lot": LOT}[kind], SITE)
    parts = contribute(kernel.reader(), subject)
    streams = [stream for part in parts if isinstance(part, PackStreams) for stream in part.streams]
    assert {"excursion/x1", "disposition/dp-1", "measurement/hr-1"} <= set(streams)
    exposed, shipped, signed, *sensors, by_hand = [part for part in parts if isinstance(part, PackTable)]
    assert len(exposed.rows) == {"incident": 3, "unit": 1, "lot": 3}[kind]
    assert [table.title for table in sensors] == ([] if kind == "incident" else [f"Sensors of {ZONE}"])
    assert shipped.rows[0][:4] == (PALLET, ICE, LOT, 40)
    assert signed.rows[0][5:7] == ("quinn", "quality")
    assert all(len(row) == len(table.columns) for table in (exposed, shipped, signed) for row in table.rows)
    assert by_hand.rows[0][5:8] == (-20.5, "PROBE-7", "olga")
    series, *measured = [part for part in parts if isinstance(part, PackSeries)]
    assert {one.role for one in measured} == (set() if kind == "incident" else {"air"})
    assert series.values[-1] == pytest.approx(-22, abs=0.2)
    assert len(series.low) == len(series.values) == len(series.at_s)
    assert {part.source for part in parts if isinstance(part, PackLimit)} >= {"stability study 7"}
    assert [part.title for part in parts if isinstance(part, PackMoment)] == [f"{ZONE}: -20.5 °C by hand"]


def test_the_pack_of_a_unit_tells_of_nobody_elses_goods_and_of_instants_the_report_can_place(
    kernel: Kernel,
) -> None:
    night(kernel)
    tables = [
        part
        for part in contribute(kernel.reader(), PackSubject("unit", PALLET, SITE))
        if isinstance(part, PackTable)
    ]
    exposed, shipped, signed, _, by_hand = tables
    assert {row[0] for table in (exposed, shipped, signed) for row in table.rows} == {PALLET}
    assert isinstance(shipped.rows[0][4], datetime)
    assert isinstance(signed.rows[0][7], datetime)
    assert isinstance(by_hand.rows[0][0], datetime)
    assert "2026-03-01 03:20:00 EST" in exposed.note, "by the clock of the site, as all of the report"


@pytest.mark.parametrize("kind", ["unit", "lot"])
def test_what_the_sensors_said_is_sealed_before_it_is_packed(kernel: Kernel, kind: SubjectKind) -> None:
    night(kernel)
    subject = PackSubject(kind, {"unit": PALLET, "lot": LOT}.get(kind, ""), SITE)
    assert [command.zone_id for command in prepare(kernel.reader(), subject)] == [ZONE]  # type: ignore[attr-defined]


def test_what_was_measured_for_an_incident_is_in_its_pack_also_where_nothing_was_exposed(
    kernel: Kernel,
) -> None:
    open_freezer(kernel)
    opened = OpenIncident(
        site_id=SITE,
        incident_id="i-probe",
        severity=Severity.OPERATOR_ACTIONABLE,
        title="A probe is silent",
        zone_id=ZONE,
    )
    kernel.do(opened, at=30)
    for number, at in enumerate((31, 200)):
        reading = RecordHandReading(
            site_id=SITE,
            reading_id=f"hr-{number}",
            zone_id=ZONE,
            probe_id="PROBE-7",
            value_c=-20.5,
            photo_hash="ab" * 32,
        )
        kernel.do(reading, actor="olga", at=at)
    parts = contribute(kernel.reader(), PackSubject("incident", "i-probe", SITE))
    streams = [stream for part in parts if isinstance(part, PackStreams) for stream in part.streams]
    assert streams == ["measurement/hr-0", "measurement/hr-1"]
    (table,) = [part for part in parts if isinstance(part, PackTable)]
    assert [row[7:9] for row in table.rows] == [("olga", "ab" * 32)] * 2
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert len([part for part in parts if isinstance(part, PackMoment)]) == 2


def test_a_subject_without_an_excursion_adds_nothing(kernel: Kernel) -> None:
    open_freezer(kernel)
    assert contribute(kernel.reader(), PackSubject("unit", PALLET)) == [PackStreams(streams=())]
