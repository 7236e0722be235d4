"""The event feed: pages that continue, filters, and a stream that resumes where it broke off."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.kernel.authorize import Principal
from coldgrid.webkit import events_feed
from coldgrid.webkit.visitors import Visitor
from tests.webkit.tour import NoteSite, Tour

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
    entries = client.get("/api/v1/events?types=tour.noted, kernel.effect_died").json()["entries"]
    assert [entry["body"]["count"] for entry in entries] == [0, 1, 2]
    assert client.get("/api/v1/events?types=kernel.effect_died").json()["entries"] == []


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
        wanted = frozenset({"tour.noted"})
        stream = events_feed._follow(asked, tour.guide.visitor, start, wanted)  # noqa: SLF001
        assert await anext(stream) == b": keep-alive\n\n"
        text = (await anext(stream)).decode()
        await stream.aclose()  # type: ignore[attr-defined]
        ids = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
        assert ids == positions[1:]
        data = next(line[6:] for line in text.splitlines() if line.startswith("data: "))
        assert msgspec.json.decode(data)["body"]["count"] == 1

    asyncio.run(story())


def test_a_stream_that_never_pauses_ends_with_the_right_to_hear_it(
    tour: Tour, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_feed, "WELCOME_S", 0.0)

    async def story() -> int:
        asked: Any = Asked(tour, {})
        before = msgspec.structs.replace(tour.guide.visitor, principal=Principal("p", frozenset(), None))
        return len([part async for part in events_feed._follow(asked, before, -1, frozenset())])  # noqa: SLF001

    assert asyncio.run(story()) == 1  # the first sign of life, and none of the entries that wait


def test_whoever_has_sites_reads_their_logs_alone(tour: Tour, client: Client) -> None:
    command = NoteSite(site_id="ATL1")
    tour.decider.submit(command).result(timeout=10)
    guide, everywhere = tour.guide, tour.guide.visitor
    try:
        guide.visitor = _responsible_for(everywhere, "ATL1")
        own = client.get("/api/v1/events").json()
        guide.visitor = _responsible_for(everywhere, "CLT1")
        others = client.get("/api/v1/events").json()
    finally:
        guide.visitor = everywhere
    assert {entry["origin"] for entry in own["entries"]} == {"ATL1"}
    assert others == {"entries": [], "next": -1}


def _responsible_for(visitor: Visitor, site_id: str) -> Visitor:
    principal = Principal("person-ana", frozenset({"integrator"}), frozenset({site_id}))
    return msgspec.structs.replace(visitor, principal=principal)


@pytest.mark.parametrize("last", ["x", "1e3", "9" * 30])
def test_a_position_that_is_none_is_refused(client: Client, last: str) -> None:
    headers = {"accept": "text/event-stream", "last-event-id": last}
    answer = client.get("/api/v1/events", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
