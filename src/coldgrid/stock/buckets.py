"""Buckets: how much of a lot in one zone may be promised. Pure data structure: no database, no clock.

Invariants
    B1  promisable = 0 where the zone is paused or the site does not ship, else
        max(0, sellable − promised − buffer − protected share). It is never negative.
    B2  A shelf (a product of one owner at one site) keeps its buckets first-expired-first-out.
    B3  Protected goods are the last to expire; the shares of a shelf's buckets add up to what is protected.
    B4  `add` with the signs turned round takes a change back; a bucket of no goods and promises is gone.

`sellable` is what the site's facts say, `promised` what the network promised on it. A site's later facts may
push sellable below promised: that is a shortfall, never an error here. Every operation costs the same however
many sites, products and orders there are.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from types import MappingProxyType

import msgspec

from coldgrid.kernel.rejections import Conflict

# product, owner, site, zone, lot, expiry
BucketKey = tuple[str, str, str, str, str, date]
_NOTHING: Mapping[str, list[Bucket]] = MappingProxyType({})
_NO_CREDIT: Mapping[BucketKey, int] = MappingProxyType({})

# Site modes in which goods leave the building.
SHIPPING_MODES = frozenset({"normal", "ship_only"})


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """Goods of one bucket for one order line; `Bucket.allocation` makes it. `qty` in base units, above 0."""

    line_no: int
    site_id: str
    product_id: str
    owner: str
    lot_id: str
    zone_id: str
    qty: int
    expires_on: date

    @property
    def key(self) -> BucketKey:
        """The bucket it draws on."""
        return (self.product_id, self.owner, self.site_id, self.zone_id, self.lot_id, self.expires_on)


class WouldOversell(Conflict):
    """No more may be promised than the bucket has to promise."""

    todo = "Source the line again; the stock changed since it was looked at."


class SiteGate:
    """What holds for all goods of a site: whether it ships, and the buffer kept for facts not heard yet."""

    __slots__ = ("buffer_permille", "closed", "site_id")

    def __init__(self, site_id: str) -> None:
        self.site_id = site_id
        self.closed = False
        self.buffer_permille = 0


class ZoneGate:
    """The open pauses of a zone; several causes may be open at once."""

    __slots__ = ("pauses", "zone_id")

    def __init__(self, zone_id: str) -> None:
        self.zone_id = zone_id
        self.pauses: set[str] = set()


class Shelf(list["Bucket"]):
    """The buckets of one product and owner at one site, and how many base units stay protected there."""

    __slots__ = ("protected",)

    def __init__(self) -> None:
        super().__init__()
        self.protected = 0


class Bucket:
    """One lot with one expiry in one zone. Read it; only the index changes it."""

    __slots__ = ("expires_on", "key", "lot_id", "promised", "sellable", "shelf", "site", "zone")

    def __init__(self, key: BucketKey, site: SiteGate, zone: ZoneGate, shelf: Shelf) -> None:
        self.key = key
        self.lot_id = key[4]
        self.expires_on = key[5]
        self.site = site
        self.zone = zone
        self.shelf = shelf
        self.sellable = 0
        self.promised = 0

    @property
    def site_id(self) -> str:
        """The site that holds it."""
        return self.key[2]

    @property
    def zone_id(self) -> str:
        """The zone it stands in."""
        return self.key[3]

    @property
    def paused(self) -> bool:
        """Whether nothing new is promised from here: its zone is paused or its site does not ship."""
        return bool(self.zone.pauses) or self.site.closed

    @property
    def promisable(self) -> int:
        """How many base units may be promised now (B1)."""
        if self.zone.pauses or self.site.closed:
            return 0
        free = self.sellable - self.promised
        if self.site.buffer_permille or self.shelf.protected:
            return self.promisable_after(0)
        return free if free > 0 else 0

    def promisable_after(self, freed: int) -> int:
        """How many may be promised once `freed` of its promised units are given back in the same breath."""
        if self.paused:
            return 0
        return max(0, self._free() + freed - self._protected_share())

    def allocation(self, line_no: int, qty: int) -> Allocation:
        """Return the allocation of `qty` base units to an order line."""
        product_id, owner, site_id, zone_id, lot_id, expires_on = self.key
        return Allocation(line_no, site_id, product_id, owner, lot_id, zone_id, qty, expires_on)

    @property
    def short(self) -> int:
        """How many promised units the site's facts no longer cover."""
        return max(0, self.promised - self.sellable)

    def _free(self) -> int:
        return self.sellable - self.promised - -(-max(0, self.sellable) * self.site.buffer_permille // 1000)

    def _protected_share(self) -> int:
        """What of the shelf's protection later-expiring goods do not cover (B3)."""
        if not self.shelf.protected:
            return 0
        mine = self.fefo
        later = (b for b in self.shelf if b.fefo > mine and not b.paused)
        return max(0, self.shelf.protected - sum(max(0, b._free()) for b in later))  # noqa: SLF001 (its own kind)

    @property
    def fefo(self) -> tuple[date, str, str]:
        """Its turn in first-expired-first-out order."""
        return (self.expires_on, self.lot_id, self.key[3])


class Buckets:
    """All buckets of the network, by product and owner, site, and turn."""

    def __init__(self, sites: Collection[str] | None = None) -> None:
        # A node is told parts of what stands elsewhere: it keeps its own sites' buckets only (None: all).
        self._kept = sites
        self._by_key: dict[BucketKey, Bucket] = {}
        self._shelves: dict[tuple[str, str], dict[str, Shelf]] = {}
        self._sites: dict[str, SiteGate] = {}
        self._zones: dict[str, ZoneGate] = {}
        # What `require_promisable` looked at last, so that `add_promised` of the same need not look it up.
        self._asked: tuple[Sequence[Allocation], Sequence[Bucket | None]] | None = None

    # --- reads ------------------------------------------------------------------

    def candidates(self, product_id: str, owner: str) -> Mapping[str, list[Bucket]]:
        """Return each site's buckets of a product, first to expire first. Live: do not change or keep it."""
        return self._shelves.get((product_id, owner), _NOTHING)

    def any_promisable(self, product_id: str, owner: str) -> bool:
        """Whether any site has some of a product to promise now."""
        return any(
            bucket.promisable for shelf in self.candidates(product_id, owner).values() for bucket in shelf
        )

    def bucket(self, key: BucketKey) -> Bucket | None:
        """Return one bucket; None when it holds nothing and nothing is promised on it."""
        return self._by_key.get(key)

    def buckets_at(self, site_id: str, zone_id: str | None = None) -> list[Bucket]:
        """Return the buckets of a site, or of one of its zones. Looks at every bucket: not for hot paths."""
        return [
            bucket
            for key, bucket in self._by_key.items()
            if key[2] == site_id and (zone_id is None or key[3] == zone_id)
        ]

    def require_promisable(
        self,
        allocations: Sequence[Allocation],
        today: date,
        credit: Mapping[BucketKey, int] = _NO_CREDIT,
        buckets: Sequence[Bucket | None] | None = None,
    ) -> None:
        """Reject unless every bucket covers what is asked of it, all lines together.

        Args:
            allocations: What would be promised.
            today: The last day whose expired goods are refused is the one before it.
            credit: Units that the same fact gives back, by bucket.
            buckets: Those of this index that the allocations were made of, in their order, where the caller
                has them: building and hashing a key of six parts costs more than all else here.

        Raises:
            WouldOversell: naming the first line that is not covered.
        """
        if buckets is None:
            buckets = [self._by_key.get(allocation.key) for allocation in allocations]
        asked: dict[Bucket, int] = {}
        for allocation, bucket in zip(allocations, buckets, strict=True):
            qty = allocation.qty
            if bucket is None or today > bucket.expires_on or qty < 1:
                raise WouldOversell(**_told(allocation, 0))
            asked[bucket] = wanted = asked.get(bucket, 0) + qty
            can = bucket.promisable
            if credit and bucket.key in credit:
                can = bucket.promisable_after(credit[bucket.key])
            if wanted > can:
                raise WouldOversell(**_told(allocation, can))
        self._asked = allocations, buckets

    def snapshot(self) -> dict[str, object]:
        """Return everything it knows as plain values, for comparing two of them."""
        return {
            "buckets": sorted((key, b.sellable, b.promised) for key, b in self._by_key.items()),
            "protected": sorted(
                (key, site_id, shelf.protected)
                for key, sites in self._shelves.items()
                for site_id, shelf in sites.items()
                if shelf.protected
            ),
            "sites": sorted(
                (g.site_id, g.closed, g.buffer_permille)
                for g in self._sites.values()
                if g.closed or g.buffer_permille
            ),
            "zones": sorted((g.zone_id, sorted(g.pauses)) for g in self._zones.values() if g.pauses),
        }

    # --- changes: from projections and their undo only --------------------------

    def add(self, key: BucketKey, sellable: int, promised: int) -> None:
        """Add to a bucket, making it where it is new and dropping it where nothing is left (B4)."""
        bucket = self._by_key.get(key)
        if bucket is None:
            if self._kept is not None and key[2] not in self._kept:
                return
            bucket = self._open(key)
        bucket.sellable += sellable
        bucket.promised += promised
        if bucket.sellable == 0 and bucket.promised == 0:
            self._drop(bucket)

    def add_promised(self, allocations: Iterable[Allocation], sign: int) -> None:
        """Add what allocations promise, or with `sign` −1 take it back."""
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] is allocations and sign > 0:
            for allocation, bucket in zip(allocations, asked[1], strict=True):
                assert bucket is not None, "it covers what was asked of it, so it stays (B4)"
                bucket.promised += allocation.qty
            return
        for allocation in allocations:
            self.add(allocation.key, 0, sign * allocation.qty)

    def set_pauses(self, zone_id: str, pauses: Collection[str]) -> frozenset[str]:
        """Set a zone's open pauses; return those before."""
        gate = self._zone(zone_id)
        before = frozenset(gate.pauses)
        gate.pauses = set(pauses)
        return before

    def pauses_of(self, zone_id: str) -> frozenset[str]:
        """Return a zone's open pauses."""
        gate = self._zones.get(zone_id)
        return frozenset(gate.pauses) if gate else frozenset()

    def set_closed(self, site_id: str, closed: bool) -> bool:
        """Say whether a site ships nothing; return what held before."""
        gate = self._site(site_id)
        before, gate.closed = gate.closed, closed
        return before

    def set_buffer(self, site_id: str, permille: int) -> int:
        """Set the part of a site's stock kept back for facts not heard yet; return what held before."""
        gate = self._site(site_id)
        before, gate.buffer_permille = gate.buffer_permille, permille
        return before

    def protect(self, product_id: str, owner: str, site_id: str, qty: int) -> int:
        """Keep `qty` base units of a product at a site from being promised; return what was kept before."""
        shelf = self._shelf((product_id, owner), site_id)
        before, shelf.protected = shelf.protected, qty
        self._tidy((product_id, owner), site_id)
        return before

    def _open(self, key: BucketKey) -> Bucket:
        shelf = self._shelf(key[:2], key[2])
        bucket = self._by_key[key] = Bucket(key, self._site(key[2]), self._zone(key[3]), shelf)
        insort(shelf, bucket, key=lambda one: one.fefo)
        return bucket

    def _drop(self, bucket: Bucket) -> None:
        del self._by_key[bucket.key]
        bucket.shelf.remove(bucket)
        self._tidy(bucket.key[:2], bucket.key[2])

    def _shelf(self, product: tuple[str, str], site_id: str) -> Shelf:
        sites = self._shelves.setdefault(product, {})
        shelf = sites.get(site_id)
        if shelf is None:
            shelf = sites[site_id] = Shelf()
        return shelf

    def _tidy(self, product: tuple[str, str], site_id: str) -> None:
        sites = self._shelves[product]
        if not sites[site_id] and not sites[site_id].protected:
            del sites[site_id]
        if not sites:
            del self._shelves[product]

    def _site(self, site_id: str) -> SiteGate:
        gate = self._sites.get(site_id)
        if gate is None:
            gate = self._sites[site_id] = SiteGate(site_id)
        return gate

    def _zone(self, zone_id: str) -> ZoneGate:
        gate = self._zones.get(zone_id)
        if gate is None:
            gate = self._zones[zone_id] = ZoneGate(zone_id)
        return gate


def _told(allocation: Allocation, promisable: int) -> dict[str, object]:
    return {
        "line_no": allocation.line_no,
        "product_id": allocation.product_id,
        "site_id": allocation.site_id,
        "zone_id": allocation.zone_id,
        "lot_id": allocation.lot_id,
        "wanted": allocation.qty,
        "promisable": promisable,
    }
