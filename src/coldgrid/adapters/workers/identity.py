"""The leader's identity on the channel: a certificate for one term, which followers read in the database.

Nobody signs it and nothing else is trusted: whoever can write the leader's row of the database is the
database's owner already. So the channel is TLS 1.3 on any network, without an authority and without a file to
hand out.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "worker.coldgrid.internal"
# A term may last for years, and machines' clocks differ: the row says which certificate counts, not time.
BEFORE, AFTER = timedelta(days=2), timedelta(days=3650)


def make_identity(now: datetime) -> tuple[str, ssl.SSLContext]:
    """Return a new certificate as PEM, and the context that serves with it; its key stays in memory."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + AFTER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), _server(pem, secret)


def _server(pem: bytes, secret: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Python reads keys from files only: one of mode 0600 that is gone as soon as it was read.
    handle, path = tempfile.mkstemp(prefix="coldgrid-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem + secret)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)
    return context


def client_context(certificate: str) -> ssl.SSLContext:
    """Return the context that trusts this certificate and no other.

    Raises:
        ssl.SSLError: it is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=certificate)
    return context
