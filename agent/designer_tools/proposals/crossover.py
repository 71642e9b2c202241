"""`crossover`: one candidate with parts of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from agent.breeding.genes import Child, Parent
from agent.designer_tools.arguments import Arguments, CandidateName, UnitNumber, Why
from agent.designer_tools.drafts import allocates, changed, of_rates
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from tools.io.errors import UsageError
from tools.recipe import Allocation


class Crossover(Arguments):
    """Propose a candidate: the first parent with parts of the second."""

    first: CandidateName
    second: CandidateName
    take: list[Literal["metric", "allocation", "compensation", "pattern", "rates"]] = Field(min_length=1, max_length=4)
    units: list[UnitNumber] = Field(
        default_factory=list, max_length=12, description="With rates: the units whose sparsity comes from the second."
    )
    why: Why


def crossover(step: Step, asked: Crossover) -> str:
    """Draft the first with parts of the second.

    Raises:
        UsageError: one of them is not measured, or the parts are not there to be taken.
    """
    first, second = step.parent(asked.first), step.parent(asked.second)
    return step.take(crossed(first, second, asked.take, asked.units if "rates" in asked.take else [], asked.why))


def crossed(first: Parent, second: Parent, take: Sequence[str], units: Sequence[int], why: str) -> Child:
    """`first` with the fields `take` of `second`; with `units`, only the rates of those come from `second`.

    Raises:
        UsageError: the parts are not there to be taken.
    """
    changes: dict[str, object] = {"allocation": _spliced(first, second, units)} if units else {}
    changes |= {name: getattr(second.recipe, name) for name in take if name != "rates"}
    if not changes:
        raise UsageError("take at least one of metric, allocation, compensation, pattern from the second, or blocks")
    return changed(first, "crossover", why, (second,), **changes)


def _spliced(first: Parent, second: Parent, units: Sequence[int]) -> Allocation:
    one, other = first.recipe.allocation, second.recipe.allocation
    if not first.sparsities or len(first.sparsities) != len(second.sparsities):
        raise UsageError(
            f"{first.id} decides per {one.granularity} and {second.id} per {other.granularity}: rates do not line up"
        )
    if wrong := [unit for unit in units if not 0 <= unit < len(first.sparsities)]:
        raise UsageError(f"unit {wrong[0]} is not there: units are 0 to {len(first.sparsities) - 1}")
    rates = list(first.sparsities)
    for unit in units:
        rates[unit] = second.sparsities[unit]
    return of_rates(first, rates)


TOOL = Tool("crossover", Crossover, crossover, allocates)
