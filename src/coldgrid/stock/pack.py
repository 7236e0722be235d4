"""What stock adds to an evidence pack: where a unit stood and what blocked it, and a lot traced both ways."""

from __future__ import annotations

from collections.abc import Sequence

from coldgrid.evidence.parts import PackStreams, PackSubject, PackTable, Part, register_contributor
from coldgrid.kernel.reading import Reader
from coldgrid.stock.hold_book import holds_of_unit
from coldgrid.stock.stays import stays_of
from coldgrid.stock.trace import Step, trace_lot


def contribute(db: Reader, subject: PackSubject) -> Sequence[Part]:
    """Return a unit's history or a lot's trace; an incident's stock facts follow from their causes."""
    if subject.kind == "unit":
        return _unit(db, subject.id)
    return _lot(db, subject.id) if subject.kind == "lot" else []


def _unit(db: Reader, sscc: str) -> Sequence[Part]:
    holds, stays = holds_of_unit(db, sscc), stays_of(db, sscc)
    return [
        PackStreams(
            streams=[
                *(f"hold/{hold.hold_id}" for hold in holds),
                *sorted({f"transfer/{stay.gone_by}" for stay in stays if stay.gone_by}),
                *sorted({f"dispatch/{stay.gone_by}" for stay in stays if stay.gone_by}),
                *sorted({f"lot/{stay.lot_id}" for stay in stays if stay.lot_id}),
            ]
        ),
        PackTable(
            "Where the unit stood",
            ["Site", "Location", "Product", "Lot", "Qty", "Arrived", "Left", "To"],
            [
                [
                    stay.site_id,
                    stay.location_id,
                    stay.product_id,
                    stay.lot_id,
                    stay.qty,
                    stay.arrived_at,
                    stay.left_at,
                    stay.gone_to,
                ]
                for stay in stays
            ],
        ),
        PackTable(
            "Holds",
            ["Hold", "Reason", "Cause", "Placed by", "Held", "Ended", "Ended by", "State"],
            [
                [
                    hold.hold_id,
                    hold.reason.value,
                    hold.cause_id,
                    hold.placed_by,
                    hold.held_at,
                    hold.ended_at,
                    hold.ended_by,
                    hold.state.value,
                ]
                for hold in holds
            ],
        ),
    ]


def _lot(db: Reader, lot_id: str) -> Sequence[Part]:
    trace = trace_lot(db, lot_id)
    steps = [*trace.came_in, *trace.went_out]
    return [
        PackStreams(entry_ids=sorted({step.entry_id for step in steps if step.entry_id})),
        _steps("Came in", trace.came_in),
        _steps("Went out", trace.went_out),
    ]


def _steps(title: str, steps: Sequence[Step]) -> PackTable:
    return PackTable(
        title,
        ["When", "Site", "What", "Lot", "Product", "Qty", "Partner", "Reference", "Entry"],
        [
            [
                step.at,
                step.site_id,
                step.kind.value,
                step.lot_id,
                step.product_id,
                step.qty,
                step.partner,
                step.reference,
                step.entry_id,
            ]
            for step in steps
        ],
        "Quantities in the product's base unit.",
    )


register_contributor("stock", contribute)
