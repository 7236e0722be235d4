"""Rescue: what could be done with the goods of a failing zone, weighed as a decision for its approver.

Reads only. Covers come from the policy below; cold space from the zones of this site and, where their
readings are known here, of sites at the end of a lane. What cannot be known at a site (who is awake, whether
a trailer is to be had) is the policy's assumption, and stands among the facts of the decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.network.lanes import Lane, lanes_from
from coldgrid.network.sites import SiteMode, TemperatureClass, get_site
from coldgrid.network.zones import Zone, get_zone, zones_of
from coldgrid.orchestration.decisions import Alternative, Decision, Guardrail
from coldgrid.orchestration.incidents import Incident
from coldgrid.quality.estimate import Lag
from coldgrid.quality.outlook import ColdSpace, Cover, Failure, Goods, Hands
from coldgrid.quality.stay_or_move import Advice, Option, stay_or_move
from coldgrid.quality.zone_now import ProductNow, ZoneNow, zone_now, zone_space

# How far back a zone must show that it keeps its band; more proves no more.
PROOF = timedelta(hours=3)
# So many places are weighed, the nearest first: each costs the decider a look at its readings, which no other
# alarm should wait for.
PLACES_MAX = 16


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is assumed of people and means at night. Minutes from the decision on, money in cents."""

    people: int = 2
    people_ready_min: float = 20.0
    pallets_per_h: float = 15.0
    dock_c: float = 8.0
    load_min: float = 5.0
    ambient_c: float = 25.0
    pull_down_min: float = 60.0
    move_cents_per_pallet: int = 600
    truck_ready_min: float = 75.0
    truck_cents: int = 45_000
    trailer_ready_min: float = 120.0
    trailer_cents: int = 95_000
    dry_ice_ready_min: float = 90.0
    dry_ice_cents_per_pallet: int = 9_000
    # Nobody has dry ice for pallets at hand unless a site's policy says so.
    dry_ice_pallets: float = 0.0


POLICY = Policy()
POLICY_NAME = "stay-or-move@1"


def policy_hash(policy: Policy) -> str:
    """The hash of a policy's values, which with its name says by which rules a decision was made."""
    return sha256(msgspec.json.encode(policy)).hexdigest()


class Place(msgspec.Struct, frozen=True):
    """Where goods could go: what an approved move needs to be carried out."""

    to_site_id: str
    to_zone_id: str
    ready_min: float
    pallets: float


def advise(db: Reader, incident: Incident, now: datetime, policy: Policy = POLICY) -> Decision | None:
    """Weigh staying against every way out; None without goods, or when nobody knows their temperature."""
    zone = get_zone(db, incident.zone_id)
    seen = zone_now(db, zone.zone_id, now)
    goods = [_goods(one) for one in seen.products if _is_judged(one)]
    if not goods or seen.air_c is None:
        return None
    pallets = sum(one.pallets for one in goods)
    candidates = _candidates(db, zone)
    places = _places(db, candidates[:PLACES_MAX], now, pallets, policy)
    failure = _failure(zone, seen, incident, now, policy)
    advice = stay_or_move(
        goods,
        failure,
        _covers(zone, goods, policy),
        [space for space, _ in places.values()],
        Hands(policy.people, policy.people_ready_min, policy.pallets_per_h, policy.dock_c),
    )
    decision = _decision(
        incident, seen, failure, advice, {name: place for name, (_, place) in places.items()}, policy
    )
    if len(candidates) > len(places):
        told = f"{len(places)} of {len(candidates)} were weighed"
        rules = [*decision.guardrails, Guardrail("the nearest places first", True, told)]
        decision = msgspec.structs.replace(decision, guardrails=rules)
    return decision


def _is_judged(one: ProductNow) -> bool:
    return one.product_c is not None and one.limit_c is not None


def _goods(one: ProductNow) -> Goods:
    assert one.product_c is not None, "the caller looked"
    assert one.low_c is not None, "the caller looked"
    assert one.high_c is not None, "the caller looked"
    assert one.limit_c is not None, "the caller looked"
    return Goods(
        product_id=one.product_id,
        temperature_class=one.temperature_class.value,
        value_cents=one.value_cents,
        pallets=one.pallets,
        product_c=one.product_c,
        low_c=one.low_c,
        high_c=one.high_c,
        limit_c=one.limit_c,
        lag=Lag(one.lag_min, one.lag_quick_min, one.lag_slow_min),
    )


def _failure(zone: Zone, seen: ZoneNow, incident: Incident, now: datetime, policy: Policy) -> Failure:
    assert seen.air_c is not None, "the caller looked"
    repair_at = incident.picture.repair_at
    repair_min = None if repair_at is None else max((repair_at - now).total_seconds() / 60, 0.0)
    trend_c_per_h = seen.trend_c_per_h or 0.0
    if seen.in_range and trend_c_per_h <= 0:
        repair_min = 0.0
    return Failure(
        air_c=seen.air_c,
        rate_c_per_min=trend_c_per_h / 60,
        ambient_c=policy.ambient_c,
        setpoint_c=zone.setpoint_c,
        repair_min=repair_min,
        pull_down_min=policy.pull_down_min,
    )


def _covers(zone: Zone, goods: list[Goods], policy: Policy) -> list[Cover]:
    frozen = zone.temperature_class is TemperatureClass.FROZEN
    pallets = min(sum(one.pallets for one in goods), policy.dry_ice_pallets)
    covers = [
        Cover(
            name="reefer trailer at the dock",
            ready_min=policy.trailer_ready_min,
            cost_cents=policy.trailer_cents,
            air_c=zone.setpoint_c,
            handled_min=policy.load_min,
        )
    ]
    if frozen:
        covers.append(
            Cover(
                name="dry ice",
                ready_min=policy.dry_ice_ready_min,
                cost_cents=round(policy.dry_ice_cents_per_pallet * pallets),
                air_c=zone.setpoint_c,
                pallets=policy.dry_ice_pallets,
                available=policy.dry_ice_pallets > 0,
            )
        )
    return covers


# --- Cold space -----------------------------------------------------------------


class _Candidate(msgspec.Struct, frozen=True):
    """A zone of the class, before anybody looked at its readings. `lane`: None within the site."""

    zone: Zone
    lane: Lane | None = None


def _candidates(db: Reader, zone: Zone) -> list[_Candidate]:
    """Every zone of the class that goods could be brought to: the site's own first, then the nearest."""
    found = [
        _Candidate(other)
        for other in zones_of(db, zone.site_id)
        if other.zone_id != zone.zone_id and other.temperature_class is zone.temperature_class
    ]
    for lane in sorted(lanes_from(db, zone.site_id), key=lambda lane: (lane.transit_min, lane.cost_cents)):
        there = zones_of(db, lane.to_site)
        if not there:  # at a site's own node nothing is known of the others
            continue
        takes_in = get_site(db, lane.to_site).mode in (SiteMode.NORMAL, SiteMode.RECEIVE_ONLY)
        if lane.active and takes_in and zone.temperature_class in lane.classes:
            found += [
                _Candidate(other, lane)
                for other in there
                if other.temperature_class is zone.temperature_class
            ]
    return found


def _places(
    db: Reader, candidates: Sequence[_Candidate], now: datetime, pallets: float, policy: Policy
) -> dict[str, tuple[ColdSpace, Place]]:
    """The places with what their readings say, by the name that the approver sees."""
    handling_cents = round(policy.move_cents_per_pallet * pallets)
    found = {}
    for one in candidates:
        if one.lane is None:
            space = _space(db, one.zone, now, f"move to {one.zone.zone_id}", policy)
            space = msgspec.structs.replace(space, cost_cents=handling_cents)
            found[space.name] = (space, _place(one.zone, policy.people_ready_min, space))
        else:
            space = msgspec.structs.replace(
                _space(db, one.zone, now, f"transfer to {one.zone.zone_id}", policy),
                ready_min=policy.truck_ready_min,
                transit_min=float(one.lane.transit_min),
                cost_cents=policy.truck_cents + handling_cents + round(one.lane.cost_cents * pallets),
            )
            found[space.name] = (space, _place(one.zone, policy.truck_ready_min, space))
    return found


def _space(db: Reader, zone: Zone, now: datetime, name: str, policy: Policy) -> ColdSpace:
    seen = zone_space(db, zone, now, PROOF)
    return ColdSpace(
        name=name,
        temperature_class=zone.temperature_class.value,
        air_c=zone.setpoint_c if seen.air_c is None else seen.air_c,
        in_band_min=seen.in_band_min,
        free_pallets=max(zone.capacity_pallets - seen.pallets, 0.0),
        ready_min=0.0,
        load_min=policy.load_min,
        transit_min=0.0,
        transit_c=zone.setpoint_c,
        cost_cents=0,
    )


def _place(zone: Zone, ready_min: float, space: ColdSpace) -> Place:
    return Place(zone.site_id, zone.zone_id, ready_min, space.free_pallets)


# --- The decision ---------------------------------------------------------------


def _decision(
    incident: Incident,
    seen: ZoneNow,
    failure: Failure,
    advice: Advice,
    places: dict[str, Place],
    policy: Policy,
) -> Decision:
    chosen = advice.options[0]
    facts = {
        "moves": chosen.moves,
        "zone_id": seen.zone_id,
        "air_c": seen.air_c,
        "trend_c_per_h": seen.trend_c_per_h,
        "units": seen.units,
        "at_stake_cents": seen.value_cents,
        "currency": seen.currency,
        "crosses_min": _rounded(advice.crosses_min),
        "recovered_min": _rounded(advice.recovered_min),
        "repair_min": _rounded(failure.repair_min),
        "assumed": msgspec.to_builtins(policy),
    }
    return Decision(
        decision_id=derive_id("decision", incident.incident_id, "stay-or-move", seen.at.isoformat()),
        kind="stay_or_move",
        inputs=[incident.cause_id] if incident.cause_id else [],
        facts=facts,
        policy=POLICY_NAME,
        policy_hash=policy_hash(policy),
        alternatives=[_alternative(option, places.get(option.name)) for option in advice.options],
        score_unit="cents",
        guardrails=[Guardrail(rule.name, rule.ok, rule.why) for rule in advice.rules],
        outcome=advice.outcome,
        why=advice.why,
    )


def _alternative(option: Option, place: Place | None) -> Alternative:
    facts: dict[str, Any] = {
        "moves": option.moves,
        "cost_cents": option.cost_cents,
        "loss_cents": option.loss_cents,
        "lost_products": list(option.lost_products),
        "peak_c": round(option.peak_c, 1),
    }
    if place is not None:
        facts |= msgspec.to_builtins(place)
    return Alternative(
        option.name, None if option.score_cents is None else float(option.score_cents), facts, option.why
    )


def _rounded(minutes: float | None) -> float | None:
    return None if minutes is None else round(minutes)
