"""The network between nodes and tower: frames come late, twice, in another order, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldgrid.sync.carrier import Request
from coldgrid.sync.post import Wait

if TYPE_CHECKING:
    from tests.simulation.machines import Node
    from tests.simulation.world import World

ANSWER_S = 30.0


class Line:
    """How the line of one site is. Shares are of frames, in each direction."""

    def __init__(self) -> None:
        self.cut = False
        self.lost = 0.0
        self.twice = 0.0
        self.delay_s = 0.05


class Asked:
    """A request on its way; `open` until the node has an answer, or gave up."""

    def __init__(self, node: Node, request: Request) -> None:
        self.node, self.request, self.life = node, request, node.life
        self.open = True
        self.held_until_s: float | None = None


class Net:
    """All lines."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: dict[str, Line] = {}
        self.held: list[Asked] = []
        self.frames = self.failed = 0

    def line(self, site_id: str) -> Line:
        return self.lines.setdefault(site_id, Line())

    def _delay_s(self, line: Line) -> float:
        return line.delay_s * self.world.random.expovariate(1.0)

    def _lost(self, line: Line) -> bool:
        return line.cut or self.world.random.random() < line.lost

    # --- to the tower ---------------------------------------------------------------

    def carry(self, node: Node, request: Request) -> None:
        """Carry a node's frame to the tower, and the answer back."""
        asked, line = Asked(node, request), self.line(node.site_id)
        self.frames += 1
        self.world.after(ANSWER_S + request.hold_ms / 1000, self._give_up, asked, "timeout")
        if self.world.random.random() < line.twice:
            self.world.after(self._delay_s(line) * 40, self._arrive, asked)
        if line.cut:
            self.world.after(self.world.random.uniform(0, 3), self._give_up, asked, "no route")
        elif not self._lost(line):
            self.world.after(self._delay_s(line), self._arrive, asked)

    def _arrive(self, asked: Asked) -> None:
        tower = self.world.tower
        if tower.up:
            tower.guarded(self._answer, asked, False)
        else:
            self.world.after(0.1, self._give_up, asked, "refused")

    def _answer(self, asked: Asked, final: bool) -> None:
        answer = self.world.tower.post.answer(asked.node.peer, asked.request.frame, final=final)
        if isinstance(answer, Wait):
            asked.held_until_s = self.world.now_s + answer.hold_ms / 1000
            self.held.append(asked)
            self.world.after(answer.hold_ms / 1000, self._hold_over, asked)
            return
        line = self.line(asked.node.site_id)
        if not self._lost(line):
            self.world.after(self._delay_s(line), self._bring, asked, answer)

    def _hold_over(self, asked: Asked) -> None:
        if asked in self.held and self.world.tower.up:
            self.held.remove(asked)
            self.world.tower.guarded(self._answer, asked, True)

    def wake(self, named: set[str]) -> None:
        """There is news for these sites."""
        ready = [asked for asked in self.held if asked.node.site_id in named or "*" in named]
        for asked in ready:
            self.held.remove(asked)
            self._answer(asked, False)

    def tower_died(self) -> None:
        """Connections break; nodes hear of it soon."""
        held, self.held = self.held, []
        for asked in held:
            self.world.after(self.world.random.uniform(0, 5), self._give_up, asked, "reset")

    # --- to the node ------------------------------------------------------------------

    def _bring(self, asked: Asked, answer: bytes) -> None:
        node = asked.node
        if not asked.open or not node.up or node.life != asked.life:
            return
        asked.open = False
        self.world.laws.taken_readings.answered(asked.request.frame, answer)
        node.guarded(node.receive, asked.request, answer)

    def _give_up(self, asked: Asked, why: str) -> None:
        node = asked.node
        if not asked.open or not node.up or node.life != asked.life:
            return
        asked.open = False
        self.failed += 1
        node.guarded(node.fail, asked.request, why)
