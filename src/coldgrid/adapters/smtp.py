"""E-mail by SMTP. It wakes nobody; it is the channel for what may wait until the morning.

The Message-ID is made of the effect's key, so that a message that was sent twice is one to mail programs.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

import msgspec

from coldgrid.kernel.outbox import Effect, Permanent, Receipt, Retryable

TIMEOUT_S = 15.0
SUBJECT_MAX = 200


class Server(msgspec.Struct, frozen=True):
    """A mail server. `security`: `tls` from the start, `starttls`, or `none` (on the same machine)."""

    host: str
    port: int
    security: str
    user: str = ""
    password: str = ""


def server_of(url: str) -> Server:
    """Read `smtp://[user:password@]host[:port]` (plain), `smtp+starttls://` or `smtps://`.

    Raises:
        ValueError: it is none of these.
    """
    parts = urlsplit(url)
    defaults = {"smtp": (25, "none"), "smtp+starttls": (587, "starttls"), "smtps": (465, "tls")}
    if parts.scheme not in defaults or not parts.hostname:
        raise ValueError("a mail server is smtp://, smtp+starttls:// or smtps:// and a host")
    port, security = defaults[parts.scheme]
    return Server(
        parts.hostname,
        parts.port or port,
        security,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


class SmtpChannel:
    """Sends effects as e-mail: payload `to`, `subject`, `text`."""

    def __init__(
        self,
        server: Server,
        sender: str,
        now: Callable[[], datetime],
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._sender = sender
        self._now = now
        self._timeout_s = timeout_s
        self._tls = tls or ssl.create_default_context()

    def send(self, effect: Effect, key: str) -> Receipt:
        """Hand a message to the server.

        Raises:
            Permanent: the address or the message is refused for good (5xx), or cannot be one.
            Retryable: the server is away, busy or refuses for now.
        """
        message = self._message(effect, key)
        try:
            with self._connect() as client:
                refused = client.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code = min((code for code, _ in error.recipients.values()), default=550)  # no recipient at all
            raise _refusal(code, str(error)) from error
        except smtplib.SMTPAuthenticationError as error:
            raise Retryable(f"the mail server does not take our password: {error.smtp_code}") from error
        except smtplib.SMTPResponseException as error:
            raise _refusal(error.smtp_code, str(error)) from error
        except (smtplib.SMTPException, OSError) as error:
            raise Retryable(f"{type(error).__name__}: {error}") from error
        assert not refused, "one recipient is either taken or raises"
        return Receipt(str(message["Message-ID"]))

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        client: smtplib.SMTP
        if server.security == "tls":
            client = smtplib.SMTP_SSL(server.host, server.port, timeout=self._timeout_s, context=self._tls)
        else:
            client = smtplib.SMTP(server.host, server.port, timeout=self._timeout_s)
        try:
            if server.security == "starttls":
                client.starttls(context=self._tls)
            if server.user:
                client.login(server.user, server.password)
        except BaseException:
            client.close()
            raise
        return client

    def _message(self, effect: Effect, key: str) -> EmailMessage:
        payload = effect.payload
        message = EmailMessage()
        domain = self._sender.rpartition("@")[2].rstrip(">") or "localhost"
        try:
            message["From"] = self._sender
            message["To"] = str(payload["to"])
            message["Subject"] = " ".join(str(payload.get("subject", "Coldgrid")).split())[:SUBJECT_MAX]
            message["Date"] = format_datetime(self._now())
            message["Message-ID"] = f"<{key}@{domain}>"
            message["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office replies stay away
        except (KeyError, ValueError) as error:
            raise Permanent(f"no e-mail can be made of it: {error}") from error
        message.set_content(str(payload.get("text", "")))
        return message


def _refusal(code: int, told: str) -> Permanent | Retryable:
    return Permanent(told) if code // 100 == 5 else Retryable(told)
