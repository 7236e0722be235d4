"""Which nodes a tower serves: its own minor release and the one before; the others keep what they have."""

from __future__ import annotations

import pytest

from coldgrid.kernel import schema
from coldgrid.sync import releases
from coldgrid.sync.acts import Phase
from coldgrid.sync.authority import Peer
from coldgrid.sync.messages import Code, FeedPlace, Hello, Refused, Welcome
from coldgrid.sync.releases import SERVES, decide_release
from coldgrid.sync.wire import Refusal, decode
from tests.conftest import sqlite_kernel
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_refusals import bump
from tests.sync.test_wire import FROZEN


@pytest.mark.parametrize(
    ("node", "tower", "serves", "told"),
    [
        ("0.3.0", "0.3.9", ("0.3", "0.2"), ""),
        ("0.3.9", "0.3.0", ("0.3", "0.2"), ""),
        ("0.2.7", "0.3.0", ("0.3", "0.2"), ""),
        ("0.1.0", "0.3.0", ("0.3", "0.2"), "older"),
        ("0.4.0", "0.3.0", ("0.3", "0.2"), "upgrade the tower"),
        ("1.0.0", "0.3.0", ("0.3", "0.2"), "upgrade the tower"),
        ("0.9.4", "1.0.0", ("1.0", "0.9"), ""),
        ("0.8.0", "1.0.0", ("1.0", "0.9"), "upgrade the node"),
        ("0.2.0rc1", "0.3.0", ("0.3", "0.2"), ""),
        ("", "0.3.0", ("0.3", "0.2"), ""),
    ],
)
def test_a_node_is_served_or_told_which_of_the_two_to_upgrade(
    node: str, tower: str, serves: tuple[str, ...], told: str
) -> None:
    if not told:
        decide_release(node, tower, serves)
        return
    with pytest.raises(Refusal) as refused:
        decide_release(node, tower, serves)
    assert refused.value.code == Code.VERSION
    assert told in refused.value.why
    assert refused.value.facts == {"node": node, "tower": tower, "serves": list(serves)}


def test_the_release_served_first_is_our_own() -> None:
    assert schema.numbers_of(SERVES[0]) == schema.numbers_of(schema.RELEASE)[:2]
    assert len(SERVES) == 2
    assert schema.numbers_of(SERVES[1]) < schema.numbers_of(SERVES[0])


def test_a_node_of_another_release_keeps_its_queue_until_the_tower_is_upgraded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sqlite_kernel() as far, sqlite_kernel() as near:
        tower = Tower(far)
        tower.lets_go_of("ATL1")
        node = Node(tower, near)
        node.release = "0.2.0"
        node.wake()
        bump(node, 5)
        node.talk()
        assert node.code == Code.VERSION
        assert node.carrier.state.phase is Phase.BARRED
        assert "upgrade the tower" in node.carrier.state.why
        bump(node, 3)
        assert own_log(far, "ATL1") == [], "nothing was taken"

        monkeypatch.setattr(schema, "RELEASE", "0.2.1")
        monkeypatch.setattr(releases, "SERVES", ("0.2", "0.1"))
        near.advance(2)
        node.talk()
        assert node.up, "it asked again by itself"
        assert own_log(far, "ATL1") == own_log(near, "ATL1")


@pytest.mark.parametrize(
    "frame", [frozen for name, (_, frozen) in FROZEN.items() if name.startswith("hello")]
)
def test_the_greetings_of_every_release_served_are_answered(frame: str) -> None:
    """The very bytes that they wrote: with and without what was added since."""
    with sqlite_kernel() as far:
        tower = Tower(far)
        tower.lets_go_of("ATL1")
        hello = decode(bytes.fromhex(frame))
        assert isinstance(hello, Hello)
        assert hello.versions == [1]
        first = bytes.fromhex(frame)[3]
        assert first == 1, "a greeting is written in version 1 for ever"
        answer = decode(bytes(tower.post.answer(Peer("ATL1", "ATL1.node", "01"), bytes.fromhex(frame))))  # type: ignore[arg-type]
        # The example tells of a feed that this tower never told: it was read and judged, not malformed.
        assert isinstance(answer, Welcome) or (
            isinstance(answer, Refused) and answer.code in {Code.REWOUND, Code.CLONED}
        )
        assert hello.feed != FeedPlace()
