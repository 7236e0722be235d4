"""The address that a new network is set up at: shown in the terminal, to whoever runs the server."""

from __future__ import annotations

from coldgrid.access.door import AccessDoor
from coldgrid.access.words import SetUpDone
from coldgrid.kernel.settings import Settings

WELCOME = "/first-run"
EVERYWHERE = ("0.0.0.0", "::")


def set_up_link(settings: Settings, door: AccessDoor, *, new: bool = False) -> str:
    """Return the address with the secret. `new`: another secret, which ends the one before.

    Raises:
        SetUpDone: somebody is admin already.
    """
    if not door.nobody_yet():
        raise SetUpDone()
    secret = door.set_up.renew() if new else door.set_up.value
    return f"{base_of(settings)}/setup?token={secret}"


def base_of(settings: Settings) -> str:
    """Return an address that a browser can open, where the tower listens on all of them too."""
    if settings.host not in EVERYWHERE:
        return f"http://{settings.host}:{settings.port}"
    if settings.public_url != Settings().public_url:
        return settings.public_url.rstrip("/")
    return f"http://127.0.0.1:{settings.port}"
