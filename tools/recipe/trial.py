"""What is tried on single layers, by name or as a formula: metrics and allocations as recipes.

Only single weights are tried so: structures and experts fall together over a whole block, and what is left of a block
then reads and writes other things.
"""

from __future__ import annotations

from tools.expression import ALLOCATION, EXPERT_METRICS, NAMED_ALLOCATIONS, NAMED_METRICS, format_expression, parse
from tools.io.errors import UsageError
from tools.recipe.allocation import Allocation
from tools.recipe.methods import METHODS, method
from tools.recipe.recipe import Recipe, check_sparsity

BASELINES = ("wanda", "magnitude")
"""Methods that stand beside whatever is tried."""
WIDTH = 0.08
"""How far rates of a formula lie apart where nobody says it: OWL's."""


def metric_recipe(text: str, sparsity: float) -> tuple[str, Recipe]:
    """What a metric is called, and its recipe with uniform rates: a published method with the comparison group of its
    paper (sparsegpt with its update), a formula within rows.

    Raises:
        UsageError: it is no formula, and no method that is tried on one layer.
    """
    check_sparsity(sparsity)
    name = _name(text)
    if name in NAMED_ALLOCATIONS:
        raise UsageError(f"{name} is an allocation, not a metric: it says how much of each block falls")
    if name not in METHODS and name not in EXPERT_METRICS:
        written = format_expression(parse(text))
        return written, Recipe(sparsity=sparsity, metric=written)
    recipe = method(name, sparsity)
    if not recipe.pattern.zeros:
        raise UsageError(
            f"{name} removes {recipe.pattern.fells}, and only metrics of single weights are tried on one layer: "
            f"`secateur prune MODEL --method {name}` measures it"
        )
    return name, recipe


def allocation_recipe(
    text: str, sparsity: float, width: float | None = None, metric: str = BASELINES[0]
) -> tuple[str, Recipe]:
    """What an allocation is called, and its recipe over a metric; a published one has the width of its authors where
    no other is given.

    Raises:
        UsageError: it is no formula.
    """
    name, base = _name(text), metric_recipe(metric, sparsity)[1]
    if name in METHODS and name not in NAMED_ALLOCATIONS:
        what = "a metric" if name in NAMED_METRICS else "a method"
        raise UsageError(f"{name} is {what}, not an allocation; there are {', '.join(NAMED_ALLOCATIONS)}, or a formula")
    if name in NAMED_ALLOCATIONS:
        expression, own = NAMED_ALLOCATIONS[name]
    else:
        expression, own = format_expression(parse(text, ALLOCATION)), WIDTH
        name = expression
    allocation = Allocation(expression=expression, width=own if width is None else width)
    return name, base.model_copy(update={"allocation": allocation})


def _name(text: str) -> str:
    return "_".join(text.lower().replace("-", " ").split())
