"""Small, valid master data for tests of any room: raw items, and a way to put them in force."""

from __future__ import annotations

from typing import Any

from coldgrid.network.change_rules import ApproveChange, DraftChange
from tests.conftest import Kernel

Raw = dict[str, Any]


def group(group_id: str = "GRP-ATL1", **fields: Any) -> Raw:
    steps = [
        {"after_min": 0, "contacts": [{"person_id": "p-1", "channel": "sms", "address": "+14045550101"}]},
        {"after_min": 10, "contacts": [{"person_id": "p-2", "channel": "voice", "address": "+14045550102"}]},
    ]
    raw = {"group_id": group_id, "name": "Atlanta", "timezone": "America/New_York", "steps": steps}
    return {"kind": "group", **raw, **fields}


def site(site_id: str = "ATL1", **fields: Any) -> Raw:
    week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    raw = {
        "site_id": site_id,
        "name": "Forest Park DC",
        "site_kind": "dc",
        "city": "Forest Park",
        "region": "GA",
        "lat": 33.62,
        "lon": -84.37,
        "timezone": "America/New_York",
        "calendar": {"hours": [{"days": week}]},
        "cutoffs": [{"carrier": "reefer-one", "local_time": "18:30", "days": week[:5]}],
        "sla_tier": "gold",
        "capacity": {"frozen": 400, "chilled": 300, "ambient": 200},
        "escalation_group": "GRP-ATL1",
    }
    return {"kind": "site", **raw, **fields}


def zone(zone_id: str = "ATL1-FRZ1", **fields: Any) -> Raw:
    bands = {"FRZ": ("frozen", -25, -22, -18), "CHL": ("chilled", 1, 3, 5), "AMB": ("ambient", 10, 18, 25)}
    temperature_class, low_c, setpoint_c, high_c = bands[zone_id.split("-")[1][:3]]
    raw = {
        "zone_id": zone_id,
        "site_id": zone_id.split("-", maxsplit=1)[0],
        "name": f"Room {zone_id}",
        "temperature_class": temperature_class,
        "setpoint_c": setpoint_c,
        "low_c": low_c,
        "high_c": high_c,
        "capacity_pallets": 120,
        "lag_min": 240,
    }
    return {"kind": "zone", **raw, **fields}


def location(location_id: str = "ATL1-FRZ1-A01-02", **fields: Any) -> Raw:
    site_id, zone_no, *_ = location_id.split("-")
    raw = {"location_id": location_id, "zone_id": f"{site_id}-{zone_no}", "site_id": site_id}
    return {"kind": "location", **raw, "location_kind": "bulk", **fields}


def lane(from_site: str = "ATL1", to_site: str = "CLT1", **fields: Any) -> Raw:
    raw = {"lane_id": f"{from_site}-{to_site}", "from_site": from_site, "to_site": to_site}
    return {"kind": "lane", **raw, "transit_min": 240, "cost_cents": 9_000, "classes": ["frozen"], **fields}


def product(product_id: str = "ICE-VAN-1L", gtin: str = "09521000000018", **fields: Any) -> Raw:
    raw = {
        "product_id": product_id,
        "gtin": gtin,
        "name": "Vanilla ice cream 1 l",
        "owner": "COLDGRID",
        "temperature_class": "frozen",
        "pack_levels": [
            {"name": "each", "qty": 1},
            {"name": "case", "qty": 8},
            {"name": "pallet", "qty": 640},
        ],
        "shelf_life_days": 540,
        "weight_g": 560,
        "volume_ml": 1_250,
        "value_cents": 429,
        "allergens": ["milk"],
    }
    return {"kind": "product", **raw, **fields}


def limit(product_id: str = "ICE-VAN-1L", **fields: Any) -> Raw:
    raw = {
        "limit_id": f"{product_id}.RANGE",
        "product_id": product_id,
        "limit_kind": "range",
        "high_c": -18,
        "source": "Directive 89/108/EEC, Article 5(1)",
    }
    return {"kind": "limit", **raw, **fields}


def put_in_force(kernel: Kernel, *items: Raw, change_id: str = "change-master") -> None:
    """Draft and approve items, as two people."""
    kernel.do(DraftChange(change_id=change_id, items=list(items), reason="opening"), actor="dora")
    kernel.do(ApproveChange(change_id=change_id, reason="checked"), actor="ana")


def small_network(kernel: Kernel) -> None:
    """Put one site with a freezer, a chiller, a location in each and a product in force."""
    put_in_force(
        kernel,
        group(),
        site(),
        zone(),
        zone("ATL1-CHL1"),
        location(),
        location("ATL1-CHL1-A01-01"),
        change_id="change-small",
    )
