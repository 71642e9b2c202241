"""Typed genetic programming over recipes: metric, allocation (expression, width, granularity, rates), comparison group
and compensation are genes.

Every operator takes a parent (and perhaps a second one) and returns a child with one line of reason, or None where it
does not apply. All chance comes from the `random.Random` that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from agent.breeding.trees import crossover, mutate
from tools.expression import (
    ALLOCATION,
    METRIC,
    NAMED_METRICS,
    Language,
    format_expression,
    parse,
    simplify,
    used_terminals,
)
from tools.expression.operators import Group
from tools.model.units import Granularity
from tools.recipe import Allocation, Compensation, Recipe

GRANULARITIES: tuple[Granularity, ...] = ("block", "layer", "projection")
WIDEST = 0.3
FIRST_WIDTH = 0.05


@dataclass(frozen=True)
class Child:
    """A recipe and how it came about."""

    recipe: Recipe
    operator: str
    why: str
    parents: tuple[str, ...]
    designer: str = "builtin"
    template: str = ""
    thoughts: tuple[str, ...] = ()
    """Ids of the thoughts that led to it."""


@dataclass(frozen=True)
class Parent:
    """A measured candidate as the operators see it."""

    id: str
    recipe: Recipe
    sparsities: tuple[float, ...] = ()
    """What its allocation came to, one sparsity per unit of `recipe.allocation.granularity`, per layer where structures
    fall; empty for N:M."""
    layers: tuple[tuple[int, str, int], ...] = ()
    """Where structures fall, block, sublayer and weights of every layer."""


@dataclass(frozen=True)
class Pool:
    """What may be drawn from."""

    metric_terminals: frozenset[str]
    compensation: bool
    """Whether what stays may be updated."""
    metrics: bool = True
    """Whether the metric may change where structures fall."""
    losses: tuple[float, ...] = ()
    """What the model loses without each block alone (KL, nats per token), where depth falls: the blocks that are missed
    least are the likeliest to be tried. Empty: all are alike."""

    @property
    def named_metrics(self) -> dict[str, str]:
        """The published metrics that read nothing else."""
        return {n: f for n, f in NAMED_METRICS.items() if used_terminals(parse(f, METRIC)) <= self.metric_terminals}


Operator = Callable[[Parent, Parent, Pool, Random], Child | None]


def child_of(parent: Parent, operator: str, why: str, other: Parent | None = None, **changes: object) -> Child | None:
    """The parent with some fields changed; None where nothing changed."""
    recipe = parent.recipe.model_copy(update=changes)
    if recipe == parent.recipe:
        return None
    ids = (parent.id,) if other is None or other.id == parent.id else (parent.id, other.id)
    return Child(Recipe.model_validate(recipe.model_dump()), operator, why, ids)


def _tidy(text: str, language: Language, recipe: Recipe) -> str:
    """The simplified formula: opposing operations, constants and what cannot change a ranking are gone."""
    return format_expression(simplify(parse(text, language), language, recipe.pattern.comparison))


def mutate_metric(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Change the metric's tree at one place."""
    tree = mutate(parse(parent.recipe.metric, METRIC), METRIC, rng, terminals=pool.metric_terminals)
    metric = _tidy(format_expression(tree), METRIC, parent.recipe)
    return child_of(parent, "mutate metric", f"{parent.recipe.metric} -> {metric}", metric=metric)


def cross_metric(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Put a sub-tree of the other's metric into this one's."""
    if parent.recipe.metric == other.recipe.metric:
        return None
    tree = crossover(parse(parent.recipe.metric, METRIC), parse(other.recipe.metric, METRIC), METRIC, rng)
    metric = _tidy(format_expression(tree), METRIC, parent.recipe)
    return child_of(
        parent, "cross metrics", f"part of {other.recipe.metric} in {parent.recipe.metric}", other, metric=metric
    )


def mix(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """The other's allocation with this one's metric."""
    if other.recipe.allocation == parent.recipe.allocation or not parent.recipe.pattern.allocates:
        return None
    why = f"metric of {parent.id} with the allocation of {other.id} ({other.recipe.allocation})"
    return child_of(parent, "cross recipes", why, other, allocation=other.recipe.allocation)


def _shaped(recipe: Recipe) -> Allocation | None:
    """The recipe's allocation if it is an expression with a width."""
    a = recipe.allocation
    return None if a.uniform or a.expression is None else a


def mutate_allocation(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Change the allocation's tree; a uniform one becomes a simple expression first."""
    if not parent.recipe.pattern.allocates:
        return None
    old = _shaped(parent.recipe)
    start = (
        old.expression if old and old.expression else rng.choice(("z(skew)", "-depth", "redundancy", "rank(kurtosis)"))
    )
    tree = mutate(parse(start, ALLOCATION), ALLOCATION, rng, terminals=ALLOCATION_TERMINALS)
    expression = format_expression(simplify(tree, ALLOCATION, "matrix"))
    changed = Allocation(
        expression=expression,
        width=old.width if old else FIRST_WIDTH,
        granularity=old.granularity if old else rng.choice(GRANULARITIES),
    )
    return child_of(parent, "mutate allocation", f"{parent.recipe.allocation} -> {changed}", allocation=changed)


def change_width(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Spread the sparsities more or less."""
    old = _shaped(parent.recipe)
    if old is None:
        return None
    factor = rng.choice((0.4, 0.65, 1.5, 2.5))
    width = round(min(WIDEST, old.width * factor), 4)
    why = f"{'wider' if factor > 1 else 'narrower'} allocation, ±{old.width:g} -> ±{width:g}"
    return child_of(parent, "change width", why, allocation=old.model_copy(update={"width": width}))


def change_granularity(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Decide per block, per layer or per projection."""
    old = _shaped(parent.recipe)
    if old is None:
        return None
    granularity = rng.choice([g for g in GRANULARITIES if g != old.granularity])
    changed = old.model_copy(update={"granularity": granularity})
    return child_of(parent, "change granularity", f"allocation per {granularity}", allocation=changed)


def turn_around(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """The opposite direction: which layers deserve protection depends on the model."""
    old = _shaped(parent.recipe)
    if old is None:
        return None
    expression = _tidy(f"-({old.expression})", ALLOCATION, parent.recipe)
    changed = old.model_copy(update={"expression": expression})
    return child_of(parent, "turn allocation around", "the opposite direction", allocation=changed)


def nudge_rates(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Explicit rates: move sparsity between one to three pairs of units (EvoPress's level switch)."""
    if len(parent.sparsities) < 2:
        return None
    rates = list(parent.sparsities)
    step = rng.choice((0.02, 0.04, 0.08))
    for _ in range(min(rng.randint(1, 3), rng.randint(1, 3))):
        up, down = rng.sample(range(len(rates)), 2)
        rates[up], rates[down] = min(1.0, rates[up] + step), max(0.0, rates[down] - step)
    granularity = parent.recipe.allocation.granularity
    changed = Allocation(expression=None, vector=tuple(round(r, 6) for r in rates), granularity=granularity)
    why = f"{step:g} of sparsity moved between {granularity}s"
    return child_of(parent, "nudge rates", why, allocation=changed)


def change_group(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Weights compete within a row or within the matrix."""
    group: Group = "matrix" if parent.recipe.pattern.comparison == "row" else "row"
    pattern = parent.recipe.pattern.within(group)
    if pattern is None:
        return None
    return child_of(parent, "change group", f"weights compete within the {group}", pattern=pattern)


def change_compensation(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """With or without OBS's update."""
    if not pool.compensation:
        return None
    kind: Literal["none", "obs"] = "none" if parent.recipe.compensation.kind == "obs" else "obs"
    why = "let the remaining weights make up for the removed ones" if kind == "obs" else "without the update"
    return child_of(parent, "change compensation", why, compensation=Compensation(kind=kind))


ALLOCATION_TERMINALS = frozenset({"skew", "kurtosis", "outliers", "redundancy", "score_mean", "depth", "size"})
"""The spectral exponent and the median are left to people and designers: they cost more than a candidate."""

OPERATORS: Sequence[tuple[Operator, float]] = (
    (mutate_metric, 3.0),
    (cross_metric, 2.0),
    (mix, 2.0),
    (mutate_allocation, 2.0),
    (change_width, 2.0),
    (change_granularity, 1.0),
    (turn_around, 0.5),
    (nudge_rates, 2.0),
    (change_group, 0.5),
    (change_compensation, 2.0),
)


def breed(
    parent: Parent, other: Parent, pool: Pool, rng: Random, operators: Sequence[tuple[Operator, float]]
) -> Child | None:
    """One child by an operator drawn by weight."""
    operator = rng.choices([o for o, _ in operators], [weight for _, weight in operators])[0]
    return operator(parent, other, pool, rng)
