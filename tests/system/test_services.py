"""The mail server and the broker go away and come back: work goes on, and the health page says so."""

from __future__ import annotations

from datetime import timedelta
from html import unescape
from pathlib import Path

from coldgrid.adapters.channels import channels_of
from coldgrid.kernel import outbox
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.outbox import Effect, EffectStatus
from coldgrid.kernel.settings import load_settings
from coldgrid.kernel.tx import Tx
from tests.adapters.servers import Mailbox, mail_server
from tests.conftest import T0
from tests.patience import eventually
from tests.ports import free_port
from tests.system import bodies
from tests.system.served import AIR, Sent, System, running
from tests.telemetry.broker import Proxy, forget_sessions


def health(system: System) -> str:
    response = system.client.get("/health")
    assert response.status_code == 200
    return unescape(response.text)


def work_goes_on(system: System, number: int) -> bool:
    """Orders and readings are taken, and durable when they are answered."""
    order = {
        "channel": "web",
        "channel_order_id": f"again-{number}",
        "ship_to": {"region": "GA", "lat": 33.75, "lon": -84.39},
        "lines": [{"line_no": 1, "product_id": "ICE-VAN-1L", "qty": 1}],
    }
    at = f"2026-03-01T07:{number:02}:00Z"
    reading = {"sensor_id": AIR, "at": at, "value": -21.5}
    before = system.last_position()
    answers = system.post_all(
        [
            Sent("/api/v1/orders", bodies.written(order)),
            Sent("/api/v1/readings", bodies.written(reading)),
        ]
    )
    assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
    assert answers[1].json()["result"]["stored"] == 1
    return system.last_position() > before


def send_mail(system: System) -> None:
    """Put a mail in the outbox, as a fact's consequence would."""

    def emit(tx: Tx) -> None:
        payload = {"to": "ana@example.com", "subject": "Too warm", "text": "ATL1-FRZ1 is too warm"}
        tx.emit(Effect(channel="email", key="mail-1", payload=payload))

    system.tower.service.call(lambda decider: decider.within(SYSTEM, "ATL1", emit, "test")).result(30)


def mails(system: System, status: EffectStatus) -> int:
    with system.tower.reader() as db:
        return outbox.effect_counts(db).get(("email", status), 0)


def test_mail_waits_for_its_server_while_everything_else_goes_on(tmp_path: Path) -> None:
    port = free_port()
    settings = load_settings({}, smtp_url=f"smtp://127.0.0.1:{port}")
    mailbox = Mailbox()
    with running(tmp_path, channels=channels_of(settings, lambda: T0)) as system:
        send_mail(system)
        eventually(lambda: "Effects that are being retried" in health(system))
        page = health(system)
        assert "Failing" in page[page.index("channel email") :][:400]
        assert work_goes_on(system, 1)
        assert mails(system, EffectStatus.DEAD) == 0
        with mail_server(mailbox, port):
            system.host.instant += timedelta(hours=1)
            eventually(lambda: len(mailbox.messages) == 1)
            eventually(lambda: mails(system, EffectStatus.PENDING) == 0)
            page = health(system)
            assert "Working" in page[page.index("channel email") :][:400]
            assert "Effects that are being retried" not in page
        assert work_goes_on(system, 2)


def test_the_broker_is_cut_off_and_comes_back_while_everything_else_goes_on(tmp_path: Path) -> None:
    proxy = Proxy()
    client_id = f"coldgrid-system-{proxy.port}"
    try:
        with running(
            tmp_path,
            mqtt_url=f"mqtt://127.0.0.1:{proxy.port}",
            mqtt_client_id=client_id,
            mqtt_connections=2,
        ) as system:
            eventually(lambda: "2 of 2 connections up" in health(system))
            proxy.cut()
            eventually(lambda: "0 of 2 connections up" in health(system))
            page = health(system)
            assert "Failing" in page[page.index("readings by MQTT") :][:400]
            assert work_goes_on(system, 2)
            proxy.mend()
            eventually(lambda: "2 of 2 connections up" in health(system))
            assert work_goes_on(system, 3)
    finally:
        proxy.cut()
        forget_sessions(client_id, 2)
