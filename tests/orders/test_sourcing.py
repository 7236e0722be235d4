"""Sourcing without a database: the cheapest plan, why not the others, and an oracle that tries all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import chain, combinations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.network.calendars import WEEKDAYS, Calendar, Closure, Cutoff, Hours
from coldgrid.orders import reach as reaching
from coldgrid.orders.policy import DEFAULT_POLICY, policy_hash
from coldgrid.orders.reach import Reach, ShippingSite, build_reach, cell_of, road, timetable
from coldgrid.orders.sourcing import Need, Plan, Question, source

WEEK = list(WEEKDAYS)
ALWAYS = Calendar(hours=[Hours(WEEK)])
NOON = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)  # a Wednesday, noon in New York
NOW_MIN = int(NOON.timestamp()) // 60
ATLANTA = cell_of(33.75, -84.39)
FAR_FUTURE = date(2030, 1, 1)


class Row(msgspec.Struct):
    """A bucket as sourcing sees it."""

    promisable: int
    expires_on: date = FAR_FUTURE
    paused: bool = False


def site(site_id: str, lat: float = 33.7, lon: float = -84.4, **fields: object) -> ShippingSite:
    raw = {"kind": "dc", "mode": "normal", "timezone": "America/New_York", "calendar": ALWAYS}
    raw["cutoffs"] = (Cutoff("ground", "17:00", WEEK),)
    return msgspec.convert({"site_id": site_id, "lat": lat, "lon": lon, **raw, **fields}, ShippingSite)


NEAR = site("ATL1")
NEXT = site("CLT1", 35.2, -80.8)
WEST = site("SEA1", 47.4, -122.2, timezone="America/Los_Angeles")
SITES = [NEAR, NEXT, WEST]


def reach_of(*sites: ShippingSite, now_min: int = NOW_MIN) -> Reach:
    roads = [road(each, ATLANTA, DEFAULT_POLICY) for each in sites]
    tables = [timetable(each, now_min) for each in sites]
    return build_reach(sites, roads, tables, now_min, DEFAULT_POLICY)


def need(qty: int = 10, line_no: int = 1, temperature_class: str = "frozen", **fields: object) -> Need:
    raw = {"product_id": f"P{line_no}", "unit_g": 500, "temperature_class": temperature_class}
    return Need(line_no=line_no, qty=qty, **{**raw, **fields})  # type: ignore[arg-type]


def ask(needs: list[Need], stock: list[dict[str, list[Row]]], *sites: ShippingSite, **fields: object) -> Plan:
    question = Question(reach_of(*(sites or SITES)), DEFAULT_POLICY, **fields)  # type: ignore[arg-type]
    return source(needs, stock, question)


def reasons(plan: Plan) -> dict[str, str]:
    return dict(zip(plan.columns.names, plan.reasons, strict=True))


def taken(plan: Plan, *sites: ShippingSite) -> list[tuple[int, str, int]]:
    names = [each.site_id for each in sites or SITES]
    return [(pick.line, names[pick.site], pick.qty) for pick in plan.picks]


class TestOneSite:
    def test_the_nearest_site_that_has_it_all_is_best(self) -> None:
        everywhere = {each.site_id: [Row(100)] for each in SITES}
        plan = ask([need()], [everywhere])
        assert taken(plan) == [(0, "ATL1", 10)]
        assert reasons(plan) == {"ATL1": "s.best", "CLT1": "s.dear", "SEA1": "s.far"}
        assert plan.proven

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            ([], "s.none"),
            ([Row(0)], "s.none"),
            ([Row(9)], "s.few"),
            ([Row(0, paused=True)], "s.pause"),
            ([Row(100, expires_on=date(2026, 3, 4))], "s.life"),
        ],
    )
    def test_what_a_nearer_site_lacks_is_said(self, row: list[Row], why: str) -> None:
        plan = ask([need(life_min=timedelta(days=1))], [{"ATL1": row, "CLT1": [Row(100)]}])
        assert taken(plan) == [(0, "CLT1", 10)]
        assert reasons(plan)["ATL1"] == why
        assert plan.lines[plan.columns.names.index("ATL1")] == 1

    def test_goods_older_than_the_last_ones_are_passed_over(self) -> None:
        older = Row(100, expires_on=date(2026, 6, 1))
        plan = ask([need(not_before=date(2026, 7, 1))], [{"ATL1": [older], "CLT1": [Row(100)]}])
        assert reasons(plan)["ATL1"] == "s.older"

    def test_the_first_to_expire_that_lives_long_enough_goes_first(self) -> None:
        rows = [Row(5, date(2026, 3, 5)), Row(4, date(2026, 4, 1)), Row(100, date(2026, 5, 1))]
        plan = ask([need(life_min=timedelta(days=10))], [{"ATL1": rows}])
        assert [(pick.bucket.expires_on, pick.qty) for pick in plan.picks] == [
            (date(2026, 4, 1), 4),
            (date(2026, 5, 1), 6),
        ]

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"mode": "receive_only"}, "s.mode"),
            ({"mode": "closed"}, "s.mode"),
            ({"kind": "locker"}, "s.kind"),
            ({"calendar": Calendar(hours=[])}, "s.late"),
        ],
    )
    def test_a_site_that_cannot_ship_is_ruled_out(self, fields: dict[str, Any], why: str) -> None:
        sites = (site("ATL1", **fields), NEXT)
        plan = ask([need()], [{"ATL1": [Row(100)], "CLT1": [Row(100)]}], *sites)
        assert taken(plan, *sites) == [(0, "CLT1", 10)]
        assert reasons(plan)["ATL1"] == why

    def test_a_ship_only_site_ships(self) -> None:
        sites = (site("ATL1", mode="ship_only"), NEXT)
        assert ask([need()], [{"ATL1": [Row(100)]}], *sites).used == [0]

    def test_a_full_site_is_passed_over(self) -> None:
        plan = ask([need()], [{"ATL1": [Row(100)], "CLT1": [Row(100)]}], full={"ATL1"})
        assert (taken(plan), reasons(plan)["ATL1"]) == ([(0, "CLT1", 10)], "s.full")

    def test_missing_the_promised_time_loses_to_a_dearer_site_that_keeps_it(self) -> None:
        closures = [Closure(date(2026, 3, 4), "stocktake"), Closure(date(2026, 3, 5), "stocktake")]
        slow = site("ATL1", calendar=Calendar(hours=[Hours(WEEK)], closures=closures))
        stock = [{"ATL1": [Row(100)], "CLT1": [Row(100)]}]
        assert ask([need()], stock, slow, NEXT).used == [0]
        by_min = int(datetime(2026, 3, 6, tzinfo=UTC).timestamp()) // 60
        assert ask([need()], stock, slow, NEXT, promise_by_min=by_min).used == [1]


class TestSplits:
    def test_a_line_that_no_site_has_whole_is_split(self) -> None:
        plan = ask([need(10)], [{"ATL1": [Row(6)], "CLT1": [Row(6)]}])
        assert taken(plan) == [(0, "ATL1", 6), (0, "CLT1", 4)]
        assert reasons(plan)["ATL1"] == reasons(plan)["CLT1"] == "s.part"

    def test_a_split_is_taken_only_where_it_scores_lower(self) -> None:
        here, west = site("ATL1"), site("DEN1", 39.7, -104.9, timezone="America/Denver")
        ambient = [need(4, 1, "ambient"), need(4, 2, "ambient")]
        only_west = [{"DEN1": [Row(9)], "ATL1": [Row(9)]}, {"DEN1": [Row(9)]}]
        plan = ask(ambient, only_west, here, west)
        assert len(plan.used) == 1  # a second box costs more than the way
        beside = site("MCN1", 33.6, -84.3)
        plan = ask(ambient, [{"ATL1": [Row(9)]}, {"MCN1": [Row(9)]}, ][:2], here, beside)  # fmt: skip
        assert len(plan.used) == 2

    def test_what_nobody_has_is_named_and_the_rest_is_sourced(self) -> None:
        plan = ask([need(10, 1), need(10, 2)], [{"ATL1": [Row(100)]}, {"ATL1": [Row(3)], "CLT1": [Row(4)]}])
        assert taken(plan) == [(0, "ATL1", 10)]
        assert [(lost.line_no, lost.reason, lost.available) for lost in plan.unsourceable] == [
            (2, "s.few", 7)
        ]

    def test_a_pause_is_named_before_other_reasons_because_it_may_pass(self) -> None:
        plan = ask([need(10)], [{"ATL1": [Row(0, paused=True)], "CLT1": [Row(3)]}])
        assert [lost.reason for lost in plan.unsourceable] == ["s.pause"]

    def test_a_class_that_a_site_cannot_send_comes_from_another(self) -> None:
        needs = [need(2, 1, "frozen"), need(2, 2, "ambient")]
        plan = ask(needs, [{"ATL1": [Row(9)]}, {"SEA1": [Row(9)]}])
        assert taken(plan) == [(0, "ATL1", 2), (1, "SEA1", 2)]


def test_the_hash_tells_policies_apart() -> None:
    assert policy_hash(DEFAULT_POLICY) == policy_hash(msgspec.structs.replace(DEFAULT_POLICY))
    assert policy_hash(DEFAULT_POLICY) != policy_hash(
        msgspec.structs.replace(DEFAULT_POLICY, split_cents=301)
    )


class TestReach:
    def test_a_cut_off_is_local_and_inclusive(self) -> None:
        table = timetable(NEXT, NOW_MIN)
        cut_off = int(datetime(2026, 3, 4, 22, 0, tzinfo=UTC).timestamp()) // 60
        assert reaching.parcel_leaves_min(table, cut_off) == cut_off
        assert reaching.parcel_leaves_min(table, cut_off + 1) == cut_off + 1_440

    def test_the_night_the_clocks_spring_forward_a_cut_off_comes_an_hour_earlier(self) -> None:
        before = int(datetime(2026, 3, 7, 23, 0, tzinfo=UTC).timestamp()) // 60  # after Saturday's cut-off
        table = timetable(NEXT, before)
        assert reaching.parcel_leaves_min(table, before) == before + 22 * 60

    def test_a_courier_waits_for_the_opening(self) -> None:
        shop = site("ATL1", calendar=Calendar(hours=[Hours(WEEK, "09:00", "18:00")]), cutoffs=())
        table = timetable(shop, NOW_MIN)
        assert reaching.courier_leaves_min(table, NOW_MIN) == NOW_MIN
        evening = NOW_MIN + 7 * 60
        assert reaching.courier_leaves_min(table, evening) == NOW_MIN + 21 * 60

    def test_the_last_workable_departure_still_arrives_in_time(self) -> None:
        way, table = road(NEXT, ATLANTA, DEFAULT_POLICY), timetable(NEXT, NOW_MIN)
        leaves = reaching.parcel_leaves_min(table, NOW_MIN)
        assert leaves is not None
        by_min = leaves + way.transit_min
        assert reaching.last_workable_min(table, way, by_min) == leaves
        assert reaching.last_workable_min(table, way, by_min - 1) == leaves - 1_440

    def test_distance_is_that_of_an_atlas(self) -> None:
        assert reaching.distance_km(33.75, -84.39, 47.61, -122.33) == pytest.approx(3_508, abs=15)


# --- Against trying everything --------------------------------------------------

quantities = st.lists(st.integers(0, 8), min_size=3, max_size=3)


asked = st.tuples(st.integers(1, 8), st.sampled_from(["frozen", "ambient"]), quantities)


@settings(max_examples=150, deadline=None)
@given(st.lists(asked, min_size=1, max_size=3))
def test_no_choice_of_sites_and_boxes_scores_lower(lines: list[tuple[int, str, list[int]]]) -> None:
    """An oracle tries every set of boxes; the plan scores least, over the lines that can be served."""
    sites = (NEAR, NEXT, site("MCN1", 32.8, -83.6))
    needs = [need(qty, i + 1, name) for i, (qty, name, _) in enumerate(lines)]
    stock = [{s.site_id: [Row(q)] for s, q in zip(sites, has, strict=True)} for _, _, has in lines]
    plan = ask(needs, stock, *sites)
    servable = [i for i, (qty, _, has) in enumerate(lines) if sum(has) >= qty]
    assert [lost.line_no - 1 for lost in plan.unsourceable] == [
        i for i in range(len(lines)) if i not in servable
    ]
    for i in servable:
        assert sum(pick.qty for pick in plan.picks if pick.line == i) == lines[i][0]
    for pick in plan.picks:
        assert pick.qty <= pick.bucket.promisable
    assert plan.proven
    assert plan.score_mcents == _least(reach_of(*sites), needs, lines, servable)


def _least(
    reach: Reach, needs: list[Need], lines: list[tuple[int, str, list[int]]], servable: list[int]
) -> int | None:
    names = sorted({needs[i].temperature_class for i in servable})
    boxes = [(i, name) for name in names for i in range(len(reach.site_ids))]
    found = []
    for chosen in chain.from_iterable(combinations(boxes, size) for size in range(1, len(boxes) + 1)):
        score = sum(reach.base_mcents[name][i] for i, name in chosen)
        score += (len({i for i, _ in chosen}) - 1) * DEFAULT_POLICY.split_cents * 1_000
        for line in servable:
            left = needs[line].qty
            able = [i for i, name in chosen if name == needs[line].temperature_class]
            for i in sorted(able, key=lambda i: reach.kg_cents[i]):
                some = min(left, lines[line][2][i])
                score += some * needs[line].unit_g * reach.kg_cents[i]
                left -= some
            if left:
                break
        else:
            found.append(score)
    return min(found, default=None) if servable else None


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 40))
def test_a_search_that_is_cut_off_still_serves_every_line_it_can(cut: int, qty: int) -> None:
    sites = tuple(site(f"S{i:02}", 33 + i / 10, -84 - i / 10) for i in range(8))
    policy = msgspec.structs.replace(DEFAULT_POLICY, search_max=cut)
    reach = reach_of(*sites)
    stock = [{s.site_id: [Row(5)] for s in sites}]
    plan = source([need(qty)], stock, Question(reach, policy))
    assert sum(pick.qty for pick in plan.picks) == qty
    assert plan.score_mcents is not None
    assert plan.bound_mcents <= plan.score_mcents
