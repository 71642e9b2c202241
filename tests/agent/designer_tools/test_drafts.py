"""Edits of a known candidate: what is malformed or nothing new is refused with what to mend."""

from __future__ import annotations

import pytest

from agent.breeding.genes import Parent
from agent.designer_tools.drafts import allocation, changed, written
from runs.goal import Goal
from tools.expression import METRIC
from tools.io.errors import UsageError
from tools.recipe import Allocation, Recipe

GOAL = Goal(model="tiny", sparsity=0.5)
BASE = Parent("c-1", Recipe(sparsity=0.5, metric="W * X"), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("W * G", "G is not collected in this run. Read only D, W, X."),
        ("1 + 2", "reads no statistic"),
        ("W *", "metric"),
        ("__import__('os')", "metric"),
    ],
)
def test_refused_formulas_say_what_to_mend(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        written(text, METRIC, frozenset({"W", "X", "D"}))


def test_edits_keep_the_rest_and_nothing_new_is_refused() -> None:
    child = changed(BASE, "propose metric", "because", metric="W * X ** 0.5")
    assert child.recipe == BASE.recipe.model_copy(update={"metric": "W * X ** 0.5"})
    assert child.parents == ("c-1",)
    with pytest.raises(UsageError, match="this is c-1 again"):
        changed(BASE, "propose metric", "because", metric="W * X")


def test_allocations_are_expressions_or_a_sparsity_per_unit() -> None:
    def of(asked: str | list[float], goal: Goal = GOAL) -> Allocation:
        return allocation(goal, asked, width=0.1, granularity="block", units=3)

    assert of("skew") == Allocation(expression="skew", width=0.1)
    assert of("uniform") == Allocation()
    assert of([0.4, 0.5, 0.6]).vector == (0.4, 0.5, 0.6)
    with pytest.raises(UsageError, match="1 rates for 3 units"):
        of([0.5])
    with pytest.raises(UsageError, match="nothing to allocate"):
        of("skew", Goal.of(model="tiny", sparsity=0.5, pattern={"kind": "n:m", "n": 2, "m": 4}))
