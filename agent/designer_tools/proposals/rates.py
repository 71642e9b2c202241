"""`propose_rates`: another sparsity for some units."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from agent.breeding.genes import Child, Parent
from agent.designer_tools.arguments import Arguments, CandidateName, Rate, UnitNumber, Why
from agent.designer_tools.drafts import allocates, changed, of_rates
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from tools.io.errors import UsageError


class UnitRate(Arguments):
    """The sparsity of one unit."""

    unit: UnitNumber
    sparsity: Rate


class ProposeRates(Arguments):
    """Propose a candidate: a base whose sparsity is set anew for some units; the rest is projected to the goal."""

    base: CandidateName
    rates: list[UnitRate] = Field(min_length=1, max_length=12, description="Units are numbered from 0.")
    why: Why


def propose_rates(step: Step, asked: ProposeRates) -> str:
    """Draft the base with those rates.

    Raises:
        UsageError: the base is not measured or has no rates, or a unit is not there.
    """
    rates = {item.unit: item.sparsity for item in asked.rates}
    return step.take(nudged(step.parent(asked.base), rates, asked.why))


def nudged(parent: Parent, rates: Mapping[int, float], why: str) -> Child:
    """The parent's rates with some units set anew.

    Raises:
        UsageError: the pattern has no rates, or a unit is not there.
    """
    if not parent.sparsities:
        raise UsageError(f"{parent.id} has no rates to change: {parent.recipe.pattern} prescribes them")
    anew = list(parent.sparsities)
    for unit, rate in rates.items():
        if not 0 <= unit < len(anew):
            raise UsageError(f"unit {unit} is not there: units are 0 to {len(anew) - 1}")
        if not 0.0 <= rate <= 1.0:
            raise UsageError(f"sparsity {rate:g} of unit {unit}: it lies between 0 and 1")
        anew[unit] = rate
    return changed(parent, "mutate rates", why, allocation=of_rates(parent, anew))


TOOL = Tool("propose_rates", ProposeRates, propose_rates, allocates)
