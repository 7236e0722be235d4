"""Why the tower is not reached, with real sockets: each is told in words."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from coldgrid.sync.unreached import why_unreached


@contextmanager
def answering(act: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen on loopback, and do something to who comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            near, _ = listener.accept()
            act(near)

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def told(address: str, within_s: float = 5.0) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(httpx.HTTPError) as failed:
        httpx.get(address, verify=context, timeout=within_s)
    return why_unreached(address, failed.value)


def test_a_line_that_is_cut_says_that_it_broke_off() -> None:
    with answering(lambda near: near.close()) as address:
        assert told(address) == f"the line to {address} broke off before an answer came"


def test_a_port_that_nobody_listens_at_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    assert told(address) == f"nobody listens at {address}"


def test_a_line_that_hangs_did_not_answer_in_time() -> None:
    waits, over = threading.Event(), threading.Event()

    def hang(near: socket.socket) -> None:
        waits.wait(5)
        near.close()
        over.set()

    with answering(hang) as address:
        assert told(address, 0.3) == f"{address} did not answer in time"
        waits.set()
        assert over.wait(5)


def test_a_name_that_is_not_known_is_told() -> None:
    address = "https://tower.invalid:8443"
    assert told(address) == f"the name in {address} is not known here"


def test_what_has_no_words_of_ours_is_told_as_it_is() -> None:
    assert why_unreached("https://t:1", ValueError("odd")) == "https://t:1: odd"
