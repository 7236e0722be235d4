"""What is said about nodes and their certificates: events, commands and refusals.

All of them are the network's facts. Instants named `…_at` inside them are the system clock's, which
certificates go by; the business clock may run at another speed.
"""

from __future__ import annotations

from datetime import datetime

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.rejections import Conflict, Forbidden, NotFound

# --- Events -----------------------------------------------------------------------


class CodeIssued(Event, frozen=True, tag="sync.code_issued"):
    """A one-time code was made for a site; `node_id` brings that node back, without it a new one comes."""

    code_id: str
    site_id: str
    node_id: str
    secret_hash: str
    issued_at: datetime
    expires_at: datetime


class CodeWithdrawn(Event, frozen=True, tag="sync.code_withdrawn"):
    """A code that was not used yet was taken back."""

    code_id: str
    reason: str


class NodeEnrolled(Event, frozen=True, tag="sync.node_enrolled"):
    """A node came with a code and has its certificate; earlier ones of the same node count no more.

    `signing_keys`: what verifies the checkpoints of its logs, one line each (C2SP signed-note).
    """

    node_id: str
    site_id: str
    code_id: str
    serial: str
    key_hash: str
    certificate: str
    enrolled_at: datetime
    not_after: datetime
    signing_keys: list[str]


class CertificateRenewed(Event, frozen=True, tag="sync.certificate_renewed"):
    """A node got a new certificate for a new key. The one it `replaces` counts until this one is used."""

    node_id: str
    serial: str
    replaces: str
    key_hash: str
    certificate: str
    renewed_at: datetime
    not_after: datetime


class CertificateTakenUp(Event, frozen=True, tag="sync.certificate_taken_up"):
    """A node used its new certificate for the first time; those before it count no more."""

    node_id: str
    serial: str
    taken_up_at: datetime


class CertificateRecognised(Event, frozen=True, tag="sync.certificate_recognised"):
    """A tower that was put back from a copy met a certificate of its own that it had given out since."""

    node_id: str
    serial: str
    key_hash: str
    certificate: str
    issued_at: datetime
    not_after: datetime


class CloneSuspected(Event, frozen=True, tag="sync.clone_suspected"):
    """Two hosts came with one node's key, or with keys that cannot both be its own. A person decides."""

    node_id: str
    serial: str
    why: str
    suspected_at: datetime


class NodeRevoked(Event, frozen=True, tag="sync.node_revoked"):
    """A node is cut off for ever; its site needs a new one."""

    node_id: str
    reason: str


class AuthorityReplaced(Event, frozen=True, tag="sync.authority_replaced"):
    """Another authority certifies from now on; the one `before` counts beside it until `ends_at`.

    Both are named by the SHA-256 of their certificates, in hexadecimal.
    """

    authority: str
    before: str
    replaced_at: datetime
    ends_at: datetime


class AuthorityEnded(Event, frozen=True, tag="sync.authority_ended"):
    """An authority that was replaced counts no more: its time was over, or somebody ended it."""

    authority: str
    ended_at: datetime


class SiteCalledBack(Event, frozen=True, tag="sync.site_called_back"):
    """A site's node was asked to close its log, so that another host can go on with it."""

    site_id: str
    reason: str


# --- Commands ---------------------------------------------------------------------


class IssueCode(Command, frozen=True, tag="sync.issue_code"):
    """Let a node enrol for a site. The caller drew the code; only its secret's hash comes here."""

    code_id: str
    site_id: str
    secret_hash: str
    at: datetime
    node_id: str = ""


class WithdrawCode(Command, frozen=True, tag="sync.withdraw_code"):
    """Take a code back that was not used yet."""

    code_id: str
    reason: str = ""


class CallBackSite(Command, frozen=True, tag="sync.call_back_site"):
    """Ask a site's node to close its log and hand over what waits."""

    site_id: str
    reason: str


class EnrolNode(Command, frozen=True, tag="sync.enrol_node"):
    """Accept a node that came with a code, and the certificate that was signed for it."""

    secret_hash: str
    node_id: str
    site_id: str
    serial: str
    key_hash: str
    certificate: str
    at: datetime
    not_after: datetime
    signing_keys: tuple[str, ...] = ()


class RenewCertificate(Command, frozen=True, tag="sync.renew_certificate"):
    """Give a node that came with a good certificate its next one; `early`: whatever of its life is left."""

    node_id: str
    replaces: str
    serial: str
    key_hash: str
    certificate: str
    at: datetime
    not_after: datetime
    early: bool = False


class RecogniseCertificate(Command, frozen=True, tag="sync.recognise_certificate"):
    """Take a certificate up that this authority gave out after the copy from which the tower was put back."""

    node_id: str
    serial: str
    key_hash: str
    certificate: str
    issued_at: datetime
    not_after: datetime


class TakeUpCertificate(Command, frozen=True, tag="sync.take_up_certificate"):
    """Note that a node uses its new certificate."""

    serial: str
    at: datetime


class ReportClone(Command, frozen=True, tag="sync.report_clone"):
    """Report that two hosts act as one node."""

    node_id: str
    serial: str
    why: str
    at: datetime


class RevokeNode(Command, frozen=True, tag="sync.revoke_node"):
    """Cut a node off at once and for ever, with a reason."""

    node_id: str
    reason: str


class NoteNodeSeen(Command, frozen=True, tag="sync.note_node_seen"):
    """Note when a node was last heard of, and which run of which enrolment it was."""

    node_id: str
    code_id: str
    starts: int
    run: str
    at: datetime


class NoteAuthority(Command, frozen=True, tag="sync.note_authority"):
    """Note that the authority was replaced."""

    authority: str
    before: str
    at: datetime
    ends_at: datetime


class NoteAuthorityEnded(Command, frozen=True, tag="sync.note_authority_ended"):
    """Note that the authority before this one counts no more."""

    authority: str
    at: datetime


# --- Refusals of codes --------------------------------------------------------------


class CodeUnknown(Forbidden):
    """There is no such enrolment code."""

    todo = "Compare the code with the tower's page, or issue a new one there."


class CodeExpired(Forbidden):
    """The enrolment code is past its hour."""

    todo = "Issue a new one on the tower's page."


class CodeUsed(Forbidden):
    """The enrolment code was used already, by another key."""

    todo = "Issue a new one. If nobody of yours used it, revoke the node that it enrolled."


class CodeTakenBack(Forbidden):
    """The enrolment code was taken back."""

    todo = "Issue a new one on the tower's page."


class CodeExists(Conflict):
    """There is already a code with this id or secret."""


class CodeNotFound(NotFound):
    """There is no such code."""


# --- Refusals of nodes --------------------------------------------------------------


class NodeNotFound(NotFound):
    """There is no such node."""


class NodeOfOtherSite(Conflict):
    """The node belongs to another site."""


class NoCertificate(Forbidden):
    """This address is for enrolled nodes; the connection shows no certificate."""

    todo = "Enrol: coldgrid node join."


class CertificateUnknown(Forbidden):
    """The certificate is not in the tower's table of enrolled nodes."""

    todo = "Enrol again with a new code; a tower restored from a backup forgets certificates given out since."


class CertificateMisnamed(Forbidden):
    """The certificate does not say what the tower wrote down of it."""


class AuthorityOutlived(Forbidden):
    """The certificate is of an authority that was replaced and counts no more."""

    todo = "Issue a new code for this node on the tower's page."


class RunNotNamed(Forbidden):
    """The request does not say which start of the node's program sends it."""

    todo = "Send the header coldgrid-run; the node's own client does."


class CertificateExpired(Forbidden):
    """The certificate has expired."""

    todo = "Renew it: within the days of grace the node does so by itself, later it needs a new code."


class CertificateLapsed(Forbidden):
    """The certificate expired so long ago that its key is no proof any more."""

    todo = "Issue a new code for this node on the tower's page."


class CertificateSuperseded(Forbidden):
    """A newer certificate of this node is in use; who holds this one is a copy, or came from a backup."""

    todo = "Find out which host is the real one, revoke the node or issue it a new code."


class NodeCutOff(Forbidden):
    """The node was revoked."""

    todo = "Enrol its site's host as a new node."


class NodeCloned(Forbidden):
    """Another host acts with this node's key, or this one was restored from a copy."""

    todo = "Find out which host is the real one; issue a new code for it, or revoke the node."


class RenewedTooEarly(Conflict):
    """The certificate is not yet half through its life."""


class CertificateExists(Conflict):
    """There is already a certificate with this serial number."""


# --- Refusals about the authority -----------------------------------------------------


class AuthorityBeingReplaced(Conflict):
    """The authority was replaced already, and the one before it still counts."""

    todo = "End the one before first: coldgrid tower rotate-ca --now."


class NoAuthorityToEnd(Conflict):
    """There is one authority only: none was replaced, or the one before counts no more."""

    todo = "Replace it first: coldgrid tower rotate-ca."


class AuthorityAtItsEnd(Conflict):
    """The authority has come to its end, and nobody believes what it would say of a new one."""

    todo = "Stop the tower, remove the authority's file, start it, and let every node join again."
