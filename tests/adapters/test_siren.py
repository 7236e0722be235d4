"""Sirens on the machine's MQTT broker."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from coldgrid.adapters.siren import Broker, SirenChannel, broker_of
from coldgrid.kernel.outbox import Effect, Permanent, Retryable
from tests.adapters.servers import broker
from tests.ports import free_port

PREFIX = f"coldgrid-test-{os.getpid()}/siren"


def switch(state: str, chain: str = "e1", to: str = "ATL1", **more: Any) -> Effect:
    payload = {"to": to, "state": state, "escalation_id": chain, "incident_id": "i1", **more}
    return Effect(channel="siren", key=f"{chain}-{state}", payload=payload)


@contextmanager
def listener(topic: str) -> Iterator[list[MQTTMessage]]:
    """A siren: hears the retained state when it comes, and what follows."""
    at = broker_of(broker())
    heard: list[MQTTMessage] = []
    ready = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda c, data, message: heard.append(message)
    client.on_subscribe = lambda *_: ready.set()
    client.connect(at.host, at.port)
    client.subscribe(topic, qos=1)
    client.loop_start()
    assert ready.wait(5)
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def siren() -> Iterator[SirenChannel]:
    at = broker_of(broker())
    yield SirenChannel(at, PREFIX, timeout_s=5)
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(at.host, at.port)
    client.loop_start()
    client.publish(f"{PREFIX}/ATL1", b"", qos=1, retain=True).wait_for_publish(5)  # forget the retained state
    client.disconnect()
    client.loop_stop()


def states(heard: list[MQTTMessage], count: int) -> list[Any]:
    for _ in range(200):
        if len(heard) >= count:
            break
        threading.Event().wait(0.02)
    return [msgspec.json.decode(message.payload)["state"] for message in heard]


def test_on_and_off_reach_a_siren(siren: SirenChannel) -> None:
    with listener(f"{PREFIX}/#") as heard:
        assert siren.send(switch("on"), "k1").reference == f"{PREFIX}/ATL1"
        siren.send(switch("off"), "k2")
        assert states(heard, 2) == ["on", "off"]
        told = msgspec.json.decode(heard[0].payload)
        assert told == {"state": "on", "escalation_id": "e1", "incident_id": "i1", "key": "k1"}


def test_a_siren_that_comes_later_hears_the_last_state(siren: SirenChannel) -> None:
    siren.send(switch("on"), "k1")
    with listener(f"{PREFIX}/ATL1") as heard:
        assert states(heard, 1) == ["on"]
        assert heard[0].retain


def test_an_on_that_was_overtaken_by_off_does_not_sound(siren: SirenChannel) -> None:
    siren.send(switch("off"), "k2")
    assert siren.send(switch("on"), "k1").reference == "overtaken by off"
    assert siren.send(switch("on", chain="e2"), "k3").reference == f"{PREFIX}/ATL1"


def test_one_chain_does_not_silence_the_siren_of_another(siren: SirenChannel) -> None:
    with listener(f"{PREFIX}/#") as heard:
        siren.send(switch("on"), "k1")
        siren.send(switch("on", chain="e2"), "k2")
        assert siren.send(switch("off"), "k3").reference == "sounds for e2"
        assert siren.send(switch("off", chain="e2"), "k4").reference == f"{PREFIX}/ATL1"
        assert states(heard, 3) == ["on", "on", "off"]


def test_a_program_that_restarted_learns_from_the_message_who_needs_the_siren(siren: SirenChannel) -> None:
    with listener(f"{PREFIX}/#") as heard:
        assert siren.send(switch("off", needed_by=["e2"]), "k1").reference == "sounds for e2"
        siren.send(switch("off", chain="e2"), "k2")
        assert states(heard, 1) == ["off"]


def test_an_off_that_was_late_silences_when_nobody_needs_the_siren_any_more(siren: SirenChannel) -> None:
    siren.send(switch("on"), "k1")
    siren.send(switch("on", chain="e2"), "k2")
    assert siren.send(switch("off", chain="e2"), "k3").reference == "sounds for e1"
    assert siren.send(switch("off", needed_by=["e2"]), "k4").reference == f"{PREFIX}/ATL1"


@pytest.mark.parametrize(
    "effect", [switch("maybe"), switch("on", to=""), switch("on", to="a/#"), switch("on", to="+")]
)
def test_what_is_no_switch_is_refused(effect: Effect) -> None:
    with pytest.raises(Permanent):
        SirenChannel(Broker("127.0.0.1", 1883), PREFIX).send(effect, "k")


def test_a_broker_that_is_away_is_tried_again() -> None:
    with pytest.raises(Retryable):
        SirenChannel(Broker("127.0.0.1", free_port()), PREFIX, timeout_s=1).send(switch("on"), "k")


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("mqtt://127.0.0.1", Broker("127.0.0.1", 1883)),
        ("mqtts://a:b%21@mq.example", Broker("mq.example", 8883, "a", "b!", tls=True)),
    ],
)
def test_addresses_of_brokers(url: str, at: Broker) -> None:
    assert broker_of(url) == at


def test_what_is_no_broker() -> None:
    with pytest.raises(ValueError, match="mqtt"):
        broker_of("http://127.0.0.1")
