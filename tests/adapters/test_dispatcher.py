"""The dispatcher between a real outbox and real servers: retries, dead letters, channels side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from coldgrid.adapters.channels import channels_of
from coldgrid.adapters.dispatcher import Dispatcher, NotConfigured, Rehearsal, waiting_in
from coldgrid.adapters.smtp import Server, SmtpChannel
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.outbox import (
    ATTEMPTS_MAX,
    Channel,
    Effect,
    EffectDelivered,
    EffectDied,
    EffectStatus,
    Permanent,
    Receipt,
    ReportEffect,
    Retryable,
    ReviveEffect,
    backoff_after,
    get_effect,
)
from coldgrid.kernel.personal import EraseSubject
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.settings import Settings
from coldgrid.orchestration.replies import reply_token
from tests.adapters.servers import Mailbox, http_server, mail_server
from tests.conftest import T0, Kernel
from tests.ports import free_port


class Recorded:
    """A channel that does as it is told."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, effect: Effect, key: str) -> Receipt:
        self.sent.append((key, effect.payload))
        if self.errors:
            raise self.errors.pop(0)
        return Receipt("taken")


def emit(kernel: Kernel, channel: str = "email", key: str = "k1", subject: str | None = None) -> None:
    effect = Effect(
        channel=channel,
        key=key,
        payload={"to": "ana@example.com", "subject": "S", "text": "T"},
        subject=subject,
        about="incident/i1",
    )
    kernel.decider.within(SYSTEM, "ATL1", lambda tx: tx.emit(effect), "test")


def dispatcher(kernel: Kernel, now: Callable[[], datetime] | None = None, **channels: Channel) -> Dispatcher:
    @contextmanager
    def lend() -> Iterator[Reader]:
        yield kernel.reader()

    def report(command: ReportEffect) -> None:
        kernel.decider.do(command)

    return Dispatcher(channels, lend, report, now or kernel.host.now)


def of_type(kernel: Kernel, type_: type[Any]) -> list[Any]:
    return [event for _, event in kernel.events() if isinstance(event, type_)]


def test_what_was_taken_is_on_record_and_not_sent_again(kernel: Kernel) -> None:
    channel = Recorded()
    line = dispatcher(kernel, email=channel)
    emit(kernel)
    assert line.step("email") == 1
    assert line.step("email") == 0
    assert len(channel.sent) == 1
    [delivered] = of_type(kernel, EffectDelivered)
    assert (delivered.key, delivered.reference, delivered.about) == ("k1", "taken", "incident/i1")
    [state] = line.states()
    assert (state.ok, state.sent, state.last_sent_at) == (True, 1, T0)
    kernel.rebuild()


@pytest.mark.parametrize("ahead", [timedelta(days=-400), timedelta(days=400)])
def test_retries_wait_by_the_system_clock_whatever_the_business_clock_does(
    kernel: Kernel, ahead: timedelta
) -> None:
    channel = Recorded(Retryable("busy"), Retryable("busy"))
    system = T0 + ahead
    line = dispatcher(kernel, lambda: system, email=channel)
    emit(kernel)
    assert line.step("email") == 1  # a fresh effect waits for no clock
    kernel.advance(60)  # a minute of the wall in a demo at sixty times real time
    assert line.step("email") == 0
    system += backoff_after(1)
    assert line.step("email") == 1
    assert get_effect(kernel.reader(), "k1").next_at == system + backoff_after(2)
    kernel.host.instant -= timedelta(days=1)
    system += backoff_after(2)
    assert line.step("email") == 1
    assert get_effect(kernel.reader(), "k1").status is EffectStatus.DELIVERED


def test_a_dead_letter_that_was_revived_is_sent_at_once(kernel: Kernel) -> None:
    channel = Recorded(Permanent("no such box"))
    line = dispatcher(kernel, lambda: T0 - timedelta(days=400), email=channel)
    emit(kernel)
    assert line.step("email") == 1
    kernel.do(ReviveEffect(origin="ATL1", key="k1", reason="the box is there now"))
    assert line.step("email") == 1
    assert get_effect(kernel.reader(), "k1").status is EffectStatus.DELIVERED


def test_the_same_key_is_put_and_sent_once(kernel: Kernel) -> None:
    channel = Recorded()
    emit(kernel)
    emit(kernel)
    assert dispatcher(kernel, email=channel).step("email") == 1
    assert [key for key, _ in channel.sent] == ["k1"]


def test_mail_waits_for_its_server_and_arrives_when_it_is_back(kernel: Kernel) -> None:
    port = free_port()
    server = Server("127.0.0.1", port, "none")
    line = dispatcher(kernel, email=SmtpChannel(server, "a@cold.example", kernel.host.now, timeout_s=2))
    emit(kernel)
    for attempt in (1, 2, 3):
        assert line.step("email") == 1
        assert line.step("email") == 0  # not before its time
        assert waiting_in(line.states()) == ["email"]
        kernel.advance(backoff_after(attempt) / timedelta(minutes=1))
    mailbox = Mailbox()
    with mail_server(mailbox, port):
        assert line.step("email") == 1
    assert len(mailbox.messages) == 1
    assert of_type(kernel, EffectDelivered)[0].attempts == 4
    assert waiting_in(line.states()) == []


def test_what_never_succeeds_is_a_dead_letter_that_a_person_may_revive(kernel: Kernel) -> None:
    channel = Recorded(*[Retryable("down")] * ATTEMPTS_MAX)
    line = dispatcher(kernel, email=channel)
    emit(kernel)
    for _ in range(ATTEMPTS_MAX):
        line.step("email")
        kernel.advance(11)
    [died] = of_type(kernel, EffectDied)
    assert (died.why, died.attempts) == ("down", ATTEMPTS_MAX)
    effect = get_effect(kernel.reader(), "k1")
    assert effect.status is EffectStatus.DEAD
    kernel.do(ReviveEffect(origin=effect.origin, key="k1", reason="the server is back"))
    assert line.step("email") == 1
    assert get_effect(kernel.reader(), "k1").status is EffectStatus.DELIVERED


def test_a_permanent_refusal_is_not_tried_again(kernel: Kernel) -> None:
    line = dispatcher(kernel, email=Recorded(Permanent("no such user")))
    emit(kernel)
    line.step("email")
    assert get_effect(kernel.reader(), "k1").status is EffectStatus.DEAD


def test_a_fault_of_an_adapter_is_a_failed_attempt(kernel: Kernel) -> None:
    line = dispatcher(kernel, email=Recorded(ZeroDivisionError("oops")))
    emit(kernel)
    line.step("email")
    assert get_effect(kernel.reader(), "k1").why == "ZeroDivisionError: oops"


def test_nothing_goes_to_a_person_who_was_erased(kernel: Kernel) -> None:
    channel = Recorded()
    line = dispatcher(kernel, email=channel)
    emit(kernel, subject="person-1")
    kernel.do(EraseSubject(subject="person-1", reason="asked for it"))
    line.step("email")
    assert channel.sent == []
    assert get_effect(kernel.reader(), "k1").why == "the person was erased"


def test_an_outcome_that_could_not_be_told_is_told_before_anything_is_sent_again(kernel: Kernel) -> None:
    channel = Recorded()
    refused = [OSError("the disk is full")]

    def report(command: ReportEffect) -> None:
        if refused:
            raise refused.pop()
        kernel.decider.do(command)

    @contextmanager
    def lend() -> Iterator[Reader]:
        yield kernel.reader()

    line = Dispatcher({"email": channel}, lend, report, kernel.host.now)
    emit(kernel)
    with pytest.raises(OSError, match="disk"):
        line.step("email")
    assert line.step("email") == 0
    assert len(channel.sent) == 1
    assert get_effect(kernel.reader(), "k1").status is EffectStatus.DELIVERED


def test_a_channel_that_hangs_delays_no_other(kernel: Kernel) -> None:
    hangs, arrived = threading.Event(), threading.Event()

    class Hanging:
        def send(self, effect: Effect, key: str) -> Receipt:
            hangs.wait(30)
            return Receipt("at last")

    class Quick:
        def send(self, effect: Effect, key: str) -> Receipt:
            arrived.set()
            return Receipt("at once")

    lock = threading.Lock()
    emit(kernel, "sms", "k1")
    emit(kernel, "email", "k2")

    @contextmanager
    def lend() -> Iterator[Reader]:
        with lock:  # the test's reader is the decider's own connection
            yield kernel.reader()

    def report(command: ReportEffect) -> None:
        with lock:
            kernel.decider.do(command)

    line = Dispatcher({"sms": Hanging(), "email": Quick()}, lend, report, kernel.host.now, poll_s=0.05)
    line.start()
    try:
        assert arrived.wait(5)
        assert {state.channel: state.sending for state in line.states()}["sms"] == 1
    finally:
        hangs.set()
        line.stop()
    assert get_effect(kernel.reader(), "k1").status is EffectStatus.DELIVERED


def test_a_channel_that_is_not_set_up_says_so_and_a_rehearsal_takes_everything(kernel: Kernel) -> None:
    emit(kernel, "sms", "k1")
    emit(kernel, "email", "k2")
    line = dispatcher(kernel, sms=NotConfigured("COLDGRID_SMS_URL"), email=Rehearsal())
    line.step("sms")
    line.step("email")
    assert "COLDGRID_SMS_URL" in get_effect(kernel.reader(), "k1").why
    assert get_effect(kernel.reader(), "k2").status is EffectStatus.DELIVERED


class TestSettings:
    def test_nothing_is_set_up_by_default(self) -> None:
        channels = channels_of(Settings(), lambda: T0)
        assert set(channels) == {"email", "sms", "voice", "webhook", "siren"}
        assert all(isinstance(channel, NotConfigured) for channel in channels.values())

    def test_every_channel_from_its_settings(self) -> None:
        settings = Settings(
            smtp_url="smtp://mail.example",
            sms_url="https://gateway.example/{to}",
            webhook_secret="whsec_" + "a" * 43 + "=",
            mqtt_url="mqtt://127.0.0.1",
        )
        channels = channels_of(settings, lambda: T0, "https://cold.example/replies")
        assert not [name for name, channel in channels.items() if isinstance(channel, NotConfigured)]
        assert channels["sms"] is channels["voice"]

    def test_the_gateway_is_told_where_replies_go_under_a_token_of_ours(self) -> None:
        secret = "whsec_" + "a" * 43 + "="
        with http_server(lambda request: (200, {}, b"")) as (port, requests):
            settings = Settings(
                sms_url=f"http://127.0.0.1:{port}/", sms_body='{"cb": "{reply_url}"}', webhook_secret=secret
            )
            channels = channels_of(settings, lambda: T0, "https://cold.example/api/v1/replies")
            effect = Effect(channel="sms", key="k", payload={"to": "+14045550101", "text": "x"})
            channels["sms"].send(effect, "k")
        told = msgspec.json.decode(requests[0].body)["cb"]
        assert told == f"https://cold.example/api/v1/replies/{reply_token(secret)}"

    def test_a_setting_that_cannot_be_is_refused_at_the_start(self) -> None:
        with pytest.raises(ValueError, match="mail server"):
            channels_of(Settings(smtp_url="mail.example"), lambda: T0)
