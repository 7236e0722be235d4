"""The event feed: pages that continue, filters, and a stream that resumes where it broke off."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.webkit import events_feed
from tests.webkit.tour import Tour

Client = TestClient[Litestar]


@pytest.fixture(scope="module", autouse=True)
def three_notes(client: Client) -> None:
    for count in range(3):
        client.post("/api/v1/commands/tour.note", json={"reason": "feed", "count": count}).raise_for_status()


def test_pages_continue_without_gap_or_repeat(client: Client) -> None:
    seen, after = [], -1
    while entries := (page := client.get(f"/api/v1/events?after={after}&limit=2").json())["entries"]:
        seen += [entry["position"] for entry in entries]
        after = page["next"]
    assert seen == list(range(len(seen)))
    assert client.get(f"/api/v1/events?after={after}").json() == {"entries": [], "next": after}


def test_only_the_types_asked_for_come(client: Client) -> None:
    entries = client.get("/api/v1/events?types=tour.noted, orders.placed").json()["entries"]
    assert [entry["body"]["count"] for entry in entries] == [0, 1, 2]
    assert client.get("/api/v1/events?types=orders.placed").json()["entries"] == []


def test_the_body_is_the_bytes_that_were_hashed(client: Client) -> None:
    entry = client.get("/api/v1/events?types=tour.noted&limit=1").json()["entries"][0]
    assert entry["body"] == {"type": "tour.noted", "reason": "feed", "count": 0}
    assert len(entry["leaf"]) == 64


class Asked:
    """Just enough of a request for the stream."""

    def __init__(self, tour: Tour, headers: dict[str, str]) -> None:
        self.app: Any = tour.app
        self.headers = headers
        self.cookies: dict[str, str] = {}


def test_a_stream_resumes_after_the_last_event_seen(tour: Tour, client: Client) -> None:
    positions = [e["position"] for e in client.get("/api/v1/events?types=tour.noted").json()["entries"]]

    async def story() -> None:
        asked: Any = Asked(tour, {"last-event-id": str(positions[0])})
        start = events_feed._resumed(asked, -1)  # noqa: SLF001
        stream = events_feed._follow(asked, start, frozenset({"tour.noted"}))  # noqa: SLF001
        assert await anext(stream) == b": keep-alive\n\n"
        text = (await anext(stream)).decode()
        await stream.aclose()  # type: ignore[attr-defined]
        ids = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
        assert ids == positions[1:]
        data = next(line[6:] for line in text.splitlines() if line.startswith("data: "))
        assert msgspec.json.decode(data)["body"]["count"] == 1

    asyncio.run(story())


@pytest.mark.parametrize("last", ["x", "1e3", "9" * 30])
def test_a_position_that_is_none_is_refused(client: Client, last: str) -> None:
    headers = {"accept": "text/event-stream", "last-event-id": last}
    answer = client.get("/api/v1/events", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
