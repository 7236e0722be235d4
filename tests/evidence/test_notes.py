"""Notes, checkpoints and keys: other people's examples, frozen forms of ours, and what is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.evidence import notes
from coldgrid.evidence.notes import BadNote, Checkpoint, Signer

# The example of Go's golang.org/x/mod/sumdb/note, which the C2SP form was written down from.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The checkpoint that the C2SP pages show, with the witness's line.
SHOWN = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
TOWER = Signer("coldgrid.example/tower", bytes(range(32)))
NODE = Signer("coldgrid.example/node/ATL1", bytes(range(1, 33)))
HEAD = Checkpoint("coldgrid.example/ATL1/1", 1000, bytes(range(32)))

FROZEN = (
    "coldgrid.example/ATL1/1\n1000\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n"
    "— coldgrid.example/tower "
    "u9sX1Gkr4Gi/iNyykwDDYbrsSqBMKY/UsqfBsXq8/nttRxrNBhWRIIPw+840McpGvFtSrnEBy1eosUYmWoU0D9lPkgk=\n"
    "— coldgrid.example/node/ATL1 "
    "/h7ZfQAAAABpo/IA3seHCs28WZQjUjnjfWloefXRv2gCjx8x6d1Q16tiTWUT3a0PXndieKOTgQL4bDyALNei/lVw2AQ+G0doam40Dg==\n"
)
FROZEN_KEY = "coldgrid.example/tower+bbdb17d4+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
FROZEN_WITNESS = "coldgrid.example/node/ATL1+fe1ed97d+BHm1Vi6P5lT5QHixEuipi6eQH4U65pW+1+DjkQutBJZk"


def test_a_note_of_another_implementation_verifies() -> None:
    key = notes.parse_key(PETER)
    assert key.encode() == PETER
    note = notes.parse_note(PETERS_NOTE.encode())
    assert [one.key for one in notes.verify_note(note, [key])] == [key]
    assert note.encode() == PETERS_NOTE


def test_the_specifications_checkpoint_is_read_with_its_cosignature() -> None:
    note = notes.parse_note(SHOWN.encode())
    checkpoint = notes.parse_checkpoint(note.text)
    assert (checkpoint.log_name, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert int.from_bytes(note.signatures[1].raw[4:12], "big") == 1679315147
    assert notes.verify_note(note, [TOWER.key]) == []


def test_a_checkpoint_keeps_its_frozen_form() -> None:
    signed = TOWER.sign(HEAD.encode())
    signed = signed.with_signature(NODE.cosign(signed.text, 1_772_352_000))
    assert signed.encode() == FROZEN
    assert TOWER.key.encode() == FROZEN_KEY
    assert NODE.witness_key.encode() == FROZEN_WITNESS


def test_a_checkpoint_signed_and_witnessed_tells_who_and_when() -> None:
    signed = TOWER.sign(HEAD.encode())
    signed = signed.with_signature(NODE.cosign(signed.text, 1_772_352_000))
    note = notes.parse_note(signed.encode().encode())
    verified = notes.verify_note(note, [TOWER.key, NODE.witness_key])
    assert [(one.key.name, one.at_s) for one in verified] == [
        ("coldgrid.example/tower", None),
        ("coldgrid.example/node/ATL1", 1_772_352_000),
    ]
    assert notes.parse_checkpoint(note.text) == HEAD


def test_a_later_cosignature_takes_the_place_of_the_same_witnesss_earlier_one() -> None:
    signed = TOWER.sign(HEAD.encode())
    early = signed.with_signature(NODE.cosign(signed.text, 100))
    late = early.with_signature(NODE.cosign(signed.text, 200))
    assert [one.at_s for one in notes.verify_note(late, [NODE.witness_key])] == [200]
    assert len(late.signatures) == 2


def test_a_cosignature_does_not_pass_for_the_logs_own_signature() -> None:
    forged = NODE.cosign(HEAD.encode(), 100)
    as_log = notes.Signature(NODE.name, NODE.key.key_id + forged.raw[12:])
    with pytest.raises(BadNote, match="does not fit"):
        notes.verify_note(notes.SignedNote(HEAD.encode(), (as_log,)), [NODE.key])


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_note_passes(at: int, bit: int) -> None:
    signed = TOWER.sign(HEAD.encode())
    data = bytearray(signed.encode().encode())
    data[at % len(data)] ^= 1 << bit
    try:
        verified = notes.verify_note(notes.parse_note(bytes(data)), [TOWER.key])
    except BadNote:
        return
    assert verified == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no signatures\n", "no blank line"),
        ("text\n\n— a b", "no blank line"),
        ("text\n\n— name !!!!\n", "not base 64"),
        ("text\n\n- name AAAAAAA=\n", "not a signature line"),
        ("text\n\n— na+me AAAAAAA=\n", "not a signature line"),
        ("te\rxt\n\n— name AAAAAAA=\n", "control character at 2"),
        ("text\n\n— name AAAAAAB=\n", "canonical"),
        ("text\n\n" + "— name AAAAAAA=\n" * 65, "more than 64"),
        ("x" * 70_000, "at most 65536 bytes"),
    ],
)
def test_what_is_no_note_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadNote, match=why):
        notes.parse_note(text.encode())


def test_bytes_that_are_no_text_are_no_note() -> None:
    with pytest.raises(BadNote, match="not UTF-8 at byte 3"):
        notes.parse_note(b"abc\xff\n\n")


@pytest.mark.parametrize(
    "text",
    [
        "log\n1\n",
        "log\n01\n" + "A" * 43 + "=\n",
        "log\n-1\n" + "A" * 43 + "=\n",
        "log\n1\nAAAA\n",
        "log\n1\n" + "A" * 43 + "=\nextension\n",
        "\n1\n" + "A" * 43 + "=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        notes.parse_checkpoint(text)


@pytest.mark.parametrize(
    "line", ["", "name", "name+00000000+AAAA", PETER.replace("c74f", "c74e"), PETER.replace("ARpc", "AxpC")]
)
def test_what_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(BadNote):
        notes.parse_key(line)


def test_a_key_file_may_carry_comments() -> None:
    assert notes.parse_keys(f"# who we trust\n\n{PETER}\n") == [notes.parse_key(PETER)]


def test_the_hosts_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "evidence.key"
    made = notes.open_signer(path, "coldgrid.example/tower", bytes(32))
    assert path.stat().st_mode & 0o777 == 0o600
    again = notes.open_signer(path, "coldgrid.example/tower", bytes(range(32)))
    assert again.key == made.key


def test_who_begins_at_once_has_one_whole_key(tmp_path: Path) -> None:
    path = tmp_path / "evidence.key"
    together = threading.Barrier(8)

    def begin(number: int) -> bytes:
        together.wait()
        return notes.open_signer(path, "tower", bytes([number]) * 32).key.key_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(begin, range(8)))) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_that_others_may_read_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "evidence.key"
    notes.open_signer(path, "tower", bytes(32))
    path.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        notes.open_signer(path, "tower", bytes(32))


def test_a_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evidence.key"
    path.write_text("hello\n")
    path.chmod(0o600)
    with pytest.raises(BadNote, match="holds no key"):
        notes.open_signer(path, "tower", bytes(32))


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_a_proof_is_read_as_it_was_written(proof: list[bytes]) -> None:
    assert notes.parse_proof(notes.encode_proof(proof)) == proof
