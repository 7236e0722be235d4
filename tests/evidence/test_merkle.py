"""The tree against RFC 6962's definition, its published vectors, and every way to lie about a proof."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.evidence import merkle
from coldgrid.evidence.merkle import HASH_BYTES, TILE_WIDTH, Frontier, Tree
from coldgrid.kernel.events import leaf_hash

# The data and roots that Certificate Transparency implementations test with.
VECTOR_DATA = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
VECTOR_LEAVES = [leaf_hash(data) for data in VECTOR_DATA]
SIZES = (
    st.integers(0, 3) | st.integers(0, 2000) | st.sampled_from([255, 256, 257, 511, 512, 513, 65536, 65537])
)


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


ALL = leaves_of(66_000)


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\1" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(old: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if old <= k:
        return [*naive_subproof(old, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(old - k, leaves[k:], False), naive_root(leaves[:k])]


class Store:
    """Tiles in a dictionary, as a database keeps them."""

    def __init__(self, batches: Sequence[Sequence[bytes]]) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.frontier = Frontier()
        for batch in batches:
            self.add(batch)
        self.tree = Tree(self.fetch)

    def add(self, leaves: Sequence[bytes]) -> None:
        for tile in self.frontier.append(b"".join(leaves)):
            before = self.tiles.get((tile.level, tile.index), b"")
            assert tile.hashes.startswith(before)
            self.tiles[tile.level, tile.index] = tile.hashes

    def fetch(self, level: int, index: int) -> bytes:
        return self.tiles[level, index]


BIG = Store([ALL])


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_published_vectors(size: int) -> None:
    assert merkle.tree_root(VECTOR_LEAVES[:size]).hex() == VECTOR_ROOTS[size - 1]
    assert Store([VECTOR_LEAVES]).tree.root(size).hex() == VECTOR_ROOTS[size - 1]


def test_an_inclusion_proof_is_that_of_the_published_vector() -> None:
    proof = Store([VECTOR_LEAVES]).tree.inclusion(0, 8)
    assert [part.hex() for part in proof] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert merkle.tree_root([]) == BIG.tree.root(0) == sha256(b"").digest()


@given(batches=st.lists(st.integers(0, 700), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_way_to_batch_the_leaves_gives_the_same_tiles_and_root(batches: list[int]) -> None:
    at, parts = 0, []
    for count in batches:
        parts.append(ALL[at : at + count])
        at += count
    store = Store(parts)
    once = Store([ALL[:at]])
    assert store.tiles == once.tiles
    assert store.frontier.root() == once.frontier.root() == naive_root(ALL[:at]) == store.tree.root(at)


@given(size=st.integers(1, 70_000), more=st.integers(0, 600))
@settings(max_examples=30, deadline=None)
def test_a_frontier_taken_up_from_tiles_goes_on_as_if_never_put_down(size: int, more: int) -> None:
    size = min(size, len(ALL) - more)
    frontier = Frontier(size, BIG.fetch)
    assert frontier.root() == BIG.tree.root(size)
    frontier.append(b"".join(ALL[size : size + more]))
    assert frontier.size == size + more
    assert frontier.root() == BIG.tree.root(size + more)


@given(size=SIZES, index=st.integers(0, 70_000))
@settings(max_examples=60, deadline=None)
def test_inclusion_proofs_are_those_of_the_definition_and_verify(size: int, index: int) -> None:
    size = max(size, 1)
    index %= size
    proof = BIG.tree.inclusion(index, size)
    root = BIG.tree.root(size)
    if size <= 3000:
        assert proof == naive_path(index, ALL[:size])
        assert root == naive_root(ALL[:size])
    assert merkle.verify_inclusion(ALL[index], index, size, proof, root)


@given(sizes=st.tuples(SIZES, SIZES).map(sorted))
@settings(max_examples=60, deadline=None)
def test_consistency_proofs_are_those_of_the_definition_and_verify(sizes: list[int]) -> None:
    old, new = sizes
    proof = BIG.tree.consistency(old, new)
    if old > 0 and new <= 3000:
        assert proof == naive_subproof(old, ALL[:new], whole=True)
    assert merkle.verify_consistency(old, new, BIG.tree.root(old), BIG.tree.root(new), proof)


@given(size=st.integers(1, 400), data=st.data())
@settings(max_examples=80, deadline=None)
def test_no_altered_inclusion_proof_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = BIG.tree.inclusion(index, size), BIG.tree.root(size)
    other = data.draw(st.integers(0, size).filter(lambda number: number != index))
    assert not merkle.verify_inclusion(ALL[index], other, size, proof, root)
    assert not merkle.verify_inclusion(ALL[other], index, size, proof, root)
    assert not merkle.verify_inclusion(ALL[index], index, size, [*proof, root], root)
    assert not merkle.verify_inclusion(ALL[index], index, size, proof, ALL[0] if size > 1 else ALL[1])
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not merkle.verify_inclusion(ALL[index], index, size, proof[:at] + proof[at + 1 :], root)
        proof[at] = flipped(proof[at], data.draw(st.integers(0, 255)))
        assert not merkle.verify_inclusion(ALL[index], index, size, proof, root)


@given(
    sizes=st.tuples(st.integers(1, 400), st.integers(1, 400)).filter(lambda pair: pair[0] != pair[1]),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_no_altered_consistency_proof_verifies(sizes: tuple[int, int], data: st.DataObject) -> None:
    old, new = sorted(sizes)
    proof, roots = BIG.tree.consistency(old, new), (BIG.tree.root(old), BIG.tree.root(new))
    assert proof
    at = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    assert not merkle.verify_consistency(old, new, *roots, proof[:at] + proof[at + 1 :])
    assert not merkle.verify_consistency(old, new, *roots, [*proof, roots[0]])
    assert not merkle.verify_consistency(old, new, flipped(roots[0], bit), roots[1], proof)
    assert not merkle.verify_consistency(old, new, roots[0], flipped(roots[1], bit), proof)
    proof[at] = flipped(proof[at], bit)
    assert not merkle.verify_consistency(old, new, *roots, proof)


def flipped(hash_: bytes, bit: int) -> bytes:
    return (int.from_bytes(hash_, "big") ^ 1 << bit).to_bytes(HASH_BYTES, "big")


def test_a_tree_that_shrank_or_stands_still_with_another_root_is_not_consistent() -> None:
    root = BIG.tree.root(9)
    assert not merkle.verify_consistency(9, 8, root, BIG.tree.root(8), [])
    assert not merkle.verify_consistency(9, 9, root, BIG.tree.root(8), [])
    assert not merkle.verify_consistency(0, 9, root, root, [])
    assert merkle.verify_consistency(0, 9, merkle.EMPTY_ROOT, root, [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        BIG.tree.inclusion(index, size)
    assert not merkle.verify_inclusion(ALL[0], index, size, [], ALL[0])


def test_a_short_tile_is_refused_rather_than_hashed() -> None:
    def short(level: int, index: int) -> bytes:
        return BIG.fetch(level, index)[:-HASH_BYTES] if (level, index) == (0, 2) else BIG.fetch(level, index)

    with pytest.raises(ValueError, match="tile 0/2 has 255 hashes, not 256"):
        Tree(short).inclusion(700, 1000)
    with pytest.raises(ValueError, match="tile 0/3 has"):
        Frontier(1000, lambda level, index: b"")


def test_tiles_have_the_widths_that_tlog_tiles_gives_for_70000_leaves() -> None:
    assert merkle.edge_of(70_000) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert merkle.edge_of(TILE_WIDTH) == [(1, 0, 1)]
