"""Orders are found by the beginning or the end of their number, among the newest, by those they concern."""

from __future__ import annotations

from coldgrid.webkit.hits import hits
from tests.conftest import Kernel
from tests.orders.world import OTHER, SITE, order, stocked


def found(kernel: Kernel, text: str, sites: set[str] | None = None) -> list[str]:
    return [hit.name for hit in hits(kernel.reader(), sites, text) if hit.kind == "Order"]


def test_an_order_is_found_by_a_part_of_its_number_by_those_it_concerns(kernel: Kernel) -> None:
    stocked(kernel, near=40)
    for number in (4711, 4712, 123):
        kernel.do(order(number, qty=2))
    assert found(kernel, "WEB-47") == ["web-4712", "web-4711"]
    assert found(kernel, "712") == ["web-4712"]
    assert found(kernel, "b-4") == []
    assert found(kernel, "%47") == []
    served = {site_id for site_id in (SITE, OTHER) if found(kernel, "4711", {site_id})}
    assert served == {SITE}
