"""Whether goods still are exposed is told by where they stand and how the air is, not by an open record."""

from __future__ import annotations

from coldgrid.quality.excursions import (
    UpdateExcursion,
    exposed_unit,
    open_excursion_of,
    shipped_units,
)
from coldgrid.quality.presence import Exposing, Presence, places_now, presence_of
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer
from tests.conftest import Kernel
from tests.quality.night import ZONE, failing, open_freezer, recovering, steady, tell
from tests.stock.world import OTHER, PALLET, SECOND, SITE, THIRD, dispatch


def presence(kernel: Kernel) -> Presence:
    excursion = open_excursion_of(kernel.reader(), ZONE)
    assert excursion is not None
    return presence_of(kernel.reader(), excursion, kernel.host.instant)


def warm_freezer(kernel: Kernel) -> None:
    open_freezer(kernel)
    tell(kernel, steady, 0, 60)
    tell(kernel, failing(60), 60, 102)


def send_away(kernel: Kernel, *ssccs: str) -> None:
    ship = ShipTransfer(site_id=SITE, transfer_id="t-1", to_site_id=OTHER, sscc=ssccs, reason="rescue")
    kernel.do(ship, actor="sue", roles={"supervisor"})


def test_goods_in_warm_air_are_exposed(kernel: Kernel) -> None:
    warm_freezer(kernel)
    assert presence(kernel) == Presence(Exposing.EXPOSED, here=3, named=3)


def test_those_that_left_are_not_counted(kernel: Kernel) -> None:
    warm_freezer(kernel)
    send_away(kernel, SECOND, THIRD)
    assert presence(kernel) == Presence(Exposing.EXPOSED, here=1, named=3)


def test_when_all_have_left_nothing_is_exposed_though_the_zone_is_warm(kernel: Kernel) -> None:
    warm_freezer(kernel)
    send_away(kernel, PALLET, SECOND, THIRD)
    tell(kernel, failing(60), 102, 120)
    assert presence(kernel) == Presence(Exposing.LEFT, here=0, named=3)


def test_in_cold_air_goods_may_still_be_warm(kernel: Kernel) -> None:
    warm_freezer(kernel)
    tell(kernel, failing(60), 102, 200)
    tell(kernel, recovering(200, 6.0, 10.0), 200, 206)
    assert presence(kernel).exposing is Exposing.COOLING


def test_a_rescued_unit_keeps_its_quantity_though_a_part_was_sold_before(kernel: Kernel) -> None:
    open_freezer(kernel)
    tell(kernel, steady, 0, 60)
    tell(kernel, failing(50), 60, 75)
    kernel.do(dispatch("d-1", (PALLET, 40)))
    tell(kernel, failing(50), 75, 102)
    excursion = open_excursion_of(kernel.reader(), ZONE)
    assert excursion is not None
    send_away(kernel, PALLET)
    kernel.do(UpdateExcursion(site_id=SITE, excursion_id=excursion.excursion_id), at=103)
    unit = exposed_unit(kernel.reader(), excursion.excursion_id, PALLET)
    assert unit is not None
    assert (unit.numbers.qty, unit.numbers.value_cents) == (60, 60 * 429)
    gone = [(one.qty, one.dispatch_id) for one in shipped_units(kernel.reader(), excursion.excursion_id)]
    assert gone == [(40, "d-1")], "what is rescued is named and held, not gone"


def test_units_are_named_with_the_place_where_they_are_now(kernel: Kernel) -> None:
    warm_freezer(kernel)
    every = [PALLET, SECOND, THIRD]
    assert places_now(kernel.reader(), ZONE, every) == {}
    send_away(kernel, SECOND)
    assert places_now(kernel.reader(), ZONE, every) == {SECOND: f"on its way to {OTHER}"}
    kernel.do(ReceiveTransfer(site_id=OTHER, transfer_id="t-1", location_id=f"{OTHER}-FRZ1-A01-01"))
    assert places_now(kernel.reader(), ZONE, every) == {SECOND: f"now in {OTHER}-FRZ1"}
