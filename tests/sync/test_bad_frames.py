"""Bad frames with a good certificate: replayed, of the future, too large, another node's; and floods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from coldgrid.kernel import log
from coldgrid.sync import messages as m
from coldgrid.sync.authority import Peer
from coldgrid.sync.carrier import Request
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.messages import ENTRIES_MAX, Code, FeedPlace, Hello, Place
from coldgrid.sync.post import REFUSALS_ALLOWED
from coldgrid.sync.wire import FRAME_BYTES_MAX, RAW_BYTES_MAX, decode, encode
from tests.conftest import Kernel, sqlite_kernel
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_refusals import bump, facts_of, forged, send


@pytest.fixture
def pair(kernel: Kernel) -> Iterator[tuple[Tower, Node]]:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        yield tower, node


def counted(site_id: str, code: str) -> float:
    labels = {"site": site_id, "code": code}
    return REGISTRY.get_sample_value("coldgrid_sync_refused_total", labels) or 0.0


def put(tower: Tower, frame: bytes, site_id: str = "ATL1") -> m.Message:
    answer = tower.post.answer(Peer(site_id, f"{site_id}.node", "01"), frame, final=True)
    assert isinstance(answer, bytes)
    return decode(answer)


def entries_here(tower: Tower) -> int:
    return len(list(log.read_all(tower.kernel.reader())))


def refused(tower: Tower, frame: bytes, code: str, site_id: str = "ATL1") -> m.Refused:
    before, had = counted(site_id, code), entries_here(tower)
    answer = put(tower, frame, site_id)
    assert isinstance(answer, m.Refused), answer
    assert answer.code == code
    assert answer.why
    assert counted(site_id, code) == before + 1
    assert entries_here(tower) == had, "nothing of it was kept"
    return answer


def test_a_whole_session_that_is_played_again_changes_nothing(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    sent: list[Request] = []
    answer = node.answer

    def recorded(request: Request, *, final: bool = False) -> object:
        sent.append(request)
        return answer(request, final=final)

    node.answer = recorded  # type: ignore[assignment,method-assign]
    node.wake()
    bump(node, 5)
    node.talk()
    node.sign()
    node.talk()
    assert len(sent) >= 4
    had, place = entries_here(tower), tower.place("ATL1")
    node.wake()
    node.talk()
    for request in [*sent, *reversed(sent)]:
        put(tower, request.frame)
    assert (entries_here(tower), tower.place("ATL1")) == (had, place)
    bump(node)
    node.kernel.advance(2)
    node.talk()
    assert node.up, (node.code, node.carrier.state.why)
    assert own_log(tower.kernel, "ATL1") == facts_of(node)


def test_what_the_future_speaks_is_refused_with_what_is_spoken_here(pair: tuple[Tower, Node]) -> None:
    tower, _ = pair
    frame = bytearray(encode(m.PastAsk(Place())))
    frame[3] = 9
    assert refused(tower, bytes(frame), Code.VERSION).facts["speaks"] == [1]
    future = Hello([7, 8], "ATL1", "0.1.0", b"", [], FeedPlace(), 0, 99, b"n")
    assert refused(tower, encode(future), Code.VERSION).facts["speaks"] == [1]
    flags = bytearray(encode(m.PastAsk(Place())))
    flags[4] = 0x80
    refused(tower, bytes(flags), Code.MALFORMED)


def test_what_is_too_large_is_refused_unread(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node)
    refused(tower, b"CGS" + bytes(FRAME_BYTES_MAX), Code.TOO_LARGE)
    says = encode(m.PastAsk(Place()))[:5] + (RAW_BYTES_MAX + 1).to_bytes(4, "little") + b"x"
    refused(tower, says, Code.TOO_LARGE)
    first = facts_of(node)[0]
    many = [forged(first, seq=seq) for seq in range(ENTRIES_MAX + 1)]
    refused(tower, encode(m.Facts(pack_entries(many))), Code.TOO_LARGE)


def test_a_node_cannot_speak_in_anothers_name(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    bump(node, 2)
    tower.lets_go_of("CLT1")
    facts = encode(m.Facts(pack_entries(facts_of(node))))
    refused(tower, facts, Code.NOT_YOURS, "CLT1")
    refused(tower, encode(m.Ahead(pack_entries(facts_of(node)))), Code.NOT_YOURS, "CLT1")
    greeting = Hello([1], "ATL1", "test", b"", [], FeedPlace(), 0, 99, b"n")
    refused(tower, encode(greeting), Code.NOT_YOURS, "CLT1")
    node.talk()
    assert node.up, "what another said in its name is no matter of this node"


def test_who_keeps_sending_what_is_refused_waits_and_nobody_else_does(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    tower.lets_go_of("CLT1")
    for _ in range(REFUSALS_ALLOWED):
        refused(tower, b"garbage", Code.MALFORMED, "CLT1")
    slowed = refused(tower, b"garbage", Code.BUSY, "CLT1")
    assert 0 < slowed.facts["wait_ms"] <= 61_000
    bump(node)
    node.talk()
    assert node.up
    assert own_log(tower.kernel, "ATL1") == facts_of(node)
    tower.kernel.advance(2)
    assert isinstance(send(tower, m.PastAsk(Place()), "CLT1"), m.PastPart)
