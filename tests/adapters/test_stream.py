"""The stream of events: everything the log has, in its order, once, whatever the broker does meanwhile."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
from nats.js.errors import NotFoundError

from coldgrid.adapters import stream_publisher
from coldgrid.adapters.stream import FanOut, broker_of
from coldgrid.adapters.stream_form import MSG_ID, OMITTED, message_of, subject_of
from coldgrid.adapters.stream_publisher import Broker, Means
from coldgrid.kernel import fan_out, log
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reader, Reads
from tests.conftest import T0, Kernel, service_missing, sqlite_kernel
from tests.network.master import small_network
from tests.ports import free_port

NATS = os.environ.get("COLDGRID_TEST_NATS", "nats://127.0.0.1:4222")
WITHIN_S = 60.0
BROKER_WITHIN_S = 30.0  # a stream is a file with a sync: slow where the disk is busy


@pytest.fixture
def broker() -> Iterator[Broker]:
    """The machine's broker, with a stream of this test's own."""
    address = NATS.rpartition("/")[2].partition(":")
    try:
        socket.create_connection((address[0], int(address[2])), timeout=2).close()
    except OSError as error:
        service_missing(f"NATS ({error})")
    made = broker_of(NATS, f"test{secrets.token_hex(6)}")
    yield made
    asyncio.run(delete(made))


async def delete(broker: Broker) -> None:
    client = await nats.connect(broker.servers)
    with suppress(NotFoundError):
        await client.jetstream(timeout=BROKER_WITHIN_S).delete_stream(broker.stream)
    await client.close()


async def on_stream(broker: Broker, work: Callable[[Any], Any]) -> Any:
    client = await nats.connect(broker.servers)
    try:
        return await work(client.jetstream(timeout=BROKER_WITHIN_S))
    finally:
        await client.close()


async def _held(broker: Broker) -> list[Any]:
    client = await nats.connect(broker.servers)
    js = client.jetstream(timeout=BROKER_WITHIN_S)
    count = (await js.stream_info(broker.stream)).state.messages
    subscription = await js.subscribe(f"{broker.prefix}.>", ordered_consumer=True)
    found = [await subscription.next_msg(timeout=20) for _ in range(count)]
    await client.close()
    return found


def held(broker: Broker) -> list[Any]:
    return asyncio.run(_held(broker))


def ids_of(messages: list[Any]) -> list[str]:
    return [message.headers[MSG_ID] for message in messages]


class Sender:
    """A log, and what publishes it."""

    def __init__(self, kernel: Kernel, broker: Broker) -> None:
        self.kernel = kernel
        self.broker = broker
        self.deciding = threading.Lock()
        self.fan_out = self.made()
        self.started = False

    def made(self) -> FanOut:
        @contextmanager
        def reader() -> Iterator[Reader]:
            with self.kernel.database.reader() as connection:
                yield Reads(connection)

        def confirmed() -> int:
            with reader() as db:
                return fan_out.confirmed(db, self.broker.destination)

        def confirm(position: int) -> None:
            self.take(lambda tx: fan_out.confirm(tx, self.broker.destination, position))

        return FanOut(Means(self.broker, reader, confirmed, confirm))

    def start(self) -> None:
        self.fan_out = self.made()
        self.fan_out.start()
        self.started = True

    def until(self, holds: Callable[[], bool]) -> None:
        until_s = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < until_s, self.fan_out.state
            time.sleep(0.02)

    def until_told(self, part: str) -> None:
        """Wait until its state is bad and says so; it is bad, too, before it has connected."""
        self.until(lambda: not self.fan_out.state.ok and part in self.fan_out.state.detail)

    def until_confirmed(self) -> None:
        self.until(lambda: self.fan_out.state.confirmed == self.last)

    @property
    def last(self) -> int:
        with self.kernel.database.reader() as connection:
            return log.last_position(Reads(connection))

    def expected(self) -> list[Entry]:
        with self.kernel.database.reader() as connection:
            return list(log.read_all(Reads(connection)))

    def grow(self, count: int, first: int = 0) -> None:
        """Append so many facts of two nodes."""
        [fact, *_] = [entry for entry in self.expected() if entry.type == "network.site_defined"]

        def work(tx: Any) -> None:
            for number in range(first, first + count):
                origin = f"N{number % 2}"
                log.append_verbatim(
                    tx.batch,
                    msgspec.structs.replace(
                        fact, origin=origin, epoch=1, seq=number // 2, stream=f"alarm/{number}"
                    ),
                )

        self.take(work)

    def take(self, work: Callable[[Any], None]) -> None:
        """Have it done one at a time, as by a host's one decider: the fan-out has a thread of its own."""
        with self.deciding:
            self.kernel.decider.take("network", work, "test")


@contextmanager
def sending(kernel: Kernel, broker: Broker) -> Iterator[Sender]:
    small_network(kernel)
    sender = Sender(kernel, broker)
    try:
        yield sender
    finally:
        if sender.started:
            sender.fan_out.stop()


@pytest.fixture
def sender(broker: Broker) -> Iterator[Sender]:
    with sqlite_kernel() as kernel, sending(kernel, broker) as made:
        yield made


# --- What a message is ------------------------------------------------------------


def test_a_message_says_where_it_is_from_and_what_it_is() -> None:
    entry = Entry(
        7, "ATL1", 2, 41, T0, T0, "alarm/x", "telemetry.alarm_raised", "ana", "", "", b'{"a":1}', b"\1"
    )
    message = message_of("coldgrid", entry, 1_000)
    assert message.subject == "coldgrid.ATL1.alarm.telemetry.alarm_raised"
    assert message.headers[MSG_ID] == message.headers["ce-id"] == "ATL1/2/41"
    assert message.headers["ce-type"] == "telemetry.alarm_raised"
    assert message.headers["ce-source"] == "/coldgrid/ATL1"
    assert message.headers["ce-time"] == "2026-03-01T08:00:00+00:00"
    told = msgspec.json.decode(message.body)
    assert (told["position"], told["seq"], told["body"], told["leaf"]) == (7, 41, {"a": 1}, "01")


def test_a_body_beyond_what_the_broker_takes_is_left_out_and_said_so() -> None:
    entry = Entry(
        7, "ATL1", 2, 41, T0, T0, "alarm/x", "t.y", "ana", "", "", b'"' + b"x" * 2_000 + b'"', b"\1"
    )
    message = message_of("coldgrid", entry, 1_000)
    assert message.headers[OMITTED] == "body"
    assert msgspec.json.decode(message.body)["body"] is None


def test_no_part_of_a_subject_can_be_more_than_one() -> None:
    assert subject_of("p", "A.*> B", "k i/x", "room.th>ing") == "p.A____B.k_i.room.th_ing"
    assert subject_of("p", "", "/x", "") == "p._._._"


@pytest.mark.parametrize("url", ["", "http://x", "nats://", "127.0.0.1:4222", "nats://a,mqtt://b"])
def test_an_address_that_is_none_is_refused_with_the_form(url: str) -> None:
    with pytest.raises(ValueError, match="COLDGRID_STREAM is nats://"):
        broker_of(url, "coldgrid")


@pytest.mark.parametrize("prefix", ["", "a..b", "a.*", "a b", ".a", "a>"])
def test_a_prefix_that_is_no_subject_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="COLDGRID_STREAM_PREFIX is words"):
        broker_of("nats://127.0.0.1", prefix)


# --- What arrives -----------------------------------------------------------------


def test_every_entry_arrives_once_in_the_order_of_the_log(kernel: Kernel, broker: Broker) -> None:
    with sending(kernel, broker) as sender:
        sender.grow(2_500)
        sender.start()
        sender.until_confirmed()
        sender.grow(7, 2_500)
        sender.until_confirmed()
        sender.fan_out.stop()
        messages = held(broker)
        assert ids_of(messages) == [entry.id for entry in sender.expected()]
        for message, entry in zip(messages, sender.expected(), strict=True):
            assert message.subject.startswith(f"{broker.prefix}.{entry.origin}.")
            assert msgspec.json.decode(message.data)["body"] == msgspec.json.decode(entry.body)
        with kernel.database.reader() as connection:
            assert fan_out.confirmed(Reads(connection), broker.destination) == sender.last


def test_after_a_restart_it_goes_on_behind_the_last_one_stored(sender: Sender) -> None:
    sender.start()
    sender.until_confirmed()
    sender.fan_out.stop()
    sender.grow(50)
    sender.start()
    sender.until_confirmed()
    sender.fan_out.stop()
    assert ids_of(held(sender.broker)) == [entry.id for entry in sender.expected()]


def test_a_lost_position_costs_no_second_copy(sender: Sender) -> None:
    """As when the database was put back from a copy: the stream itself says how far it is."""
    sender.grow(300)
    sender.start()
    sender.until_confirmed()
    sender.fan_out.stop()
    sender.take(lambda tx: fan_out.confirm(tx, sender.broker.destination, -1))
    sender.grow(5, 300)
    sender.start()
    sender.until_confirmed()
    sender.fan_out.stop()
    assert ids_of(held(sender.broker)) == [entry.id for entry in sender.expected()]


def test_a_tower_put_back_from_a_copy_goes_on_behind_what_the_copy_knew(sender: Sender) -> None:
    """The stream's last message is of a log that this tower no longer has."""
    sender.start()
    sender.until_confirmed()
    sender.fan_out.stop()
    known = sender.last
    sender.grow(10)
    sender.start()
    sender.until_confirmed()
    sender.fan_out.stop()
    before = [entry.id for entry in sender.expected()]
    with sqlite_kernel() as copy, sending(copy, sender.broker) as again:
        copy.decider.take("network", lambda tx: fan_out.confirm(tx, again.broker.destination, known), "test")
        again.grow(5, 1_000)
        again.start()
        again.until_confirmed()
        again.fan_out.stop()
        assert ids_of(held(again.broker)) == before + [entry.id for entry in again.expected()][-5:]


def test_what_the_broker_was_told_to_drop_is_not_sent_again(sender: Sender) -> None:
    sender.grow(100)
    sender.start()
    sender.until_confirmed()
    before = sender.last
    asyncio.run(on_stream(sender.broker, lambda js: js.purge_stream(sender.broker.stream)))
    sender.grow(10, 100)
    sender.until_confirmed()
    sender.fan_out.stop()
    assert ids_of(held(sender.broker)) == [e.id for e in sender.expected() if e.position > before]


def test_dropped_messages_and_a_lost_position_end_behind_what_the_broker_remembers(sender: Sender) -> None:
    sender.start()
    sender.until_confirmed()
    sender.fan_out.stop()
    asyncio.run(on_stream(sender.broker, lambda js: js.purge_stream(sender.broker.stream)))
    sender.take(lambda tx: fan_out.confirm(tx, sender.broker.destination, -1))
    sender.grow(3)
    sender.start()
    sender.until_confirmed()
    sender.fan_out.stop()
    assert (
        ids_of(held(sender.broker))
        == [e.id for e in sender.expected() if e.type == "network.site_defined"][-3:]
    )


def test_a_stream_that_was_deleted_is_made_again_and_gets_what_is_new(sender: Sender) -> None:
    sender.start()
    sender.until_confirmed()
    asyncio.run(delete(sender.broker))
    before = sender.last
    sender.grow(10)
    sender.until_confirmed()
    sender.fan_out.stop()
    assert ids_of(held(sender.broker)) == [e.id for e in sender.expected() if e.position > before]


def test_strangers_in_our_stream_cost_time_and_no_order(sender: Sender) -> None:
    sender.start()
    sender.until_confirmed()

    async def intrude(js: Any) -> None:
        await js.publish(f"{sender.broker.prefix}.stranger", b"x")

    for number in range(3):
        asyncio.run(on_stream(sender.broker, intrude))
        sender.grow(150, 150 * number)
        sender.until_confirmed()
    sender.fan_out.stop()
    ours = [message for message in held(sender.broker) if message.headers]
    assert ids_of(ours) == [entry.id for entry in sender.expected()]


def test_a_stream_of_our_name_with_other_subjects_is_left_alone_and_said_so(sender: Sender) -> None:
    broker = sender.broker

    async def taken(js: Any) -> None:
        await js.add_stream(name=broker.stream, subjects=[f"{broker.prefix}other.>"])

    asyncio.run(on_stream(broker, taken))
    sender.start()
    sender.until_told("choose another COLDGRID_STREAM_PREFIX")
    sender.fan_out.stop()
    info = asyncio.run(on_stream(broker, lambda js: js.stream_info(broker.stream)))
    assert info.state.messages == 0


# --- While the broker comes and goes ----------------------------------------------


class Proxy:
    """A line to the broker that can be cut in the middle of whatever is on it."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._carrying: list[threading.Thread] = []
        self.passed = 0
        self.cut_after = 0
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._ends += [client, server]
            for one, other in ((client, server), (server, client)):
                thread = threading.Thread(target=self._carry, args=(one, other, one is client), daemon=True)
                self._carrying.append(thread)
                thread.start()

    def _carry(self, one: socket.socket, other: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while data := one.recv(4_096):
                other.sendall(data)
                self.passed += len(data) if up else 0
                if up and self.cut_after and self.passed >= self.cut_after:
                    self.cut_after = 0
                    break
        _shut(one, other)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._serving.join(10)
        _shut(*self._ends)
        for thread in self._carrying:
            thread.join(10)
        for end in (*self._ends, self._listener):
            end.close()


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def test_a_line_that_is_cut_again_and_again_loses_and_doubles_nothing(sender: Sender) -> None:
    host, _, port = NATS.rpartition("/")[2].partition(":")
    proxy = Proxy((host, int(port)))
    direct, sender.broker = sender.broker, Broker([f"nats://127.0.0.1:{proxy.port}"], sender.broker.prefix)
    sender.grow(3_000)
    proxy.cut_after = 150_000
    sender.start()
    for number in range(1, 7):
        sender.until(lambda: not proxy.cut_after)
        sender.grow(500, 2_500 + 500 * number)
        proxy.cut_after = proxy.passed + 61_003 * number
    proxy.cut_after = 0
    sender.until_confirmed()
    sender.fan_out.stop()
    proxy.close()
    assert ids_of(held(direct)) == [entry.id for entry in sender.expected()]


@contextmanager
def own_server(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    binary = shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin") or ""
    if not binary:
        service_missing("nats-server")
    server = subprocess.Popen(
        [binary, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield server
    finally:
        server.kill()
        server.wait()


def test_a_broker_that_is_killed_is_told_and_waited_for(sender: Sender, tmp_path: Path) -> None:
    port = free_port()
    sender.broker = Broker([f"nats://127.0.0.1:{port}"], sender.broker.prefix)
    sender.start()
    sender.until_told(f"{sender.last + 1:,} entries wait, again in")
    with own_server(port, tmp_path):
        sender.until_confirmed()
        sender.grow(2_000)
        sender.until(lambda: sender.fan_out.state.sent > 200)
    sender.until(lambda: not sender.fan_out.state.ok)
    sender.grow(100, 2_000)
    with own_server(port, tmp_path):
        sender.until_confirmed()
        assert sender.fan_out.state.ok
        sender.fan_out.stop()
        assert ids_of(held(sender.broker)) == [entry.id for entry in sender.expected()]


def test_a_broker_that_goes_while_nothing_is_sent_is_told_too(sender: Sender, tmp_path: Path) -> None:
    port = free_port()
    sender.broker = Broker([f"nats://127.0.0.1:{port}"], sender.broker.prefix)
    with own_server(port, tmp_path):
        sender.start()
        sender.until_confirmed()
    sender.until_told("0 entries wait")


def test_a_broker_that_lost_what_it_confirmed_gets_it_again(sender: Sender, tmp_path: Path) -> None:
    """As after its power failed: it confirms before the disk has it, unless it is told otherwise."""
    port = free_port()
    sender.broker = Broker([f"nats://127.0.0.1:{port}"], sender.broker.prefix)
    now, copy = tmp_path / "now", tmp_path / "copy"
    sender.grow(100)
    with own_server(port, now):
        sender.start()
        sender.until_confirmed()
        sender.fan_out.stop()
    shutil.copytree(now, copy)
    sender.grow(200, 100)
    with own_server(port, now):
        sender.start()
        sender.until_confirmed()
        sender.fan_out.stop()
    with own_server(port, copy):
        sender.start()
        sender.until(lambda: sender.fan_out.state.sent >= 200)
        sender.until_confirmed()
        sender.fan_out.stop()
        assert ids_of(held(sender.broker)) == [entry.id for entry in sender.expected()]


def test_a_full_stream_keeps_what_is_newest_and_a_refusing_one_keeps_us_waiting(sender: Sender) -> None:
    broker = sender.broker

    async def small(js: Any) -> None:
        await js.add_stream(
            name=broker.stream, subjects=[f"{broker.prefix}.>"], max_msgs=20, discard="new", storage="memory"
        )

    asyncio.run(on_stream(broker, small))
    sender.grow(100)
    sender.start()
    sender.until(lambda: "maximum messages exceeded" in sender.fan_out.state.detail)
    assert sender.fan_out.state.confirmed < sender.last
    first = ids_of(held(broker))
    assert first == [entry.id for entry in sender.expected()][: len(first)]

    async def larger(js: Any) -> None:
        config = (await js.stream_info(broker.stream)).config
        await js.update_stream(config.evolve(max_msgs=10_000))

    asyncio.run(on_stream(broker, larger))
    sender.until_confirmed()
    sender.fan_out.stop()
    assert ids_of(held(broker)) == [entry.id for entry in sender.expected()]
    assert stream_publisher.CONFIRM_EVERY < stream_publisher.WINDOW
