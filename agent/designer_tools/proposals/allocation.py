"""`propose_allocation`: another allocation, as a formula or as one rate per unit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.designer_tools.arguments import Arguments, CandidateName, Rate, Why, Width
from agent.designer_tools.drafts import allocates, changed
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from tools.model.units import Granularity

FormulaOrRates = Annotated[
    Annotated[str, Field(max_length=200)] | list[Rate],
    Field(
        description="A priority per unit, who has more keeps more weights; or a list with the sparsity of every unit, "
        "which is projected to the goal.",
        # A decoder that follows a grammar writes formulas: a list as long as the model is deep has no short bound.
        json_schema_extra={"grammar": "allocation", "maxLength": 200},
    ),
]


class ProposeAllocation(Arguments):
    """Propose a candidate: a base with another allocation. A temperature is a division inside softmax, the direction
    a minus sign."""

    expression: FormulaOrRates
    width: Width
    granularity: Granularity
    base: CandidateName
    why: Why


def propose_allocation(step: Step, asked: ProposeAllocation) -> str:
    """Draft the base with that allocation.

    Raises:
        UsageError: the base is not measured, or the allocation is malformed or nothing new.
    """
    parent = step.parent(asked.base)
    wanted = step.allocation(asked.expression, asked.width, asked.granularity)
    return step.take(changed(parent, "propose allocation", asked.why, allocation=wanted))


TOOL = Tool("propose_allocation", ProposeAllocation, propose_allocation, allocates)
