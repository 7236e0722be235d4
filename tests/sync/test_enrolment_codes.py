"""Enrolment codes and the authority's certificates: without a database, without a socket."""

from __future__ import annotations

import random
from base64 import encodebytes
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.sync import authority as ca
from coldgrid.sync.authority import BadCertificate, Identity, make_authority, make_key, make_request
from coldgrid.sync.codes import ALPHABET, BadCode, EnrolmentCode, make_code, parse_code

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
NODE = Identity("cold.example", "ATL1", "node-a")
entropy = random.Random("authority").randbytes
OURS = make_authority("cold.example", NOW, entropy)


# --- Codes ------------------------------------------------------------------------


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=32, max_size=32))
def test_a_code_reads_back_as_it_was_written(secret: bytes, fingerprint: bytes) -> None:
    code = make_code(secret, fingerprint)
    assert parse_code(code.encode()) == code
    assert code.names(fingerprint)
    assert not code.names(bytes([fingerprint[0] ^ 1]) + fingerprint[1:])


def test_a_code_is_eight_groups_of_four_without_letters_that_are_mistaken() -> None:
    text = make_code(bytes(range(10)), OURS.fingerprint).encode()
    assert [len(group) for group in text.split("-")] == [4] * 8
    assert not set(text) & set("ILOU")


@given(st.binary(min_size=10, max_size=10), st.data())
def test_how_a_person_types_it_does_not_matter(secret: bytes, data: st.DataObject) -> None:
    code = make_code(secret, OURS.fingerprint)
    typed = code.encode()
    if data.draw(st.booleans()):
        typed = typed.lower().replace("0", "o").replace("1", "l")
    typed = typed.replace("-", data.draw(st.sampled_from(["", " ", "–", "-", " - "])))
    assert parse_code(f" {typed}\n") == code


def found_wrong(text: str) -> bool:
    try:
        parse_code(text)
    except BadCode:
        return True
    return False


@given(st.binary(min_size=10, max_size=10))
def test_every_wrong_letter_and_every_swap_of_neighbours_is_found_before_it_costs_an_attempt(
    secret: bytes,
) -> None:
    text = make_code(secret, OURS.fingerprint).encode().replace("-", "")
    for at, letter in enumerate(text):
        for other in set(ALPHABET) - {letter}:
            assert found_wrong(text[:at] + other + text[at + 1 :])
        if text[at : at + 2] != text[at : at + 2][::-1]:
            assert found_wrong(text[:at] + text[at : at + 2][::-1] + text[at + 2 :])


@pytest.mark.parametrize("text", ["", "ABCD", "U" * 32, "€" * 32, "A" * 33, "A" * 10_000, "\x00" * 32])
def test_what_is_no_code_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(BadCode, match="code"):
        parse_code(text)


def test_two_authorities_have_two_pins_and_two_codes_two_secrets() -> None:
    other = make_authority("cold.example", NOW, entropy)
    one, two = make_code(bytes(10), OURS.fingerprint), make_code(bytes(9) + b"\x80", other.fingerprint)
    assert one.pin != two.pin
    assert one.secret_hash != two.secret_hash
    assert not EnrolmentCode(one.secret, one.pin).names(other.fingerprint)


# --- Certificates -----------------------------------------------------------------


def signed(identity: Identity = NODE, now: datetime = NOW) -> x509.Certificate:
    key = ca.parse_request(make_request(make_key(entropy)))
    return OURS.sign_node(key, identity, now, entropy)


def test_a_nodes_certificate_names_it_and_holds_thirty_days() -> None:
    certificate = signed()
    shown = ca.read_shown(certificate)
    assert shown.identity == NODE
    assert NODE.uri == "spiffe://cold.example/site/ATL1/node/node-a"
    assert shown.not_after == NOW + timedelta(days=30)
    assert ca.is_issued_by(certificate, OURS.certificate)
    from_ = ca.renew_from(NOW, shown.not_after)
    assert from_ == NOW + timedelta(days=20)


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_node_is_a_client_only_and_the_tower_a_server_only() -> None:
    tower = OURS.sign_tower(make_key(entropy).public_key(), ["127.0.0.1", "tower.example"], NOW, entropy)
    assert usages(signed()) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert usages(tower) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert ca.uris_of(tower) == ["spiffe://cold.example/tower"]
    with pytest.raises(BadCertificate):
        ca.read_shown(tower)


def test_what_a_request_says_of_itself_counts_nothing() -> None:
    key = make_key(entropy)
    boast = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tower")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://cold.example/tower")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    certificate = OURS.sign_node(ca.parse_request(boast), NODE, NOW, entropy)
    assert ca.uris_of(certificate) == [NODE.uri]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_request_of_another_kind_of_key_is_refused() -> None:
    empty = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for key in (
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ):
        pem = empty.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        with pytest.raises(BadCertificate):
            ca.parse_request(pem)


def test_a_request_that_was_changed_under_way_is_refused() -> None:
    der = x509.load_pem_x509_csr(make_request(make_key(entropy))).public_bytes(serialization.Encoding.DER)
    with pytest.raises(BadCertificate):
        ca.parse_request(_pem(der[:-1] + bytes([der[-1] ^ 1])))


def _pem(der: bytes) -> bytes:
    body = encodebytes(der)
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_do_worse_than_a_refusal(data: bytes, framed: bool) -> None:
    text = _pem(data) if framed else data
    for read in (ca.parse_request, ca.load_certificate, ca.load_key):
        with pytest.raises(BadCertificate):
            read(text)


@pytest.mark.parametrize(
    "identity",
    [
        Identity("other.example", "ATL1", "node-a"),
        Identity("cold.example", "ATL1/node/x", "node-a"),
        Identity("cold.example", "", "node-a"),
        Identity("cold.example", "ATL1", ".."),
        Identity("cold.example", "ATL 1", "node-a"),
    ],
)
def test_the_authority_signs_only_names_that_read_back_as_they_were_meant(identity: Identity) -> None:
    with pytest.raises(BadCertificate):
        signed(identity)


def test_a_certificate_of_another_authority_of_the_same_name_is_not_ours() -> None:
    theirs = make_authority("cold.example", NOW, entropy)
    assert not ca.is_issued_by(signed(), theirs.certificate)


def test_an_authority_is_made_of_its_own_key_only() -> None:
    with pytest.raises(BadCertificate):
        ca.Authority("cold.example", make_key(entropy), OURS.certificate)


def test_keys_depend_on_the_hosts_randomness_alone() -> None:
    one, two = (make_key(random.Random(7).randbytes) for _ in range(2))
    assert ca.key_pem(one) == ca.key_pem(two)
    assert ca.key_pem(ca.load_key(ca.key_pem(one))) == ca.key_pem(one)
