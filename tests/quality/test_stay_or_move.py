"""Stay or move: the cheapest way out that keeps S1 and S2."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.quality.estimate import lag_of
from coldgrid.quality.outlook import ColdSpace, Cover, Failure, Goods, Hands
from coldgrid.quality.stay_or_move import STAY, Advice, stay_or_move

ICE = Goods(
    product_id="ICE-VAN-1L",
    temperature_class="frozen",
    value_cents=4_000_000,
    pallets=20,
    product_c=-21,
    low_c=-21.5,
    high_c=-20.5,
    limit_c=-18,
    lag=lag_of(240),
)
FAILURE = Failure(
    air_c=-14, rate_c_per_min=0.1, ambient_c=20, setpoint_c=-22, repair_min=300, pull_down_min=60
)
NEXT_DOOR = ColdSpace(
    name="move to ATL1-FRZ2",
    temperature_class="frozen",
    air_c=-22,
    in_band_min=600,
    free_pallets=40,
    ready_min=0,
    load_min=5,
    transit_min=0,
    transit_c=-20,
    cost_cents=20_000,
)
FAR = msgspec.structs.replace(
    NEXT_DOOR, name="transfer to MAC1", transit_min=90, load_min=8, cost_cents=120_000
)
TEAM = Hands(people=3, ready_min=15, pallets_per_h=20, handling_c=5)
DRY_ICE = Cover(name="dry ice", ready_min=45, cost_cents=60_000, air_c=-25, pallets=8)


def advise(
    failure: Failure = FAILURE,
    goods: list[Goods] | None = None,
    covers: list[Cover] | None = None,
    spaces: list[ColdSpace] | None = None,
    hands: Hands = TEAM,
) -> Advice:
    return stay_or_move(
        goods or [ICE], failure, covers or [], [NEXT_DOOR] if spaces is None else spaces, hands
    )


def why(advice: Advice, name: str) -> str:
    return next(option.why for option in advice.options if option.name == name)


def test_goods_move_next_door_when_they_would_cross_before_the_repair() -> None:
    advice = advise()
    assert advice.outcome == "move to ATL1-FRZ2"
    assert advice.crosses_min is not None
    assert advice.recovered_min == 360
    assert advice.crosses_min < advice.recovered_min
    assert all(rule.ok for rule in advice.rules)


def test_goods_stay_when_the_repair_comes_first() -> None:
    advice = advise(msgspec.structs.replace(FAILURE, air_c=-19, repair_min=20, pull_down_min=15))
    assert advice.outcome == STAY
    assert advice.crosses_min is None
    assert why(advice, "move to ATL1-FRZ2") == "nothing crosses its limit before the zone is cold again"


def test_without_a_repair_time_staying_is_judged_over_the_night() -> None:
    slow = msgspec.structs.replace(FAILURE, air_c=-20, rate_c_per_min=0.02)
    assert advise(msgspec.structs.replace(slow, repair_min=10, pull_down_min=10)).outcome == STAY
    assert advise(msgspec.structs.replace(slow, repair_min=None)).outcome == "move to ATL1-FRZ2"


@pytest.mark.parametrize(
    ("space", "hands", "reason"),
    [
        (msgspec.structs.replace(NEXT_DOOR, in_band_min=59), TEAM, "not proven"),
        (msgspec.structs.replace(NEXT_DOOR, free_pallets=0), TEAM, "no room"),
        (msgspec.structs.replace(NEXT_DOOR, temperature_class="chilled"), TEAM, "no room"),
        (NEXT_DOOR, msgspec.structs.replace(TEAM, people=0), "nobody is there"),
    ],
)
def test_nothing_moves_without_proven_room_and_hands(space: ColdSpace, hands: Hands, reason: str) -> None:
    advice = advise(spaces=[space], hands=hands)
    assert advice.outcome == STAY
    assert reason in why(advice, NEXT_DOOR.name)
    assert any(reason in rule.why for rule in advice.rules)


def test_an_hour_in_the_band_is_proof() -> None:
    assert advise(spaces=[msgspec.structs.replace(NEXT_DOOR, in_band_min=60)]).outcome == NEXT_DOOR.name


def test_moving_warms_goods_too_so_a_long_way_can_be_worse_than_staying() -> None:
    summer_dock = Hands(people=1, ready_min=120, pallets_per_h=6, handling_c=30)
    far = msgspec.structs.replace(FAR, transit_min=300, transit_c=5, cost_cents=500_000)
    mild = msgspec.structs.replace(FAILURE, rate_c_per_min=0.01, air_c=-17, repair_min=420)
    assert advise(mild, spaces=[far], hands=summer_dock).outcome == STAY


def test_the_nearer_of_two_places_wins() -> None:
    assert advise(spaces=[FAR, NEXT_DOOR]).outcome == NEXT_DOOR.name


def test_a_little_room_takes_the_most_valuable_first() -> None:
    dear = msgspec.structs.replace(ICE, product_id="LOBSTER", value_cents=9_000_000, pallets=4)
    advice = advise(goods=[ICE, dear], spaces=[msgspec.structs.replace(NEXT_DOOR, free_pallets=4)])
    assert advice.outcome == NEXT_DOOR.name
    assert "room for 4 pallets" in advice.why
    assert "LOBSTER" not in advice.options[0].lost_products
    assert "ICE-VAN-1L" in advice.options[0].lost_products


def test_dry_ice_saves_what_it_covers() -> None:
    few = msgspec.structs.replace(ICE, pallets=6)
    early = msgspec.structs.replace(FAILURE, air_c=-20)
    assert advise(early, goods=[few], covers=[DRY_ICE], spaces=[]).outcome == "dry ice"
    sold_out = msgspec.structs.replace(DRY_ICE, available=False)
    assert "not to be had" in why(advise(early, goods=[few], covers=[sold_out], spaces=[]), "dry ice")
    alone = msgspec.structs.replace(TEAM, people=0)
    assert "nobody" in why(advise(early, goods=[few], covers=[DRY_ICE], spaces=[], hands=alone), "dry ice")


def test_a_trailer_is_a_move_and_waits_for_the_need() -> None:
    trailer = Cover(name="reefer trailer", ready_min=40, cost_cents=90_000, air_c=-22, handled_min=6)
    safe = msgspec.structs.replace(FAILURE, air_c=-19, repair_min=20, pull_down_min=15)
    assert "nothing crosses" in why(advise(safe, covers=[trailer]), "reefer trailer")
    needed = advise(msgspec.structs.replace(FAILURE, air_c=-20), covers=[trailer], spaces=[])
    assert needed.outcome == "reefer trailer"


def test_shut_doors_slow_the_rise() -> None:
    shut = Cover(name="night curtains", ready_min=5, cost_cents=0, slowing=0.3)
    slow = msgspec.structs.replace(FAILURE, air_c=-20, rate_c_per_min=0.03, repair_min=240)
    assert advise(slow, covers=[shut], spaces=[]).outcome == "night curtains"


def test_no_goods_no_decision() -> None:
    with pytest.raises(ValueError, match="no goods"):
        stay_or_move([], FAILURE, [], [], TEAM)


@given(
    st.floats(-24, 0),
    st.floats(-0.1, 0.5),
    st.none() | st.floats(0, 600),
    st.integers(0, 4),
    st.floats(0, 200),
    st.floats(0, 40),
    st.sampled_from(["frozen", "chilled"]),
)
def test_a_move_is_always_needed_proven_and_possible(
    air_c: float,
    rate: float,
    repair_min: float | None,
    people: int,
    in_band_min: float,
    room: float,
    class_: str,
) -> None:
    failure = msgspec.structs.replace(FAILURE, air_c=air_c, rate_c_per_min=rate, repair_min=repair_min)
    space = msgspec.structs.replace(
        NEXT_DOOR, in_band_min=in_band_min, free_pallets=room, temperature_class=class_
    )
    advice = advise(failure, spaces=[space], hands=msgspec.structs.replace(TEAM, people=people))
    chosen = advice.options[0]
    assert chosen.name == advice.outcome
    assert chosen.score_cents == min(o.score_cents for o in advice.options if o.score_cents is not None)
    assert all(rule.ok for rule in advice.rules)
    if chosen.moves:
        assert advice.crosses_min is not None
        assert people > 0
        assert in_band_min >= 60
        assert room > 0
        assert class_ == "frozen"
