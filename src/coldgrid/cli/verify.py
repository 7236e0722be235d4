"""`coldgrid verify`: check an evidence pack from its bytes alone; 0 when it is sound, 1 when it is not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from coldgrid.cli.output import Output, results, words
from coldgrid.evidence.archive import ARCHIVE_BYTES_MAX
from coldgrid.evidence.notes import BadNote, VerifierKey, parse_keys
from coldgrid.evidence.verify import NONE, SELF_SIGNED, TRUSTED, Report, verify_pack

WHICH = "Name a pack that was downloaded, and with --trust a file of public keys that you may read."
_TRUST = {
    TRUSTED: "signed by a key you trust",
    SELF_SIGNED: "self-signed: compare the key with one you had otherwise, or give it with --trust",
    NONE: "nothing in it is signed by a key that counts",
}


def verify_pack_file(pack: Path, *, trust: Path | None = None, json: bool = False) -> int:
    """Check a pack and print what was found; return the exit code.

    Args:
        pack: The zip file.
        trust: A file of public keys, one a line (name+id+base64), as `keys.txt` in a pack has them.
        json: Print the whole report as JSON.
    """
    try:
        data, trusted = _read(pack), _keys(trust)
    except OSError as error:
        return _cannot(f"{error.filename or pack} cannot be read: {error.strerror}", WHICH)
    except (BadNote, UnicodeDecodeError, ValueError) as error:
        return _cannot(str(error), "")
    report = verify_pack(data, trusted)
    if json:
        Output(json=True).report(report)
    else:
        _tell(pack, report)
    return 0 if report.ok else 1


def _cannot(why: str, todo: str) -> int:
    words().print(why, style="crit", markup=False, soft_wrap=True)
    if todo:
        words().print(todo, style="accent", markup=False, soft_wrap=True)
    return 1


def _read(pack: Path) -> bytes:
    if pack.stat().st_size > ARCHIVE_BYTES_MAX:
        raise ValueError(f"{pack} is bigger than any pack ({ARCHIVE_BYTES_MAX} bytes)")
    return pack.read_bytes()


def _keys(trust: Path | None) -> Sequence[VerifierKey]:
    if trust is None:
        return ()
    keys = parse_keys(trust.read_text(encoding="utf-8"))
    if not keys:
        raise BadNote(f"{trust} holds no key")
    return keys


def _tell(pack: Path, report: Report) -> None:
    out = Output(json=False)
    verdict = "sound" if report.ok else "NOT SOUND"
    rows: list[tuple[str, object]] = [("verdict", verdict), ("trust", report.trust)]
    if report.subject:
        made = report.made_at.isoformat() if report.made_at else ""
        rows += [
            ("subject", report.subject),
            ("network", report.network),
            ("made", f"{made} by {report.made_by}"),
        ]
    rows += [("signed by", ", ".join(report.signed_by) or "nobody"), ("files", report.files)]
    rows += [("entries proven", report.entries)]
    out.table(["", ""], rows)
    for log in report.logs:
        witnesses = ", ".join(name for name, _ in log.witnesses) or "no known witness"
        out.table(["", ""], [("log", f"{log.name}: {log.proven} of {log.entries} proven, {witnesses}")])
    for gap in report.gaps:
        out.table(["", ""], [("gap", str(gap))])
    for finding in report.findings:
        out.table(["", ""], [("finding", f"{finding.file}: {finding.problem}")])
    if results().is_terminal or not report.ok:
        style = "ok" if report.ok else "crit"
        sys.stdout.flush()
        words().print(f"[{style}]{pack.name} is {verdict}[/] [dim]· {_TRUST[report.trust]}[/]")
