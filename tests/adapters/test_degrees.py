"""What is sent to a person about an incident is in the unit that they read; what is data stays in °C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from coldgrid.access.degrees import ChooseUnit, ReadUnit
from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson
from coldgrid.adapters.degrees import told
from coldgrid.adapters.dispatcher import Dispatcher
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.outbox import Effect, Receipt, ReportEffect, get_effect, payload_of
from coldgrid.kernel.reading import Reader
from tests.conftest import Kernel

TEXT = "ATL1-FRZ1 is too warm: -12.3 °C, above -18.0 °C for 5 min, +1.0 °C/h. Reply YES 4ABCD to take it."
IN_F = "ATL1-FRZ1 is too warm: 9.9 °F, above -0.4 °F for 5 min, +1.8 °F/h. Reply YES 4ABCD to take it."


class Taken:
    """A channel that takes everything."""

    def __init__(self) -> None:
        self.sent: dict[str, dict[str, Any]] = {}

    def send(self, effect: Effect, key: str) -> Receipt:
        self.sent[key] = effect.payload
        return Receipt("taken")


@pytest.fixture
def people(kernel: Kernel) -> None:
    for person_id in ("ana", "ben"):
        kernel.do(AddPerson(person_id=person_id, name=person_id, login=person_id, roles=[Role.OPERATOR]))


def chooses(kernel: Kernel, person_id: str, unit: ReadUnit) -> None:
    kernel.do(ChooseUnit(unit=unit), person_id)


def sent(
    kernel: Kernel, subject: str | None, *, usual: str, channel: str = "sms", about: str = "incident/i1"
) -> dict[str, Any]:
    payload = {"to": "x", "subject": TEXT, "text": TEXT, "code": "4ABCD", "data": {"title": TEXT}}
    effect = Effect(channel=channel, key="k1", payload=payload, subject=subject, about=about)
    kernel.decider.within(SYSTEM, "ATL1", lambda tx: tx.emit(effect), "test")
    taken = Taken()

    @contextmanager
    def lend() -> Iterator[Reader]:
        yield kernel.reader()

    def report(command: ReportEffect) -> None:
        kernel.decider.do(command)

    line = Dispatcher({channel: taken}, lend, report, kernel.host.now, unit=lambda db: usual)
    assert line.step(channel) == 1
    kept = payload_of(kernel.reader(), get_effect(kernel.reader(), "k1"))
    assert kept == payload, "what waits in the outbox is as it was recorded"
    return taken.sent["k1"]


@pytest.mark.parametrize("channel", ["email", "sms", "voice", "webhook"])
def test_a_person_who_reads_fahrenheit_is_told_in_fahrenheit(
    kernel: Kernel, people: None, channel: str
) -> None:
    chooses(kernel, "ana", ReadUnit.FAHRENHEIT)
    message = sent(kernel, "ana", usual="c", channel=channel)
    assert (message["subject"], message["text"]) == (IN_F, IN_F)
    assert message["data"] == {"title": TEXT}, "data stays in °C"
    assert message["code"] == "4ABCD"


def test_who_chose_nothing_is_told_in_the_network_s_unit(kernel: Kernel, people: None) -> None:
    chooses(kernel, "ana", ReadUnit.CELSIUS)
    assert sent(kernel, "ben", usual="f")["text"] == IN_F


def test_who_chose_celsius_is_told_in_celsius_in_a_network_that_reads_fahrenheit(
    kernel: Kernel, people: None
) -> None:
    chooses(kernel, "ana", ReadUnit.CELSIUS)
    assert sent(kernel, "ana", usual="f")["text"] == TEXT


def test_a_system_is_told_in_celsius(kernel: Kernel) -> None:
    assert sent(kernel, None, usual="f", channel="webhook")["text"] == TEXT


def test_what_a_customer_ordered_keeps_its_name(kernel: Kernel) -> None:
    assert sent(kernel, "customer-1", usual="f", channel="email", about="order/o1")["text"] == TEXT


def test_a_text_without_degrees_and_its_minus_signs_stay_as_they_are() -> None:
    assert told("Zone A-1 at −5 V, code 2-ABC", "f") == "Zone A-1 at −5 V, code 2-ABC"
    assert told("A −12.3 °C beside", "f") == "A 9.9 °F beside"
    assert told("B-7 is −40 °C, or -40", "f") == "B-7 is −40 °F, or −40"
    assert told("18 °C", "c") == "18 °C"
