"""A site's gateway: posts readings to the host of its site, and keeps them while that does not answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import httpx
import msgspec

KEPT_MAX = 100_000
AT_ONCE = 2_000
ANSWER_S = 5.0


class Gateway:
    """Sends a site's readings, oldest first; what the host took is never sent again. Call it from one thread.

    Args:
        address: The host of the site, http://host:port.
        token: The gateway's API token.
    """

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self._kept: deque[bytes] = deque(maxlen=KEPT_MAX)
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {token}", "content-type": "application/x-ndjson"},
            timeout=ANSWER_S,
            trust_env=False,
        )

    @property
    def waiting(self) -> int:
        """How many readings wait here."""
        return len(self._kept)

    def send(self, readings: Sequence[msgspec.Struct]) -> str:
        """Send readings, and what waits; return why it could not be done, or ""."""
        self._kept.extend(msgspec.json.encode(reading) for reading in readings)
        while self._kept:
            some = [self._kept[index] for index in range(min(AT_ONCE, len(self._kept)))]
            try:
                answer = self._client.post(f"{self.address}/api/v1/readings", content=b"\n".join(some))
            except httpx.HTTPError as error:
                return str(error) or type(error).__name__
            if answer.status_code != 200:
                return f"{answer.status_code} {_title(answer)}"
            for _ in some:
                self._kept.popleft()
        return ""


def _title(answer: httpx.Response) -> str:
    """Return what a refusal says in a sentence; what came where it is no problem document."""
    with suppress(ValueError, KeyError, TypeError):
        return str(answer.json()["title"])[:200]
    return answer.text[:200]


def is_serving(address: str) -> bool:
    """Tell whether a host answers its health check."""
    with suppress(httpx.HTTPError):
        return httpx.get(f"{address}/healthz", timeout=1.0, trust_env=False).status_code == 200
    return False
