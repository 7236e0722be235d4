"""What a network of so many sites takes, from assumptions and measured figures: the tables of docs/scale.md.

.venv/bin/python tools/scale.py            print them
.venv/bin/python tools/scale.py --write    put them into docs/scale.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
SITES = (12, 100, 1_000, 10_000)
DAY_S, YEAR_DAYS, GB = 86_400, 365, 1e9


def _given(value: float, about: str) -> Any:
    return field(default=value, metadata={"about": about})


@dataclass(frozen=True)
class Assumed:
    """What a site is like, and what things cost. Replace them with your own."""

    sensors: int = _given(23, "sensors at a site")
    interval_s: float = _given(10.0, "seconds between a sensor's readings")
    facts_a_day: int = _given(5_000, "facts a day at a site and about it: movements, tasks, orders, alarms")
    busiest_hour: float = _given(0.15, "share of a day's facts in its busiest hour")
    disk_usd: float = _given(0.10, "US$ a GB and month, the database's disk")
    object_usd: float = _given(0.023, "US$ a GB and month, object storage")


@dataclass(frozen=True)
class Measured:
    """What was measured on one machine of two cores: docs/performance.md says how."""

    log_bytes: int = _given(950, "bytes a fact in the log, PostgreSQL, with its indexes")
    fact_bytes: int = _given(2_200, "bytes a fact in the whole database, the log included")
    sealed_bytes: float = _given(0.266, "bytes a sealed reading in the database, manifests included")
    parquet_bytes: float = _given(0.45, "bytes a reading as Parquet")
    live_ms: float = _given(
        2.9, "ms of a core a fact in a request of its own, ten to a checkpoint, 200 nodes"
    )
    sparse_ms: float = _given(12.9, "the same, each fact with a checkpoint of its own, 1,000 nodes")
    batch_ms: float = _given(0.176, "ms of a core a fact in a batch, as they come when nodes have to wait")
    stream_per_s: int = _given(38_700, "events a second to NATS JetStream")
    report_s: float = _given(0.57, "seconds for the fleet's daily report over 10 M readings, warm")


@dataclass(frozen=True)
class Scale:
    """What a number of sites takes."""

    sites: int
    assumed: Assumed = Assumed()
    measured: Measured = Measured()

    @property
    def facts_per_s(self) -> float:
        """Facts a second, the mean of a day."""
        return self.sites * self.assumed.facts_a_day / DAY_S

    @property
    def busiest_per_s(self) -> float:
        """Facts a second in the busiest hour."""
        return self.sites * self.assumed.facts_a_day * self.assumed.busiest_hour / 3_600

    @property
    def readings_per_s(self) -> float:
        """Readings a second."""
        return self.sites * self.assumed.sensors / self.assumed.interval_s

    @property
    def readings_a_day(self) -> float:
        """Readings a day."""
        return self.readings_per_s * DAY_S

    @property
    def facts_gb_a_day(self) -> float:
        """GB a day that facts add to the database."""
        return self.sites * self.assumed.facts_a_day * self.measured.fact_bytes / GB

    @property
    def sealed_gb_a_day(self) -> float:
        """GB a day that sealed readings add to the database."""
        return self.readings_a_day * self.measured.sealed_bytes / GB

    @property
    def parquet_gb_a_day(self) -> float:
        """GB a day that the history grows by."""
        return self.readings_a_day * self.measured.parquet_bytes / GB

    @property
    def disk_usd_a_month(self) -> float:
        """US$ a month for the database's disk after a year."""
        return (self.facts_gb_a_day + self.sealed_gb_a_day) * YEAR_DAYS * self.assumed.disk_usd

    @property
    def object_usd_a_month(self) -> float:
        """US$ a month for the history after a year."""
        return self.parquet_gb_a_day * YEAR_DAYS * self.assumed.object_usd

    @property
    def live_cores(self) -> float:
        """Cores of the tower in the busiest hour, each fact in a request of its own."""
        return self.busiest_per_s * self.measured.live_ms / 1e3

    @property
    def sparse_cores(self) -> float:
        """Cores of the tower in the busiest hour, each fact with a checkpoint of its own."""
        return self.busiest_per_s * self.measured.sparse_ms / 1e3

    @property
    def batch_cores(self) -> float:
        """Cores of the tower in the busiest hour, facts in batches."""
        return self.busiest_per_s * self.measured.batch_ms / 1e3

    @property
    def stream_share(self) -> float:
        """Share of what the stream takes, in the busiest hour."""
        return self.busiest_per_s / self.measured.stream_per_s

    @property
    def report_s(self) -> float:
        """Seconds for the fleet's daily report."""
        return self.readings_a_day / 10e6 * self.measured.report_s


ROWS: tuple[tuple[str, Callable[[Scale], str]], ...] = (
    ("facts a second, mean / busiest hour", lambda s: f"{_n(s.facts_per_s)} / {_n(s.busiest_per_s)}"),
    ("readings a second", lambda s: _n(s.readings_per_s)),
    ("readings a day", lambda s: f"{_n(s.readings_a_day / 1e6)} M"),
    (
        "database grows by, GB a day: facts / sealed readings",
        lambda s: f"{_n(s.facts_gb_a_day)} / {_n(s.sealed_gb_a_day)}",
    ),
    ("history as Parquet, GB a day", lambda s: _n(s.parquet_gb_a_day)),
    (
        "after a year, a month: database's disk / history",
        lambda s: f"${_n(s.disk_usd_a_month)} / ${_n(s.object_usd_a_month)}",
    ),
    (
        "cores of the tower, busiest hour: a checkpoint a fact / a tenth of one / in batches",
        lambda s: f"{_n(s.sparse_cores)} / {_n(s.live_cores)} / {_n(s.batch_cores)}",
    ),
    ("of what JetStream takes, busiest hour", lambda s: f"{s.stream_share:.1%}"),
    ("the fleet's daily report, warm, two cores", lambda s: f"{_n(s.report_s)} s"),
)


def _n(number: float) -> str:
    """Two digits that matter; whole from ten on."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def tables() -> str:
    """Return the assumptions, the measured figures and the model as Markdown."""
    lines = ["| assumed | value |", "| --- | --- |"]
    lines += [f"| {about} | {value} |" for about, value in _inputs(Assumed())]
    lines += ["", "| measured | value |", "| --- | --- |"]
    lines += [f"| {about} | {value} |" for about, value in _inputs(Measured())]
    lines += ["", f"| sites | {' | '.join(f'{sites:,}' for sites in SITES)} |"]
    lines += [f"| --- |{' --- |' * len(SITES)}"]
    scales = [Scale(sites) for sites in SITES]
    lines += [f"| {name} | {' | '.join(of(scale) for scale in scales)} |" for name, of in ROWS]
    return "\n".join(lines)


def _inputs(inputs: Assumed | Measured) -> list[tuple[str, str]]:
    return [(one.metadata["about"], f"{getattr(inputs, one.name):,}") for one in fields(inputs)]


MARKED = re.compile(r"(<!-- tools/scale.py -->\n).*?(\n<!-- end -->)", re.DOTALL)


def main() -> None:
    """Print the tables, or put them into the page."""
    if "--write" in sys.argv[1:]:
        PAGE.write_text(MARKED.sub(lambda found: found[1] + tables() + found[2], PAGE.read_text()))
        return
    print(tables())


if __name__ == "__main__":
    main()
