"""The readable page of a pack: one HTML file without scripts or anything to fetch, and the same as a PDF.

The PDF needs the optional typesetter (extra `pdf`); without it a pack has the page alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cache
from importlib.resources import files
from itertools import zip_longest
from typing import Any, cast

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from coldgrid.evidence import chart
from coldgrid.evidence.notes import parse_note
from coldgrid.evidence.pack_form import DisclosedText, PackedLog
from coldgrid.evidence.parts import PackGap, PackLimit, PackMoment, PackSeries, PackSubject, PackTable
from coldgrid.evidence.tiles import KeptHead
from coldgrid.kernel.events import Entry
from coldgrid.webkit.formats import in_unit, true_minus, with_fahrenheit

# What a sentence becomes on its way to the page.
Say = Callable[[str], str]
# A verdict or an outcome as the files have it: `within_limits`. The page says it in words.
_WIRE_NAME = re.compile(r"[a-z]+(_[a-z]+)+")
GAPS_NOTED_MAX = 5
LISTED_MAX = 300  # entries listed on the page; all of them are in the files

KINDS = {"incident": "Incident", "unit": "Handling unit", "lot": "Lot"}
ROLES = {"air": "air", "product": "product, estimated", "probe": "product probe", "other": ""}
STATES = {"ok": "in order", "warn": "attention", "crit": "serious", "info": "step", "off": "noted"}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows. `zone`: the site's, or UTC; `key`: the public key of who signed.

    `fahrenheit`: °F stands beside °C, for a network that reads it; files and the chart stay in °C.
    """

    subject: PackSubject
    network: str
    made_by: str
    made_at: datetime
    key: str
    zone: tzinfo = UTC
    logs: Sequence[PackedLog]
    heads: Sequence[KeptHead]
    entries: Sequence[Entry]
    moments: Sequence[PackMoment]
    series: Sequence[PackSeries]
    limits: Sequence[PackLimit]
    tables: Sequence[PackTable]
    disclosed: Sequence[DisclosedText]
    gaps: Sequence[PackGap] = ()
    fahrenheit: bool = False


def render_html(report: Report) -> bytes:
    """Return the page."""
    picture = chart.draw(report.series, report.limits, report.zone, report.gaps)
    return _environment().get_template("pack.html").render(view(report), chart=picture).encode()


def render_pdf(report: Report) -> bytes | None:
    """Return the page as a PDF; None where the typesetter is not installed."""
    try:
        import typst  # noqa: PLC0415 (an extra: only when used)
    except ImportError:
        return None
    picture = chart.draw(report.series, report.limits, report.zone, report.gaps)
    templates = files("coldgrid.evidence") / "templates"
    sources = {
        "main.typ": (templates / "pack.typ").read_bytes(),
        "data.json": msgspec.json.encode({**view(report), "chart": picture is not None}),
    }
    if picture is not None:
        style = (templates / "chart.css").read_text()
        svg = str(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        sources["chart.svg"] = svg.replace(">", f"><style>{style}</style>", 1).encode()
    # The typesetter takes a dictionary of files, which its types do not say.
    made: bytes = typst.compile(
        cast(Any, sources), format="pdf", timestamp=int(report.made_at.timestamp()), ignore_system_fonts=True
    )
    return made


def view(report: Report) -> dict[str, Any]:
    """Return what both pages show, as text, lists and numbers."""
    say = with_fahrenheit if report.fahrenheit else true_minus
    return {
        "units": say_units(fahrenheit=report.fahrenheit),
        "title": f"{KINDS[report.subject.kind]} {report.subject.id}",
        "kind": report.subject.kind,
        "site": report.subject.site_id,
        "network": report.network,
        "made_at": _local(report.made_at, report.zone),
        "made_by": report.made_by,
        "key": report.key,
        "lines": [_line(one, number, say) for one, number in chart.numbered(chart.shown(report.series))],
        "notes": _notes(report),
        "series_more": len(report.series) - len(chart.shown(report.series)),
        "limits": [_limit(one, say) for one in report.limits],
        "tables": tables_of(report.tables, report.zone, say),
        "moments": [_moment(one, report.zone, say) for one in report.moments],
        "logs": [_log(*pair, report.zone) for pair in zip(report.logs, report.heads, strict=True)],
        "entries": [_entry(one, report.zone) for one in report.entries[:LISTED_MAX]],
        "entries_total": len(report.entries),
        "entries_more": max(0, len(report.entries) - LISTED_MAX),
        "disclosed": [[one.subject, one.field, one.text] for one in report.disclosed],
    }


def _notes(report: Report) -> list[str]:
    """Return what stands under the chart: what its lines say of themselves, then what is missing in it."""
    notes = list(dict.fromkeys(one.note for one in chart.shown(report.series) if one.note))
    notes += [f"Gap: {gap}." for gap in report.gaps[:GAPS_NOTED_MAX]]
    more = len(report.gaps) - GAPS_NOTED_MAX
    return [*notes, f"{more} more gaps are in the table."] if more > 0 else notes


def say_units(*, fahrenheit: bool) -> str:
    """Return what the page says of its degrees."""
    return (
        "Temperatures as recorded, in °C; °F beside them is computed."
        if fahrenheit
        else "Temperatures in °C."
    )


@cache
def _environment() -> Environment:
    loader = PackageLoader("coldgrid.evidence")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def _local(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def _line(series: PackSeries, number: int, say: Say) -> dict[str, Any]:
    known = [value for value in series.values if value is not None]
    return {
        "title": series.title,
        "role": series.role,
        "role_name": ROLES[series.role],
        "number": number,
        "range": _range(min(known), max(known), series.unit, say),
        "count": len(known),
        "missing": len(series.values) - len(known),
    }


def _range(low: float, high: float, unit: str, say: Say) -> str:
    told = f"{_number(low)} to {_number(high)} {unit}"
    if unit != "°C" or say is not with_fahrenheit:
        return told
    return f"{told} ({_number(in_unit(low, 'f'))} to {_number(in_unit(high, 'f'))} °F)"


def _limit(limit: PackLimit, say: Say) -> list[str]:
    return [
        limit.title,
        "" if limit.low_c is None else say(f"{_number(limit.low_c)} °C"),
        "" if limit.high_c is None else say(f"{_number(limit.high_c)} °C"),
        "" if limit.minutes is None else f"{limit.minutes:g} min",
        limit.source,
    ]


def tables_of(tables: Sequence[PackTable], zone: tzinfo, say: Say) -> list[dict[str, Any]]:
    """Return tables as text."""
    return [_table(one, zone, say) for one in tables]


def _table(table: PackTable, zone: tzinfo, say: Say) -> dict[str, Any]:
    rows = [
        [
            _cell(cell, zone, column, say)
            for cell, column in zip_longest(row, table.columns[: len(row)], fillvalue="")
        ]
        for row in table.rows
    ]
    return {"title": table.title, "columns": list(table.columns), "rows": rows, "note": table.note}


def _cell(value: object, zone: tzinfo, column: str, say: Say) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and column.endswith("°C") and say is with_fahrenheit:
        return f"{value} ({_number(in_unit(value, 'f'))} °F)"
    if isinstance(value, datetime):
        return _local(value, zone)
    if isinstance(value, str):
        return value.replace("_", " ") if _WIRE_NAME.fullmatch(value) else say(value)
    return str(value)


def _moment(moment: PackMoment, zone: tzinfo, say: Say) -> dict[str, str]:
    return {
        "at": _local(moment.at, zone),
        "title": say(moment.title),
        "detail": say(moment.detail),
        "state": moment.state,
        "state_name": STATES[moment.state],
        "by": moment.by,
        "entry": moment.entry_id,
    }


def _log(log: PackedLog, head: KeptHead, zone: tzinfo) -> dict[str, Any]:
    return {
        "name": log.name,
        "entries": log.entries,
        "size": log.size,
        "root": head.root.hex(),
        "made_at": _local(head.made_at, zone),
        "signed_by": [one.name for one in parse_note(head.note.encode()).signatures],
    }


def _entry(entry: Entry, zone: tzinfo) -> list[str]:
    return [entry.id, _local(entry.occurred_at, zone), entry.type, entry.actor, entry.leaf.hex()[:16]]


def _number(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")
