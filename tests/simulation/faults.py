"""Faults: what goes wrong in a history, drawn from its seed, and how it is put right at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.disk import Fault, Image
from tests.simulation.server import Tables

if TYPE_CHECKING:
    from tests.simulation.machines import Machine
    from tests.simulation.world import World


class Faults:
    """Draws faults until it heals.

    `copies`: disks of nodes are put back and copied too. `rewinds`: the tower's disk is put back.
    """

    def __init__(self, world: World, *, copies: bool, rewinds: bool) -> None:
        self.world = world
        self.random = world.random
        self.over = False
        self.copies, self.rewinds = copies, rewinds
        self.tower_image: Image | Tables | None = None
        self.images: dict[str, Image] = {}

    def begin(self, seconds: float) -> None:
        """Let lines and clocks be as they are, and let something fail every now and then."""
        random = self.random
        for node in self.world.nodes:
            line = self.world.net.line(node.site_id)
            line.lost = random.choice((0.0, 0.02, 0.3))
            line.twice = random.choice((0.0, 0.1))
            line.delay_s = random.choice((0.005, 0.2, 3.0))
        for machine in self.world.machines:
            machine.clock.off_s = random.choice((0.0, random.uniform(-3, 3), random.uniform(-200, 200)))
            machine.accept_clock()
        self.every_s = random.choice((30.0, 120.0, 400.0))
        self._next()

    def _next(self) -> None:
        self.world.after(self.random.expovariate(1 / self.every_s), self._happen)

    def _happen(self) -> None:
        if self.over:
            return
        often, seldom = (2 if self.copies else 0), (2 if self.rewinds else 0)
        what = self.random.choices(
            (
                *(self._cut_line, self._power_lost, self._killed, self._disk_fills, self._clock_jumps),
                *(self._disk_is_saved, self._disk_is_put_back, self._disk_is_copied),
                *(self._tower_is_saved, self._tower_is_put_back),
            ),
            (4, 4, 2, 1, 1, 2 * often, often, often, 2 * seldom, seldom),
        )[0]
        what(self.random.choice(self.world.machines))
        self._next()

    # --- what fails -------------------------------------------------------------------

    def _cut_line(self, machine: Machine) -> None:
        site_id = self.random.choice(self.world.nodes).site_id
        line = self.world.net.line(site_id)
        line.cut = True
        self.world.say(f"the line of {site_id} is cut")
        self.world.after(self.random.choice((5.0, 60.0, 600.0)), self._mend, site_id)

    def _mend(self, site_id: str) -> None:
        self.world.net.line(site_id).cut = False

    def _power_lost(self, machine: Machine) -> None:
        if machine.up:
            fault = self.random.choice(list(Fault))
            machine.disk.arm(fault, self.random.randrange(6))
            self.world.say(f"{machine.name} will lose its power: {fault}")

    def _killed(self, machine: Machine) -> None:
        if machine.up:
            machine.die()
            self.world.after(self.random.choice((0.1, 10.0, 200.0)), machine.boot)

    def _disk_fills(self, machine: Machine) -> None:
        if machine.up:
            machine.connection.leave_pages(self.random.randrange(4))
            self.world.say(f"the disk of {machine.name} fills up")
            self.world.after(self.random.uniform(5, 120), self._make_room, machine)

    def _make_room(self, machine: Machine) -> None:
        if machine.up:
            machine.connection.leave_pages(None)

    def _clock_jumps(self, machine: Machine) -> None:
        by_s = self.random.choice((-7_200.0, -900.0, -30.0, 30.0, 900.0, 7_200.0))
        machine.clock.off_s += by_s
        self.world.say(f"the clock of {machine.name} jumps by {by_s} s")

    # --- copies -------------------------------------------------------------------------

    def _disk_is_saved(self, machine: Machine) -> None:
        node = self.random.choice(self.world.nodes)
        if node.up:
            self.images[node.site_id] = node.disk.image()

    def _disk_is_put_back(self, machine: Machine) -> None:
        node = self.random.choice(self.world.nodes)
        image = self.images.get(node.site_id)
        if image is not None:
            self.world.say(f"the disk of {node.name} is put back")
            self.world.laws.doubtful.add(node.site_id)
            node.die()
            node.disk.put(image)
            self.world.after(self.random.choice((1.0, 60.0)), node.boot)

    def _disk_is_copied(self, machine: Machine) -> None:
        node = self.random.choice(self.world.nodes)
        image = self.images.get(node.site_id)
        if image is not None:
            self.world.say(f"the disk of {node.name} is copied, and the copy starts")
            self.world.laws.doubtful.add(node.site_id)
            self.world.start_copy(node.site_id, image)

    def _tower_is_saved(self, machine: Machine) -> None:
        if self.world.tower.up:
            self.tower_image = self.world.tower.disk.image()

    def _tower_is_put_back(self, machine: Machine) -> None:
        tower = self.world.tower
        if self.tower_image is not None:
            self.world.say("the disk of the tower is put back, and it begins anew")
            self.world.laws.tower_was_put_back()
            tower.die()
            tower.disk.put(self.tower_image)
            tower.recovers = True
            self.world.after(self.random.choice((1.0, 60.0)), tower.boot)

    # --- healing ------------------------------------------------------------------------

    def heal(self) -> None:
        """Put everything right: lines, disks, clocks; whoever is down starts."""
        self.over = True
        self.world.say("everything works again")
        for line in self.world.net.lines.values():
            line.cut, line.lost, line.twice, line.delay_s = False, 0.0, 0.0, 0.05
        for machine in self.world.machines:
            machine.disk.commits_left = None
            machine.clock.off_s = 0.0
            if machine.up:
                self._make_room(machine)
                machine.accept_clock()
            else:
                machine.boot()
