"""Judging: what a tower makes of a Hello and of a batch of facts. Pure.

Invariants
    J1  Entries follow each other without a gap, from the place that is here; what is known must be the same.
    J2  A new epoch begins by citing the last entry here: what lies between was not lost on the way.
    J3  A ticket is shown once: a copied or rewound disk shows an old one, and is found by that.
    J4  A node speaks for its own site only: its origin, streams that sites own, facts about itself.
    J5  A node that has fewer parcels of readings than it sent, or others, was put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from coldgrid.kernel import log
from coldgrid.kernel.events import Entry, Event, UnknownEvent, decode, decoder_of, tag_of
from coldgrid.kernel.origins import OriginOpened
from coldgrid.kernel.ownership import may_extend
from coldgrid.sync.messages import Code, Hello, Place, Tip
from coldgrid.sync.wire import SPEAKS, Refusal

# --- Vocabulary -------------------------------------------------------------------


class Link(msgspec.Struct, frozen=True):
    """What the tower remembers of a node. `ticket` was handed out last, `before` the time before that."""

    site_id: str
    ticket: bytes
    before: bytes
    shown: bool
    release: str
    version: int
    heard_at: datetime
    ahead_us: int
    number: int = 0
    nonce: bytes = b""


class LastParcel(msgspec.Struct, frozen=True):
    """The last parcel of a site's readings that is here, and its mark; empty where it is not known."""

    parcel_no: int = 0
    mark: bytes = b""


NO_PARCEL = LastParcel()


class Greeting(msgspec.Struct, frozen=True):
    """What comes of a Hello: the version to speak. `again`: it came twice, and gets the same answer."""

    version: int
    again: bool = False


# --- Decisions (pure) ---------------------------------------------------------------


def decide_greeting(
    hello: Hello, link: Link | None, head: Place, leaf: bytes, last: LastParcel = NO_PARCEL
) -> Greeting:
    """Return how to go on with a node whose log stands here at `head`, its last entry's leaf being `leaf`.

    `last`: the last parcel of its readings here.

    Raises:
        Refusal: no common version; the node has lost its past; its disk was rewound or copied (J1, J3).
    """
    common = sorted(set(hello.versions) & set(SPEAKS))
    if not common:
        raise Refusal(Code.VERSION, "no common version of the protocol", speaks=list(SPEAKS))
    if link is not None and _is_again(hello, link):
        return Greeting(common[-1], again=True)
    _check_tips(hello.tips, head, leaf)
    if link is not None:
        _check_ticket(hello, link)
        check_parcel(hello.parcel_no, hello.parcel_mark, last)
    return Greeting(common[-1])


def _is_again(hello: Hello, link: Link) -> bool:
    """Tell whether a greeting is the last one once more; one from before it says nothing about the node now.

    Frames of a connection that broke may arrive minutes later, when the node has long sent more of its log.
    """
    if hello.number < link.number:
        raise Refusal(Code.GREET, "this greeting is older than the last one", number=link.number)
    return (hello.number, hello.nonce, hello.ticket) == (link.number, link.nonce, link.before)


def _check_ticket(hello: Hello, link: Link) -> None:
    """Refuse a greeting of another time or host (J3)."""
    lost = hello.ticket == link.before and not link.shown and hello.number > link.number
    if link.ticket and hello.ticket != link.ticket and not lost:
        why = "another host has talked since in this node's name, or its disk was put back"
        raise Refusal(Code.CLONED, why, here=link.ticket.hex(), there=hello.ticket.hex())


def check_parcel(parcel_no: int, mark: bytes, last: LastParcel) -> None:
    """Hold what a node says of its last parcel of readings, or of ours, against what is here (J5).

    Raises:
        Refusal: rewound: it has fewer, or another one under the same number.
    """
    if parcel_no < 0 or parcel_no > last.parcel_no:
        return
    facts = {"here": last.mark.hex(), "there": mark.hex(), "parcel_no": last.parcel_no}
    if parcel_no < last.parcel_no:
        why = f"the node has {parcel_no} parcels of readings and sent {last.parcel_no}: its disk was put back"
        raise Refusal(Code.REWOUND, why, **facts)
    if mark and last.mark and mark != last.mark:
        why = f"the node has other readings in parcel {parcel_no} than it sent before: its disk was put back"
        raise Refusal(Code.REWOUND, why, **facts)


def _check_tips(tips: Sequence[Tip], head: Place, leaf: bytes) -> None:
    """Hold what the node says of its log against what is here of it."""
    if not head.seq:
        return
    tip = next((tip for tip in tips if tip.epoch == head.epoch), None)
    if not tips:
        raise Refusal(Code.PAST, "the node's log is empty: it takes its own past first", epoch=head.epoch)
    if tip is None or tip.size < head.seq:
        there = tip.leaf.hex() if tip else ""
        why = "the node has less of its log than it sent before: its disk was put back"
        raise Refusal(Code.REWOUND, why, here=leaf.hex(), there=there, size=head.seq, epoch=head.epoch)
    if tip.size == head.seq and tip.leaf != leaf:
        raise forked(head.epoch, head.seq, leaf, tip.leaf)


def decide_facts(entries: Sequence[Entry], head: Place, known: Mapping[tuple[int, int], bytes]) -> int:
    """Return how many of a batch's first entries are here already; the rest follow without a gap (J1).

    `known`: the leaves here, by epoch and seq, of those entries of the batch that lie before `head`.

    Raises:
        Refusal: gap, with the place to go on from; forked, with both hashes.
    """
    skip = check_known(entries, known, head)
    place = (head.epoch, head.seq)
    for entry in entries[skip:]:
        at = (entry.epoch, entry.seq)
        if (at != place or not entry.epoch) and not _follows(Place(*place), entry):
            raise Refusal(
                Code.GAP,
                f"{entry.id} does not follow what is here",
                epoch=max(head.epoch, log.FIRST_EPOCH),
                seq=head.seq,
            )
        place = (entry.epoch, entry.seq + 1)
    return skip


def check_known(entries: Sequence[Entry], known: Mapping[tuple[int, int], bytes], head: Place) -> int:
    """Return how many of the first entries lie before `head`, after holding each against the leaf here.

    Raises:
        Refusal: forked, with both hashes.
    """
    count = 0
    for entry in entries:
        if (entry.epoch, entry.seq) >= (head.epoch, head.seq):
            break
        here = known.get((entry.epoch, entry.seq))
        if here is None:
            # A closed epoch was longer there than here: two hosts wrote it.
            raise forked(entry.epoch, entry.seq + 1, b"", entry.leaf)
        if here != entry.leaf:
            raise forked(entry.epoch, entry.seq + 1, here, entry.leaf)
        count += 1
    return count


def _follows(place: Place, entry: Entry) -> bool:
    if not place.epoch:
        return (entry.epoch, entry.seq) == (log.FIRST_EPOCH, 0)
    return (entry.epoch, entry.seq) in ((place.epoch, place.seq), (place.epoch + 1, 0))


def check_opening(entry: Entry, head: Place, leaf: bytes) -> None:
    """Hold the first entry of a new epoch against the last one here, which it must cite (J2).

    Raises:
        Refusal: gap, where what it cites is not here yet; forked, where it cites another entry.
    """
    opened = decode(entry.type, entry.body) if entry.type == tag_of(OriginOpened) else None
    if not isinstance(opened, OriginOpened):
        raise Refusal(Code.MALFORMED, f"{entry.id} begins an epoch and does not open it")
    cited = opened.cites_entry.rpartition("/")
    seq = int(cited[2]) if cited[2].isdigit() else -1
    if cited[0] == f"{entry.origin}/{head.epoch}" and seq >= head.seq:
        raise Refusal(Code.GAP, f"{opened.cites_entry} is not here yet", epoch=head.epoch, seq=head.seq)
    if opened.cites_entry != f"{entry.origin}/{head.epoch}/{head.seq - 1}" or opened.cites_leaf != leaf.hex():
        there = bytes.fromhex(opened.cites_leaf) if len(opened.cites_leaf) == 64 else b""
        raise forked(head.epoch, head.seq, leaf, there)


def check_authority(site_id: str, entries: Sequence[Entry]) -> list[Event | UnknownEvent]:
    """Refuse what a node may not say (J4); return the events of the entries.

    Raises:
        Refusal: not_yours; malformed, where a body is not what its type says.
    """
    events, decoders = [], _Decoders()
    for entry in entries:
        if entry.origin != site_id:
            raise Refusal(Code.NOT_YOURS, f"{entry.origin} is not {site_id}", entry=entry.id)
        try:
            owned = may_extend(site_id, entry.stream)
        except KeyError:
            owned = True  # a stream of a newer release: kept, and projected by nobody here
        if not owned:
            raise Refusal(Code.NOT_YOURS, f"{entry.stream} is the network's", entry=entry.id)
        try:
            event = decoders[entry.type](entry.body)
            if isinstance(event, UnknownEvent):
                msgspec.json.decode(entry.body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Refusal(Code.MALFORMED, f"{entry.id}: {str(error)[:150]}", entry=entry.id) from None
        about = getattr(event, "site_id", site_id)
        if about != site_id:
            raise Refusal(Code.NOT_YOURS, f"{entry.id} is about {about}", entry=entry.id)
        events.append(event)
    return events


class _Decoders(dict[str, Callable[[bytes], Event | UnknownEvent]]):
    """What decodes each type of a batch, looked up once."""

    def __missing__(self, type_: str) -> Callable[[bytes], Event | UnknownEvent]:
        decoder = self[type_] = decoder_of(type_)
        return decoder


def forked(epoch: int, size: int, here: bytes, there: bytes) -> Refusal:
    """Return the refusal of a log that is another history than the copy here, with both hashes."""
    why = "the node's log and the copy here are different histories"
    return Refusal(Code.FORKED, why, here=here.hex(), there=there.hex(), size=size, epoch=epoch)
