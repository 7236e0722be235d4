"""Real servers on the loopback: mail, HTTP and the machine's broker."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from tests.conftest import service_missing
from tests.ports import free_port

MQTT = os.environ.get("COLDGRID_TEST_MQTT", "127.0.0.1:1883")


class Mailbox:
    """Takes mail; `answers` maps a recipient to what the server says instead."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        self.answers = answers or {}
        self.messages: list[Any] = []
        self.users: list[str] = []

    async def handle_RCPT(  # noqa: N802  # the name that aiosmtpd looks for
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.messages.append(envelope)
        return "250 OK"

    def login(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == b"right", handled=False)


@contextmanager
def mail_server(mailbox: Mailbox, port: int = 0, **options: Any) -> Iterator[int]:
    """Serve a mailbox; yields the port."""
    controller = Controller(mailbox, hostname="127.0.0.1", port=port or free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


class Request(NamedTuple):
    """A request that a server got."""

    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request], tuple[int, dict[str, str], bytes]]


@contextmanager
def http_server(answer: Answer) -> Iterator[tuple[int, list[Request]]]:
    """Serve POSTs; yields the port and the requests so far."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server looks for
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            requests.append(request)
            status, headers, answered = answer(request)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(answered))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answered)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # overrides
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def broker() -> str:
    """The machine's broker; skips where there is none."""
    host, _, port = MQTT.rpartition("/")[2].partition(":")
    try:
        socket.create_connection((host, int(port or 1883)), timeout=2).close()
    except OSError as error:
        service_missing(f"MQTT broker ({error})")
    return f"mqtt://{host}:{port or 1883}"
