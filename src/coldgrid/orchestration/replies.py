"""What comes back from a gateway: a person answered a page. The token in the address proves that it is ours.

The gateway is given `…/api/v1/replies/TOKEN`; the token is made of a secret of the installation, so that
nobody else can acknowledge a page. A gateway may also name the page that it answers, by its key.
"""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, NotFound, Problem
from coldgrid.orchestration.escalation import AcknowledgePage, Page, get_page, page_of_code
from coldgrid.orchestration.paging import read_reply

TOKEN_LENGTH = 32
YES, NO = frozenset({"1", "yes", "y", "take"}), frozenset({"2", "no", "n", "cannot"})


class ReplyTokenWrong(NotFound):
    """There is no such address."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply as gateways send it: what was typed, or the digit pressed, and which message it answers."""

    text: str = ""
    digits: str = ""
    key: str = ""
    sender: str = ""
    channel: str = "sms"


# Other names that gateways use for the same things.
NAMES = {
    "text": ("text", "body", "message", "content"),
    "digits": ("digits", "dtmf", "keypress"),
    "key": ("key", "page_id", "client_ref", "reference"),
    "sender": ("sender", "from", "msisdn"),
    "channel": ("channel", "kind"),
}


def reply_token(secret: str) -> str:
    """The token of an installation's reply address."""
    return hmac(secret.encode(), b"coldgrid replies", sha256).hexdigest()[:TOKEN_LENGTH]


def check_token(secret: str, token: str) -> None:
    """Refuse an address whose token is not ours, or every one where there is no secret.

    Raises:
        ReplyTokenWrong: it is not.
    """
    if not secret or not compare_digest(reply_token(secret).encode(), token.encode()):
        raise ReplyTokenWrong()


def reply_of(fields: dict[str, str]) -> Reply:
    """Read a reply under the names that gateways give its parts."""
    lower = {name.lower(): value for name, value in fields.items()}
    told = {
        ours: next((lower[name] for name in theirs if lower.get(name)), "") for ours, theirs in NAMES.items()
    }
    return Reply(**{name: value for name, value in told.items() if value})


def answer_of(db: Reader, reply: Reply) -> AcknowledgePage:
    """The command that a reply means.

    Raises:
        Invalid: it names no page, or is neither yes nor no.
        PageNotFound: no page has its code or key.
    """
    if reply.key:
        return _answer(get_page(db, reply.key), _takes_it(reply.digits or reply.text), reply.channel)
    read = read_reply(reply.text)
    if read is None:
        message = "names no page"
        raise Invalid(problems=[Problem(field="text", message=message, fix="answer YES and the code")])
    code, takes_it = read
    return _answer(page_of_code(db, code), takes_it, reply.channel)


def _takes_it(text: str) -> bool:
    words = text.lower().split()
    if any(word in NO for word in words):
        return False
    if any(word in YES for word in words):
        return True
    raise Invalid(
        problems=[Problem(field="text", message="is neither yes nor no", fix="1 for yes, 2 for no")]
    )


def _answer(page: Page, takes_it: bool, channel: str) -> AcknowledgePage:
    return AcknowledgePage(site_id=page.site_id, page_id=page.page_id, takes_it=takes_it, via=channel[:20])
