"""A node whose own database fails while it talks: each lane tries again, and none of them stays shut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coldgrid.kernel.database import DriverError
from coldgrid.sync import outgoing, readings
from tests.kernel.rooms import Bump
from tests.sync.pair import network_of, own_log

BROKEN = 3


@pytest.mark.parametrize(
    ("module", "name"),
    [(outgoing, "next_hello"), (outgoing, "facts_after"), (readings, "blocks_to_send")],
)
def test_a_message_that_cannot_be_made_is_made_later(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    made = getattr(module, name)
    turns: Iterator[int] = iter(range(100))

    def failing(*args: object) -> object:
        if next(turns) < BROKEN:
            raise DriverError("database or disk is full")
        return made(*args)

    monkeypatch.setattr(module, name, failing)
    with network_of("ATL1") as (tower, [node]):
        node.kernel.do(Bump(site_id="ATL1", name="a"))
        for _ in range(BROKEN + 2):
            node.talk()
            node.kernel.advance(2)
        assert node.up
        assert own_log(tower.kernel, "ATL1") == own_log(node.kernel, "ATL1")
