"""The zip of a pack: one form for the same files, so that a changed byte anywhere is found and named.

Invariants
    A1  The same files give the same bytes: names sorted, one timestamp, nothing compressed, no extras.
    A2  Every byte of an archive belongs to a named part: what is not as `pack_zip` writes it is told by name.

Any zip tool opens it. Nothing is compressed because two versions of a compressor give different bytes
for the same files; what is worth compressing comes compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import msgspec

ARCHIVE_BYTES_MAX = 2**31 - 1  # no zip64: every reader takes it
FILES_MAX = 65_534

_STAMP = (1980, 1, 1, 0, 0, 0)
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_LOCAL_MARK = b"PK\x03\x04"
_CENTRAL_BYTES = 46
_NOT_MADE = "is not as it was made"
WHOLE = "(archive)"


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it was made: which file, and what is wrong with it."""

    file: str
    problem: str


class Opened(msgspec.Struct, frozen=True):
    """The files read from an archive, and what about the archive itself is not as it was made."""

    files: dict[str, bytes]
    findings: list[Finding]


def pack_zip(files: Mapping[str, bytes]) -> bytes:
    """Return the archive of these files (A1).

    Raises:
        ValueError: too many or too big for a plain zip.
    """
    total_bytes = sum(len(body) + 2 * len(name) + 128 for name, body in files.items())
    if len(files) > FILES_MAX or total_bytes > ARCHIVE_BYTES_MAX:
        raise ValueError(f"{len(files)} files of {total_bytes} bytes are too much for one archive")
    out = BytesIO()
    with ZipFile(out, "w", ZIP_STORED) as archive:
        for name in sorted(files):
            info = ZipInfo(name, _STAMP)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, files[name])
    return out.getvalue()


def open_zip(data: bytes) -> Opened:
    """Read an archive, whatever its state; every difference from the one form is a finding (A2)."""
    findings: list[Finding] = []
    try:
        files = _by_directory(data, findings)
    except (BadZipFile, struct.error, ValueError, RuntimeError) as error:
        findings.append(Finding(WHOLE, f"the zip directory cannot be read: {error}"))
        files = _by_headers(data, findings)
    if not findings:
        findings += _compare(data, files)
    return Opened(files, findings)


def _by_directory(data: bytes, findings: list[Finding]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with ZipFile(BytesIO(data)) as archive:
        for info in archive.infolist():
            if info.filename in files:
                findings.append(Finding(info.filename, "stands in the archive twice"))
            body = _body_at(data, info.header_offset, info.compress_size)
            if body is None:
                findings.append(Finding(info.filename, "its place in the archive does not hold a file"))
                continue
            files[info.filename] = body
    return files


def _body_at(data: bytes, offset: int, size: int) -> bytes | None:
    """Return the stored bytes behind a local header, or None where there is none."""
    if offset < 0 or data[offset : offset + 4] != _LOCAL_MARK or offset + _LOCAL.size > len(data):
        return None
    fields = _LOCAL.unpack_from(data, offset)
    start = offset + _LOCAL.size + fields[9] + fields[10]
    return data[start : start + size]


def _by_headers(data: bytes, findings: list[Finding]) -> dict[str, bytes]:
    """Walk the files from the front: what remains of an archive whose end is cut off or overwritten."""
    files: dict[str, bytes] = {}
    at = 0
    while data[at : at + 4] == _LOCAL_MARK and at + _LOCAL.size <= len(data):
        fields = _LOCAL.unpack_from(data, at)
        size, name_bytes, extra_bytes = fields[8], fields[9], fields[10]
        start = at + _LOCAL.size + name_bytes + extra_bytes
        name = data[at + _LOCAL.size : at + _LOCAL.size + name_bytes].decode(errors="replace")
        body = data[start : start + size]
        if len(body) < size:
            findings.append(Finding(name or WHOLE, f"cut off after {len(body)} of {size} bytes"))
        files[name] = body
        at = start + size
    return files


def _compare(data: bytes, files: Mapping[str, bytes]) -> list[Finding]:
    """Hold an archive against the one form of its files, part by part."""
    made = pack_zip(files)
    if data == made:
        return []
    findings = []
    for name, start, end in _layout(made):
        if data[start:end] != made[start:end]:
            findings.append(
                Finding(name, f"the archive around byte {_first_difference(data, made, start)} {_NOT_MADE}")
            )
            if len(data) != len(made):
                return findings  # what follows is shifted
    if len(data) > len(made):
        findings.append(Finding(WHOLE, f"{len(data) - len(made)} bytes behind the end"))
    return findings


def _first_difference(data: bytes, made: bytes, start: int) -> int:
    return next((at for at in range(start, len(made)) if data[at : at + 1] != made[at : at + 1]), len(made))


def _layout(made: bytes) -> list[tuple[str, int, int]]:
    """Return each part of an archive: whose it is, where it begins and ends. Bodies go with their headers."""
    with ZipFile(BytesIO(made)) as archive:
        infos = archive.infolist()
        place = archive.start_dir
    parts = []
    for info in infos:
        end = info.header_offset + _LOCAL.size + len(info.filename.encode()) + info.file_size
        parts.append((info.filename, info.header_offset, end))
    for info in infos:
        parts.append((info.filename, place, place + _CENTRAL_BYTES + len(info.filename.encode())))
        place = parts[-1][2]
    return [*parts, (WHOLE, place, len(made))]
