"""The registrar: enrols and renews at the tower. It signs first, and hands out what was written down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from coldgrid.evidence.notes import BadNote, parse_key
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import decode_all
from coldgrid.sync import authority as ca
from coldgrid.sync import codes, enrolment
from coldgrid.sync.authority import BadCertificate, Identity
from coldgrid.sync.certifying import Certifying
from coldgrid.sync.gate import REGISTRAR, Gate, Means
from coldgrid.sync.node_words import EnrolNode, NodeCloned, RenewCertificate
from coldgrid.sync.places import Connection
from coldgrid.sync.succession import key_id_of

ANSWER_WITHIN_S = 30.0
SIGNING_KEYS_MAX = 4
SECRET_LENGTH_MAX = 100


class AuthorityTold(msgspec.Struct, frozen=True):
    """Who certifies here: a network and its authority's certificate (PEM).

    While the one `before` counts too: its certificate, and the `link` by which it vouches for this one.
    """

    network: str
    authority: str
    before: str = ""
    link: str = ""


class EnrolAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code's secret, a signing request (PEM), and the keys that the node's logs are signed with."""

    secret: str
    request: str
    signing_keys: tuple[str, ...] = ()


class RenewAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signing request (PEM) for a new key."""

    request: str


class Granted(msgspec.Struct, frozen=True):
    """What a node is given: its certificate, its names, and the keys that the tower signs its logs with.

    `authority`: who certified it (PEM); `link`: by which the authority before vouches for that one, while
    that still counts.
    """

    network: str
    site_id: str
    node_id: str
    certificate: str
    signing_keys: list[str]
    authority: str = ""
    link: str = ""


class Registrar:
    """Enrols and renews.

    Args:
        certifying: Who signs.
        means: What the composition root lends.
        signing_keys: Returns the lines of the tower's own keys, for nodes that witness it.
    """

    def __init__(
        self,
        certifying: Certifying,
        means: Means,
        signing_keys: Callable[[], list[str]] = list,
    ) -> None:
        self._certifying = certifying
        self.now = means.now
        self.entropy = means.entropy
        self._reader = means.reader
        self._submit = means.submit
        self._signing_keys = signing_keys

    def authority_told(self) -> AuthorityTold:
        """Return what anybody may know."""
        one = self._certifying
        return AuthorityTold(one.authority.network, one.authority.pem, one.before_pem, one.link_pem)

    def enrol(self, body: bytes) -> bytes:
        """Let a node in that brings a code, and return what it is given (JSON).

        Raises:
            Invalid: the request cannot be read.
            Forbidden: the code does not let it in.
        """
        asked = decode_all(body, EnrolAsked)
        key = _requested(asked.request)
        _check_signing_keys(asked.signing_keys)
        secret_hash = codes.hash_of_secret(asked.secret[:SECRET_LENGTH_MAX])
        now, key_hash = self.now(), ca.hash_of_key(key)
        with self._reader() as db:
            code = enrolment.check_code(enrolment.find_code(db, secret_hash), key_hash, now)
        authority = self._certifying.authority
        identity = Identity(authority.network, code.site_id, code.enrols)
        certificate = authority.sign_node(key, identity, now, self.entropy)
        answer = self._decide(
            EnrolNode(
                secret_hash=secret_hash,
                node_id=identity.node_id,
                site_id=identity.site_id,
                serial=ca.serial_of(certificate),
                key_hash=key_hash,
                certificate=ca.pem_of(certificate),
                at=now,
                not_after=certificate.not_valid_after_utc,
                signing_keys=asked.signing_keys,
            )
        )
        return self._granted(identity, answer["certificate"])

    def renew(self, gate: Gate, connection: Connection, run: str, body: bytes) -> bytes:
        """Give a node its next certificate (JSON).

        Raises:
            Invalid: the request cannot be read.
            Forbidden: the present certificate does not count, or two keys ask in its name.
            RenewedTooEarly: it has more than half of its life before it, and its authority was not replaced.
        """
        key = _requested(decode_all(body, RenewAsked).request)
        peer = gate.admit(connection, run, renewing=True)
        authority = self._certifying.authority
        identity = Identity(authority.network, peer.site_id, peer.node_id)
        now = self.now()
        certificate = authority.sign_node(key, identity, now, self.entropy)
        renewal = _renewal(certificate, peer.node_id, peer.serial, now)
        early = connection.issuer != key_id_of(authority.certificate)
        answer = self._decide(msgspec.structs.replace(renewal, early=early))
        if "clone" in answer:
            raise NodeCloned(node_id=peer.node_id, why=answer["clone"])
        return self._granted(identity, answer["certificate"])

    def _decide(self, command: EnrolNode | RenewCertificate) -> dict[str, str]:
        answer: Any = self._submit(command, REGISTRAR, None).result(ANSWER_WITHIN_S)
        result: dict[str, str] = answer.result
        return result

    def _granted(self, identity: Identity, certificate: str) -> bytes:
        names = identity.network, identity.site_id, identity.node_id
        certifying, keys = self._certifying, self._signing_keys()
        return msgspec.json.encode(
            Granted(*names, certificate, keys, certifying.authority.pem, certifying.link_pem)
        )


def _renewal(certificate: x509.Certificate, node_id: str, replaces: str, now: datetime) -> RenewCertificate:
    return RenewCertificate(
        node_id=node_id,
        replaces=replaces,
        serial=ca.serial_of(certificate),
        key_hash=ca.key_hash_of(certificate),
        certificate=ca.pem_of(certificate),
        at=now,
        not_after=certificate.not_valid_after_utc,
    )


def _requested(pem: str) -> ec.EllipticCurvePublicKey:
    try:
        return ca.parse_request(pem.encode())
    except BadCertificate as error:
        raise Invalid([Problem(field="request", message=str(error))]) from None


def _check_signing_keys(lines: tuple[str, ...]) -> None:
    if len(lines) > SIGNING_KEYS_MAX:
        raise Invalid([Problem(field="signing_keys", message=f"are at most {SIGNING_KEYS_MAX}")])
    for index, line in enumerate(lines):
        try:
            if parse_key(line).encode() != line:
                raise BadNote("has something around it")
        except BadNote as error:
            raise Invalid([Problem(field=f"signing_keys[{index}]", message=str(error)[:200])]) from None
