"""Evidence over HTTP: signed heads, tiles and proofs as C2SP has them, the witness, and packs.

Under /api/v1/evidence/logs/ORIGIN/EPOCH a log is laid out as tlog-tiles asks, so that other people's tools
can follow it: `checkpoint` and `tile/LEVEL/INDEX`. Entries are not served as bundles: they carry what is
not everybody's to read; the event feed and packs give them to who may.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import structlog
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath

from coldgrid.evidence import tiles, witness
from coldgrid.evidence.checkpoints import Notary, keep, plan
from coldgrid.evidence.merkle import HASH_BYTES, TILE_WIDTH
from coldgrid.evidence.notes import COSIGNED, BadNote, VerifierKey, encode_proof, verify_note
from coldgrid.evidence.packs import PackRequest, make_pack, origins_of
from coldgrid.evidence.parts import PackSubject, SubjectKind, preparations
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Forbidden, NotFound, Rejected
from coldgrid.webkit.leading import AT_LEADER
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "evidence.view"}
TEXT, BYTES, ZIP = "text/plain; charset=utf-8", "application/octet-stream", "application/zip"
PACK = {"action": "evidence.build_pack", "reads": "quality", "answers": {ZIP: bytes}, **AT_LEADER}
TOLD = {"answers": {"text/plain": str}}
SIZE = "text/x.tlog.size"
FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
SIGNING_WAIT_S = 30.0
logger = structlog.get_logger("coldgrid.evidence")
_TILE = re.compile(r"((?:x\d{3}/)*)(\d{3})(?:\.p/([1-9]\d{0,2}))?")


class LogUnknown(NotFound):
    """There is no such log here, or no checkpoint of it yet."""


class TileUnknown(NotFound):
    """The log has no such tile."""


class EntryNotSigned(NotFound):
    """There is no such entry, or no checkpoint covers it yet."""


class OtherSite(Forbidden):
    """What was asked for happened at a site that is not yours."""


class ListedLog(msgspec.Struct, frozen=True):
    """One log as the API lists it. `root` in hex; `note`: the signed head."""

    name: str
    origin: str
    epoch: int
    size: int
    root: str
    made_at: str
    note: str


def notary_of(request: Req) -> Notary:
    """Return who signs here."""
    notary: Notary = request.app.state.notary
    return notary


def witness_keys_of(request: Req) -> tuple[VerifierKey, ...]:
    """Return the keys of the hosts that this one witnesses, and of those that witness it."""
    return tuple(request.app.state.get("witness_keys", ()))


# --- Logs -------------------------------------------------------------------------


@get("/checkpoint", opt=VIEW, sync_to_thread=True, summary="Signed heads of all logs")
def heads(request: Req, db: Db) -> list[ListedLog]:
    """Return the latest checkpoint of every log."""
    notary = notary_of(request)
    return [
        ListedLog(
            notary.log_name(head.log_id),
            head.origin,
            head.epoch,
            head.size,
            head.root.hex(),
            head.made_at.isoformat(),
            head.note,
        )
        for head in tiles.heads(db)
    ]


@get("/keys", opt=VIEW | TOLD, sync_to_thread=False, summary="Public keys")
def keys(request: Req) -> Response[str]:
    """Return this host's public keys, one a line: for `coldgrid verify --trust`, and for its witnesses."""
    signer = notary_of(request).signer
    text = f"{signer.key.encode()}\n{signer.witness_key.encode()}\n"
    return Response(text, media_type=TEXT)


@get(
    "/logs/{origin:str}/{epoch:int}/checkpoint",
    opt=VIEW | TOLD,
    sync_to_thread=True,
    summary="Signed head of a log",
)
def log_checkpoint(db: Db, origin: FromPath[str], epoch: FromPath[int]) -> Response[str]:
    """Return a log's latest checkpoint as a signed note (C2SP tlog-checkpoint)."""
    return Response(_head(db, LogId(origin, epoch)).note, media_type=TEXT)


@get(
    "/logs/{origin:str}/{epoch:int}/tile/{level:int}/{place:path}",
    opt=VIEW | {"answers": {BYTES: bytes}},
    sync_to_thread=True,
    summary="Tile",
)
def log_tile(
    db: Db, origin: FromPath[str], epoch: FromPath[int], level: FromPath[int], place: FromPath[str]
) -> Response[bytes]:
    """Return a tile's hashes (C2SP tlog-tiles): `x001/234` is tile 1234, `005.p/17` 17 hashes of tile 5."""
    match = _TILE.fullmatch(place.lstrip("/"))
    if match is None:
        raise TileUnknown(tile=f"{level}/{place}")
    index = int(match[1].replace("x", "").replace("/", "") + match[2])
    width = int(match[3] or TILE_WIDTH)
    hashes = tiles.tile(db, LogId(origin, epoch), level, index)
    if width > TILE_WIDTH or len(hashes) < width * HASH_BYTES:
        raise TileUnknown(tile=f"{level}/{place}", hashes=len(hashes) // HASH_BYTES)
    return Response(hashes[: width * HASH_BYTES], media_type=BYTES, headers=FOREVER)


@get(
    "/logs/{origin:str}/{epoch:int}/proof/{seq:int}",
    opt=VIEW | TOLD,
    sync_to_thread=True,
    summary="Inclusion proof",
)
def log_proof(db: Db, origin: FromPath[str], epoch: FromPath[int], seq: FromPath[int]) -> Response[str]:
    """Return the proof that an entry is in its log (C2SP tlog-proof); its leaf is in the event feed."""
    head = _head(db, LogId(origin, epoch))
    if not 0 <= seq < head.size:
        raise EntryNotSigned(entry=f"{origin}/{epoch}/{seq}", size=head.size)
    proof = encode_proof(tiles.tree_of(db, head.log_id).inclusion(seq, head.size))
    return Response(f"c2sp.org/tlog-proof@v1\nindex {seq}\n{proof}\n{head.note}", media_type=TEXT)


def _head(db: Reader, log_id: LogId) -> tiles.KeptHead:
    head = tiles.head(db, log_id)
    if head is None:
        raise LogUnknown(log=str(log_id))
    return head


# --- Witness ----------------------------------------------------------------------


@post(
    "/add-checkpoint",
    opt={
        "public": True,
        "by_machine": True,
        "takes": {"text/plain": str},
        "also": {409: ("From which size the proof must start.", {SIZE: str})},
        **TOLD,
        **AT_LEADER,
    },
    status_code=200,
    request_max_body_size=witness.REQUEST_BYTES_MAX,
    summary="Witness a checkpoint",
)
async def add_checkpoint(request: Req) -> Response[str]:
    """Cosign another host's checkpoint (C2SP tlog-witness); its own signature says who sends it."""
    asked = witness.parse_request(await request.body())
    known = [key for key in witness_keys_of(request) if key.kind != COSIGNED]
    try:
        if not verify_note(asked.note, known):  # before it costs the decider anything
            raise witness.CheckpointUnsigned(log=asked.note.text.partition("\n")[0])
    except BadNote as error:
        raise witness.CheckpointUnsigned(why=str(error)) from None
    notary = notary_of(request)
    try:
        call = request.app.state.decider.call(lambda d: witness.cosign(d, notary, known, asked))
        signature = await asyncio.wrap_future(call)
    except witness.OldSizeDiffers as refused:
        return Response(f"{refused.facts['size']}\n", media_type=SIZE, status_code=409)
    return Response(signature.line(), media_type=TEXT)


# --- Packs ------------------------------------------------------------------------


@get("/packs/{kind:str}/{subject_id:str}", opt=PACK, sync_to_thread=True, summary="Evidence pack")
def pack(request: Req, db: Db, kind: FromPath[SubjectKind], subject_id: FromPath[str]) -> Response[bytes]:
    """Return the evidence pack of an incident, a handling unit or a lot; personal data stays ciphertext."""
    return packed(request, db, PackSubject(kind, subject_id), ())


def packed(request: Req, db: Reader, subject: PackSubject, disclose: tuple[str, ...]) -> Response[bytes]:
    """Sign what is new, then make a pack for the visitor.

    Raises:
        OtherSite: the subject is of a site that the visitor does not work at.
    """
    visitor, notary = visitor_of(request), notary_of(request)
    allowed = visitor.principal.sites
    origins = origins_of(db, subject) - {NETWORK_ORIGIN}
    if allowed is not None and not origins <= allowed:
        raise OtherSite(subject=str(subject))
    prepare(request, db, subject)
    sign_now(request, db)
    wanted = PackRequest(
        subject=msgspec.structs.replace(subject, site_id=min(origins, default="")),
        made_by=visitor.principal.actor_id,
        made_at=request.app.state.now(),
        disclose=disclose,
        witness_keys=witness_keys_of(request),
    )
    name = f"evidence-{subject.kind}-{subject.id}.zip"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(make_pack(db, notary, wanted), media_type=ZIP, headers=headers)


def prepare(request: Req, db: Reader, subject: PackSubject) -> None:
    """Let rooms do what a pack of this subject needs, such as sealing its readings.

    One that refuses leaves the pack with what there is; the refusal is logged.
    """
    for command in preparations(db, subject):
        try:
            request.app.state.decider.submit(command, SYSTEM).result(SIGNING_WAIT_S)
        except Rejected as refused:
            logger.warning("pack_not_prepared", subject=str(subject), why=str(refused))


def sign_now(request: Req, db: Reader) -> None:
    """Make the checkpoints that are due, without waiting for the next ten seconds."""
    notary, service = notary_of(request), request.app.state.decider
    planned = plan(db, notary, dict(service.decider.heads), request.app.state.now())
    service.call(lambda decider: keep(decider, notary, planned)).result(SIGNING_WAIT_S)


router = Router(
    "/api/v1/evidence",
    route_handlers=[heads, keys, log_checkpoint, log_tile, log_proof, add_checkpoint, pack],
    tags=["evidence"],
)
handlers = [router]
