"""Metrics of the kernel, in Prometheus' default registry.

What the decider counts for every command is counted in plain dictionaries and put into Prometheus' form when
it is asked for: the library's own counters take a lock each time, which every command would pay for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class CommandCounts(Collector):
    """Commands carried out, by wire name and outcome."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, command: str, outcome: str) -> None:
        """Count one."""
        key = (command, outcome)
        self._counts[key] = self._counts.get(key, 0) + 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Put the counts into Prometheus' form."""
        family = CounterMetricFamily(
            "coldgrid_commands", "Commands carried out, by outcome.", labels=["command", "outcome"]
        )
        for key, count in self._counts.copy().items():
            family.add_metric(key, count)
        yield family


class GroupSizes(Collector):
    """How many events each durable commit had."""

    BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

    def __init__(self) -> None:
        self._counts = [0] * (len(self.BOUNDS) + 1)
        self._sum = 0

    def add(self, events: int) -> None:
        """Count one commit."""
        self._counts[bisect_left(self.BOUNDS, events)] += 1
        self._sum += events

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Put the counts into Prometheus' form: cumulative buckets."""
        total, buckets = 0, []
        for bound, count in zip([*map(str, self.BOUNDS), "+Inf"], self._counts.copy(), strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily("coldgrid_group_events", "Events in one durable commit.")
        family.add_metric([], buckets, self._sum)
        yield family


COMMANDS = CommandCounts()
GROUPS = GroupSizes()
REGISTRY.register(COMMANDS)
REGISTRY.register(GROUPS)
PARKED = Counter(
    "coldgrid_reactions_parked_total", "Events that a reaction could not deal with.", ["reaction"]
)
EFFECTS = Counter("coldgrid_effects_total", "Attempts to carry an effect out.", ["channel", "outcome"])
QUEUE = Gauge("coldgrid_decider_queue", "Commands that wait for the decider.")
REACTIONS_REST = Gauge(
    "coldgrid_reactions_rest_seconds",
    "For how long reactions to a site's backlog have been resting; 0: none do.",
)
TIMERS_FROZEN = Gauge("coldgrid_timers_frozen", "1 while timers stand still after an implausible clock jump.")
