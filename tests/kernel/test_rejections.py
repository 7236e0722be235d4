"""What a refusal says: a sentence for whoever reads it, not for whoever wrote the rule."""

from __future__ import annotations

from enum import StrEnum

from coldgrid.kernel.rejections import Conflict, Forbidden


class Reason(StrEnum):
    DAMAGE = "damage"


class GoodsKept(Conflict):
    """Kept goods stay here (D1, D2).

    What follows the first paragraph is for developers.
    """


class NotYours(Forbidden):
    """Class (A) goods go first; who packed them signs (B3)."""


def test_a_refusal_leaves_out_the_number_that_the_rule_has_in_its_module() -> None:
    assert GoodsKept().title == "Kept goods stay here."
    assert NotYours().title == "Class (A) goods go first; who packed them signs."


def test_a_refusal_tells_its_facts_without_the_marks_of_a_programming_language() -> None:
    held = [{"sscc": "1", "reason": Reason.DAMAGE}, {"sscc": "2", "reason": Reason.DAMAGE}]
    told = str(GoodsKept(site_id="ATL1", holds=held))
    assert told.endswith("stay here. (site_id=ATL1, holds=sscc 1, reason damage; sscc 2, reason damage)")
    assert str(NotYours(needs=["supervisor", "quality"])).endswith("signs. (needs=supervisor, quality)")


def test_a_refusal_keeps_its_facts_as_they_are_for_machines() -> None:
    assert GoodsKept(needs=["supervisor"]).facts == {"needs": ["supervisor"]}
