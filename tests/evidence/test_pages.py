"""Pages and API: what who may see, that packs from the web verify, and that others can follow the logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient
from markupsafe import escape

from coldgrid.evidence import merkle, notes, verify, witness
from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.tiles import LogId
from tests.conftest import sqlite_kernel
from tests.evidence.conftest import NODE, TOWER, bump
from tests.evidence.served import CSRF, Client, Served, serving
from tests.kernel.rooms import Bump

LOG = "/api/v1/evidence/logs/ATL1/1"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as made:
        for _ in range(150):
            made.do(Bump(site_id="ATL1", name="apples", by=0))
        made.do(Bump(site_id="ATL1", name="person", by=1, note="Ana Bell", person="customer-1"))
        made.sign()
        yield made


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with TestClient(served.app, raise_server_exceptions=False) as made:
        made.headers["x-csrf-token"] = CSRF
        made.follow_redirects = False
        yield made


def test_the_overview_shows_every_log_and_the_key(client: Client) -> None:
    text = client.get("/evidence").text
    assert "ATL1/1" in text
    assert "network/1" in text
    assert escape(TOWER.key.encode()) in text
    assert "Make the pack" in text


def test_when_the_last_checkpoint_was_made_is_text_on_the_overview(client: Client) -> None:
    shown = client.get("/evidence").text.partition("Last signed")[2].partition("Forks")[0]
    assert "<time " in shown
    assert "&lt;time" not in shown


def test_an_epoch_beyond_what_a_database_counts_is_no_fault_of_ours(client: Client) -> None:
    answer = client.get("/evidence/logs/ATL1/99999999999999999999")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_who_works_at_one_site_sees_its_log_and_the_networks_alone(client: Client) -> None:
    text = client.get("/evidence", headers={"x-as": "otto"}).text
    assert "network/1" in text
    assert "ATL1/1" not in text
    assert client.get("/evidence/logs/ATL1/1", headers={"x-as": "otto"}).status_code == 403
    assert client.get("/evidence/packs/unit/toy", headers={"x-as": "max"}).status_code == 403


def test_an_entry_is_shown_with_its_bytes_and_its_proof(client: Client) -> None:
    text = client.get("/evidence/logs/ATL1/1?seq=7").text
    assert "This entry is what was signed." in text
    assert "toy.bumped" in text
    assert "No such entry is signed" in client.get("/evidence/logs/ATL1/1?seq=70000").text
    assert client.get("/evidence/logs/SEA1/1").status_code == 404


def test_an_edited_entry_is_shown_as_what_it_is(client: Client, served: Served) -> None:
    served.edit("UPDATE event_log SET actor = 'bob' WHERE origin = 'ATL1' AND seq = 7")
    assert "This entry is not what was signed." in client.get("/evidence/logs/ATL1/1?seq=7").text


def test_a_fork_is_shown_with_both_hashes_and_an_admin_settles_it(client: Client, served: Served) -> None:
    served.edit("UPDATE event_log SET actor = 'bob' WHERE origin = 'ATL1' AND seq = 7")
    served.do(Bump(site_id="ATL1", name="apples", by=0))
    served.sign()
    text = client.get("/evidence").text
    assert "does not extend what was signed" in text
    assert "End the quarantine" not in text
    assert "End the quarantine" in client.get("/evidence", headers={"x-as": "ada"}).text
    form = {"_csrf": CSRF, "log_origin": "ATL1", "log_epoch": "1", "reason": "restored the copy of 8:00"}
    settled = client.post("/evidence/forks", data=form, headers={"x-as": "ada"})
    assert (settled.status_code, settled.headers["location"]) == (303, "/evidence")
    assert "restored the copy of 8:00" in client.get("/evidence").text


def test_a_pack_from_the_web_verifies_and_its_reading_is_logged(client: Client, served: Served) -> None:
    asked = client.get("/evidence/pack?kind=incident&subject=toy-incident")
    assert asked.headers["location"] == "/evidence/packs/incident/toy-incident"
    answer = client.get(asked.headers["location"])
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="evidence-incident-toy-incident.zip"'
    )
    report = verify.verify_pack(answer.content, [TOWER.key])
    assert (report.ok, report.made_by) == (True, "quinn")
    assert b"Ana Bell" not in answer.content
    assert served.door.notes == [("quinn", "quality", "/evidence/packs/incident/toy-incident")]
    same = client.get("/api/v1/evidence/packs/incident/toy-incident")
    assert same.content == answer.content


def test_a_pack_about_nothing_is_a_readable_refusal(client: Client) -> None:
    assert client.get("/evidence/packs/lot/L-404").status_code == 404
    assert client.get("/evidence/packs/planet/earth").status_code == 400
    assert client.get("/evidence/pack?kind=lot&subject=").headers["location"] == "/evidence"


def test_nobody_discloses_personal_data_without_the_right_to(client: Client) -> None:
    address = "/evidence/packs/incident/toy-incident/disclosed/customer-1"
    for who in ("quinn", "otto", "ada", "max"):
        assert client.get(address, headers={"x-as": who}).status_code == 403


def test_an_uploaded_pack_is_checked_and_what_is_wrong_is_named(client: Client) -> None:
    pack = client.get("/evidence/packs/incident/toy-incident").content
    for data, said in (
        (pack, "pack.zip: sound"),
        (pack.replace(b"Technician", b"Magician__"), "report.html"),
        (b"no zip", "not sound"),
    ):
        answer = client.post("/evidence/check", files={"pack": ("pack.zip", data)}, data={"_csrf": CSRF})
        assert answer.status_code == 200
        assert said in answer.text
    assert "Choose a file" in client.post("/evidence/check", data={"_csrf": CSRF}).text


def test_what_is_new_is_signed_when_asked_for(client: Client, served: Served) -> None:
    served.do(Bump(site_id="SEA1", name="plums", by=1))
    assert "SEA1/1" not in client.get("/evidence").text
    assert client.post("/evidence/sign", data={"_csrf": CSRF}).status_code == 303
    assert "SEA1/1" in client.get("/evidence").text


# --- For machines -----------------------------------------------------------------


def test_others_can_follow_a_log_from_its_checkpoint_and_tiles(client: Client) -> None:
    note = notes.parse_note(client.get(f"{LOG}/checkpoint").content)
    keys = notes.parse_keys(client.get("/api/v1/evidence/keys").text)
    assert notes.verify_note(note, keys)
    signed = notes.parse_checkpoint(note.text)
    full = client.get(f"{LOG}/tile/0/000").content
    rest = client.get(f"{LOG}/tile/0/001.p/{signed.size - 256}").content
    leaves = full + rest
    assert merkle.tree_root([leaves[at : at + 32] for at in range(0, len(leaves), 32)]) == signed.root
    assert client.get(f"{LOG}/tile/1/000.p/1").content == merkle.tree_root(
        [full[at : at + 32] for at in range(0, len(full), 32)]
    )


@pytest.mark.parametrize(
    "tile", ["0/002", "0/001", "0/001.p/255", "0/1", "0/x001/000", "9/000", "0/000.p/300", "0/a"]
)
def test_a_tile_that_is_not_there_is_not_found(client: Client, tile: str) -> None:
    assert client.get(f"{LOG}/tile/{tile}").status_code == 404


def test_a_proof_is_given_in_the_common_form_and_verifies(client: Client) -> None:
    text = client.get(f"{LOG}/proof/7").text
    head, _, note = text.partition("\n\n")
    first, index, *proof = head.splitlines()
    assert (first, index) == ("c2sp.org/tlog-proof@v1", "index 7")
    signed = notes.parse_checkpoint(notes.parse_note(note.encode()).text)
    leaf = client.get(f"{LOG}/tile/0/000").content[7 * 32 : 8 * 32]
    hashes = notes.parse_proof("".join(f"{line}\n" for line in proof))
    assert merkle.verify_inclusion(leaf, 7, signed.size, hashes, signed.root)
    assert client.get(f"{LOG}/proof/70000").status_code == 404
    assert client.get("/api/v1/evidence/logs/SEA1/1/proof/0").status_code == 404


def test_all_heads_are_listed(client: Client) -> None:
    listed = client.get("/api/v1/evidence/checkpoint").json()
    assert [one["name"] for one in listed] == ["coldgrid.example/ATL1/1", "coldgrid.example/network/1"]


def test_a_node_has_its_log_witnessed_over_http(client: Client) -> None:
    node_notary = Notary(NODE, "coldgrid.example", home="SEA1")
    log_id = LogId("SEA1", 1)
    with sqlite_kernel() as node:
        bump(node, 5, "SEA1")
        make_checkpoints(node.decider, node_notary)
        asked = witness.request_for(node.reader(), log_id, 0)
        assert asked is not None
        answer = client.post("/api/v1/evidence/add-checkpoint", content=asked.encode())
        assert answer.status_code == 200
        size = notes.parse_checkpoint(asked.note.text).size
        assert witness.add_cosignature(node.decider, log_id, size, answer.text, [TOWER.witness_key])
        bump(node, 1, "SEA1")
        make_checkpoints(node.decider, node_notary)
        again = witness.request_for(node.reader(), log_id, 0)
        assert again is not None
        refused = client.post("/api/v1/evidence/add-checkpoint", content=again.encode())
        assert (refused.status_code, refused.text) == (409, f"{size}\n")
        assert refused.headers["content-type"].startswith("text/x.tlog.size")
    assert "coldgrid.example/SEA1/1" in client.get("/evidence").text


def test_a_stranger_is_not_witnessed(client: Client) -> None:
    stranger = notes.Signer("stranger", bytes(32))
    text = notes.Checkpoint("coldgrid.example/SEA1/1", 1, bytes(32)).encode()
    asked = witness.CosignRequest(0, (), stranger.sign(text))
    assert client.post("/api/v1/evidence/add-checkpoint", content=asked.encode()).status_code == 403
    assert client.post("/api/v1/evidence/add-checkpoint", content=b"old x\n\n").status_code == 422
