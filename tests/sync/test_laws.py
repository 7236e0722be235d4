"""Laws: whatever the line does to frames and hosts to their memory, once it heals both sides are the same."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coldgrid.evidence.forks import forks
from coldgrid.sync import readings
from coldgrid.sync.carrier import Request
from coldgrid.sync.post import Wait
from tests.conftest import sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump, Tell
from tests.network.master import put_in_force
from tests.sync.pair import Node, Tower, own_log
from tests.telemetry.cold_room import sensor

# What happens next: at the node, at the tower, or to what is on the line.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("bump"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["sensor", "tell", "look", "wait", "crash", "lapse", "sign"]), st.just(0)),
        st.tuples(
            st.sampled_from(["send", "send", "send", "lose", "lose_answer", "twice", "again", "cut"]),
            st.integers(0, 7),
        ),
    ),
    max_size=40,
)


class Line:
    """Frames on their way, in no order: any of them may be sent next, lost, or sent twice."""

    def __init__(self, tower: Tower, node: Node) -> None:
        self.tower, self.node = tower, node
        self.going: list[Request] = []
        self.sent: list[Request] = []
        self.number = 0

    def step(self, what: str, which: int) -> None:
        getattr(self, f"do_{what}")(which)

    # --- what hosts do ---

    def do_bump(self, count: int) -> None:
        for _ in range(count):
            self.node.kernel.do(Bump(site_id="ATL1", name=f"n{self.number % 20}"))
            self.number += 1

    def do_tell(self, _: int) -> None:
        self.number += 1
        self.tower.kernel.do(Tell(name=f"tower{self.number}"))

    def do_sensor(self, _: int) -> None:
        self.number += 1
        put_in_force(
            self.tower.kernel, sensor(f"ATL1-FRZ1-T{10 + self.number}"), change_id=f"change-{self.number}"
        )

    def do_sign(self, _: int) -> None:
        self.node.sign()

    def do_look(self, _: int) -> None:
        self.going += self.node.carrier.look(self.node.now_us)

    def do_wait(self, _: int) -> None:
        for kernel in (self.node.kernel, self.tower.kernel):
            kernel.advance(1)
        self.do_look(0)

    def do_crash(self, _: int) -> None:
        """The node forgets what it knew, and what it was waiting for."""
        self.going = []
        self.node.kernel.restart()
        self.node.wake()

    def do_lapse(self, _: int) -> None:
        """The tower forgets what it knew."""
        self.tower.kernel.restart()
        self.tower.open_post()

    # --- what the line does ---

    def _take(self, which: int) -> Request | None:
        return self.going.pop(which % len(self.going)) if self.going else None

    def _bring(self, request: Request, answer: bytes | Wait) -> None:
        if isinstance(answer, Wait):
            answer = self.node.answer(request, final=True)
        assert isinstance(answer, bytes)
        self.going += self.node.carrier.receive(request, answer, self.node.now_us)

    def do_send(self, which: int) -> None:
        if (request := self._take(which)) is not None:
            self.sent.append(request)
            self._bring(request, self.node.answer(request))

    def do_lose(self, which: int) -> None:
        if (request := self._take(which)) is not None:
            self.going += self.node.carrier.fail(request, "timeout", self.node.now_us)

    def do_lose_answer(self, which: int) -> None:
        if (request := self._take(which)) is not None:
            self.node.answer(request, final=True)
            self.going += self.node.carrier.fail(request, "timeout", self.node.now_us)

    def do_twice(self, which: int) -> None:
        if (request := self._take(which)) is not None:
            self.node.answer(request, final=True)
            self._bring(request, self.node.answer(request))

    def do_again(self, which: int) -> None:
        """A frame of long ago comes to the tower once more."""
        if self.sent:
            self.node.answer(self.sent[which % len(self.sent)], final=True)

    def do_cut(self, which: int) -> None:
        """A frame arrives damaged: the tower refuses it, and the node goes on."""
        if (request := self._take(which)) is not None:
            damaged = Request(request.lane, request.frame[:-3], request.hold_ms)
            self._bring(request, self.node.answer(damaged, final=True))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
@example([("look", 0), ("send", 0), ("again", 0)])  # a greeting that comes twice is no clone
def test_whatever_the_line_does_both_sides_end_up_the_same(history: list[tuple[str, int]]) -> None:
    with sqlite_kernel() as kernel, sqlite_kernel() as own:
        tower = Tower(kernel)
        tower.lets_go_of("ATL1")
        node = Node(tower, own)
        line = Line(tower, node)
        for what, which in history:
            line.step(what, which)
        # It heals: what was under way is lost, then everything arrives.
        for request in line.going:
            node.carrier.fail(request, "timeout", node.now_us)
        for _ in range(6):
            own.advance(2)
            kernel.advance(2)
            node.held = []
            node.wake()
            node.talk()
        assert node.up, (node.code, node.carrier.state.why)
        assert forks(kernel.reader()) == [], "nothing but the line was at fault"
        assert own_log(kernel, "ATL1") == own_log(own, "ATL1")
        told = [
            entry for entry in own_log(kernel, "network") if {"ATL1", "*"} & set(entry.audience.split(","))
        ]
        assert own_log(own, "network") == told
        bumps = sum(1 for entry in own_log(own, "ATL1") if entry.type == "toy.bumped")
        counted = sum(rooms.count_of(kernel.reader(), f"n{number}") for number in range(20))
        assert counted == bumps, "nothing was applied twice, nothing lost"
        answered = sum(rooms.told_of(kernel.reader(), f"n{number}") for number in range(20))
        assert answered == bumps, "the network answered each fact once"
        assert readings.landed_no(node.desk, "ATL1") == 0
        kernel.rebuild()
        own.rebuild()
