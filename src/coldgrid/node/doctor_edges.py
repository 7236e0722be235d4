"""What the doctor looks at outside: settings, ports, the broker, gateways for messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from coldgrid.adapters import probes
from coldgrid.adapters.siren import broker_of
from coldgrid.adapters.smtp import server_of
from coldgrid.node.doctor import Finding, Patient, fail, ok, warn

LOOPBACK = ("127.", "localhost", "::1")


def check_settings(patient: Patient) -> Iterator[Finding]:
    """Look for settings that contradict each other."""
    settings = patient.settings
    public = urlsplit(settings.public_url)
    local = settings.public_url.partition("://")[2].startswith(LOOPBACK)
    messages = bool(settings.smtp_url or settings.sms_url)
    wrong = False
    if messages and local:
        wrong = True
        yield warn(
            "settings: COLDGRID_PUBLIC_URL",
            settings.public_url,
            "Links in messages lead to the reader's own machine.",
            "Set it to the address at which people reach this host.",
        )
    if public.scheme == "https" and not settings.secure_cookies:
        wrong = True
        yield warn(
            "settings: COLDGRID_SECURE_COOKIES",
            "off behind an https address",
            "A session's cookie would also be sent in the clear.",
            "Set it to 1.",
        )
    if not settings.host.startswith(LOOPBACK) and public.scheme != "https":
        wrong = True
        yield warn(
            "settings: COLDGRID_HOST",
            f"{settings.host}, and people come by {public.scheme or 'no address'}",
            "Passwords go over the network in the clear.",
            "Put a TLS proxy in front, listen on 127.0.0.1, and set COLDGRID_PUBLIC_URL to https://….",
        )
    if not wrong:
        yield ok("settings", "no contradiction found")


def _nobody_listens(patient: Patient, name: str, place: str) -> Finding:
    """Tell what a port without a listener means; a tower may serve without one for nodes (`serve`)."""
    if not patient.serving:
        return ok(f"port: {name}", f"{place} is free")
    if name == "COLDGRID_SYNC_PORT":
        return ok(f"port: {name}", f"{place}: nobody listens; the host serves without a port for nodes")
    return warn(
        f"port: {name}",
        f"{place}: nobody listens, though the host serves",
        "People do not reach it there: it was started with another port, or does not listen yet.",
        f"Set {name} as the host has it (its --port wins); is it the same, look at its log.",
    )


def _people_come_to(patient: Patient) -> tuple[str, int]:
    """Return where the pages are: where the host says that it listens, else what the settings here say."""
    health, settings = patient.health, patient.settings
    if health is not None and health.listens_port:
        return health.listens_host, health.listens_port
    return settings.host, settings.port


def _set_otherwise(patient: Patient) -> str:
    here = (patient.settings.host, patient.settings.port)
    told = f"; the settings here say {here[0]}:{here[1]}, and the host was started otherwise"
    return "" if _people_come_to(patient) == here else told


def check_ports(patient: Patient) -> Iterator[Finding]:
    """Tell whether the host answers, or could listen."""
    settings = patient.settings
    wanted = [("COLDGRID_PORT", *_people_come_to(patient))]
    if patient.role == "tower" and settings.sync_port:
        wanted.append(("COLDGRID_SYNC_PORT", settings.sync_host, settings.sync_port))
    for name, host, port in wanted:
        place = f"{host}:{port}"
        why = probes.port_is_free(host, port)
        if not why:
            yield _nobody_listens(patient, name, place)
        elif patient.serving and name == "COLDGRID_PORT":
            wrong = probes.serves(f"http://{host}:{port}")
            if wrong:
                means = "The host holds its database and does not answer people."
                yield fail(f"port: {name}", f"{place}: {wrong}", means, "Look at its log.")
            else:
                yield ok(f"port: {name}", f"{place} answers{_set_otherwise(patient)}")
        elif patient.serving:
            yield ok(f"port: {name}", f"{place} is taken, as it should be while the host serves")
        else:
            yield fail(
                f"port: {name}",
                f"{place}: {why}",
                "The host could not listen here.",
                f"Stop what listens there, or set {name} to another port.",
            )


def check_broker(patient: Patient) -> Iterator[Finding]:
    """Sign in at the broker and subscribe to the readings, in a session of our own."""
    if not patient.settings.mqtt_url:
        yield ok("broker", "none is set")
        return
    try:
        broker = broker_of(patient.settings.mqtt_url)
    except ValueError as error:
        todo = "Write it as mqtt://user:password@host:port."
        yield fail("broker", str(error), "COLDGRID_MQTT_URL is no address of a broker.", todo)
        return
    place = f"{broker.host}:{broker.port}"
    name = f"{patient.settings.mqtt_client_id}-doctor-{os.getpid()}"
    wrong = probes.broker_lets_in(broker, "coldgrid/+/readings/#", name)
    if wrong:
        yield fail(
            "broker",
            f"{place}: {wrong}",
            "Readings by MQTT do not arrive, and sirens are not heard.",
            "Look whether the broker runs, at the firewall, at user and password, and at its access list.",
        )
    else:
        yield ok("broker", f"{place} lets us in and subscribe")


def check_gateways(patient: Patient) -> Iterator[Finding]:
    """Reach the mail server and the gateway for SMS; no message is sent."""
    settings = patient.settings
    means = "Pages over this channel do not leave; they wait and go to the next channel of the person."
    if settings.smtp_url:
        try:
            wrong = probes.mail_server_lets_in(server_of(settings.smtp_url))
        except ValueError as error:
            wrong = str(error)
        if wrong:
            yield fail("mail server", wrong, means, "Look at COLDGRID_SMTP_URL and at the server.")
        else:
            yield ok("mail server", "lets us in")
    else:
        yield ok("mail server", "none is set")
    if settings.sms_url:
        wrong = probes.gateway_answers(settings.sms_url)
        if wrong:
            yield fail("SMS gateway", wrong, means, "Look at COLDGRID_SMS_URL, and at the line.")
        else:
            yield ok("SMS gateway", "answers; no message was sent")
    else:
        yield ok("SMS gateway", "none is set")
