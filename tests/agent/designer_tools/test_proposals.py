"""Tools that propose: what becomes of a candidate, and what cannot."""

from __future__ import annotations

import pytest

from agent.breeding.genes import Parent
from agent.designer_tools.proposals.crossover import crossed
from agent.designer_tools.proposals.rates import nudged
from agent.designer_tools.proposals.recipe import compensated
from tools.io.errors import UsageError
from tools.recipe import Allocation, Compensation, Recipe

BASE = Parent("c-1", Recipe(sparsity=0.5, metric="W * X"), (0.5, 0.5, 0.5))
OTHER = Parent(
    "c-2", Recipe(sparsity=0.5, metric="W", allocation=Allocation(expression="skew", width=0.1)), (0.4, 0.5, 0.6)
)


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


def test_rates_are_counted_in_the_units_of_the_parent() -> None:
    layers = Parent("c-3", BASE.recipe, (0.5, 0.5), ((0, "attention", 10), (0, "mlp", 20)))
    assert nudged(layers, {1: 0.6}, "because").recipe.allocation.granularity == "layer"
    assert nudged(BASE, {1: 0.6}, "because").recipe.allocation.granularity == "block"
    with pytest.raises(UsageError, match="c-4 has no rates to change"):
        nudged(Parent("c-4", BASE.recipe), {0: 0.5}, "because")


def test_compensation_is_taken_where_the_run_allows_it() -> None:
    kept = Recipe(sparsity=0.5, metric="W * X", compensation=Compensation(kind="obs"))
    assert compensated(True, "obs", BASE.recipe).kind == "obs"
    assert compensated(False, "obs", kept) is kept.compensation
    with pytest.raises(UsageError, match="this run allows no compensation"):
        compensated(False, "obs", BASE.recipe)
