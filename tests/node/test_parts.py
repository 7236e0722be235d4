"""What nodes are made of: errands, the folder, the line with a switch, rows that move house."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from coldgrid.adapters.wan_switch import WanSwitch
from coldgrid.kernel import hosting, luggage, timers
from coldgrid.kernel.outbox import Effect, kernel_outbox
from coldgrid.kernel.reading import count_of
from coldgrid.kernel.rejections import Conflict, Invalid
from coldgrid.kernel.timers import Timer, kernel_timer
from coldgrid.kernel.tx import Tx
from coldgrid.node import background, errands
from coldgrid.node.background import Loop
from coldgrid.node.errands import Answered, Asked, Errands
from coldgrid.node.folder import keep_settings, settings_in
from coldgrid.sync import handover
from coldgrid.sync.handover import Given
from coldgrid.sync.messages import Code
from coldgrid.sync.wire import Refusal
from tests.conftest import T0, Kernel
from tests.patience import eventually


class NotToday(Conflict):
    """It may not be done today."""

    todo = "Come back tomorrow."


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    def refuse(asked: Asked) -> str:
        raise NotToday()

    folder = tmp_path / "errands"
    serving = Errands(folder, {"greet": lambda asked: f"hello {asked['who']}", "refuse": refuse})
    serving.start()
    yield folder
    serving.stop()


def test_a_running_host_does_what_its_operator_asks(host: Path) -> None:
    assert errands.ask(host, "greet", {"who": "Sam"}, within_s=5) == Answered(True, "hello Sam")
    assert host.stat().st_mode & 0o077 == 0, "nobody else may ask"
    assert list(host.iterdir()) == []


def test_where_no_host_serves_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(errands.NobodyThere, match=r"no host .*start it, or .*COLDGRID_SIGNING_KEY"):
        errands.ask(tmp_path / "errands", "greet", {})


def test_a_refusal_and_a_fault_come_back_as_words(host: Path) -> None:
    refused = errands.ask(host, "refuse", {}, within_s=5)
    assert (refused.ok, "Come back tomorrow." in refused.text) == (False, True)
    assert not errands.ask(host, "unheard of", {}, within_s=5).ok
    assert errands.ask(host, "greet", {"who": "Ana"}, within_s=5).ok, "and the next one is done"


def test_nobody_answers_where_no_host_serves(tmp_path: Path) -> None:
    with pytest.raises(errands.NobodyThere):
        errands.ask(tmp_path / "errands", "greet", {})
    (tmp_path / "errands").mkdir()
    with pytest.raises(errands.NobodyThere, match=r"nothing was done. It was killed, .*coldgrid doctor"):
        errands.ask(tmp_path / "errands", "greet", {}, within_s=0.3)
    assert list((tmp_path / "errands").iterdir()) == [], "what nobody took is done by nobody later"


def test_an_errand_that_was_begun_and_not_answered_in_time_is_not_called_undone(tmp_path: Path) -> None:
    def wait(_: errands.Asked) -> str:
        time.sleep(2)
        return "done"

    slow = errands.Errands(tmp_path / "errands", {"wait": wait})
    slow.start()
    try:
        with pytest.raises(errands.NobodyThere, match=r"took this up .*it may do it yet"):
            errands.ask(tmp_path / "errands", "wait", {}, within_s=1)
    finally:
        slow.stop()


def test_what_nobody_fetched_or_can_read_does_not_stay_in_the_folder(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "KEPT_S", 0.5)
    (host / "broken.ask").write_bytes(b"{")
    eventually((host / "broken.answer").exists, "what cannot be read is answered, once")
    (host / "half.new").write_bytes(b"{")
    eventually(lambda: list(host.iterdir()) == [], "nobody came for them")


def test_a_node_keeps_its_settings_in_its_folder_and_the_environment_wins(tmp_path: Path) -> None:
    keep_settings(tmp_path, port="8101", host=None, network="cold")
    keep_settings(tmp_path, host="0.0.0.0")
    found = settings_in(tmp_path, {"COLDGRID_PORT": "8102", "HOME": "/"})
    assert (found.host, found.port, found.network) == ("0.0.0.0", 8102, "cold")
    assert found.database == str(tmp_path / "node.db")
    with pytest.raises(Invalid):
        settings_in(tmp_path, {"COLDGRID_PROT": "1"})


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """An address that says everything back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=say_back, args=(line,), daemon=True).start()

    def say_back(line: socket.socket) -> None:
        with line:
            while data := line.recv(100):
                line.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()
    listener.close()


def says(line: socket.socket, word: bytes) -> bytes:
    try:
        line.sendall(word)
        return line.recv(100)
    except TimeoutError:
        return b"nothing"
    except OSError:
        return b""


def test_a_line_passes_on_until_it_is_cut_and_again_when_it_is_mended(echo: tuple[str, int]) -> None:
    switch = WanSwitch(("127.0.0.1", 0), echo)
    switch.start()
    try:
        with socket.create_connection(switch.address, timeout=5) as line:
            assert says(line, b"one") == b"one"
            switch.cut()
            assert says(line, b"two") == b"", "what was open ends"
        with socket.create_connection(switch.address, timeout=5) as line:
            assert says(line, b"three") == b"", "and nothing new gets through"
        switch.mend()
        with socket.create_connection(switch.address, timeout=5) as line:
            assert says(line, b"four") == b"four"
            switch.cut(hang=True)
            line.settimeout(0.5)
            assert says(line, b"five") == b"nothing", "a line that hangs neither ends nor answers"
    finally:
        switch.stop()


def test_what_waits_leaves_its_host_whole_and_is_put_back_as_it_was(kernel: Kernel) -> None:
    for table in (kernel_timer, kernel_outbox):
        assert "waits" in table.info

    def fill(tx: Tx) -> None:
        due = T0 + timedelta(minutes=5)
        for number in range(3):
            timers.set_timer(tx, Timer(f"t{number}", "ATL1", "none", due, {"n": number}, "fire", T0))
        timers.set_timer(tx, Timer("other", "CLT1", "none", due, {}, "fire", T0))
        tx.emit(Effect(channel="sms", key="k1", payload={"text": "warm"}))

    def rows() -> list[tuple[str, luggage.Row]]:
        return luggage.copy_waiting(kernel.reader(), "ATL1")

    decider = kernel.decider
    decider.take("ATL1", fill, "test")
    before = rows()
    assert len(before) == 4
    taken = decider.take("ATL1", lambda tx: luggage.take_waiting(tx, "ATL1"), "test")
    assert sorted(map(str, taken)) == sorted(map(str, before))
    assert rows() == []
    assert kernel.reader().value(count_of(kernel_timer)) == 1, "another site's timer stays"

    def put(tx: Tx) -> None:
        for name, row in taken:
            luggage.put_rows(tx, name, [row])

    decider.take("ATL1", put, "test")
    assert rows() == before


def test_rows_that_move_come_page_by_page_in_the_order_of_their_key(kernel: Kernel) -> None:
    def fill(tx: Tx) -> None:
        for number in (3, 1, 2):
            timers.set_timer(tx, Timer(f"t{number}", "ATL1", "none", T0, {}, "fire", T0))

    kernel.decider.take("ATL1", fill, "test")
    found: list[str] = []
    after: luggage.Row = ()
    while page := luggage.rows_after(kernel.reader(), "kernel_timer", "ATL1", after, 2):
        found += [row[0] for row in page]
        after = luggage.key_of("kernel_timer", page[-1])
    assert found == ["t1", "t2", "t3"]
    with pytest.raises(KeyError):
        luggage.rows_after(kernel.reader(), "kernel_log", "ATL1", (), 2)


def test_a_part_that_fails_the_same_way_again_and_again_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds: list[int] = []
    told: list[str] = []

    class Teller:
        def exception(self, event: str, **facts: str) -> None:
            told.append(facts["part"])

    def work() -> str:
        rounds.append(1)
        raise RuntimeError("no line")

    monkeypatch.setattr(background, "logger", Teller())
    loop = Loop("talk", 0.01, work)
    loop.start()
    while len(rounds) < 5:
        time.sleep(0.01)
    loop.stop()
    assert not loop.health().ok
    assert told == ["talk"]


ROW = ["t1", "ATL1", "none", 0, "{}", "fire", 0]


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("kernel_timer", ["t1", "CLT1", "none", 0, "{}", "fire", 0]),
        ("kernel_timer", ["t1", "network", "none", 0, "{}", "fire", 0]),
        ("kernel_timer", ROW[:-1]),
        ("kernel_log", ROW),
        ("telemetry_block", ROW),
        ("no such table", ROW),
    ],
)
def test_a_node_gives_nothing_but_its_own_sites_waiting_work(
    kernel: Kernel, table: str, row: list[object]
) -> None:
    kernel.decider.take("network", lambda tx: hosting.place(tx, "ATL1", here=False, why="test"), "test")
    with pytest.raises(Refusal) as refused:
        handover.take_copy(kernel.decider, "ATL1", Given([("kernel_timer", ROW), (table, row)], True))
    assert refused.value.code == Code.NOT_YOURS
    assert handover.packed(kernel.reader(), "ATL1") == []


def test_a_site_that_is_hosted_here_is_given_nothing(kernel: Kernel) -> None:
    with pytest.raises(Refusal) as refused:
        handover.take_given(kernel.decider, "ATL1", Given([], True), 0)
    assert refused.value.code == Code.NOT_YOURS


def test_a_given_row_never_takes_the_place_of_one_that_is_here(kernel: Kernel) -> None:
    def work(tx: Tx) -> None:
        timers.set_timer(tx, Timer("t1", "CLT1", "none", T0, {}, "fire", T0))
        luggage.put_rows(tx, "kernel_timer", [ROW])

    kernel.decider.take("ATL1", work, "test")
    assert [timer.origin for timer in timers.all_timers(kernel.reader())] == ["CLT1"]
