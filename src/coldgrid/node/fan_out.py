"""Fan-out of a serving host: its log to the stream, and to the table, that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from coldgrid.adapters.stream import FanOut, broker_of
from coldgrid.adapters.stream_publisher import Means
from coldgrid.kernel import event_outbox, fan_out
from coldgrid.kernel.decider import Decider

if TYPE_CHECKING:
    from coldgrid.node.parts import Parts

KEPT_WITHIN_S = 60.0
TRIM_EVERY_S = 600.0


def fan_out_of(parts: Parts, home: str) -> FanOut | None:
    """Return what publishes the log of a host; None where no stream is set.

    Raises:
        ValueError: COLDGRID_STREAM or COLDGRID_STREAM_PREFIX is not what it should be.
        StreamMissing: nats-py is not installed.
    """
    if not parts.settings.stream:
        return None
    broker = broker_of(parts.settings.stream, parts.settings.stream_prefix)

    def confirmed() -> int:
        with parts.reader() as db:
            return fan_out.confirmed(db, broker.destination)

    def confirm(position: int) -> None:
        work = partial(fan_out.confirm, destination=broker.destination, position=position)

        def job(decider: Decider) -> None:
            decider.take(home, work, "fan_out")

        parts.service.call(job).result(KEPT_WITHIN_S)

    return FanOut(Means(broker, parts.reader, confirmed, confirm))


def settle_outbox(parts: Parts) -> Callable[[], str] | None:
    """Have the table for Debezium filled, or not; return what trims it, None where it is not filled.

    Raises:
        OutboxNeedsPostgres: COLDGRID_OUTBOX_TABLE is set, and the log is in a SQLite file.
    """
    event_outbox.settle(parts.decider.connection, on=parts.settings.outbox_table)
    if not parts.settings.outbox_table:
        return None

    def trim() -> str:
        parts.service.call(lambda decider: event_outbox.trim(decider.connection)).result(KEPT_WITHIN_S)
        return f"rows are kept for {event_outbox.KEEP_H} h"

    return trim
