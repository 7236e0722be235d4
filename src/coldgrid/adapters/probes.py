"""Probes: whether what is outside answers, and lets us in. Nothing is sent that anybody would read.

Each returns how it went in words; an empty text means that all is well.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import httpx
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from coldgrid.adapters.siren import Broker
from coldgrid.adapters.smtp import Server

TIMEOUT_S = 5.0


def port_is_free(host: str, port: int) -> str:
    """Tell why we could not listen here; empty where we could."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def answers(host: str, port: int, *, tls: bool = False) -> str:
    """Connect and hang up, with a TLS handshake where it is asked for; return what went wrong."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as link:
            if tls:
                with ssl.create_default_context().wrap_socket(link, server_hostname=host):
                    pass
    except (OSError, ssl.SSLError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def gateway_answers(url: str) -> str:
    """Connect to where an HTTP gateway is; no request is made, so no message can come of it."""
    parts = urlsplit(url.partition("{")[0])
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "the address is not http:// or https:// and a host"
    tls = parts.scheme == "https"
    return answers(parts.hostname, parts.port or (443 if tls else 80), tls=tls)


def serves(address: str) -> str:
    """Ask a host at an address whether it is alive; return what went wrong."""
    try:
        response = httpx.get(f"{address}/healthz", timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    return "" if response.status_code == 200 else f"it answers {response.status_code}"


def mail_server_lets_in(server: Server) -> str:
    """Greet a mail server, encrypt and sign in as the settings say, and leave; return what went wrong."""
    context = ssl.create_default_context()
    client: smtplib.SMTP
    try:
        if server.security == "tls":
            client = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
        else:
            client = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
        with client:
            if server.security == "starttls":
                client.starttls(context=context)
            if server.user:
                client.login(server.user, server.password)
            client.noop()
    except smtplib.SMTPAuthenticationError as error:
        return f"it does not take our password: {error.smtp_code}"
    except (smtplib.SMTPException, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def broker_lets_in(broker: Broker, topic: str, client_id: str) -> str:
    """Connect to a broker under a name of the probe's own, and subscribe; return what went wrong.

    The session is a clean one: none that the broker keeps for a host is touched.
    """
    done, told = threading.Event(), [f"no answer within {TIMEOUT_S:g} s"]
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
    if broker.user:
        client.username_pw_set(broker.user, broker.password)
    if broker.tls:
        client.tls_set_context(ssl.create_default_context())

    def connected(one: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if getattr(reason, "is_failure", False):
            told[0] = f"it does not let us in: {reason}"
            done.set()
        else:
            one.subscribe(topic, qos=1)

    def subscribed(one: Client, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        refused = [str(reason) for reason in reasons if getattr(reason, "is_failure", False)]
        told[0] = f"it does not let us subscribe to {topic}: {', '.join(refused)}" if refused else ""
        done.set()

    client.on_connect = connected
    client.on_subscribe = subscribed
    try:
        client.connect(broker.host, broker.port, keepalive=10)
        client.loop_start()
        done.wait(TIMEOUT_S)
        client.disconnect()
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        client.loop_stop()
    return told[0]
