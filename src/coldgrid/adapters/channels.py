"""Which adapter carries which channel, by the settings. A channel that is not set up says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from coldgrid.adapters.dispatcher import NotConfigured
from coldgrid.adapters.siren import SirenChannel, broker_of
from coldgrid.adapters.sms import Gateway, GatewayChannel
from coldgrid.adapters.smtp import SmtpChannel, server_of
from coldgrid.adapters.webhook import WebhookChannel
from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.settings import Settings
from coldgrid.orchestration.replies import reply_token


def channels_of(settings: Settings, now: Callable[[], datetime], reply_url: str = "") -> dict[str, Channel]:
    """The adapter of every channel.

    Args:
        settings: Servers, templates and secrets.
        now: The system clock: receivers compare our timestamps with theirs.
        reply_url: The address `…/api/v1/replies`, under which the gateway for SMS and calls posts what people
            answer; the token that makes it ours is added here.

    Raises:
        ValueError: a setting cannot be what it should be; the message says which form it has.
    """
    channels: dict[str, Channel] = {
        "email": NotConfigured("COLDGRID_SMTP_URL"),
        "sms": NotConfigured("COLDGRID_SMS_URL"),
        "voice": NotConfigured("COLDGRID_SMS_URL"),
        "webhook": NotConfigured("COLDGRID_WEBHOOK_SECRET"),
        "siren": NotConfigured("COLDGRID_MQTT_URL"),
    }
    if settings.smtp_url:
        channels["email"] = SmtpChannel(server_of(settings.smtp_url), settings.smtp_from, now)
    if settings.sms_url:
        if reply_url and settings.webhook_secret:
            reply_url = f"{reply_url.rstrip('/')}/{reply_token(settings.webhook_secret)}"
        gateway = Gateway(settings.sms_url, settings.sms_body, settings.sms_header, reply_url)
        channels["sms"] = channels["voice"] = GatewayChannel(gateway)
    if settings.webhook_secret:
        secret = settings.webhook_secret
        channels["webhook"] = WebhookChannel(secret, now, allow_private=settings.webhook_private)
    if settings.mqtt_url and settings.siren_topic:
        channels["siren"] = SirenChannel(broker_of(settings.mqtt_url), settings.siren_topic)
    return channels
