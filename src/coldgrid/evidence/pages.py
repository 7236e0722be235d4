"""Pages about evidence: the signed logs, who witnesses them, forks, an entry's proof, and packs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from markupsafe import Markup

from coldgrid.evidence import forks, tiles, witness
from coldgrid.evidence.api import LogUnknown, OtherSite, notary_of, packed, sign_now, witness_keys_of
from coldgrid.evidence.forks import KeptFork, SettleFork
from coldgrid.evidence.merkle import verify_inclusion
from coldgrid.evidence.notes import COSIGNED, Verified, parse_note, verify_note
from coldgrid.evidence.parts import PackSubject, SubjectKind
from coldgrid.evidence.tiles import KeptCheckpoint, KeptHead, LogId
from coldgrid.evidence.verify import Report, verify_pack
from coldgrid.kernel import log
from coldgrid.kernel.events import Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.webkit.commands import see_other, submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.shell import Badge, NavItem, PanelContext, page, register_nav, register_panel
from coldgrid.webkit.visitors import Db, Visitor, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "evidence.view"}
PACK = {"action": "evidence.build_pack", "reads": "quality", **AT_LEADER}
DISCLOSE = {"action": "evidence.disclose", "reads": "personal", **AT_LEADER}
CHECKPOINTS_SHOWN = 30
LOGS_PER_PAGE = 60
CHECKED_BYTES_MAX = 64 * 1024 * 1024
KINDS = [("incident", "Incident"), ("unit", "Handling unit (SSCC)"), ("lot", "Lot")]


class LogRow(msgspec.Struct, frozen=True):
    """A log as the page lists it. `waiting`: entries that no checkpoint covers yet."""

    head: KeptHead
    name: str
    signers: list[Verified]
    waiting: int
    fork: KeptFork | None


class Proven(msgspec.Struct, frozen=True):
    """An entry with its proof, checked anew for the page. `proof` and `leaf` in hex."""

    entry: Entry
    envelope: str
    leaf: str
    proof: list[str]
    holds: bool


def _forks_badge(db: Reader, visitor: Visitor) -> Badge | None:
    open_forks = len(forks.quarantined(db))
    return Badge(open_forks, hot=True) if open_forks else None


register_nav(
    NavItem(group="Assure", label="Evidence", href="/evidence", icon="shield", badge=_forks_badge, order=60)
)


# --- Overview ---------------------------------------------------------------------


@get("/evidence", opt=VIEW | AT_LEADER, include_in_schema=False, sync_to_thread=True)
def evidence_page(request: Req, db: Db, after: FromQuery[str] = "") -> Response[str]:
    """Show the signed logs, forks, whom this host witnesses, and the forms for packs."""
    return overview(request, db, after=after)


def overview(
    request: Req,
    db: Reader,
    *,
    form: Form = NO_FORM,
    report: Report | None = None,
    checked: str = "",
    after: str = "",
) -> Response[str]:
    """Show the overview, with a refused form or with what checking a pack found."""
    heads, sizes = _heads(request, db), _sizes(request, db)
    behind = [head for head in heads if head.origin > after]
    rows = _rows(request, db, behind[:LOGS_PER_PAGE])
    return page(
        request,
        "evidence/overview.html",
        db,
        title="Evidence",
        nav="/evidence",
        rows=rows,
        logs=len(heads),
        older=rows[-1].head.origin if len(behind) > len(rows) else "",
        signed=sum(head.size for head in heads),
        waiting=sum(_waiting(head, sizes.get(head.origin, (0, 0))) for head in heads),
        latest=max((head.made_at for head in heads), default=None),
        forks=[fork for fork in forks.forks(db) if not fork.settled_by],
        settled=[fork for fork in forks.forks(db) if fork.settled_by],
        witnessed=witness.witnessed(db),
        key=notary_of(request).signer.key.encode(),
        kinds=KINDS,
        may_pack=may(request, "evidence.build_pack"),
        may_settle=may(request, "evidence.settle_fork"),
        may_disclose=may(request, "evidence.disclose"),
        form=form,
        report=report,
        checked=checked,
    )


def _heads(request: Req, db: Reader) -> list[KeptHead]:
    """The logs that a reader may see."""
    allowed = visitor_of(request).principal.sites
    return [
        head
        for head in tiles.heads(db)
        if allowed is None or head.origin in allowed or head.origin == NETWORK_ORIGIN
    ]


def _rows(request: Req, db: Reader, heads: Sequence[KeptHead]) -> list[LogRow]:
    """Rows of some logs, their signatures checked anew: only of those that are shown."""
    notary = notary_of(request)
    keys = [notary.signer.key, *witness_keys_of(request)]
    sizes = _sizes(request, db)
    open_forks = {LogId(fork.origin, fork.epoch): fork for fork in forks.forks(db) if not fork.settled_by}
    return [
        LogRow(
            head,
            notary.log_name(head.log_id),
            verify_note(parse_note(head.note.encode()), keys),
            _waiting(head, sizes.get(head.origin, (0, 0))),
            open_forks.get(head.log_id),
        )
        for head in heads
    ]


def _sizes(request: Req, db: Reader) -> Mapping[str, tuple[int, int]]:
    """The present epoch and size of every log: as the decider knows them, where it is in this process."""
    decides = request.app.state.decider
    sizes: Mapping[str, tuple[int, int]] = (
        decides.decider.heads if getattr(decides, "leads", True) else log.heads(db)
    )
    return sizes


def _waiting(head: KeptHead, present: tuple[int, int]) -> int:
    epoch, size = present
    return max(0, size - head.size) if epoch == head.epoch else 0


# --- A log, and an entry in it ------------------------------------------------------


@get("/evidence/logs/{origin:str}/{epoch:int}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def log_page(
    request: Req, db: Db, origin: FromPath[str], epoch: FromPath[int], seq: FromQuery[int | None] = None
) -> Response[str]:
    """Show a log's checkpoints and, for one entry, its bytes and its proof."""
    head = tiles.head(db, LogId(origin, epoch))
    if head is None:
        raise LogUnknown(log=f"{origin}/{epoch}")
    allowed = visitor_of(request).principal.sites
    if allowed is not None and origin not in allowed:
        raise OtherSite(log=f"{origin}/{epoch}")
    kept = tiles.latest(db, head.log_id, CHECKPOINTS_SHOWN)
    return page(
        request,
        "evidence/log.html",
        db,
        title=f"Log {origin}/{epoch}",
        nav="/evidence",
        name=notary_of(request).log_name(head.log_id),
        head=head,
        checkpoints=[(one, _witnesses(one)) for one in kept],
        seq=seq,
        proven=_proven(db, head, seq) if seq is not None else None,
    )


def _witnesses(kept: KeptCheckpoint) -> list[str]:
    return [one.name for one in parse_note(kept.note.encode()).signatures[1:]]


def _proven(db: Reader, head: KeptHead, seq: int) -> Proven | None:
    entry = log.find(db, f"{head.log_id}/{seq}") if 0 <= seq < head.size else None
    if entry is None:
        return None
    envelope = envelope_bytes(entry)
    leaf = leaf_hash(envelope)
    proof = tiles.tree_of(db, head.log_id).inclusion(seq, head.size)
    holds = verify_inclusion(leaf, seq, head.size, proof, head.root)
    return Proven(entry, envelope.decode(), leaf.hex(), [part.hex() for part in proof], holds)


# --- Packs ------------------------------------------------------------------------


@get("/evidence/pack", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def pack_address(kind: FromQuery[SubjectKind] = "incident", subject: FromQuery[str] = "") -> Response[Any]:
    """Go from the form to the pack's own address, so that the log of reads names what was read."""
    wanted = subject.strip()
    return see_other(f"/evidence/packs/{kind}/{quote(wanted, safe='')}" if wanted else "/evidence")


@get("/evidence/packs/{kind:str}/{subject_id:str}", opt=PACK, include_in_schema=False, sync_to_thread=True)
def pack(request: Req, db: Db, kind: FromPath[SubjectKind], subject_id: FromPath[str]) -> Response[bytes]:
    """Give a pack to keep; personal data stays ciphertext."""
    return packed(request, db, PackSubject(kind, subject_id), ())


@get(
    "/evidence/packs/{kind:str}/{subject_id:str}/disclosed/{person:str}",
    opt=DISCLOSE,
    include_in_schema=False,
    sync_to_thread=True,
)
def disclosed_pack(
    request: Req, db: Db, kind: FromPath[SubjectKind], subject_id: FromPath[str], person: FromPath[str]
) -> Response[bytes]:
    """Give a pack with one person's data in clear: for who may, and the reading is logged."""
    return packed(request, db, PackSubject(kind, subject_id), (person,))


@post("/evidence/sign", opt=VIEW | AT_LEADER, include_in_schema=False, sync_to_thread=True)
def sign(request: Req, db: Db) -> Response[Any]:
    """Sign what is new now."""
    sign_now(request, db)
    return see_other("/evidence")


@post(
    "/evidence/check",
    opt=VIEW,
    include_in_schema=False,
    request_max_body_size=CHECKED_BYTES_MAX,
    status_code=200,
)
async def check(request: Req, db: Db) -> Response[str]:
    """Check an uploaded pack as `coldgrid verify` does, against this host's own key."""
    sent = (await request.form()).get("pack")
    if sent is None or isinstance(sent, str):
        return overview(request, db, checked="no file")
    keys = [notary_of(request).signer.key, *(key for key in witness_keys_of(request) if key.kind != COSIGNED)]
    report = verify_pack(await sent.read(), keys)
    shown = msgspec.structs.replace(report, findings=report.findings[:50])
    return overview(request, db, report=shown, checked=sent.filename)


@post("/evidence/forks", include_in_schema=False)
async def settle(request: Req, db: Db) -> Response[Any]:
    """End a log's quarantine."""
    return await submit_form(
        request,
        SettleFork,
        then="/evidence",
        said="Quarantine ended; the log is checked again with its next checkpoint.",
        again=lambda form: overview(request, db, form=form),
        origin=notary_of(request).home,
    )


# --- On other pages -----------------------------------------------------------------


def _incident_panel(c: PanelContext) -> Markup | None:
    incident = c.about.get("incident")
    if incident is None or not may(c.request, "evidence.build_pack"):
        return None
    return c.render("evidence/_incident_panel.html", incident=incident)


register_panel("incident", "side", _incident_panel, order=80)

handlers = [evidence_page, log_page, pack_address, pack, disclosed_pack, sign, check, settle]
