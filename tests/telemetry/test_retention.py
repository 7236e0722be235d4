"""Readings that went after their time: their bytes alone; sums, manifests, proofs and older packs stay."""

from __future__ import annotations

from datetime import timedelta

from coldgrid.evidence import verify
from coldgrid.evidence.archive import open_zip
from coldgrid.evidence.checkpoints import Notary, audit, make_checkpoints
from coldgrid.evidence.notes import Signer
from coldgrid.evidence.packs import PackRequest, pack_now
from coldgrid.evidence.parts import PackSubject
from coldgrid.kernel import log, retention
from coldgrid.kernel.events import Entry
from coldgrid.kernel.retention import Dropped, Spared, digest_of
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.telemetry import archive, store
from coldgrid.telemetry.manifests import BlocksManifested
from coldgrid.telemetry.retention import READINGS
from tests.conftest import T0, Kernel
from tests.telemetry.cold_room import AIR, AIR_2
from tests.telemetry.test_ingest import events_of
from tests.telemetry.test_seal import TODAY, a_day

DAY = timedelta(days=1)
NOBODY = Spared()
KEY = Signer("coldgrid.example/tower", bytes(range(32)))
NOTARY = Notary(KEY, "coldgrid.example", "network")


def let_go(kernel: Kernel, spared: Spared = NOBODY) -> list[str]:
    """Let all readings of before two days after T0's go; return the names of the blocks."""
    before = T0 + 2 * DAY
    things = retention.plan(kernel.reader(), READINGS, before, spared, 100)
    if things:
        retention.drop(kernel.decider, "network", READINGS, before, things)
    return [thing.name for thing in things]


def test_blocks_of_the_time_before_are_named_and_those_of_open_days_are_not(kernel: Kernel) -> None:
    a_day(kernel)
    assert retention.plan(kernel.reader(), READINGS, T0 + timedelta(hours=15), NOBODY, 100) == []
    found = retention.plan(kernel.reader(), READINGS, T0 + 2 * DAY, NOBODY, 100)
    rows = [row for one in (AIR, AIR_2) for row in archive.block_rows(kernel.reader(), one, TODAY, TODAY)]
    assert {thing.name for thing in found} == {row.hash for row in rows}
    assert {thing.bytes for thing in found} == {len(row.body) for row in rows}


def test_their_bytes_go_and_counts_sums_manifests_and_proofs_stay(kernel: Kernel) -> None:
    a_day(kernel)
    whole = (T0.replace(hour=0), T0.replace(hour=0) + DAY)
    sums = store.rollups(kernel.reader(), [AIR, AIR_2], *whole)
    held = [row.hash for row in archive.block_rows(kernel.reader(), AIR, TODAY, TODAY)]
    names = let_go(kernel)
    assert len(names) == 2
    times, _ = store.series(kernel.reader(), AIR, *whole)
    assert len(times) == 0, "what is gone is not known"
    assert store.rollups(kernel.reader(), [AIR, AIR_2], *whole) == sums, "a month still adds up"
    assert archive.blocks_held(kernel.reader(), held) == set(held), "nobody asks for them again"
    assert archive.damaged_blocks(kernel.reader(), AIR, TODAY, TODAY) == []
    make_checkpoints(kernel.decider, NOTARY)
    assert audit(kernel.reader()) == []
    kernel.rebuild()
    assert let_go(kernel) == [], "a second time there is nothing left"


def test_the_fact_names_what_went_so_that_the_log_s_manifests_prove_it(kernel: Kernel) -> None:
    a_day(kernel)
    names = let_go(kernel)
    (fact,) = events_of(kernel, Dropped)
    assert (fact.kind, fact.things, fact.digest) == (READINGS, 2, digest_of(names))
    assert fact.first_at is not None
    assert fact.last_at is not None
    assert fact.first_at <= fact.last_at < T0 + DAY
    vouched = {block.hash for event in events_of(kernel, BlocksManifested) for block in event.blocks}
    assert set(names) <= vouched
    (went,) = retention.went(kernel.reader())
    entry = log.find(kernel.reader(), went.entry_id)
    assert entry is not None
    assert entry.type == "kernel.dropped"


def test_the_wire_form_of_the_fact_is_frozen() -> None:
    frozen = (
        b'{"type":"kernel.dropped","kind":"readings","before":"2026-03-03T08:00:00Z","things":2,"bytes":3,'
        b'"first_at":null,"last_at":"2026-03-01T23:59:00Z","digest":"ab"}'
    )
    event = log.decode_entry(_entry(frozen))
    before, last = T0 + 2 * DAY, T0.replace(hour=23, minute=59)
    assert event == Dropped("readings", before, 2, 3, None, last, "ab")


def _entry(body: bytes) -> Entry:
    return Entry(
        0, "network", 1, 0, T0, T0, "kernel/retention", "kernel.dropped", "system", "", "", body, b""
    )


def test_what_a_site_rests_on_is_spared(kernel: Kernel) -> None:
    a_day(kernel)
    assert let_go(kernel, Spared({"ATL1": T0})) == []
    assert let_go(kernel, Spared({"CLT1": T0})) != [], "another site's is not"


def test_a_pack_made_before_verifies_after_and_one_made_after_is_sound(kernel: Kernel) -> None:
    a_day(kernel)
    kernel.do(
        OpenIncident(
            site_id="ATL1",
            incident_id="incident-1",
            zone_id="ATL1-FRZ1",
            severity=Severity.EXCURSION_RISK,
            title="Freezer 1 is warm",
        )
    )
    request = PackRequest(PackSubject("incident", "incident-1"), "ana", kernel.host.instant)
    before = pack_now(kernel.decider, NOTARY, request)
    assert [path for path in open_zip(before).files if path.startswith("telemetry/blocks/")]
    let_go(kernel)
    report = verify.verify_pack(before, [KEY.key])
    assert report.findings == []
    after = pack_now(kernel.decider, NOTARY, request)
    assert verify.verify_pack(after, [KEY.key]).findings == []
