"""Trusting: whom a node takes for its tower, by its code at first and from then on by its authority.

Invariants
    W1  An authority is trusted that the code named, or that one trusted before vouches for (`succession`).
    W2  The time of a tower's certificate is not asked for: a node with a wrong clock must reach its tower.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec

from coldgrid.sync import authority as ca
from coldgrid.sync.authority import BadCertificate
from coldgrid.sync.codes import EnrolmentCode
from coldgrid.sync.identity_files import KnownTower
from coldgrid.sync.registrar import AuthorityTold, Granted
from coldgrid.sync.succession import BadSuccession, check_link

# X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name: times are judged by us, not by TLS.
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)


def pinned_context(authority_pem: str, chain: Path | None = None) -> ssl.SSLContext:
    """Return TLS settings that accept the tower of an authority (W1), with the node's certificate if any.

    The host's name is not compared: only a tower's certificate is good for a server (authority.A2), and a
    tower is reached under many names and addresses.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(cadata=authority_pem)
    if chain is not None:
        context.load_cert_chain(chain)
    return context


def unpinned_context() -> ssl.SSLContext:
    """For the one request whose answer is held against the code's pin; it carries nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def made_by(code: EnrolmentCode, told: AuthorityTold) -> bool:
    """Tell whether a code names the authority that certifies, or the one before, which vouches for it."""
    present = ca.load_certificate(told.authority.encode())
    if code.names(ca.fingerprint(present)):
        return True
    try:
        before, link = (ca.load_certificate(pem.encode()) for pem in (told.before, told.link))
        check_link(before, present, link)
    except BadCertificate:
        return False
    return code.names(ca.fingerprint(before))


def certified_by(tower: KnownTower, granted: Granted) -> KnownTower:
    """Return what a node knows of its tower after an answer: another authority, if the present one vouches.

    Raises:
        BadSuccession: it does not.
    """
    if granted.authority in ("", tower.authority):
        return tower
    try:
        pems = tower.authority, granted.authority, granted.link
        before, after, link = (ca.load_certificate(pem.encode()) for pem in pems)
    except BadCertificate as error:
        raise BadSuccession(f"another authority, and nobody vouches for it: {error}") from None
    check_link(before, after, link)
    return msgspec.structs.replace(tower, authority=granted.authority, before=tower.authority)
