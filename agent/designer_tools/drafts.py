"""From what a designer asks for to a recipe: edits of a known candidate, checked before they count.

Every function returns a child or raises `UsageError` with one line that says what to mend. Exact sparsity is not asked
of the designer: its rates are projected onto the goal when the recipe is planned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from agent.breeding.genes import Child, Parent
from runs.goal import Goal
from tools.expression import ALLOCATION, Language, format_expression, parse, simplify, used_terminals
from tools.io.errors import UsageError
from tools.io.frozen import first_problem
from tools.recipe import Allocation, Compensation, Granularity, Group, Pattern, Recipe


def written(text: str, language: Language, readable: frozenset[str] | None = None) -> str:
    """A formula in its canonical spelling.

    Args:
        readable: terminals that may be read; all by default.

    Raises:
        UsageError: it is malformed, or reads what is not to be had in this run.
    """
    node = parse(text, language)
    used = used_terminals(node)
    if readable is not None and (barred := sorted(used - readable)):
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
        if not isinstance(asked, str):
            if len(asked) != units:
                raise UsageError(f"{len(asked)} rates for {units} units of granularity {granularity}: give {units}")
            return Allocation(expression=None, vector=tuple(asked), granularity=granularity)
        if asked == "uniform":
            return Allocation()
        tidy = format_expression(simplify(parse(asked, ALLOCATION), ALLOCATION, "matrix"))
        return Allocation(expression=tidy, width=width, granularity=granularity)
    except ValidationError as error:
        raise UsageError(first_problem(error)) from error


def crossed(first: Parent, second: Parent, take: Sequence[str], blocks: Sequence[int], why: str) -> Child:
    """`first` with the fields `take` of `second`; with `blocks`, only the rates of those units come from `second`.

    Raises:
        UsageError: the parts are not there to be taken.
    """
    changes: dict[str, object] = {}
    if blocks:
        changes["allocation"] = _spliced(first, second, blocks)
    for name in take:
        if name == "rates":
            continue
        changes[name] = getattr(second.recipe, name)
    if not changes:
        raise UsageError("take at least one of metric, allocation, compensation, pattern from the second, or blocks")
    return changed(first, "crossover", why, (second,), **changes)


def _spliced(first: Parent, second: Parent, blocks: Sequence[int]) -> Allocation:
    one, other = first.recipe.allocation, second.recipe.allocation
    if not first.sparsities or len(first.sparsities) != len(second.sparsities):
        raise UsageError(
            f"{first.id} decides per {one.granularity} and {second.id} per {other.granularity}: rates do not line up"
        )
    if wrong := [block for block in blocks if not 0 <= block < len(first.sparsities)]:
        raise UsageError(f"unit {wrong[0]} is not there: units are 0 to {len(first.sparsities) - 1}")
    rates = list(first.sparsities)
    for block in blocks:
        rates[block] = second.sparsities[block]
    return Allocation(expression=None, vector=tuple(round(rate, 6) for rate in rates), granularity=_granularity(first))


def _granularity(parent: Parent) -> Granularity:
    """What the parent's rates are counted in."""
    return "layer" if parent.layers else parent.recipe.allocation.granularity


def nudged(parent: Parent, rates: Mapping[int, float], why: str) -> Child:
    """The parent's rates with some units set anew.

    Raises:
        UsageError: the pattern has no rates, or a unit is not there.
    """
    if not parent.sparsities:
        raise UsageError(f"{parent.id} has no rates to change: {parent.recipe.pattern} prescribes them")
    found = list(parent.sparsities)
    for unit, rate in rates.items():
        if not 0 <= unit < len(found):
            raise UsageError(f"unit {unit} is not there: units are 0 to {len(found) - 1}")
        if not 0.0 <= rate <= 1.0:
            raise UsageError(f"sparsity {rate:g} of unit {unit}: it lies between 0 and 1")
        found[unit] = rate
    vector = tuple(round(rate, 6) for rate in found)
    changed_to = Allocation(expression=None, vector=vector, granularity=_granularity(parent))
    return changed(parent, "mutate rates", why, allocation=changed_to)


def grouped(recipe: Recipe, group: Group | None) -> Pattern:
    """The recipe's pattern, with another comparison group where one is named and the pattern has any."""
    return recipe.pattern if group is None else recipe.pattern.within(group) or recipe.pattern


def compensated(allowed: bool, kind: str | None, recipe: Recipe) -> Compensation:
    """The compensation that was asked for.

    Raises:
        UsageError: this run does not allow any.
    """
    if kind is None or kind == recipe.compensation.kind:
        return recipe.compensation
    if kind != "none" and not allowed:
        raise UsageError("this run allows no compensation: leave it at none")
    return Compensation.model_validate({"kind": kind})
