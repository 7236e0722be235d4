"""Sites, zones, locations, lanes and groups: what is refused with which fix, and what readers get."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from coldgrid.kernel.personal import EraseSubject
from coldgrid.kernel.rejections import Invalid
from coldgrid.network import groups, lanes, sites, zones
from coldgrid.network.change_rules import DraftChange
from coldgrid.network.sites import ChangeSiteMode, SiteAlreadyInMode, SiteKind, SiteMode, SiteNotFound
from tests.conftest import T0, Kernel
from tests.network.master import Raw, group, lane, location, put_in_force, site, small_network, zone

WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def refused(kernel: Kernel, *items: Raw) -> dict[str, str]:
    """Draft items and return each wrong field of the last one with its message and fix."""
    with pytest.raises(Invalid) as caught:
        kernel.do(DraftChange(change_id="c", items=list(items), reason="try"))
    prefix = f"items[{len(items) - 1}]."
    return {
        problem.field.removeprefix(prefix): f"{problem.message}: {problem.fix}"
        for problem in caught.value.problems
        if problem.field.startswith(prefix)
    }


class TestSites:
    @pytest.mark.parametrize("kind", list(SiteKind))
    def test_a_site_of_any_kind_is_defined_and_read_back(self, kernel: Kernel, kind: SiteKind) -> None:
        put_in_force(kernel, group(), site(site_kind=kind.value))
        found = sites.get_site(kernel.reader(), "ATL1")
        assert (found.kind, found.mode, found.timezone) == (kind, SiteMode.NORMAL, "America/New_York")
        assert found.capacity[sites.TemperatureClass.FROZEN] == 400
        kernel.rebuild()

    @pytest.mark.parametrize(
        ("fields", "field", "told"),
        [
            ({"site_id": "atlanta-1"}, "site_id", "three letters"),
            ({"timezone": "America/NewYork"}, "timezone", "did you mean America/New_York?"),
            ({"lat": -84.37, "lon": 33.62}, "lon", "swap lat and lon: lat 33.62, lon -84.37"),
            ({"lon": 84.37}, "lon", "its sign"),
            ({"lat": 133.62}, "lat", "at most 90"),
            ({"site_kind": "warehouse"}, "site_kind", "warehouse"),
            ({"capacity": {"frozen": -1}}, "capacity.frozen", "at least 0"),
            ({"capacity": {"frosty": 1}}, "capacity", "frosty"),
            ({"escalation_group": "GRP-NOBODY"}, "escalation_group", "no escalation group"),
            ({"country": "usa"}, "country", "regex"),
            (
                {"calendar": {"hours": [{"days": [], "opens": "09:00", "closes": "17:00"}]}},
                "calendar.hours[0].days",
                "no day",
            ),
            (
                {"calendar": {"hours": [{"days": WEEK, "opens": "22:00", "closes": "06:00"}]}},
                "calendar.hours[0].closes",
                "two rows",
            ),
            (
                {"calendar": {"hours": [{"days": WEEK, "opens": "7:00"}]}},
                "calendar.hours[0].opens",
                "regex",
            ),
            (
                {"cutoffs": [{"carrier": "x", "local_time": "25:00", "days": ["mon"]}]},
                "cutoffs[0].local_time",
                "regex",
            ),
            (
                {"calendar": {"hours": [{"days": ["mon"]}]}},
                "cutoffs[0].days",
                "the site has no hours then",
            ),
        ],
    )
    def test_a_wrong_field_is_named_with_its_fix(
        self, kernel: Kernel, fields: Raw, field: str, told: str
    ) -> None:
        assert told in refused(kernel, group(), site(**fields))[field]

    def test_a_carrier_has_one_cut_off_a_day(self, kernel: Kernel) -> None:
        cutoffs = [{"carrier": "x", "local_time": f"1{n}:00", "days": ["mon"]} for n in range(2)]
        assert "second cut-off on mon" in refused(kernel, group(), site(cutoffs=cutoffs))["cutoffs[1]"]

    def test_the_mode_changes_by_itself_and_outlives_a_change_of_settings(self, kernel: Kernel) -> None:
        put_in_force(kernel, group(), site())
        closing = ChangeSiteMode(site_id="ATL1", mode=SiteMode.SHIP_ONLY, reason="dock 3 is flooded")
        kernel.do(closing, actor="sue", at=5)
        put_in_force(kernel, site(name="Forest Park North"), change_id="renamed")
        found = sites.get_site(kernel.reader(), "ATL1")
        assert (found.name, found.mode, found.mode_by) == ("Forest Park North", SiteMode.SHIP_ONLY, "sue")
        assert (found.receives, found.ships) == (False, True)
        with pytest.raises(SiteAlreadyInMode):
            kernel.do(msgspec.structs.replace(closing, reason="again"))
        kernel.rebuild()

    def test_a_mode_needs_a_reason_and_a_site(self, kernel: Kernel) -> None:
        put_in_force(kernel, group(), site())
        with pytest.raises(Invalid):
            kernel.do(ChangeSiteMode(site_id="ATL1", mode=SiteMode.CLOSED, reason=" "))
        with pytest.raises(SiteNotFound):
            kernel.do(ChangeSiteMode(site_id="CLT1", mode=SiteMode.CLOSED, reason="snow"))


class TestZones:
    @pytest.mark.parametrize(
        ("fields", "field", "told"),
        [
            ({"zone_id": "atl1-frz1"}, "zone_id", "did you mean ATL1-FRZ1?"),
            ({"site_id": "CLT1"}, "zone_id", "begin it with CLT1-"),
            ({"zone_id": "ATL1-CHL1"}, "zone_id", "did you mean ATL1-FRZ1?"),
            ({"setpoint_c": -7.6, "low_c": -13.0, "high_c": 0.0}, "high_c", "0 °F is -17.8 °C"),
            ({"setpoint_c": -17}, "setpoint_c", "between low_c and high_c"),
            ({"capacity_pallets": 12.5}, "capacity_pallets", "int"),
            ({"lag_min": 0}, "lag_min", "more than 0"),
            ({"asset_id": "compressor 1"}, "asset_id", "like ATL1-FRZ1-CMP1"),
            ({"escalation_group": "GRP-NOBODY"}, "escalation_group", "no escalation group"),
            ({"setpoint_c": "-8 °F"}, "setpoint_c", "write -22.22"),
        ],
    )
    def test_a_wrong_field_is_named_with_its_fix(
        self, kernel: Kernel, fields: Raw, field: str, told: str
    ) -> None:
        assert told in refused(kernel, group(), site(), zone() | fields)[field]

    def test_a_zone_needs_a_site_with_that_class(self, kernel: Kernel) -> None:
        assert "no site" in refused(kernel, zone())["site_id"]
        ambient = site(capacity={"ambient": 5})
        assert "capacity.frozen" in refused(kernel, group(), ambient, zone())["temperature_class"]

    def test_zones_and_locations_are_found_by_what_they_are_in(self, kernel: Kernel) -> None:
        small_network(kernel)
        db = kernel.reader()
        assert [found.zone_id for found in zones.zones_of(db, "ATL1")] == ["ATL1-CHL1", "ATL1-FRZ1"]
        assert [found.location_id for found in zones.locations_of_zone(db, "ATL1-FRZ1")] == [
            "ATL1-FRZ1-A01-02"
        ]
        assert zones.get_location(db, "ATL1-FRZ1-A01-02").kind is zones.LocationKind.BULK
        assert len(zones.list_zones(db)) == 2
        with pytest.raises(zones.ZoneNotFound):
            zones.get_zone(db, "ATL1-FRZ9")
        with pytest.raises(zones.LocationNotFound):
            zones.get_location(db, "ATL1-FRZ1-A01-99")
        kernel.rebuild()

    def test_a_location_is_in_a_zone_that_exists(self, kernel: Kernel) -> None:
        told = refused(kernel, group(), site(), zone(), location("ATL1-FRZ2-A01-02"))
        assert "no zone 'ATL1-FRZ2'" in told["zone_id"]
        told = refused(kernel, group(), site(), zone(), location(zone_id="ATL1-CHL1"))
        assert "begin it with ATL1-CHL1-" in told["location_id"]


class TestLanes:
    def test_lanes_are_found_from_either_end_while_in_use(self, kernel: Kernel) -> None:
        put_in_force(kernel, group(), site(), site("CLT1"), lane(), lane("CLT1", "ATL1"))
        db = kernel.reader()
        assert [found.lane_id for found in lanes.lanes_from(db, "ATL1")] == ["ATL1-CLT1"]
        assert [found.lane_id for found in lanes.lanes_to(db, "ATL1")] == ["CLT1-ATL1"]
        put_in_force(kernel, lane(active=False), change_id="closed")
        assert lanes.lanes_from(db, "ATL1") == []
        assert not lanes.get_lane(db, "ATL1-CLT1").active
        with pytest.raises(lanes.LaneNotFound):
            lanes.get_lane(db, "ATL1-TPA1")
        kernel.rebuild()

    @pytest.mark.parametrize(
        ("fields", "field", "told"),
        [
            ({"lane_id": "ATL1-TPA1"}, "lane_id", "did you mean ATL1-CLT1?"),
            ({"to_site": "TPA1"}, "to_site", "no site 'TPA1'"),
            ({"to_site": "ATL1"}, "to_site", "leads to another site"),
            ({"classes": []}, "classes", "no temperature class"),
            ({"classes": ["cold"]}, "classes[0]", "cold"),
            ({"cost_cents": -1}, "cost_cents", "at least 0"),
            ({"cost_cents": "$ 90.00"}, "cost_cents", "write 9000"),
            ({"transit_min": "4 h"}, "transit_min", "write 240"),
        ],
    )
    def test_a_wrong_field_is_named_with_its_fix(
        self, kernel: Kernel, fields: Raw, field: str, told: str
    ) -> None:
        assert told in refused(kernel, group(), site(), site("CLT1"), lane(**fields))[field]


class TestGroups:
    def test_a_zone_s_own_group_answers_for_it_and_else_the_site_s(self, kernel: Kernel) -> None:
        put_in_force(
            kernel,
            group(),
            group("GRP-COLD", name="Cold store"),
            site(),
            zone(escalation_group="GRP-COLD"),
            zone("ATL1-CHL1"),
        )
        db = kernel.reader()
        assert groups.group_of(db, "ATL1", "ATL1-FRZ1").group_id == "GRP-COLD"
        assert groups.group_of(db, "ATL1", "ATL1-CHL1").group_id == "GRP-ATL1"
        assert groups.group_of(db, "ATL1").steps[0].contacts[0].address == "+14045550101"
        assert [found.group_id for found in groups.list_groups(db)] == ["GRP-ATL1", "GRP-COLD"]
        with pytest.raises(groups.GroupNotFound):
            groups.get_group(db, "GRP-NOBODY")
        kernel.rebuild()

    def test_the_rota_says_who_is_on_duty(self, kernel: Kernel) -> None:
        put_in_force(kernel, rota_group())
        db = kernel.reader()
        (duty,) = groups.on_duty(db, "GRP-ATL1", datetime(2026, 3, 4, 7, tzinfo=UTC))
        assert (duty.person_id, duty.drive_min) == ("p-1", 18)

    def test_an_erased_person_leaves_a_step_without_an_address(self, kernel: Kernel) -> None:
        put_in_force(kernel, group(), site())
        kernel.do(EraseSubject(subject="p-1", reason="asked for it"))
        steps = groups.group_of(kernel.reader(), "ATL1", at=T0).steps
        assert [step.contacts[0].address for step in steps] == ["", "+14045550102"]

    @pytest.mark.parametrize(
        ("fields", "field", "told"),
        [
            ({"group_id": "atl1"}, "group_id", "did you mean GRP-ATL1?"),
            ({"timezone": "EST5"}, "timezone", "no IANA time zone"),
            ({"steps": []}, "steps", "is empty"),
            ({"steps": [{"after_min": 0}]}, "steps[0]", "pages nobody"),
            ({"steps": [{"after_min": 0, "rota": "night"}]}, "steps[0].rota", "no rota 'night'"),
            (
                {
                    "steps": [
                        {
                            "after_min": 0,
                            "contacts": [{"person_id": "p", "channel": "sms", "address": "+1 404 555-0101"}],
                        }
                    ]
                },
                "steps[0].contacts[0].address",
                "did you mean +14045550101?",
            ),
            (
                {
                    "steps": [
                        {
                            "after_min": 0,
                            "contacts": [{"person_id": "p", "channel": "email", "address": "ana"}],
                        }
                    ]
                },
                "steps[0].contacts[0].address",
                "ana@example.com",
            ),
        ],
    )
    def test_a_wrong_field_is_named_with_its_fix(
        self, kernel: Kernel, fields: Raw, field: str, told: str
    ) -> None:
        assert told in refused(kernel, group(**fields))[field]

    def test_every_wrong_part_of_a_step_is_told_at_once(self, kernel: Kernel) -> None:
        contact = {"person_id": "p", "channel": "fax", "address": 1}
        told = refused(kernel, group(steps=[{"after_min": -1, "contacts": [contact]}, {"after_min": "x"}]))
        assert {"steps[0].after_min", "steps[0].contacts[0].channel"} <= set(told)
        assert {"steps[0].contacts[0].address", "steps[1].after_min"} <= set(told)

    def test_steps_come_in_the_order_of_their_delays(self, kernel: Kernel) -> None:
        contact = {"person_id": "p", "channel": "sms", "address": "+14045550101"}
        steps = [{"after_min": after, "contacts": [contact]} for after in (10, 5)]
        assert "before the step above" in refused(kernel, group(steps=steps))["steps[1].after_min"]

    def test_a_rota_s_members_can_be_reached(self, kernel: Kernel) -> None:
        assert "'p-1' cannot be reached" in refused(kernel, rota_group(people=[]))["rotas[0].members"]


def rota_group(**fields: Any) -> Raw:
    raw: Raw = {
        "steps": [{"after_min": 0, "rota": "keyholder"}],
        "rotas": [{"name": "keyholder", "starts_on": "2026-03-02", "members": ["p-1"]}],
        "people": [{"person_id": "p-1", "channel": "voice", "address": "+14045550101", "drive_min": 18}],
    }
    return group(**raw | fields)


STORED: list[tuple[type[msgspec.Struct], bytes]] = [
    (
        sites.SiteDefined,
        b'{"type":"network.site_defined","site":{"site_id":"ATL1","name":"Forest Park DC","site_kind":"dc",'
        b'"city":"Forest Park","region":"GA","country":"US","lat":33.62,"lon":-84.37,'
        b'"timezone":"America/New_York","calendar":{"hours":[{"days":["mon"],"opens":"07:00","closes":"24:00"}],'
        b'"closures":[{"on":"2026-12-25","why":"Christmas Day"}]},"cutoffs":[{"carrier":"reefer",'
        b'"local_time":"18:30","days":["mon"]}],"sla_tier":"gold","capacity":{"frozen":400},'
        b'"escalation_group":"GRP-ATL1"}}',
    ),
    (
        sites.SiteModeChanged,
        b'{"type":"network.site_mode_changed","site_id":"ATL1","before":"normal","mode":"ship_only",'
        b'"reason":"flood"}',
    ),
    (
        zones.ZoneDefined,
        b'{"type":"network.zone_defined","zone":{"zone_id":"ATL1-FRZ1","site_id":"ATL1","name":"Freezer",'
        b'"temperature_class":"frozen","setpoint_c":-22.0,"low_c":-25.0,"high_c":-18.0,"capacity_pallets":120,'
        b'"lag_min":240.0,"asset_id":"ATL1-FRZ1-CMP1","escalation_group":null}}',
    ),
    (
        zones.LocationDefined,
        b'{"type":"network.location_defined","location":{"location_id":"ATL1-FRZ1-A01-02","zone_id":"ATL1-FRZ1",'
        b'"site_id":"ATL1","location_kind":"bulk","active":true}}',
    ),
    (
        lanes.LaneDefined,
        b'{"type":"network.lane_defined","lane":{"lane_id":"ATL1-CLT1","from_site":"ATL1","to_site":"CLT1",'
        b'"distance_km":480.0,"transit_min":490,"cost_cents":10000,"classes":["frozen"],"active":true}}',
    ),
    (
        groups.GroupDefined,
        b'{"type":"network.group_defined","group":{"group_id":"GRP-ATL1","name":"Atlanta",'
        b'"timezone":"America/New_York","steps":[{"after_min":0,"contacts":[{"person_id":"p-1","channel":"sms",'
        b'"address":{"subject":"p-1","cipher":"AAEC"},"drive_min":18}],"rota":"keyholder"}],'
        b'"rotas":[{"name":"keyholder","starts_on":"2026-01-05","handover":"08:00","turn_days":7,'
        b'"members":["p-1"],"window_from":"00:00","window_to":"00:00","swaps":[{"from_at":"2026-01-06T00:00:00Z",'
        b'"until_at":"2026-01-07T00:00:00Z","person_id":"p-2","why":""}]}],"people":[]}}',
    ),
]


@pytest.mark.parametrize(("type_", "stored"), STORED, ids=lambda value: getattr(value, "__name__", ""))
def test_events_keep_their_wire_form(type_: type[msgspec.Struct], stored: bytes) -> None:
    """Bytes from release 1 must decode for ever. Add lines; never edit one."""
    assert msgspec.json.encode(msgspec.json.decode(stored, type=type_)) == stored


def test_an_event_with_fields_of_a_later_release_still_decodes() -> None:
    later = STORED[0][1].replace(b'"opens":', b'"shift":"early","opens":')
    assert msgspec.json.decode(later, type=sites.SiteDefined).site.site_id == "ATL1"
