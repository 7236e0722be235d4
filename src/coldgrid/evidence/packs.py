"""Evidence packs: what is known about an incident, a handling unit or a lot, and its proof, in one zip.

Invariants
    P1  The same facts, subject, maker and instant give the same bytes.
    P2  Entries stand in a pack byte for byte as their leaf was hashed, each with its inclusion proof.
    P3  Personal data is ciphertext, unless the pack was made with disclosure for the persons it names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from coldgrid.evidence import archive, collect, tiles
from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.notes import VerifierKey
from coldgrid.evidence.pack_files import Files, add_log, add_parts, disclose
from coldgrid.evidence.pack_form import (
    DISCLOSED,
    FORMAT,
    KEYS,
    MANIFEST,
    MANIFEST_NOTE,
    REPORT_HTML,
    REPORT_PDF,
    DisclosedText,
    Manifest,
    PackedLog,
    manifest_text,
)
from coldgrid.evidence.parts import (
    PackGap,
    PackLimit,
    PackMoment,
    PackSeries,
    PackStreams,
    PackSubject,
    PackTable,
    Part,
    contributions,
    preparations,
)
from coldgrid.evidence.report import Report, render_html, render_pdf
from coldgrid.evidence.story import moments_of
from coldgrid.evidence.tiles import KeptHead, LogId
from coldgrid.kernel import log
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry, encode
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.rejections import NotFound
from coldgrid.network.profile import ShownUnit, profile_of
from coldgrid.network.sites import SiteNotFound, get_site


class NothingToProve(NotFound):
    """No signed entry concerns this."""

    todo = "Check the id; a fact is signed at most ten seconds after it was recorded."


class PackRequest(msgspec.Struct, frozen=True):
    """Which pack to make, for whom, when. `disclose`: the persons whose data is to stand in it in clear."""

    subject: PackSubject
    made_by: str
    made_at: datetime
    disclose: Collection[str] = ()
    witness_keys: Sequence[VerifierKey] = ()


class _Gathered(msgspec.Struct, frozen=True):
    """What concerns the subject, before it is laid out."""

    parts: Sequence[tuple[str, Part]]
    entries: Sequence[Entry]
    heads: dict[LogId, KeptHead]

    @property
    def gaps(self) -> list[PackGap]:
        """Of what time nobody knows what was measured, oldest first."""
        found = [part for _, part in self.parts if isinstance(part, PackGap)]
        return sorted(found, key=lambda gap: (gap.from_at, gap.title))


def make_pack(db: Reader, notary: Notary, request: PackRequest) -> bytes:
    """Return the pack as a zip. It shows what the latest checkpoints cover: sign what is new first.

    Raises:
        NothingToProve: nothing that was signed concerns the subject.
    """
    gathered = _gather(db, request.subject)
    files = Files()
    logs = [
        add_log(db, files, notary, gathered.heads[log_id], entries)
        for log_id, entries in collect.by_log(gathered.entries).items()
    ]
    keys = [notary.signer.key, notary.signer.witness_key, *request.witness_keys]
    files.add(KEYS, "".join(f"{key.encode()}\n" for key in keys).encode(), "Public keys of who signed")
    disclosed = disclose(db, gathered.entries, request.disclose)
    if disclosed:
        files.add(DISCLOSED, encode(disclosed), "Personal data in clear")
    add_parts(files, gathered.parts)
    report = _report(db, notary, request, gathered, logs)
    _add_report(files, msgspec.structs.replace(report, disclosed=disclosed))
    manifest = encode(_manifest(notary, request, files, logs, disclosed, gathered.gaps))
    note = notary.signer.sign(manifest_text(manifest, notary.network_name, str(request.subject)))
    return archive.pack_zip({**files.bodies, MANIFEST: manifest, MANIFEST_NOTE: note.encode().encode()})


def pack_now(decider: Decider, notary: Notary, request: PackRequest) -> bytes:
    """Let rooms prepare, sign what is new and make the pack, all on the caller's thread.

    Raises:
        Rejected: a room's preparation was refused, or nothing is signed about the subject.
    """
    for command in preparations(Reads(decider.connection), request.subject):
        decider.do(command)
    make_checkpoints(decider, notary)
    return make_pack(Reads(decider.connection), notary, request)


def origins_of(db: Reader, subject: PackSubject) -> set[str]:
    """Return the origins that hold a subject's own stream: the sites it was at."""
    return {entry.origin for entry in log.read_stream(db, f"{subject.kind}/{subject.id}")}


def _gather(db: Reader, subject: PackSubject) -> _Gathered:
    heads = {head.log_id: head for head in tiles.heads(db)}
    parts = contributions(db, subject)
    named = [part for _, part in parts if isinstance(part, PackStreams)]
    covered = {log_id: head.size for log_id, head in heads.items()}
    entries = collect.collect(db, subject, named, covered)
    if not entries:
        raise NothingToProve(subject=str(subject))
    return _Gathered(parts, entries, heads)


def _manifest(
    notary: Notary,
    request: PackRequest,
    files: Files,
    logs: list[PackedLog],
    disclosed: Sequence[DisclosedText],
    gaps: list[PackGap],
) -> Manifest:
    return Manifest(
        format=FORMAT,
        subject=request.subject,
        network=notary.network_name,
        made_at=request.made_at,
        made_by=request.made_by,
        disclosed=sorted({one.subject for one in disclosed}),
        logs=logs,
        files=files.listed(),
        gaps=gaps,
    )


def _report(
    db: Reader, notary: Notary, request: PackRequest, gathered: _Gathered, logs: Sequence[PackedLog]
) -> Report:
    parts = [part for _, part in gathered.parts]
    return Report(
        subject=request.subject,
        network=notary.network_name,
        made_by=request.made_by,
        made_at=request.made_at,
        key=notary.signer.key.encode(),
        zone=_zone_of(db, request.subject.site_id or gathered.entries[0].origin),
        logs=logs,
        heads=[gathered.heads[LogId(log.origin, log.epoch)] for log in logs],
        entries=gathered.entries,
        moments=_moments(gathered),
        series=[part for part in parts if isinstance(part, PackSeries)],
        limits=[part for part in parts if isinstance(part, PackLimit)],
        tables=[part for part in parts if isinstance(part, PackTable)],
        gaps=gathered.gaps,
        disclosed=[],
        fahrenheit=_reads_fahrenheit(db),
    )


def _moments(gathered: _Gathered) -> list[PackMoment]:
    """Return the timeline: a room that tells its own story tells all of it, the facts tell the rest."""
    told = [(room, part) for room, part in gathered.parts if isinstance(part, PackMoment)]
    rooms = {room for room, _ in told}
    known = {moment.entry_id for _, moment in told}
    silent = [
        entry
        for entry in gathered.entries
        if entry.id not in known and entry.type.partition(".")[0] not in rooms
    ]
    order = {entry.id: number for number, entry in enumerate(gathered.entries)}
    moments = [*moments_of(silent), *(moment for _, moment in told)]
    return sorted(moments, key=lambda moment: (moment.at, order.get(moment.entry_id, len(order))))


def _reads_fahrenheit(db: Reader) -> bool:
    """Whether the network was named with °F: a fact, so that the same facts give the same bytes (P1)."""
    named = profile_of(db)
    return named is not None and named.unit is ShownUnit.FAHRENHEIT


def _zone_of(db: Reader, site_id: str) -> tzinfo:
    try:
        return ZoneInfo(get_site(db, site_id).timezone) if site_id else UTC
    except (SiteNotFound, ZoneInfoNotFoundError):
        return UTC


def _add_report(files: Files, report: Report) -> None:
    files.add(REPORT_HTML, render_html(report), "The report, to read")
    pdf = render_pdf(report)
    if pdf is not None:
        files.add(REPORT_PDF, pdf, "The report, to print")
