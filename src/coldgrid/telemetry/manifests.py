"""Manifests: the facts that vouch for sealed blocks of readings, by their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from coldgrid.kernel.events import Event
from coldgrid.kernel.tables import from_micros
from coldgrid.telemetry.landing import Head


class Why(StrEnum):
    """Why a manifest was written."""

    HOURLY = "hourly"
    ON_DEMAND = "on_demand"


class ManifestedBlock(msgspec.Struct, frozen=True, array_like=True):
    """One block in a manifest: a year of them per sensor, so it is a row and not an object."""

    sensor_id: str
    day: int
    block_no: int
    hash: str
    readings: int
    first_us: int
    last_us: int


class BlockRow(msgspec.Struct, frozen=True):
    """A sealed block: where it belongs, its name, its bytes, and who vouches for it ("": no manifest yet)."""

    sensor_id: str
    day: int
    block_no: int
    hash: str
    readings: int
    body: bytes
    vouched_hash: str | None
    entry_id: str | None


class BlocksManifested(Event, frozen=True, tag="telemetry.blocks_manifested"):
    """Blocks were sealed. `landed_no` and `landed_digest`: the site's newest flush then (`landing.L2`)."""

    site_id: str
    why: Why
    cause_id: str
    landed_no: int
    landed_digest: str
    readings: int
    first_at: datetime | None
    last_at: datetime | None
    blocks: list[ManifestedBlock]


def manifest_of(
    site_id: str, head: Head, why: Why, cause_id: str, blocks: Sequence[ManifestedBlock]
) -> BlocksManifested:
    """Return the manifest of some blocks of a site."""
    return BlocksManifested(
        site_id=site_id,
        why=why,
        cause_id=cause_id,
        landed_no=head.landed_no,
        landed_digest=head.digest,
        readings=sum(block.readings for block in blocks),
        first_at=from_micros(min(block.first_us for block in blocks)) if blocks else None,
        last_at=from_micros(max(block.last_us for block in blocks)) if blocks else None,
        blocks=list(blocks),
    )
