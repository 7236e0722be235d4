"""Why an order is sourced as it is: a plan as a decision record, and a decision as text.

The alternatives are columns that follow the reach's sites, so that twenty sites cost a few microseconds:
score in cents, reason code, the line the reason is about, and when the goods would have arrived. A dearer
site was not asked for its stock: its score alone rules it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coldgrid.kernel import log
from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.decisions import (
    Columns,
    Decision,
    DecisionStatus,
    Guardrail,
    KeptDecision,
    register_home,
    register_reasons,
)
from coldgrid.orders.reach import DEARER, Reach
from coldgrid.orders.sourcing import REASON_TEXTS, Plan

KIND = "sourcing"
# What `stock.promises` makes sure of with the same buckets in the same commit, or refuses the command.
_NEVER_OVERSOLD = [Guardrail(name="promised_within_promisable", ok=True)]
_SEARCH_CUT = [
    *_NEVER_OVERSOLD,
    Guardrail(name="lowest_score_proven", ok=False, why="the search was cut off"),
]

_NO_INPUTS: list[str] = []

register_reasons(REASON_TEXTS)


def decision_of(
    order_id: str, cause_id: str, plan: Plan, reach: Reach, policy: tuple[str, str], facts: Mapping[str, Any]
) -> Decision:
    """Return the decision record of a plan.

    Args:
        order_id: The order.
        cause_id: The entry that made it necessary, empty for a new order.
        plan: What sourcing chose.
        reach: What it chose from.
        policy: Version and hash of the policy.
        facts: What else it knew, such as the promised time.
    """
    score, columns = plan.score_mcents, plan.columns
    return Decision(
        decision_id=f"{KIND}/{order_id}/{cause_id or 'placed'}",
        kind=KIND,
        inputs=[cause_id] if cause_id else _NO_INPUTS,
        facts={
            "at_min": reach.at_min,
            "score": None if score is None else score // 1_000,
            "bound": plan.bound_mcents // 1_000,
            **facts,
        },
        policy=policy[0],
        policy_hash=policy[1],
        alternatives=Columns(
            columns.names,
            [score // 1_000 for score in plan.scores_mcents],
            plan.reasons,
            {**columns.facts, "line": plan.lines} if plan.lines else columns.facts,
        ),
        score_unit="cents",
        guardrails=_NEVER_OVERSOLD if plan.proven else _SEARCH_CUT,
        outcome=reach.site_ids[plan.used[0]] if len(plan.used) == 1 else _together(plan, reach),
        why=_why(plan),
    )


def _together(plan: Plan, reach: Reach) -> str:
    return "+".join([reach.site_ids[i] for i in plan.used]) or "none"


def _why(plan: Plan) -> str:
    if not plan.used:
        return "no site can serve any line"
    if len(plan.used) == 1:
        return "the lowest score of the sites that can serve all lines"
    if DEARER in plan.reasons and not any(plan.lines):
        return "the split scores lower than any single site"
    return "no single site can serve all lines"


def _find(db: Reader, decision_id: str) -> KeptDecision | None:
    """Sourcing decisions live in the events that carry them out: of the order, and of its promises."""
    kind, _, rest = decision_id.partition("/")
    if kind != KIND:
        return None
    order_id = rest.split("/", maxsplit=1)[0]
    return next((kept for kept in sourcing_decisions(db, order_id) if kept.decision_id == decision_id), None)


def sourcing_decisions(db: Reader, order_id: str) -> list[KeptDecision]:
    """Every sourcing decision of an order, oldest first."""
    found = []
    for entry in log.read_stream(db, f"order/{order_id}"):
        decision = getattr(log.decode_entry(entry), "decision", None)
        if isinstance(decision, Decision):
            found.append(
                KeptDecision(
                    decision_id=decision.decision_id,
                    subject=f"order/{order_id}",
                    origin=entry.origin,
                    made_at=entry.recorded_at,
                    decision=decision,
                    status=DecisionStatus.MADE,
                    final_outcome=decision.outcome,
                )
            )
    return found


register_home("orders", _find)
