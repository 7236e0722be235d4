"""Tampering: every byte, every file, every kind of lie about a pack is found, and named."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.cli.verify import verify_pack_file
from coldgrid.evidence.archive import open_zip, pack_zip
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import Signer
from coldgrid.evidence.pack_form import manifest_text, parse_manifest
from coldgrid.evidence.verify import NONE, Report, verify_pack
from coldgrid.kernel.events import encode
from tests.conftest import sqlite_kernel
from tests.evidence.conftest import NODE, TOWER, fill, packed

Files = dict[str, bytes]


def made() -> bytes:
    with sqlite_kernel() as kernel:
        fill(kernel)
        return packed(kernel, Notary(TOWER, "coldgrid.example"))


PACK = made()
FILES = open_zip(PACK).files
SAMPLES = st.integers(0, len(PACK) - 1)


def checked(data: bytes) -> Report:
    return verify_pack(data, [TOWER.key])


def named(report: Report) -> set[str]:
    return {finding.file for finding in report.findings}


def rebuilt(change: Callable[[Files], object], *, signer: Signer = TOWER, relist: bool = False) -> bytes:
    """Return the pack with other files; with `relist` the manifest agrees, signed by `signer`."""
    files = dict(FILES)
    change(files)
    if relist:
        manifest = parse_manifest(files["manifest.json"])
        listed = [
            msgspec.structs.replace(
                one, sha256=sha256(files[one.path]).hexdigest(), size=len(files[one.path])
            )
            for one in manifest.files
        ]
        files["manifest.json"] = encode(msgspec.structs.replace(manifest, files=listed))
        text = manifest_text(files["manifest.json"], manifest.network, str(manifest.subject))
        files["manifest.note"] = signer.sign(text).encode().encode()
    return pack_zip(files)


def test_the_pack_is_sound_to_begin_with() -> None:
    assert checked(PACK).findings == []


@given(at=SAMPLES, bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_any_flipped_bit_is_found_and_its_file_named(at: int, bit: int) -> None:
    data = bytearray(PACK)
    data[at] ^= 1 << bit
    report = checked(bytes(data))
    assert not report.ok
    assert owner_of(at) in named(report) or "(archive)" in named(report)


def owner_of(at: int) -> str:
    """Return whose file a byte of the archive belongs to."""
    with zipfile.ZipFile(io.BytesIO(PACK)) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    if at >= directory:
        for info in infos:
            directory += 46 + len(info.filename)
            if at < directory:
                return info.filename
        return "(archive)"
    return max(
        (info for info in infos if info.header_offset <= at), key=lambda info: info.header_offset
    ).filename


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_byte_in_each_file_is_found_and_named(name: str) -> None:
    for at in {0, len(FILES[name]) // 2, len(FILES[name]) - 1}:
        changed = bytearray(FILES[name])
        changed[at] ^= 0x01
        report = checked(rebuilt(lambda files, body=bytes(changed): files.update({name: body})))  # type: ignore[misc]
        assert name in named(report), report.findings


@pytest.mark.parametrize("name", sorted(FILES))
def test_each_removed_file_is_named(name: str) -> None:
    assert name in named(checked(rebuilt(lambda files: files.pop(name))))


@pytest.mark.parametrize("name", ["extra.txt", "entries/SEA1-1.jsonl", "aaa", "zzz/last"])
def test_an_added_file_is_named(name: str) -> None:
    assert named(checked(rebuilt(lambda files: files.update({name: b"x"})))) == {name}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_with_a_byte_more_or_less_is_named(name: str) -> None:
    for body in (FILES[name] + b"\n", FILES[name][:-1]):
        assert name in named(checked(rebuilt(lambda files, body=body: files.update({name: body}))))  # type: ignore[misc]


@given(length=SAMPLES)
@settings(max_examples=60, deadline=None)
def test_a_truncated_pack_is_not_sound_and_never_breaks_the_check(length: int) -> None:
    report = checked(PACK[:length])
    assert not report.ok
    assert report.findings


@given(data=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_what_is_no_pack_is_not_sound_and_never_breaks_the_check(data: bytes) -> None:
    assert (checked(data).ok, checked(data).trust) == (False, NONE)
    assert not checked(PACK + data + b"x").ok
    assert not checked(data + b"x" + PACK).ok


def test_a_truncated_pack_names_the_file_that_is_cut() -> None:
    with zipfile.ZipFile(io.BytesIO(PACK)) as archive:
        info = archive.getinfo("report.html")
    report = checked(PACK[: info.header_offset + 2000])
    assert "report.html" in named(report)
    assert "toybox/Units.json" in named(report)


def test_a_zip_made_again_by_another_tool_is_told_from_the_one_that_was_made() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in FILES.items():
            archive.writestr(name, body)
    assert not checked(out.getvalue()).ok


def test_a_comment_or_a_second_file_of_the_same_name_in_the_zip_is_found() -> None:
    out = io.BytesIO(PACK)
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"signed by nobody"
    assert not checked(out.getvalue()).ok
    out = io.BytesIO(PACK)
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("report.html", FILES["report.html"])
    assert "report.html" in named(checked(out.getvalue()))


@pytest.mark.parametrize("name", ["manifest.json", "entries/ATL1-1.jsonl", "proofs/ATL1-1.jsonl", "keys.txt"])
@pytest.mark.parametrize("body", [b"[" * 100_000 + b"\n", b"\xff\xfe\n", b"\0" * 50, b'{"a":1e999}\n', b""])
def test_hostile_bytes_in_a_file_are_a_finding(name: str, body: bytes) -> None:
    assert name in named(checked(rebuilt(lambda files: files.update({name: body}))))
    if name.startswith(("entries", "proofs")):
        relisted = rebuilt(lambda files: files.update({name: body}), relist=True)
        assert not checked(relisted).ok


# --- Lies by whoever holds the pack's own key: the log's proofs still tell -----------------


def lines(name: str) -> list[bytes]:
    return FILES[name].splitlines(keepends=True)


def test_swapped_entries_are_named_even_when_the_manifest_agrees() -> None:
    first, second, *rest = lines("entries/ATL1-1.jsonl")
    swapped = rebuilt(
        lambda files: files.update({"entries/ATL1-1.jsonl": b"".join([second, first, *rest])}), relist=True
    )
    report = checked(swapped)
    assert named(report) == {"entries/ATL1-1.jsonl"}
    assert "stands in the place of" in report.findings[0].problem


def test_an_edited_entry_is_named_even_when_the_manifest_agrees() -> None:
    body = FILES["entries/ATL1-1.jsonl"].replace(b'"actor":"ana"', b'"actor":"bob"', 1)
    report = checked(rebuilt(lambda files: files.update({"entries/ATL1-1.jsonl": body}), relist=True))
    assert named(report) == {"entries/ATL1-1.jsonl"}
    assert "ATL1/1/" in report.findings[0].problem


def test_a_left_out_entry_is_named_even_when_the_manifest_agrees() -> None:
    body = b"".join(lines("entries/ATL1-1.jsonl")[:-1])
    report = checked(rebuilt(lambda files: files.update({"entries/ATL1-1.jsonl": body}), relist=True))
    assert named(report) == {"entries/ATL1-1.jsonl"}


def test_a_head_of_another_log_is_named_even_when_the_manifest_agrees() -> None:
    other = FILES["checkpoints/DFW1-1.note"]
    report = checked(rebuilt(lambda files: files.update({"checkpoints/ATL1-1.note": other}), relist=True))
    assert "checkpoints/ATL1-1.note" in named(report)
    assert "entries/ATL1-1.jsonl" in named(report)


def test_a_head_that_somebody_else_signed_is_named() -> None:
    text = FILES["checkpoints/ATL1-1.note"].decode().partition("\n\n")[0] + "\n"
    forged = NODE.sign(text).encode().encode()
    report = checked(rebuilt(lambda files: files.update({"checkpoints/ATL1-1.note": forged}), relist=True))
    assert named(report) == {"checkpoints/ATL1-1.note"}


def test_a_whole_pack_signed_again_by_somebody_else_is_not_trusted() -> None:
    body = FILES["report.html"].replace(b"assess", b"within")
    forged = rebuilt(
        lambda files: files.update({"report.html": body, "keys.txt": f"{NODE.key.encode()}\n".encode()}),
        signer=NODE,
        relist=True,
    )
    report = checked(forged)
    assert (report.ok, report.trust) == (False, NONE)


def test_a_file_that_its_entry_does_not_attest_is_named() -> None:
    def attest(files: Files) -> None:
        manifest = parse_manifest(files["manifest.json"])
        claimed = [
            msgspec.structs.replace(one, attested_by="ATL1/1/1")
            if one.path == "toybox/certificates/T1.txt"
            else one
            for one in manifest.files
        ]
        files["manifest.json"] = encode(msgspec.structs.replace(manifest, files=claimed))

    report = checked(rebuilt(attest, relist=True))
    assert named(report) == {"toybox/certificates/T1.txt"}


# --- The command ------------------------------------------------------------------


@pytest.fixture
def pack_file(tmp_path: Path) -> Path:
    path = tmp_path / "pack.zip"
    path.write_bytes(PACK)
    return path


def test_the_command_says_self_signed_without_a_trusted_key(
    pack_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_pack_file(pack_file) == 0
    rows = dict(line.split("\t", 1) for line in capsys.readouterr().out.splitlines())
    assert (rows["verdict"], rows["trust"]) == ("sound", "self-signed")
    assert rows["subject"] == "incident toy-incident"


def test_the_command_says_which_file_it_could_not_read_and_what_to_do(
    pack_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "[old] pack.zip"
    assert verify_pack_file(missing) == 1
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"{missing} cannot be read: No such file or directory" in said
    assert "Name a pack that was downloaded" in said
    assert verify_pack_file(pack_file, trust=tmp_path / "keys.txt") == 1
    assert f"{tmp_path / 'keys.txt'} cannot be read" in capsys.readouterr().err.replace("\n", " ")


def test_the_command_trusts_the_key_it_was_given(
    pack_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"# the tower\n{TOWER.key.encode()}\n")
    assert verify_pack_file(pack_file, trust=keys) == 0
    assert "trust\ttrusted" in capsys.readouterr().out
    keys.write_text(f"{NODE.key.encode()}\n")
    assert verify_pack_file(pack_file, trust=keys) == 1


def test_the_command_names_what_was_altered_and_fails(
    pack_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_file.write_bytes(rebuilt(lambda files: files.update({"report.html": b"all was well"})))
    assert verify_pack_file(pack_file) == 1
    out = capsys.readouterr()
    assert "finding\treport.html: was changed" in out.out
    assert "NOT SOUND" in out.err


def test_the_command_prints_json_alone(pack_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_pack_file(pack_file, json=True) == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=Report)
    assert (report.ok, report.trust, report.findings) == (True, "self-signed", [])


@pytest.mark.parametrize("text", ["", "no key\n"])
def test_the_command_refuses_what_holds_no_key(pack_file: Path, tmp_path: Path, text: str) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(text)
    assert verify_pack_file(pack_file, trust=keys) == 1


def test_the_command_says_that_there_is_no_such_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_pack_file(tmp_path / "none.zip") == 1
    assert "none.zip" in capsys.readouterr().err
