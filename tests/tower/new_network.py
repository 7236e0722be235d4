"""A tower on an empty database, and whoever sets it up through its forms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.dispatcher import NotConfigured, Rehearsal
from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM, Principal
from coldgrid.kernel.events import Command
from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import LiveHost
from coldgrid.tower.application import Tower, build_tower, create

PASSWORD = "seven quiet freezers hum"
SITE = {
    "site_kind": "store",
    "site_id": "CGN1",
    "name": "Köln-Süd 冷",
    "city": "Köln",
    "region": "NW",
    "timezone": "Europe/Berlin",
    "reach": "ana@example.com",
    "rooms": ["frozen", "chilled"],
}


@dataclass
class NewNetwork:
    """A tower that nobody has set up."""

    app: Litestar
    tower: Tower

    def types(self) -> list[tuple[str, str]]:
        """(type, actor) of every entry of the network's log, but its opening."""
        with self.tower.reader() as db:
            entries = [entry for entry in log.read_all(db) if entry.origin == "network"]
        return [(entry.type, entry.actor) for entry in entries if entry.type != "origin.opened"]

    def do(self, command: Command, principal: Principal = SYSTEM) -> Any:
        return self.tower.service.submit(command, principal).result(30)


class Guest:
    """A browser without JavaScript: it keeps cookies, and sends the hidden fields of the page it is on."""

    def __init__(self, network: NewNetwork) -> None:
        self.network = network
        self.client = TestClient(network.app, raise_server_exceptions=False)
        self.client.follow_redirects = False
        self.client.headers["accept"] = "text/html"

    def get(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return unescape(answer.text)

    def hidden(self, page: str, action: str) -> dict[str, str]:
        """The hidden fields of the form with this action, or of the one that goes where its page is."""
        here = rf'<form(?:[^>]*action="{re.escape(action)}"|(?![^>]*action=))[^>]*>(.*?)</form>'
        form = re.search(here, page, re.DOTALL)
        assert form, f"there is no form for {action}"
        found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form.group(1))
        return dict(found)

    def send(self, path: str, page: str, files: Sequence[tuple[str, bytes]] = (), **values: Any) -> Any:
        """Fill in the form of a page and send it; `page` is the address or the text of the page."""
        text = self.get(page) if page.startswith("/") else page
        data = self.hidden(text, path) | values
        sent = [("files", (name, body)) for name, body in files]
        return self.client.post(path, data=data, files=sent or None)

    def become_admin(self) -> None:
        """Set the first admin up by the address in the terminal."""
        place = f"/setup?token={self.network.tower.door.set_up_token}"
        answer = self.send("/setup", place, name="Ana Ortiz", login="ana", password=PASSWORD)
        assert (answer.status_code, answer.headers["location"]) == (303, "/first-run"), answer.text

    def sign_in(self, login: str, password: str = PASSWORD) -> None:
        answer = self.send("/login", "/login", login=login, password=password)
        assert answer.status_code == 303, answer.text

    def make_site(self, **values: Any) -> Any:
        return self.send("/first-run/site", "/first-run/site", **(SITE | values))


@contextmanager
def new_network(folder: Path, **settings: Any) -> Iterator[NewNetwork]:
    """Serve a tower on an empty database."""
    own = {"database": str(folder / "tower.db"), "signing_key": str(folder / "signing.key"), **settings}
    tower = build_tower(load_settings({}, **own), LiveHost(CedarAuthorizer()))
    channels: dict[str, Channel] = {name: Rehearsal() for name in ("email", "webhook", "siren")}
    channels |= {name: NotConfigured("COLDGRID_SMS_URL") for name in ("sms", "voice")}
    yield NewNetwork(create(tower, channels), tower)


@contextmanager
def guest_of(network: NewNetwork) -> Iterator[Guest]:
    """Start the tower, and visit it."""
    guest = Guest(network)
    with guest.client:
        yield guest
