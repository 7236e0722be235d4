"""A network's authority is replaced: who goes over, who is refused, and what nobody believes."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from coldgrid.kernel.rejections import Rejected
from coldgrid.sync import authority as ca
from coldgrid.sync import enrolled, identity_files
from coldgrid.sync.authorities import find_replaced, name_of, nodes_without, what_follows
from coldgrid.sync.authority import Authority, BadCertificate, make_authority
from coldgrid.sync.node_port import AuthorityEndsSoon, NodePort
from coldgrid.sync.node_words import AuthorityAtItsEnd, AuthorityBeingReplaced, NoAuthorityToEnd
from coldgrid.sync.registrar import Granted
from coldgrid.sync.succession import (
    OVERLAP,
    BadSuccession,
    Succession,
    check_link,
    issuer_of,
    key_id_of,
    succeed,
)
from coldgrid.sync.tls_client import TowerLink, TowerRefused, TowerUnreachable, WrongTower
from tests.sync.test_node_renewal import linked
from tests.sync.tower import START, TowerPort

NETWORK = "cold.example"


def entropy_of(name: str) -> ca.Entropy:
    return Random(name).randbytes


def authority(name: str = "first") -> Authority:
    return make_authority(NETWORK, START, entropy_of(name))


def succession() -> tuple[Authority, Authority, Succession]:
    before = authority()
    after, found = succeed(before, START + timedelta(days=1), entropy_of("next"))
    return before, after, found


# --- Who vouches for whom -----------------------------------------------------------------


def test_an_authority_vouches_for_the_next_for_as_long_as_a_node_may_be_away() -> None:
    before, after, found = succession()
    check_link(before.certificate, after.certificate, found.link)
    assert after.fingerprint != before.fingerprint
    assert found.ends_at == START + timedelta(days=1) + OVERLAP


def test_a_forged_authority_is_not_believed() -> None:
    before, after, _ = succession()
    thief = authority("thief")
    forged, vouched_by_thief = succeed(thief, START, entropy_of("forged"))
    own = [(one, one.certificate) for one in (forged, after)]
    for one, link in ((forged, vouched_by_thief.link), *own):
        with pytest.raises(BadSuccession, match="did not sign"):
            check_link(before.certificate, one.certificate, link)


def test_a_link_to_one_authority_vouches_for_no_other() -> None:
    before, _, found = succession()
    with pytest.raises(BadSuccession, match="did not sign"):
        check_link(before.certificate, authority("thief").certificate, found.link)


def test_a_certificate_of_a_node_or_of_the_tower_vouches_for_nothing() -> None:
    before, key = authority(), ca.make_key(entropy_of("node"))
    node = before.sign_node(key.public_key(), ca.Identity(NETWORK, "ATL1", "node-1"), START, entropy_of("a"))
    tower = before.sign_tower(key.public_key(), ["tower.example"], START, entropy_of("b"))
    forged = make_authority(NETWORK, START, entropy_of("node"))
    assert ca.key_hash_of(forged.certificate) == ca.key_hash_of(node)
    for certificate in (node, tower):
        with pytest.raises(BadSuccession, match="not the certificate of an authority"):
            check_link(before.certificate, forged.certificate, certificate)


def test_an_authority_of_another_network_or_the_same_one_again_does_not_follow() -> None:
    before, _, found = succession()
    other = make_authority("other.example", START, entropy_of("other"))
    with pytest.raises(BadSuccession, match="not one of this network"):
        check_link(before.certificate, other.certificate, found.link)
    with pytest.raises(BadSuccession, match="does not follow itself"):
        check_link(before.certificate, before.certificate, before.certificate)


def test_an_authority_past_its_end_names_no_successor_and_none_outlives_it_by_the_overlap() -> None:
    before = authority()
    ended_at = before.certificate.not_valid_after_utc
    with pytest.raises(BadSuccession, match="ended"):
        succeed(before, ended_at, entropy_of("late"))
    after, found = succeed(before, ended_at - timedelta(days=1), entropy_of("late"))
    assert found.ends_at == ended_at
    check_link(before.certificate, after.certificate, found.link)
    # Whoever holds its key later may sign what it likes: nobody follows.
    ended = Shortened(before, START + timedelta(days=2))
    late, late_found = succeed(before, START + timedelta(days=3), entropy_of("late"))
    with pytest.raises(BadSuccession, match="after its end"):
        check_link(ended.certificate, late.certificate, late_found.link)
    early, early_found = succeed(before, START + timedelta(days=1), entropy_of("early"))
    with pytest.raises(BadSuccession, match="longer"):
        check_link(ended.certificate, early.certificate, early_found.link)


class Shortened:
    """The same authority, whose certificate holds for a shorter time."""

    def __init__(self, one: Authority, ends_at: datetime) -> None:
        own = one.certificate
        builder = x509.CertificateBuilder(own.issuer, own.subject, own.public_key(), 7)
        builder = builder.not_valid_before(own.not_valid_before_utc).not_valid_after(ends_at)
        for extension in own.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        self.certificate = builder.sign(one.key, hashes.SHA256())


# --- At a tower ---------------------------------------------------------------------------


def without(tower: TowerPort) -> list[str]:
    tower.settle()
    return [node.site_id for node in nodes_without(tower.kernel.reader(), tower.port.authority.certificate)]


def test_a_node_goes_over_at_its_renewal_which_is_never_too_early_then(
    either_tower: TowerPort, tmp_path: Path
) -> None:
    tower, folder = either_tower, tmp_path / "node"
    tower.join(folder)
    old = tower.port.authority.certificate
    tower.clock.forward(days=1)
    assert tower.port.replace_authority() == tower.clock.at + OVERLAP
    new = tower.port.authority.certificate
    assert without(tower) == ["ATL1"]
    known = what_follows(tower.kernel.reader(), name_of(old))
    assert known is not None
    assert (known.authority, known.ends_at) == (name_of(new), tower.clock.at + OVERLAP)
    with linked(tower, folder) as link:
        assert link.post(b"x").endswith(b"x"), "it heard nothing yet, and the tower's new certificate holds"
        link.renew(tower.entropy)
        assert link.authority == name_of(new)
        assert link.authority_before == name_of(old)
        assert link.post(b"y").endswith(b"y")
        assert without(tower) == []
        tower.port.end_authority()
        assert link.post(b"z").endswith(b"z")
        link.forget_before()
        assert link.post(b"z").endswith(b"z")
    assert identity_files.open_identity(folder).tower.before == ""
    assert tower.events()[-3:] == [
        "sync.certificate_renewed",
        "sync.certificate_taken_up",
        "sync.authority_ended",
    ]
    with linked(tower, folder) as link, pytest.raises(TowerRefused, match="half"):
        link.renew(tower.entropy)
    tower.kernel.rebuild()


def test_a_node_that_was_away_for_the_whole_overlap_comes_back_with_a_code(
    tower: TowerPort, tmp_path: Path
) -> None:
    joined = tower.join(tmp_path / "node")
    tower.port.replace_authority()
    tower.port.end_authority()
    with linked(tower, tmp_path / "node") as link:
        for ask in (lambda: link.post(b"back"), lambda: link.renew(tower.entropy)):
            with pytest.raises(TowerUnreachable, match=r"(?s)no certificate of the authority.*make a code"):
                ask()
    assert without(tower) == ["ATL1"]
    again = tower.join(tmp_path / "node", tower.code(node_id=joined.node_id))
    assert again.node_id == joined.node_id
    assert without(tower) == []


def test_an_authority_that_ended_is_refused_on_connections_that_are_open(
    tower: TowerPort, tmp_path: Path
) -> None:
    tower.join(tmp_path / "node")
    tower.port.server.cut = lambda node_id: None  # type: ignore[method-assign]  # the cut comes too late
    with linked(tower, tmp_path / "node") as link:
        link.post(b"x")
        tower.port.replace_authority()
        link.post(b"x")
        tower.port.end_authority()
        with pytest.raises(TowerRefused) as caught:
            link.post(b"x")
    assert caught.value.code == "authority_outlived"


def test_the_authority_before_ends_by_itself_after_the_overlap(tower: TowerPort, tmp_path: Path) -> None:
    tower.join(tmp_path / "node")
    tower.port.replace_authority()
    polling = threading.Event()
    with linked(tower, tmp_path / "node") as link:

        def poll() -> None:
            with suppress(TowerUnreachable):
                link.post(b"hold on")
            polling.set()

        thread = threading.Thread(target=poll)
        thread.start()
        while not any(frame == b"hold on" for _, frame in tower.post.heard):
            polling.wait(0.01)
        tower.clock.forward(days=119)
        tower.port.tend()
        assert tower.port.certifying.succession is not None
        tower.clock.forward(days=1)
        tower.port.tend()
        assert tower.port.certifying.succession is None
        assert polling.wait(20), "its open connections end"
        thread.join()
        with pytest.raises(TowerUnreachable, match="no certificate of"):
            link.post(b"back")
    assert tower.events()[-1] == "sync.authority_ended"


def test_nothing_is_replaced_twice_at_once_nor_ended_twice(tower: TowerPort, tmp_path: Path) -> None:
    with pytest.raises(NoAuthorityToEnd):
        tower.port.end_authority()
    tower.port.replace_authority()
    present = tower.port.authority.fingerprint
    with pytest.raises(AuthorityBeingReplaced):
        tower.port.replace_authority()
    tower.port.end_authority()
    with pytest.raises(NoAuthorityToEnd):
        tower.port.end_authority()
    assert tower.port.authority.fingerprint == present
    tower.port.replace_authority()
    assert tower.events().count("sync.authority_replaced") == 2


def test_a_tower_warns_before_its_authority_ends_and_replaces_none_after(tower: TowerPort) -> None:
    assert tower.port.tend() == "tower's certificate is good"
    tower.clock.at = tower.port.authority.certificate.not_valid_after_utc - timedelta(days=100)
    with pytest.raises(AuthorityEndsSoon, match="rotate-ca"):
        tower.port.tend()
    tower.clock.forward(days=101)
    with pytest.raises(AuthorityAtItsEnd) as caught:
        tower.port.replace_authority()
    assert isinstance(caught.value, Rejected)


def test_a_tower_that_starts_again_has_both_and_says_what_a_crash_left_unsaid(
    tower: TowerPort, tmp_path: Path
) -> None:
    tower.join(tmp_path / "node")
    path = tower.port.settings.authority
    old_key = ca.key_pem(tower.port.authority.key)
    tower.port.certifying.replace()  # and there it ended
    assert old_key not in path.read_bytes(), "nothing needs the old key any more"
    again = NodePort(tower.port.settings, tower.port.means, list, tower.post)
    assert again.certifying.succession is not None
    tower.settle()
    name = name_of(again.authority.certificate)
    assert find_replaced(tower.kernel.reader(), name) is None
    again.tend()
    again.tend()
    tower.settle()
    assert find_replaced(tower.kernel.reader(), name) is not None
    assert tower.events().count("sync.authority_replaced") == 1


def test_a_code_of_the_authority_before_still_lets_a_node_in_to_the_new_one(
    tower: TowerPort, tmp_path: Path
) -> None:
    code = tower.code()
    tower.port.replace_authority()
    tower.join(tmp_path / "node", code)
    with linked(tower, tmp_path / "node") as link:
        assert link.authority == name_of(tower.port.authority.certificate)
        assert link.authority_before == ""
    late = tower.code("CLT1")
    tower.port.end_authority()
    tower.port.replace_authority()
    tower.port.end_authority()
    with pytest.raises(WrongTower):
        tower.join(tmp_path / "late", late)


def test_a_node_believes_no_tower_that_names_another_authority_without_a_link(
    tower: TowerPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower.join(tmp_path / "node")
    tower.port.replace_authority()
    forged, by_thief = succeed(authority("thief"), START, entropy_of("forged"))
    with linked(tower, tmp_path / "node") as link:
        before = link.authority
        for pem, link_pem in ((forged.pem, ""), (forged.pem, by_thief.link_pem), ("no certificate", "x")):
            monkeypatch.setattr(TowerLink, "_with_client", tells(tower, pem, link_pem))
            with pytest.raises(BadCertificate):
                link.renew(tower.entropy)
            assert link.authority == before
    assert identity_files.open_identity(tmp_path / "node").tower.before == ""


def tells(tower: TowerPort, authority_pem: str, link_pem: str) -> object:
    granted = Granted(NETWORK, "ATL1", "node-1", "", [], authority_pem, link_pem)
    return lambda self, ask: msgspec.json.encode(granted)


def test_certificates_say_which_authority_signed_them(tower: TowerPort, tmp_path: Path) -> None:
    tower.join(tmp_path / "node")
    [node] = enrolled.list_nodes(tower.kernel.reader())
    held = enrolled.find_certificate(tower.kernel.reader(), node.serial)
    assert held is not None
    certificate, authority = ca.load_certificate(held.certificate.encode()), tower.port.authority
    assert issuer_of(certificate) == key_id_of(authority.certificate)
