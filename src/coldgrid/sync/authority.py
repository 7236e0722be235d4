"""The tower's own certificate authority: it names nodes and the tower, and nobody else trusts or needs it.

Invariants
    A1  A certificate names one identity, in one URI: `spiffe://NETWORK/site/SITE/node/NODE` for a node,
        `spiffe://NETWORK/tower` for the tower. What a signing request says of itself counts nothing.
    A2  A node's certificate is good for a client only, the tower's for a server only: no node can pose
        as the tower.
    A3  Private keys are made where they are used. The authority sees a node's public key alone.

Keys are P-256: every TLS library speaks it. Source: RFC 5280, SPIFFE X.509-SVID.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Entropy = Callable[[int], bytes]
Key = ec.EllipticCurvePrivateKey

AUTHORITY_LIFE = timedelta(days=20 * 365)
CERTIFICATE_LIFE = timedelta(days=30)
RENEW_AT = 2 / 3
# A host whose clock is a little behind must not find its new certificate to be of the future.
BACKDATED = timedelta(minutes=5)
SERIAL_BYTES = 16
PEM_BYTES_MAX = 8 * 1024
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# 64 bits more than the order has: the remainder is as good as evenly distributed (FIPS 186-5, A.2.1).
_KEY_BYTES = 40
_NETWORK = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NODE_URI = re.compile(r"spiffe://([a-z0-9._-]+)/site/([A-Za-z0-9._-]+)/node/([A-Za-z0-9._-]+)")


class BadCertificate(ValueError):
    """The bytes are no certificate or request that this network knows; the message says why."""


# --- Identity -----------------------------------------------------------------------


class Identity(msgspec.Struct, frozen=True):
    """Who a node is."""

    network: str
    site_id: str
    node_id: str

    @property
    def uri(self) -> str:
        """The name in its certificate (A1)."""
        return f"spiffe://{self.network}/site/{self.site_id}/node/{self.node_id}"


class Peer(msgspec.Struct, frozen=True):
    """Who sends a request, once admitted. `serial`: of the node's certificate, in hexadecimal."""

    site_id: str
    node_id: str
    serial: str


class Shown(msgspec.Struct, frozen=True):
    """What a certificate says of who holds its key. `serial` in hexadecimal; times on the system clock."""

    identity: Identity
    serial: str
    not_before: datetime
    not_after: datetime
    key_hash: str


def tower_uri(network: str) -> str:
    """Return the name in the tower's certificate."""
    return f"spiffe://{network}/tower"


def check_network(network: str) -> str:
    """Return the name of a network if certificates can carry it.

    Raises:
        BadCertificate: it is no lower-case DNS-like name.
    """
    if not _NETWORK.fullmatch(network):
        raise BadCertificate(f"a network's name has lower-case letters, digits, dots, dashes: {network!r}")
    return network


def parse_identity(uri: str) -> Identity:
    """Read a node's name.

    Raises:
        BadCertificate: it is none.
    """
    match = _NODE_URI.fullmatch(uri)
    if match is None or not all(_SEGMENT.fullmatch(part) for part in match.groups()[1:]):
        raise BadCertificate(f"not the name of a node: {uri[:200]!r}")
    return Identity(*match.groups())


def renew_from(not_before: datetime, not_after: datetime) -> datetime:
    """Return when a certificate is due for renewal: two thirds into its life."""
    return not_before + (not_after - not_before) * RENEW_AT


# --- Keys and requests: what a node does --------------------------------------------


def make_key(entropy: Entropy) -> Key:
    """Make a private key of a host's randomness (A3)."""
    number = int.from_bytes(entropy(_KEY_BYTES), "big")
    return ec.derive_private_key(1 + number % (_P256_ORDER - 1), ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """Return a private key as unencrypted PKCS #8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> Key:
    """Read a private key.

    Raises:
        BadCertificate: it is no P-256 key.
    """
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise BadCertificate(f"no private key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadCertificate("the private key is not of curve P-256")
    return key


def hash_of_key(key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a public key (SubjectPublicKeyInfo), in hexadecimal."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return sha256(der).hexdigest()


def make_request(key: Key) -> bytes:
    """Return a signing request (PEM): it proves that the sender holds the key, and names nobody (A1)."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def parse_request(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Return the public key of a signing request.

    Raises:
        BadCertificate: it is none, is not of P-256, or its signature does not fit its key.
    """
    if len(pem) > PEM_BYTES_MAX:
        raise BadCertificate(f"a request has at most {PEM_BYTES_MAX} bytes")
    try:
        request = x509.load_pem_x509_csr(pem)
        key, signed = request.public_key(), request.is_signature_valid
    except Exception as error:  # what the parser of hostile bytes raises is not documented in full
        raise BadCertificate(f"no signing request: {type(error).__name__}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadCertificate("the request is not for a P-256 key")
    if not signed:
        raise BadCertificate("the request is not signed with its own key")
    return key


# --- Certificates -------------------------------------------------------------------


def load_certificate(data: bytes) -> x509.Certificate:
    """Read one certificate, PEM or DER.

    Raises:
        BadCertificate: it is none.
    """
    if len(data) > PEM_BYTES_MAX:
        raise BadCertificate(f"a certificate has at most {PEM_BYTES_MAX} bytes")
    try:
        if data.lstrip().startswith(b"-----"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except Exception as error:  # as above
        raise BadCertificate(f"no certificate: {type(error).__name__}") from None


def pem_of(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of a certificate."""
    return certificate.fingerprint(hashes.SHA256())


def serial_of(certificate: x509.Certificate) -> str:
    """Return a certificate's serial number in hexadecimal, as this network writes it."""
    return f"{certificate.serial_number:032x}"


def key_hash_of(certificate: x509.Certificate) -> str:
    """Return the hash of the key that a certificate is for; "" where it is of another kind."""
    key = certificate.public_key()
    return hash_of_key(key) if isinstance(key, ec.EllipticCurvePublicKey) else ""


def hosts_in(names: x509.SubjectAlternativeName) -> set[str]:
    """Return the names and addresses of hosts in a certificate."""
    addresses = names.get_values_for_type(x509.IPAddress)
    return {*names.get_values_for_type(x509.DNSName), *map(str, addresses)}


def uris_of(certificate: x509.Certificate) -> list[str]:
    """Return the URIs that a certificate names.

    Raises:
        BadCertificate: its extensions cannot be read.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except Exception as error:  # as above
        raise BadCertificate(f"extensions that cannot be read: {type(error).__name__}") from None
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def read_shown(certificate: x509.Certificate) -> Shown:
    """Return what a node's certificate says. Its signature is not looked at here.

    Raises:
        BadCertificate: it names no node, or more than one.
    """
    uris = uris_of(certificate)
    if len(uris) != 1:
        raise BadCertificate(f"a node's certificate has one URI, this has {len(uris)}")
    return Shown(
        identity=parse_identity(uris[0]),
        serial=serial_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key_hash=key_hash_of(certificate),
    )


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether an authority signed a certificate; times are not looked at."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


# --- The authority ------------------------------------------------------------------


class Authority:
    """A private key and its self-signed certificate: what signs for one network."""

    def __init__(self, network: str, key: Key, certificate: x509.Certificate) -> None:
        own = is_issued_by(certificate, certificate)
        if not own or hash_of_key(key.public_key()) != key_hash_of(certificate):
            raise BadCertificate("the authority's certificate is not that of its key")
        self.network = check_network(network)
        self.certificate = certificate
        self.key = key

    @property
    def pem(self) -> str:
        """The authority's certificate."""
        return pem_of(self.certificate)

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256 of the authority's certificate: what enrolment codes pin."""
        return fingerprint(self.certificate)

    def sign_node(
        self, key: ec.EllipticCurvePublicKey, identity: Identity, now: datetime, entropy: Entropy
    ) -> x509.Certificate:
        """Certify that a key is a node's, from `now` (system clock) on.

        Raises:
            BadCertificate: the identity is of another network, or no certificate can carry it.
        """
        if identity.network != self.network or parse_identity(identity.uri) != identity:
            raise BadCertificate(f"not of this network: {identity.uri}")
        names = [x509.UniformResourceIdentifier(identity.uri)]
        return self._sign(key, identity.node_id, names, ExtendedKeyUsageOID.CLIENT_AUTH, now, entropy)

    def sign_tower(
        self, key: ec.EllipticCurvePublicKey, hosts: Sequence[str], now: datetime, entropy: Entropy
    ) -> x509.Certificate:
        """Certify the tower's key, reachable under `hosts` (names or addresses)."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(tower_uri(self.network))]
        names += [_host_name(host) for host in hosts]
        return self._sign(key, "tower", names, ExtendedKeyUsageOID.SERVER_AUTH, now, entropy)

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now: datetime,
        entropy: Entropy,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(self.network, name[:64]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(make_serial(entropy))
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + CERTIFICATE_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        return builder.sign(self.key, hashes.SHA256())


def make_authority(network: str, now: datetime, entropy: Entropy) -> Authority:
    """Make a network's authority: a new key and its certificate, good for 20 years."""
    key = make_key(entropy)
    name = _name(check_network(network), f"Coldgrid authority of {network}"[:64])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(make_serial(entropy))
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{network}")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return Authority(network, key, certificate)


def _name(network: str, name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, network),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def make_serial(entropy: Entropy) -> int:
    """Draw a positive number that nobody guesses (RFC 5280 allows 20 bytes)."""
    return max(1, int.from_bytes(entropy(SERIAL_BYTES), "big") >> 1)


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
