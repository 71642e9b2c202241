"""What tools that propose share: from what a designer asks for to an edit of a known candidate.

Every function that refuses raises `UsageError` with one line that says what to mend. Exact sparsity is not asked of the
designer: its rates are projected onto the goal when the recipe is planned.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from agent.breeding.genes import Child, Parent
from runs.goal import Goal
from tools.expression import ALLOCATION, Language, format_expression, parse, simplify, used_terminals
from tools.io.errors import UsageError
from tools.io.frozen import first_problem
from tools.model.units import Granularity
from tools.recipe import Allocation, Recipe


def allocates(goal: Goal) -> bool:
    """Whether a run has rates to decide on; where the pattern prescribes them, only metrics are proposed."""
    return goal.pattern.allocates


def written(text: str, language: Language, readable: frozenset[str]) -> str:
    """A formula in its canonical spelling.

    Args:
        readable: terminals that may be read.

    Raises:
        UsageError: it is malformed, or reads what is not to be had in this run.
    """
    node = parse(text, language)
    used = used_terminals(node)
    if barred := sorted(used - readable):
        have = ", ".join(sorted(readable))
        raise UsageError(f"{barred[0]} is not collected in this run. Read only {have}.")
    if not used:
        raise UsageError(f'"{text}" reads no statistic, so it ranks nothing')
    return format_expression(node)


def changed(parent: Parent, operator: str, why: str, others: Sequence[Parent] = (), **changes: object) -> Child:
    """The parent's recipe with some fields changed.

    Raises:
        UsageError: nothing changed, or the fields contradict each other.
    """
    try:
        recipe = Recipe.model_validate(parent.recipe.model_copy(update=changes).model_dump())
    except ValidationError as error:
        raise UsageError(first_problem(error)) from error
    if recipe == parent.recipe:
        raise UsageError(f"this is {parent.id} again: change something")
    ids = dict.fromkeys((parent.id, *(other.id for other in others)))
    return Child(recipe, operator, why, tuple(ids))


def allocation(
    goal: Goal, asked: str | Sequence[float], *, width: float, granularity: Granularity, units: int
) -> Allocation:
    """An allocation from either form.

    Args:
        asked: an expression, or one sparsity per unit; their mean may miss the goal, the projection makes it exact.
        width: of an expression.
        units: how many units that granularity has on this model.

    Raises:
        UsageError: the pattern leaves nothing to allocate, or what is asked is malformed.
    """
    if not goal.pattern.allocates:
        raise UsageError(f"{goal.pattern} leaves nothing to allocate: propose a metric instead")
    try:
        if isinstance(asked, str):
            return _of_formula(asked, width, granularity)
        if len(asked) != units:
            raise UsageError(f"{len(asked)} rates for {units} units of granularity {granularity}: give {units}")
        return Allocation(expression=None, vector=tuple(asked), granularity=granularity)
    except ValidationError as error:
        raise UsageError(first_problem(error)) from error


def _of_formula(text: str, width: float, granularity: Granularity) -> Allocation:
    if text == "uniform":
        return Allocation()
    tidy = format_expression(simplify(parse(text, ALLOCATION), ALLOCATION, "matrix"))
    return Allocation(expression=tidy, width=width, granularity=granularity)


def of_rates(parent: Parent, rates: Sequence[float]) -> Allocation:
    """One sparsity per unit, counted in the parent's units."""
    granularity: Granularity = "layer" if parent.layers else parent.recipe.allocation.granularity
    vector = tuple(round(rate, 6) for rate in rates)
    return Allocation(expression=None, vector=vector, granularity=granularity)
