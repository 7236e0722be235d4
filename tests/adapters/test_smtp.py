"""E-mail to a real SMTP server on the loopback."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest

from coldgrid.adapters.smtp import Server, SmtpChannel, server_of
from coldgrid.kernel.outbox import Effect, Permanent, Retryable
from tests.adapters.servers import Mailbox, mail_server
from tests.conftest import T0
from tests.ports import free_port


def mail(**payload: Any) -> Effect:
    told = {
        "to": "ana@example.com",
        "subject": "ATL1-FRZ1 warms",
        "text": "Shut the doors. −9.5 °C",
        **payload,
    }
    return Effect(channel="email", key="page-1", payload=told)


def channel(port: int, user: str = "", password: str = "") -> SmtpChannel:
    server = Server("127.0.0.1", port, "none", user, password)
    return SmtpChannel(server, "Coldgrid <alerts@cold.example>", lambda: T0, timeout_s=2)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", Server("mail.example", 25, "none")),
        ("smtp://127.0.0.1:2525", Server("127.0.0.1", 2525, "none")),
        ("smtp+starttls://ann:p%40ss@mail.example", Server("mail.example", 587, "starttls", "ann", "p@ss")),
        ("smtps://mail.example", Server("mail.example", 465, "tls")),
    ],
)
def test_addresses_of_servers(url: str, server: Server) -> None:
    assert server_of(url) == server


@pytest.mark.parametrize("url", ["mail.example:25", "http://mail.example", "smtp://"])
def test_what_is_no_mail_server(url: str) -> None:
    with pytest.raises(ValueError, match="mail server"):
        server_of(url)


def test_a_message_arrives_with_the_key_in_its_id() -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        receipt = channel(port).send(mail(subject="two\nlines"), "page-1")
    [envelope] = mailbox.messages
    message = message_from_bytes(envelope.content, policy=default)
    assert envelope.rcpt_tos == ["ana@example.com"]
    assert message["Subject"] == "two lines"
    assert message["Message-ID"] == receipt.reference == "<page-1@cold.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "−9.5 °C" in message.get_content()


def test_a_login_that_is_refused_may_be_right_later() -> None:
    mailbox = Mailbox()
    with mail_server(mailbox, authenticator=mailbox.login, auth_require_tls=False) as port:
        with pytest.raises(Retryable, match="password"):
            channel(port, "ann", "wrong").send(mail(), "page-1")
        channel(port, "ann", "right").send(mail(), "page-1")
    assert mailbox.users[-1] == "ann"
    assert len(mailbox.messages) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [("550 no such user", Permanent), ("450 try later", Retryable), ("452 full", Retryable)],
)
def test_a_refused_recipient(answer: str, error: type[Exception]) -> None:
    with mail_server(Mailbox({"ana@example.com": answer})) as port, pytest.raises(error):
        channel(port).send(mail(), "page-1")


@pytest.mark.parametrize("to", ["ana@example.com\nBcc: all@example.com", ""])
def test_an_address_that_is_none_is_never_sent_to(to: str) -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port, pytest.raises((Permanent, Retryable)):
        channel(port).send(mail(to=to), "page-1")
    assert mailbox.messages == []


def test_a_server_that_is_away_is_tried_again() -> None:
    with pytest.raises(Retryable):
        channel(free_port()).send(mail(), "page-1")


def test_a_server_without_the_tls_it_should_have_gets_nothing() -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        secure = SmtpChannel(Server("127.0.0.1", port, "starttls"), "a@cold.example", lambda: T0, timeout_s=2)
        with pytest.raises(Retryable, match="STARTTLS"):
            secure.send(mail(), "page-1")
    assert mailbox.messages == []
