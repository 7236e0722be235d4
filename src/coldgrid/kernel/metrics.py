"""Metrics of the kernel, in Prometheus' default registry."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

COMMANDS = Counter("coldgrid_commands_total", "Commands carried out, by outcome.", ["command", "outcome"])
GROUPS = Histogram(
    "coldgrid_group_events",
    "Events in one durable commit.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
PARKED = Counter(
    "coldgrid_reactions_parked_total", "Events that a reaction could not deal with.", ["reaction"]
)
EFFECTS = Counter("coldgrid_effects_total", "Attempts to carry an effect out.", ["channel", "outcome"])
QUEUE = Gauge("coldgrid_decider_queue", "Commands that wait for the decider.")
TIMERS_FROZEN = Gauge("coldgrid_timers_frozen", "1 while timers stand still after an implausible clock jump.")
