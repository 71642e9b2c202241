"""`propose_recipe`: everything at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent.designer_tools.arguments import Arguments, CandidateName, MetricText, Why, Width
from agent.designer_tools.drafts import allocates, changed
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from tools.expression.operators import Group
from tools.io.errors import UsageError
from tools.model.units import Granularity
from tools.recipe import Compensation, Recipe

AllocationText = Annotated[
    str,
    Field(
        max_length=200,
        description="A priority per unit; who has more keeps more weights.",
        json_schema_extra={"grammar": "allocation"},
    ),
]


class ProposeRecipe(Arguments):
    """Propose a candidate in full: metric, allocation, comparison group and compensation at once."""

    metric: MetricText
    allocation: AllocationText
    width: Width
    granularity: Granularity
    group: Group
    compensation: Literal["none", "obs", "bias", "least_squares"]
    base: CandidateName
    why: Why


def propose_recipe(step: Step, asked: ProposeRecipe) -> str:
    """Draft a recipe whose every part is said.

    Raises:
        UsageError: the base is not measured, or a part of the recipe cannot be.
    """
    parent = step.parent(asked.base)
    child = changed(
        parent,
        "propose recipe",
        asked.why,
        metric=step.metric(asked.metric),
        allocation=step.allocation(asked.allocation, asked.width, asked.granularity),
        pattern=parent.recipe.pattern.within(asked.group) or parent.recipe.pattern,
        compensation=compensated(step.situation.pool.compensation, asked.compensation, parent.recipe),
    )
    return step.take(child)


def compensated(allowed: bool, kind: str, recipe: Recipe) -> Compensation:
    """The compensation that was asked for.

    Raises:
        UsageError: this run does not allow any.
    """
    if kind == recipe.compensation.kind:
        return recipe.compensation
    if kind != "none" and not allowed:
        raise UsageError("this run allows no compensation: leave it at none")
    return Compensation.model_validate({"kind": kind})


TOOL = Tool("propose_recipe", ProposeRecipe, propose_recipe, allocates)
