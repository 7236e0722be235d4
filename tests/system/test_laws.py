"""The laws that hold whatever happens in whatever order, with every room at work at once.

Stock, orders and readings each have histories of their own beside their rooms; here they drive each other.
What is promised and what is dispatched is judged by an audit that folds the log again and trusts no table.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache, partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from coldgrid.evidence import merkle, notes, tiles
from coldgrid.evidence.checkpoints import Notary, audit, make_checkpoints
from coldgrid.evidence.notes import Signer
from coldgrid.kernel import log
from coldgrid.kernel.events import Command, Entry
from coldgrid.kernel.origins import take_in
from coldgrid.kernel.personal import EraseSubject, SubjectErased
from coldgrid.kernel.rebuild import projection_tables
from coldgrid.kernel.rejections import InternalFault, Rejected
from coldgrid.kernel.statements import Statement
from coldgrid.orders import orders
from coldgrid.stock.ledger import unbalanced
from coldgrid.stock.movements import MoveUnit
from coldgrid.stock.pauses import PauseReason, PauseZone, ResumeZone, all_open_pauses
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer, on_their_way
from coldgrid.tower.rooms import load_rooms
from coldgrid.tower.scenario.audit import held_shipped, oversold
from tests.conftest import KERNELS, Kernel, sqlite_kernel
from tests.network.master import put_in_force
from tests.orders import world
from tests.stock.world import (
    AWAY,
    BULK,
    FREEZER,
    OTHER,
    PICK,
    SITE,
    dispatch,
    hold,
    index,
    open_world,
    receive,
    release,
    sscc,
)
from tests.telemetry.cold_room import AIR, readings, sensor

UNITS = [sscc(n) for n in range(1, 5)]
ROLES = {"quality", "supervisor", "recall_coordinator", "operator", "admin"}
NOTARY = Notary(Signer("coldgrid.example/tower", bytes(range(32))), "coldgrid.example")
CUSTOMERS = ("bea", "cy")
units = st.sampled_from(UNITS)
numbers = st.integers(1, 4)
quantities = st.integers(1, 40)
sites = st.sampled_from([SITE, OTHER])


class Laws(RuleBasedStateMachine):
    """Two sites, four pallets, four orders of two customers, a sensor, and whatever can happen to them."""

    database = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        load_rooms()
        self.stack = ExitStack()
        self.kernel: Kernel = self.stack.enter_context(KERNELS[self.database]())
        open_world(self.kernel)
        put_in_force(self.kernel, sensor(), change_id="change-sensors")
        self.count = 0
        self.minute = 0
        self.erased: set[str] = set()

    def teardown(self) -> None:
        try:
            self.the_log_bears_it_out()
        finally:
            self.stack.close()

    def do(self, command: Command, actor: str = "ana") -> None:
        """Carry a command out; a refusal leaves no trace, and is never a fault of ours."""
        self.count += 1
        before = self.kernel.decider.position
        try:
            self.kernel.do(command, actor, ROLES)
        except InternalFault:
            raise
        except Rejected:
            assert self.kernel.decider.position == before

    # --- what happens -------------------------------------------------------------

    @initialize(qty=quantities)
    def goods_are_there(self, qty: int) -> None:
        self.do(receive(UNITS[0], qty))
        self.do(receive(UNITS[1], qty, site_id=OTHER, location_id=AWAY))

    @rule(unit=units, qty=quantities, far=st.booleans())
    def goods_come(self, unit: str, qty: int, far: bool) -> None:
        place = {"site_id": OTHER, "location_id": AWAY} if far else {"location_id": BULK}
        self.do(receive(unit, qty, **place))

    @rule(unit=units, place=st.sampled_from([BULK, PICK]))
    def goods_move(self, unit: str, place: str) -> None:
        self.do(MoveUnit(site_id=SITE, sscc=unit, to_location_id=place))

    @rule(number=numbers, qty=quantities, who=st.sampled_from(CUSTOMERS))
    def somebody_orders(self, number: int, qty: int, who: str) -> None:
        self.do(world.order(number, qty, customer_id=who))

    @rule(number=numbers, what=st.sampled_from([world.cancel, world.release, world.again]))
    def an_order_goes_on(self, number: int, what: Any) -> None:
        self.do(what(number))

    @rule(number=numbers, unit=units, qty=quantities, site_id=sites)
    def goods_leave(self, number: int, unit: str, qty: int, site_id: str) -> None:
        leaving = dispatch(f"d{self.count}", (unit, qty), order_id=f"web-{number}")
        self.do(type(leaving)(site_id, leaving.dispatch_id, leaving.order_id, leaving.lines))

    @rule(unit=units, name=st.sampled_from(["h1", "h2"]), site_id=sites)
    def goods_are_held(self, unit: str, name: str, site_id: str) -> None:
        self.do(hold(name, unit, site_id=site_id))

    @rule(name=st.sampled_from(["h1", "h2"]), site_id=sites)
    def a_hold_ends(self, name: str, site_id: str) -> None:
        self.do(release(name, site_id=site_id), "ben")

    @rule(reason=st.sampled_from([PauseReason.PRE_ALARM, PauseReason.EXCURSION]))
    def a_zone_is_paused(self, reason: PauseReason) -> None:
        name = f"p{self.count}"
        self.do(PauseZone(site_id=SITE, zone_id=FREEZER, pause_id=name, reason=reason, cause_id=name))

    @rule()
    def a_zone_resumes(self) -> None:
        for pause in all_open_pauses(self.kernel.reader())[:1]:
            self.do(
                ResumeZone(site_id=SITE, zone_id=pause.zone_id, pause_id=pause.pause_id, reason="cold again")
            )

    @rule(unit=units, ends=st.sampled_from([(SITE, OTHER), (OTHER, SITE)]))
    def goods_are_sent(self, unit: str, ends: tuple[str, str]) -> None:
        from_site, to_site = ends
        name = f"t{self.count}"
        self.do(ShipTransfer(site_id=from_site, transfer_id=name, to_site_id=to_site, sscc=(unit,)))

    @rule(site_id=sites)
    def goods_arrive(self, site_id: str) -> None:
        for coming in on_their_way(self.kernel.reader(), site_id)[:1]:
            place = BULK if site_id == SITE else AWAY
            self.do(
                ReceiveTransfer(site_id=site_id, transfer_id=coming.transfer_id, location_id=place, sscc=())
            )

    @rule(value_c=st.sampled_from([-21.5, -14.0, -2.0]), minutes=st.integers(1, 40))
    def the_air_is_measured(self, value_c: float, minutes: int) -> None:
        """Long enough in the warm, and telemetry itself pauses the zone and holds what stands there."""
        times = range(self.minute + 1, self.minute + minutes + 1)
        self.pass_time(minutes)
        self.do(readings([(AIR, minute, value_c + 0.01 * (minute % 2)) for minute in times]))

    @rule(minutes=st.integers(1, 600))
    def time_passes(self, minutes: int) -> None:
        self.pass_time(minutes)

    def pass_time(self, minutes: int) -> None:
        self.minute += minutes
        self.kernel.advance(minutes)

    @rule(who=st.sampled_from(CUSTOMERS))
    def a_customer_is_forgotten(self, who: str) -> None:
        self.do(EraseSubject(subject=f"customer-{who}", reason="asked"))
        self.erased.add(who)

    @rule()
    def checkpoints_are_signed(self) -> None:
        make_checkpoints(self.kernel.decider, NOTARY)

    @rule()
    def the_machine_restarts(self) -> None:
        self.kernel.restart()

    # --- what holds ---------------------------------------------------------------

    @invariant()
    def stock_is_conserved(self) -> None:
        assert unbalanced(self.kernel.reader()) == []

    @invariant()
    def nothing_stays_promised_that_is_not_there(self) -> None:
        for bucket in index(self.kernel)._by_key.values():  # noqa: SLF001 (looks at every bucket there is)
            assert bucket.short == 0, bucket

    @invariant()
    def the_forgotten_are_gone(self) -> None:
        reader = self.kernel.reader()
        for number in range(1, 5):
            found = orders.find_order(reader, f"web-{number}")
            if found is not None and found.request.customer is not None:
                text = reader.open(found.request.customer)
                who = found.request.customer.subject.removeprefix("customer-")
                assert (text is None) == (who in self.erased)

    def the_log_bears_it_out(self) -> None:
        kernel = self.kernel
        make_checkpoints(kernel.decider, NOTARY)
        kernel.rebuild()
        assert oversold(kernel.decider) == 0
        assert held_shipped([event for _, event in kernel.events()]) == 0
        assert audit(kernel.reader()) == []
        every_proof_verifies(kernel)


def every_proof_verifies(kernel: Kernel) -> None:
    """Each entry is in its log's tree by a proof that needs nothing but the signed note."""
    db = kernel.reader()
    leaves: dict[tuple[str, int], list[bytes]] = {}
    for entry in log.read_all(db):
        leaves.setdefault((entry.origin, entry.epoch), []).append(entry.leaf)
    heads = tiles.heads(db)
    assert {(head.origin, head.epoch) for head in heads} == set(leaves)
    for head in heads:
        note = notes.parse_note(head.note.encode())
        assert notes.verify_note(note, [NOTARY.signer.key])
        signed = notes.parse_checkpoint(note.text)
        of_log, tree = leaves[head.origin, head.epoch], tiles.tree_of(db, head.log_id)
        assert signed.size == len(of_log)
        for seq, leaf in enumerate(of_log):
            proof = tree.inclusion(seq, signed.size)
            assert merkle.verify_inclusion(leaf, seq, signed.size, proof, signed.root)


class PostgresLaws(Laws):
    """The same on PostgreSQL."""

    database = "postgresql"


def budget(examples: int, steps: int) -> settings:
    checks = list(HealthCheck)
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks
    )


def test_the_laws_hold_in_any_history() -> None:
    run_state_machine_as_test(Laws, settings=budget(6, 20))


def test_the_laws_hold_on_postgresql() -> None:
    run_state_machine_as_test(PostgresLaws, settings=budget(1, 15))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_more_is_stored_about_an_erased_person_known_here_or_not(database: str) -> None:
    load_rooms()
    with KERNELS[database]() as kernel:
        world.stocked(kernel)
        kernel.do(world.order(1, customer_id="bea"))
        for who in CUSTOMERS:  # nothing was ever stored about the second
            kernel.do(EraseSubject(subject=f"customer-{who}", reason="asked"))
            with pytest.raises(SubjectErased):
                kernel.do(world.order(2, customer_id=who))
        make_checkpoints(kernel.decider, NOTARY)
        every_proof_verifies(kernel)


# --- Facts of different origins commute -----------------------------------------------


def live(kernel: Kernel) -> None:
    """Two sites and the network answer each other: goods, orders, a warm freezer, a transfer, a parcel."""
    open_world(kernel)
    put_in_force(kernel, sensor(), change_id="change-sensors")
    for code, qty in ((UNITS[0], 40), (UNITS[2], 30)):
        kernel.do(receive(code, qty))
    kernel.do(receive(UNITS[1], 60, site_id=OTHER, location_id=AWAY))
    for number in (1, 2, 3):
        kernel.do(world.order(number, 12, customer_id="bea"))
    kernel.do(world.cancel(3))
    kernel.do(hold("h1", UNITS[2]))
    ship = ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id=OTHER, sscc=(UNITS[2],))
    kernel.do(ship, roles={"supervisor"})
    kernel.do(dispatch("d1", (UNITS[0], 12), order_id="web-1"))
    for minute in range(1, 90, 10):
        kernel.advance(10)
        kernel.do(readings([(AIR, minute + i, -4.0 + 0.01 * (i % 2)) for i in range(10)]))
    kernel.do(ReceiveTransfer(site_id=OTHER, transfer_id="t1", location_id=AWAY, sscc=()))
    kernel.do(release("h1", site_id=OTHER), "ben", {"quality"})
    kernel.do(world.again(2))


@cache
def history() -> tuple[list[Entry], dict[str, Any]]:
    load_rooms()
    with sqlite_kernel() as kernel:
        live(kernel)
        told = {entry.type for entry in log.read_all(kernel.reader())}
        # The history is worth something: every room's facts are in it.
        assert {"orders.placed", "stock.promise_moved", "stock.hold_released"} <= told
        assert {"telemetry.alarm_raised", "stock.zone_paused", "orchestration.incident_opened"} <= told
        return list(log.read_all(kernel.reader())), everything_of(kernel)


def everything_of(kernel: Kernel) -> dict[str, list[Any]]:
    """Every projection's rows, but for local positions."""
    found = {}
    for table in projection_tables():
        columns = [column for column in table.columns if column.name != "position"]
        found[table.name] = sorted(kernel.reader().all(Statement(sa.select(*columns))), key=repr)
    return found


def merged(entries: Sequence[Entry], turns: Sequence[int]) -> list[Entry]:
    """Each origin's entries in their own order; the origins take turns as told, the rest one by one."""
    queues: dict[str, list[Entry]] = {}
    for entry in entries:
        queues.setdefault(entry.origin, []).append(entry)
    names = sorted(queues)
    chosen = (queues[names[turn % len(names)]] for turn in turns)
    made = [queue.pop(0) for queue in chosen if queue]
    for name in names[sum(turns) % len(names) :] + names[: sum(turns) % len(names)]:
        made += queues[name]
    return made


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=80))
def test_facts_of_different_origins_arrive_in_any_order(turns: list[int]) -> None:
    entries, expected = history()
    with sqlite_kernel() as kernel:
        for entry in merged(entries, turns):
            kernel.decider.take(entry.origin, partial(take_in, entries=[entry]), "test")
        found = everything_of(kernel)
        assert [name for name in expected if found[name] != expected[name]] == []
        kernel.rebuild()
