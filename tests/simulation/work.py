"""Work: what people, gateways and customers ask of the machines. They ask again until they have an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coldgrid.kernel.events import Command
from coldgrid.kernel.rejections import InternalFault, Rejected, Unavailable
from coldgrid.network.change_rules import ApproveChange, DraftChange
from coldgrid.stock.dispatch import DispatchGoods, DispatchLine
from coldgrid.stock.hold_book import open_holds
from coldgrid.stock.movements import MoveUnit
from coldgrid.stock.pauses import PauseReason, PauseZone, ResumeZone, all_open_pauses
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer, on_their_way
from coldgrid.telemetry.ingest import IngestReadings, columns_of
from coldgrid.telemetry.seal import SealBlocks
from tests.conftest import T0
from tests.orders.world import again, cancel, line, order
from tests.orders.world import release as release_order
from tests.stock.world import LATER, LOT, hold, receive, release, sscc
from tests.telemetry.cold_room import sensor

if TYPE_CHECKING:
    from tests.simulation.machines import Machine
    from tests.simulation.world import World

READING_EVERY_S = 30
T0_US = round(T0.timestamp() * 1e6)
RETRY_S = (2.0, 60.0)
COLD_C, WARM_C = -21.5, -9.0


class Asking:
    """One command under way: the same key until an answer came."""

    def __init__(self, world: World, site_id: str, command: Command, actor: str, key: str) -> None:
        self.world, self.site_id, self.command = world, site_id, command
        self.actor, self.key = actor, key

    def go(self) -> None:
        host = self.world.host_of(self.site_id)
        outcome = host.execute(self.command, self.actor, self.key)
        random = self.world.random
        if outcome is None or isinstance(outcome, Unavailable | InternalFault):
            if isinstance(outcome, InternalFault):
                self.world.laws.broken(f"{host.name}: {self.command}: {outcome}")
            self.world.after(random.uniform(*RETRY_S), self.go)
            return
        if isinstance(outcome, Rejected):
            self.world.refused[outcome.code] += 1
            self.world.laws.refused(self.key, self.command, outcome)
            return
        if random.random() < 0.03:  # the answer is lost: the client asks again
            self.world.after(random.uniform(*RETRY_S), self.go)
        self.world.laws.acknowledged(host, self.key, self.command, outcome)


class Site:
    """What happens at one site, and what people there know."""

    def __init__(self, world: World, site_id: str) -> None:
        self.world, self.site_id = world, site_id
        self.freezer = f"{site_id}-FRZ1"
        self.places = (f"{site_id}-FRZ1-A01-02", f"{site_id}-FRZ1-A01-03")
        self.sensors = (f"{site_id}-FRZ1-T1", f"{site_id}-FRZ1-T2")
        self.units: list[str] = []
        self.at_us = T0_US + int(world.now_s) * 1_000_000
        self.warm_until_s = 0.0

    # --- asking -----------------------------------------------------------------------

    def ask(self, command: Command, actor: str = "quinn") -> None:
        self.world.asked += 1
        Asking(self.world, self.site_id, command, actor, f"k{self.world.asked}").go()

    @property
    def host(self) -> Machine:
        return self.world.host_of(self.site_id)

    def act(self) -> None:
        """Do something."""
        random = self.world.random
        names, weights = zip(*ACTS.items(), strict=True)
        getattr(self, random.choices(names, weights)[0])()

    def _unit(self) -> str:
        return self.world.random.choice(self.units or [sscc(1)])

    def _next(self, kind: str) -> str:
        self.world.asked += 1
        return f"{kind}{self.world.asked}"

    # --- goods ------------------------------------------------------------------------

    def goods_come(self) -> None:
        random = self.world.random
        self.world.received += 1
        code = sscc(100 + self.world.received)
        self.units.append(code)
        self.ask(
            receive(
                code,
                random.randint(1, 60),
                site_id=self.site_id,
                location_id=random.choice(self.places),
                lot_id=random.choice((LOT, LATER)),
            )
        )

    def goods_move(self) -> None:
        place = self.world.random.choice(self.places)
        self.ask(MoveUnit(site_id=self.site_id, sscc=self._unit(), to_location_id=place))

    def goods_are_held(self) -> None:
        self.ask(hold(self._next("h"), self._unit(), site_id=self.site_id, cause_id=self._next("c")))

    def goods_are_let_go(self) -> None:
        if self.host.up and (found := open_holds(self.host.reads(), self.site_id)):
            one = self.world.random.choice(found)
            self.ask(release(one.hold_id, site_id=self.site_id), "ben")

    def goods_leave(self) -> None:
        random = self.world.random
        lines = (DispatchLine(sscc=self._unit(), qty=random.randint(1, 20)),)
        order_id = f"web-{random.randint(1, max(1, self.world.orders))}"
        dispatch_id = self._next("d")
        self.ask(DispatchGoods(site_id=self.site_id, dispatch_id=dispatch_id, order_id=order_id, lines=lines))

    def goods_are_sent(self) -> None:
        others = [site for site in self.world.sites if site is not self]
        if others:
            to = self.world.random.choice(others)
            transfer_id = self._next("t")
            self.ask(
                ShipTransfer(
                    site_id=self.site_id,
                    transfer_id=transfer_id,
                    to_site_id=to.site_id,
                    sscc=(self._unit(),),
                )
            )

    def goods_arrive(self) -> None:
        coming = on_their_way(self.host.reads(), self.site_id) if self.host.up else []
        if coming:
            one = self.world.random.choice(coming)
            self.units.append(one.sscc)
            self.ask(
                ReceiveTransfer(site_id=self.site_id, transfer_id=one.transfer_id, location_id=self.places[0])
            )

    def zone_is_paused(self) -> None:
        pause_id = self._next("p")
        self.ask(
            PauseZone(
                site_id=self.site_id,
                zone_id=self.freezer,
                pause_id=pause_id,
                reason=PauseReason.EXCURSION,
                cause_id=pause_id,
            )
        )

    def zone_resumes(self) -> None:
        for pause in all_open_pauses(self.host.reads()) if self.host.up else []:
            if pause.zone_id == self.freezer:
                self.ask(
                    ResumeZone(
                        site_id=self.site_id,
                        zone_id=self.freezer,
                        pause_id=pause.pause_id,
                        reason="it is cold",
                    )
                )

    # --- air --------------------------------------------------------------------------

    def it_gets_warm(self) -> None:
        self.warm_until_s = self.world.now_s + self.world.random.uniform(120, 1500)

    def somebody_seals(self) -> None:
        self.ask(SealBlocks(site_id=self.site_id, cause_id=self._next("s"), sensor_ids=self.sensors))

    def flush(self) -> None:
        """The gateway sends what its sensors measured since the last time."""
        if self.world.working:
            self.world.after(self.world.random.uniform(20, 90), self.flush)
        until_us = T0_US + int(self.world.now_s) * 1_000_000
        times = list(range(self.at_us, until_us, READING_EVERY_S * 1_000_000))
        if not times:
            return
        self.at_us = times[-1] + READING_EVERY_S * 1_000_000
        warm = self.world.now_s < self.warm_until_s
        count = len(times)
        values = [(WARM_C if warm else COLD_C) + 0.01 * ((at // 30_000_000) % 3) for at in times]
        command: IngestReadings = columns_of(
            self.site_id,
            list(self.sensors),
            np.array([0] * count + [1] * count, dtype=np.int64),
            np.array(times * 2, dtype=np.int64),
            np.array(values * 2, dtype=np.float64),
        )
        self.ask(command, "gateway")


ACTS = {
    "goods_come": 6,
    "goods_move": 4,
    "goods_are_held": 2,
    "goods_are_let_go": 2,
    "goods_leave": 5,
    "goods_are_sent": 2,
    "goods_arrive": 3,
    "zone_is_paused": 1,
    "zone_resumes": 2,
    "it_gets_warm": 1,
    "somebody_seals": 1,
}


class Office:
    """What happens at the tower: customers order, people change the network."""

    def __init__(self, world: World) -> None:
        self.world = world

    def ask(self, command: Command, actor: str = "ana") -> None:
        self.world.asked += 1
        Asking(self.world, "network", command, actor, f"k{self.world.asked}").go()

    def act(self) -> None:
        random = self.world.random
        what = random.choices(
            (self.order, self.release, self.cancel, self.source_again, self.sensor), (8, 4, 2, 1, 1)
        )[0]
        what()

    def order(self) -> None:
        self.world.orders += 1
        qty = self.world.random.randint(1, 40)
        self.ask(order(self.world.orders, lines=[line(qty)]))

    def _some(self) -> int:
        return self.world.random.randint(1, max(1, self.world.orders))

    def release(self) -> None:
        self.ask(release_order(self._some()))

    def cancel(self) -> None:
        self.ask(cancel(self._some()))

    def source_again(self) -> None:
        self.ask(again(self._some()))

    def sensor(self) -> None:
        """A sensor is defined: two people, one after the other."""
        self.world.asked += 1
        number = 10 + self.world.asked
        site = self.world.random.choice(self.world.sites)
        change_id = f"change-{number}"
        item = sensor(f"{site.site_id}-FRZ1-T{number}")
        self.ask(DraftChange(change_id=change_id, items=[item], reason="one more"), "dora")
        self.ask(ApproveChange(change_id=change_id, reason="checked"), "ana")
