"""Laws: what holds at every moment, and after any history once everything works again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.evidence import checkpoints, tiles, witness
from coldgrid.evidence.forks import open_forks
from coldgrid.evidence.merkle import tree_root
from coldgrid.evidence.notes import parse_checkpoint, parse_note, verify_note
from coldgrid.kernel import command_log, log, rebuild, set_aside, timers
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.events import Command, Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.parking import parked_events
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.statements import Statement
from coldgrid.network_flows.resourcing import TIMER
from coldgrid.stock.dispatch import DispatchGoods, GoodsDispatched
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.index import PromisableIndex
from coldgrid.stock.ledger import balances_of_product, unbalanced
from coldgrid.stock.movements import ReceiveUnit
from coldgrid.stock.promise_book import Promised, PromiseMoved
from coldgrid.telemetry import store
from coldgrid.telemetry.ingest import Ingested, IngestReadings, read_columns
from tests.conftest import T0
from tests.simulation.taken_readings import Taken
from tests.simulation.views import change_over
from tests.stock.world import ICE

if TYPE_CHECKING:
    from tests.simulation.machines import Machine, Node, Tower
    from tests.simulation.world import World

VIRTUAL = {"SUPPLIER", "CUSTOMER", "TRANSIT", "ADJUSTMENT", "DESTROYED", "DONATED", "PRODUCTION", "MERGED"}


class LawBroken(AssertionError):
    """A history after which a law does not hold."""


class Laws:
    """The ledger outside of the machines, and what it demands of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.found: list[str] = []
        self.acked: dict[str, tuple[str, Answer, bytes]] = {}
        self.goods = 0  # base units that stand in the network, by what was acknowledged
        self.readings: dict[str, dict[int, float]] = {}
        self.sent: dict[str, dict[int, float]] = {}
        self.promises = 0
        self.taken: dict[str, bytes] = {}  # the leaf of each entry that the tower ever had
        self.doubtful: set[str] = set()  # sites whose disk was put back or copied
        self.lost: set[str] = set()  # origins that a tower hosted which was put back
        self.rewinds = 0
        self.taken_readings = Taken(self)

    def broken(self, why: str) -> None:
        """Note that a law does not hold."""
        self.found.append(f"{self.world.now_s:.1f} s: {why[:600]}")

    def demand(self, holds: bool, why: str) -> None:
        if not holds:
            self.broken(why)

    @property
    def may_bar(self) -> set[str]:
        """The sites whose log may be in quarantine: where a tower was put back, every node may know more."""
        return self.doubtful | ({node.site_id for node in self.world.nodes} if self.rewinds else set())

    def tower_was_put_back(self) -> None:
        """What the tower decided after its copy is lost; what nodes decided is not."""
        self.rewinds += 1
        self.taken_readings.tower_was_put_back()
        nodes = {node.site_id for node in self.world.nodes}
        self.lost |= {NETWORK_ORIGIN, *(s.site_id for s in self.world.sites if s.site_id not in nodes)}
        self.doubtful |= self.lost | {self.world.tower.name}

    # --- while things happen ------------------------------------------------------------

    def refused(self, key: str, command: Command, why: Rejected) -> None:
        """A client was refused: then it was not acknowledged before under the same key."""
        if key in self.acked and self.acked[key][0].partition(".")[0] in self.doubtful:
            return  # its disk was put back to a time before that
        self.demand(key not in self.acked, f"{key} was done and is refused now: {command}: {why}")

    def acknowledged(self, host: Machine, key: str, command: Command, answer: Answer) -> None:
        """A client has its answer: from now on it counts on it."""
        before = self.acked.get(key)
        if before is not None:
            same = plain(before[1]) == plain(answer) or host.home in self.doubtful
            self.demand(same, f"{key} was answered {before[1]}, and then {answer}")
            return
        leaf = b""
        if answer.seq >= 0:
            entry = log.find(host.reads(), f"{answer.origin}/{answer.epoch}/{answer.seq}")
            self.demand(entry is not None, f"{key} is answered and {answer} is not in the log")
            leaf = entry.leaf if entry is not None else b""
        self.acked[key] = (host.name, answer, leaf)
        match command:
            case ReceiveUnit():
                self.goods += command.qty
            case DispatchGoods():
                self.goods -= sum(line.qty for line in command.lines)
                codes = [line.sscc for line in command.lines]
                held = open_holds_of(host.reads(), command.site_id, codes)
                self.demand(
                    answer.replayed or not held, f"{command.dispatch_id} took goods that are held: {held}"
                )
            case IngestReadings():
                self._ingested(command, msgspec.convert(msgspec.to_builtins(answer.result), Ingested))

    def _ingested(self, command: IngestReadings, told: Ingested) -> None:
        columns = read_columns(command)
        refused = sum(told.refused.values())
        for number, at_us, value in zip(columns.sensor_no, columns.at_us, columns.value, strict=True):
            name = command.sensor_ids[int(number)]
            self.sent.setdefault(name, {})[int(at_us)] = float(value)
            if not refused:
                self.readings.setdefault(name, {})[int(at_us)] = float(value)

    def watch(self, tower: Tower, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """At every promise its goods cover it, by what the tower knows of them."""
        hot = tower.decider.shared.hot[PromisableIndex]
        for entry, event in recorded:
            self.taken[entry.id] = entry.leaf
            if not isinstance(event, Promised | PromiseMoved):
                continue
            self.promises += 1
            for one in event.allocations:
                bucket = hot.bucket(one.key)
                covered = bucket is not None and not bucket.paused and bucket.promised <= bucket.sellable
                self.demand(covered, f"oversold: {one}")

    def barred(self) -> set[str]:
        """Return the sites whose log is in quarantine: only those of which there may be two histories."""
        change_over(tower=True)
        found = {fork.origin for fork in open_forks(self.world.tower.reads())}
        self.demand(found <= self.may_bar, f"in quarantine without cause: {found - self.may_bar}")
        return found & self.may_bar

    # --- at the end -----------------------------------------------------------------------

    def check(self) -> None:
        """Hold everything against the ledger, and the machines against each other."""
        world = self.world
        for machine in world.machines:
            change_over(tower=machine.is_tower)
            self._sound(machine)
        for node in world.nodes:
            self._same(world.tower, node)
        self._kept()
        self.taken_readings.check()
        self._stock(world.tower)
        if self.found:
            raise LawBroken("\n".join(self.found[:20]))

    def _sound(self, machine: Machine) -> None:
        """Rebuild equals live, hot state equals the tables, every proof verifies, nothing is stuck."""
        db = machine.reads()
        for difference in rebuild.differences(machine.decider):
            self.broken(f"{machine.name}: rebuilt otherwise: {difference}")
        hot = machine.decider.shared.hot[PromisableIndex]
        live, loaded = hot.snapshot()["buckets"], PromisableIndex.load(db).snapshot()["buckets"]
        self.demand(live == loaded, f"{machine.name}: hot state is {live}, and {loaded} when it is loaded")
        for parked in parked_events(db):
            self.broken(f"{machine.name}: parked {parked}")
        for fork in open_forks(db):
            self.broken(f"{machine.name}: a fork was found: {fork}")
        for audit in checkpoints.audit(db):
            self.broken(f"{machine.name}: a proof fails: {audit}")
        for entry in log.read_all(db):
            self.demand(leaf_hash(envelope_bytes(entry)) == entry.leaf, f"{machine.name}: leaf of {entry.id}")
        self._proofs(machine, db)

    def _proofs(self, machine: Machine, db: Reads) -> None:
        keys = [machine.notary.signer.key]
        for head in tiles.heads(db):
            if not head.size:
                continue
            note = parse_note(head.note.encode())
            self.demand(bool(verify_note(note, keys)), f"{machine.name}: {head.log_id} is not signed")
            leaves = [leaf for _, leaf in log.leaves(db, head.origin, head.epoch, 0, head.size)]
            told = parse_checkpoint(note.text)
            self.demand(
                tree_root(leaves) == told.root and told.size == head.size,
                f"{machine.name}: {head.log_id} has another root than was signed",
            )

    def _same(self, tower: Tower, node: Node) -> None:
        """The tower has a node's log and rows, and the node has what it was told, each once."""
        here, there = tower.reads(), node.reads()
        site_id = node.site_id
        self.demand(entries_of(here, site_id) == entries_of(there, site_id), f"{site_id}: logs differ")
        told = [
            one for one in entries_of(here, NETWORK_ORIGIN) if {site_id, "*"} & set(one.audience.split(","))
        ]
        self.demand(entries_of(there, NETWORK_ORIGIN) == told, f"{site_id}: was not told what it should be")
        for table, rows_here, rows_there in compared(here, there, site_id):
            if rows_here != rows_there:
                only_here, only_there = rows_here - rows_there, rows_there - rows_here
                self.broken(
                    f"{site_id}: {table} differs: tower {list(only_here)[:2]}, node {list(only_there)[:2]}"
                )
        goods = [
            [one for one in shelves(host.decider.shared.hot[PromisableIndex], host) if one[0][2] == site_id]
            for host in (tower, node)
        ]
        self.demand(goods[0] == goods[1], f"{site_id}: goods at the tower {goods[0]}, at the node {goods[1]}")
        for name in {*self.sent} & {*self._sensors(site_id)}:
            self._same_readings(here, there, name)
        witnessed = {one.log_name for one in witness.witnessed(here)}
        self.demand(any(f"/{site_id}/" in name for name in witnessed), f"{site_id}: nothing was witnessed")

    def _sensors(self, site_id: str) -> Sequence[str]:
        return next(site.sensors for site in self.world.sites if site.site_id == site_id)

    def _same_readings(self, here: Reads, there: Reads, name: str) -> None:
        doubtful = name.partition("-")[0] in self.doubtful  # a disk that was put back has fewer readings
        lines = [series(db, name) for db in (here, there)]
        same = doubtful or lines[0] == lines[1]
        self.demand(same, f"{name}: readings differ, {len(lines[0])} and {len(lines[1])}")
        sums = [rollups(db, name) for db in (here, there)]
        self.demand(doubtful or sums[0] == sums[1], f"{name}: rollups differ: {sums}")
        times = [at for at, _ in lines[0]]
        only_there = {at for at, _ in lines[1]} - set(times)
        self.demand(not only_there, f"{name}: {len(only_there)} readings of the node are not at the tower")
        self.demand(len(times) == len(set(times)), f"{name}: a reading counts twice")
        lost = self.readings.get(name, {}).keys() - set(times)
        strange = set(times) - self.sent.get(name, {}).keys()
        self.demand(
            doubtful or not lost, f"{name}: {len(lost)} acknowledged readings were lost, {sorted(lost)[:3]}"
        )
        self.demand(not strange, f"{name}: {len(strange)} readings that nobody sent")

    def _kept(self) -> None:
        """Everything acknowledged is in its owner's log and at the tower, as it was."""
        change_over(tower=True)
        by_name = {machine.name: machine for machine in self.world.machines}
        for key, (name, answer, leaf) in self.acked.items():
            if answer.seq < 0:
                continue
            entry_id = f"{answer.origin}/{answer.epoch}/{answer.seq}"
            doubtful = answer.origin in self.doubtful
            if answer.origin in self.lost or (doubtful and self.taken.get(entry_id) != leaf):
                continue  # only a disk that is gone had it
            both = name in by_name and not doubtful
            for host in {by_name[name], self.world.tower} if both else {self.world.tower}:
                here = has(host.reads(), entry_id, leaf)
                self.demand(here, f"{key}: {entry_id} was acknowledged and is not at {host.name}")
        self._remembered(by_name)

    def _remembered(self, by_name: dict[str, Machine]) -> None:
        """What the tower ever had it still has; who carried out a command still knows its answer."""
        for entry_id, leaf in self.taken.items():
            if entry_id.partition("/")[0] not in self.lost:
                self.demand(
                    has(self.world.tower.reads(), entry_id, leaf), f"the tower had another {entry_id}"
                )
        for machine in by_name.values():
            if machine.home in self.doubtful:
                continue
            keys = [key for key, (name, *_) in self.acked.items() if name == machine.name]
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                known = {key for _, key in command_log.find(machine.reads(), some)}
                self.demand(known == set(some), f"{machine.name} forgot {sorted(set(some) - known)[:5]}")

    def _stock(self, tower: Tower) -> None:
        """Goods are conserved, at the tower and at each node; nothing held has left; nothing stays short."""
        change_over(tower=True)
        for machine in self.world.machines:
            self.demand(unbalanced(machine.reads()) == [], f"{machine.name}: {unbalanced(machine.reads())}")
        balances = balances_of_product(tower.reads(), ICE)
        standing = sum(one.qty for one in balances if one.location_id not in VIRTUAL)
        under_way = sum(one.qty for one in balances if one.location_id == "TRANSIT")
        expected = self.goods + self.world.goods_before
        # Goods are the sites': a tower that was put back lost none where each site has a node.
        lost = any(site.site_id in self.doubtful for site in self.world.sites)
        self.demand(
            lost or standing + under_way == expected,
            f"{standing} stand and {under_way} are under way, {expected} by what was acknowledged",
        )
        hot = tower.decider.shared.hot[PromisableIndex]
        # By a clock that was ahead the rest of the orders is sourced again later than now.
        later = timers.due_timers(tower.reads(), T0 + timedelta(days=4), 1_000, [])
        if not any(timer.kind == TIMER for timer in later):
            for bucket in hot._by_key.values():  # noqa: SLF001 (looks at every bucket there is)
                self.demand(bucket.short == 0, f"stays short: {bucket.key} {bucket.short}")
        shipped = Counter[str]()
        for entry in log.read_all(tower.reads(), -1, ["stock.goods_dispatched"]):
            event = log.decode_entry(entry)
            assert isinstance(event, GoodsDispatched)
            shipped[event.dispatch_id] += 1
        self.demand(all(count == 1 for count in shipped.values()), "a dispatch happened twice")


# --- What is compared -----------------------------------------------------------------


def shelves(index: PromisableIndex, machine: Machine) -> list[Any]:
    """What a machine may know of goods: a node of other sites' only what was on its way to it."""
    told: Any = index.snapshot()["buckets"]
    return [one for one in told if machine.is_tower or one[0][2] == machine.home]


def has(db: Reads, entry_id: str, leaf: bytes) -> bool:
    """Whether an entry is in the log, or set aside. Of its own a listener is told before there is a leaf."""
    entry = log.find(db, entry_id)
    if entry is not None and leaf in (b"", entry.leaf):
        return True
    origin, epoch, seq = entry_id.split("/")
    aside = set_aside.read(db, origin, int(epoch), int(seq), 10)
    return any(one.id == entry_id and one.leaf == leaf for one in aside)


def plain(answer: Answer) -> Any:
    """An answer as a client reads it."""
    body = msgspec.json.encode(answer.result)
    result = msgspec.json.decode(body)
    if isinstance(result, dict):
        result.pop("type", None)  # a struct that is told alone does not name its type
    return answer.origin, answer.epoch, answer.seq, result


def entries_of(db: Reads, origin: str) -> list[Entry]:
    """An origin's entries, without their local positions."""
    entries = [entry for entry in log.read_all(db) if entry.origin == origin]
    return [msgspec.structs.replace(entry, position=-1) for entry in entries]


def series(db: Reads, name: str) -> list[tuple[int, float]]:
    at, value = store.series(db, name, T0 - timedelta(days=1), T0 + timedelta(days=4))
    return list(zip(np.asarray(at).astype(np.int64).tolist(), np.asarray(value).tolist(), strict=True))


def rollups(db: Reads, name: str) -> Any:
    found = store.rollups(db, [name], T0 - timedelta(days=1), T0 + timedelta(days=4))
    return [
        msgspec.structs.replace(one, mean_c=round(one.mean_c or 0, 9), mkt_c=round(one.mkt_c or 0, 6))
        for one in found
    ]


# Rows about a site that only one of both keeps, and why.
DIFFER = {
    "kernel_request": "the network's book",
}


def site_tables() -> Iterator[sa.Table]:
    """Projection tables with rows of single sites, as sites own them."""
    for table in rebuild.projection_tables():
        if table.info.get("origin") == "site" and "site_id" in table.c and table.name not in DIFFER:
            yield table


def compared(here: Reads, there: Reads, site_id: str) -> Iterator[tuple[str, set[Any], set[Any]]]:
    """Yield each table's rows of a site at the tower and at its node."""
    for table in site_tables():
        columns = [column for column in table.c if column.name != "position"]
        chosen = Statement(sa.select(*columns).where(table.c.site_id == sa.bindparam("whose")))
        rows = []
        for db in (here, there):
            params = chosen.bind(db.connection.dialect, {"whose": site_id})
            rows.append({tuple(row) for row in db.connection.query(chosen, params)})
        yield table.name, rows[0], rows[1]
