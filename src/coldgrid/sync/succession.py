"""Succession: a network's authority is replaced by another one that it vouches for itself.

Invariants
    S1  What vouches, the *link*, is a certificate for the new authority's key, signed by the one before
        ("new with old", RFC 4210, 4.4). It names the network as an authority does and may sign certificates;
        nothing else that an authority signs has either, so no certificate of a node passes for it.
    S2  All authorities of a network have one subject. So the link is self-issued, counts for no step of a
        path, and TLS leads from the tower's new certificate over the link to the old authority: who has
        heard nothing yet still reaches its tower (RFC 5280, 4.2.1.9 and 6.1).
    S3  The overlap ends with the link: after `OVERLAP`, or with the authority that signed it if that is
        sooner. From then on the one before counts no more.
    S4  An authority whose end has come names no successor, and no successor names itself.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from coldgrid.sync import authority as ca
from coldgrid.sync.admission import GRACE
from coldgrid.sync.authority import Authority, BadCertificate, Entropy

# Who was away would have renewed by itself for so long; a new authority must not shorten that.
OVERLAP = ca.CERTIFICATE_LIFE + GRACE
CERTIFICATES = 3


class BadSuccession(BadCertificate):
    """What is told to be the next authority is not vouched for by the present one; the message says why."""


class Succession(msgspec.Struct, frozen=True):
    """The authority before the present one, and its link to it."""

    before: x509.Certificate
    link: x509.Certificate

    @property
    def ends_at(self) -> datetime:
        """When the authority before counts no more (S3)."""
        return self.link.not_valid_after_utc

    @property
    def link_pem(self) -> str:
        """The link."""
        return ca.pem_of(self.link)

    @property
    def before_pem(self) -> str:
        """The certificate of the authority before."""
        return ca.pem_of(self.before)


def succeed(before: Authority, now: datetime, entropy: Entropy) -> tuple[Authority, Succession]:
    """Make the authority that follows, from `now` (system clock) on.

    Raises:
        BadSuccession: the one before has come to its end (S4).
    """
    if now >= before.certificate.not_valid_after_utc:
        raise BadSuccession(f"the authority ended at {before.certificate.not_valid_after_utc:%Y-%m-%d %H:%M}")
    after = ca.make_authority(before.network, now, entropy)
    own = after.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(before.certificate.subject)
        .public_key(after.key.public_key())
        .serial_number(ca.make_serial(entropy))
        .not_valid_before(now)
        .not_valid_after(min(now + OVERLAP, before.certificate.not_valid_after_utc))
    )
    for extension in own.extensions:  # the same authority, in the words of the one before
        builder = builder.add_extension(extension.value, critical=extension.critical)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(before.key.public_key())
    link = builder.add_extension(issuer, critical=False).sign(before.key, hashes.SHA256())
    return after, Succession(before.certificate, link)


def check_link(before: x509.Certificate, after: x509.Certificate, link: x509.Certificate) -> None:
    """See to it that one authority vouches for another (S1, S3, S4).

    Times are compared with each other only: a node with a wrong clock must hear of it too.

    Raises:
        BadSuccession: it does not.
    """
    if ca.uris_of(after) != ca.uris_of(before) or not ca.is_issued_by(after, after):
        raise BadSuccession("the new authority is not one of this network")
    if not _is_authority(after) or not _is_authority(link) or ca.uris_of(link) != ca.uris_of(before):
        raise BadSuccession("it is not the certificate of an authority")
    if ca.key_hash_of(link) != ca.key_hash_of(after) or not ca.is_issued_by(link, before):
        raise BadSuccession("the present authority did not sign for the new one")
    if ca.key_hash_of(after) == ca.key_hash_of(before):
        raise BadSuccession("an authority does not follow itself")
    if not before.not_valid_before_utc <= link.not_valid_before_utc < before.not_valid_after_utc:
        raise BadSuccession("the present authority signed for the new one after its end")
    if link.not_valid_after_utc > before.not_valid_after_utc:
        raise BadSuccession("the overlap is longer than the present authority holds")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def key_id_of(authority: x509.Certificate) -> str:
    """Return what the certificates of an authority say of its key, in hexadecimal; see `issuer_of`."""
    key_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return key_id.digest.hex()


def issuer_of(certificate: x509.Certificate) -> str:
    """Return which authority's key signed a certificate, as it says itself; "" where it does not."""
    try:
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return (issuer.key_identifier or b"").hex()


def read_succession(data: bytes) -> Succession | None:
    """Read from an authority's file the one before it; None: there is none, or it counts no more.

    Raises:
        BadCertificate: what is there does not belong together.
    """
    _, mark, rest = data.partition(b"-----BEGIN CERTIFICATE-----")
    try:
        found = x509.load_pem_x509_certificates(mark + rest)
    except ValueError as error:
        raise BadCertificate(f"no certificate of an authority: {error}") from None
    if len(found) != CERTIFICATES:
        return None
    own, link, before = found
    check_link(before, own, link)
    return Succession(before, link)
