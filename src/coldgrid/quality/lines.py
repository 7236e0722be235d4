"""How quality's events read in the timeline of an incident."""

from __future__ import annotations

from coldgrid.orchestration.timeline import Line, Tone, timeline_line
from coldgrid.quality.calibration import LotsRejudged
from coldgrid.quality.deviations import DeviationClosed, DeviationInvestigated
from coldgrid.quality.dispositions import DispositionSigned, Outcome
from coldgrid.quality.excursions import ExcursionClosed, ExcursionOpened, ExcursionUpdated
from coldgrid.quality.exposure import Verdict
from coldgrid.quality.hand_readings import HandReadingRecorded, Target

_OUTCOMES = {
    Outcome.RELEASE: "released",
    Outcome.REDUCED_LIFE: "released with a life until {until}",
    Outcome.REWORK: "to be reworked",
    Outcome.RETURN: "to be returned",
    Outcome.DONATE: "to be donated",
    Outcome.DESTROY: "to be destroyed, seen by {witness}",
}


def _opened(event: ExcursionOpened) -> list[Line]:
    judged = [unit.verdict for unit in event.units]
    facts = {
        "units": len(event.units),
        "assess": judged.count(Verdict.ASSESS),
        "unknown": judged.count(Verdict.UNKNOWN),
        "why": event.why,
    }
    lines = [
        Line(
            text="Excursion: {units} units exposed, {assess} to assess, {unknown} unknown so far. {why}",
            facts=facts,
            tone=Tone.GOODS,
            incident_id=event.incident_id,
            zone_id=event.zone_id,
        )
    ]
    if event.shipped:
        lines.append(
            Line(
                text="{count} units had left since the last good reading, for {orders} orders",
                facts={
                    "count": len(event.shipped),
                    "orders": len({one.order_id for one in event.shipped if one.order_id}),
                },
                tone=Tone.GOODS,
                incident_id=event.incident_id,
                zone_id=event.zone_id,
            )
        )
    return lines


def _updated(event: ExcursionUpdated) -> Line | None:
    """Only new units are worth a line; their numbers are in the excursion."""
    if not event.added:
        return None
    return Line(
        text="{count} more units exposed: {why}",
        facts={"count": len(event.added), "why": event.why},
        tone=Tone.GOODS,
        zone_id=event.zone_id,
    )


def _closed(event: ExcursionClosed) -> Line:
    return Line(
        text="Exposure over: {reason}", facts={"reason": event.reason}, tone=Tone.DONE, zone_id=event.zone_id
    )


def _signed(event: DispositionSigned) -> Line:
    until = event.reduced_life_until.isoformat() if event.reduced_life_until else ""
    return Line(
        text="{sscc}: " + _OUTCOMES[event.outcome] + ". {reason}",
        facts={"sscc": event.sscc, "until": until, "witness": event.witness, "reason": event.reason},
        tone=Tone.DECISION,
        incident_id=event.incident_id,
        zone_id=event.zone_id,
    )


def _measured(event: HandReadingRecorded) -> Line:
    what = event.sscc or event.location_id or event.zone_id
    text = "Air of {what} by hand: {value_c}" if event.target is Target.AIR else "{what} probed: {value_c}"
    return Line(
        text=text, facts={"what": what, "value_c": event.value_c}, tone=Tone.PEOPLE, zone_id=event.zone_id
    )


def _investigated(event: DeviationInvestigated) -> Line:
    facts = {"weight": event.weight.value, "root_cause": event.root_cause}
    return Line(
        text="Deviation investigated, {weight}: {root_cause}",
        facts=facts,
        tone=Tone.PEOPLE,
        zone_id=event.zone_id,
    )


def _deviation_closed(event: DeviationClosed) -> Line:
    return Line(text="Deviation closed by quality", tone=Tone.DONE, zone_id=event.zone_id)


def _rejudged(event: LotsRejudged) -> Line:
    worse = sum(lot.now is not lot.was for lot in event.lots)
    return Line(
        text="{sensor_id} was found off: {lots} lots judged again, {worse} came out differently",
        facts={"sensor_id": event.sensor_id, "lots": len(event.lots), "worse": worse},
        tone=Tone.GOODS,
        zone_id=event.zone_id,
    )


timeline_line(ExcursionOpened, _opened)
timeline_line(ExcursionUpdated, _updated)
timeline_line(ExcursionClosed, _closed)
timeline_line(DispositionSigned, _signed)
timeline_line(HandReadingRecorded, _measured)
timeline_line(DeviationInvestigated, _investigated)
timeline_line(DeviationClosed, _deviation_closed)
timeline_line(LotsRejudged, _rejudged)
