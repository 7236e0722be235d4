"""Packs: what is in them, that the same facts give the same bytes, and what they never show."""

from __future__ import annotations

import csv
import io
import zipfile

import msgspec
import pytest

from coldgrid.evidence import parts, verify
from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.notes import Signer
from coldgrid.evidence.pack_form import Manifest, PackedFile, PackedLog, parse_manifest
from coldgrid.evidence.packs import NothingToProve, PackRequest, make_pack
from coldgrid.evidence.parts import PackSubject
from coldgrid.kernel import log
from coldgrid.kernel.events import encode, envelope_bytes
from coldgrid.kernel.personal import EraseSubject
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.evidence.conftest import NODE, SUBJECT, TOWER, bump, fill, packed


def opened(data: bytes) -> dict[str, bytes]:
    """Read a pack as any zip tool does."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_pack_verifies_and_says_what_it_is(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    report = verify.verify_pack(packed(kernel, notary), [TOWER.key])
    assert report.findings == []
    assert (report.ok, report.trust, report.subject) == (True, "trusted", "incident toy-incident")
    assert [(one.name, one.proven == one.entries > 0) for one in report.logs] == [
        ("coldgrid.example/ATL1/1", True),
        ("coldgrid.example/DFW1/1", True),
        ("coldgrid.example/network/1", True),
    ]


def test_without_a_trusted_key_a_sound_pack_is_only_self_signed(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    report = verify.verify_pack(packed(kernel, notary))
    assert (report.ok, report.trust) == (True, "self-signed")


def test_a_pack_of_another_host_is_not_trusted(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    report = verify.verify_pack(packed(kernel, notary), [NODE.key])
    assert (report.ok, report.trust) == (False, "none")
    assert "manifest.note" in [finding.file for finding in report.findings]


def test_a_forger_with_a_key_of_his_own_name_is_not_trusted(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    forger = Notary(Signer(TOWER.name, bytes(32)), notary.network_name)
    report = verify.verify_pack(packed(kernel, forger), [TOWER.key])
    assert (report.ok, report.trust) == (False, "none")


def test_the_same_facts_give_the_same_bytes(notary: Notary) -> None:
    made = []
    for _ in range(2):
        with sqlite_kernel() as kernel:
            fill(kernel)
            made.append(packed(kernel, notary))
    assert made[0] == made[1]


def test_entries_stand_in_a_pack_byte_for_byte_as_they_were_hashed(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    files = opened(packed(kernel, notary))
    for name in ("ATL1", "DFW1", "network"):
        kept = {envelope_bytes(entry) for entry in log.read_all(kernel.reader()) if entry.origin == name}
        lines = files[f"entries/{name}-1.jsonl"].splitlines()
        assert lines
        assert set(lines) <= kept


def test_causes_and_effects_of_an_incidents_entries_are_in_its_pack(kernel: Kernel, notary: Notary) -> None:
    """The room names one stream; what it led to at the network follows by itself."""
    fill(kernel)
    files = opened(packed(kernel, notary))
    types = [msgspec.json.decode(line)["type"] for line in files["entries/network-1.jsonl"].splitlines()]
    assert types.count("toy.told") == 6


def test_what_no_checkpoint_covers_yet_is_not_in_a_pack(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    before = packed(kernel, notary)
    bump(kernel, 3)
    request = PackRequest(SUBJECT, "ana", kernel.host.instant)
    assert make_pack(kernel.reader(), notary, request) == before


def test_a_subject_that_nothing_was_signed_about_is_refused(kernel: Kernel, notary: Notary) -> None:
    bump(kernel)
    make_checkpoints(kernel.decider, notary)
    request = PackRequest(PackSubject("lot", "L-404"), "ana", T0)
    with pytest.raises(NothingToProve):
        make_pack(kernel.reader(), notary, request)


def test_readings_limits_tables_and_files_of_rooms_are_in_the_pack(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    files = opened(packed(kernel, notary))
    rows = list(csv.DictReader(io.StringIO(files["toybox/ATL1-FRZ1-T1.csv"].decode())))
    assert rows[0] == {"at": "2026-03-01T08:00:00Z", "°C": "-21"}
    assert [row["°C"] for row in rows[41:43]] == ["", ""]
    bands = next(csv.reader(io.StringIO(files["toybox/ATL1-FRZ1-ice-cream.csv"].decode())))
    assert bands == ["at", "°C", "low", "high"]
    assert msgspec.json.decode(files["limits.json"])[0]["source"] == "product specification 7, <table> 2"
    assert msgspec.json.decode(files["toybox/Units.json"])["rows"][1] == ["004", "within", "release"]
    assert files["toybox/certificates/T1.txt"] == b"as found +0.1 K\n"


def test_personal_data_is_ciphertext_unless_disclosed_by_name(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    closed = packed(kernel, notary)
    assert b"Peach St" not in closed
    assert b"cipher" in closed
    clear = packed(kernel, notary, disclose=["customer-1", "customer-2"])
    files = opened(clear)
    assert msgspec.json.decode(files["disclosed.json"])[0]["text"] == "Ana Bell, 12 Peach St"
    assert msgspec.json.decode(files["disclosed.json"])[0]["field"] == "note"
    assert parse_manifest(files["manifest.json"]).disclosed == ["customer-1"]
    assert verify.verify_pack(clear, [TOWER.key]).ok


def test_an_erased_person_stays_unreadable_and_packs_still_verify(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    early = packed(kernel, notary)
    kernel.do(EraseSubject(subject="customer-1", reason="asked"))
    late = packed(kernel, notary, disclose=["customer-1"])
    assert "disclosed.json" not in opened(late)
    for pack in (early, late):
        assert verify.verify_pack(pack, [TOWER.key]).ok


def test_packs_are_the_same_after_a_restart(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    before = packed(kernel, notary)
    kernel.restart()
    assert packed(kernel, notary) == before


def test_earlier_heads_show_that_entries_were_there_by_then(kernel: Kernel, notary: Notary) -> None:
    fill(kernel)
    make_checkpoints(kernel.decider, notary)
    kernel.host.instant = kernel.host.instant.replace(hour=11)
    bump(kernel, 3)
    files = opened(packed(kernel, notary))
    history = [msgspec.json.decode(line) for line in files["checkpoints/ATL1-1.jsonl"].splitlines()]
    assert [line["made_at"] for line in history] == ["2026-03-01T08:07:00Z"]
    assert verify.verify_pack(packed(kernel, notary), [TOWER.key]).ok


def test_a_log_whose_last_head_another_key_signed_is_vouched_for_by_the_packs_maker(
    kernel: Kernel, notary: Notary
) -> None:
    fill(kernel)
    make_checkpoints(kernel.decider, Notary(NODE, notary.network_name))
    report = verify.verify_pack(packed(kernel, notary), [TOWER.key])
    assert report.ok
    assert report.logs[0].signed_by == [TOWER.name]


def test_a_path_that_would_leave_the_pack_is_a_fault() -> None:
    for path in ("../up", "/root", "a//b", ".hidden", "a/../b", "", "a\\b", "x" * 300):
        assert not parts.is_path(path)
    assert parts.is_path("blocks/ATL1-FRZ1-T1.2026-03-01.cgb")


def test_the_manifest_keeps_its_frozen_form() -> None:
    manifest = Manifest(
        format="coldgrid-pack/1",
        subject=PackSubject("incident", "i-1", "ATL1"),
        network="coldgrid.example",
        made_at=T0,
        made_by="ana",
        disclosed=[],
        logs=[PackedLog(name="coldgrid.example/ATL1/1", origin="ATL1", epoch=1, size=9, entries=3)],
        files=[
            PackedFile(path="keys.txt", sha256="ab" * 32, size=80, title="Public keys of who signed"),
            PackedFile(path="telemetry/b.cgb", sha256="cd" * 32, size=7, attested_by="ATL1/1/4"),
        ],
    )
    wire = (
        b'{"format":"coldgrid-pack/1","subject":{"kind":"incident","id":"i-1","site_id":"ATL1"},'
        b'"network":"coldgrid.example","made_at":"2026-03-01T08:00:00Z","made_by":"ana","disclosed":[],'
        b'"logs":[{"name":"coldgrid.example/ATL1/1","origin":"ATL1","epoch":1,"size":9,"entries":3}],'
        b'"files":[{"path":"keys.txt","sha256":"'
        + b"ab"
        * 32
        + b'","size":80,"title":"Public keys of who signed"},'
        b'{"path":"telemetry/b.cgb","sha256":"' + b"cd" * 32 + b'","size":7,"attested_by":"ATL1/1/4"}]}'
    )
    assert encode(manifest) == wire
    assert parse_manifest(wire) == manifest


def test_the_report_needs_nothing_from_outside_and_escapes_what_rooms_say(
    kernel: Kernel, notary: Notary
) -> None:
    fill(kernel)
    page = opened(packed(kernel, notary))["report.html"].decode()
    assert "<script" not in page
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    assert "product specification 7, &lt;table&gt; 2" in page
    assert "Technician called" in page
    assert "−18 °C · ICE-VAN-1L single excursion" in page
    assert 'class="line product s0"' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_the_report_comes_as_pdf_too(kernel: Kernel, notary: Notary) -> None:
    pytest.importorskip("typst")
    fill(kernel)
    assert opened(packed(kernel, notary))["report.pdf"].startswith(b"%PDF-")


def test_without_the_typesetter_the_pack_has_the_page_alone(
    kernel: Kernel, notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "typst", None)
    fill(kernel)
    pack = packed(kernel, notary)
    assert "report.pdf" not in opened(pack)
    assert verify.verify_pack(pack, [TOWER.key]).ok
