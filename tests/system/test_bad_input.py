"""Bad input at every address that takes any: a precise refusal, nothing stored, never a fault of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Response
from litestar import Litestar

from coldgrid.kernel import rebuild
from coldgrid.kernel.events import Command
from coldgrid.kernel.registry import command_types as registered_types
from coldgrid.telemetry import store
from coldgrid.webkit.problems import PROBLEM_JSON
from tests.conftest import postgres_kernel, postgres_url
from tests.system import bodies
from tests.system.served import AIR, Sent, System, running

# Whoever ends these has ended what the other requests need.
ENDINGS = ("origin.close", "access.revoke_token", "access.suspend_person")
DEEP = b'{"a":' * 70 + b"1" + b"}" * 70
DEEP_LIST = b"[" * 70 + b"]" * 70
VERY_DEEP = b"[" * 20_000
MALFORMED = {
    "nothing": b"",
    "cut off": b'{"site_id": "ATL1", "qty":',
    "a list": b"[1, 2]",
    "text": b'"site"',
    "null": b"null",
    "a number": b"7",
    "deep": DEEP,
    "deep lists": DEEP_LIST,
    "very deep": VERY_DEEP,
    "not UTF-8": b'{"site_id": "\xff\xfe"}',
    "NaN": b'{"qty": NaN}',
    "Infinity": b'{"qty": -Infinity}',
    "beyond floats": b'{"qty": 1e999}',
    "beyond integers": b'{"qty": ' + b"9" * 400 + b"}",
    "unknown field": b'{"no_such_field_anywhere": 1}',
    "zeros": b"\0" * 40,
}
FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=xx"
MEDIA_TYPES = ("application/json", "application/x-ndjson", "text/csv", "application/yaml")
NONSENSE = (
    (b"a=%ff%fe&=&&%00=%00&%zz", FORM),
    (b"qty=-1&qty=x&reason=" + b"y" * 5_000, FORM),
    (b"--xx\r\nbroken", PARTS),
    (b"", "multipart/form-data"),
    (b'--xx\r\nContent-Disposition: form-data; name="f"; filename="a.csv"\r\n\r\n\xff\r\n--xx--', PARTS),
)
KNOWN_PATHS = {
    "name": "orders.cancel",
    "site_id": "ATL1",
    "zone_id": "ATL1-FRZ1",
    "sscc": "306141410000000012",
    "order_id": "web-1",
    "change_id": "change-sensors",
    "incident_id": "i1",
    "approval_id": "ap1",
    "hold_id": "h1",
    "kind": "site",
    "key": "ATL1",
    "person_id": "ben",
    "act": "suspend",
}


def command_types() -> dict[str, type[Command]]:
    """The product's commands; other tests of this process may have registered toys."""
    return {name: type_ for name, type_ in registered_types().items() if not name.startswith("toy.")}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("bad")) as made:
        yield made


def posts(app: Litestar) -> list[tuple[str, int]]:
    """Every address that takes a POST, with the size of the largest body that it takes."""
    found = []
    for route in app.routes:
        handler, _ = getattr(route, "route_handler_map", {}).get("POST", (None, None))
        if handler is not None:
            found.append((route.path, handler.resolve_request_max_body_size()))
    return found


def filled(path: str) -> str:
    """An address with ids of the seeded network in it."""
    return re.sub(r"\{(\w+):\w+\}", lambda match: KNOWN_PATHS.get(match[1], "x"), path)


def command(name: str) -> str:
    return f"/api/v1/commands/{name}"


def faults_of(system: System, sent: list[Sent]) -> list[tuple[str, bytes]]:
    """Send all and return what was answered with a fault of ours."""
    answers = zip(sent, system.post_all(sent), strict=True)
    return [(explain(answer), one.content[:400]) for one, answer in answers if answer.status_code >= 500]


def explain(response: Response) -> str:
    return (
        f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text[:300]}"
    )


def check_refusal(response: Response) -> dict[str, Any]:
    """A refusal of the API is a problem document that says what is wrong and where."""
    assert 400 <= response.status_code < 500, explain(response)
    if isinstance(response.json(), list):  # a batch, of which each row is told what is wrong with it
        assert all(row["problem"]["problems"] for row in response.json()), explain(response)
        return {}
    assert response.headers["content-type"] == PROBLEM_JSON, explain(response)
    document: dict[str, Any] = response.json()
    assert document["code"], explain(response)
    assert document["detail"], explain(response)
    assert document["status"] == response.status_code
    for problem in document.get("problems", ()):
        assert problem["field"] or problem.get("line"), explain(response)
        assert problem["message"], explain(response)
    if response.status_code == 422:
        assert document["problems"], explain(response)
    return document


class TestCommands:
    """The generic address of every command of this release."""

    def test_what_cannot_be_read_is_refused(self, system: System) -> None:
        before = system.last_position()
        sent = [Sent(command(name), body) for name in command_types() for body in MALFORMED.values()]
        for response in system.post_all(sent):
            check_refusal(response)
        assert system.last_position() == before

    def test_every_field_is_named_that_has_a_value_which_can_never_be_right(self, system: System) -> None:
        before = system.last_position()
        told, sent = [], []
        for name, command_type in command_types().items():
            body = bodies.fitting(command_type)
            for path, value in bodies.leaves(body):
                for wrong in bodies.never_right(value):
                    told.append((name, str(path[0]), wrong))
                    sent.append(Sent(command(name), bodies.spoiled(body, path, wrong)))
        for (name, field, wrong), response in zip(told, system.post_all(sent), strict=True):
            document = check_refusal(response)
            if isinstance(wrong, dict | int):
                fields = [problem["field"] for problem in document["problems"]]
                assert any(field in one for one in fields), (name, field, wrong, fields)
        assert system.last_position() == before

    def test_an_unknown_field_is_named(self, system: System) -> None:
        before = system.last_position()
        sent = [
            Sent(command(name), bodies.written(bodies.fitting(type_) | {"surplus": 1}))
            for name, type_ in command_types().items()
        ]
        for response in system.post_all(sent):
            document = check_refusal(response)
            assert "surplus" in [problem["field"] for problem in document["problems"]], explain(response)
        assert system.last_position() == before

    def test_another_media_type_is_refused(self, system: System) -> None:
        before = system.last_position()
        sent = [
            Sent(command(name), bodies.written(bodies.fitting(type_)), media_type)
            for name, type_ in command_types().items()
            for media_type in ("text/plain", FORM)
        ]
        for response in system.post_all(sent):
            assert check_refusal(response)["status"] == 415
        assert system.last_position() == before


class TestAddresses:
    """Every address that takes a POST, of the API and of pages."""

    def test_what_cannot_be_read_changes_nothing(self, system: System) -> None:
        before = system.last_position()
        sent = [
            Sent(filled(path), body, media_type)
            for path, _ in posts(system.client.app)
            if path.startswith("/api/")
            for media_type in MEDIA_TYPES
            for body in MALFORMED.values()
            if body  # where the address says everything, an empty body is right
        ]
        for one, response in zip(sent, system.post_all(sent), strict=True):
            if one.media_type == "application/json":
                check_refusal(response)
            assert 400 <= response.status_code < 500, explain(response)
        assert system.last_position() == before

    def test_an_empty_body_is_never_a_fault_nor_json_at_a_page(self, system: System) -> None:
        addresses = [filled(path) for path, _ in posts(system.client.app)]
        sent = [Sent(path, b"") for path in addresses]
        sent += [
            Sent(path, body)
            for path in addresses
            if not path.startswith("/api/")
            for body in (b'{"site_id": "ATL1", "qty":', DEEP, b'{"site_id": "\xff\xfe"}')
        ]
        assert faults_of(system, sent) == []

    def test_a_form_of_nonsense_is_never_a_fault(self, system: System) -> None:
        sent = [
            Sent(filled(path), content, media_type)
            for path, _ in posts(system.client.app)
            if not path.startswith("/api/")
            for content, media_type in NONSENSE
        ]
        assert faults_of(system, sent) == []

    def test_a_strange_id_in_the_address_is_never_a_fault(self, system: System) -> None:
        before = system.last_position()
        sent = [
            Sent(re.sub(r"\{\w+:\w+\}", odd, path), b"{}")
            for path, _ in posts(system.client.app)
            if "{" in path
            for odd in ("%00", "%ff", "..%2f..", "é", "x" * 3_000, "%0d%0aX")
        ]
        assert faults_of(system, sent) == []
        assert system.last_position() == before

    def test_a_body_over_the_limit_of_its_address_is_refused(self, system: System) -> None:
        before = system.last_position()
        for path, limit in posts(system.client.app):
            if not path.startswith("/api/"):
                continue
            media_type = "text/csv" if path.endswith("/import") else "application/json"
            body = b'{"reason": "' + b"x" * (limit + 10) + b'"}'
            [response] = system.post_all([Sent(filled(path), body, media_type)])
            # Who does not know the gateway's token is not listened to at all.
            expected = 404 if "/replies/" in path else 413
            assert check_refusal(response)["status"] == expected
        assert system.last_position() == before


class TestReadings:
    """Readings have forms of their own; a body with one wrong reading is refused as a whole."""

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"value": -18.0, "unit": "furlongs"}, "unit"),
            ({"value": 1.0, "unit": "%"}, "unit"),
            ({"value": "cold"}, "value"),
            ({"value": 10**30}, "value"),
            ({"value": True}, "value"),
            ({"at": -1}, "at"),
            ({"at": "2026-03-01T08:00:00"}, "at"),
            ({"sensor_id": ""}, "sensor_id"),
            ({"sensor_id": "CLT1-FRZ1-T1"}, "sensor_id"),
            ({"quality": "good"}, "quality"),
        ],
    )
    def test_mixed_with_right_ones_nothing_is_stored(
        self, system: System, wrong: dict[str, Any], field: str
    ) -> None:
        right = {"sensor_id": AIR, "at": bodies.INSTANT, "value": -21.5}
        mixed = [right | {"unit": "C"}, right | wrong]
        lines = b"\n".join(bodies.written(one) for one in mixed)
        before = system.last_position(), self.stored(system)
        sent = [
            Sent("/api/v1/readings", bodies.written(mixed)),
            Sent("/api/v1/readings", lines, "application/x-ndjson"),
        ]
        for response in system.post_all(sent):
            problems = check_refusal(response)["problems"]
            assert any(field in problem["field"] for problem in problems), explain(response)
        assert (system.last_position(), self.stored(system)) == before

    def stored(self, system: System) -> object:
        with system.tower.reader() as db:
            return store.last_readings(db, "ATL1")


class TestOddValues:
    """Values of the right type that few expect, in each field of each command: refused or taken."""

    @pytest.mark.timeout(240)
    @pytest.mark.parametrize("database", ["sqlite", "postgresql"])
    def test_never_a_fault_and_the_projections_stay_true(
        self, database: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("odd")
        if database == "sqlite":
            with running(folder) as system:
                self.try_all(system, one_in=2)
            return
        with postgres_kernel() as kernel, running(folder, postgres_url(), kernel=kernel) as system:
            self.try_all(system, one_in=3)

    def try_all(self, system: System, one_in: int) -> None:
        """Send one in so many: what looks at a field is the same on both databases."""
        sent = []
        for name, command_type in command_types().items():
            if name in ENDINGS:
                continue
            body = bodies.fitting(command_type)
            sent.append(Sent(command(name), bodies.written(body)))
            for path, value in bodies.leaves(body):
                sent += [Sent(command(name), bodies.spoiled(body, path, odd)) for odd in bodies.odd(value)]
        assert faults_of(system, sent[::one_in]) == []
        assert system.tower.service.call(rebuild.differences).result(60) == []
