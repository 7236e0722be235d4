"""The RFC 6962 Merkle tree: roots, proofs and their verification, over tiles 256 hashes wide.

Invariants
    M1  A leaf is hashed with prefix 0x00 (by the kernel, `leaf_hash`), a node with prefix 0x01: neither
        can pass for the other.
    M2  A tile only grows: its hashes at a smaller size are its first hashes at every larger one, so proofs
        between any two sizes of the past come from the tiles of today.
    M3  A hash enters a tile of the level above only once its own tile is full.

Source: RFC 6962 section 2.1 (tree, proofs), RFC 9162 sections 2.1.3.2 and 2.1.4.2 (verification), C2SP
tlog-tiles (layout). Hashes are SHA-256, 32 bytes; a sequence of hashes is their concatenation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256

import msgspec

HASH_BYTES = 32
TILE_WIDTH = 256
TILE_HEIGHT = 8
TILE_BYTES = TILE_WIDTH * HASH_BYTES
EMPTY_ROOT = sha256(b"").digest()
PROOF_MAX = 63  # C2SP tlog-witness: no proof of a tree under 2**63 leaves is longer

_PAIR_BYTES = 2 * HASH_BYTES
# Subtrees above the leaf tiles serve many proofs: 2,048 of them take 8 MiB at most.
_FOLDED_MAX = 2048

# Gives a tile's hashes by level and index: at least those its tree size calls for, maybe more (M2).
FetchTile = Callable[[int, int], bytes]
Range = tuple[int, int]  # from the first leaf to behind the last


class Tile(msgspec.Struct, frozen=True, gc=False):
    """A tile, full or partial: `hashes` are the roots of full tiles one level down, or leaf hashes."""

    level: int
    index: int
    hashes: bytes

    @property
    def width(self) -> int:
        """How many hashes it holds, 1 to 256."""
        return len(self.hashes) // HASH_BYTES


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (M1)."""
    return sha256(b"\1" + left + right).digest()


def _parents(hashes: bytes) -> bytes:
    """Hash every pair: one level up, for an even number of hashes."""
    return b"".join(
        [sha256(b"\1" + hashes[at : at + _PAIR_BYTES]).digest() for at in range(0, len(hashes), _PAIR_BYTES)]
    )


# --- Growing ----------------------------------------------------------------------


def edge_of(size: int) -> list[tuple[int, int, int]]:
    """Return (level, index, width) of the partial tiles on the right edge of a tree, from the leaves up."""
    found, level = [], 0
    while size:
        if width := size % TILE_WIDTH:
            found.append((level, size // TILE_WIDTH, width))
        size //= TILE_WIDTH
        level += 1
    return found


class Frontier:
    """The right edge of a growing tree: its partial tiles, all that appending and the root need."""

    def __init__(self, size: int = 0, fetch: FetchTile = lambda level, index: b"") -> None:
        """Take up a tree of `size` leaves whose edge tiles `fetch` gives.

        Raises:
            ValueError: a tile is shorter than the size calls for.
        """
        self.size = size
        self._edge: dict[int, bytes] = {}
        for level, index, width in edge_of(size):
            hashes = fetch(level, index)
            _demand(hashes, level, index, width)
            self._edge[level] = hashes[: width * HASH_BYTES]

    def append(self, leaves: bytes) -> list[Tile]:
        """Add leaf hashes; return every tile that is new or grew, each once, in its present state.

        Hashing runs level by level over whole batches: about one hash for each leaf.
        """
        changed, level, news = [], 0, leaves
        before = self.size
        self.size += len(leaves) // HASH_BYTES
        while news:
            index = before >> (TILE_HEIGHT * (level + 1))
            hashes = self._edge.pop(level, b"") + news
            full_bytes = len(hashes) - len(hashes) % TILE_BYTES
            changed += [
                Tile(level, index + at // TILE_BYTES, hashes[at : at + TILE_BYTES])
                for at in range(0, len(hashes), TILE_BYTES)
            ]
            if full_bytes < len(hashes):
                self._edge[level] = hashes[full_bytes:]
            news = hashes[:full_bytes]
            for _ in range(TILE_HEIGHT):
                news = _parents(news)
            level += 1
        return changed

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        if not self.size:
            return EMPTY_ROOT
        right = b""
        for level in sorted(self._edge):  # the smaller a subtree, the further right it stands
            hashes = self._edge[level]
            for height, index in reversed(_perfect(0, len(hashes) // HASH_BYTES)):
                start = index << height
                left = _fold(hashes[start * HASH_BYTES : (start + (1 << height)) * HASH_BYTES])
                right = node_hash(left, right) if right else left
        return right


def _perfect(low: int, high: int) -> list[tuple[int, int]]:
    """Split an aligned range into perfect subtrees, from the left: (level, index) of each."""
    found = []
    while low < high:
        level = (high - low).bit_length() - 1
        found.append((level, low >> level))
        low += 1 << level
    return found


def _fold(hashes: bytes) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > HASH_BYTES:
        hashes = _parents(hashes)
    return hashes


_fold_often = lru_cache(maxsize=_FOLDED_MAX)(_fold)


def _demand(hashes: bytes, level: int, index: int, width: int) -> None:
    if len(hashes) < width * HASH_BYTES:
        raise ValueError(f"tile {level}/{index} has {len(hashes) // HASH_BYTES} hashes, not {width}")


# --- Proving ----------------------------------------------------------------------


class Tree:
    """Answers for a tree stored as tiles, at any size that the tiles cover."""

    def __init__(self, fetch: FetchTile) -> None:
        self._fetch = fetch

    def root(self, size: int) -> bytes:
        """Return the root at a size.

        Raises:
            ValueError: a tile is missing or short.
        """
        return _range(self._fetch, (0, size)) if size else EMPTY_ROOT

    def leaf(self, index: int) -> bytes:
        """Return a leaf hash."""
        return _node(self._fetch, 0, index)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the proof that the leaf at `index` is in the tree of `size`, from the leaf's sibling up.

        Raises:
            ValueError: there is no such leaf at that size, or a tile is missing.
        """
        if not 0 <= index < size:
            raise ValueError(f"no leaf {index} in a tree of {size}")
        ranges, low, high = [], 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                ranges.append((middle, high))
                high = middle
            else:
                ranges.append((low, middle))
                low = middle
        fetch = _once(self._fetch)
        return [_range(fetch, part) for part in reversed(ranges)]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the tree of `old` leaves is a prefix of the tree of `new`.

        Raises:
            ValueError: `old` exceeds `new`, or a tile is missing.
        """
        if not 0 <= old <= new:
            raise ValueError(f"a tree of {new} does not extend one of {old}")
        if old in (0, new):
            return []
        ranges, low, high = [], 0, new
        while high != old:
            middle = low + _split(high - low)
            if old <= middle:
                ranges.append((middle, high))
                high = middle
            else:
                ranges.append((low, middle))
                low = middle
        if low:  # else the old tree itself is this subtree, and the verifier has its root
            ranges.append((low, high))
        fetch = _once(self._fetch)
        return [_range(fetch, part) for part in reversed(ranges)]


def _once(fetch: FetchTile) -> FetchTile:
    """Return the same function with a memory: a proof asks each of its few tiles for many hashes."""
    known: dict[tuple[int, int], bytes] = {}

    def remembering(level: int, index: int) -> bytes:
        hashes = known.get((level, index))
        if hashes is None:
            hashes = known[level, index] = fetch(level, index)
        return hashes

    return remembering


def _range(fetch: FetchTile, part: Range) -> bytes:
    """Hash the leaves of an aligned range: perfect subtrees, folded from the right."""
    right = b""
    for level, index in reversed(_perfect(*part)):
        left = _node(fetch, level, index)
        right = node_hash(left, right) if right else left
    return right


def _node(fetch: FetchTile, level: int, index: int) -> bytes:
    """Return the root of a perfect subtree: 2**level leaves, counted from the left."""
    tile_level, above = divmod(level, TILE_HEIGHT)
    tile_index, first = divmod(index << above, TILE_WIDTH)
    end = first + (1 << above)
    hashes = fetch(tile_level, tile_index)
    _demand(hashes, tile_level, tile_index, end)
    fold = _fold_often if tile_level else _fold
    return fold(hashes[first * HASH_BYTES : end * HASH_BYTES])


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


# --- Verifying --------------------------------------------------------------------


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether a proof shows the leaf at `index` of the tree with this size and root."""
    if not 0 <= index < size or len(proof) > PROOF_MAX:
        return False
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        if not last:
            return False
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether a proof shows that the tree of `new` leaves only adds to the tree of `old`."""
    if not 0 <= old <= new or len(proof) > PROOF_MAX:
        return False
    if old == new:
        return not proof and old_root == new_root
    if not old:
        return not proof and old_root == EMPTY_ROOT
    rest = list(proof) if old & (old - 1) else [old_root, *proof]
    return bool(rest) and _walk(old - 1, new - 1, rest, (old_root, new_root))


def _walk(at: int, last: int, path: Sequence[bytes], roots: tuple[bytes, bytes]) -> bool:
    while at & 1:
        at, last = at >> 1, last >> 1
    old_found = new_found = path[0]
    for sibling in path[1:]:
        if not last:
            return False
        if at & 1 or at == last:
            old_found = node_hash(sibling, old_found)
            new_found = node_hash(sibling, new_found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and (old_found, new_found) == roots


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    frontier = Frontier()
    frontier.append(b"".join(leaves))
    return frontier.root()
