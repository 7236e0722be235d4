"""The sourcing policy: what a site, a kilometre, an hour and a second parcel cost. Versioned and hashed.

The figures are a house assumption for US parcel and courier service, in US cents; a network replaces them
with its own. A decision names the version and the hash of the exact bytes it was made under, so that two
decisions that differ can be told apart by policy or by facts.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

FROZEN = "frozen"
CHILLED = "chilled"
AMBIENT = "ambient"


class ColdChain(msgspec.Struct, frozen=True):
    """What a temperature class needs on the road, and how much life its goods must have on arrival.

    Each class travels in a box of its own: `box_cents` once, `hour_cents` of coolant per hour on the road,
    never longer than `transit_max_h`.
    """

    box_cents: int
    hour_cents: int
    transit_max_h: int
    life_min_days: int


class SiteKind(msgspec.Struct, frozen=True):
    """What a kind of site costs per order, how long it needs to pick, how many open lines it can work off."""

    handle_cents: int
    pick_min: int
    open_lines_max: int


class SourcingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that weighs in a sourcing decision beside the facts.

    A site within `local_km` delivers by courier in `local_min`; beyond, a parcel takes `parcel_base_min` and
    moves at `parcel_km_per_h`. Roads are `road_factor` longer than the great circle. `hour_cents` is what an
    hour until arrival weighs, `late_cents` and `late_hour_cents` what missing the promised time weighs,
    `split_cents` what each further site weighs (a second delivery, a second door bell). A site kind that is
    not in `kinds` ships nothing to customers. A site whose facts have not come for `stop_sourcing_after_min`
    offers nothing new; before that its buffer grows (`stock.reserves`).
    """

    version: str = "sourcing-2"
    kinds: dict[str, SiteKind] = msgspec.field(
        default_factory=lambda: {
            "dc": SiteKind(handle_cents=210, pick_min=120, open_lines_max=60_000),
            "mfc": SiteKind(handle_cents=160, pick_min=45, open_lines_max=20_000),
            "store": SiteKind(handle_cents=380, pick_min=60, open_lines_max=2_000),
            "dark_store": SiteKind(handle_cents=190, pick_min=30, open_lines_max=6_000),
        }
    )
    chains: dict[str, ColdChain] = msgspec.field(
        default_factory=lambda: {
            FROZEN: ColdChain(box_cents=320, hour_cents=9, transit_max_h=60, life_min_days=14),
            CHILLED: ColdChain(box_cents=210, hour_cents=5, transit_max_h=48, life_min_days=3),
            AMBIENT: ColdChain(box_cents=60, hour_cents=0, transit_max_h=240, life_min_days=14),
        }
    )
    local_km: int = 60
    local_cents: int = 549
    local_kg_cents: int = 12
    local_min: int = 240
    parcel_cents: int = 899
    parcel_100km_cents: int = 28
    parcel_kg_cents: int = 38
    parcel_kg_100km_cents: int = 2
    parcel_base_min: int = 720
    parcel_km_per_h: int = 48
    road_factor: float = 1.25
    hour_cents: int = 4
    late_cents: int = 2_500
    late_hour_cents: int = 50
    split_cents: int = 300
    stop_sourcing_after_min: int = 1_440
    search_max: int = 1_500


DEFAULT_POLICY = SourcingPolicy()


def policy_hash(policy: SourcingPolicy) -> str:
    """SHA-256 (hex, first 16 characters) of the policy's canonical JSON."""
    return sha256(msgspec.json.encode(policy, order="sorted")).hexdigest()[:16]
