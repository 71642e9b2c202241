"""Prompts: templates follow the fitness of their children; what is not allowed is not offered."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agent.breeding.genes import Parent
from agent.designer_tools.drafts import allocation, changed, crossed, nudged, written
from agent.prompting import RATE, Template, template_weights
from runs.candidate import Candidate
from runs.fold.history import History
from runs.goal import Goal
from tools.expression import METRIC
from tools.io.errors import UsageError
from tools.recipe import Allocation, Recipe

GOAL = Goal(model="tiny", sparsity=0.5)
BASE = Parent("c-1", Recipe(sparsity=0.5, metric="W * X"), (0.5, 0.5, 0.5))
OTHER = Parent(
    "c-2", Recipe(sparsity=0.5, metric="W", allocation=Allocation(expression="skew", width=0.1)), (0.4, 0.5, 0.6)
)


def test_templates_are_weighted_by_what_their_children_reached(story: Any) -> None:
    history = History()
    for number, (template, value) in enumerate(
        [("modify", 0.4), ("modify", 0.5), ("explore", 0.9), ("", 0.6), ("combine", 0.7)], 1
    ):
        name = f"c-{number}"
        history.candidates[name] = Candidate(id=name, recipe=BASE.recipe, operator="x", template=template)
        history.divergences[name] = {64: story.measurement(value)}
    weights = template_weights(history, list(Template))
    assert math.fsum(weights.values()) == pytest.approx(1)
    # places 1, 0.5, 0, -0.5, -1 from best to worst; unused templates weigh 1
    raw = {"modify": math.exp(RATE * 0.75), "explore": math.exp(-RATE), "combine": math.exp(-RATE * 0.5)}
    total = sum(raw.values()) + 2
    for template in Template:
        assert weights[template] == pytest.approx(raw.get(str(template), 1.0) / total)


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


def test_crossover_takes_fields_or_rates_of_units() -> None:
    child = crossed(BASE, OTHER, ["allocation"], [], "because")
    assert (child.recipe.metric, child.recipe.allocation) == ("W * X", OTHER.recipe.allocation)
    assert child.parents == ("c-1", "c-2")
    spliced = crossed(BASE, OTHER, ["rates"], [2], "because")
    assert spliced.recipe.allocation.vector == (0.5, 0.5, 0.6)
    with pytest.raises(UsageError, match="unit 7 is not there"):
        crossed(BASE, OTHER, ["rates"], [7], "because")
    with pytest.raises(UsageError, match="take at least one"):
        crossed(BASE, OTHER, ["rates"], [], "because")


def test_rates_are_set_unit_by_unit() -> None:
    assert nudged(BASE, {0: 0.3}, "because").recipe.allocation.vector == (0.3, 0.5, 0.5)
    with pytest.raises(UsageError, match="units are 0 to 2"):
        nudged(BASE, {3: 0.3}, "because")


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
