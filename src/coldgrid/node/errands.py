"""Errands: what an operator at this machine asks a running host to do, by files in a folder of its own.

Invariants
    E1  The folder is open to its owner alone: who may write there could stop the host and take its key.
    E2  An errand is done at most once: its file is taken away before it is begun, readable or not.
    E3  Nothing stays in the folder: an answer that nobody fetched, or a question that nobody finished
        writing, is taken away after `KEPT_S`.

No port, no password: the way in is the one that the host's own files have.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import structlog

from coldgrid.kernel.rejections import Invalid, Rejected
from coldgrid.kernel.settings import Settings

EVERY_S = 0.2
# Longer than anybody waits for an answer.
KEPT_S = 3600.0
Asked = dict[str, str]
Doing = Mapping[str, Callable[[Asked], str]]
logger = structlog.get_logger("coldgrid.errands")


class Answered(msgspec.Struct, frozen=True):
    """What came of an errand: what to say, and whether it was done."""

    ok: bool
    text: str


class NobodyThere(Exception):
    """No running host took the errand."""


def errands_folder(settings: Settings) -> Path:
    """Return a host's folder for errands: beside its signing key."""
    return Path(settings.signing_key).parent / "errands"


class Errands:
    """Does errands while the host serves. `doing`: for each kind, the function that does it."""

    def __init__(self, folder: Path, doing: Doing) -> None:
        self._folder = folder
        self._doing = doing
        self._stopping = threading.Event()
        self._first_seen_s: dict[Path, float] = {}
        self._thread = threading.Thread(target=self._loop, name="errands", daemon=True)

    def start(self) -> None:
        """Look into the folder from now on; what lay there was meant for a host that is gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for old in self._folder.iterdir():
            old.unlink(missing_ok=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the present one."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _loop(self) -> None:
        while not self._stopping.wait(EVERY_S):
            found = sorted(self._folder.iterdir())
            for path in found:
                if path.suffix == ".ask":
                    self._do(path)
            self._sweep([path for path in found if path.suffix != ".ask"])

    def _sweep(self, others: list[Path]) -> None:
        """Take away what nobody came for (E3); by how long it was seen here, whatever the clocks did."""
        now_s = time.monotonic()
        self._first_seen_s = {path: self._first_seen_s.get(path, now_s) for path in others}
        for path, first_s in self._first_seen_s.items():
            if now_s - first_s >= KEPT_S:
                path.unlink(missing_ok=True)

    def _do(self, path: Path) -> None:
        try:
            told = path.read_bytes()
            path.unlink()
        except FileNotFoundError:  # who asked gave up
            return
        try:
            asked = msgspec.json.decode(told, type=Asked)
            answer = Answered(True, self._doing[asked.pop("errand")](asked))
        except Rejected as rejected:
            answer = Answered(False, in_words(rejected))
        except Exception as error:
            logger.exception("errand_failed", errand=path.name)
            answer = Answered(False, f"{type(error).__name__}: {error}")
        written = path.with_suffix(".new")
        written.write_bytes(msgspec.json.encode(answer))
        written.replace(path.with_suffix(".answer"))


def ask(folder: Path, errand: str, asked: Asked, within_s: float = 60.0) -> Answered:
    """Ask the host whose folder this is, and wait for its answer.

    Raises:
        NobodyThere: there is no such folder, or nobody answered.
    """
    if not folder.is_dir():
        raise NobodyThere(
            f"no host serves from {folder.parent}: start it, or run this in its folder or with its "
            f"COLDGRID_SIGNING_KEY"
        )
    name = secrets.token_hex(8)
    written = folder / f"{name}.new"
    written.write_bytes(msgspec.json.encode({**asked, "errand": errand}))
    question, answer = folder / f"{name}.ask", folder / f"{name}.answer"
    written.replace(question)
    ends_s = time.monotonic() + within_s
    while time.monotonic() < ends_s:
        if answer.exists():
            told = msgspec.json.decode(answer.read_bytes(), type=Answered)
            answer.unlink()
            return told
        time.sleep(EVERY_S / 2)
    try:
        question.unlink()
    except FileNotFoundError:
        raise NobodyThere(
            f"the host of {folder.parent} took this up and has not answered within {within_s:.0f} s; it may "
            f"do it yet: see what it shows before you ask again"
        ) from None
    raise NobodyThere(
        f"the host of {folder.parent} did not take this up within {within_s:.0f} s; nothing was done. It was "
        f"killed, hangs, or is at another errand: coldgrid doctor says which"
    )


def in_words(rejected: Rejected) -> str:
    """Return a refusal as lines for a terminal: each wrong field with what is wrong and the fix."""
    if not isinstance(rejected, Invalid):
        return f"{rejected} {rejected.todo}".strip()
    lines = [f"{rejected.title} {rejected.todo}".strip()]
    lines += [f"{one.field}: {one.message}{f': {one.fix}' if one.fix else ''}" for one in rejected.problems]
    return "\n".join(lines)
