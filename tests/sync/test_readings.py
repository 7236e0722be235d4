"""Readings of a node at the tower: parcels while they are fresh, blocks once they are sealed, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.kernel.reading import Reader
from coldgrid.sync import messages as m
from coldgrid.sync import readings
from coldgrid.sync.messages import Code
from coldgrid.telemetry import archive, arriving, parcels, store
from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.parcel_form import ParcelDamaged, pack_parcel, unpack_parcel
from coldgrid.telemetry.seal import SealBlocks
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.sync.pair import Node, Tower
from tests.sync.test_refusals import send
from tests.telemetry.cold_room import AIR, AIR_2, feed, steady

# --- Bytes ------------------------------------------------------------------------

sensor_readings = st.lists(
    st.tuples(
        st.lists(st.integers(0, 4_000_000_000_000_000), min_size=1, max_size=30, unique=True).map(sorted),
        st.integers(-(10**7), 10**7),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def part(times: list[int], value: int, bad: bool) -> Readings:
    count = len(times)
    values = value + np.arange(count, dtype=np.int64) * 100
    return Readings(np.array(times, dtype=np.int64), values, np.full(count, bad))


@given(sensor_readings)
def test_a_parcel_gives_back_what_was_put_in(listed: list[tuple[list[int], int, bool]]) -> None:
    parts = [(f"ATL1-FRZ1-T{index}", part(*one)) for index, one in enumerate(listed)]
    back = unpack_parcel(pack_parcel(parts))
    assert [name for name, _ in back] == [name for name, _ in parts]
    for (_, before), (_, after) in zip(parts, back, strict=True):
        for column in ("at_us", "value_e4", "bad"):
            assert (getattr(before, column) == getattr(after, column)).all()


def test_a_days_readings_take_few_bytes() -> None:
    grid = np.arange(8_640, dtype=np.int64) * 10_000_000
    values = (-210_000 + 625 * np.round(4 * np.sin(np.arange(8_640) / 500)).astype(np.int64)).astype(np.int64)
    day = [
        (f"ATL1-FRZ1-T{n}", Readings(grid + n, values, np.zeros(8_640, dtype=np.bool_))) for n in range(10)
    ]
    assert len(pack_parcel(day)) / 86_400 < 0.1


PARCEL = pack_parcel([("ATL1-FRZ1-T1", part([1, 2, 3], 5, False))])


@given(st.integers(0, len(PARCEL) - 1), st.integers(1, 255))
def test_damaged_bytes_are_no_parcel_or_a_whole_one(place: int, change: int) -> None:
    damaged = bytearray(PARCEL)
    damaged[place] ^= change
    try:
        back = unpack_parcel(bytes(damaged))
    except ParcelDamaged:
        return
    assert all(len(one) and (np.diff(one.at_us) > 0).all() for _, one in back)


# --- Both sides -------------------------------------------------------------------


@pytest.fixture
def pair(kernel: Kernel) -> Iterator[tuple[Tower, Node]]:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        yield tower, node


def shown(db: Reader, days: int = 4) -> object:
    """Everything that is shown of the site's readings."""
    until = T0 + timedelta(days=days)
    lines = {
        name: [column.tolist() for column in store.series(db, name, T0 - timedelta(days=1), until)]
        for name in (AIR, AIR_2)
    }
    sums = [
        msgspec.structs.replace(one, mean_c=round(one.mean_c or 0, 9), mkt_c=round(one.mkt_c or 0, 6))
        for one in store.rollups(db, [AIR, AIR_2], T0 - timedelta(days=1), until)
    ]
    return lines, sums, store.last_readings(db, "ATL1")


def same(tower: Tower, node: Node) -> None:
    assert shown(tower.kernel.reader()) == shown(node.kernel.reader())


def seal(node: Node) -> None:
    node.kernel.do(SealBlocks(site_id="ATL1", cause_id="inc-1", sensor_ids=(AIR, AIR_2)))


def test_fresh_readings_come_in_parcels_and_are_shown_at_once(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    for start in range(0, 60, 10):
        feed(node.kernel, steady(start, 10) + steady(start, 10, name=AIR_2))
        node.talk()
        same(tower, node)
    assert parcels.waiting(node.kernel.reader(), "ATL1") == (0, 0), "what the tower has need not wait"


def test_sealed_blocks_take_the_place_of_parcels_and_nothing_counts_twice(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    feed(node.kernel, steady(0, 60) + steady(0, 60, name=AIR_2))
    node.talk()
    seal(node)
    node.talk()
    node.talk()
    same(tower, node)
    assert arriving.missing(tower.kernel.reader(), "ATL1") == (0, 0)
    assert archive.damaged_blocks(tower.kernel.reader(), AIR, 0, 2**30) == []
    held = [row.hash for row in archive.block_rows(tower.kernel.reader(), AIR, 0, 2**30)]
    assert held == [row.hash for row in archive.block_rows(node.kernel.reader(), AIR, 0, 2**30)]
    tower.kernel.rebuild()


def test_two_sensors_that_read_the_same_both_have_their_block(pair: tuple[Tower, Node]) -> None:
    """Their blocks have the same bytes and so the same name; the second one needs none to be sent."""
    tower, node = pair
    for name in (AIR, AIR_2):
        feed(node.kernel, steady(0, 30, name=name), at_minute=31)
        node.kernel.do(SealBlocks(site_id="ATL1", cause_id=f"inc-{name}", sensor_ids=(name,)))
        node.talk()
        node.talk()
        same(tower, node)
    rows = [archive.block_rows(tower.kernel.reader(), name, 0, 2**30) for name in (AIR, AIR_2)]
    assert len({row.hash for listed in rows for row in listed}) == 1
    assert [len(listed) for listed in rows] == [1, 1]
    tower.kernel.rebuild()


def test_parcels_of_a_sealed_past_are_skipped_and_come_as_blocks(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    feed(node.kernel, steady(0, 30))
    readings.cut(node.desk, "ATL1")
    node.kernel.advance(60 * 40)  # two days: the hourly rounds seal the first one
    feed(node.kernel, steady(60 * 40, 5))
    node.talk()
    node.talk()
    same(tower, node)
    assert archive.block_rows(tower.kernel.reader(), AIR, 0, 2**30)


def test_a_block_that_is_not_the_one_vouched_for_is_refused(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    feed(node.kernel, steady(0, 30))
    seal(node)
    node.talk(rounds=2000)
    feed(node.kernel, steady(40, 30))
    seal(node)
    facts = [one for one in node.carrier.look(node.now_us) if one.lane == "facts"]
    assert isinstance(node.answer(facts[0]), bytes)
    [wanted] = readings.wanted(tower.kernel.reader(), "ATL1")
    good = readings.blocks_to_send(node.kernel.reader(), [wanted]).blocks[0]
    other = archive.block_rows(node.kernel.reader(), AIR, 0, 2**30)[0].body
    answer = send(tower, m.Blocks([m.Block(good.sensor_id, good.day, good.block_no, other)]))
    assert answer == m.BlocksTaken(0, [wanted], m.Pace()), "nobody wants it"
    assert send(tower, m.Blocks([good])) == m.BlocksTaken(1, [], m.Pace())
    assert send(tower, m.Blocks([good])) == m.BlocksTaken(0, [], m.Pace())


def test_parcels_out_of_order_damaged_or_of_other_sensors_are_refused(pair: tuple[Tower, Node]) -> None:
    tower, _ = pair
    foreign = pack_parcel([("CLT1-FRZ1-T1", part([1], 5, False))])
    fresh = pack_parcel([(AIR, part([1], 5, False))])
    for parcel, code in (
        (m.Parcel(5, fresh), Code.GAP),
        (m.Parcel(1, b"garbage"), Code.MALFORMED),
        (m.Parcel(1, foreign), Code.NOT_YOURS),
    ):
        answer = send(tower, m.Parcels([parcel]))
        assert isinstance(answer, m.Refused)
        assert answer.code == code
    assert send(tower, m.Parcels([m.Parcel(1, fresh)])) == m.ParcelsTaken(1, [], m.Pace())
    assert send(tower, m.Parcels([m.Parcel(1, fresh)])) == m.ParcelsTaken(1, [], m.Pace())


# --- The law ----------------------------------------------------------------------


class Day:
    """A node and its tower, and what may happen to them."""

    def __init__(self, tower: Tower, node: Node) -> None:
        self.tower, self.node, self.minute = tower, node, 0

    def read(self) -> None:
        feed(self.node.kernel, steady(self.minute, 7) + steady(self.minute, 7, name=AIR_2))
        self.minute += 7

    def late(self) -> None:
        if self.minute:
            feed(self.node.kernel, [(AIR, self.minute - 6.5, -20.0)], at_minute=self.minute)

    def cut(self) -> None:
        readings.cut(self.node.desk, "ATL1")

    def seal(self) -> None:
        if self.minute:
            seal(self.node)

    def talk(self) -> None:
        self.node.talk()

    def crash(self) -> None:
        self.node.kernel.restart()
        self.node.wake()

    def lapse(self) -> None:
        self.tower.kernel.restart()
        self.tower.open_post()

    def wait(self) -> None:
        for kernel in (self.node.kernel, self.tower.kernel):
            kernel.advance(60 * 13)
        self.minute += 60 * 13


happenings = st.lists(
    st.sampled_from(
        [Day.read, Day.read, Day.late, Day.cut, Day.seal, Day.talk, Day.crash, Day.wait, Day.lapse]
    ),
    max_size=14,
)


@settings(max_examples=12, deadline=None)
@given(happenings)
def test_in_whatever_order_they_arrive_both_sides_show_the_same(
    happened: list[Callable[[Day], None]],
) -> None:
    with sqlite_kernel() as kernel, sqlite_kernel() as own:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        node = Node(tower, own)
        day = Day(tower, node)
        day.talk()
        for happens in [*happened, Day.read, Day.talk, Day.talk, Day.talk]:
            happens(day)
        same(tower, node)
