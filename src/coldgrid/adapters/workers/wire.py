"""Frames between workers: commands with their keys one way, outcomes by number the other, in any order.

A frame is its length in four bytes, then MessagePack. A command travels under its wire name and is decoded by
its own type, as one from outside is. What it returned is decoded by what its handler declares, so that a
caller cannot tell which worker decided; what a rejection has at hand and MessagePack cannot say is text.
"""

from __future__ import annotations

import asyncio
import struct
import types
import typing
from collections.abc import Sequence
from typing import Any

import msgspec

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.decider import Call
from coldgrid.kernel.events import Command, tag_of
from coldgrid.kernel.registry import command_types, handlers
from coldgrid.kernel.rejections import InternalFault, Invalid, Problem, Rejected

FRAME_BYTES_MAX = 64 * 1024 * 1024
HELLO_BYTES_MAX = 1024
_LENGTH = struct.Struct("!I")


class BadFrame(Exception):
    """What came is no frame of ours."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """First of a follower: the database's secret, and who it is."""

    secret: str
    worker: str


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """The leader's answer: who decides, and by which term."""

    worker: str
    term: int


class SentCall(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A command on its way. `no` is the follower's own number for it; the key makes sending it again safe."""

    no: int
    name: str
    body: bytes
    actor: str
    roles: list[str]
    sites: list[str] | None
    key: str
    channels: list[str] | None = None


class Calls(msgspec.Struct, frozen=True, array_like=True, tag="calls"):
    """Commands, as many as waited."""

    calls: list[SentCall]


class SentOutcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What came of a command: an answer, or why it was rejected."""

    no: int
    ok: bool
    body: bytes


class Outcomes(msgspec.Struct, frozen=True, array_like=True, tag="outcomes"):
    """Outcomes, as many as were known."""

    outcomes: list[SentOutcome]


class Question(msgspec.Struct, frozen=True, array_like=True, tag="question"):
    """Something that only the leader can tell or do, by name."""

    no: int
    name: str
    body: bytes


class Reply(msgspec.Struct, frozen=True, array_like=True, tag="reply"):
    """What the leader replied; where not `ok`, the body is a rejection."""

    no: int
    ok: bool
    body: bytes


class News(msgspec.Struct, frozen=True, array_like=True, tag="news"):
    """The log goes up to this position now."""

    position: int


class Forget(msgspec.Struct, frozen=True, array_like=True, tag="forget"):
    """Sessions changed: nobody may be taken for who they were."""


class _SentAnswer(msgspec.Struct, frozen=True, array_like=True):
    result: msgspec.Raw
    origin: str
    epoch: int
    seq: int
    position: int
    replayed: bool
    pending: str


class _SentRejection(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    facts: dict[str, Any]
    problems: list[Problem]


Frame = Hello | Welcome | Calls | Outcomes | Question | Reply | News | Forget
_encoder = msgspec.msgpack.Encoder(enc_hook=str)
_frames: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
_answers = msgspec.msgpack.Decoder(_SentAnswer)
_rejections = msgspec.msgpack.Decoder(_SentRejection)
_commands: dict[str, msgspec.msgpack.Decoder[Any]] = {}
_results: dict[type[Command], msgspec.msgpack.Decoder[Any]] = {}


# --- Frames -----------------------------------------------------------------------


def pack(frame: Frame) -> bytes:
    """Return a frame's bytes, its length first."""
    body = _encoder.encode(frame)
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader, bytes_max: int = FRAME_BYTES_MAX) -> Frame:
    """Read the next frame.

    Raises:
        BadFrame: it is too long, or none of ours.
        asyncio.IncompleteReadError: the connection ended.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > bytes_max:
        raise BadFrame(f"{length} bytes")
    try:
        return _frames.decode(await reader.readexactly(length))
    except msgspec.MsgspecError as error:
        raise BadFrame(str(error)) from error


# --- Commands ---------------------------------------------------------------------


def send_call(no: int, call: Call, key: str) -> SentCall:
    """Return a command as it travels."""
    who = call.principal
    sites = None if who.sites is None else sorted(who.sites)
    channels = None if who.channels is None else sorted(who.channels)
    body = _encoder.encode(call.command)
    return SentCall(
        no, tag_of(type(call.command)), body, who.actor_id, sorted(who.roles), sites, key, channels
    )


def take_call(sent: SentCall) -> Call:
    """Return a command that came.

    Raises:
        BadFrame: this release knows no such command, or not this form of it.
    """
    decoder = _commands.get(sent.name)
    try:
        if decoder is None:
            decoder = _commands[sent.name] = msgspec.msgpack.Decoder(command_types()[sent.name])
        command = decoder.decode(sent.body)
    except (KeyError, msgspec.MsgspecError) as error:
        raise BadFrame(f"{sent.name}: {error}") from error
    sites = None if sent.sites is None else frozenset(sent.sites)
    channels = None if sent.channels is None else frozenset(sent.channels)
    return Call(command, Principal(sent.actor, frozenset(sent.roles), sites, channels), sent.key)


# --- Outcomes ---------------------------------------------------------------------


def send_outcome(no: int, outcome: Answer | BaseException) -> SentOutcome:
    """Return what came of a command as it travels."""
    if isinstance(outcome, BaseException):
        return SentOutcome(no, False, send_rejection(outcome))
    a = outcome
    result = msgspec.Raw(_encoder.encode(a.result))
    sent = _SentAnswer(result, a.origin, a.epoch, a.seq, a.position, a.replayed, a.pending)
    return SentOutcome(no, True, _encoder.encode(sent))


def take_answer(body: bytes, command_type: type[Command], *, own_key: bool) -> Answer:
    """Return an answer that came. `own_key`: the caller gave none, so that to them nothing was replayed."""
    sent = _answers.decode(body)
    return Answer(
        result=_result_of(sent, command_type),
        origin=sent.origin,
        epoch=sent.epoch,
        seq=sent.seq,
        position=sent.position,
        replayed=sent.replayed and not own_key,
        pending=sent.pending,
    )


def _result_of(sent: _SentAnswer, command_type: type[Command]) -> Any:
    if not sent.pending:
        decoder = _results.get(command_type)
        if decoder is None:
            decoder = _results[command_type] = msgspec.msgpack.Decoder(_declared(command_type))
        try:
            return decoder.decode(sent.result)
        except msgspec.ValidationError:
            pass  # not what was declared: told as it is, as a replayed answer is
    return msgspec.msgpack.decode(sent.result)


def _declared(command_type: type[Command]) -> Any:
    """What the command's handler declares that it returns."""
    run = handlers[command_type].run
    told = types.SimpleNamespace(__annotations__={"return": run.__annotations__.get("return")})
    try:
        declared = typing.get_type_hints(told, globalns=getattr(run, "__globals__", {}))["return"]
        msgspec.msgpack.Decoder(declared)
    except (NameError, TypeError):
        return Any
    return declared


def send_rejection(error: BaseException) -> bytes:
    """Return why a command was rejected as it travels."""
    if not isinstance(error, Rejected):
        error = InternalFault(error=f"{type(error).__name__}: {error}")
    problems = list(getattr(error, "problems", ()))
    return _encoder.encode(_SentRejection(_kind_of(type(error)), error.facts, problems))


def take_rejection(body: bytes) -> Rejected:
    """Return a rejection that came, of the class that the leader raised."""
    sent = _rejections.decode(body)
    class_ = next((one for one in _rejected() if _kind_of(one) == sent.kind), None)
    if class_ is None:
        return InternalFault(error=f"rejected by another release: {sent.kind}", **sent.facts)
    made = class_.__new__(class_)
    Rejected.__init__(made, **sent.facts)
    if isinstance(made, Invalid):
        made.problems = tuple(sent.problems)
    return made


def _kind_of(class_: type[Rejected]) -> str:
    return f"{class_.__module__}:{class_.__qualname__}"


def _rejected(base: type[Rejected] = Rejected) -> Sequence[type[Rejected]]:
    found = [base]
    for child in base.__subclasses__():
        found += _rejected(child)
    return found
