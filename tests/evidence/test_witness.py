"""Tower and node witness each other: what is cosigned, and what a witness refuses and reports."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from coldgrid.evidence import forks, merkle, notes, tiles, witness
from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.forks import LogForked
from coldgrid.evidence.notes import BadNote, Checkpoint
from coldgrid.evidence.tiles import LogId
from coldgrid.evidence.witness import CheckpointUnsigned, CosignRequest, OldSizeDiffers
from coldgrid.kernel import log, origins
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.rejections import Invalid
from tests.conftest import Kernel, sqlite_kernel
from tests.evidence.conftest import NODE, TOWER, bump

ATL1 = LogId("ATL1", 1)
NAME = "coldgrid.example/ATL1/1"
KNOWN = [NODE.key]


@pytest.fixture
def node() -> Iterator[Kernel]:
    with sqlite_kernel() as made:
        yield made


@pytest.fixture
def node_notary() -> Notary:
    return Notary(NODE, "coldgrid.example", home="ATL1")


def asked(node: Kernel, notary: Notary, old_size: int, bumps: int = 2) -> CosignRequest:
    bump(node, bumps)
    make_checkpoints(node.decider, notary)
    request = witness.request_for(node.reader(), ATL1, old_size)
    assert request is not None
    return request


def test_a_witness_cosigns_head_after_head_and_the_node_keeps_the_lines(
    kernel: Kernel, notary: Notary, node: Kernel, node_notary: Notary
) -> None:
    size = 0
    for _ in range(3):
        request = asked(node, node_notary, size)
        size = notes.parse_checkpoint(request.note.text).size
        line = witness.cosign(kernel.decider, notary, KNOWN, request).line()
        assert witness.add_cosignature(node.decider, ATL1, size, line, [TOWER.witness_key])
        kept = tiles.head(node.reader(), ATL1)
        assert kept is not None
        verified = notes.verify_note(notes.parse_note(kept.note.encode()), [NODE.key, TOWER.witness_key])
        assert [(one.key.name, one.at_s) for one in verified] == [
            (NODE.name, None),
            (TOWER.name, int(kernel.host.instant.timestamp())),
        ]
        kept_for_ever = tiles.checkpoint(node.reader(), ATL1, size)
        assert kept_for_ever is not None
        assert kept_for_ever.note == kept.note
    assert [(one.log_name, one.size) for one in witness.witnessed(kernel.reader())] == [(NAME, size)]
    assert witness.request_for(node.reader(), ATL1, size) is None


def test_what_was_witnessed_survives_a_restart(
    kernel: Kernel, notary: Notary, node: Kernel, node_notary: Notary
) -> None:
    first = asked(node, node_notary, 0)
    witness.cosign(kernel.decider, notary, KNOWN, first)
    kernel.restart()
    size = notes.parse_checkpoint(first.note.text).size
    witness.cosign(kernel.decider, notary, KNOWN, asked(node, node_notary, size))


def test_a_rewound_node_is_refused_and_the_fork_is_recorded_with_both_hashes(
    kernel: Kernel, notary: Notary, node: Kernel, node_notary: Notary
) -> None:
    """A disk restored from yesterday's copy agrees with itself: only the witness can tell."""
    first = asked(node, node_notary, 0, bumps=4)
    cosigned = notes.parse_checkpoint(first.note.text)
    witness.cosign(kernel.decider, notary, KNOWN, first)
    with sqlite_kernel() as rewound:
        rewound.host.instant = rewound.host.instant.replace(hour=9)
        bump(rewound, 2)
        behind = asked(rewound, node_notary, 0, bumps=0)
        with pytest.raises(OldSizeDiffers):
            witness.cosign(kernel.decider, notary, KNOWN, behind)
        ahead = asked(rewound, node_notary, cosigned.size, bumps=9)
        with pytest.raises(LogForked):
            witness.cosign(kernel.decider, notary, KNOWN, ahead)
    found = forks.forks(kernel.reader())[0]
    root = notes.parse_checkpoint(ahead.note.text).root
    assert (found.origin, found.epoch) == ("ATL1", 1)
    assert (found.signed, found.found) == (cosigned.root.hex(), root.hex())
    last = witness.last_witnessed(kernel.reader(), NAME)
    assert last is not None
    assert last.root == cosigned.root


def test_a_witness_that_has_the_entries_itself_cosigns_only_what_they_hash_to(
    kernel: Kernel, notary: Notary, node: Kernel, node_notary: Notary
) -> None:
    request = asked(node, node_notary, 0, bumps=3)
    entries = [entry for entry in log.read_all(node.reader()) if entry.origin == "ATL1"]
    kernel.decider.within(SYSTEM, "network", lambda tx: origins.take_in(tx, entries), "sync")
    make_checkpoints(kernel.decider, notary)
    forged = Checkpoint(NAME, len(entries) - 1, bytes(32))
    lie = CosignRequest(0, (), NODE.sign(forged.encode()))
    with pytest.raises(LogForked):
        witness.cosign(kernel.decider, notary, KNOWN, lie)
    witness.cosign(kernel.decider, notary, KNOWN, request)


def test_a_checkpoint_of_an_unknown_host_or_with_a_wrong_signature_is_refused(
    kernel: Kernel, notary: Notary, node: Kernel, node_notary: Notary
) -> None:
    request = asked(node, node_notary, 0)
    with pytest.raises(CheckpointUnsigned):
        witness.cosign(kernel.decider, notary, [TOWER.key], request)
    other = Checkpoint(NAME, 99, bytes(32)).encode()
    forged = msgspec.structs.replace(request, note=notes.SignedNote(other, request.note.signatures))
    with pytest.raises(CheckpointUnsigned):
        witness.cosign(kernel.decider, notary, KNOWN, forged)
    assert witness.witnessed(kernel.reader()) == []
    assert forks.forks(kernel.reader()) == []


def test_a_proof_that_starts_elsewhere_is_answered_with_the_right_size(
    kernel: Kernel, notary: Notary, node: Kernel, node_notary: Notary
) -> None:
    first = asked(node, node_notary, 0)
    size = notes.parse_checkpoint(first.note.text).size
    witness.cosign(kernel.decider, notary, KNOWN, first)
    with pytest.raises(OldSizeDiffers) as refused:
        witness.cosign(kernel.decider, notary, KNOWN, asked(node, node_notary, 0))
    assert refused.value.facts["size"] == size


def test_asking_twice_for_the_same_head_gives_a_cosignature_again(
    kernel: Kernel, notary: Notary, node: Kernel, node_notary: Notary
) -> None:
    request = asked(node, node_notary, 0)
    size = notes.parse_checkpoint(request.note.text).size
    first = witness.cosign(kernel.decider, notary, KNOWN, request)
    again = msgspec.structs.replace(request, old_size=size, proof=())
    assert witness.cosign(kernel.decider, notary, KNOWN, again) == first


def test_a_line_that_no_known_witness_made_is_not_kept(
    kernel: Kernel, notary: Notary, node: Kernel, node_notary: Notary
) -> None:
    request = asked(node, node_notary, 0)
    size = notes.parse_checkpoint(request.note.text).size
    line = witness.cosign(kernel.decider, notary, KNOWN, request).line()
    assert not witness.add_cosignature(node.decider, ATL1, size, line, [NODE.witness_key])
    assert not witness.add_cosignature(node.decider, ATL1, size + 1, line, [TOWER.witness_key])
    forged = notes.Signature(TOWER.name, TOWER.witness_key.key_id + bytes(72)).line()
    with pytest.raises(BadNote):
        witness.add_cosignature(node.decider, ATL1, size, forged, [TOWER.witness_key])
    kept = tiles.head(node.reader(), ATL1)
    assert kept is not None
    assert kept.note.count("—") == 1


def test_a_request_is_read_as_it_was_written(node: Kernel, node_notary: Notary) -> None:
    request = asked(node, node_notary, 1, bumps=9)
    assert request.proof
    assert witness.parse_request(request.encode()) == request
    assert merkle.PROOF_MAX == 63


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 1\n",
        b"old -1\n\ntext",
        b"old 01\n\nx\n\n",
        b"new 1\n\nx\n\n",
        b"old 1\nAAAA\n\nx\n\n",
        b"old " + b"9" * 5000 + b"\n\nx\n\n",
        b"\xff\xfe",
        b"old 0\n\n" + b"x" * 200_000,
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(body: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        witness.parse_request(body)
    assert refused.value.problems[0].message
