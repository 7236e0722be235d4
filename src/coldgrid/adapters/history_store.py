"""History store: where the files of a history lie: a folder, or a bucket of any S3-compatible store.

Invariants
    S1  A file appears whole or not at all: in a folder it is written beside, made durable and renamed; in a
        bucket it is one object, which does not exist before it is complete.
    S2  What is there is never overwritten.
    S3  Names are those that count: a file that a compact one replaces is passed over, though it may lie there
        for a while yet.

    COLDGRID_HISTORY=/var/lib/coldgrid/history
    COLDGRID_HISTORY=s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

import msgspec

from coldgrid.telemetry.history_compact import counted, replacing
from coldgrid.telemetry.history_files import arrow

CHUNK_BYTES = 8 * 1024 * 1024
# A store that is away is noticed within a round of the duty, not after minutes.
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 60.0


class Address(msgspec.Struct, frozen=True):
    """Where a history lies. `bucket` empty: a folder."""

    root: str
    bucket: str = ""
    endpoint: str = ""
    region: str = ""

    @property
    def name(self) -> str:
        """The address without how it is reached: what the working state calls the archive."""
        return f"s3://{self.root}" if self.bucket else self.root


class Put(msgspec.Struct, frozen=True):
    """A file that lies there: its size and hash; `new`: it was not there before."""

    bytes: int
    sha256: str
    new: bool


def address_of(text: str) -> Address:
    """Read the setting.

    Raises:
        ValueError: it is neither a path nor s3://bucket[/prefix][?endpoint=…&region=…].
    """
    parts = urlsplit(text)
    if "://" not in text:
        return Address(str(Path(text).resolve()))
    asked = parse_qs(parts.query, strict_parsing=bool(parts.query))
    strange = sorted(set(asked) - {"endpoint", "region"})
    if parts.scheme != "s3" or not parts.hostname or parts.username or strange:
        raise ValueError(
            "COLDGRID_HISTORY is a folder, or s3://bucket/prefix with ?endpoint=http://host:port and "
            "&region=…; keys go into COLDGRID_HISTORY_KEY"
        )
    bucket = parts.netloc
    root = "/".join(part for part in (bucket, parts.path.strip("/")) if part)
    return Address(root, bucket, asked.get("endpoint", [""])[0], asked.get("region", [""])[0])


class HistoryStore:
    """The files of a history. `key`: `ID:SECRET`; empty: what the machine has of itself."""

    def __init__(self, address: Address, key: str = "") -> None:
        arrow()
        from pyarrow import fs  # noqa: PLC0415 (an extra: only when used)

        self.address = address
        if not address.bucket:
            self.files: Any = fs.LocalFileSystem()
            return
        endpoint = urlsplit(address.endpoint)
        identifier, _, secret = key.partition(":")
        self.files = fs.S3FileSystem(
            access_key=identifier or None,
            secret_key=secret or None,
            region=address.region or None,
            endpoint_override=endpoint.netloc or None,
            scheme=endpoint.scheme or "https",
            background_writes=False,
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=REQUEST_TIMEOUT_S,
        )

    def path(self, name: str) -> str:
        """Return the full path of a file, as `files` knows it."""
        return f"{self.address.root}/{name}"

    def put(self, name: str, write: Callable[[BinaryIO], None]) -> Put:
        """Write a file under a name that is free (S1); what is there already stays as it is (S2).

        Raises:
            OSError: the store cannot be reached, or is full; nothing is there then.
        """
        if self._is_there(name):
            return self.measure(name)
        if self.address.bucket:
            return self._put_object(name, write)
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Readers of a folder pass over names that begin with a dot.
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with beside.open("w+b") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                put = _measured(file)
            os.link(beside, target)  # unlike a rename it never replaces
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
        _make_durable(target.parent)
        return put

    def _put_object(self, name: str, write: Callable[[BinaryIO], None]) -> Put:
        with tempfile.TemporaryFile() as spool:
            write(spool)
            put = _measured(spool)
            spool.seek(0)
            with self.files.open_output_stream(self.path(name)) as sink:
                while chunk := spool.read(CHUNK_BYTES):
                    sink.write(chunk)
        stored = self.files.get_file_info(self.path(name)).size
        if stored != put.bytes:
            raise OSError(f"{self.path(name)}: {stored} of {put.bytes} bytes are there")
        return put

    def _is_there(self, name: str) -> bool:
        return bool(self.files.get_file_info(self.path(name)).is_file)

    def measure(self, name: str) -> Put:
        """Return the size and the hash of a file that is there."""
        digest, size = sha256(), 0
        with self.open(name) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return Put(size, digest.hexdigest(), new=False)

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Open a file for reading."""
        with self.files.open_input_file(self.path(name)) as file:
            yield file

    def written_at(self, name: str) -> datetime:
        """Return when a file was written, by the clock of where it lies."""
        found: datetime = self.files.get_file_info(self.path(name)).mtime
        return found

    def remove(self, name: str) -> None:
        """Take away a file that a compact one replaces."""
        self.files.delete_file(self.path(name))

    def replaced_by(self, name: str) -> str | None:
        """Return the compact file that counts what a file counts, or would count; None: there is none."""
        return replacing(name, self.lying(name.rpartition("/")[0]))

    def names(self, folder: str) -> list[str]:
        """Return the names of all Parquet files under a folder that count, in order (S3)."""
        return counted(self.lying(folder))

    def lying(self, folder: str) -> list[str]:
        """Return the names of all Parquet files under a folder, in order, replaced ones too."""
        from pyarrow import fs  # noqa: PLC0415

        selector = fs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        cut = len(self.address.root) + 1
        found = (info.path[cut:] for info in self.files.get_file_info(selector) if info.is_file)
        return sorted(
            name for name in found if name.endswith(".parquet") and PurePosixPath(name).name[0] not in "._"
        )

    def names_between(self, kind: str, first: date | None, last: date | None) -> list[str]:
        """Return the names of the files of some days, both included; None: as far as there are any."""
        if first is not None and first == last:
            return self.names(f"{kind}/date={first.isoformat()}")
        if first is None and last is None:
            return self.names(kind)
        from pyarrow import fs  # noqa: PLC0415

        selector = fs.FileSelector(self.path(kind), recursive=False, allow_not_found=True)
        days = sorted(PurePosixPath(info.path).name for info in self.files.get_file_info(selector))
        begin = f"date={first or date.min}"
        end = f"date={last or date.max}"
        return [name for day in days if begin <= day <= end for name in self.names(f"{kind}/{day}")]


def _measured(file: Any) -> Put:
    file.flush()
    file.seek(0)
    digest, size = sha256(), 0
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return Put(size, digest.hexdigest(), new=True)


def _make_durable(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
